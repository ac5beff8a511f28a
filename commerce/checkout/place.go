package checkout

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/points"
)

// Place is a request to place an order.
type Place struct {
	Basket
	Caller        string           `json:"-"` // whose Request it is: an API key, a till
	Request       string           `json:"-"` // idempotency key
	Quote         string           `json:"-"` // token of the quote; empty: at whatever it costs now
	Actor         string           `json:"-"`
	LeadUnit      string           `json:"lead_unit,omitempty"`
	LeadAssociate string           `json:"lead_associate,omitempty"`
	Address       order.Address    `json:"address"`
	Receiver      string           `json:"receiver_token,omitempty"`
	Invoice       *order.Invoice   `json:"invoice,omitempty"`
	PayWith       order.TenderKind `json:"pay_with,omitempty"` // what is left after points and card; wechat if empty
}

func (in *Place) check() error {
	if err := in.Basket.check(); err != nil {
		return err
	}
	if in.PayWith == "" {
		in.PayWith = order.TenderWeChat
	}
	switch {
	case in.Caller == "" || in.Request == "" || len(in.Request) > 100:
		return invalid("request_id", "请求号须为 1 到 100 字节", "a request id of 1 to 100 bytes is needed")
	case in.PayWith != order.TenderWeChat && !slices.Contains(collected, in.PayWith):
		return invalid("pay_with", "不支持此支付方式,请用 wechat 或渠道允许的 cash、mall、platform、subsidy", "nothing holds this; use wechat, or cash, mall, platform or subsidy where the selling terms allow it")
	case in.Pickup != "" && (in.Address != (order.Address{}) || in.Receiver != ""):
		return invalid("pickup", "自提与收货地址不能同时填写", "an order is either fetched or sent: leave out pickup or the address")
	case len(in.LeadUnit) > 64 || len(in.LeadAssociate) > 64 || len(in.Receiver) > 500:
		return invalid("lead_unit", "代码过长", "the codes are too long")
	}
	return nil
}

func (in *Place) hash() ([]byte, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// Every statement of a checkout finds a few rows by key, whatever its parameters and however few rows a young table has:
// planning them anew each time, as PostgreSQL does while it takes a general plan for dearer, costs as much as running them,
// and a general plan made while a table was empty must not scan it when it is full.
const plansByKeySQL = `
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)`

// The row of the request is the first thing a checkout writes: a second one under the same key waits for it here.
const claimSQL = `
INSERT INTO commerce.checkouts (caller, request, hash, order_no, birth, coupons, programme, points, created_at)
VALUES (@caller, @request, @hash, @order_no, @birth, @coupons, @programme, @points, @now)
ON CONFLICT ON CONSTRAINT checkouts_pkey DO NOTHING`

const claimedSQL = `
SELECT hash, order_no
FROM commerce.checkouts
WHERE caller = @caller AND request = @request`

// errPlaced ends the transaction of a request that was handled before.
type errPlaced struct{ orderNo string }

func (e errPlaced) Error() string { return "placed as " + e.orderNo }

// Place prices the basket again under its locks, compares with the quote, and stores the order together with everything it
// holds, in one transaction of six round trips. The same request again returns the order as it is now. It fails with
// ErrInvalid, ErrQuote, ErrChanged, ErrKeyReused, ErrNotSold, ErrNoTerms, ErrTender, the refusal of the touchpoint
// (org.ErrNotOffered …), a fault of coupons, points, card or stock; then nothing has happened.
func (s *Service) Place(ctx context.Context, in Place) (order.Order, error) {
	if err := in.check(); err != nil {
		return order.Order{}, err
	}
	hash, err := in.hash()
	if err != nil {
		return order.Order{}, err
	}
	var want *[16]byte
	if in.Quote != "" {
		quoted, err := s.unseal(in.Quote, s.clock.Now())
		if err != nil {
			return s.placedOr(ctx, in, hash, err)
		}
		want = &quoted
	}
	if err := s.offered(ctx, in.Basket); err != nil {
		return s.placedOr(ctx, in, hash, err)
	}
	number := newNumber(s.clock.Now())
	terms, ahead, err := s.ahead(ctx, in, number)
	if err != nil {
		return s.placedOr(ctx, in, hash, err)
	}
	var out order.Order
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) (err error) {
		out, err = s.place(ctx, tx, number, in, hash, want, terms)
		return err
	})
	if err != nil {
		if rerr := ahead.Release(context.WithoutCancel(ctx)); rerr != nil {
			return order.Order{}, errors.Join(err, rerr)
		}
	}
	var before errPlaced
	if errors.As(err, &before) {
		return s.orders.Get(ctx, s.db, before.orderNo)
	}
	if err != nil {
		return order.Order{}, fmt.Errorf("place order: %w", err)
	}
	return out, nil
}

