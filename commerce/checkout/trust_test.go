package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// A card pays for whoever owns it, under any of their births, and for nobody else; a card without owner is the bearer's.
func TestCardPaysForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	thief, _ := s.member(t, phone(1), 0)
	owner, _ := s.member(t, phone(2), 0)
	require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		for card, birth := range map[string]member.Birth{"CARD-2": owner, "GIFT-1": 0} {
			if err := s.payments.OpenCard(ctx, tx, card, birth, "hq"); err != nil {
				return err
			}
			if err := s.payments.LoadCard(ctx, tx, id.New(), card, 40_000, 0, noon); err != nil {
				return err
			}
		}
		return nil
	}))
	pay := func(birth member.Birth, card, request string) error {
		in := s.common(birth, "", request)
		in.Coupons, in.Points, in.Card, in.CardFen = nil, 0, card, 10_000
		_, err := s.Place(ctx, in)
		return err
	}
	require.ErrorIs(t, pay(thief, "CARD-2", "r1"), payment.ErrNoCard)
	c, err := s.payments.GetCard(ctx, s.pool, "CARD-2")
	require.NoError(t, err)
	require.EqualValues(t, 40_000, c.PrincipalFen)
	require.NoError(t, pay(owner, "CARD-2", "r2"))
	require.NoError(t, pay(thief, "GIFT-1", "r3"))
	s.check(t, "cards")
}

// Whoever sells may say that money is there only where the selling terms believe them.
func TestTendersAreBelievedOnlyWhereTermsSaySo(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, _ := s.member(t, phone(1), 0)
	place := func(touchpoint member.Touchpoint, kind order.TenderKind, request string) (order.Order, error) {
		in := s.common(birth, "", request)
		in.Coupons, in.Points, in.Touchpoint, in.PayWith = nil, 0, touchpoint, kind
		return s.Place(ctx, in)
	}
	for _, kind := range []order.TenderKind{order.TenderCash, order.TenderMall, order.TenderPlatform, order.TenderSubsidy} {
		_, err := place(member.TouchpointMiniProgram, kind, "mp-"+string(kind))
		require.ErrorIs(t, err, checkout.ErrTender, kind)
		require.Equal(t, "pay_with", fault.From(err).Fields[0].Path)
	}
	for _, kind := range []order.TenderKind{order.TenderCredit, order.TenderCoupon, order.TenderPoints, order.TenderStoredPrincipal, "iou"} {
		_, err := place(member.TouchpointMiniProgram, kind, "mp-"+string(kind))
		require.ErrorIs(t, err, checkout.ErrInvalid, kind)
		require.Equal(t, "pay_with", fault.From(err).Fields[0].Path)
	}
	terms := checkout.SellingTerms{Touchpoint: member.TouchpointPOS, SellerUnit: "HQ", SellerEntity: "hq", Collector: "hq", Location: "W1", Merchant: "main"}
	got, err := s.PutTerms(ctx, s.pool, terms)
	require.NoError(t, err)
	require.Equal(t, []order.TenderKind{order.TenderCash, order.TenderMall}, got.Tenders, "what a till takes unless somebody says otherwise")
	o, err := place(member.TouchpointPOS, order.TenderMall, "pos")
	require.NoError(t, err)
	require.Equal(t, order.StatusPaid, o.Status)
	_, err = place(member.TouchpointPOS, order.TenderPlatform, "pos-platform")
	require.ErrorIs(t, err, checkout.ErrTender)

	terms.Touchpoint, terms.Tenders = member.TouchpointTmall, []order.TenderKind{order.TenderPlatform}
	_, err = s.PutTerms(ctx, s.pool, terms)
	require.NoError(t, err)
	_, err = place(member.TouchpointTmall, order.TenderPlatform, "tmall")
	require.NoError(t, err)
	terms.Tenders = []order.TenderKind{order.TenderCredit}
	_, err = s.PutTerms(ctx, s.pool, terms)
	require.ErrorIs(t, err, checkout.ErrInvalid)
	s.check(t, "tenders")
}

// A repetition gets its order even if nobody sells there any more, or the touchpoint takes the tender no longer.
func TestRepetitionOutlivesTheTerms(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	in := s.common(birth, code, "r1")
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	_, err = s.pool.Exec(ctx, `DELETE FROM commerce.selling_terms`)
	require.NoError(t, err)
	s.clock.Advance(time.Minute)
	again, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, o.OrderNo, again.OrderNo)
	in.Points = 1
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrKeyReused)
	in.Request = "r2"
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrNoTerms)
}

// Points of an order that nobody paid were never spent: the member's log says nothing of them. Those of one that was paid
// and taken back sum to nothing.
func TestPointsOfUnpaidOrdersAreNotLogged(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	spent := func() (entries, sum int64) {
		require.NoError(t, s.pool.QueryRow(ctx, `SELECT count(*), coalesce(sum((props->>'points')::bigint), 0)::bigint FROM member.activities WHERE key = 'points_spent'`).Scan(&entries, &sum))
		return entries, sum
	}
	_, err := s.Place(ctx, s.common(birth, code, "r1"))
	require.NoError(t, err)
	s.clock.Advance(32 * time.Minute)
	n, err := s.CloseUnpaid(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	o, err := s.Place(ctx, s.common(birth, code, "r2"))
	require.NoError(t, err)
	_, err = s.Cancel(ctx, o.OrderNo, "member", "")
	require.NoError(t, err)
	entries, _ := spent()
	require.Zero(t, entries)
	require.EqualValues(t, 2_500, s.spendable(t, birth))

	o, err = s.Place(ctx, s.common(birth, code, "r3"))
	require.NoError(t, err)
	_, err = s.payments.Receive(ctx, s.paid(t, o.OrderNo), "EV-1")
	require.NoError(t, err)
	_, err = s.Cancel(ctx, o.OrderNo, "member", "")
	require.NoError(t, err)
	entries, sum := spent()
	require.EqualValues(t, 2, entries)
	require.Zero(t, sum)
	s.check(t, "taken back")
}

// What is fetched is not sent: an address together with a pick-up would save the freight, and so would a store that there
// is not.
func TestPickupIsAtAStoreAndHasNoAddress(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, _ := s.member(t, phone(1), 0)
	in := s.common(birth, "", "r1")
	in.Coupons, in.Points, in.Pickup = nil, 0, "S1"
	_, err := s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrInvalid)
	require.Equal(t, "pickup", fault.From(err).Fields[0].Path)
	sent := in
	sent.Address, sent.Receiver = order.Address{}, "token"
	_, err = s.Place(ctx, sent)
	require.ErrorIs(t, err, checkout.ErrInvalid)
	in.Address, in.Pickup = order.Address{}, "nowhere"
	_, err = s.Quote(ctx, in.Basket)
	require.ErrorIs(t, err, checkout.ErrInvalid)
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrInvalid)
	in.Pickup = "S1"
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Zero(t, o.FreightFen)
}
