package journeys

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Timers and facts race: an order paid at 9:59:59.9 must end a wait that times out at 10:00:00, although the timer is
// ready at once and the fact travels through the feed. So runs of journeys that listen (for awaited events, exit criteria
// or goals that end them) wait while the feed holds unread facts of their member, or more than can be looked at. Other
// journeys never wait.
//
// The wait is bounded, so that a feed that is stuck does not stop time: when the consumer has not moved for stalled, timers
// fire without it, and so do those that a slow feed has held back for heldMost. Facts that are read afterwards find their
// run gone on, as if they had come too late; the log says so.
const (
	stalled  = time.Minute
	heldMost = 10 * time.Minute
)

// wait is how long a slice has been waiting for the feed.
type wait struct {
	mu       sync.Mutex
	since    time.Time // some timer has waited at any time since; zero: none does
	position int64     // of the consumer, and since when it has been there
	reached  time.Time
}

// overdue returns the time up to which timers need not wait any more.
func (w *wait) overdue(position int64, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		w.since, w.position, w.reached = now, position, now
	}
	if w.position != position {
		w.position, w.reached = position, now
	}
	switch {
	case now.Sub(w.reached) >= stalled:
		return now
	case now.Sub(w.since) >= heldMost:
		return now.Add(-heldMost)
	}
	return time.Time{}
}

func (w *wait) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
}

// horizon is up to where timers may fire: all that are due, except that those of listening journeys wait for facts.
type horizon struct {
	now       time.Time
	listening []int          // journeys
	settled   time.Time      // listening runs up to here, zero: none
	held      []member.Birth // listening runs of others than these
	overdue   time.Time      // listening runs up to here whatever they wait for, zero: none
}

// horizonOf finds out what timers of a slice may fire. held says that listening runs may be left out.
func (e *Engine) horizonOf(ctx context.Context, tx pgx.Tx, b *book, slice int, now time.Time, settle time.Duration) (h horizon, err error) {
	h = horizon{now: now, settled: now.Add(-settle), held: []member.Birth{}}
	if h.listening = b.listening(); len(h.listening) == 0 {
		return h, nil
	}
	unread, err := e.feed.Unread(ctx, tx, Consumer, b.awaited(), now)
	if err != nil {
		return h, err
	}
	h.held = unread.Births
	if unread.Behind {
		h.settled = time.Time{}
	}
	if len(h.held) == 0 && !unread.Behind {
		e.waits[slice].end()
		return h, nil
	}
	oldest, err := oldestWaiting(ctx, tx, slice, h)
	if err != nil {
		return h, err
	}
	if oldest.IsZero() {
		e.waits[slice].end()
		return h, nil
	}
	if h.overdue = e.waits[slice].overdue(unread.Position, now); !oldest.After(h.overdue) {
		e.log.WarnContext(ctx, "journey timers go on without the feed; facts not read yet may miss their wait",
			"slice", slice, "oldest", oldest, "feed_position", unread.Position, "behind", unread.Behind)
	}
	return h, nil
}

// Fire moves the due runs of one slice, one batch in one transaction: claim, facts, walk, states, effects and figures. It
// returns how many runs it took. If the lease has changed hands nothing happens and the error is lease.ErrLost.
func (e *Engine) Fire(ctx context.Context, l lease.Lease, slice int) (int, error) {
	n, _, err := e.fire(ctx, l, slice, 0)
	return n, err
}

// fire is Fire; waiting says that due runs were left to wait for the feed.
func (e *Engine) fire(ctx context.Context, l lease.Lease, slice int, settle time.Duration) (n int, waiting bool, err error) {
	err = pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
		n, waiting = 0, false
		if err := l.Check(ctx, tx); err != nil {
			return err
		}
		b, err := e.book(ctx, tx)
		if err != nil {
			return err
		}
		now := e.clock.Now()
		h, err := e.horizonOf(ctx, tx, b, slice, now, settle)
		if err != nil {
			return err
		}
		claimed, err := claimRuns(ctx, tx, slice, e.batch, h)
		if err != nil {
			return err
		}
		if len(claimed) == 0 {
			oldest, err := oldestWaiting(ctx, tx, slice, h)
			waiting = !oldest.IsZero()
			return err
		}
		persons := make([]*person, len(claimed))
		var asking []member.Birth
		for i, r := range claimed {
			persons[i] = &person{loaded: []*live{r}}
			if v := b.version(r.Journey, r.Version); v != nil && v.asks() {
				asking = append(asking, r.Birth)
			}
		}
		if len(asking) > 0 {
			roots, err := e.people.Roots(ctx, tx, asking)
			if err != nil {
				return err
			}
			for i, r := range claimed {
				persons[i].root = roots[r.Birth]
			}
		}
		if b, err = e.bookFor(ctx, tx, b, claimed); err != nil {
			return err
		}
		n = len(claimed)
		return e.perform(ctx, tx, &stage{book: b, now: now, until: now, facts: map[question]bool{}, slice: slice}, persons)
	})
	return n, waiting, err
}

// listening lists the journeys in which a fact can change what a timer does.
func (b *book) listening() []int {
	set := map[int]bool{}
	for _, v := range b.versions {
		if v.listens() {
			set[v.Journey.No] = true
		}
	}
	return keysOf(set)
}

func (v *Version) listens() bool {
	if len(v.exits) > 0 || v.goal != nil && v.Doc.Settings.Goal.Exit {
		return true
	}
	for _, n := range v.nodes {
		if n.event != nil {
			return true
		}
	}
	return false
}

// awaited lists the keys of facts that can change what a timer does.
func (b *book) awaited() []string {
	out := []string{activity.KeyIdentity}
	for k := range b.keys {
		if k != activity.KeyIdentity {
			out = append(out, k)
		}
	}
	return out
}