// ahead reads the terms that an order falls under and reserves SKUs in great demand ahead, in a lane of their own; the
// transaction then only extends what is held.
func (s *Service) ahead(ctx context.Context, in Place, number string) (*SellingTerms, *inventory.Ahead, error) {
	terms, err := s.sellingTerms(ctx, s.db, in.Touchpoint, in.Store)
	if err != nil {
		return nil, nil, err
	}
	if err := terms.takes(in.PayWith); err != nil {
		return nil, nil, err
	}
	ahead, err := s.stock.Ahead(ctx, in.basket(number, terms))
	return terms, ahead, err
}

// placedOr returns the order of a request that was handled before, whatever stands in the way of placing it now; otherwise
// it fails with what does.
func (s *Service) placedOr(ctx context.Context, in Place, hash []byte, why error) (order.Order, error) {
	if known, err := s.placed(ctx, in, hash); err != nil || known.OrderNo != "" {
		return known, err
	}
	return order.Order{}, why
}

// placed returns the order of a request that was handled before; none is an order without number.
func (s *Service) placed(ctx context.Context, in Place, hash []byte) (order.Order, error) {
	var before []byte
	var no string
	err := s.db.QueryRow(ctx, claimedSQL, pg.Args{"caller": in.Caller, "request": in.Request}).Scan(&before, &no)
	switch {
	case pg.NoRows(err):
		return order.Order{}, nil
	case err != nil:
		return order.Order{}, fmt.Errorf("read request: %w", err)
	case string(before) != string(hash):
		return order.Order{}, ErrKeyReused.With("request", in.Request)
	}
	return s.orders.Get(ctx, s.db, no)
}

// reading is what the first round trip of a checkout finds out.
type reading struct {
	number string
	hash   []byte // of the request that has the key
	who    *cluster.Locked
	coupon *coupon.Hold
	points *points.Hold
	card   *payment.Card
	key    *member.DataKey
	facts  facts
}

func (s *Service) place(ctx context.Context, tx pgx.Tx, number string, in Place, hash []byte, want *[16]byte, terms *SellingTerms) (order.Order, error) {
	now := s.clock.Now()
	guest := in.Birth == 0
	if guest {
		birth, err := s.guest(ctx, tx, number, now)
		if err != nil {
			return order.Order{}, err
		}
		in.Birth = birth
	}
	r, err := s.read(ctx, tx, in, hash, number, terms, now)
	if err != nil {
		return order.Order{}, err
	}
	if r.number != number {
		if string(r.hash) != string(hash) {
			return order.Order{}, ErrKeyReused.With("request", in.Request)
		}
		return order.Order{}, errPlaced{r.number}
	}
	p, err := price(in.Basket, r.facts, s.promotions)
	if err != nil {
		return order.Order{}, err
	}
	if missing := p.unknownGifts(r.facts.offers); len(missing) > 0 {
		if p, err = s.priceWithGifts(ctx, tx, in.Basket, r.facts, missing); err != nil {
			return order.Order{}, err
		}
	}
	if guest {
		p.order.Guest = true
	}
	if want != nil && p.hash() != *want {
		return order.Order{}, ErrChanged.With("due", p.order.CashFen)
	}
	var card CardFact
	if in.CardFen > 0 {
		if card, err = cardPart(in, r.card, r.facts.births); err != nil {
			return order.Order{}, err
		}
	}
	p.tenders(in.Basket, terms, card, in.PayWith, in.PayWith != order.TenderWeChat)
	o := p.order
	o.OrderNo, o.Status, o.Source, o.Invoice = number, order.StatusPlaced, in.Caller, in.Invoice
	o.LeadUnit, o.LeadAssociate = in.LeadUnit, in.LeadAssociate
	payBy := now.Add(time.Duration(terms.PayMinutes) * time.Minute)
	o.PayBy = &payBy
	deliver, err := s.write(ctx, tx, in, &o, r, p, card, terms)
	if err != nil {
		return order.Order{}, err
	}

	waiting := slices.ContainsFunc(o.Tenders, func(t order.Tender) bool { return t.State == order.TenderPlanned })
	until := payBy.Add(holdAfter)
	if !waiting {
		until = time.Time{}
	}
	if _, err := s.stock.Reserve(ctx, tx, basket(o, until)); err != nil {
		return order.Order{}, err
	}
	if err := deliver(ctx, tx); err != nil {
		return order.Order{}, err
	}
	if waiting {
		return o, nil
	}
	// Everything is paid already: points, card, or money that somebody has collected.
	if err := s.pay(ctx, tx, o, in.held(number, terms), in.Actor, "", now); err != nil {
		return order.Order{}, err
	}
	return s.orders.Get(ctx, tx, number)
}

