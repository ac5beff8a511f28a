package inventory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

const (
	buyers = 64
	units  = 50
	seeds  = 200
)

// 64 buyers want 50 units, 200 times, with single lines, the SKU on two lines, mixed baskets in both orders and bundles that
// share it, through two services of one database, in the normal lane, the hot lane and both at once. Never is more promised
// than there is, and the three books agree.
func TestNobodyBuysWhatIsNotThere(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	shops := []*shop{openOn(t, db), openOn(t, db)}
	shelf := map[inventory.Place]int64{}
	for seed := range seeds {
		shelf[good(fmt.Sprintf("hot-%d", seed), "S1", "hq")] = units
		shelf[good(fmt.Sprintf("any-%d", seed), "S1", "hq")] = 10_000
		shelf[good(fmt.Sprintf("tea-%d", seed), "S1", "a")] = 30 // of two owners
		shelf[good(fmt.Sprintf("tea-%d", seed), "S1", "b")] = 20
	}
	shops[0].stock(shelf)
	for seed := range seeds {
		storm(t, shops, seed)
	}
	shops[0].books()
	var over int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM commerce.stock_levels WHERE reserved > on_hand`).Scan(&over))
	require.Zero(t, over)
}

func storm(t *testing.T, shops []*shop, seed int) {
	hot, any, tea := fmt.Sprintf("hot-%d", seed), fmt.Sprintf("any-%d", seed), fmt.Sprintf("tea-%d", seed)
	lane := seed % 3 // normal, hot, both at once
	for i, s := range shops {
		if lane == 1 || lane == 2 && i == 0 {
			s.Promote(hot)
			s.Promote(tea)
		}
	}
	var sold, soldTea atomic.Int64
	var least atomic.Int64 // of what was refused
	least.Store(1000)
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for buyer := range buyers {
		s, r := shops[buyer%len(shops)], rand.New(rand.NewPCG(uint64(seed), uint64(buyer)))
		lines := basketOf(r, hot, any, tea)
		wg.Go(func() {
			<-gate
			got, err := s.checkout(t.Context(), s.basket(fmt.Sprintf("%d-%d", seed, buyer), lines...))
			var n int64
			for _, l := range lines {
				if l.SKU == hot {
					n += l.Quantity
				}
			}
			if err != nil {
				if shortages(err) == nil {
					t.Errorf("seed %d buyer %d: %v", seed, buyer, err)
				}
				for _, missing := range shortages(err) {
					if missing.SKU == hot && n < least.Load() {
						least.Store(n)
					}
				}
				return
			}
			for _, g := range got {
				switch g.SKU {
				case hot:
					sold.Add(g.Quantity)
				case tea:
					soldTea.Add(g.Quantity)
				}
			}
		})
	}
	close(gate)
	wg.Wait()
	_, reserved := shops[0].level(good(hot, "S1", "hq"))
	require.Equal(t, sold.Load(), reserved, "seed %d", seed)
	require.LessOrEqual(t, reserved, int64(units), "seed %d", seed)
	if lane == 0 {
		require.Less(t, int64(units)-reserved, least.Load(), "seed %d: somebody was refused what was there", seed)
	}
	_, a := shops[0].level(good(tea, "S1", "a"))
	_, b := shops[0].level(good(tea, "S1", "b"))
	require.Equal(t, soldTea.Load(), a+b, "seed %d", seed)
	require.LessOrEqual(t, a+b, int64(units), "seed %d", seed)
}

func basketOf(r *rand.Rand, hot, any, tea string) []inventory.Want {
	n := 1 + r.Int64N(2)
	switch r.IntN(5) {
	case 0:
		return []inventory.Want{want(1, hot, "S1", n), want(2, hot, "S1", 1)}
	case 1:
		return []inventory.Want{want(1, any, "S1", 2), want(2, hot, "S1", n)}
	case 2:
		return []inventory.Want{want(1, hot, "S1", n), want(2, any, "S1", 1), want(3, tea, "S1", n)}
	case 3: // a bundle of both, beside one of them alone
		return []inventory.Want{want(1, hot, "S1", 1), want(1, tea, "S1", 1), want(2, hot, "S1", 1)}
	}
	return []inventory.Want{want(1, hot, "S1", n)}
}

// checkout is how checkout reserves: hot lines ahead, the rest in the transaction, nothing if that fails.
func (s *shop) checkout(ctx context.Context, b inventory.Basket) (out []inventory.Reservation, err error) {
	ahead, err := s.Ahead(ctx, b)
	if err != nil {
		return nil, err
	}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		out, err = s.Reserve(ctx, tx, b)
		return err
	})
	if err != nil {
		if rerr := ahead.Release(context.WithoutCancel(ctx)); rerr != nil {
			return nil, rerr
		}
		return nil, err
	}
	return out, nil
}
