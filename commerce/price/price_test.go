package price_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/price"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

var start = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

func fen(v money.Fen) *money.Fen { return &v }

func catalogue(t testing.TB, tx pgx.Tx) {
	t.Helper()
	require.NoError(t, product.Put(t.Context(), tx, []product.SKU{
		{SKU: "stand", SPU: "stand", Name: "三层蛋糕架", TagPrice: fen(15000), RetailPrice: fen(12750), Status: product.StatusActive},
		{SKU: "cup", SPU: "cup", Name: "茶杯", Status: product.StatusActive},
	}, start))
}

func TestLevelsAndTime(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	catalogue(t, tx)
	clk := clock.NewVirtual(start)
	s := price.New(tx, clk)
	hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	_, err := s.Set(t.Context(), tx, "ann", "spring", []price.Price{
		{SKU: "stand", Kind: price.KindRetail, EffectiveAt: hour(2), PriceFen: fen(11000)},
		{SKU: "stand", Kind: price.KindRetail, Level: "touchpoint:tmall", EffectiveAt: hour(1), PriceFen: fen(10900)},
		{SKU: "stand", Kind: price.KindRetail, Level: "touchpoint:tmall", EffectiveAt: hour(3)}, // ends
		{SKU: "stand", Kind: price.KindRetail, Level: "store:hz01", PriceFen: fen(9900)},
		{SKU: "stand", Kind: price.KindRetail, Level: "partner:A", PriceFen: fen(6500)},
		{SKU: "stand", Kind: price.KindMember, PriceFen: fen(12000)},
		{SKU: "stand", Kind: price.KindMember, Level: "tier:gold", PriceFen: fen(11500)},
		{SKU: "stand", Kind: price.KindFloor, PriceFen: fen(8000)},
		{SKU: "stand", Kind: price.KindCost, PriceFen: fen(5000)},
	})
	require.NoError(t, err)
	retail := func(n int, q price.Query) money.Fen {
		t.Helper()
		q.SKUs, q.At = []string{"stand", "cup", "nothing"}, hour(n)
		all, err := s.Prices(t.Context(), tx, q)
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Nil(t, all["cup"].Retail)
		return *all["stand"].Retail
	}
	require.EqualValues(t, 12750, retail(1, price.Query{}))
	require.EqualValues(t, 11000, retail(2, price.Query{}))
	require.EqualValues(t, 12750, retail(0, price.Query{Touchpoint: "tmall"}))
	require.EqualValues(t, 10900, retail(2, price.Query{Touchpoint: "tmall"}))
	require.EqualValues(t, 11000, retail(3, price.Query{Touchpoint: "tmall"}))
	require.EqualValues(t, 9900, retail(2, price.Query{Touchpoint: "tmall", Store: "hz01", Tier: "gold"}))
	require.EqualValues(t, 6500, retail(2, price.Query{Store: "hz01", Partner: "A"}))
	all, err := s.Prices(t.Context(), tx, price.Query{SKUs: []string{"stand"}, At: start, Tier: "gold"})
	require.NoError(t, err)
	q := all["stand"]
	require.Equal(t, []money.Fen{15000, 12750, 11500, 5000, 8000}, []money.Fen{*q.Tag, *q.Retail, *q.Member, *q.Cost, *q.Floor})
	require.Equal(t, []any{price.KindMember, price.Level("tier:gold"), money.Fen(11500)}, []any{q.Why[2].Kind, q.Why[2].Level, q.Why[2].PriceFen})
	require.True(t, q.Why[2].EffectiveAt.Equal(start))
	require.Nil(t, q.Why[0].EffectiveAt) // the catalogue's

	// The plan may be changed until it holds, and keeps its history.
	change := price.Price{SKU: "stand", Kind: price.KindRetail, EffectiveAt: hour(2), PriceFen: fen(10500)}
	_, err = s.Set(t.Context(), tx, "bob", "typo", []price.Price{change})
	require.NoError(t, err)
	require.EqualValues(t, 10500, retail(2, price.Query{}))
	coming, err := s.Coming(t.Context(), tx, start, 10)
	require.NoError(t, err)
	require.Len(t, coming, 3)
	require.NoError(t, s.Cancel(t.Context(), tx, "bob", "no sale", change))
	require.EqualValues(t, 12750, retail(2, price.Query{}))
	require.ErrorIs(t, s.Cancel(t.Context(), tx, "bob", "", change), price.ErrNotScheduled)
	require.ErrorIs(t, s.Cancel(t.Context(), tx, "bob", "", price.Price{SKU: "stand", Kind: price.KindCost, EffectiveAt: start}), price.ErrNotScheduled)
	history, err := s.History(t.Context(), tx, "stand", "", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"cancel", "bob", "set", "bob"}, []string{history[0].Action, history[0].ChangedBy, history[1].Action, history[1].ChangedBy})
	require.EqualValues(t, 11000, *history[1].OldFen)
	more, err := s.History(t.Context(), tx, "stand", history[1].ID.String(), 100)
	require.NoError(t, err)
	require.Len(t, more, 9)
	plan, err := s.Plan(t.Context(), tx, "stand")
	require.NoError(t, err)
	require.Len(t, plan, 8)
}

