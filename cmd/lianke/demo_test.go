package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/templates/demo"
)

// TestDemo plays the whole demo as a person would and holds it to its own checks.
func TestDemo(t *testing.T) {
	t.Parallel()
	p, status := harness.Run(t, harness.Options{DatabaseURL: pgtest.URL(t)}, "demo", "--once", "--seed", "2", "--json")
	var report demoReport
	p.JSON(&report)
	for name, c := range report.Checks {
		require.True(t, c.OK, "%s: %s %v", name, c.Said, c.Wrong)
	}
	require.Equal(t, 0, status, p.Log())
	require.Len(t, report.Checks, 13)
	require.Greater(t, report.Members, int64(2500))
	require.Positive(t, report.Messages["clicked"])
}

// The sieve sees every secret wherever it stands, and nothing else.
func TestLeakSieve(t *testing.T) {
	t.Parallel()
	w, err := demo.New(demo.Options{Seed: 2, Today: clock.DayOf(time.Now()), OpenID: sandbox.OpenID, UnionID: sandbox.UnionID})
	require.NoError(t, err)
	require.Greater(t, len(newLeakSieve(w).secret), 10_000)
	s := newLeakSieve(w)
	var all []string
	for v := range s.secret {
		all = append(all, v)
	}
	for i, v := range all {
		s.found = map[string]bool{}
		before, after := strings.Repeat("会x", i%9), strings.Repeat("\t1", i%7)
		_, err := s.Write([]byte(before + v[:len(v)-1]))
		require.NoError(t, err)
		require.Empty(t, s.found, v)
		_, err = s.Write([]byte(before + v + after))
		require.NoError(t, err)
		require.Equal(t, map[string]bool{v: true}, s.found)
	}
}

// The demo replaces an earlier demo, but touches nothing else.
func TestDemoRefusesOtherData(t *testing.T) {
	t.Parallel()
	o := harness.Options{DatabaseURL: pgtest.URL(t)}
	db, err := pg.Open(t.Context(), o.DatabaseURL, 2)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(t.Context(), `
		INSERT INTO core.operators (id, login, name, password_hash, roles, created_at, updated_at)
		VALUES (gen_random_uuid(), 'somebody', '', '', '{admin}', now(), now())`)
	require.NoError(t, err)
	p, status := harness.Run(t, o, "demo", "--once")
	require.Equal(t, 1, status)
	require.Contains(t, p.Log(), "demo.foreign_data")
	var operators int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM core.operators`).Scan(&operators))
	require.Equal(t, 1, operators)

	_, err = db.Exec(t.Context(), `INSERT INTO core.demo (seed, loaded_at) VALUES (1, now())`)
	require.NoError(t, err)
	require.NoError(t, clearDemo(t.Context(), db), "an earlier demo is replaced, with the operators who signed in to it")
	var left bool
	require.NoError(t, db.QueryRow(t.Context(), `SELECT to_regclass('core.operators') IS NOT NULL`).Scan(&left))
	require.False(t, left)
}
