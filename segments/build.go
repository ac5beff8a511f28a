package segments

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

const buildingSQL = `
SELECT id
FROM segments.segments
WHERE status = 'building'
ORDER BY id`

// buildDue builds every segment that waits for it. Create and Update call it; so does the wheel, for a process that died
// between storing a rule and building it.
func (s *Service) buildDue(ctx context.Context, now time.Time) error {
	ids, err := segmentIDs(ctx, s.db, buildingSQL, pg.Args{})
	if err != nil {
		return err
	}
	for _, segment := range ids {
		if _, err := s.rebuild(ctx, segment, now, StatusBuilding, member.ModeBackfill); err != nil {
			return err
		}
	}
	return nil
}

// rebuild brings the whole membership of one segment in line with its rule, if it still has the expected status, and
// returns how many entered or left.
func (s *Service) rebuild(ctx context.Context, segment id.UUID, now time.Time, expect Status, mode member.Mode) (changed int, err error) {
	err = whole(ctx, s.db, func(tx pgx.Tx) error {
		changed = 0
		locked, err := s.store.lock(ctx, tx, []id.UUID{segment})
		if err != nil || len(locked) == 0 || locked[0].Status != expect {
			return err
		}
		seg := locked[0]
		refs, err := resolve(ctx, tx, seg.Rule)
		if err != nil {
			return err
		}
		text, args := settle(seg.ID, seg.Rule, now, nil, refs).query()
		rows, err := tx.Query(ctx, text, pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return err
		}
		var said []activity.Activity
		if err := s.collect(rows, seg, func(who member.ID, entered bool) {
			said = append(said, announce(seg.Code, who, entered, mode, now))
		}); err != nil {
			return err
		}
		changed = len(said)
		text, args = schedule(seg.ID, seg.Rule, now, nil, refs).query()
		if _, err := tx.Exec(ctx, text, pgx.QueryExecModeCacheDescribe, args); err != nil {
			return fmt.Errorf("schedule expiries: %w", err)
		}
		terms := seg.Rule.terms
		for _, r := range refs {
			terms = terms.with(r.terms)
		}
		var refreshAt *time.Time
		if terms.Daily || terms.RFM {
			at := nextMidnight(now)
			refreshAt = &at
		}
		if err := s.store.settled(ctx, tx, seg.ID, now, refreshAt); err != nil {
			return err
		}
		return s.conclude(ctx, tx, nil, said)
	})
	if err != nil {
		return 0, fmt.Errorf("build segment %s: %w", segment, err)
	}
	return changed, nil
}

func segmentIDs(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]id.UUID, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("find segments: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[id.UUID])
	if err != nil {
		return nil, fmt.Errorf("find segments: %w", err)
	}
	return ids, nil
}
