package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// open makes book b with hot accounts "in" and "out", free accounts f0…f3 and accounts s0…s3 that must not be overdrawn.
func open(t testing.TB, tx pgx.Tx, l *ledger.Ledger, book string) {
	accounts := []ledger.Account{{Code: "in", Lane: ledger.LaneHot}, {Code: "out", Lane: ledger.LaneHot}}
	for i := range 4 {
		accounts = append(accounts,
			ledger.Account{Code: fmt.Sprintf("f%d", i), Lane: ledger.LaneSpread},
			ledger.Account{Code: fmt.Sprintf("s%d", i), Lane: ledger.LaneSpread, Floor: ledger.Zero()})
	}
	require.NoError(t, l.Open(t.Context(), tx, book, "points", at, accounts...))
}

func TestRandomPostsKeepTheBooks(t *testing.T) {
	t.Parallel()
	ctx, l := t.Context(), ledger.New()
	db := pgtest.Tx(t)
	codes := []string{"in", "out", "f0", "f1", "f2", "f3", "s0", "s1", "s2", "s3"}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		book := fmt.Sprintf("b%d", run)
		open(t, db, l, book)
		model := map[string]int64{}
		var posted []ledger.Transaction
		for range rapid.IntRange(1, 4).Draw(rt, "batches") {
			var batch []ledger.Transaction
			after := map[string]int64{}
			for k, v := range model {
				after[k] = v
			}
			ok, fresh := true, 0
			for range rapid.IntRange(1, 6).Draw(rt, "size") {
				if len(posted) > 0 && rapid.IntRange(0, 5).Draw(rt, "replay") == 0 {
					batch = append(batch, rapid.SampledFrom(posted).Draw(rt, "again"))
					continue
				}
				x := ledger.Transaction{Key: id.New(), Book: book, Kind: "test", At: at}
				var rest int64
				for range rapid.IntRange(1, 4).Draw(rt, "legs") {
					p := ledger.Posting{Account: rapid.SampledFrom(codes).Draw(rt, "account"), Amount: rapid.Int64Range(-50, 50).Filter(func(n int64) bool { return n != 0 }).Draw(rt, "amount")}
					x.Postings, rest = append(x.Postings, p), rest-p.Amount
				}
				if rest != 0 {
					x.Postings = append(x.Postings, ledger.Posting{Account: rapid.SampledFrom(codes).Draw(rt, "last"), Amount: rest})
				}
				if len(x.Postings) < 2 {
					continue
				}
				for _, p := range x.Postings {
					after[p.Account] += p.Amount
				}
				for _, p := range x.Postings {
					ok = ok && (p.Account[0] != 's' || after[p.Account] >= 0)
				}
				batch, fresh = append(batch, x), fresh+1
			}
			err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
				outcomes, err := l.Post(ctx, tx, batch)
				for _, o := range outcomes {
					if o == ledger.Posted {
						fresh--
					}
				}
				return err
			})
			if !ok {
				require.ErrorIs(rt, err, ledger.ErrInsufficient)
				continue
			}
			require.NoError(rt, err)
			require.Zero(rt, fresh)
			model, posted = after, append(posted, batch...)
			if rapid.Bool().Draw(rt, "fold") {
				_, err := l.Fold(ctx, db)
				require.NoError(rt, err)
			}
		}
		all, err := l.Balances(ctx, db, book, "")
		require.NoError(rt, err)
		require.Len(rt, all, len(codes))
		for _, b := range all {
			require.Equal(rt, model[b.Account], b.Balance, b.Account)
		}
		report, err := l.Verify(ctx, db)
		require.NoError(rt, err)
		require.True(rt, report.OK(), "%+v", report)
		rebuilt, err := l.Rebuild(ctx, db)
		require.NoError(rt, err)
		require.True(rt, rebuilt.Identical)
	})
}

