package lease_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), pgtest.DB(t)

	// given a holder whose lease has run out while it slept
	old, ok, err := lease.Acquire(ctx, db, "shard-1", "a", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = lease.Acquire(ctx, db, "shard-1", "b", time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "a live lease has one holder")
	require.NoError(t, old.Renew(ctx, db))
	require.NoError(t, old.Release(ctx, db))

	// when another process takes over
	fresh, ok, err := lease.Acquire(ctx, db, "shard-1", "b", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, fresh.Epoch, old.Epoch)

	// then the sleeper can neither renew nor commit
	require.ErrorIs(t, old.Renew(ctx, db), lease.ErrLost)
	err = pg.InTx(ctx, db, func(tx pgx.Tx) error { return old.Check(ctx, tx) })
	require.ErrorIs(t, err, lease.ErrLost)
	require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error { return fresh.Check(ctx, tx) }))
	require.NoError(t, old.Release(ctx, db), "releasing a lost lease touches nobody")
	require.NoError(t, fresh.Renew(ctx, db))
}
