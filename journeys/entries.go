package journeys

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// dueSchedulesSQL locks a journey whose time has come: one occurrence is opened per transaction.
const dueSchedulesSQL = `
SELECT no, live_version, next_at
FROM journeys.journeys
WHERE status = 'live' AND next_at <= @now
ORDER BY next_at
LIMIT 1
FOR UPDATE SKIP LOCKED`

const openOccurrenceSQL = `
INSERT INTO journeys.occurrences (journey, at, version)
VALUES (@journey, @at, @version)
ON CONFLICT DO NOTHING`

const setNextSQL = `
UPDATE journeys.journeys
SET next_at = @next
WHERE no = @journey`

const openOccurrencesSQL = `
SELECT journey, at, version, cursor
FROM journeys.occurrences
WHERE done_at IS NULL
ORDER BY at, journey`

const advanceOccurrenceSQL = `
UPDATE journeys.occurrences
SET cursor = @cursor, entered = entered + @entered, done_at = @done
WHERE journey = @journey AND at = @at`

type occurrence struct {
	Journey int
	At      time.Time
	Version int
	Cursor  int64
}

// EnterScheduled opens the occurrences that are due and enters their audiences, a batch of members per transaction. It
// returns how many occurrences and members it handled. A process that dies in the middle is continued by the next from
// the last batch that committed; a run's id comes from journey, occurrence and member, so nobody enters twice.
func (e *Engine) EnterScheduled(ctx context.Context, l lease.Lease) (int, error) {
	opened, err := e.openOccurrences(ctx, l)
	if err != nil {
		return 0, err
	}
	rows, err := e.db.Query(ctx, openOccurrencesSQL)
	if err != nil {
		return 0, fmt.Errorf("read occurrences: %w", err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowToStructByName[occurrence])
	if err != nil {
		return 0, fmt.Errorf("read occurrences: %w", err)
	}
	total := opened
	for _, o := range open {
		o.At = o.At.UTC()
		n, err := e.enterOccurrence(ctx, l, o)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (e *Engine) openOccurrences(ctx context.Context, l lease.Lease) (n int, err error) {
	for {
		more := false
		err := pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
			more = false
			if err := l.Check(ctx, tx); err != nil {
				return err
			}
			b, err := e.book(ctx, tx)
			if err != nil {
				return err
			}
			now := e.clock.Now()
			var journey, version int
			var at time.Time
			err = tx.QueryRow(ctx, dueSchedulesSQL, pg.Args{"now": now}).Scan(&journey, &version, &at)
			if pg.NoRows(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("find due schedules: %w", err)
			}
			more, at = true, at.UTC()
			v := b.version(journey, version)
			if v == nil || v.Doc.Settings.Trigger.Schedule == nil {
				return e.setNext(ctx, tx, journey, time.Time{})
			}
			// After a long stop only what is within max_lateness is made up for.
			if now.Sub(at) <= v.lateness && b.running(journey) {
				if _, err := tx.Exec(ctx, openOccurrenceSQL, pg.Args{"journey": journey, "at": at, "version": version}); err != nil {
					return fmt.Errorf("open occurrence: %w", err)
				}
			}
			next, _ := v.Doc.Settings.Trigger.Schedule.Next(at)
			return e.setNext(ctx, tx, journey, next)
		})
		if err != nil || !more {
			return n, err
		}
		n++
	}
}

func (e *Engine) setNext(ctx context.Context, tx pgx.Tx, journey int, next time.Time) error {
	if _, err := tx.Exec(ctx, setNextSQL, pg.Args{"journey": journey, "next": orNil(next)}); err != nil {
		return fmt.Errorf("set next occurrence: %w", err)
	}
	return nil
}

func (e *Engine) enterOccurrence(ctx context.Context, l lease.Lease, o occurrence) (int, error) {
	b, err := e.book(ctx, e.db)
	if err != nil {
		return 0, err
	}
	v := b.version(o.Journey, o.Version)
	var audience []member.ID
	if v != nil && b.running(o.Journey) {
		if audience, err = e.rules.Members(ctx, e.db, v.Doc.Settings.Audience, o.At); err != nil {
			return 0, fmt.Errorf("find audience: %w", err)
		}
	}
	slices.Sort(audience)
	from, _ := slices.BinarySearch(audience, member.ID(o.Cursor+1))
	audience = audience[from:]
	total := 0
	for {
		// Some chunks at a time; the cursor follows when all of them have committed. Members of a chunk that is entered
		// again after a crash are refused, because their runs exist.
		g, gctx := errgroup.WithContext(ctx)
		cursor, entered := o.Cursor, 0
		now := e.clock.Now()
		for range runtime.GOMAXPROCS(0) {
			chunk := audience[:min(e.batch, len(audience))]
			if audience = audience[len(chunk):]; len(chunk) == 0 {
				break
			}
			cursor, entered = int64(chunk[len(chunk)-1]), entered+len(chunk)
			g.Go(func() error { return e.enterChunk(gctx, l, v, o.At, now, chunk) })
		}
		if err := g.Wait(); err != nil {
			return total, err
		}
		var done *time.Time
		if len(audience) == 0 {
			done = &now
		}
		err := pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
			if err := l.Check(ctx, tx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, advanceOccurrenceSQL, pg.Args{"journey": o.Journey, "at": o.At, "cursor": cursor, "entered": entered, "done": done})
			if err != nil {
				return fmt.Errorf("advance occurrence: %w", err)
			}
			return nil
		})
		if err != nil {
			return total, err
		}
		total += entered
		if done != nil {
			return total, nil
		}
		o.Cursor = cursor
		if err := l.Renew(ctx, e.db); err != nil {
			return total, err
		}
	}
}