func TestPostRefuses(t *testing.T) {
	t.Parallel()
	l := ledger.New()
	db := pgtest.Tx(t)
	open(t, db, l, "book")
	key := id.New()
	_, err := l.Post(t.Context(), db, []ledger.Transaction{ledger.Transfer(key, "book", "fund", at, "out", "s0", 10)})
	require.NoError(t, err)
	huge := []ledger.Transaction{}
	for range 3 {
		x := ledger.Transaction{Key: id.New(), Book: "book", Kind: "test", At: at}
		for range 499 {
			x.Postings = append(x.Postings, ledger.Posting{Account: "f0", Amount: ledger.MaxAmount}, ledger.Posting{Account: "f1", Amount: -ledger.MaxAmount})
		}
		huge = append(huge, x)
	}
	for name, c := range map[string]struct {
		txs  []ledger.Transaction
		want error
	}{
		"unbalanced":           {[]ledger.Transaction{{Key: id.New(), Book: "book", Kind: "x", At: at, Postings: []ledger.Posting{{"in", 1}, {"out", -2}}}}, ledger.ErrUnbalanced},
		"one leg":              {[]ledger.Transaction{{Key: id.New(), Book: "book", Kind: "x", At: at, Postings: []ledger.Posting{{"in", 1}}}}, ledger.ErrInvalid},
		"zero amount":          {[]ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "in", "out", 0)}, ledger.ErrInvalid},
		"beyond the amount":    {[]ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "in", "out", ledger.MaxAmount+1)}, ledger.ErrInvalid},
		"least integer":        {[]ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "in", "out", math.MinInt64)}, ledger.ErrInvalid},
		"unknown account":      {[]ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "in", "nowhere", 1)}, ledger.ErrNoAccount},
		"overdrawn":            {[]ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "s0", "f0", 11)}, ledger.ErrInsufficient},
		"key with other input": {[]ledger.Transaction{ledger.Transfer(key, "book", "fund", at, "out", "s0", 11)}, ledger.ErrKeyReused},
		"key twice in a batch": {[]ledger.Transaction{ledger.Transfer(id.UUID{1}, "book", "x", at, "in", "out", 1), ledger.Transfer(id.UUID{1}, "book", "x", at, "in", "out", 2)}, ledger.ErrKeyReused},
	} {
		t.Run(name, func(t *testing.T) {
			err := pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
				_, err := l.Post(t.Context(), tx, c.txs)
				return err
			})
			require.ErrorIs(t, err, c.want)
		})
	}
	t.Run("overflow", func(t *testing.T) {
		err := pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
			for range 10 {
				batch := make([]ledger.Transaction, len(huge))
				for i, x := range huge {
					x.Key = id.New()
					batch[i] = x
				}
				if _, err := l.Post(t.Context(), tx, batch); err != nil {
					return err
				}
			}
			return nil
		})
		require.ErrorIs(t, err, ledger.ErrOverflow)
	})
	t.Run("a retry later is a duplicate", func(t *testing.T) {
		out, err := l.Post(t.Context(), db, []ledger.Transaction{ledger.Transfer(key, "book", "fund", at.Add(time.Hour), "out", "s0", 10)})
		require.NoError(t, err)
		require.Equal(t, []ledger.Outcome{ledger.Duplicate}, out)
	})
	balance, err := l.Balance(t.Context(), db, "book", "s0")
	require.NoError(t, err)
	require.EqualValues(t, 10, balance)
}

func TestDatabaseRefusesWhatCodeMightGetWrong(t *testing.T) {
	t.Parallel()
	l := ledger.New()
	db := pgtest.Tx(t)
	open(t, db, l, "book")
	_, err := l.Post(t.Context(), db, []ledger.Transaction{ledger.Transfer(id.New(), "book", "fund", at, "out", "s0", 10)})
	require.NoError(t, err)
	for sql, want := range map[string]string{
		`INSERT INTO core.ledger_postings SELECT transaction_id, 7, account_id, 1 FROM core.ledger_postings LIMIT 1`: "ledger_postings_balanced",
		`UPDATE core.ledger_postings SET amount = amount + 1`:                                                        "ledger_append_only",
		`DELETE FROM core.ledger_transactions`:                                                                       "ledger_append_only",
		`UPDATE core.ledger_balances SET balance = -1 WHERE floor = 0`:                                               "ledger_balances_floor",
	} {
		err := pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		require.Equal(t, want, pg.Constraint(err), sql)
	}
}

func TestCombinerUnderContention(t *testing.T) {
	t.Parallel()
	ctx, l := t.Context(), ledger.New()
	db := pgtest.DB(t)
	require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error {
		open(t, tx, l, "book")
		_, err := l.Post(ctx, tx, []ledger.Transaction{ledger.Transfer(id.New(), "book", "fund", at, "out", "s0", 100)})
		return err
	}))
	c := l.Combine(db)

	// 64 callers want 10 each out of 100, each twice under the same key; plain posts and folds run beside them.
	var wg sync.WaitGroup
	var mu sync.Mutex
	paid := map[ledger.Outcome]int{}
	for range 64 {
		wg.Go(func() {
			x := ledger.Transfer(id.New(), "book", "pay", at, "s0", "in", 10)
			for range 2 {
				out, err := c.Post(ctx, x)
				if err != nil {
					require.ErrorIs(t, err, ledger.ErrInsufficient)
					return
				}
				mu.Lock()
				paid[out]++
				mu.Unlock()
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for range 10 {
				require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error {
					_, err := l.Post(ctx, tx, []ledger.Transaction{
						ledger.Transfer(id.New(), "book", "a", at, "f0", "f1", 1), ledger.Transfer(id.New(), "book", "b", at, "f1", "in", 1)})
					return err
				}))
				_, err := l.Fold(ctx, db)
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[ledger.Outcome]int{ledger.Posted: 10, ledger.Duplicate: 10}, paid)
	in, err := l.Balance(ctx, db, "book", "in")
	require.NoError(t, err)
	require.EqualValues(t, 140, in)
	report, err := l.Verify(ctx, db)
	require.NoError(t, err)
	require.True(t, report.OK(), "%+v", report)
	rebuilt, err := l.Rebuild(ctx, db)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical)

	lines, err := l.Statement(ctx, db, "book", "s0", 0, 100)
	require.NoError(t, err)
	require.Len(t, lines, 11)
	require.EqualValues(t, -10, lines[0].Amount)
	require.EqualValues(t, 100, lines[10].Amount)
}

