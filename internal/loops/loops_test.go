package loops_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/loops"
)

func TestAFailingLoopIsRestartedWithGrowingPausesAndHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var starts []time.Time
		steady := 0
		g := loops.New(slog.New(slog.DiscardHandler), []loops.Loop{
			{Role: "send", Name: "broken", Run: func(context.Context) error {
				starts = append(starts, time.Now())
				switch len(starts) % 3 {
				case 0:
					panic("defect")
				case 1:
					return errors.New("no luck")
				default:
					return nil
				}
			}},
			{Role: "send", Name: "steady", Run: func(ctx context.Context) error {
				steady++
				<-ctx.Done()
				return ctx.Err()
			}},
			{Role: "chat", Name: "of another role", Run: func(context.Context) error { panic("must not run") }},
		}, []string{"send"})
		done := make(chan struct{})
		go func() { g.Run(ctx); close(done) }()

		<-time.After(10 * time.Minute) // of the bubble's own time
		synctest.Wait()
		states := g.States()
		require.Len(t, states, 2)
		require.Equal(t, 1, steady)
		require.True(t, states[1].Running)
		require.Positive(t, states[0].Restarts)
		require.Less(t, starts[1].Sub(starts[0]), time.Second)
		last := len(starts) - 1
		require.Greater(t, starts[last].Sub(starts[last-1]), 14*time.Second)
		require.LessOrEqual(t, starts[last].Sub(starts[last-1]), 30*time.Second)

		cancel()
		<-done
	})
}
