package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/points"
)

func TestCommonOrderFromQuoteToPaid(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	in := s.common(birth, code, "r1")

	q, err := s.Quote(ctx, in.Basket)
	require.NoError(t, err)
	require.Equal(t, []money.Fen{40_700, 4_000, 1_000, 1_000, 35_700}, []money.Fen{q.ListFen, q.DiscountFen, q.PointsFen, q.FreightFen, q.DueFen})
	in.Quote = q.Token
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, order.StatusPlaced, o.Status)
	require.EqualValues(t, 1_500, s.spendable(t, birth))
	require.Equal(t, coupon.StateLocked, s.couponState(t, code))
	require.EqualValues(t, 2, s.reserved(t, bag))
	s.check(t, "placed")

	got, err := s.orders.Get(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.EqualValues(t, 4_284, got.Line(2).Units[0].CashFen)
	require.EqualValues(t, 4_282, got.Line(2).Units[1].CashFen)
	require.Equal(t, "138****8000", got.Receiver.Phone)
	clear, err := s.orders.OpenReceiver(ctx, s.pool, got)
	require.NoError(t, err)
	require.Equal(t, in.Address, clear)

	out, err := s.payments.Receive(ctx, s.paid(t, o.OrderNo), "EV-1")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePaid, out)
	got, err = s.orders.Get(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.Equal(t, order.StatusPaid, got.Status)
	require.Equal(t, coupon.StateUsed, s.couponState(t, code))
	s.check(t, "paid")
	balances, err := s.ledger.Balances(ctx, s.pool, checkout.Book, "")
	require.NoError(t, err)
	book := map[string]int64{}
	for _, b := range balances {
		book[b.Account] = b.Balance
	}
	require.Equal(t, map[string]int64{
		"tender:wechat:hq": 35_700, "tender:points:points": 1_000, "discount:hq": 2_400, "discount:performer": 1_600,
		"sales:hq": -39_700, "freight:hq": -1_000,
	}, book)

	for range 10 {
		out, err = s.payments.Receive(ctx, s.paid(t, o.OrderNo), "EV-1")
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeDuplicate, out)
	}
	s.check(t, "paid ten times")
}

// Six round trips: begin, read, write, reserve (lock and read, then write), commit.
func TestPlaceTakesSixRoundTrips(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	birth, code := s.member(t, phone(1), 2_500)
	in := s.common(birth, code, "r1")
	q, err := s.Quote(t.Context(), in.Basket)
	require.NoError(t, err)
	in.Quote = q.Token
	s.wrapped.tap = func(int) error { return nil }
	_, err = s.Place(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, 6, s.wrapped.n)
}

func TestRequestIsPlacedOnce(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	in := s.common(birth, code, "r1")
	first, err := s.Place(ctx, in)
	require.NoError(t, err)
	again, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, first.OrderNo, again.OrderNo)
	other := in
	other.Items = []checkout.Item{{SKU: bag, Quantity: 9}}
	_, err = s.Place(ctx, other)
	require.ErrorIs(t, err, checkout.ErrKeyReused)
	other.Caller = "somebody else"
	other.Coupons, other.Points = nil, 0
	_, err = s.Place(ctx, other)
	require.NoError(t, err, "keys belong to their caller")
	s.check(t, "repeated")
}

func TestQuoteIsHeldTo(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	in := s.common(birth, code, "r1")
	q, err := s.Quote(ctx, in.Basket)
	require.NoError(t, err)

	in.Quote = q.Token[:len(q.Token)-2] + "AA"
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrQuote, "forged")
	in.Quote = q.Token
	_, err = s.pool.Exec(ctx, `UPDATE commerce.skus SET retail_price_fen = 31000 WHERE sku = $1`, cakeStand)
	require.NoError(t, err)
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrChanged)
	_, err = s.pool.Exec(ctx, `UPDATE commerce.skus SET retail_price_fen = 29900 WHERE sku = $1`, cakeStand)
	require.NoError(t, err)
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	s.clock.Advance(time.Hour)
	again, err := s.Place(ctx, in)
	require.NoError(t, err, "a repetition after the quote has run out")
	require.Equal(t, o.OrderNo, again.OrderNo)
	in.Request = "r2"
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, checkout.ErrQuote, "run out")
	s.check(t, "quotes")
}

