package coupon_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member/activity"
)

// counted counts the queries that go through it.
type counted struct {
	pg.DB
	n atomic.Int64
}

func (c *counted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n.Add(1)
	return c.DB.Query(ctx, sql, args...)
}

func (c *counted) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	c.n.Add(1)
	return c.DB.QueryRow(ctx, sql, args...)
}

// Two processes on one database: what one issues, the other finds, whatever its filter knows; what certainly does not
// exist costs no query.
func TestFilterBetweenProcesses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := open(t, pgtest.DB(t), 1)
	h.template(coupon.Template{Code: "x"})
	db := &counted{DB: h.db}
	other := coupon.New(db, h.clock, h.ledger, activity.NewLog(h.db, h.clock, slog.New(slog.DiscardHandler)), rand.Reader)
	asked := func(code string) (bool, error) {
		before := db.n.Load()
		_, err := other.Get(ctx, db, code)
		return db.n.Load() > before, err
	}
	issue := func() string {
		out, err := h.issue(wish(1, "x"))
		require.NoError(t, err)
		return out[0].Code
	}
	// never is a code as ours are, of this week, that nobody has.
	var never string
	rolledBack := errors.New("roll back")
	require.ErrorIs(t, h.tx(func(tx pgx.Tx) error {
		out, err := h.s.Issue(ctx, tx, []coupon.Issue{wish(1, "x")})
		if err != nil {
			return err
		}
		never = out[0].Code
		return rolledBack
	}), rolledBack)

	// Not filled yet: everything is looked up.
	first := issue()
	found, err := asked(first)
	require.True(t, found)
	require.NoError(t, err)
	found, err = asked(never)
	require.True(t, found)
	require.ErrorIs(t, err, coupon.ErrNoCoupon)

	// Filled within the week: a code that the first process issues afterwards is found.
	require.NoError(t, other.FillFilter(ctx))
	fresh := issue()
	_, err = asked(fresh)
	require.NoError(t, err)

	// Weeks later, by the old filter still.
	h.clock.Advance(15 * 24 * time.Hour)
	late := issue()
	for _, code := range []string{first, fresh, late} {
		_, err = asked(code)
		require.NoError(t, err)
	}

	// Filled again: the week is over, so its unknown codes are a no without a query; its known ones, and the newest, are found.
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	before := db.n.Load()
	go func() { done <- other.RunFilter(run) }()
	require.Eventually(t, func() bool { return db.n.Load() >= before+2 }, 30*time.Second, time.Millisecond)
	stop()
	<-done // filled or cut off; the next line fills in either case
	require.NoError(t, other.FillFilter(ctx))
	newest := issue()
	for _, code := range []string{first, fresh, late, newest} {
		_, err = asked(code)
		require.NoError(t, err)
	}
	found, err = asked(never)
	require.False(t, found, "a definite no costs no query")
	require.ErrorIs(t, err, coupon.ErrNoCoupon)
	last := "0"
	if newest[len(newest)-1:] == last {
		last = "1"
	}
	found, err = asked(newest[:len(newest)-1] + last)
	require.False(t, found, "nor does a wrong check digit")
	require.ErrorIs(t, err, coupon.ErrNoCoupon)
}
