package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member/identity"
)

// overlappingMembers writes a members file in which few identifiers meet in ever new pairs, so that nearly every row
// merges or contests something.
func overlappingMembers(t *testing.T, source string, rows int, seed uint64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	var b strings.Builder
	b.WriteString("source,source_id,registered_at,name,phone,email,wechat_subject,wechat_unionid\n")
	names := []string{"沈若溪", "何思齐", "林晚晴", ""}
	for i := range rows {
		person := r.IntN(rows / 2)
		email, union := "", ""
		if r.IntN(3) == 0 {
			email = fmt.Sprintf("p%d@example.com", person+r.IntN(2))
		}
		if r.IntN(3) == 0 {
			union = fmt.Sprintf("u-%d", person)
		}
		fmt.Fprintf(&b, "%s,id-%d,2026-01-%02d,%s,138%08d,%s,brand,%s\n", source, i, 1+r.IntN(28), names[r.IntN(len(names))], 1000+person, email, union)
	}
	path := filepath.Join(t.TempDir(), source+".csv")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

// evidenceByIdentifier is all evidence and how often it was seen, whatever the numbers of its births.
func evidenceByIdentifier(t *testing.T, db *pg.Pool) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), `
SELECT concat_ws(' ', e.kind, e.source, e.n, e.first_at, e.last_at, LEAST(a.key, b.key), GREATEST(a.key, b.key))
FROM member.evidence e
JOIN (SELECT birth, concat_ws(':', ns, scope, encode(vh, 'hex')) AS key FROM member.identifiers) a ON a.birth = e.a_birth
JOIN (SELECT birth, concat_ws(':', ns, scope, encode(vh, 'hex')) AS key FROM member.identifiers) b ON b.birth = e.b_birth`)
	require.NoError(t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

// clustersByIdentifier is who is one person, whatever the numbers of births.
func clustersByIdentifier(t *testing.T, db *pg.Pool) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), `
SELECT string_agg(concat_ws(':', i.ns, i.scope, encode(i.vh, 'hex'), i.epoch), ' ' ORDER BY i.ns, i.scope, i.vh, i.epoch)
FROM member.births b
JOIN member.identifiers i USING (birth)
GROUP BY b.root`)
	require.NoError(t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

func TestKilledInTheMiddleOfAMergeStorm(t *testing.T) {
	t.Parallel()
	keys := t.TempDir() // one master key, so that identifiers compare
	crashed := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: keys}
	pos, tmall := overlappingMembers(t, "pos", 3000, 1), overlappingMembers(t, "tmall", 3000, 2)
	db, err := pg.Open(t.Context(), crashed.DatabaseURL, 4)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	births := func() (n int) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM member.births`).Scan(&n))
		return n
	}

	// Two processes import overlapping people at once and are killed, twice.
	for range 2 {
		goal := births() + 1500
		a := harness.Command(t, crashed, "import", "members", pos, "--json")
		b := harness.Command(t, crashed, "import", "members", tmall, "--json")
		a.Await("people were merged", func() bool { return births() > goal || !b.Running() })
		a.Kill()
		b.Kill()
	}
	for _, file := range []string{pos, tmall} {
		_, code := harness.Run(t, crashed, "import", "members", file, "--json")
		require.Zero(t, code)
	}
	wrong, err := identity.Audit(t.Context(), db)
	require.NoError(t, err)
	require.Empty(t, wrong, "births in another cluster than the evidence says")

	// The same files, undisturbed and in the other order, leave the same evidence and the same people, though most times are
	// equal: nothing was lost, nothing counted twice, and nobody is somebody else for having come first.
	calm := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: keys}
	for _, file := range []string{tmall, pos} {
		_, code := harness.Run(t, calm, "import", "members", file, "--json")
		require.Zero(t, code)
	}
	other, err := pg.Open(t.Context(), calm.DatabaseURL, 4)
	require.NoError(t, err)
	t.Cleanup(other.Close)
	require.Equal(t, evidenceByIdentifier(t, other), evidenceByIdentifier(t, db))
	require.Equal(t, clustersByIdentifier(t, other), clustersByIdentifier(t, db))
	p, code := harness.Run(t, crashed, "identity", "audit", "--json")
	require.Zero(t, code)
	var report struct{ OK bool }
	p.JSON(&report)
	require.True(t, report.OK)
}
