package journeys

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Slices is the number of partitions of journeys.runs; each is worked under a lease of its own.
const Slices = 4

const runColumns = `
    birth, id, seed, journey, version, status, node, parked, wake, since, due_at, entered_at, ended_at, reason, goal_at,
    attempts, error, absorbed_by, absorbed_birth, context, history`

// claimSQL takes due runs of slice 0 (claimSQLs has one for each); those that a feed batch holds are left to it.
const claimSQL = `
SELECT` + runColumns + `
FROM journeys.runs_0
WHERE status = 'waiting' AND due_at <= @now
  AND (journey <> ALL (@listening::integer[]) OR due_at <= @overdue
       OR due_at <= @settled AND birth <> ALL (@held::bigint[]))
ORDER BY due_at
LIMIT @limit
FOR UPDATE SKIP LOCKED`

// waitSQL finds the oldest due run that waits for the feed.
const waitSQL = `
SELECT due_at
FROM journeys.runs_0
WHERE status = 'waiting' AND due_at <= @now AND due_at > @overdue
  AND journey = ANY (@listening::integer[]) AND NOT (due_at <= @settled AND birth <> ALL (@held::bigint[]))
ORDER BY due_at
LIMIT 1`

// bySlice is a statement on the partition of each slice. Naming the partition spares the planner all others.
func bySlice(sql, table string) (out [Slices]string) {
	for i := range out {
		out[i] = strings.Replace(sql, table, fmt.Sprintf("journeys.runs_%d", i), 1)
	}
	return out
}

var (
	claimSQLs  = bySlice(claimSQL, "journeys.runs_0")
	waitSQLs   = bySlice(waitSQL, "journeys.runs_0")
	updateSQLs = bySlice(updateRunsSQL, "journeys.runs")
)

// uuids are UUIDs as pgx encodes them fastest: id.UUID would go through its text form.
func uuids(ids []id.UUID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i, u := range ids {
		out[i] = u
	}
	return out
}

func claimRuns(ctx context.Context, tx pgx.Tx, slice, limit int, h horizon) ([]*live, error) {
	args := h.args()
	args["limit"] = limit
	return queryRuns(ctx, tx, claimSQLs[slice], args)
}

func (h horizon) args() pg.Args {
	return pg.Args{"now": h.now, "listening": h.listening, "settled": h.settled, "held": h.held, "overdue": h.overdue}
}

// oldestWaiting returns when the oldest run was due that waits for the feed; zero if none does.
func oldestWaiting(ctx context.Context, tx pgx.Tx, slice int, h horizon) (due time.Time, err error) {
	if len(h.listening) == 0 {
		return time.Time{}, nil
	}
	err = tx.QueryRow(ctx, waitSQLs[slice], h.args()).Scan(&due)
	if err != nil && !pg.NoRows(err) {
		return time.Time{}, fmt.Errorf("look for waiting timers: %w", err)
	}
	return due, nil
}

// loadRunsSQL takes the runs that facts of these births may move: active and absorbed ones, those within their goal's
// time, and all of journeys that may begin again. Locked in one order.
const loadRunsSQL = `
SELECT` + runColumns + `
FROM journeys.runs
WHERE birth = ANY (@births)
  AND (status <> 'ended' OR journey = ANY (@entering) OR journey = ANY (@goals) AND goal_at IS NULL)
ORDER BY birth, id
FOR UPDATE`

func loadRuns(ctx context.Context, tx pgx.Tx, births []member.Birth, entering, goals []int) ([]*live, error) {
	return queryRuns(ctx, tx, loadRunsSQL, pg.Args{"births": births, "entering": entering, "goals": goals})
}

const loadRunSQL = `
SELECT` + runColumns + `
FROM journeys.runs
WHERE (birth, id) IN (SELECT * FROM unnest(@births::bigint[], @ids::uuid[]))`

func loadRunsByKey(ctx context.Context, db pg.DB, births []member.Birth, ids []id.UUID) ([]*live, error) {
	return queryRuns(ctx, db, loadRunSQL, pg.Args{"births": births, "ids": uuids(ids)})
}

const memberRunsSQL = `
SELECT` + runColumns + `
FROM journeys.runs
WHERE birth = ANY (@births)
ORDER BY entered_at DESC, id
LIMIT @limit`

const journeyRunsSQL = `
SELECT` + runColumns + `
FROM journeys.runs
WHERE journey = @journey AND (birth, id) > (@birth, @id)
ORDER BY birth, id
LIMIT @limit`

const asideRunsSQL = `
SELECT` + runColumns + `
FROM journeys.runs
WHERE journey = @journey AND status = 'quarantined'
ORDER BY since
LIMIT @limit`

