package journeys

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

const infoColumns = `id, no, code, name, status, revision, live_version, next_at, created_at, updated_at`

const insertJourneySQL = `
INSERT INTO journeys.journeys (id, code, name, draft, created_at, updated_at)
VALUES (@id, @code, @name, @draft, @now, @now)
RETURNING ` + infoColumns

const getJourneySQL = `
SELECT ` + infoColumns + `
FROM journeys.journeys
WHERE code = @code`

const lockJourneySQL = getJourneySQL + `
FOR UPDATE`

const findJourneysSQL = `
SELECT ` + infoColumns + `
FROM journeys.journeys
WHERE code > @after AND (@status = '' OR status = @status)
ORDER BY code
LIMIT @limit`

const draftSQL = `
SELECT draft
FROM journeys.journeys
WHERE code = @code`

const saveDraftSQL = `
UPDATE journeys.journeys
SET name = @name, draft = @draft, revision = revision + 1, updated_at = @now
WHERE code = @code
RETURNING ` + infoColumns

const versionSQL = `
SELECT document
FROM journeys.versions
WHERE journey = @journey AND version = @version`

const insertVersionSQL = `
INSERT INTO journeys.versions (journey, version, document, published_at, published_by)
SELECT @journey, coalesce(max(version), 0) + 1, @document, @now, @by
FROM journeys.versions
WHERE journey = @journey
RETURNING version`

const setStatusSQL = `
UPDATE journeys.journeys
SET status = @status, live_version = coalesce(@version::integer, live_version), next_at = @next, updated_at = @now
WHERE code = @code
RETURNING ` + infoColumns

const touchControlSQL = `
UPDATE journeys.control
SET generation = generation + 1, paused_all = coalesce(@paused::boolean, paused_all)
RETURNING paused_all`

const readControlSQL = `
SELECT paused_all
FROM journeys.control`

func one(ctx context.Context, db pg.DB, code, sql string, args pg.Args) (Info, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return Info{}, fmt.Errorf("journey %s: %w", code, err)
	}
	info, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Info])
	switch {
	case pg.NoRows(err):
		return Info{}, ErrNotFound.With("code", code)
	case pg.Constraint(err) == "journeys_code":
		return Info{}, ErrCodeTaken.With("code", code)
	case err != nil:
		return Info{}, fmt.Errorf("journey %s: %w", code, err)
	}
	return info, nil
}

// releaseHeldSQL lets runs go on that came due while their journey was paused; their timers count from now.
const releaseHeldSQL = `
UPDATE journeys.runs
SET status = 'waiting', due_at = greatest(due_at, @now::timestamptz)
WHERE status = 'held' AND journey = ANY (@journeys)`

// endRunsSQL ends all active runs of a journey, or those of versions before one.
const endRunsSQL = `
WITH gone AS (
    UPDATE journeys.runs
    SET status = 'ended', reason = @reason, ended_at = @now, due_at = NULL, parked = false, wake = false
    WHERE journey = @journey AND version < @before AND status IN ('waiting', 'held', 'quarantined')
    RETURNING version, node, entered_at
), counted AS (
    SELECT version, node, (entered_at AT TIME ZONE 'Asia/Shanghai')::date AS cohort, count(*) AS n
    FROM gone
    GROUP BY 1, 2, 3
), noted AS (
    INSERT INTO journeys.node_deltas (journey, version, node, metric, detail, cohort, hour, n)
    SELECT @journey, version, node, 'left', @reason, cohort, date_trunc('hour', @now::timestamptz), n
    FROM counted
    UNION ALL
    SELECT @journey, version, '', 'ended', @reason, cohort, date_trunc('hour', @now::timestamptz), n
    FROM counted
)
SELECT coalesce(sum(n), 0)::bigint
FROM counted`

// inFlightSQL counts active runs of earlier versions by node.
const inFlightSQL = `
SELECT version, node, count(*) AS n
FROM journeys.runs
WHERE journey = @journey AND version <> @version AND status IN ('waiting', 'held', 'quarantined')
GROUP BY version, node
ORDER BY version, node`

// moveRunsSQL takes runs from one node of an old version to one of the new. A run that stays in an equal wait keeps its
// time; any other stands before its new node and is due at once.
const moveRunsSQL = `
UPDATE journeys.runs r
SET version = @version, node = t.target, attempts = 0, error = '',
    status = CASE WHEN r.status = 'quarantined' THEN 'waiting' ELSE r.status END,
    parked = r.parked AND t.stay, wake = r.wake AND t.stay,
    since = CASE WHEN t.stay THEN r.since ELSE @now::timestamptz END,
    due_at = CASE WHEN t.stay AND r.due_at IS NOT NULL THEN r.due_at ELSE @now::timestamptz END
FROM unnest(@versions::integer[], @nodes::text[], @targets::text[], @stays::boolean[]) AS t (version, node, target, stay)
WHERE r.journey = @journey AND r.version = t.version AND r.node = t.node
  AND r.status IN ('waiting', 'held', 'quarantined')`

// retrySQL gives quarantined runs another set of attempts.
const retrySQL = `
UPDATE journeys.runs
SET status = 'waiting', attempts = 0, due_at = @now
WHERE journey = @journey AND status = 'quarantined'`

func getDraft(ctx context.Context, db pg.DB, code string) (json.RawMessage, error) {
	var raw json.RawMessage
	err := db.QueryRow(ctx, draftSQL, pg.Args{"code": code}).Scan(&raw)
	if pg.NoRows(err) {
		return nil, ErrNotFound.With("code", code)
	}
	if err != nil {
		return nil, fmt.Errorf("read draft of %s: %w", code, err)
	}
	return raw, nil
}

func getVersion(ctx context.Context, db pg.DB, info Info, version int) (*Version, error) {
	var raw json.RawMessage
	err := db.QueryRow(ctx, versionSQL, pg.Args{"journey": info.No, "version": version}).Scan(&raw)
	if pg.NoRows(err) {
		return nil, ErrNoVersion.With("code", info.Code, "version", version)
	}
	if err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", version, info.Code, err)
	}
	doc, err := ParseDocument(raw)
	if err != nil {
		return nil, err
	}
	return Compile(info.journey(), version, doc)
}

func (i Info) journey() Journey { return Journey{ID: i.ID, No: i.No, Code: i.Code} }

func newJourney(ctx context.Context, db pg.DB, code string, doc *Document, raw []byte, now time.Time) (Info, error) {
	return one(ctx, db, code, insertJourneySQL, pg.Args{"id": id.New(), "code": code, "name": doc.Name, "draft": raw, "now": now})
}
