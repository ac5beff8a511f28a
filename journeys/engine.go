package journeys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Consumer is the name under which the engine follows the activity feed.
const Consumer = "journeys"

// BatchSize is how many due runs one transaction takes.
const BatchSize = 5000

const (
	leaseTTL  = 15 * time.Second
	idlePause = 250 * time.Millisecond
	foldEvery = 5 * time.Second
	// settle is how long timers of runs that listen wait for facts under way: what happened before the timer and commits
	// within this time of it comes first.
	settle = 300 * time.Millisecond
)

// Engine moves runs: it fires timers slice by slice, follows the feed, and enters audiences on schedule.
type Engine struct {
	db      *pg.Pool
	clock   clock.Clock
	log     *slog.Logger
	feed    *activity.Log
	rules   Rules
	people  People
	outside Outside
	holder  string
	batch   int
	cache   atomic.Pointer[book]
	waits   [Slices]wait
}

// Config wires an engine.
type Config struct {
	DB      *pg.Pool
	Clock   clock.Clock
	Log     *slog.Logger
	Feed    *activity.Log
	Rules   Rules
	People  People
	Outside Outside
	// Holder names this process in leases.
	Holder string
	// Batch overrides BatchSize.
	Batch int
}

// NewEngine returns an engine at rest.
func NewEngine(c Config) *Engine {
	if c.Batch == 0 {
		c.Batch = BatchSize
	}
	return &Engine{db: c.DB, clock: c.Clock, log: c.Log, feed: c.Feed, rules: c.Rules, people: c.People, outside: c.Outside, holder: c.Holder, batch: c.Batch}
}

// Run works until ctx ends: every slice under its lease, the feed, schedules, and the folding of figures.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for slice := range Slices {
		g.Go(func() error {
			return e.underLease(ctx, sliceLease(slice), idlePause, func(ctx context.Context, l lease.Lease) (int, error) {
				n, _, err := e.fire(ctx, l, slice, settle)
				return n, err
			})
		})
	}
	g.Go(func() error {
		return e.underLease(ctx, "journeys/schedules", time.Second, e.EnterScheduled)
	})
	g.Go(func() error {
		return e.underLease(ctx, "journeys/figures", foldEvery, func(ctx context.Context, l lease.Lease) (int, error) {
			return 0, pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
				if err := l.Check(ctx, tx); err != nil {
					return err
				}
				return foldFigures(ctx, tx)
			})
		})
	})
	g.Go(func() error { return e.feed.Follow(ctx, Consumer, e.Handle) })
	return g.Wait()
}

func sliceLease(slice int) string { return fmt.Sprintf("journeys/slice/%d", slice) }

// underLease repeats work while this process has the lease, pausing when there was nothing to do.
func (e *Engine) underLease(ctx context.Context, name string, idle time.Duration, work func(context.Context, lease.Lease) (int, error)) error {
	var held *lease.Lease
	var renewed time.Time
	for failures := 0; ctx.Err() == nil; {
		if held == nil {
			l, ok, err := lease.Acquire(ctx, e.db, name, e.holder, leaseTTL)
			if err != nil || !ok {
				e.warn(ctx, "lease "+name, err)
				sleep(ctx, leaseTTL/10)
				continue
			}
			held, renewed = &l, time.Now()
		}
		n, err := work(ctx, *held)
		if err == nil && time.Since(renewed) > leaseTTL/3 {
			if err = held.Renew(ctx, e.db); err == nil {
				renewed = time.Now()
			}
		}
		switch {
		case errors.Is(err, lease.ErrLost):
			held = nil
		case err != nil:
			failures++
			e.warn(ctx, name, err)
			sleep(ctx, min(time.Duration(failures)*idlePause, 5*time.Second))
		case n == 0:
			failures = 0
			sleep(ctx, idle)
		default:
			failures = 0
		}
	}
	if held != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		e.warn(ctx, "release lease "+name, held.Release(ctx, e.db))
	}
	return nil
}

