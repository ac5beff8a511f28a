package cart

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Cart is an open cart.
type Cart struct {
	ID         id.UUID           `json:"id"`
	Birth      member.Birth      `json:"birth,string"`
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Store      string            `json:"store"`
	Version    int64             `json:"version"`
	UpdatedAt  time.Time         `json:"updated_at"`
	Lines      []Line            `json:"lines" db:"-"`
}

// Line is one line of a cart.
type Line struct {
	SKU      string    `json:"sku"`
	Quantity int64     `json:"quantity"`
	AddedAt  time.Time `json:"added_at"`
}

// MaxQuantity is how many units of one SKU a cart takes, and MaxLines how many SKUs.
const (
	MaxQuantity = 9_999
	MaxLines    = 200
)

// Source is the source under which activities of carts are logged.
const Source = "commerce.cart"

// Faults of carts.
var (
	ErrNoSKU = fault.New(fault.NotFound, "cart.no_sku", "没有商品 {sku}", "there is no SKU {sku}").
			WithHint("请核对商品编码", "check the SKU")
	ErrInvalid = fault.New(fault.Invalid, "cart.invalid", "购物车请求有误", "the request is malformed").
			WithHint("数量须为 0 到 9,999,每个购物车最多 200 种商品", "a quantity is 0 to 9,999, and a cart takes 200 SKUs")
)

// Service keeps carts.
type Service struct {
	db    pg.DB
	clock clock.Clock
	log   *activity.Log
}

// New returns the service.
func New(db pg.DB, clk clock.Clock, log *activity.Log) *Service {
	return &Service{db: db, clock: clk, log: log}
}

// Get returns the open carts of the births as one, newest change first; an empty cart if there is none.
func (s *Service) Get(ctx context.Context, db pg.DB, births []member.Birth) (Cart, error) {
	all, err := openCarts(ctx, db, openCartsSQL, births)
	if err != nil {
		return Cart{}, err
	}
	if len(all) == 0 {
		return Cart{Birth: births[0], Lines: []Line{}}, nil
	}
	c := all[0]
	ids := make([]id.UUID, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	c.Lines, err = linesOf(ctx, db, ids)
	return c, err
}

// SetLine is the input of Set.
type SetLine struct {
	Birth      member.Birth   // whose cart takes the line
	Births     []member.Birth // of the same member or visitor, whose carts are one with it; none: Birth alone
	Touchpoint member.Touchpoint
	Store      string
	SKU        string
	Quantity   int64 // 0 removes the line
}

// Set puts a line of the cart that Get shows for the births at a quantity and returns that cart: the line then stands under
// Birth alone. More of a SKU than before is logged as cart_added. It fails with ErrInvalid or ErrNoSKU.
func (s *Service) Set(ctx context.Context, tx pgx.Tx, in SetLine) (Cart, error) {
	if in.Quantity < 0 || in.Quantity > MaxQuantity || in.SKU == "" {
		return Cart{}, ErrInvalid
	}
	now := s.clock.Now()
	births := append([]member.Birth{in.Birth}, in.Births...)
	carts, err := openCarts(ctx, tx, lockCartsSQL, births)
	if err != nil {
		return Cart{}, err
	}
	c, err := touch(ctx, tx, in, now)
	if err != nil {
		return Cart{}, err
	}
	ids := []id.UUID{c.ID}
	for i := range carts {
		if carts[i].ID != c.ID {
			ids = append(ids, carts[i].ID)
		}
	}
	offers := map[string]product.Offer{}
	var before int64
	var b pgx.Batch
	product.QueueOffers(&b, []string{in.SKU}, offers)
	queueSet(&b, ids, in, now, &before)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return Cart{}, fmt.Errorf("set cart line: %w", err)
	}
	o, known := offers[in.SKU]
	if !known {
		return Cart{}, ErrNoSKU.With("sku", in.SKU)
	}
	if c.Lines, err = linesOf(ctx, tx, ids); err != nil {
		return Cart{}, err
	}
	if in.Quantity <= before {
		return c, nil
	}
	if len(c.Lines) > MaxLines {
		return Cart{}, ErrInvalid
	}
	props := map[string]any{"sku": in.SKU, "category": o.Category, "quantity": in.Quantity - before}
	if o.RetailPrice != nil {
		props["price_fen"] = *o.RetailPrice
	}
	_, err = s.log.Append(ctx, tx, []activity.Activity{{
		Birth: in.Birth, Key: activity.KeyCartAdded, OccurredAt: now, Touchpoint: in.Touchpoint, Mode: member.ModeLive, Source: Source,
		DedupeKey: "added/" + c.ID.String() + "/" + strconv.FormatInt(c.Version, 10), Props: props,
	}})
	return c, err
}

// Merge moves the open cart of a guest's birth into that of the member who signed in. Merging again, or without a cart,
// changes nothing.
func (s *Service) Merge(ctx context.Context, tx pgx.Tx, from, to member.Birth) error {
	if from == to {
		return nil
	}
	all, err := openCarts(ctx, tx, lockCartsSQL, []member.Birth{from, to})
	if err != nil {
		return err
	}
	var guest, mine *Cart
	for i := range all {
		if all[i].Birth == from {
			guest = &all[i]
		} else {
			mine = &all[i]
		}
	}
	if guest == nil {
		return nil
	}
	now := s.clock.Now()
	if mine == nil {
		c, err := touch(ctx, tx, SetLine{Birth: to, Touchpoint: guest.Touchpoint, Store: guest.Store}, now)
		if err != nil {
			return err
		}
		mine = &c
	}
	return mergeLines(ctx, tx, *guest, *mine, now)
}

// QueueEmpty takes what was ordered out of the open carts of the births, by a statement of the caller's batch.
func (s *Service) QueueEmpty(b *pgx.Batch, births []member.Birth, skus []string) {
	b.Queue(removeLinesSQL, pg.Args{"births": births, "skus": skus, "now": s.clock.Now()})
}

// idle is how long a cart rests before it counts as abandoned.
const idle = time.Hour

// Remind logs cart_abandoned for carts with lines that have rested for an hour, once per version.
func (s *Service) Remind(ctx context.Context) error {
	const limit = 500
	for {
		n := 0
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
			now := s.clock.Now()
			all, err := claimIdle(ctx, tx, now.Add(-idle), limit)
			if err != nil {
				return err
			}
			n = len(all)
			items := make([]activity.Activity, 0, n)
			for _, c := range all {
				if c.lines == 0 {
					continue
				}
				items = append(items, activity.Activity{
					Birth: c.Birth, Key: activity.KeyCartAbandoned, OccurredAt: c.UpdatedAt.Add(idle), Touchpoint: c.Touchpoint, Mode: member.ModeLive, Source: Source,
					DedupeKey: "abandoned/" + c.ID.String() + "/" + strconv.FormatInt(c.Version, 10), Props: map[string]any{"lines": c.lines},
				})
			}
			_, err = s.log.Append(ctx, tx, items)
			return err
		})
		if err != nil {
			return fmt.Errorf("remind of carts: %w", err)
		}
		if n < limit {
			return nil
		}
	}
}
