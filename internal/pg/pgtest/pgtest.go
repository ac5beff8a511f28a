// Package pgtest gives tests a real PostgreSQL. Tx is the default: a transaction on a migrated database that is rolled
// back at the end. DB clones a template database, for tests where commits, several connections or processes matter.
// Both need LIANKE_TEST_DATABASE_URL, which `make test` sets; without it a test fails, it never skips.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
)

// EnvURL names the variable that holds the URL of a server on which the tests may create databases.
const EnvURL = "LIANKE_TEST_DATABASE_URL"

var shared struct {
	sync.Mutex
	pool *pg.Pool
}

// Tx returns a transaction on a migrated database that is rolled back when the test ends.
func Tx(t testing.TB) pgx.Tx {
	t.Helper()
	pool := sharedPool(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = tx.Rollback(ctx)
	})
	return tx
}

// sharedPool returns the pool that all tests of one binary share, on the template's twin; it lives as long as the process.
func sharedPool(t testing.TB) *pg.Pool {
	t.Helper()
	shared.Lock()
	defer shared.Unlock() // also when a failing test leaves through Goexit
	if shared.pool == nil {
		name := "tx_" + pg.MigrationHash()
		ensure(t, name)
		pool, err := pg.Open(context.Background(), withDatabase(t, name), 16)
		require.NoError(t, err)
		shared.pool = pool
	}
	return shared.pool
}

// DB returns a pool on a database of the test's own, cloned from the migrated template and dropped when the test ends.
func DB(t testing.TB) *pg.Pool {
	t.Helper()
	pool, err := pg.Open(context.Background(), URL(t), 20)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// URL creates a database like DB and returns its URL, for tests that start processes of their own.
func URL(t testing.TB) string {
	t.Helper()
	template := "tpl_" + pg.MigrationHash()
	ensure(t, template)
	var suffix [8]byte
	_, err := rand.Read(suffix[:])
	require.NoError(t, err)
	name := "t_" + hex.EncodeToString(suffix[:])
	admin(t, func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s STRATEGY wal_log`, name, template))
		require.NoError(t, err)
	})
	t.Cleanup(func() {
		admin(t, func(ctx context.Context, conn *pgx.Conn) {
			_, _ = conn.Exec(ctx, fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, name))
		})
	})
	return withDatabase(t, name)
}

var ensured sync.Map

// ensure creates the migrated database of that name once per server: built under a temporary name and renamed, so a
// killed test run leaves no half-migrated template.
func ensure(t testing.TB, name string) {
	t.Helper()
	if _, ok := ensured.Load(name); ok {
		return
	}
	admin(t, func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext('lianke pgtest'))`)
		require.NoError(t, err)
		defer func() { _, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtext('lianke pgtest'))`) }()
		var exists bool
		require.NoError(t, conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists))
		if exists {
			return
		}
		tmp := "tmp_" + name
		_, err = conn.Exec(ctx, fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, tmp))
		require.NoError(t, err)
		_, err = conn.Exec(ctx, fmt.Sprintf(`CREATE DATABASE %s`, tmp))
		require.NoError(t, err)
		pool, err := pg.Open(ctx, withDatabase(t, tmp), 4)
		require.NoError(t, err)
		err = pg.Migrate(ctx, pool, slog.New(slog.DiscardHandler))
		pool.Close()
		require.NoError(t, err)
		_, err = conn.Exec(ctx, fmt.Sprintf(`ALTER DATABASE %s RENAME TO %s`, tmp, name))
		require.NoError(t, err)
	})
	ensured.Store(name, true)
}

func admin(t testing.TB, fn func(ctx context.Context, conn *pgx.Conn)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, serverURL(t))
	require.NoError(t, err)
	defer conn.Close(ctx)
	fn(ctx, conn)
}

func serverURL(t testing.TB) string {
	t.Helper()
	u := os.Getenv(EnvURL)
	if u == "" {
		t.Fatalf("%s is not set: run `make test`, or point it at a PostgreSQL 15+ server on which databases may be created", EnvURL)
	}
	return u
}

func withDatabase(t testing.TB, name string) string {
	t.Helper()
	u, err := url.Parse(serverURL(t))
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}
