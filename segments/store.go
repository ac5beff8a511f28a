package segments

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

type store struct{}

const columns = `id, code, name, rule, version, status, size, built_at, refresh_at, created_at, updated_at`

const insertSegmentSQL = `
INSERT INTO segments.segments (id, code, name, rule, status, created_at, updated_at)
VALUES (@id, @code, @name, @rule, 'building', @now, @now)
RETURNING ` + columns

func (store) insert(ctx context.Context, db pg.DB, code, name string, rule Rule, now time.Time) (Segment, error) {
	s, err := one(ctx, db, insertSegmentSQL, pg.Args{"id": id.New(), "code": code, "name": name, "rule": rule, "now": now})
	if pg.Constraint(err) == "segments_code" {
		return Segment{}, ErrCodeTaken.With("code", code)
	}
	return s, err
}

const updateSegmentSQL = `
UPDATE segments.segments
SET name = @name, rule = @rule, status = @status, version = version + 1, updated_at = @now
WHERE id = @id
RETURNING ` + columns

func (store) update(ctx context.Context, db pg.DB, s Segment, now time.Time) (Segment, error) {
	return one(ctx, db, updateSegmentSQL, pg.Args{"id": s.ID, "name": s.Name, "rule": s.Rule, "status": s.Status, "now": now})
}

const getSegmentSQL = `
SELECT ` + columns + `
FROM segments.segments
WHERE code = @code`

func (store) get(ctx context.Context, db pg.DB, code string) (Segment, error) {
	s, err := one(ctx, db, getSegmentSQL, pg.Args{"code": code})
	if pg.NoRows(err) {
		return Segment{}, ErrNotFound.With("code", show(code))
	}
	return s, err
}

const findSegmentsSQL = `
SELECT ` + columns + `
FROM segments.segments
WHERE code > @after AND (@archived OR status <> 'archived')
ORDER BY code
LIMIT @limit`

func (store) find(ctx context.Context, db pg.DB, after string, archived bool, limit int) ([]Segment, error) {
	return all(ctx, db, findSegmentsSQL, pg.Args{"after": after, "archived": archived, "limit": limit})
}

// lockSegmentsSQL locks in id order; whoever changes membership holds these locks.
const lockSegmentsSQL = `
SELECT ` + columns + `
FROM segments.segments
WHERE id = ANY(@ids)
ORDER BY id
FOR NO KEY UPDATE`

func (store) lock(ctx context.Context, db pg.DB, ids []id.UUID) ([]Segment, error) {
	return all(ctx, db, lockSegmentsSQL, pg.Args{"ids": ids})
}

const liveSegmentsSQL = `
SELECT ` + columns + `
FROM segments.segments
WHERE status <> 'archived'
ORDER BY id`

func (store) live(ctx context.Context, db pg.DB) ([]Segment, error) {
	return all(ctx, db, liveSegmentsSQL, pg.Args{})
}

const markBuildingSQL = `
UPDATE segments.segments
SET status = 'building'
WHERE id = ANY(@ids) AND status = 'active'`

func (store) markBuilding(ctx context.Context, db pg.DB, ids []id.UUID) error {
	return exec(ctx, db, markBuildingSQL, pg.Args{"ids": ids})
}

const settledSQL = `
UPDATE segments.segments
SET status = 'active', size = (SELECT count(*) FROM segments.members WHERE segment_id = @id), built_at = @now, refresh_at = @refresh_at,
    build_ms = extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000
WHERE id = @id`

// settled notes that the whole membership is right at now, and what it took: the transaction so far.
func (store) settled(ctx context.Context, db pg.DB, segment id.UUID, now time.Time, refreshAt *time.Time) error {
	return exec(ctx, db, settledSQL, pg.Args{"id": segment, "now": now, "refresh_at": refreshAt})
}

const resizeSQL = `
UPDATE segments.segments s
SET size = s.size + d.delta
FROM unnest(@ids::uuid[], @deltas::bigint[]) AS d (id, delta)
WHERE s.id = d.id`