// guest gives an order that names nobody an identifier of its own.
func (s *Service) guest(ctx context.Context, tx pgx.Tx, number string, now time.Time) (member.Birth, error) {
	got, err := s.graph.Observe(ctx, tx, []identity.Observation{{
		Keys: []identity.Key{{NS: identity.NSOrder, Value: number}}, Kind: identity.KindOrder, Source: order.Source, At: now, EventKey: "guest/" + number, Mode: member.ModeLive,
	}})
	if err != nil {
		return 0, err
	}
	if got[0].Err != nil {
		return 0, fmt.Errorf("guest of order %s: %w", number, got[0].Err)
	}
	return got[0].Birth, nil
}

// read takes the key, locks member, coupons, points and card, and reads what pricing needs, in one round trip.
func (s *Service) read(ctx context.Context, tx pgx.Tx, in Place, hash []byte, number string, terms *SellingTerms, now time.Time) (*reading, error) {
	r := &reading{facts: facts{at: now, terms: terms, offers: map[string]product.Offer{}}}
	var b pgx.Batch
	codes := make([]string, len(in.Coupons))
	for i, c := range in.Coupons {
		codes[i] = coupon.Normalise(c)
	}
	b.Queue(plansByKeySQL)
	b.Queue(claimSQL, pg.Args{
		"caller": in.Caller, "request": in.Request, "hash": hash, "order_no": number, "birth": in.Birth, "coupons": codes,
		"programme": terms.Programme, "points": in.Points, "now": now,
	})
	b.Queue(claimedSQL, pg.Args{"caller": in.Caller, "request": in.Request}).QueryRow(func(row pgx.Row) error {
		return row.Scan(&r.hash, &r.number)
	})
	r.who = cluster.QueueLock(&b, in.Birth)
	r.coupon = s.coupons.QueueHold(&b, codes)
	if in.Points > 0 && terms.Programme != "" {
		var err error
		if r.points, err = s.points.QueueHold(&b, in.held(number, terms).spend(now)); err != nil {
			return nil, err
		}
	}
	if in.CardFen > 0 {
		payment.QueueCard(&b, in.Card, &r.card)
	}
	if in.Address != (order.Address{}) {
		r.key = s.secrets.QueueKey(&b, in.Birth)
	}
	product.QueueOffers(&b, in.skus(), r.facts.offers)
	pickup := in.queuePickup(&b)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("read for checkout: %w", err)
	}
	if r.number != number {
		return r, nil
	}
	if err := pickup(); err != nil {
		return nil, err
	}
	who, err := r.who.Cluster()
	if err != nil {
		return nil, err
	}
	r.facts.births = who.Births
	for _, code := range codes {
		c, t, err := r.coupon.Get(code)
		if err != nil {
			return nil, err
		}
		r.facts.coupons = append(r.facts.coupons, CouponFact{c, t})
	}
	if r.points != nil {
		programme, err := r.points.Programme()
		if err != nil {
			return nil, err
		}
		r.facts.programme = &programme
	}
	return r, nil
}

// write stores the order and what it holds, in one round trip, and returns what schedules the deliveries of its event.
func (s *Service) write(ctx context.Context, tx pgx.Tx, in Place, o *order.Order, r *reading, p priced, card CardFact, terms *SellingTerms) (func(context.Context, pgx.Tx) error, error) {
	var b pgx.Batch
	switch {
	case in.Receiver != "":
		o.Receiver = order.Receiver{Token: in.Receiver}
	case r.key != nil:
		o.Receiver = in.Address.Masked()
		text, err := in.Address.Seal()
		if err != nil {
			return nil, err
		}
		o.ReceiverSealed = r.key.Seal(&b, order.KindReceiver, text)
	}
	o.Receiver.Pickup = in.Pickup
	for _, c := range r.facts.coupons {
		if err := r.coupon.Queue(&b, c.Coupon.Code, o.OrderNo, p.coupons[c.Coupon.Code]); err != nil {
			return nil, err
		}
	}
	if r.points != nil {
		if err := r.points.Queue(&b); err != nil {
			return nil, err
		}
	}
	if card != (CardFact{}) {
		if err := s.payments.QueueCardHold(&b, o.OrderNo, *r.card, card.Principal, card.Bonus, o.PlacedAt); err != nil {
			return nil, err
		}
	}
	if err := s.orders.Queue(&b, *o, in.Actor); err != nil {
		return nil, err
	}
	for _, t := range o.Tenders {
		if t.State == order.TenderPlanned {
			payment.QueueCreate(&b, payment.New(o.OrderNo, t.TenderNo, terms.Merchant, t.AmountFen, o.PlacedAt, *o.PayBy))
		}
	}
	s.carts.QueueEmpty(&b, r.facts.births, in.skus())
	deliver, err := s.bus.Queue(&b, order.Placed{OrderNo: o.OrderNo, Birth: o.Birth, Touchpoint: o.Touchpoint, Store: o.Store})
	if err != nil {
		return nil, err
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("write order: %w", err)
	}
	return deliver, nil
}