func (e *Engine) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		e.log.WarnContext(ctx, "journeys will retry", "what", what, "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Drain does everything that is due now: the feed, schedules and timers, until nothing is left. It is for tests, the demo
// and the command line, where no loop is running. Facts go before timers, so a drain after every step of a virtual clock
// gives what a continuous run gives. Timers that wait for facts which another process is handling are waited for.
func (e *Engine) Drain(ctx context.Context) error {
	for {
		moved := 0
		n, err := e.feed.Drain(ctx, Consumer, e.Handle)
		if err != nil {
			return err
		}
		moved += n
		n, err = e.leased(ctx, "journeys/schedules", e.EnterScheduled)
		if err != nil {
			return err
		}
		moved += n
		var fired, held atomic.Int64
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(runtime.GOMAXPROCS(0))
		for slice := range Slices {
			g.Go(func() error {
				n, err := e.leased(gctx, sliceLease(slice), func(ctx context.Context, l lease.Lease) (int, error) {
					n, waiting, err := e.fire(ctx, l, slice, 0)
					if n == 0 && waiting {
						held.Add(1)
					}
					return n, err
				})
				fired.Add(int64(n))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		moved += int(fired.Load())
		switch {
		case moved > 0:
		case held.Load() == 0:
			return nil
		default:
			sleep(ctx, idlePause/10)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// leased does work until nothing is left, under a lease that it waits for.
func (e *Engine) leased(ctx context.Context, name string, work func(context.Context, lease.Lease) (int, error)) (int, error) {
	var l lease.Lease
	for {
		var ok bool
		var err error
		if l, ok, err = lease.Acquire(ctx, e.db, name, e.holder, leaseTTL); err != nil {
			return 0, err
		}
		if ok {
			break
		}
		sleep(ctx, idlePause)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	total := 0
	for {
		n, err := work(ctx, l)
		total += n
		if err != nil || n == 0 {
			return total, errors.Join(err, l.Release(context.WithoutCancel(ctx), e.db))
		}
		if err := l.Renew(ctx, e.db); err != nil {
			return total, err
		}
	}
}

// book returns the present book, reading it again if something was published.
func (e *Engine) book(ctx context.Context, db pg.DB) (*book, error) {
	old := e.cache.Load()
	b, err := loadBook(ctx, db, old)
	if err == nil && b != old {
		e.cache.Store(b)
	}
	return b, err
}

// bookFor returns a book that knows the versions of the runs: a publish that moved them may have committed after the book
// was read.
func (e *Engine) bookFor(ctx context.Context, db pg.DB, b *book, runs []*live) (*book, error) {
	for _, r := range runs {
		if b.version(r.Journey, r.Version) == nil {
			return e.book(ctx, db)
		}
	}
	return b, nil
}

// Handle takes one batch of the feed: exits, goals, waits that end, and new runs, in the transaction of the cursor. Facts
// that no journey waits for cost one query per batch, none each.
func (e *Engine) Handle(ctx context.Context, tx pgx.Tx, batch []activity.Row) error {
	b, err := e.book(ctx, tx)
	if err != nil {
		return err
	}
	now := e.clock.Now()
	byRoot := map[member.ID][]*Row{}
	var roots []member.ID
	entering := map[int]bool{}
	var guarded []int
	for i := range batch {
		r := &batch[i]
		if !b.keys[r.Key] || r.ActivityID == 0 && r.Key != keyIdentity {
			continue
		}
		at := r.OccurredAt
		if at.After(now) {
			at = now // a clock that runs ahead does not move runs ahead
		}
		if byRoot[r.Root] == nil {
			roots = append(roots, r.Root)
		}
		byRoot[r.Root] = append(byRoot[r.Root], &Row{Row: *r, At: tick(at)})
		for _, v := range b.triggered(r.Key) {
			if r.Mode == member.ModeLive && !entering[v.Journey.No] {
				entering[v.Journey.No] = true
				if v.guarded() {
					guarded = append(guarded, v.Journey.No)
				}
			}
		}
	}
	if len(roots) == 0 {
		return nil
	}
	return e.react(ctx, tx, b, now, roots, entryLockSQL, guarded, entering, func(p *person) { p.given = sortRows(byRoot[p.root]) })
}

// guarded reports whether the number of a member's runs is limited, so that entries must come one after the other.
func (v *Version) guarded() bool {
	return v.reentry.Policy != ReentryAlways || v.reentry.Max > 0
}

func sortRows(rows []*Row) []*Row {
	slices.SortStableFunc(rows, func(a, b *Row) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		if (a.enter == nil) != (b.enter == nil) {
			if a.enter == nil {
				return -1
			}
			return 1
		}
		if a.ActivityID == 0 || b.ActivityID == 0 {
			return 0
		}
		return int(min(max(a.ActivityID-b.ActivityID, -1), 1))
	})
	return rows
}

// entryLockSQL makes entries into a journey with limited re-entry come one after the other. Advisory locks are taken
// before any row, journeys in order of their number; the class keeps them apart from those of others.
const entryLockSQL = `
SELECT pg_advisory_xact_lock(4740, journey)
FROM unnest(@journeys::integer[]) AS t (journey)
ORDER BY journey`

// chunkLockSQL is for the chunks of one scheduled entry: they hold different members, so they need not wait for each
// other, only for entries by facts and through the API.
const chunkLockSQL = `
SELECT pg_advisory_xact_lock_shared(4740, journey)
FROM unnest(@journeys::integer[]) AS t (journey)
ORDER BY journey`

// react loads members with the runs that matter and plays them up to their last fact and no further: later timers are left
// to fire, which knows whether more facts are on their way.
func (e *Engine) react(ctx context.Context, tx pgx.Tx, b *book, now time.Time, roots []member.ID, lockSQL string, guarded []int, entering map[int]bool, give func(*person)) error {
	if len(guarded) > 0 {
		if _, err := tx.Exec(ctx, lockSQL, pg.Args{"journeys": guarded}); err != nil {
			return fmt.Errorf("lock entries: %w", err)
		}
	}
	births, err := e.people.Births(ctx, tx, roots)
	if err != nil {
		return err
	}
	persons := make([]*person, 0, len(roots))
	owner := map[member.Birth]*person{}
	var all []member.Birth
	for _, root := range roots {
		p := &person{root: root, births: births[root]}
		if len(p.births) == 0 {
			p.births = []member.Birth{member.Birth(root)}
		}
		for _, birth := range p.births {
			owner[birth] = p
		}
		all = append(all, p.births...)
		persons = append(persons, p)
	}
	runs, err := loadRuns(ctx, tx, all, keysOf(entering), b.goals())
	if err != nil {
		return err
	}
	if b, err = e.bookFor(ctx, tx, b, runs); err != nil {
		return err
	}
	st := &stage{book: b, now: now, facts: map[question]bool{}, slice: -1, survivors: map[id.UUID]Run{}}
	if err := e.loadSurvivors(ctx, tx, st, runs); err != nil {
		return err
	}
	for _, r := range runs {
		p := owner[r.Birth]
		p.loaded = append(p.loaded, r)
	}
	for _, p := range persons {
		give(p)
		p.until = p.given[len(p.given)-1].At
	}
	return e.perform(ctx, tx, st, persons)
}

func keysOf(set map[int]bool) []int {
	out := make([]int, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// goals lists the journeys that have a goal, whose ended runs still count towards it.
func (b *book) goals() []int {
	set := map[int]bool{}
	for _, v := range b.versions {
		if v.goal != nil {
			set[v.Journey.No] = true
		}
	}
	return keysOf(set)
}

func (e *Engine) loadSurvivors(ctx context.Context, tx pgx.Tx, st *stage, runs []*live) error {
	var births []member.Birth
	var ids []id.UUID
	for _, r := range runs {
		if r.Status == StatusAbsorbed && r.AbsorbedBy != nil && r.AbsorbedBirth != nil {
			births, ids = append(births, *r.AbsorbedBirth), append(ids, *r.AbsorbedBy)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := loadRunsByKey(ctx, tx, births, ids)
	if err != nil {
		return err
	}
	for _, r := range found {
		st.survivors[r.ID] = r.Run
	}
	return nil
}
