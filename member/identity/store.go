package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// birthRow is a birth with where it is now.
type birthRow struct {
	Node
	root, raw member.Birth
	erased    bool
}

// known is one epoch of an identifier.
type known struct {
	epoch     int
	birth     member.Birth
	firstSeen time.Time
	fresh     bool // created in this call
}

// Observe joins tables with the rows of a batch by key. Left to itself the planner reads whole tables for every batch, the
// more so on a young database, whose plans were made when the tables were empty. Such plans do not depend on the arguments
// either, so one per connection is enough. Set for the time of the call.
const (
	probeOnly = `
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)`
	probeDone = `
SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true),
       set_config('plan_cache_mode', 'auto', true)`
)

const findIdentifiersSQL = `
SELECT i.ns, i.scope, i.vh, i.epoch, i.birth, i.first_seen
FROM unnest(@ns::text[], @scope::text[], @vh::bytea[]) AS k (ns, scope, vh)
JOIN member.identifiers i USING (ns, scope, vh)
ORDER BY i.ns, i.scope, i.vh, i.epoch`

func findIdentifiers(ctx context.Context, db pg.DB, ids []identifier) (map[identifier][]known, error) {
	rows, err := db.Query(ctx, findIdentifiersSQL, identifierArgs(ids))
	if err != nil {
		return nil, fmt.Errorf("find identifiers: %w", err)
	}
	return collectIdentifiers(rows, make(map[identifier][]known, len(ids)), false)
}