// cardPart is what a card pays, pro rata of principal and bonus. Only its owner pays with it; a card without one is the
// bearer's. Somebody else's card is as unknown as none.
func cardPart(in Place, c *payment.Card, births []member.Birth) (CardFact, error) {
	switch {
	case c == nil || c.Birth != 0 && !slices.Contains(births, c.Birth):
		return CardFact{}, payment.ErrNoCard.With("card", in.Card)
	case c.Status != "active":
		return CardFact{}, payment.ErrCardState.With("card", in.Card, "state", c.Status)
	}
	principal, bonus, ok := c.Take(in.CardFen)
	if !ok {
		return CardFact{}, payment.ErrCardShort.With("card", in.Card, "balance", c.PrincipalFen+c.BonusFen)
	}
	return CardFact{Issuer: c.Issuer, Principal: principal, Bonus: bonus}, nil
}

// unknownGifts are gifts whose catalogue data has not been read.
func (p *priced) unknownGifts(offers map[string]product.Offer) (skus []string) {
	for _, l := range p.order.Lines {
		if _, known := offers[l.SKU]; l.Kind == order.LineGift && !known {
			skus = append(skus, l.SKU)
		}
	}
	return skus
}

func (s *Service) priceWithGifts(ctx context.Context, db pg.DB, b Basket, f facts, gifts []string) (priced, error) {
	var batch pgx.Batch
	product.QueueOffers(&batch, gifts, f.offers)
	if err := db.SendBatch(ctx, &batch).Close(); err != nil {
		return priced{}, fmt.Errorf("read gifts: %w", err)
	}
	return price(b, f, s.promotions)
}

// basket is the stock of an order: its lines of goods.
func basket(o order.Order, until time.Time) inventory.Basket {
	b := inventory.Basket{Ref: ref(o.OrderNo), Touchpoint: string(o.Touchpoint), ExpiresAt: until}
	for _, l := range o.Lines {
		if l.Kind.Goods() {
			b.Lines = append(b.Lines, inventory.Want{Line: l.LineNo, SKU: l.SKU, Location: l.Location, Quantity: l.Quantity})
		}
	}
	return b
}

// basket is the same before the order is priced: gifts are not known yet.
func (in *Place) basket(number string, terms *SellingTerms) inventory.Basket {
	b := inventory.Basket{Ref: ref(number), Touchpoint: string(in.Touchpoint)}
	for i, it := range in.Items {
		b.Lines = append(b.Lines, inventory.Want{Line: i + 1, SKU: it.SKU, Location: terms.Location, Quantity: it.Quantity})
	}
	return b
}

// ref names the reservation of an order.
func ref(orderNo string) inventory.Ref { return inventory.Ref{Kind: "order", ID: orderNo} }

// held is what an order holds besides stock and cards.
type held struct {
	OrderNo   string
	Birth     member.Birth
	Coupons   []string
	Programme string
	Points    int64
}

func (in *Place) held(number string, terms *SellingTerms) held {
	codes := make([]string, len(in.Coupons))
	for i, c := range in.Coupons {
		codes[i] = coupon.Normalise(c)
	}
	return held{OrderNo: number, Birth: in.Birth, Coupons: codes, Programme: terms.Programme, Points: in.Points}
}

// spend is the hold of points, under a key of the order's.
func (h held) spend(at time.Time) points.Spend {
	return points.Spend{Key: id.Derived("order.points", h.OrderNo), Birth: h.Birth, Programme: h.Programme, Points: h.Points, At: at, Reason: h.OrderNo}
}
