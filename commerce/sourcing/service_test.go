package sourcing_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/sourcing"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

var start = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

type brand struct {
	*sourcing.Service
	t     *testing.T
	db    *pg.Pool
	clock *clock.Virtual
}

// open makes a brand with two stores and a warehouse; units of SKU a lie in all three.
func open(t *testing.T) *brand {
	t.Helper()
	db, clk := pgtest.DB(t), clock.NewVirtual(start)
	stock := inventory.New(db, clk, events.New(db, clk, jobs.New(nil, slog.New(slog.DiscardHandler))), nil)
	b := &brand{sourcing.New(db, clk, stock), t, db, clk}
	require.NoError(t, b.tx(func(tx pgx.Tx) error {
		if err := org.PutUnits(t.Context(), tx, []org.Unit{
			{Code: "HQ", Name: "HQ", Kind: org.KindHQ},
			{Code: "S1", Parent: "HQ", Name: "S1", Kind: org.KindStore, Province: "广东", City: "深圳", Longitude: "114.05", Latitude: "22.54"},
			{Code: "S2", Parent: "HQ", Name: "S2", Kind: org.KindStore, Province: "广东", City: "广州", Longitude: "113.26", Latitude: "23.13"},
			{Code: "W1", Parent: "HQ", Name: "W1", Kind: org.KindWarehouse, Province: "浙江", City: "杭州", Longitude: "120.15", Latitude: "30.27"},
		}, start); err != nil {
			return err
		}
		unit := money.Fen(10)
		var goods []inventory.Arrival
		for at, n := range map[string]int64{"S1": 2, "S2": 2, "W1": 100} {
			goods = append(goods, inventory.Arrival{Place: inventory.Place{SKU: "a", Location: at, Owner: "HQ", Status: inventory.StatusGood}, Quantity: n, UnitCost: &unit})
		}
		_, err := stock.Receive(t.Context(), tx, inventory.Ref{Kind: "receipt", ID: "r"}, inventory.ReasonReceipt, "test", start, goods)
		return err
	}))
	return b
}

func (b *brand) tx(fn func(tx pgx.Tx) error) error { return pg.InTx(b.t.Context(), b.db, fn) }

func (b *brand) hold(ref, location string, parcels int) error {
	return b.tx(func(tx pgx.Tx) error {
		return b.Hold(b.t.Context(), tx, sourcing.Token{Ref: ref, Location: location, Day: clock.DayOf(start), Parcels: parcels}, b.clock.Now().Add(10*time.Minute))
	})
}

func (b *brand) confirm(ref string) error {
	return b.tx(func(tx pgx.Tx) error { return b.Confirm(b.t.Context(), tx, ref) })
}

func (b *brand) release(refs ...string) error {
	return b.tx(func(tx pgx.Tx) error { return b.Release(b.t.Context(), tx, refs...) })
}

func (b *brand) settings(s sourcing.Settings) error {
	return b.tx(func(tx pgx.Tx) error {
		_, err := b.PutSettings(b.t.Context(), tx, auth.System, s)
		return err
	})
}

// taken is what the day says, which must be the sum of the live tokens.
func (b *brand) taken(location string) (n int) {
	b.t.Helper()
	var sum int
	require.NoError(b.t, b.db.QueryRow(b.t.Context(), `
		SELECT taken, (SELECT coalesce(sum(parcels), 0) FROM commerce.sourcing_tokens WHERE location = $1 AND state <> 'released')
		FROM commerce.sourcing_capacity
		WHERE location = $1`, location).Scan(&n, &sum))
	require.Equal(b.t, sum, n, "the day of %s is the sum of its tokens", location)
	return n
}

