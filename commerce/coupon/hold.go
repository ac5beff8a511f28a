package coupon

import (
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const heldTemplatesSQL = `
SELECT t.code, t.name, t.kind, t.amount_fen, t.percent_bp, t.max_discount_fen, t.gift_sku, t.threshold_fen, t.valid_from, t.valid_to,
    t.valid_days, t.member_limit, NULL::bigint, NULL::bigint, t.stack_group, t.scope, t.bearers, t.status, t.version
FROM commerce.coupon_templates t
WHERE t.code IN (
    SELECT c.template
    FROM commerce.coupon_codes k
    JOIN commerce.coupons c ON c.birth = k.birth AND c.code = k.code
    WHERE k.code = ANY(@codes))`

// Hold is the coupons of an order, locked by the caller's transaction.
type Hold struct {
	coupons   map[string]Coupon
	templates map[string]Template
}

// QueueHold locks coupons by statements of a batch that the caller sends; quantity and budget of the templates that Get
// returns are not read.
func (s *Service) QueueHold(b *pgx.Batch, typed []string) *Hold {
	h := &Hold{coupons: map[string]Coupon{}, templates: map[string]Template{}}
	if len(typed) == 0 {
		return h
	}
	codes := make([]string, len(typed))
	for i, c := range typed {
		codes[i] = Normalise(c)
	}
	b.Queue(lockCouponsSQL, pg.Args{"codes": codes}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Coupon])
		for _, c := range all {
			h.coupons[c.Code] = c
		}
		return err
	})
	b.Queue(heldTemplatesSQL, pg.Args{"codes": codes}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Template])
		for _, t := range all {
			h.templates[t.Code] = t
		}
		return err
	})
	return h
}

// Get returns a coupon and its template once the batch has been sent, or ErrNoCoupon.
func (h *Hold) Get(typed string) (Coupon, Template, error) {
	c, ok := h.coupons[Normalise(typed)]
	if !ok {
		return Coupon{}, Template{}, ErrNoCoupon
	}
	return c, h.templates[c.Template], nil
}

// Usable reports why the coupon cannot be used at that time and place by the member with the births; nil if it can.
func Usable(c Coupon, t Template, births []member.Birth, touchpoint member.Touchpoint, store string, at time.Time) error {
	switch {
	case c.State != StateIssued:
		return ErrState.With("code", c.Code, "state", c.State)
	case at.Before(c.StartsAt):
		return ErrNotYet.With("code", c.Code, "at", c.StartsAt.Format(time.RFC3339))
	case !at.Before(c.ExpiresAt):
		return ErrExpired.With("code", c.Code, "at", c.ExpiresAt.Format(time.RFC3339))
	case !t.Scope.allows(touchpoint, store):
		return ErrScope.With("code", c.Code)
	case c.Birth != 0 && !slices.Contains(births, c.Birth):
		return ErrNotTheirs.With("code", c.Code)
	}
	return nil
}

// Queue reserves a coupon for an order with the discount it gives there, by a statement of the caller's batch. Whether it
// is Usable, and what it gives, the caller has found out under the lock.
func (h *Hold) Queue(b *pgx.Batch, typed, orderNo string, discount money.Fen) error {
	c, _, err := h.Get(typed)
	if err != nil {
		return err
	}
	c.State, c.OrderNo, c.DiscountFen = StateLocked, orderNo, discount
	b.Queue(updateCouponsSQL, changed([]Coupon{c})).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("lock coupon %s: it is gone", c.Code)
		}
		return nil
	})
	return nil
}
