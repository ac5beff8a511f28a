package tracking_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The official client from npm, unchanged, against the tracking API. It needs Node and the registry (or npm's cache).
func TestOfficialSegmentClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "send.js"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "test", "segment-client", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	command := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
	command("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	command("node", "send.js", b.url, writeKey)

	rows, err := b.db.Query(t.Context(), `
		SELECT a.key, count(*), coalesce(sum((a.props->>'amount_fen')::bigint), 0)
		FROM member.activities a GROUP BY a.key`)
	require.NoError(t, err)
	got := map[string][2]int64{}
	for rows.Next() {
		var key string
		var n [2]int64
		require.NoError(t, rows.Scan(&key, &n[0], &n[1]))
		got[key] = n
	}
	require.NoError(t, rows.Err())
	require.Equal(t, map[string][2]int64{
		"product_viewed": {1, 0}, "order_paid": {1, 15700}, "product_purchased": {2, 15700}, "page_viewed": {1, 0}, "screen_viewed": {1, 0}, "打卡": {40, 0},
	}, got)
	var members, roots int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*) FROM member.members WHERE is_member`).Scan(&members))
	require.Equal(t, 5, members)
	// u1, the device it signed in on and the identity it had before are one.
	require.NoError(t, b.db.QueryRow(t.Context(), `
		SELECT count(*) FROM member.births WHERE root = (SELECT root FROM member.births b JOIN member.attributes a USING (birth) WHERE a.name = 'attr.level')`).Scan(&roots))
	require.Equal(t, 3, roots)
}