func TestCapacityIsNeverOversold(t *testing.T) {
	t.Parallel()
	b := open(t)
	require.NoError(t, b.settings(sourcing.Settings{Location: "S1", Modes: []sourcing.Mode{sourcing.ModeShip}, DailyCap: 10}))

	var held atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			switch err := b.hold(fmt.Sprint("order-", i), "S1", 1); {
			case err == nil:
				held.Add(1)
			case !errors.Is(err, sourcing.ErrNoCapacity):
				t.Errorf("hold %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 10, held.Load())
	require.Equal(t, 10, b.taken("S1"))

	// Holding, confirming, releasing and expiring at once leave the day the sum of its tokens.
	b.clock.Advance(11 * time.Minute)
	for i := range 32 {
		wg.Go(func() {
			ref := fmt.Sprint("order-", i)
			var err error
			switch i % 4 {
			case 0:
				err = b.hold(ref, "S1", 1)
			case 1:
				err = b.confirm(ref)
			case 2:
				err = b.release(ref, fmt.Sprint("order-", (i+7)%32))
			default:
				err = b.Expire(t.Context())
			}
			if err != nil && !errors.Is(err, sourcing.ErrNoCapacity) && !errors.Is(err, sourcing.ErrNoToken) {
				t.Errorf("%s: %v", ref, err)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, b.taken("S1"), 10)
}

func TestTokensLiveAndEnd(t *testing.T) {
	t.Parallel()
	b := open(t)
	require.NoError(t, b.settings(sourcing.Settings{Location: "S1", DailyCap: 2}))
	require.NoError(t, b.hold("o1", "S1", 2))
	require.NoError(t, b.hold("o1", "S1", 2), "again is the same token")
	require.Equal(t, 2, b.taken("S1"))
	require.ErrorIs(t, b.hold("o1", "S2", 2), sourcing.ErrKeyReused)
	require.ErrorIs(t, b.hold("o2", "S1", 1), sourcing.ErrNoCapacity)
	require.NoError(t, b.confirm("o1"))
	require.NoError(t, b.confirm("o1"))
	b.clock.Advance(time.Hour)
	require.NoError(t, b.Expire(t.Context()))
	require.Equal(t, 2, b.taken("S1"), "what is confirmed does not expire")
	require.NoError(t, b.release("o1"))
	require.NoError(t, b.release("o1"))
	require.ErrorIs(t, b.confirm("o1"), sourcing.ErrNoToken)
	require.Equal(t, 0, b.taken("S1"))

	require.NoError(t, b.hold("o1", "S2", 1), "what was released can be taken elsewhere")
	b.clock.Advance(time.Hour)
	require.NoError(t, b.Expire(t.Context()))
	require.ErrorIs(t, b.confirm("o1"), sourcing.ErrNoToken)
	require.Equal(t, 0, b.taken("S2"))

	// A lower capacity does not take back what is taken.
	require.NoError(t, b.hold("o3", "S1", 2))
	require.NoError(t, b.settings(sourcing.Settings{Location: "S1", Version: 1, DailyCap: 1}))
	require.Equal(t, 2, b.taken("S1"))
	require.ErrorIs(t, b.hold("o4", "S1", 1), sourcing.ErrNoCapacity)
}

func TestPlansWithStockCapacityAndScope(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx := t.Context()
	req := sourcing.Request{
		Lines: []sourcing.Line{{SKU: "a", Quantity: 2, Mode: sourcing.ModeShip}},
		To:    sourcing.Address{Province: "广东", City: "深圳"}, Position: sourcing.Position{LatE6: 22_540_000, LonE6: 114_050_000},
	}
	plan := func(scope auth.Scope) sourcing.Decision {
		d, err := b.Plan(ctx, b.db, scope, "", req)
		require.NoError(t, err)
		return d
	}
	reason := func(d sourcing.Decision, location string) sourcing.Reason {
		for _, r := range d.Why.Rejected {
			if r.Location == location {
				return r.Reason
			}
		}
		return ""
	}
	d := plan(auth.Everything)
	require.Equal(t, sourcing.ReasonCarrier, reason(d, "S1"), "nobody carries yet")
	require.NotEmpty(t, d.Short)

	put := func(version int64) error {
		return b.tx(func(tx pgx.Tx) error {
			_, err := b.PutFreight(ctx, tx, auth.System, sourcing.Table{
				Carrier: "sf", Version: version, Modes: []sourcing.Mode{sourcing.ModeShip},
				Zones: []sourcing.Zone{{Code: "all", Steps: []sourcing.Step{{UpToG: 10_000, Fen: 1000}}}},
			})
			return err
		})
	}
	require.NoError(t, put(0))
	require.ErrorIs(t, put(0), sourcing.ErrStale)
	require.NoError(t, put(1))
	require.ErrorIs(t, put(7), sourcing.ErrStale)

	d = plan(auth.Everything)
	require.Equal(t, "S1", d.Parcels[0].Location, "the nearest of equal price")
	require.Equal(t, map[string]int64{"sf": 2}, d.Freight)
	require.True(t, d.Exact)
	require.Equal(t, sourcing.ReasonCostlier, reason(d, "W1"))

	require.NoError(t, b.settings(sourcing.Settings{Location: "S1", Modes: []sourcing.Mode{sourcing.ModeShip}, DailyCap: 1}))
	require.NoError(t, b.hold("o1", "S1", 1))
	d = plan(auth.Everything)
	require.Equal(t, "S2", d.Parcels[0].Location)
	require.Equal(t, sourcing.ReasonCapacity, reason(d, "S1"))

	req.Refused = []string{"S2"}
	require.Equal(t, "W1", plan(auth.Everything).Parcels[0].Location)
	req.Refused = nil

	d = plan(auth.Scope{Stores: []string{"S1"}})
	require.Empty(t, d.Parcels)
	require.Empty(t, reason(d, "S2"), "other stores are not shown")
	manager := auth.Actor{Name: "m", Scope: auth.Scope{Stores: []string{"S1"}}}
	require.ErrorIs(t, b.tx(func(tx pgx.Tx) error {
		_, err := b.PutSettings(ctx, tx, manager, sourcing.Settings{Location: "S2"})
		return err
	}), sourcing.ErrNoLocation)

	_, err := b.Plan(ctx, b.db, auth.Everything, "none", req)
	require.ErrorIs(t, err, sourcing.ErrNoRules)
	require.NoError(t, b.tx(func(tx pgx.Tx) error {
		_, err := b.PutRules(ctx, tx, auth.System, sourcing.Rules{Code: "wh", Objective: sourcing.ObjectiveFewest, Kinds: []sourcing.Kind{sourcing.KindWarehouse}})
		return err
	}))
	d, err = b.Plan(ctx, b.db, auth.Everything, "wh", req)
	require.NoError(t, err)
	require.Equal(t, "W1", d.Parcels[0].Location)
	require.EqualValues(t, 1, d.Version)
}