func TestPlaceRefusesAndHoldsNothing(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 500)
	_, theirs := s.member(t, phone(2), 0)
	base := func() checkout.Place { in := s.common(birth, code, "r1"); in.Points = 0; return in }
	for name, c := range map[string]struct {
		change func(*checkout.Place)
		want   error
	}{
		"more points than there are": {func(in *checkout.Place) { in.Points = 501 }, points.ErrInsufficient},
		"somebody else's coupon":     {func(in *checkout.Place) { in.Coupons = []string{theirs} }, coupon.ErrNotTheirs},
		"no such coupon":             {func(in *checkout.Place) { in.Coupons = []string{"LK0000000000000"} }, coupon.ErrNoCoupon},
		"below the threshold":        {func(in *checkout.Place) { in.Items = []checkout.Item{{SKU: bag, Quantity: 1}} }, coupon.ErrThreshold},
		"not enough stock":           {func(in *checkout.Place) { in.Items[0].Quantity = 51 }, inventory.ErrShort},
		"not for sale":               {func(in *checkout.Place) { in.Items[0].SKU = "old" }, checkout.ErrNotSold},
		"unknown":                    {func(in *checkout.Place) { in.Items[0].SKU = "nothing" }, checkout.ErrNotSold},
		"nobody sells there":         {func(in *checkout.Place) { in.Touchpoint = member.TouchpointTmall }, checkout.ErrNoTerms},
		"no checkout on Weibo":       {func(in *checkout.Place) { in.Touchpoint = member.TouchpointWeibo }, org.ErrNotOffered},
		"the call centre hands over": {func(in *checkout.Place) { in.Touchpoint = member.TouchpointCallCentre }, org.ErrHandedOver},
		"no such card":               {func(in *checkout.Place) { in.Card, in.CardFen = "NONE", 100 }, payment.ErrNoCard},
		"one SKU twice":              {func(in *checkout.Place) { in.Items[1].SKU = cakeStand }, checkout.ErrInvalid},
		"a guest with points":        {func(in *checkout.Place) { in.Birth, in.Points = 0, 1 }, checkout.ErrGuest},
	} {
		in := base()
		c.change(&in)
		_, err := s.Place(ctx, in)
		require.ErrorIs(t, err, c.want, name)
	}
	s.check(t, "refused")
	require.EqualValues(t, 500, s.spendable(t, birth))
	require.Equal(t, coupon.StateIssued, s.couponState(t, code))
	require.Zero(t, s.reserved(t, bag))
	_, err := s.Place(ctx, base())
	require.NoError(t, err, "a request that was refused may come again under its key")
}

func TestUnpaidOrderGivesEverythingBack(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	o, err := s.Place(ctx, s.common(birth, code, "r1"))
	require.NoError(t, err)
	n, err := s.CloseUnpaid(ctx)
	require.NoError(t, err)
	require.Zero(t, n, "it is not time yet")
	receipt := s.paid(t, o.OrderNo)
	s.clock.Advance(32 * time.Minute)
	n, err = s.CloseUnpaid(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 2_500, s.spendable(t, birth))
	require.Equal(t, coupon.StateIssued, s.couponState(t, code))
	require.Zero(t, s.reserved(t, bag))
	s.check(t, "closed")
	n, err = s.CloseUnpaid(ctx)
	require.NoError(t, err)
	require.Zero(t, n)

	// The money comes after all: the order stays closed and a refund is due.
	out, err := s.payments.Receive(ctx, receipt, "EV-9")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeLate, out)
	got, err := s.orders.Get(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.Equal(t, order.StatusClosedUnpaid, got.Status)
	due, err := s.payments.Refunds(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.EqualValues(t, 35_700, due[0].AmountFen)
	out, err = s.payments.Receive(ctx, receipt, "EV-9")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDuplicate, out)
	s.check(t, "late")
}

