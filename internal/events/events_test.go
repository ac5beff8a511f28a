package events_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

type paid struct {
	Order string `json:"order"`
}

func (paid) EventName() string { return "commerce.order.paid" }

func TestEventExistsExactlyIfItsFactDoes(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), pgtest.DB(t)
	runner := jobs.New(db, slog.New(slog.DiscardHandler))
	bus := events.New(db, clock.System{}, runner)
	var handled atomic.Int32
	done := make(chan string, 8)
	bus.Subscribe("commerce.order.paid", "test.note", func(ctx context.Context, tx pgx.Tx, e events.Envelope) error {
		p, err := events.Decode[paid](e)
		if err != nil {
			return err
		}
		handled.Add(1)
		done <- p.Order
		return nil
	})

	// when one transaction commits and another rolls back
	require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error { return bus.Publish(ctx, tx, paid{"kept"}) }))
	boom := errors.New("boom")
	require.ErrorIs(t, pg.InTx(ctx, db, func(tx pgx.Tx) error {
		if err := bus.Publish(ctx, tx, paid{"lost"}); err != nil {
			return err
		}
		return boom
	}), boom)

	// then only the committed one is delivered
	run, stop := context.WithCancel(ctx)
	finished := make(chan error, 1)
	go func() { finished <- runner.Run(run) }()
	select {
	case order := <-done:
		require.Equal(t, "kept", order)
	case <-time.After(30 * time.Second):
		t.Fatal("event was not delivered")
	}
	stop()
	require.NoError(t, <-finished)
	require.EqualValues(t, 1, handled.Load())
}
