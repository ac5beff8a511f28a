package checkout

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member/cluster"
)

// Quote is what a basket costs, and a token that says so: Place takes it and refuses to sell at another price.
type Quote struct {
	Token       string          `json:"token" doc:"pass it to place the order; good until expires_at"`
	ExpiresAt   time.Time       `json:"expires_at"`
	ListFen     money.Fen       `json:"list_fen"`
	DiscountFen money.Fen       `json:"discount_fen"`
	PointsFen   money.Fen       `json:"points_fen"`
	CardFen     money.Fen       `json:"card_fen"`
	FreightFen  money.Fen       `json:"freight_fen" doc:"before discounts, part of list_fen"`
	DueFen      money.Fen       `json:"due_fen" doc:"what is left to pay"`
	Lines       []order.Line    `json:"lines"`
	Trace       json.RawMessage `json:"trace,omitempty" doc:"why promotions apply, and why not"`
}

// quoteLife is how long a quote is good.
const quoteLife = 15 * time.Minute

// Quote prices a basket without holding anything. It fails like Place, except for stock and what others take meanwhile.
func (s *Service) Quote(ctx context.Context, b Basket) (Quote, error) {
	if err := b.check(); err != nil {
		return Quote{}, err
	}
	if err := s.offered(ctx, b); err != nil {
		return Quote{}, err
	}
	f := facts{at: s.clock.Now(), offers: map[string]product.Offer{}}
	var batch pgx.Batch
	queueTerms(&batch, b.Touchpoint, b.Store, &f.terms)
	product.QueueOffers(&batch, b.skus(), f.offers)
	pickup := b.queuePickup(&batch)
	if err := s.db.SendBatch(ctx, &batch).Close(); err != nil {
		return Quote{}, fmt.Errorf("quote: %w", err)
	}
	if err := pickup(); err != nil {
		return Quote{}, err
	}
	if f.terms == nil {
		return Quote{}, ErrNoTerms.With("touchpoint", b.Touchpoint)
	}
	if b.Birth != 0 {
		who, err := cluster.Get(ctx, s.db, b.Birth)
		if err != nil {
			return Quote{}, err
		}
		f.births = who.Births
	}
	for _, code := range b.Coupons {
		c, err := s.coupons.Get(ctx, s.db, code)
		if err != nil {
			return Quote{}, err
		}
		t, err := s.coupons.Template(ctx, s.db, c.Template)
		if err != nil {
			return Quote{}, err
		}
		f.coupons = append(f.coupons, CouponFact{c, t})
	}
	if b.Points > 0 && f.terms.Programme != "" {
		p, err := s.points.Programme(ctx, s.db, f.terms.Programme)
		if err != nil {
			return Quote{}, err
		}
		f.programme = &p
	}
	p, err := price(b, f, s.promotions)
	if err != nil {
		return Quote{}, err
	}
	o := &p.order
	expires := f.at.Add(quoteLife).Truncate(time.Second)
	return Quote{
		Token: s.seal(p.hash(), expires), ExpiresAt: expires, ListFen: o.ListFen, DiscountFen: o.DiscountFen, PointsFen: o.PointsFen,
		CardFen: b.CardFen, FreightFen: o.FreightFen, DueFen: o.CashFen - b.CardFen, Lines: o.Lines, Trace: p.trace,
	}, nil
}

// seal makes the token of a quote: when it ends, what it is about, and our mark on both.
func (s *Service) seal(hash [16]byte, expires time.Time) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	raw = append(raw, hash[:]...)
	mark := s.ring.Token("checkout quote", string(raw))
	return base64.RawURLEncoding.EncodeToString(append(raw, mark[:]...))
}

// unseal returns what a token is about, or ErrQuote.
func (s *Service) unseal(token string, now time.Time) (hash [16]byte, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 40 {
		return hash, ErrQuote
	}
	mark := s.ring.Token("checkout quote", string(raw[:24]))
	if !hmac.Equal(mark[:], raw[24:]) || !now.Before(time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)) {
		return hash, ErrQuote
	}
	return [16]byte(raw[8:24]), nil
}
