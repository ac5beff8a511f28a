package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// TestDemo plays the whole demo and then asks for it a second time: what it left is replaced. Data that is not the demo's
// is refused and stays.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load([]string{
		"LIANKE_DATABASE_URL=" + pgtest.URL(t), "LIANKE_REDIS_URL=" + os.Getenv("LIANKE_TEST_REDIS_URL"), "LIANKE_LOG_LEVEL=warn",
	}, dir)
	require.NoError(t, err)
	var said bytes.Buffer
	report, err := demoOnce(t.Context(), console{nil, &said, &said}, cfg, 2)
	require.NoError(t, err, said.String())
	for name, c := range report.Checks {
		require.True(t, c.OK, "%s: %s %v", name, c.Said, c.Wrong)
	}
	require.True(t, report.OK)
	require.Greater(t, report.Members, int64(2500))

	a := newApp(console{nil, &said, &said}, cfg)
	require.NoError(t, a.openStores(t.Context(), embedded.Options{}))
	defer func() { require.NoError(t, a.Close()) }()
	require.NoError(t, clearDemo(t.Context(), a.db), "an earlier demo is replaced")
	_, err = a.db.Exec(t.Context(), `CREATE SCHEMA core; CREATE TABLE core.demo (seed bigint, loaded_at timestamptz); CREATE TABLE core.operators (id bigint);
		CREATE SCHEMA member; CREATE TABLE member.births (birth bigint); INSERT INTO member.births VALUES (1)`)
	require.NoError(t, err)
	require.ErrorIs(t, clearDemo(t.Context(), a.db), errForeignData)
}