// Two processes are handed the same transactions at once, each in batches of its own: every one is posted once, a key that
// came with another input is refused, and one caller's refusal concerns nobody else of its batch.
func TestCombinersRaceForTheSameKeys(t *testing.T) {
	t.Parallel()
	ctx, l := t.Context(), ledger.New()
	db := pgtest.DB(t)
	require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error { open(t, tx, l, "book"); return nil }))
	const n = 200
	combiners := []*ledger.Combiner{l.Combine(db), l.Combine(db)}
	keys := make([]id.UUID, n)
	for i := range keys {
		keys[i] = id.New()
	}
	type answer struct {
		out ledger.Outcome
		err error
	}
	answers := [2][n]answer{}
	var wg sync.WaitGroup
	for side, c := range combiners {
		for i, key := range keys {
			wg.Go(func() {
				x := ledger.Transfer(key, "book", "x", at, "out", "f0", 1)
				switch {
				case i%10 == 1:
					x.Ref = fmt.Sprint(side) // the same key with another input
				case i%10 == 2:
					x = ledger.Transfer(key, "book", "x", at, "s0", "in", 1) // s0 is empty
				}
				// Spread accounts would order the two sides; hot ones leave it to the key.
				if i%2 == 0 && i%10 != 2 {
					x = ledger.Transfer(key, "book", "x", at, "out", "in", 1)
				}
				out, err := c.Post(ctx, x)
				answers[side][i] = answer{out, err}
			})
		}
	}
	wg.Wait()
	for i := range keys {
		a, b := answers[0][i], answers[1][i]
		switch {
		case i%10 == 1:
			require.ErrorIs(t, errors.Join(a.err, b.err), ledger.ErrKeyReused, "%d", i)
			require.True(t, a.err == nil || b.err == nil, "%d", i)
		case i%10 == 2:
			require.ErrorIs(t, a.err, ledger.ErrInsufficient)
			require.ErrorIs(t, b.err, ledger.ErrInsufficient)
		default:
			require.NoError(t, errors.Join(a.err, b.err))
			require.ElementsMatch(t, []ledger.Outcome{ledger.Posted, ledger.Duplicate}, []ledger.Outcome{a.out, b.out}, "%d", i)
		}
	}
	report, err := l.Verify(ctx, db)
	require.NoError(t, err)
	require.True(t, report.OK(), "%+v", report)
	require.EqualValues(t, n-n/10, report.Transactions)
	rebuilt, err := l.Rebuild(ctx, db)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical)
}

// A hot account does not make its writers wait: a second transaction commits while the first is still open.
func TestHotAccountDoesNotSerialise(t *testing.T) {
	t.Parallel()
	ctx, l := t.Context(), ledger.New()
	db := pgtest.DB(t)
	require.NoError(t, pg.InTx(ctx, db, func(tx pgx.Tx) error { open(t, tx, l, "book"); return nil }))
	first, err := db.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = first.Rollback(context.WithoutCancel(ctx)) }()
	_, err = l.Post(ctx, first, []ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "out", "in", 5)})
	require.NoError(t, err)
	second, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	require.NoError(t, pg.InTx(second, db, func(tx pgx.Tx) error {
		_, err := l.Post(second, tx, []ledger.Transaction{ledger.Transfer(id.New(), "book", "x", at, "out", "in", 7)})
		return err
	}))
	in, err := l.Balance(ctx, db, "book", "in")
	require.NoError(t, err)
	require.EqualValues(t, 7, in)
	require.NoError(t, first.Commit(ctx))
	in, err = l.Balance(ctx, db, "book", "in")
	require.NoError(t, err)
	require.EqualValues(t, 12, in)
}
