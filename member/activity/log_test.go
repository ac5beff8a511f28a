package activity_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

type bundle struct {
	ctx context.Context
	db  *pg.Pool
	log *activity.Log
}

func setup(t *testing.T, births int) bundle {
	t.Helper()
	b := bundle{ctx: t.Context(), db: pgtest.DB(t)}
	b.log = activity.NewLog(b.db, clock.System{}, slog.New(slog.DiscardHandler))
	_, err := b.db.Exec(b.ctx, `
		INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
		SELECT i, i, i, 'source', true, now() FROM generate_series(1, $1) i`, births)
	require.NoError(t, err)
	_, err = b.db.Exec(b.ctx, `
		INSERT INTO member.members (id, is_member, updated_at) SELECT i, true, now() FROM generate_series(1, $1) i`, births)
	require.NoError(t, err)
	return b
}

func (b bundle) append(t *testing.T, items ...activity.Activity) []activity.Outcome {
	t.Helper()
	var out []activity.Outcome
	require.NoError(t, pg.InTx(b.ctx, b.db, func(tx pgx.Tx) (err error) {
		out, err = b.log.Append(b.ctx, tx, items)
		return err
	}))
	return out
}

func (b bundle) drain(t *testing.T, consumer string) []activity.Row {
	t.Helper()
	var rows []activity.Row
	_, err := b.log.Drain(b.ctx, consumer, func(_ context.Context, _ pgx.Tx, batch []activity.Row) error {
		rows = append(rows, batch...)
		return nil
	})
	require.NoError(t, err)
	return rows
}

func viewed(birth member.Birth, key string, at time.Time, sku string) activity.Activity {
	return activity.Activity{
		Birth: birth, Key: activity.KeyProductViewed, OccurredAt: at, Touchpoint: member.TouchpointApp, Mode: member.ModeLive,
		Source: "test", DedupeKey: key, Props: map[string]any{"sku": sku, "price_fen": 12750},
	}
}

var noon = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

func TestReplayChangesNothingAndRevisionReplaces(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)

	// given two activities, one key twice in the same call
	out := b.append(t, viewed(1, "k1", noon, "22423"), viewed(2, "k2", noon, "22423"), viewed(1, "k1", noon, "22423"))
	require.Equal(t, []activity.Outcome{activity.Inserted, activity.Inserted, activity.Duplicate}, out)
	require.Len(t, b.drain(t, "c"), 2)

	// when they are replayed, then nothing changes
	require.Equal(t, []activity.Outcome{activity.Duplicate}, b.append(t, viewed(1, "k1", noon, "22423")))
	require.Empty(t, b.drain(t, "c"))

	// when one says something else and moves to another birth and month
	earlier := noon.AddDate(0, -2, 0)
	require.Equal(t, []activity.Outcome{activity.Updated}, b.append(t, viewed(2, "k1", earlier, "22699")))

	// then it is replaced, both births hear of it, and nothing is set in motion
	rows := b.drain(t, "c")
	require.Len(t, rows, 2)
	for _, r := range rows {
		require.Equal(t, member.ModeBackfill, r.Mode)
	}
	entries, err := b.log.Timeline(b.ctx, b.db, []member.Birth{1, 2}, activity.TimelineQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.JSONEq(t, `{"sku":"22699","price_fen":12750}`, string(entries[1].Props))
	var first time.Time
	require.NoError(t, b.db.QueryRow(b.ctx, `SELECT first_fact_at FROM member.members WHERE id = 2`).Scan(&first))
	require.True(t, first.Equal(earlier))

	// when the source withdraws it, then it is gone and may come again
	require.NoError(t, pg.InTx(b.ctx, b.db, func(tx pgx.Tx) error {
		n, err := b.log.Retract(b.ctx, tx, "test", []string{"k1", "unknown"})
		require.Equal(t, 1, n)
		return err
	}))
	require.Len(t, b.drain(t, "c"), 1)
	require.Equal(t, []activity.Outcome{activity.Inserted}, b.append(t, viewed(1, "k1", noon, "22423")))
}

func TestBadInputNamesTheFieldAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	for field, spoil := range map[string]func(*activity.Activity){
		"birth":       func(a *activity.Activity) { a.Birth = 0 },
		"key":         func(a *activity.Activity) { a.Key = "$profile" },
		"occurred_at": func(a *activity.Activity) { a.OccurredAt = time.Time{} },
		"mode":        func(a *activity.Activity) { a.Mode = "maybe" },
		"dedupe_key":  func(a *activity.Activity) { a.DedupeKey = "" },
		"props":       func(a *activity.Activity) { a.Props["x"] = strings.Repeat("x", activity.MaxPropsLength) },
	} {
		good, bad := viewed(1, "good", noon, "1"), viewed(1, "bad", noon, "1")
		spoil(&bad)
		err := pg.InTx(b.ctx, b.db, func(tx pgx.Tx) error {
			_, err := b.log.Append(b.ctx, tx, []activity.Activity{good, bad})
			return err
		})
		require.ErrorIs(t, err, activity.ErrInvalid, field)
		require.Equal(t, field, fault.From(err).Fields[0].Path)
	}
	require.Empty(t, b.drain(t, "c"))
}

