package cart_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/cart"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

func TestCartFromGuestToMember(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := pgtest.Tx(t)
	clk := clock.NewVirtual(time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC))
	discard := slog.New(slog.DiscardHandler)
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	log := activity.NewLog(db, clk, discard)
	graph := identity.New(db, clk, ring, log, events.New(db, clk, jobs.New(nil, discard)))
	price := money.Fen(4_900)
	require.NoError(t, product.Put(ctx, db, []product.SKU{
		{SKU: "bag", SPU: "bag", Name: "袋", Category: "包袋", RetailPrice: &price, Status: product.StatusActive},
		{SKU: "cup", SPU: "cup", Name: "杯", Category: "餐具", RetailPrice: &price, Status: product.StatusActive},
	}, clk.Now()))
	got, err := graph.Observe(ctx, db, []identity.Observation{
		{Keys: []identity.Key{{NS: identity.NSDevice, Value: "device-1"}}, Kind: identity.KindOrder, Source: "test", At: clk.Now(), EventKey: "1", Mode: member.ModeLive},
		{Keys: []identity.Key{{NS: identity.NSPhone, Value: "13800138000"}}, Kind: identity.KindOrder, Source: "test", At: clk.Now(), EventKey: "2", Mode: member.ModeLive},
	})
	require.NoError(t, err)
	guest, mine := got[0].Birth, got[1].Birth
	s := cart.New(db, clk, log)
	set := func(birth member.Birth, sku string, n int64) (c cart.Cart, err error) {
		err = pg.InTx(ctx, db, func(tx pgx.Tx) error {
			c, err = s.Set(ctx, tx, cart.SetLine{Birth: birth, Touchpoint: member.TouchpointMiniProgram, SKU: sku, Quantity: n})
			return err
		})
		return c, err
	}
	lines := func(births ...member.Birth) map[string]int64 {
		c, err := s.Get(ctx, db, births)
		require.NoError(t, err)
		out := map[string]int64{}
		for _, l := range c.Lines {
			out[l.SKU] = l.Quantity
		}
		return out
	}
	require.Empty(t, lines(guest))
	_, err = set(guest, "bag", 2)
	require.NoError(t, err)
	_, err = set(guest, "cup", 1)
	require.NoError(t, err)
	_, err = set(guest, "cup", 0)
	require.NoError(t, err)
	_, err = set(guest, "cup", 3)
	require.NoError(t, err)
	_, err = set(guest, "nothing", 1)
	require.ErrorIs(t, err, cart.ErrNoSKU)
	_, err = set(guest, "cup", 10_000)
	require.ErrorIs(t, err, cart.ErrInvalid)
	_, err = set(mine, "bag", 9_998)
	require.NoError(t, err)

	// Before the carts are merged, both births may turn out to be one person: then their carts are one.
	both := []member.Birth{guest, mine}
	joint := func(sku string, n int64) map[string]int64 {
		t.Helper()
		require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error {
			c, err := s.Set(ctx, tx, cart.SetLine{Birth: mine, Births: both, Touchpoint: member.TouchpointMiniProgram, SKU: sku, Quantity: n})
			if err != nil {
				return err
			}
			seen, err := s.Get(ctx, tx, both)
			require.Equal(t, seen.Lines, c.Lines)
			return err
		}))
		return lines(both...)
	}
	savepoint, err := db.Begin(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"bag": 5, "cup": 3}, joint("bag", 5), "lowered")
	require.Equal(t, map[string]int64{"bag": 5}, joint("cup", 0), "removed from the other's cart")
	require.Equal(t, map[string]int64{}, joint("bag", 0))
	require.NoError(t, savepoint.Rollback(ctx))

	require.NoError(t, s.Merge(ctx, db, guest, mine))
	require.Equal(t, map[string]int64{"bag": 9_999, "cup": 3}, lines(mine))
	require.Empty(t, lines(guest))
	require.NoError(t, s.Merge(ctx, db, guest, mine), "again")
	var b pgx.Batch
	s.QueueEmpty(&b, []member.Birth{mine}, []string{"bag"})
	require.NoError(t, db.SendBatch(ctx, &b).Close())
	require.Equal(t, map[string]int64{"cup": 3}, lines(mine))

	abandoned := func() (n int) {
		require.NoError(t, s.Remind(ctx))
		require.NoError(t, db.QueryRow(ctx, `SELECT count(*) FROM member.activities WHERE key = 'cart_abandoned' AND birth = $1`, int64(mine)).Scan(&n))
		return n
	}
	require.Zero(t, abandoned())
	clk.Advance(time.Hour)
	require.Equal(t, 1, abandoned())
	require.Equal(t, 1, abandoned(), "once per change")
	_, err = set(mine, "cup", 4)
	require.NoError(t, err)
	clk.Advance(2 * time.Hour)
	require.Equal(t, 2, abandoned())
	var added int
	require.NoError(t, db.QueryRow(ctx, `SELECT sum((props->>'quantity')::int) FROM member.activities WHERE key = 'cart_added'`).Scan(&added))
	require.Equal(t, 2+1+3+9_998+1, added)
}