func queryRuns(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]*live, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	defer rows.Close()
	var out []*live
	for rows.Next() {
		l := &live{}
		r := &l.Run
		var due, ended, goal *time.Time
		var absorbedBirth *int64
		err := rows.Scan(&r.Birth, &r.ID, &r.Seed, &r.Journey, &r.Version, &r.Status, &r.Node, &r.Parked, &r.Wake, &r.Since,
			&due, &r.EnteredAt, &ended, &r.Reason, &goal, &r.Attempts, &r.Error, &r.AbsorbedBy, &absorbedBirth, &r.Context, &r.History)
		if err != nil {
			return nil, fmt.Errorf("read runs: %w", err)
		}
		r.Since, r.EnteredAt = r.Since.UTC(), r.EnteredAt.UTC()
		r.Due, r.EndedAt, r.GoalAt = orZero(due), orZero(ended), orZero(goal)
		if absorbedBirth != nil {
			b := member.Birth(*absorbedBirth)
			r.AbsorbedBirth = &b
		}
		l.orig = l.Run
		out = append(out, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return out, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const insertRunsSQL = `
INSERT INTO journeys.runs (` + runColumns + `)
SELECT birth, id, seed, journey, version, status, node, parked, wake, since, due_at, entered_at, ended_at, reason, goal_at,
       attempts, error, absorbed_by, absorbed_birth, context::jsonb, history
FROM unnest(@births::bigint[], @ids::uuid[], @seeds::bigint[], @journeys::integer[], @versions::integer[], @statuses::text[],
            @nodes::text[], @parked::boolean[], @wakes::boolean[], @sinces::timestamptz[], @dues::timestamptz[],
            @entered::timestamptz[], @ended::timestamptz[], @reasons::text[], @goals::timestamptz[], @attempts::integer[],
            @errors::text[], @absorbers::uuid[], @absorber_births::bigint[], @contexts::text[], @histories::bytea[])
     AS t (` + runColumns + `)
ON CONFLICT DO NOTHING`

// updateRunsSQL writes back runs that this transaction has locked. History is appended to, never rewritten.
const updateRunsSQL = `
UPDATE journeys.runs r
SET version = t.version, status = t.status, node = t.node, parked = t.parked, wake = t.wake, since = t.since,
    due_at = t.due_at, ended_at = t.ended_at, reason = t.reason, goal_at = t.goal_at, attempts = t.attempts, error = t.error,
    absorbed_by = t.absorbed_by, absorbed_birth = t.absorbed_birth, history = r.history || t.history
FROM unnest(@births::bigint[], @ids::uuid[], @versions::integer[], @statuses::text[],
            @nodes::text[], @parked::boolean[], @wakes::boolean[], @sinces::timestamptz[], @dues::timestamptz[],
            @ended::timestamptz[], @reasons::text[], @goals::timestamptz[], @attempts::integer[],
            @errors::text[], @absorbers::uuid[], @absorber_births::bigint[], @histories::bytea[])
     AS t (birth, id, version, status, node, parked, wake, since, due_at, ended_at, reason, goal_at, attempts, error,
           absorbed_by, absorbed_birth, history)
WHERE r.birth = t.birth AND r.id = t.id`

// runArgs lays runs out as columns. For an update, histories hold only what was added.
func runArgs(runs []*live, update bool) pg.Args {
	n := len(runs)
	births, ids, seeds := make([]int64, n), make([][16]byte, n), make([]int64, n)
	journeys, versions, attempts := make([]int32, n), make([]int32, n), make([]int32, n)
	statuses, nodes, reasons, errs := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	parked, wakes := make([]bool, n), make([]bool, n)
	sinces, entered := make([]time.Time, n), make([]time.Time, n)
	dues, ended, goals := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	absorbers, absorberBirths := make([]*[16]byte, n), make([]*int64, n)
	contexts, histories := make([]*string, n), make([][]byte, n)
	for i, l := range runs {
		r := &l.Run
		births[i], ids[i], seeds[i] = int64(r.Birth), r.ID, int64(r.Seed)
		journeys[i], versions[i], attempts[i] = int32(r.Journey), int32(r.Version), int32(r.Attempts)
		statuses[i], nodes[i], reasons[i], errs[i] = string(r.Status), r.Node, r.Reason, r.Error
		parked[i], wakes[i] = r.Parked, r.Wake
		sinces[i], entered[i] = r.Since, r.EnteredAt
		dues[i], ended[i], goals[i] = orNil(r.Due), orNil(r.EndedAt), orNil(r.GoalAt)
		absorbers[i] = (*[16]byte)(r.AbsorbedBy)
		if r.AbsorbedBirth != nil {
			b := int64(*r.AbsorbedBirth)
			absorberBirths[i] = &b
		}
		if len(r.Context) > 0 {
			s := string(r.Context)
			contexts[i] = &s
		}
		histories[i] = r.History
		if histories[i] == nil {
			histories[i] = []byte{}
		}
		if update {
			histories[i] = r.History[len(l.orig.History):]
		}
	}
	args := pg.Args{"births": births, "ids": ids, "versions": versions, "statuses": statuses, "nodes": nodes,
		"parked": parked, "wakes": wakes, "sinces": sinces, "dues": dues, "ended": ended, "reasons": reasons,
		"goals": goals, "attempts": attempts, "errors": errs, "absorbers": absorbers, "absorber_births": absorberBirths,
		"histories": histories}
	if !update {
		args["seeds"], args["journeys"], args["entered"], args["contexts"] = seeds, journeys, entered, contexts
	}
	return args
}

// saveRuns inserts new runs and writes changed ones back. A new run that exists already was begun by somebody else at the
// same moment: the transaction must look again.
// slice is that of all changed runs, or -1 if they may lie in several.
func saveRuns(ctx context.Context, tx pgx.Tx, added, changed []*live, slice int) error {
	if len(added) > 0 {
		tag, err := tx.Exec(ctx, insertRunsSQL, runArgs(added, false))
		if err != nil {
			return fmt.Errorf("insert runs: %w", err)
		}
		if int(tag.RowsAffected()) != len(added) {
			return pg.ErrRetry
		}
	}
	if len(changed) > 0 {
		sql := updateRunsSQL
		if slice >= 0 {
			sql = updateSQLs[slice]
		}
		tag, err := tx.Exec(ctx, sql, runArgs(changed, true))
		if err != nil {
			return fmt.Errorf("update runs: %w", err)
		}
		if int(tag.RowsAffected()) != len(changed) {
			return fmt.Errorf("update runs: %d of %d found", tag.RowsAffected(), len(changed))
		}
	}
	return nil
}
