package pg_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestStepsCommitBothOrNothing(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), pgtest.DB(t)
	_, err := db.Exec(ctx, `CREATE TABLE steps (n integer PRIMARY KEY)`)
	require.NoError(t, err)
	count := func() (n int) {
		require.NoError(t, db.QueryRow(ctx, `SELECT count(*) FROM steps`).Scan(&n))
		return n
	}
	insert := func(b *pgx.Batch, n int) { b.Queue(`INSERT INTO steps VALUES (@n)`, pg.Args{"n": n}) }

	t.Run("both batches are committed", func(t *testing.T) {
		require.NoError(t, pg.InSteps(ctx, db, pg.Steps{
			Read:  func(b *pgx.Batch) { insert(b, 1) },
			Write: func(b *pgx.Batch) error { insert(b, 2); return nil },
		}))
		require.Equal(t, 2, count())
	})
	t.Run("an error in either batch or between them keeps both out", func(t *testing.T) {
		stop := errors.New("stop")
		for name, s := range map[string]pg.Steps{
			"read":    {Read: func(b *pgx.Batch) { insert(b, 3); insert(b, 1) }, Write: func(*pgx.Batch) error { return nil }},
			"between": {Read: func(b *pgx.Batch) { insert(b, 3) }, Write: func(*pgx.Batch) error { return stop }},
			"write":   {Read: func(b *pgx.Batch) { insert(b, 3) }, Write: func(b *pgx.Batch) error { insert(b, 4); insert(b, 1); return nil }},
		} {
			err := pg.InSteps(ctx, db, s)
			require.Error(t, err, name)
			if !errors.Is(err, stop) {
				require.Equal(t, "steps_pkey", pg.Constraint(err), name)
			}
			require.Equal(t, 2, count(), name)
		}
	})
	t.Run("what is asked for again is run again", func(t *testing.T) {
		reads, writes := 0, 0
		require.NoError(t, pg.InSteps(ctx, db, pg.Steps{
			Read: func(b *pgx.Batch) { reads++; insert(b, 10+reads) },
			Write: func(b *pgx.Batch) error {
				if writes++; writes == 1 {
					insert(b, 1)
				}
				return nil
			},
			Explain: func(err error) error {
				if pg.Constraint(err) == "steps_pkey" {
					return errors.Join(err, pg.ErrRetry)
				}
				return err
			},
		}))
		require.Equal(t, []int{2, 2}, []int{reads, writes})
		require.Equal(t, 3, count())
	})
}
