package segments

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const (
	wheelBatch = 5000
	wheelTick  = 200 * time.Millisecond
	wheelTTL   = 10 * time.Second
)

const dueSQL = `
SELECT segment_id, root
FROM segments.expiries
WHERE due_at <= @now
ORDER BY due_at
LIMIT @limit`

const refreshDueSQL = `
SELECT id
FROM segments.segments
WHERE refresh_at <= @now AND status = 'active'
ORDER BY refresh_at`

// unwatchedSQL drops expiries of segments that are not active: archived ones have no membership, and a build writes its
// own.
const unwatchedSQL = `
DELETE FROM segments.expiries e
USING segments.segments s
WHERE e.due_at <= @now AND s.id = e.segment_id AND s.status <> 'active'`

// AdvanceTo applies what time alone has changed up to now: windows that facts have left, deadlines that have passed,
// anniversaries, RFM. Membership is then what the rules say at now; what came and went in between is not replayed. The
// loops call it with the clock's time, the demo and tests with a virtual one. It returns how many evaluations were due.
func (s *Service) AdvanceTo(ctx context.Context, now time.Time) (int, error) {
	if err := s.buildDue(ctx, now); err != nil {
		return 0, err
	}
	total := 0
	for {
		n, err := s.turn(ctx, now)
		total += n
		if err != nil {
			return total, fmt.Errorf("turn the segment wheel: %w", err)
		}
		if n == 0 {
			break
		}
	}
	ids, err := segmentIDs(ctx, s.db, refreshDueSQL, pg.Args{"now": now})
	if err != nil {
		return total, err
	}
	for _, segment := range ids {
		n, err := s.rebuild(ctx, segment, now, StatusActive, member.ModeLive)
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// turn evaluates one batch of those who are due.
func (s *Service) turn(ctx context.Context, now time.Time) (n int, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		n = 0
		ix, err := s.current(ctx, tx)
		if err != nil {
			return err
		}
		if err := exec(ctx, tx, unwatchedSQL, pg.Args{"now": now}); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, dueSQL, pg.Args{"now": now, "limit": wheelBatch})
		if err != nil {
			return err
		}
		todo := work{}
		var segment id.UUID
		var who member.ID
		_, err = pgx.ForEachRow(rows, []any{&segment, &who}, func() error {
			todo.add(segment, who, member.ModeLive)
			n++
			return nil
		})
		if err != nil {
			return err
		}
		return s.evaluate(ctx, tx, round{index: ix, todo: todo, now: now})
	})
	return n, err
}

// RunWheel advances with the clock until ctx ends. One process of the installation does it at a time.
func (s *Service) RunWheel(ctx context.Context) error {
	host, _ := os.Hostname()
	holder := fmt.Sprintf("%s/%d/%s", host, os.Getpid(), id.New())
	for ctx.Err() == nil {
		held, ok, err := lease.Acquire(ctx, s.db, "segments.wheel", holder, wheelTTL)
		if err == nil && ok {
			err = s.wheelUnder(ctx, held)
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			if rerr := held.Release(release, s.db); rerr != nil {
				s.log.WarnContext(ctx, "segment wheel", "error", rerr)
			}
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "segment wheel will retry", "error", err)
		}
		pause(ctx, time.Second)
	}
	return nil
}

// wheelUnder turns the wheel while the lease lasts. Two wheels at once would be harmless: they meet at the segments' locks.
func (s *Service) wheelUnder(ctx context.Context, held lease.Lease) error {
	for ctx.Err() == nil {
		if err := held.Renew(ctx, s.db); err != nil {
			return err
		}
		if _, err := s.AdvanceTo(ctx, s.clock.Now()); err != nil {
			return err
		}
		pause(ctx, wheelTick)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
