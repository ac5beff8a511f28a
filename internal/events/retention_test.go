package events_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestForgetKeepsNinetyDays(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	_, err := tx.Exec(t.Context(), `
		WITH made AS (
			INSERT INTO core.events (id, name, payload, occurred_at)
			SELECT gen_random_uuid(), 'test.old', '{}', $1::timestamptz - n * interval '1 day' FROM generate_series(1, 100) n
			RETURNING id, occurred_at
		)
		INSERT INTO core.event_receipts (event_id, subscriber, handled_at) SELECT id, 'test', occurred_at FROM made`, now)
	require.NoError(t, err)
	bus := events.New(tx, clock.NewVirtual(now), jobs.New(nil, slog.New(slog.DiscardHandler)))
	require.NoError(t, bus.Forget(t.Context()))
	for _, table := range []string{"core.events WHERE name = 'test.old'", "core.event_receipts WHERE subscriber = 'test'"} {
		var n int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
		require.Equal(t, 90, n, table)
	}
}