func collectIdentifiers(rows pgx.Rows, into map[identifier][]known, fresh bool) (map[identifier][]known, error) {
	defer rows.Close()
	for rows.Next() {
		var id identifier
		var vh []byte
		k := known{fresh: fresh}
		if err := rows.Scan(&id.ns, &id.scope, &vh, &k.epoch, &k.birth, &k.firstSeen); err != nil {
			return nil, fmt.Errorf("read identifiers: %w", err)
		}
		copy(id.vh[:], vh)
		into[id] = append(into[id], k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read identifiers: %w", err)
	}
	return into, nil
}

func identifierArgs(ids []identifier) pg.Args {
	ns, scope, vh := make([]string, len(ids)), make([]string, len(ids)), make([][]byte, len(ids))
	for i, id := range ids {
		ns[i], scope[i], vh[i] = id.ns, id.scope, id.vh[:]
	}
	return pg.Args{"ns": ns, "scope": scope, "vh": vh}
}

// Rank 1 of the locks: identifiers are inserted in key order, so that of two transactions with the same new keys one
// waits for the other and never in a circle. A row that a concurrent transaction inserted is not returned. An identifier
// of somebody erased begins anew at the erasure, as an epoch that does not reach further back.
const insertIdentifiersSQL = `
INSERT INTO member.identifiers (ns, scope, vh, epoch, first_seen)
SELECT k.ns, k.scope, k.vh, k.epoch + (s.vh IS NOT NULL)::int, coalesce(s.erased_at + interval '1 microsecond', k.at)
FROM unnest(@ns::text[], @scope::text[], @vh::bytea[], @epoch::int[], @at::timestamptz[], @until::timestamptz[])
    AS k (ns, scope, vh, epoch, at, until)
LEFT JOIN member.suppressed s ON s.ns = k.ns AND s.scope = k.scope AND s.vh = k.vh AND k.epoch = 0
WHERE s.vh IS NULL OR s.erased_at < k.until
ORDER BY k.ns, k.scope, k.vh, k.epoch
ON CONFLICT (ns, scope, vh, epoch) DO NOTHING
RETURNING ns, scope, vh, epoch, birth, first_seen`

// opening is an identifier epoch to create.
type opening struct {
	identifier
	epoch     int
	at, until time.Time // first and last observation
}

func insertIdentifiers(ctx context.Context, tx pgx.Tx, open []opening) (map[identifier][]known, error) {
	ids, epochs := make([]identifier, len(open)), make([]int32, len(open))
	ats, untils := make([]time.Time, len(open)), make([]time.Time, len(open))
	for i, o := range open {
		ids[i], epochs[i], ats[i], untils[i] = o.identifier, int32(o.epoch), o.at, o.until
	}
	args := identifierArgs(ids)
	args["epoch"], args["at"], args["until"] = epochs, ats, untils
	rows, err := tx.Query(ctx, insertIdentifiersSQL, args)
	if err != nil {
		return nil, fmt.Errorf("insert identifiers: %w", err)
	}
	return collectIdentifiers(rows, make(map[identifier][]known, len(open)), true)
}

const insertEventsSQL = `
INSERT INTO member.evidence_events (hash, at)
SELECT h, a
FROM unnest(@hashes::bytea[], @ats::timestamptz[]) AS e (h, a)
ORDER BY h
ON CONFLICT DO NOTHING
RETURNING hash`

// Rank 2 of the locks: the raw components of the births, in order. The lock is the identifier's row of the smallest birth
// and not its row in births: that one moves with its component, so who holds a component would wait for who came too late
// to it, and holds it by the name that it no longer has.
const lockComponentsSQL = `
SELECT birth
FROM member.identifiers
WHERE birth = ANY(ARRAY(SELECT raw_root FROM member.births WHERE birth = ANY(@births)))
ORDER BY birth
FOR NO KEY UPDATE`

// Read after the lock, in a statement of its own and so on a new snapshot.
const loadComponentsSQL = `
WITH roots AS MATERIALIZED (
    SELECT DISTINCT raw_root
    FROM member.births
    WHERE birth = ANY(@births)
)
SELECT b.birth, b.root, b.raw_root, b.ns, b.scope, b.quarantined, b.released, b.tie, b.erased_at IS NOT NULL
FROM roots r
JOIN member.births b ON b.birth = r.raw_root
UNION ALL
SELECT b.birth, b.root, b.raw_root, b.ns, b.scope, b.quarantined, b.released, b.tie, b.erased_at IS NOT NULL
FROM roots r
JOIN member.births b ON b.raw_root = r.raw_root AND b.raw_root <> b.birth`

// The denials with an end in the components.
const loadDenialsSQL = `
WITH roots AS MATERIALIZED (
    SELECT DISTINCT raw_root
    FROM member.births
    WHERE birth = ANY(@births)
)
SELECT e.a_birth, e.b_birth
FROM (
    SELECT raw_root AS birth
    FROM roots
    UNION ALL
    SELECT b.birth
    FROM roots r
    JOIN member.births b ON b.raw_root = r.raw_root AND b.raw_root <> b.birth
) b
JOIN member.evidence e ON e.a_birth = b.birth
WHERE e.kind = 'deny' AND e.revoked_at IS NULL`

const loadEvidenceSQL = `
SELECT id, a_birth, b_birth, kind, source, trust, first_at, last_at, n
FROM member.evidence
WHERE a_birth = ANY(@births) AND revoked_at IS NULL`

func scanBirth(row pgx.CollectableRow) (birthRow, error) {
	var b birthRow
	err := row.Scan(&b.Birth, &b.root, &b.raw, &b.NS, &b.Scope, &b.Quarantined, &b.Released, &b.Tie, &b.erased)
	return b, err
}

func scanEdge(row pgx.CollectableRow) (Edge, error) {
	var e Edge
	err := row.Scan(&e.ID, &e.A, &e.B, &e.Kind, &e.Source, &e.Trust, &e.First, &e.Last, &e.N)
	return e, err
}

func loadEvidence(ctx context.Context, db pg.DB, births []member.Birth) ([]Edge, error) {
	rows, err := db.Query(ctx, loadEvidenceSQL, pg.Args{"births": ints(births)})
	if err != nil {
		return nil, fmt.Errorf("load evidence: %w", err)
	}
	edges, err := pgx.CollectRows(rows, scanEdge)
	if err != nil {
		return nil, fmt.Errorf("load evidence: %w", err)
	}
	return edges, nil
}

// Rank 3 of the locks: births that move, in order, and then the members whose births move, in order. Whoever changes something of a member holds this row.
const lockBirthsSQL = `
SELECT birth
FROM member.births
WHERE birth = ANY(@births)
ORDER BY birth
FOR NO KEY UPDATE`

const lockMembersSQL = `
SELECT id
FROM member.members
WHERE id = ANY(@ids)
ORDER BY id
FOR NO KEY UPDATE`

const insertBirthsSQL = `
INSERT INTO member.births (birth, root, raw_root, ns, scope, person, quarantined, tie, first_fact_at, created_at)
SELECT b.birth, b.root, b.raw, b.ns, b.scope, b.person, b.hot, b.tie, b.fact, @now
FROM unnest(@births::bigint[], @roots::bigint[], @raws::bigint[], @ns::text[], @scopes::text[], @persons::bool[], @hot::bool[], @ties::bigint[], @facts::timestamptz[])
    AS b (birth, root, raw, ns, scope, person, hot, tie, fact)`

const moveBirthsSQL = `
UPDATE member.births b
SET root = m.root, raw_root = m.raw, quarantined = m.hot
FROM unnest(@births::bigint[], @roots::bigint[], @raws::bigint[], @hot::bool[]) AS m (birth, root, raw, hot)
WHERE b.birth = m.birth`

const insertHistorySQL = `
INSERT INTO member.cluster_history (birth, at, old_root, new_root, cause, actor)
SELECT h.birth, @now, h.old, h.new, @cause, @actor
FROM unnest(@births::bigint[], @olds::bigint[], @news::bigint[]) AS h (birth, old, new)`

const upsertEvidenceSQL = `
INSERT INTO member.evidence AS e (a_birth, b_birth, kind, source, trust, first_at, last_at, n, reason)
SELECT v.a, v.b, v.kind, v.source, v.trust, v.first_at, v.last_at, v.n, @reason
FROM unnest(@as::bigint[], @bs::bigint[], @kinds::text[], @sources::text[], @trusts::int[], @firsts::timestamptz[], @lasts::timestamptz[], @ns::int[])
    AS v (a, b, kind, source, trust, first_at, last_at, n)
ORDER BY v.a, v.b, v.kind, v.source
ON CONFLICT (a_birth, b_birth, kind, source) WHERE revoked_at IS NULL DO UPDATE
SET first_at = LEAST(e.first_at, EXCLUDED.first_at),
    last_at = GREATEST(e.last_at, EXCLUDED.last_at),
    trust = LEAST(e.trust, EXCLUDED.trust),
    n = e.n + EXCLUDED.n`

const revokeEvidenceSQL = `
UPDATE member.evidence
SET revoked_at = @now, revoked_by = @actor, reason = @reason
WHERE id = ANY(@ids) AND revoked_at IS NULL`

const evidenceByIDSQL = `
SELECT id, a_birth, b_birth, kind, source, trust, first_at, last_at, n
FROM member.evidence
WHERE id = @id AND revoked_at IS NULL`

func ints[T ~int64](xs []T) []int64 {
	out := make([]int64, len(xs))
	for i, x := range xs {
		out[i] = int64(x)
	}
	return out
}
