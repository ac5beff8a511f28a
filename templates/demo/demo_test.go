package demo_test

import (
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/templates/demo"
)

var today = clock.Day{Year: 2026, Month: time.November, Day: 23}

func options(seed uint64) demo.Options {
	join := func(a, b string) string { return "o-" + a + "-" + b }
	return demo.Options{Seed: seed, Today: today, OpenID: join, UnionID: join}
}

type cell struct{ invoice, sku string }

type sum struct {
	units  int64
	amount money.Fen
}

func TestOrdersAndAsideAreTheSource(t *testing.T) {
	t.Parallel()
	w, err := demo.New(options(1))
	require.NoError(t, err)
	want, got := map[cell]sum{}, map[cell]sum{}
	add := func(m map[cell]sum, l demo.Line) {
		s := m[cell{l.Invoice, l.SKU}]
		s.units += l.Quantity
		s.amount += l.Amount()
		m[cell{l.Invoice, l.SKU}] = s
	}
	var total money.Fen
	for _, l := range w.Source {
		add(want, l)
		total += l.Amount()
	}
	// The file's own sum is £6,899,244.463: three lines cost £0.001.
	require.Equal(t, money.Fen(6_899_244_463), total)
	for _, l := range w.Aside {
		add(got, l)
	}
	for _, o := range w.Orders {
		for _, l := range o.Lines {
			add(got, l)
		}
	}
	require.Equal(t, want, got)
	require.Len(t, w.Source, 372_504)
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	w, err := demo.New(options(2))
	require.NoError(t, err)
	var weekdays [7]int
	sold := map[string]time.Time{}
	for _, o := range w.Orders {
		weekdays[o.PlacedAt.In(clock.Shanghai).Weekday()]++
		require.True(t, o.PlacedAt.Before(today.Start()), o.No)
		sold[o.No] = o.PlacedAt
		for _, of := range o.ReturnOf {
			if of != "" {
				require.False(t, o.PlacedAt.Before(sold[of]), "return %s before its order %s", o.No, of)
			}
		}
		if o.Account != nil {
			require.False(t, o.PlacedAt.Before(o.Account.RegisteredAt), o.No)
		}
	}
	require.Equal(t, "2026-11-22", clock.DayOf(w.Orders[len(w.Orders)-1].PlacedAt).String())
	for day, n := range weekdays {
		require.Positive(t, n, time.Weekday(day))
	}
}

func TestStoriesAreThere(t *testing.T) {
	t.Parallel()
	w, err := demo.New(options(3))
	require.NoError(t, err)
	phones, devices := map[string]map[int]bool{}, map[string]map[int]bool{}
	rebound, several := 0, 0
	users := func(m map[string]map[int]bool, v string, person int) {
		if v == "" {
			return
		}
		if m[v] == nil {
			m[v] = map[int]bool{}
		}
		m[v][person] = true
	}
	for _, p := range w.People {
		if len(p.Accounts) > 1 {
			several++
		}
		for _, a := range p.Accounts {
			for _, r := range a.Rows {
				users(phones, r.Phone, p.No)
				users(devices, r.Device, p.No)
			}
			if n := len(a.Rows); n > 1 && a.Rows[0].UnionID != a.Rows[n-1].UnionID {
				rebound++
			}
		}
	}
	sharing := func(m map[string]map[int]bool) (people int) {
		for _, who := range m {
			if len(who) > 1 {
				people += len(who)
			}
		}
		return people
	}
	n := len(w.People)
	require.Greater(t, n, 2500)
	require.GreaterOrEqual(t, sharing(phones)*100, 9*n, "8 %% in households and 1 %% re-issued")
	require.GreaterOrEqual(t, sharing(devices)*100, 3*n)
	require.GreaterOrEqual(t, rebound*100, 2*n)
	require.Greater(t, several*2, n)

	// The truth scores itself perfectly.
	roots := map[[3]string]int64{}
	for _, o := range w.Truth() {
		if !o.Scored {
			continue
		}
		roots[[3]string{o.NS, o.Scope, o.Value}] = int64(o.Person)*1000 + int64(o.Component)
	}
	s := w.ScorePartition(func(ns, scope, value string) (int64, bool) {
		r, ok := roots[[3]string{ns, scope, value}]
		return r, ok
	})
	require.InDelta(t, 1.0, s.Precision, 0)
	require.InDelta(t, 1.0, s.Recall, 0)
	require.Greater(t, s.TruePairs, int64(10_000))
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	sums := map[[32]byte]bool{}
	for range 2 {
		w, err := demo.New(options(7))
		require.NoError(t, err)
		dir := t.TempDir()
		files, err := w.WriteMasterData(dir)
		require.NoError(t, err)
		slices, err := w.WriteSlice(dir, time.Time{}, today.Start())
		require.NoError(t, err)
		h := sha256.New()
		for _, f := range append(files, slices...) {
			text, err := os.ReadFile(f.Path)
			require.NoError(t, err)
			h.Write(text)
			info, err := os.Stat(f.Path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		}
		sums[[32]byte(h.Sum(nil))] = true
	}
	require.Len(t, sums, 1)
}
