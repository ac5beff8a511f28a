package inventory_test

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/internal/money"
)

// The bug museum: defects that others published, and that are not here.

// Two lines that share a SKU were each compared with the stock alone (Medusa #16502).
func TestMuseumTwoLinesOfOneSKU(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): 3})
	_, err := s.reserve(s.basket(1, want(1, "tea", "S1", 2), want(2, "tea", "S1", 2)))
	require.Equal(t, inventory.Shortages{{SKU: "tea", Location: "S1", Wanted: 4, Available: 3}}, shortages(err))
	s.books()
}

// Baskets (v1, v2) and (v2, v1) deadlocked (Saleor #17123, ERPNext #36825).
func TestMuseumLockOrder(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("v1", "S1", "hq"): 10_000, good("v2", "S1", "hq"): 10_000})
	var wg sync.WaitGroup
	for buyer := range 16 {
		wg.Go(func() {
			for i := range 20 {
				lines := []inventory.Want{want(1, "v1", "S1", 1), want(2, "v2", "S1", 1)}
				if buyer%2 == 1 {
					lines = []inventory.Want{want(1, "v2", "S1", 1), want(2, "v1", "S1", 1)}
				}
				b := s.basket(fmt.Sprintf("%d-%d", buyer, i), lines...)
				if _, err := s.reserve(b); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := s.release(b.Ref); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	_, reserved := s.level(good("v1", "S1", "hq"))
	require.EqualValues(t, 160, reserved)
	var deadlocks int
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
	s.books()
}

// Reserved went below zero when something was released twice or shipped after its release (Medusa #12401).
func TestMuseumNegativeReserved(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): 5})
	_, err := s.reserve(s.basket(1, want(1, "tea", "S1", 3)))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = s.release(order(1))
			} else {
				_, err = s.ship(order(1))
			}
			if err != nil && !errors.Is(err, inventory.ErrNoReservation) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, reserved := s.level(good("tea", "S1", "hq"))
	require.Zero(t, reserved)
	s.books()
}

// Two arrivals at a place without stock made two rows for it, each with a reservation of the other's (Odoo #268942).
func TestMuseumDuplicateLevel(t *testing.T) {
	t.Parallel()
	s := open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.tx(func(tx pgx.Tx) error {
				_, err := s.Receive(t.Context(), tx, inventory.Ref{Kind: "receipt", ID: fmt.Sprint(i)}, inventory.ReasonReceipt, "", start,
					[]inventory.Arrival{{Place: good("tea", "S1", "hq"), Quantity: 1}})
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	onHand, _ := s.level(good("tea", "S1", "hq"))
	require.EqualValues(t, 8, onHand)
	s.books()
}

// A payment that came while the order was being closed for lack of one left a paid order without stock (mall).
func TestMuseumExpiredThenPaid(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): 100})
	for i := range 20 {
		_, err := s.reserve(s.basket(i, want(1, "tea", "S1", 1), want(2, "tea", "S1", 1)))
		require.NoError(t, err)
	}
	s.clock.Advance(time.Hour)
	paid := make([]error, 20)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Expire(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for i := range paid {
		wg.Go(func() { paid[i] = s.confirm(order(i)) })
	}
	wg.Wait()
	for i, err := range paid {
		all, rerr := s.Reservations(t.Context(), s.db, order(i))
		require.NoError(t, rerr)
		want := inventory.StateConfirmed
		if err != nil {
			require.ErrorIs(t, err, inventory.ErrExpired)
			want = inventory.StateExpired
		}
		for _, r := range all {
			require.Equal(t, want, r.State, "order %d", i)
		}
	}
	s.books()
}