const hastenSQL = `
UPDATE segments.segments
SET refresh_at = least(refresh_at, @now::timestamptz + greatest(@lag::interval, build_ms * @share::bigint * interval '1 millisecond'))
WHERE id = ANY(@ids) AND status = 'active'
    AND (refresh_at IS NULL OR refresh_at > @now::timestamptz + greatest(@lag::interval, build_ms * @share::bigint * interval '1 millisecond'))`

// hasten brings the refresh of whole segments forward to lag after now, or so late that refreshing one takes no more than
// one part in refreshShare of the time.
func (store) hasten(ctx context.Context, db pg.DB, ids []id.UUID, now time.Time, lag time.Duration) error {
	return exec(ctx, db, hastenSQL, pg.Args{"ids": ids, "now": now, "lag": lag, "share": refreshShare})
}

const clearMembersSQL = `
WITH wheel AS (DELETE FROM segments.expiries WHERE segment_id = @id)
DELETE FROM segments.members
WHERE segment_id = @id`

const emptySQL = `
UPDATE segments.segments
SET size = 0, refresh_at = NULL
WHERE id = @id`

// empty drops the membership of an archived segment.
func (store) empty(ctx context.Context, db pg.DB, segment id.UUID) error {
	if err := exec(ctx, db, clearMembersSQL, pg.Args{"id": segment}); err != nil {
		return err
	}
	return exec(ctx, db, emptySQL, pg.Args{"id": segment})
}

const membersSQL = `
SELECT s.root, s.entered_at
FROM segments.members s
WHERE s.segment_id = @segment AND s.root > @after
    AND EXISTS (SELECT FROM member.members m WHERE m.id = s.root AND ` + inScope + `)
ORDER BY s.root
LIMIT @limit`

// Membership is one row of a segment's members.
type Membership struct {
	MemberID  member.ID `db:"root" json:"member_id,string"`
	EnteredAt time.Time `json:"entered_at"`
}

func (store) members(ctx context.Context, db pg.DB, scope auth.Scope, segment id.UUID, after member.ID, limit int) ([]Membership, error) {
	rows, err := db.Query(ctx, membersSQL, scopeArgs(scope, pg.Args{"segment": segment, "after": after, "limit": limit}))
	if err != nil {
		return nil, fmt.Errorf("find segment members: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Membership])
}

const ofMemberSQL = `
SELECT s.code
FROM segments.members m
JOIN segments.segments s ON s.id = m.segment_id
WHERE m.root = @member
ORDER BY s.code`

func (store) ofMember(ctx context.Context, db pg.DB, who member.ID) ([]string, error) {
	rows, err := db.Query(ctx, ofMemberSQL, pg.Args{"member": who})
	if err != nil {
		return nil, fmt.Errorf("find segments of a member: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const revisionSQL = `
SELECT revision
FROM segments.catalog
FOR SHARE`

// revision reads the catalog's revision and keeps it until the transaction ends.
func (store) revision(ctx context.Context, db pg.DB) (n int64, err error) {
	if err := db.QueryRow(ctx, revisionSQL).Scan(&n); err != nil {
		return 0, fmt.Errorf("read segment catalog: %w", err)
	}
	return n, nil
}

const reviseSQL = `
UPDATE segments.catalog
SET revision = revision + 1`

// revise waits for the live engine to finish its batches, and raises the revision.
func (store) revise(ctx context.Context, db pg.DB) error { return exec(ctx, db, reviseSQL, pg.Args{}) }

func one(ctx context.Context, db pg.DB, sql string, args pg.Args) (Segment, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return Segment{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Segment])
}

func all(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Segment, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("load segments: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Segment])
	if err != nil {
		return nil, fmt.Errorf("load segments: %w", err)
	}
	return found, nil
}

func exec(ctx context.Context, db pg.DB, sql string, args pg.Args) error {
	if _, err := db.Exec(ctx, sql, args); err != nil {
		return fmt.Errorf("segments: %w", err)
	}
	return nil
}
