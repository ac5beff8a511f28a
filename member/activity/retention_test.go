package activity_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/member/activity"
)

func (b bundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := b.db.Exec(b.ctx, sql, args...)
	require.NoError(t, err)
}

func (b bundle) count(t *testing.T, sql string) (n int) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(b.ctx, sql).Scan(&n))
	return n
}

func TestTrimStaysBehindTheSlowestConsumerAndKeepsThreeDays(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	now := time.Date(2026, 5, 10, 0, 0, 0, 0, time.UTC)
	log := activity.NewLog(b.db, clock.NewVirtual(now), slog.New(slog.DiscardHandler))

	// Given 100 rows in a shard, one an hour, the last one now; one consumer has read 40, another 60.
	b.exec(t, `
		INSERT INTO member.feed (shard, seq, birth, key, occurred_at, mode, recorded_at)
		SELECT 0, n, 1, '$profile', $1, 'live', $1::timestamptz - (100 - n) * interval '1 hour' FROM generate_series(1, 100) n`, now)
	b.exec(t, `UPDATE member.feed_shards SET last_seq = 100 WHERE shard = 0`)
	b.exec(t, `INSERT INTO member.feed_cursors (consumer, shard, seq) SELECT c, s, CASE c WHEN 'slow' THEN 20 ELSE 60 END
		FROM unnest(ARRAY['slow', 'fast']) c, generate_series(0, 7) s`)

	// The slowest decides …
	removed, err := log.Trim(b.ctx)
	require.NoError(t, err)
	require.EqualValues(t, 20, removed)
	// … until it is gone; then the age does: 72 hours before now are rows 28 to 100.
	require.NoError(t, log.Retire(b.ctx, "slow"))
	removed, err = log.Trim(b.ctx)
	require.NoError(t, err)
	require.EqualValues(t, 7, removed)
	require.Equal(t, 28, b.count(t, `SELECT min(seq) FROM member.feed`))
	removed, err = log.Trim(b.ctx)
	require.NoError(t, err)
	require.Zero(t, removed)
}

func TestPartitionsAreMadeAhead(t *testing.T) {
	t.Parallel()
	b := setup(t, 0)
	log := activity.NewLog(b.db, clock.NewVirtual(time.Date(2031, 11, 30, 23, 0, 0, 0, time.UTC)), slog.New(slog.DiscardHandler))
	require.NoError(t, log.MakePartitions(b.ctx))
	require.NoError(t, log.MakePartitions(b.ctx), "again changes nothing")
	for _, month := range []string{"203111", "203112", "203201", "203202"} {
		require.Equal(t, 1, b.count(t, `SELECT count(*) FROM pg_class WHERE oid = to_regclass('member.activities_`+month+`')`), month)
	}
}