func TestMoneyThatDoesNotFitGoesBack(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	o, err := s.Place(ctx, s.common(birth, code, "r1"))
	require.NoError(t, err)
	wrong := s.paid(t, o.OrderNo)
	unknown := wrong
	unknown.OutTradeNo = "NOBODY"
	out, err := s.payments.Receive(ctx, unknown, "EV-1")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, out)
	wrong.AmountFen--
	out, err = s.payments.Receive(ctx, wrong, "EV-2")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeWrongAmount, out)
	due, err := s.payments.Refunds(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, wrong.AmountFen, due[0].AmountFen)
	got, err := s.orders.Get(ctx, s.pool, o.OrderNo)
	require.NoError(t, err)
	require.Equal(t, order.StatusPlaced, got.Status)
	s.check(t, "wrong amount")
}

func TestStockLostBeforePayment(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	first, err := s.Place(ctx, s.common(birth, code, "r1"))
	require.NoError(t, err)
	// The hold ran out, but the goods are still there: the order takes them again.
	s.expire(t, first.OrderNo)
	out, err := s.payments.Receive(ctx, s.paid(t, first.OrderNo), "EV-1")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePaid, out)
	s.check(t, "taken again")

	// The hold ran out and somebody else has the goods: the order ends, the money and everything held go back.
	birth, code = s.member(t, phone(2), 2_500)
	second, err := s.Place(ctx, s.common(birth, code, "r2"))
	require.NoError(t, err)
	receipt := s.paid(t, second.OrderNo)
	s.expire(t, second.OrderNo)
	s.fill(t, cakeStand, 1)
	out, err = s.payments.Receive(ctx, receipt, "EV-2")
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeLate, out)
	got, err := s.orders.Get(ctx, s.pool, second.OrderNo)
	require.NoError(t, err)
	require.Equal(t, order.StatusCancelled, got.Status)
	require.EqualValues(t, 2_500, s.spendable(t, birth))
	require.Equal(t, coupon.StateIssued, s.couponState(t, code))
	due, err := s.payments.Refunds(ctx, s.pool, second.OrderNo)
	require.NoError(t, err)
	require.Len(t, due, 1)
	s.check(t, "stock lost")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	placed, err := s.Place(ctx, s.common(birth, code, "r1"))
	require.NoError(t, err)
	got, err := s.Cancel(ctx, placed.OrderNo, "member", "changed my mind")
	require.NoError(t, err)
	require.Equal(t, order.StatusCancelled, got.Status)
	s.check(t, "cancelled unpaid")

	paid, err := s.Place(ctx, s.common(birth, code, "r2"))
	require.NoError(t, err)
	_, err = s.payments.Receive(ctx, s.paid(t, paid.OrderNo), "EV-1")
	require.NoError(t, err)
	for range 2 {
		got, err = s.Cancel(ctx, paid.OrderNo, "member", "changed my mind")
		require.NoError(t, err)
		require.Equal(t, order.StatusCancelled, got.Status)
	}
	require.Equal(t, got.PaidFen, got.RefundedFen)
	require.Equal(t, order.UnitCancelled, got.Lines[0].Units[0].State)
	require.EqualValues(t, 2_500, s.spendable(t, birth))
	require.Equal(t, coupon.StateIssued, s.couponState(t, code))
	require.Zero(t, s.reserved(t, bag))
	due, err := s.payments.Refunds(ctx, s.pool, paid.OrderNo)
	require.NoError(t, err)
	require.Len(t, due, 1)
	balances, err := s.ledger.Balances(ctx, s.pool, checkout.Book, "")
	require.NoError(t, err)
	for _, b := range balances {
		require.Zero(t, b.Balance, b.Account)
	}
	s.check(t, "cancelled paid")

	sent, err := s.Place(ctx, s.common(birth, code, "r3"))
	require.NoError(t, err)
	_, err = s.payments.Receive(ctx, s.paid(t, sent.OrderNo), "EV-2")
	require.NoError(t, err)
	advance := func(steps ...order.Progress) {
		require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
			_, err := s.orders.Advance(ctx, tx, steps, order.Change{OrderNo: sent.OrderNo, Kind: "test", Actor: "test", At: s.clock.Now()})
			return err
		}))
	}
	advance(order.Progress{LineNo: 1, Allocated: 1, Shipped: 1}, order.Progress{LineNo: 2, Allocated: 2})
	_, err = s.Cancel(ctx, sent.OrderNo, "member", "too late")
	require.ErrorIs(t, err, checkout.ErrStages)
}