// Any sequence of what can be done to stock leaves the books in agreement, with a model that only counts.
func TestStockIsWhatItsHistorySays(t *testing.T) {
	t.Parallel()
	s := open(t)
	// Each step is a transaction and each check begins with a SKU of its own, so many short histories would be many commits.
	require.NoError(t, flag.Set("rapid.checks", "25"))
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		sku := fmt.Sprintf("sku-%d", n)
		place := good(sku, "S1", "hq")
		cost := money.Fen(rapid.Int64Range(0, 999).Draw(t, "cost"))
		var onHand, safety int64
		open := map[int]int64{} // order → reserved
		reserved := func() (sum int64) {
			for _, q := range open {
				sum += q
			}
			return sum
		}
		pick := func() int { return rapid.IntRange(0, 4).Draw(t, "order") }
		key := func(o int) any { return fmt.Sprintf("%d-%d", n, o) }
		t.Repeat(map[string]func(*rapid.T){
			"receive": func(t *rapid.T) {
				q := rapid.Int64Range(1, 9).Draw(t, "quantity")
				require.NoError(t, s.tx(func(tx pgx.Tx) error {
					_, err := s.Receive(s.t.Context(), tx, inventory.Ref{Kind: "receipt", ID: sku}, inventory.ReasonReceipt, "", s.clock.Now(),
						[]inventory.Arrival{{Place: place, Quantity: q, UnitCost: &cost}})
					return err
				}))
				onHand += q
			},
			"adjust": func(t *rapid.T) {
				q := rapid.Int64Range(1, 4).Draw(t, "quantity")
				err := s.tx(func(tx pgx.Tx) error {
					return s.Adjust(s.t.Context(), tx, inventory.Ref{Kind: "adjustment", ID: sku}, inventory.ReasonDamage, "", s.clock.Now(),
						[]inventory.Correction{{Place: place, Delta: -q}})
				})
				if onHand-q < 0 || onHand-q < reserved() {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				onHand -= q
			},
			"safety": func(t *rapid.T) {
				safety = rapid.Int64Range(0, 3).Draw(t, "safety")
				require.NoError(t, s.tx(func(tx pgx.Tx) error { return s.SetSafety(s.t.Context(), tx, place, safety) }))
			},
			"reserve": func(t *rapid.T) {
				o, q := pick(), rapid.Int64Range(1, 5).Draw(t, "quantity")
				_, err := s.reserve(s.basket(key(o), want(1, sku, "S1", q)))
				switch {
				case open[o] > 0 && open[o] != q:
					require.ErrorIs(t, err, inventory.ErrKeyReused)
				case open[o] > 0:
					require.NoError(t, err)
				case onHand-reserved()-safety < q:
					require.ErrorIs(t, err, inventory.ErrShort)
				default:
					require.NoError(t, err)
					open[o] = q
				}
			},
			"confirm": func(t *rapid.T) {
				o := pick()
				if err := s.confirm(order(key(o))); open[o] > 0 {
					require.NoError(t, err)
				}
			},
			"release": func(t *rapid.T) {
				o := pick()
				require.NoError(t, s.release(order(key(o))))
				delete(open, o)
			},
			"ship one": func(t *rapid.T) {
				o := pick()
				_, err := s.ship(order(key(o)), inventory.Part{Line: 1, Quantity: 1})
				if open[o] == 0 {
					require.ErrorIs(t, err, inventory.ErrNoReservation)
					return
				}
				require.NoError(t, err)
				onHand--
				if open[o]--; open[o] == 0 {
					delete(open, o)
				}
			},
			"": func(t *rapid.T) {
				gotHand, gotReserved := s.level(place)
				require.Equal(t, []int64{onHand, reserved()}, []int64{gotHand, gotReserved})
			},
		})
	})
	s.books()
}

// What a touchpoint has for itself nobody else takes, and what it shares ends at its share.
func TestQuotas(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): 6, good("tea", "S2", "hq"): 4})
	_, err := s.db.Exec(t.Context(), `
		WITH p AS (INSERT INTO commerce.stock_pools (code, name, updated_at) VALUES ('east', 'East', now())),
		     m AS (INSERT INTO commerce.stock_pool_locations (location, pool) VALUES ('S1', 'east'), ('S2', 'east'))
		INSERT INTO commerce.stock_quotas (pool, sku, touchpoint, kind, quantity, updated_at)
		VALUES ('east', 'tea', 'pos', 'exclusive', 5, now()), ('east', 'tea', 'tmall', 'shared', 2, now())`)
	require.NoError(t, err)
	reserve := func(n int, touchpoint string, lines ...inventory.Want) error {
		b := s.basket(n, lines...)
		b.Touchpoint = touchpoint
		_, err := s.reserve(b)
		return err
	}
	require.Equal(t, inventory.Shortages{{SKU: "tea", Location: "east", Wanted: 6, Available: 5, Quota: true}},
		shortages(reserve(1, "web", want(1, "tea", "S1", 4), want(2, "tea", "S2", 2))))
	require.Equal(t, inventory.Shortages{{SKU: "tea", Location: "east", Wanted: 3, Available: 2, Quota: true}}, shortages(reserve(2, "tmall", want(1, "tea", "S1", 3))))
	require.NoError(t, reserve(2, "tmall", want(1, "tea", "S1", 2)))
	require.NoError(t, reserve(3, "web", want(1, "tea", "S2", 3)))
	require.Error(t, reserve(4, "web", want(1, "tea", "S1", 1)), "the rest is the tills'")
	require.NoError(t, reserve(5, "pos", want(1, "tea", "S1", 4), want(2, "tea", "S2", 1)))

	// What is released goes back to its quota.
	require.NoError(t, s.release(order(2)))
	require.NoError(t, reserve(6, "tmall", want(1, "tea", "S1", 2)))
	s.Promote("tea")
	_, err = s.ReserveNow(t.Context(), s.basket(7, want(1, "tea", "S1", 1)))
	require.ErrorIs(t, err, inventory.ErrShort)
	s.books()
}

// What was reserved ahead is given back when the transaction does not happen, and kept when it did without our knowing.
func TestAheadIsTakenOverOrGivenBack(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): 2, good("cup", "S1", "hq"): 1})
	s.Promote("tea")
	b := s.basket(1, want(1, "tea", "S1", 1), want(2, "cup", "S1", 2))
	_, err := s.checkout(t.Context(), b)
	require.ErrorIs(t, err, inventory.ErrShort)
	_, reserved := s.level(good("tea", "S1", "hq"))
	require.Zero(t, reserved)

	b.Lines[1].Quantity = 1
	ahead, err := s.Ahead(t.Context(), b)
	require.NoError(t, err)
	_, err = s.reserve(b)
	require.NoError(t, err)
	require.NoError(t, ahead.Release(t.Context()))
	_, reserved = s.level(good("tea", "S1", "hq"))
	require.EqualValues(t, 1, reserved)
	s.books()

	// Without a process to release it, it expires by itself.
	s.Promote("tea")
	_, err = s.Ahead(t.Context(), s.basket(2, want(1, "tea", "S1", 1)))
	require.NoError(t, err)
	s.clock.Advance(time.Minute)
	refs, err := s.Expire(t.Context())
	require.NoError(t, err)
	require.Equal(t, []inventory.Ref{order(2)}, refs)
	s.books()
}