func (e *Engine) enterChunk(ctx context.Context, l lease.Lease, v *Version, at, now time.Time, roots []member.ID) error {
	return pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
		if err := l.Check(ctx, tx); err != nil {
			return err
		}
		b, err := e.book(ctx, tx)
		if err != nil {
			return err
		}
		return e.react(ctx, tx, b, now, roots, chunkLockSQL, guardedOf(v), map[int]bool{v.Journey.No: true}, func(p *person) {
			p.given = []*Row{scheduled(v, p.root, at)}
		})
	})
}

func guardedOf(v *Version) []int {
	if v.guarded() {
		return []int{v.Journey.No}
	}
	return nil
}

// scheduled is the entry of one member of an audience.
func scheduled(v *Version, root member.ID, at time.Time) *Row {
	key := "s:" + strconv.FormatInt(at.Unix(), 10) + ":" + root.String()
	return &Row{At: at, enter: &request{v, entry{birth: member.Birth(root), key: key, at: at, chosen: true}}}
}

// Start begins runs through the API, one per member. The key makes it idempotent: the same key and member begin nothing
// more. It returns how many runs began; members who were refused are counted in the statistics.
func (e *Engine) Start(ctx context.Context, code, key string, births []member.Birth, props json.RawMessage) (int, error) {
	started := 0
	err := pg.InTx(ctx, e.db, func(tx pgx.Tx) error {
		started = 0
		b, err := e.book(ctx, tx)
		if err != nil {
			return err
		}
		v := b.liveByCode(code)
		if v == nil {
			return ErrNotFound.With("code", code)
		}
		if v.Doc.Settings.Trigger.Kind != TriggerAPI {
			return ErrNotAPI.With("code", code)
		}
		roots, err := e.people.Roots(ctx, tx, births)
		if err != nil {
			return err
		}
		byRoot := map[member.ID]member.Birth{}
		var order []member.ID
		for _, birth := range births {
			root, ok := roots[birth]
			if !ok {
				return ErrNoMember
			}
			if _, twice := byRoot[root]; !twice {
				order = append(order, root)
				byRoot[root] = birth
			}
		}
		now := e.clock.Now()
		var persons []*person
		err = e.react(ctx, tx, b, now, order, entryLockSQL, guardedOf(v), map[int]bool{v.Journey.No: true}, func(p *person) {
			birth := byRoot[p.root]
			p.given = []*Row{{At: tick(now), enter: &request{v, entry{birth: birth, key: "k:" + key + ":" + p.root.String(), at: tick(now), context: props}}}}
			persons = append(persons, p)
		})
		for _, p := range persons {
			for _, l := range p.runs {
				if l.isNew {
					started++
				}
			}
		}
		return err
	})
	return started, err
}

// liveByCode returns the live version of a journey, or nil.
func (b *book) liveByCode(code string) *Version {
	for _, e := range b.entries {
		if e.Code == code {
			return b.version(e.No, e.live)
		}
	}
	return nil
}

var _ activity.Handler = (*Engine)(nil).Handle
