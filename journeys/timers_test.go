package journeys_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member/activity"
)

// leases are those of all slices, so that a test can fire timers without the feed.
type leases map[int]lease.Lease

func (b *bundle) leases() leases {
	b.t.Helper()
	held := leases{}
	for s := range journeys.Slices {
		l, ok, err := lease.Acquire(b.t.Context(), b.db, sliceName(s), "test", time.Hour)
		require.NoError(b.t, err)
		require.True(b.t, ok)
		held[s] = l
	}
	return held
}

func (b *bundle) fire(held leases) (n int) {
	b.t.Helper()
	for s, l := range held {
		fired, err := b.engine.Fire(b.t.Context(), l, s)
		require.NoError(b.t, err)
		n += fired
	}
	return n
}

const waitForCart = `{"id":"w1","kind":"wait","wait":{"event":{"key":"cart_added"},"timeout":"1h","timeout_next":"m2"},"next":"m1"}`

// The timer of a wait is ready at once, the fact travels through the feed: what happened first comes first all the same.
func TestFactBeforeItsTimerWinsThoughItIsHandledLater(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(3)
	b.publish("j", doc(onPaid, waitForCart, message2("m1", "end"), message2("m2", "end"), end))
	for _, birth := range m {
		b.happen(fact{birth: birth, key: "order_paid"})
	}
	b.drain()
	due := t0.Add(time.Hour)
	held := b.leases()

	// given facts in the last second before the time-out and right after it, not read yet when the timers are ready
	b.clock.Set(due.Add(time.Second))
	b.happen(fact{birth: m[0], key: "cart_added", at: due.Add(-100 * time.Millisecond)}, fact{birth: m[1], key: "cart_added", at: due.Add(100 * time.Millisecond)})

	// when timers fire, then only the member without unread facts goes on, whether or not the rows are numbered
	require.Equal(t, 1, b.fire(held))
	require.Equal(t, []string{"m2"}, b.world.sentTo(m[2]))
	_, err := b.log.Drain(t.Context(), "other", func(context.Context, pgx.Tx, []activity.Row) error { return nil })
	require.NoError(t, err)
	require.Zero(t, b.fire(held))

	// when the feed has been read, then each went the way of what happened first
	_, err = b.log.Drain(t.Context(), journeys.Consumer, b.engine.Handle)
	require.NoError(t, err)
	b.fire(held)
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[0]))
	require.Equal(t, []string{"m2"}, b.world.sentTo(m[1]))
}

// A batch of the feed moves a member up to its last fact: an earlier fact may follow in the next batch.
func TestABatchOfFactsLeavesLaterTimersAlone(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(1)
	b.publish("j", doc(onPaid, waitForCart, message2("m1", "end"), message2("m2", "end"), end))
	b.publish("other", doc(`{"trigger":{"kind":"activity","key":"product_viewed"},"reentry":{"policy":"always"}}`, message2("m3", "end"), end))
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()
	due := t0.Add(time.Hour)
	b.clock.Set(due.Add(time.Minute))
	for _, f := range []fact{{birth: m[0], key: "product_viewed", at: due.Add(-2 * time.Second)}, {birth: m[0], key: "cart_added", at: due.Add(-time.Second)}} {
		b.happen(f)
		_, err := b.log.Drain(t.Context(), journeys.Consumer, b.engine.Handle)
		require.NoError(t, err)
	}
	b.drain()
	require.Equal(t, []string{"m3", "m1"}, b.world.sentTo(m[0]))
}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A feed that does not move stops timers for a minute, and those of journeys that do not listen not at all.
func TestAStuckFeedDoesNotStopTimersForEver(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	said := &lines{}
	b.engine = journeys.NewEngine(journeys.Config{DB: b.db, Clock: b.clock, Log: slog.New(slog.NewTextHandler(said, nil)), Feed: b.log,
		Rules: rules{}, People: journeys.Graph{}, Holder: "engine-1", Outside: b.world.outside()})
	m := b.members(1)
	b.publish("j", doc(onPaid, waitForCart, message2("m1", "end"), message2("m2", "end"), end))
	b.publish("deaf", doc(onPaid, `{"id":"w2","kind":"wait","wait":{"for":"1h"},"next":"m3"}`, message2("m3", "end"), end))
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()
	held := b.leases()
	b.clock.Set(t0.Add(time.Hour + time.Second))
	b.happen(fact{birth: m[0], key: "cart_added", at: t0.Add(time.Hour - time.Second)})
	require.Equal(t, 1, b.fire(held))
	require.Equal(t, []string{"m3"}, b.world.sentTo(m[0]))
	b.clock.Advance(59 * time.Second)
	require.Zero(t, b.fire(held))
	require.NotContains(t, said.String(), "without the feed")
	b.clock.Advance(time.Second)
	require.Equal(t, 1, b.fire(held))
	require.Contains(t, said.String(), "without the feed")
	require.ElementsMatch(t, []string{"m3", "m2"}, b.world.sentTo(m[0]))

	// The fact is read in the end and changes nothing.
	_, err := b.log.Drain(t.Context(), journeys.Consumer, b.engine.Handle)
	require.NoError(t, err)
	b.fire(held)
	require.Len(t, b.world.sentTo(m[0]), 2)
}
