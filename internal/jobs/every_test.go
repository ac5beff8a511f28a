package jobs_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestEveryRunsAgainAndAgain(t *testing.T) {
	t.Parallel()
	r := jobs.New(pgtest.DB(t), slog.New(slog.DiscardHandler))
	var runs atomic.Int32
	r.Every("count", time.Second, func(context.Context) error {
		runs.Add(1)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	require.Eventually(t, func() bool { return runs.Load() >= 3 }, 30*time.Second, 20*time.Millisecond,
		"a finished run must not stand in the way of the next")
	cancel()
	require.NoError(t, <-done)
}
