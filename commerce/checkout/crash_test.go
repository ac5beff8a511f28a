package checkout_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// failEverywhere runs a use case with a failure at each of its round trips in turn, before the database hears of it and after
// it has done it, until one run gets through, and checks the invariants after each.
func (s *shop) failEverywhere(t *testing.T, name string, run func() error) {
	t.Helper()
	for at := 1; ; at++ {
		require.Less(t, at, 200, "%s never gets through", name)
		for _, failure := range []error{errKilled, errLost} {
			s.wrapped.n = 0
			s.wrapped.tap = func(n int) error {
				if n == at {
					return failure
				}
				return nil
			}
			err := run()
			taken := s.wrapped.n
			s.wrapped.tap = nil
			if taken < at {
				require.NoError(t, err, name)
				s.check(t, name)
				return
			}
			require.ErrorIs(t, err, failure, "%s at %d", name, at)
			s.check(t, fmt.Sprintf("%s, round trip %d: %v", name, at, failure))
		}
	}
}

// Every use case of an order's life fails at every round trip, commit included, before and after it, and is then repeated: whatever happened,
// there is no paid order without stock or refund, nothing is held without an order, and every effect is there once.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	birth, code := s.member(t, phone(1), 10_000)
	require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.payments.OpenCard(ctx, tx, "CARD-1", birth, "hq"); err != nil {
			return err
		}
		return s.payments.LoadCard(ctx, tx, id.New(), "CARD-1", 40_000, 10_000, noon)
	}))
	placing := func(request string) checkout.Place {
		in := s.common(birth, code, request)
		in.Card, in.CardFen = "CARD-1", 3_000
		return in
	}
	place := func(request string) (o order.Order) {
		s.failEverywhere(t, "place "+request, func() (err error) {
			o, err = s.Place(ctx, placing(request))
			return err
		})
		return o
	}

	first := place("r1")
	s.failEverywhere(t, "pay", func() error {
		_, err := s.payments.Receive(ctx, s.paid(t, first.OrderNo), "EV-1")
		return err
	})
	s.failEverywhere(t, "cancel paid", func() error {
		_, err := s.Cancel(ctx, first.OrderNo, "member", "")
		return err
	})

	second := place("r2")
	s.failEverywhere(t, "cancel placed", func() error {
		_, err := s.Cancel(ctx, second.OrderNo, "member", "")
		return err
	})

	third := place("r3")
	receipt := s.paid(t, third.OrderNo)
	s.clock.Advance(40 * time.Minute)
	s.failEverywhere(t, "close", func() error {
		_, err := s.CloseUnpaid(ctx)
		return err
	})
	s.failEverywhere(t, "late payment", func() error {
		out, err := s.payments.Receive(ctx, receipt, "EV-3")
		if err == nil && out != payment.OutcomeLate && out != payment.OutcomeDuplicate {
			return errors.New("not late: " + string(out))
		}
		return err
	})

	// The hold runs out and the goods are gone: paying turns into giving back.
	fourth := place("r4")
	receipt = s.paid(t, fourth.OrderNo)
	s.expire(t, fourth.OrderNo)
	s.fill(t, cakeStand, 0)
	s.failEverywhere(t, "stock lost", func() error {
		out, err := s.payments.Receive(ctx, receipt, "EV-4")
		if err == nil && out != payment.OutcomeLate && out != payment.OutcomeDuplicate {
			return errors.New("not late: " + string(out))
		}
		return err
	})
	require.EqualValues(t, 10_000, s.spendable(t, birth))
	require.Equal(t, coupon.StateIssued, s.couponState(t, code))
	c, err := s.payments.GetCard(ctx, s.pool, "CARD-1")
	require.NoError(t, err)
	require.EqualValues(t, 50_000, c.PrincipalFen+c.BonusFen)
	due, err := s.payments.Refunds(ctx, s.pool, first.OrderNo)
	require.NoError(t, err)
	require.Len(t, due, 1)
}

// 64 buyers want one of 50 cake stands each, through the whole checkout, and each also wants two bags of which there are
// plenty; half pay, half are closed. Nobody gets what is not there, and everything adds up.
func TestManyBuyersOneShelf(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	s.fill(t, bag, 1_000)
	const buyers = 64
	births, codes := make([]member.Birth, buyers), make([]string, buyers)
	for i := range buyers {
		births[i], codes[i] = s.member(t, phone(i+1), 1_000)
	}
	var wg sync.WaitGroup
	var sold, short atomic.Int64
	placed := make([]order.Order, buyers)
	start := make(chan struct{})
	for i := range buyers {
		wg.Go(func() {
			<-start
			o, err := s.Place(ctx, s.common(births[i], codes[i], fmt.Sprint("r", i)))
			switch {
			case err == nil:
				placed[i] = o
				sold.Add(1)
			case errors.Is(err, inventory.ErrShort):
				short.Add(1)
			default:
				t.Errorf("buyer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	require.EqualValues(t, 50, sold.Load())
	require.EqualValues(t, buyers-50, short.Load())
	require.EqualValues(t, 50, s.reserved(t, cakeStand))
	s.check(t, "sold out")

	// Paying and closing at the same instant: each order goes one way, and money for the other way goes back.
	var receipts []payment.Receipt
	for _, o := range placed {
		if o.OrderNo != "" {
			receipts = append(receipts, s.paid(t, o.OrderNo))
		}
	}
	s.clock.Advance(40 * time.Minute)
	var paid, late atomic.Int64
	for n, r := range receipts {
		wg.Go(func() {
			for range 2 {
				out, err := s.payments.Receive(ctx, r, fmt.Sprint("EV-", n))
				if err != nil {
					t.Errorf("receive: %v", err)
				}
				switch out {
				case payment.OutcomePaid:
					paid.Add(1)
				case payment.OutcomeLate:
					late.Add(1)
				case payment.OutcomeDuplicate:
				case payment.OutcomeWrongAmount, payment.OutcomeUnknown:
					t.Errorf("outcome %s", out)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			if _, err := s.CloseUnpaid(ctx); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 50, paid.Load()+late.Load())
	require.EqualValues(t, paid.Load(), s.reserved(t, cakeStand))
	s.check(t, "paid or closed")
}

// One request sent by many at once is one order.
func TestOneRequestManyTimes(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	birth, code := s.member(t, phone(1), 2_500)
	numbers := make([]string, 16)
	var wg sync.WaitGroup
	for i := range numbers {
		wg.Go(func() {
			o, err := s.Place(t.Context(), s.common(birth, code, "r1"))
			if err != nil {
				t.Errorf("place: %v", err)
			}
			numbers[i] = o.OrderNo
		})
	}
	wg.Wait()
	for _, no := range numbers {
		require.Equal(t, numbers[0], no)
	}
	s.check(t, "one request")
}
