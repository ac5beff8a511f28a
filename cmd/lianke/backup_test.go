package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestBackupAndRestoreGiveTheSameInstallation(t *testing.T) {
	t.Parallel()
	// Given an installation with rows in partitions, in sequences and in the job queue's schema, a key and a file
	source := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	_, code := harness.Run(t, source, "migrate")
	require.Equal(t, 0, code)
	fill(t, source.DatabaseURL)
	blob := filepath.Join(source.DataDir, "blobs", "ab", "picture.png")
	require.NoError(t, os.MkdirAll(filepath.Dir(blob), 0o700))
	require.NoError(t, os.WriteFile(blob, []byte("picture"), 0o600))
	require.FileExists(t, filepath.Join(source.DataDir, "master.key"), "made at first start")

	// When it is backed up and restored elsewhere
	file := filepath.Join(t.TempDir(), "lianke.backup")
	p, code := harness.Run(t, source, "backup", "--json", file)
	require.Equal(t, 0, code, p.Log())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	p, code = harness.Run(t, source, "backup", file)
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "exists")

	target := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	p, code = harness.Run(t, target, "restore", file)
	require.Equal(t, 1, code, "a database with tables is not overwritten")
	require.Contains(t, p.Log(), "not empty")
	p, code = harness.Run(t, target, "restore", "--force", file)
	require.Equal(t, 0, code, p.Log())

	// Then every table, every sequence, the key and the file are the same, and it runs.
	want := contents(t, source.DatabaseURL)
	require.Greater(t, len(want), 20)
	require.Equal(t, want, contents(t, target.DatabaseURL))
	for _, name := range []string{"master.key", "blobs/ab/picture.png"} {
		a, err := os.ReadFile(filepath.Join(source.DataDir, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(target.DataDir, name))
		require.NoError(t, err)
		require.Equal(t, a, b, name)
	}
	harness.Start(t, target).Stop()
}

func TestADamagedBackupChangesNothing(t *testing.T) {
	t.Parallel()
	source := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	file := filepath.Join(t.TempDir(), "lianke.backup")
	p, code := harness.Run(t, source, "migrate")
	require.Equal(t, 0, code, p.Log())
	p, code = harness.Run(t, source, "backup", file)
	require.Equal(t, 0, code, p.Log())
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, whole[:len(whole)/2], 0o600))

	target := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	before := contents(t, target.DatabaseURL)
	p, code = harness.Run(t, target, "restore", "--force", file)
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "not a complete Lianke backup")
	require.Equal(t, before, contents(t, target.DatabaseURL))
	require.NoFileExists(t, filepath.Join(target.DataDir, "master.key"))
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func fill(t *testing.T, url string) {
	t.Helper()
	conn := connect(t, url)
	for _, sql := range []string{
		`INSERT INTO core.events (id, name, payload, occurred_at)
			SELECT gen_random_uuid(), 'test.thing.happened', jsonb_build_object('n', n, 'text', '连客 ' || n), '2026-01-01'::timestamptz + n * interval '1 hour'
			FROM generate_series(1, 500) n`,
		`INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
			SELECT nextval('member.birth_seq'), 1, 1, 'phone', true, '2026-01-01' FROM generate_series(1, 200)`,
		`SELECT member.ensure_activity_partitions('2025-10-01', '2026-03-01')`,
		`INSERT INTO member.activities (id, birth, key, occurred_at, recorded_at, mode, source, props)
			SELECT n, n, 'order_paid', '2025-10-01'::timestamptz + n * interval '6 hours', '2026-03-01', 'live', 'test', '{"amount_fen": 100}'
			FROM generate_series(1, 500) n`,
		`INSERT INTO core.leases (name, holder, epoch, expires_at) VALUES ('x', 'y', 7, '2026-01-01')`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

// contents is a hash of every table's rows and the state of every sequence.
func contents(t *testing.T, url string) map[string]string {
	t.Helper()
	conn := connect(t, url)
	rows, err := conn.Query(t.Context(), `
SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`)
	require.NoError(t, err)
	type relation struct{ Name, Kind string }
	relations, err := pgx.CollectRows(rows, pgx.RowToStructByPos[relation])
	require.NoError(t, err)
	out := map[string]string{}
	for _, r := range relations {
		sql := fmt.Sprintf(`SELECT count(*) || ':' || coalesce(md5(string_agg(t::text, E'\n' ORDER BY t::text)), '') FROM %s t`, r.Name)
		if r.Kind == "S" {
			sql = fmt.Sprintf(`SELECT last_value || ':' || is_called FROM %s`, r.Name)
		}
		var v string
		require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&v))
		out[r.Name] = v
	}
	return out
}

func TestAnotherMasterKeyIsRefusedBeforeItSealsAnything(t *testing.T) {
	t.Parallel()
	// Given an installation on a server of its own, and a mistyped data directory, which would get a key of its own
	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	_, code := harness.Run(t, o, "segment", "count", "--rule", "all")
	require.NotZero(t, code, "nothing is installed yet")
	harness.Start(t, o).Stop()
	wrong := o
	wrong.DataDir = t.TempDir()
	p, code := harness.Run(t, wrong, "import", "entities", "/dev/null")
	// Then it is refused, says where to look, and leaves no key behind.
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "installation.other_key")
	require.NoFileExists(t, filepath.Join(wrong.DataDir, "master.key"))
	harness.Start(t, o).Stop()
}
