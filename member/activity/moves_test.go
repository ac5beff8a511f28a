package activity_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// move gives births another root, as identity does.
func (b bundle) move(t require.TestingT, root member.Birth, births ...member.Birth) {
	require.NoError(t, pg.InTx(b.ctx, b.db, func(tx pgx.Tx) error {
		found, err := tx.Query(b.ctx, `SELECT root FROM member.births JOIN unnest($1::bigint[]) WITH ORDINALITY AS t (birth, n) USING (birth) ORDER BY n`, births)
		if err != nil {
			return err
		}
		old, err := pgx.CollectRows(found, pgx.RowTo[member.Birth])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(b.ctx, `UPDATE member.births SET root = $1 WHERE birth = ANY ($2)`, root, births); err != nil {
			return err
		}
		var q pgx.Batch
		b.log.QueueTouch(&q, []member.Birth{root}, activity.KeyIdentity, member.ModeLive, noon)
		b.log.QueueMoved(&q, births, old)
		return tx.SendBatch(b.ctx, &q).Close()
	}))
}

// sequence numbers what has committed, through another consumer.
func (b bundle) sequence(t require.TestingT) {
	_, err := b.log.Drain(b.ctx, "other", func(context.Context, pgx.Tx, []activity.Row) error { return nil })
	require.NoError(t, err)
}

var errEnough = errors.New("enough")

// consume handles a number of batches and returns their rows in order.
func (b bundle) consume(t require.TestingT, consumer string, batches int) (rows []activity.Row) {
	_, err := b.log.Drain(b.ctx, consumer, func(_ context.Context, _ pgx.Tx, batch []activity.Row) error {
		if batches--; batches < 0 {
			return errEnough
		}
		rows = append(rows, batch...)
		return nil
	})
	if err != nil {
		require.ErrorIs(t, err, errEnough)
	}
	return rows
}

// A merge moves a member's later rows to another shard. They wait there for the earlier ones.
func TestRowsAfterAMergeAreReadAfterThoseBeforeIt(t *testing.T) {
	t.Parallel()
	b := setup(t, 50)
	var first, second member.Birth // of different shards
	require.NoError(t, b.db.QueryRow(b.ctx, `SELECT 1, min(i) FROM generate_series(2, 50) i WHERE abs(hashint8(i) % 8) <> abs(hashint8(1) % 8)`).Scan(&first, &second))
	require.Empty(t, b.drain(t, "c"))
	b.append(t, viewed(second, "before", noon, "a"))
	b.sequence(t)
	b.move(t, first, second)
	for i := range 20 { // the new shard is the one furthest behind, so it would be read first
		b.append(t, viewed(first, fmt.Sprint("x", i), noon, "x"))
	}
	b.append(t, viewed(second, "after", noon, "b"))
	b.sequence(t)
	var skus []string
	for _, r := range b.drain(t, "c") {
		require.Equal(t, member.ID(first), r.Root)
		if r.Key != activity.KeyIdentity {
			skus = append(skus, string(r.Props))
		}
	}
	require.Len(t, skus, 22)
	require.Contains(t, skus[0], `"a"`)
	require.Contains(t, skus[21], `"b"`)
}

// Whatever moves, and however far a consumer has read: rows of a birth come in the order in which they were written, and
// no row of a member comes before an earlier one if the member did not change in between.
func TestOrderSurvivesMoves(t *testing.T) {
	t.Parallel()
	b := setup(t, 400)
	next := member.Birth(1)
	rapid.Check(t, func(rt *rapid.T) {
		if next > 390 {
			return
		}
		births := []member.Birth{next, next + 1, next + 2, next + 3}
		next += 4
		root := map[member.Birth]member.Birth{}
		for _, x := range births {
			root[x] = x
		}
		written := map[int64]member.Birth{}
		changed := map[member.Birth]int64{} // the last row written when the cluster of the birth changed
		seen := map[int64]bool{}
		last := int64(0)
		take := func(rows []activity.Row) {
			for _, r := range rows {
				if r.ActivityID == 0 {
					continue
				}
				var n int64
				_, err := fmt.Sscanf(string(r.Props), `{"sku": "%d"`, &n)
				require.NoError(rt, err)
				for m, whose := range written {
					if m < n && !seen[m] && root[whose] == root[r.Birth] {
						require.NotEqual(rt, r.Birth, whose, "row %d of birth %d before %d", n, whose, m)
						require.LessOrEqual(rt, n, changed[r.Birth], "row %d of birth %d before %d of %d", n, r.Birth, m, whose)
					}
				}
				seen[n] = true
			}
		}
		consumer := fmt.Sprint("c", next)
		b.consume(rt, consumer, 100_000)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				last++
				written[last] = rapid.SampledFrom(births).Draw(rt, "birth")
				b.append(t, viewed(written[last], fmt.Sprintf("%s/%d", consumer, last), noon, fmt.Sprint(last)))
			case 2:
				x, to := rapid.SampledFrom(births).Draw(rt, "mover"), rapid.SampledFrom(births).Draw(rt, "to")
				heads := slices.ContainsFunc(births, func(y member.Birth) bool { return y != x && root[y] == x })
				if to > x || to != x && root[to] != to || heads || root[x] == to {
					continue
				}
				b.move(rt, to, x)
				old := root[x]
				root[x] = to
				for _, y := range births {
					if root[y] == old || root[y] == to {
						changed[y] = last
					}
				}
			case 3:
				b.sequence(rt)
			case 4:
				take(b.consume(rt, consumer, rapid.IntRange(1, 3).Draw(rt, "batches")))
			}
		}
		take(b.consume(rt, consumer, 100_000))
		require.Len(rt, seen, len(written))
		require.NoError(rt, b.log.Retire(b.ctx, consumer))
	})
}