func TestStoredValueCardPaysProRata(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 2_500)
	require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.payments.OpenCard(ctx, tx, "CARD-1", birth, "hq"); err != nil {
			return err
		}
		return s.payments.LoadCard(ctx, tx, id.New(), "CARD-1", 40_000, 10_000, noon)
	}))
	purse := func() (money.Fen, money.Fen) {
		c, err := s.payments.GetCard(ctx, s.pool, "CARD-1")
		require.NoError(t, err)
		return c.PrincipalFen, c.BonusFen
	}
	in := s.common(birth, code, "r1")
	in.Card, in.CardFen = "CARD-1", 10_001
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Len(t, o.Tenders, 4)
	require.EqualValues(t, 8_001, o.Tenders[1].AmountFen)
	require.EqualValues(t, 2_000, o.Tenders[2].AmountFen)
	require.EqualValues(t, 25_699, o.Tenders[3].AmountFen)
	_, err = s.Cancel(ctx, o.OrderNo, "member", "")
	require.NoError(t, err)
	principal, bonus := purse()
	require.Equal(t, []money.Fen{40_000, 10_000}, []money.Fen{principal, bonus})

	// A card that pays everything makes the order paid at once.
	in = s.common(birth, code, "r2")
	in.Card, in.CardFen = "CARD-1", 35_700
	o, err = s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, order.StatusPaid, o.Status)
	principal, bonus = purse()
	require.Equal(t, []money.Fen{11_440, 2_860}, []money.Fen{principal, bonus})
	s.check(t, "paid by card")
	in = s.common(birth, code, "r3")
	in.Coupons, in.Points = nil, 0
	in.Card, in.CardFen = "CARD-1", 20_000
	_, err = s.Place(ctx, in)
	require.ErrorIs(t, err, payment.ErrCardShort)
	_, err = s.Cancel(ctx, o.OrderNo, "member", "")
	require.NoError(t, err)
	principal, bonus = purse()
	require.Equal(t, []money.Fen{40_000, 10_000}, []money.Fen{principal, bonus})
	s.check(t, "card refunded")
}

func TestGuestAndTill(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	_, err := s.PutTerms(ctx, s.pool, checkout.SellingTerms{
		Touchpoint: member.TouchpointPOS, Store: "S1", SellerUnit: "S1", SellerEntity: "f1", Collector: "f1", Location: "W1",
	})
	require.NoError(t, err)
	in := checkout.Place{
		Basket: checkout.Basket{Touchpoint: member.TouchpointPOS, Store: "S1", Items: []checkout.Item{{SKU: bag, Quantity: 1}}, Pickup: "S1"},
		Caller: "till-1", Request: "1", Actor: "till", PayWith: order.TenderCash,
	}
	o, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, order.StatusPaid, o.Status)
	require.True(t, o.Guest)
	require.Positive(t, o.Birth)
	require.EqualValues(t, 4_900, o.PaidFen)
	require.Equal(t, "f1", o.SellerEntity)
	again, err := s.Place(ctx, in)
	require.NoError(t, err)
	require.Equal(t, o.OrderNo, again.OrderNo)
	s.check(t, "till")
}