func TestBadPricesNameTheirField(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	catalogue(t, tx)
	s := price.New(tx, clock.NewVirtual(start))
	tests := map[string]price.Price{
		"prices[0].sku":          {Kind: price.KindTag},
		"prices[0].kind":         {SKU: "stand", Kind: "list"},
		"prices[0].level":        {SKU: "stand", Kind: price.KindRetail, Level: "tier:gold"},
		"prices[0].price_fen":    {SKU: "stand", Kind: price.KindTag, PriceFen: fen(-1)},
		"prices[0].effective_at": {SKU: "stand", Kind: price.KindTag, EffectiveAt: start.Add(-time.Second)},
	}
	for path, p := range tests {
		_, err := s.Set(t.Context(), tx, "ann", "", []price.Price{p})
		require.ErrorIs(t, err, price.ErrInvalid, path)
		fields := fault.From(err).Fields
		require.Equal(t, path, fields[0].Path)
		require.NotEmpty(t, fields[0].Hint.EN)
	}
	_, err := s.Set(t.Context(), tx, "ann", "", []price.Price{{SKU: "nothing", Kind: price.KindTag}})
	require.ErrorIs(t, err, price.ErrUnknownSKU)
}

func TestImport(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) error { catalogue(t, tx); return nil }))
	path := filepath.Join(t.TempDir(), "prices.csv")
	require.NoError(t, os.WriteFile(path, []byte("sku,kind,level,price_fen,effective_at\n"+
		"stand,retail,,9900,2026-01-01\nstand,member,tier:gold,9500,2026-01-01\nstand,retail,,,2026-02-01\n"+
		"nothing,retail,,1,2026-01-01\nstand,retail,tier:gold,1,2026-01-01\nstand,list,,1,2026-01-01\nstand,retail,,12.5,2026-01-01\n"), 0o600))
	rep, err := importer.New(db, clock.NewVirtual(start), price.Import{}).Run(t.Context(), importer.Input{Kind: "prices", Path: path})
	require.NoError(t, err)
	require.EqualValues(t, []int64{3, 4}, []int64{rep.Accepted, rep.Rejected})
	s := price.New(db, clock.NewVirtual(start))
	for at, want := range map[string]money.Fen{"2026-01-15T00:00:00Z": 9900, "2026-02-15T00:00:00Z": 12750, "2025-12-15T00:00:00Z": 12750} {
		when, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		all, err := s.Prices(t.Context(), db, price.Query{SKUs: []string{"stand"}, At: when})
		require.NoError(t, err)
		require.Equal(t, want, *all["stand"].Retail, at)
	}
}