// A long transaction elsewhere, even one that has appended itself, delays nobody else's rows; and its own rows come when
// it commits, although smaller inbox ids were passed by long ago.
func TestLongTransactionDelaysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	slow, err := b.db.Begin(b.ctx)
	require.NoError(t, err)
	defer slow.Rollback(b.ctx) //nolint:errcheck // committed below
	_, err = b.log.Append(b.ctx, slow, []activity.Activity{viewed(1, "slow", noon, "1")})
	require.NoError(t, err)

	for i := range 20 {
		b.append(t, viewed(2, fmt.Sprint(i), noon, "1"))
		rows := b.drain(t, "c")
		require.Len(t, rows, 1)
		require.EqualValues(t, 2, rows[0].Birth)
	}
	require.NoError(t, slow.Commit(b.ctx))
	rows := b.drain(t, "c")
	require.Len(t, rows, 1)
	require.EqualValues(t, 1, rows[0].Birth)
}

// Writers commit in any order, some roll back, two processes follow as one consumer while another fails now and then:
// every committed row is handled exactly once, and rows of one birth in their order.
func TestEveryRowOnceInOrder(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 60
	b := setup(t, writers)
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	_, err := b.db.Exec(b.ctx, `CREATE TABLE public.seen (n bigserial, birth bigint, key text, UNIQUE (birth, key))`)
	require.NoError(t, err)

	var loops sync.WaitGroup
	for p := range 2 {
		l := activity.NewLog(b.db, clock.System{}, slog.New(slog.DiscardHandler))
		loops.Go(func() { _ = l.RunSequencer(ctx) })
		calls := 0
		loops.Go(func() {
			_ = l.Follow(ctx, "c", func(ctx context.Context, tx pgx.Tx, batch []activity.Row) error {
				for _, r := range batch {
					if _, err := tx.Exec(ctx, `INSERT INTO public.seen (birth, key) VALUES ($1, $2)`, r.Birth, r.Key); err != nil {
						return err
					}
				}
				calls++
				if calls%5 == p {
					return fmt.Errorf("handler fails now and then")
				}
				return nil
			})
		})
	}

	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_ = pg.InTx(ctx, b.db, func(tx pgx.Tx) error {
					a := viewed(member.Birth(w+1), fmt.Sprintf("%d-%d", w, i), noon, "1")
					a.Key = fmt.Sprintf("step_%03d", i)
					if _, err := b.log.Append(ctx, tx, []activity.Activity{a}); err != nil {
						return err
					}
					if i%7 == 3 {
						return fmt.Errorf("rolled back")
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
	var want int
	require.NoError(t, b.db.QueryRow(b.ctx, `SELECT count(*) FROM member.activities`).Scan(&want))
	require.Eventually(t, func() bool {
		lag, err := b.log.Lag(b.ctx, "c")
		return err == nil && lag == 0
	}, 30*time.Second, 20*time.Millisecond)
	stop()
	loops.Wait()
	var got, disorder int
	require.NoError(t, b.db.QueryRow(b.ctx, `
		SELECT count(*), count(*) FILTER (WHERE key < prev)
		FROM (SELECT key, lag(key) OVER (PARTITION BY birth ORDER BY n) AS prev FROM public.seen) s`).Scan(&got, &disorder))
	require.Equal(t, want, got)
	require.Zero(t, disorder)
}

// A transaction that has used the log before can append to a month that gets its partition only now.
func TestNewMonthWithinATransaction(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	require.NoError(t, pg.InTx(b.ctx, b.db, func(tx pgx.Tx) error {
		for i := range 24 {
			at := noon.AddDate(0, -i, 0)
			if _, err := b.log.Append(b.ctx, tx, []activity.Activity{viewed(1, fmt.Sprint(i), at, "1")}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Len(t, b.drain(t, "c"), 24)
}

// The first writers of a month occupy the whole pool, and none of them waits for a connection that another holds.
func TestFirstWritersOfAMonthDoNotWaitForThePool(t *testing.T) {
	t.Parallel()
	const writers, conns = 64, 10
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := pg.Open(ctx, pgtest.URL(t), conns)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	log := activity.NewLog(db, clock.System{}, slog.New(slog.DiscardHandler))

	var full, done sync.WaitGroup // full: every connection of the pool is in a transaction
	full.Add(conns)
	begun := make(chan struct{}, conns)
	errs := make([]error, writers)
	for w := range writers {
		done.Go(func() {
			errs[w] = pg.InTx(ctx, db, func(tx pgx.Tx) error {
				select {
				case begun <- struct{}{}: // one of the first ten, in its first attempt
					full.Done()
					full.Wait()
				default:
				}
				at := noon.AddDate(3, w%3, 0)
				_, err := log.Append(ctx, tx, []activity.Activity{viewed(member.Birth(w+1), fmt.Sprint(w), at, "1")})
				return err
			})
		})
	}
	done.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM member.activities`).Scan(&n))
	require.Equal(t, writers, n)
}
