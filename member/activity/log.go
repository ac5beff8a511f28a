package activity

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Log appends activities and serves the feed.
type Log struct {
	db    pg.DB // pool of the sequencer and the consumers
	clock clock.Clock
	log   *slog.Logger

	mu     sync.Mutex
	months map[int]time.Time // by monthOf → when this process made sure of its partition
	making chan struct{}     // holds one: who makes partitions

	wakeMu sync.Mutex
	wake   chan struct{} // closed when rows were numbered in this process
}

// NewLog returns a log on the pool.
func NewLog(db pg.DB, clk clock.Clock, log *slog.Logger) *Log {
	return &Log{db: db, clock: clk, log: log, months: map[int]time.Time{}, making: make(chan struct{}, 1), wake: make(chan struct{})}
}

// inputCTE spreads the columns of a batch; appendSQL and settleSQL begin with it.
const inputCTE = `
WITH input AS (
    SELECT *
    FROM unnest(@births::bigint[], @keys::text[], @ats::timestamptz[], @touchpoints::text[], @modes::text[],
                @sources::text[], @key_hashes::bytea[], @contents::bytea[], @props::text[])
         WITH ORDINALITY AS t (birth, key, occurred_at, touchpoint, mode, source, key_hash, content_hash, props, ord)
)`

// appendSQL logs what is new. Keys are inserted in key order, so that two writers with overlapping keys wait for each
// other rather than deadlock; of a key that both insert, one wins and the other sees a conflict. The rows that lost, and
// those of earlier batches, do not come back and are settled by settleSQL.
const appendSQL = inputCTE + `, fresh AS (
    INSERT INTO member.activity_keys (source, key_hash, content_hash, occurred_at, activity_id)
    SELECT source, key_hash, content_hash, occurred_at, nextval('member.activity_seq')
    FROM input
    ORDER BY source, key_hash
    ON CONFLICT DO NOTHING
    RETURNING source, key_hash, activity_id
), added AS (
    SELECT i.*, f.activity_id
    FROM input i
    JOIN fresh f USING (source, key_hash)
), logged AS (
    INSERT INTO member.activities (id, birth, key, occurred_at, recorded_at, mode, touchpoint, source, props)
    SELECT activity_id, birth, key, occurred_at, @now, mode, touchpoint, source, props::jsonb
    FROM added
    ORDER BY ord
), fed AS (
    INSERT INTO member.feed_inbox (birth, key, occurred_at, activity_id, mode)
    SELECT birth, key, occurred_at, activity_id, mode
    FROM added
    ORDER BY ord
)
SELECT ord::int
FROM added`

// Append logs the activities in tx and announces them in the feed. The result has one outcome per item, in order. An
// input error names the item and rejects the whole call. Items with the same source and dedupe key within one call are
// taken in order: the last one stands.
func (l *Log) Append(ctx context.Context, tx pgx.Tx, items []Activity) ([]Outcome, error) {
	if len(items) == 0 {
		return nil, nil
	}
	rows := make([]encoded, len(items))
	pending := make([]int, len(items))
	for i, a := range items {
		e, err := encode(a)
		if err != nil {
			return nil, fmt.Errorf("activity %d: %w", i, err)
		}
		rows[i], pending[i] = e, i
	}
	if err := l.ensurePartitions(ctx, tx, rows); err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(rows))
	// One round, unless a key occurs more than once in the call: each round takes the first of each key.
	for len(pending) > 0 {
		round, rest := splitRepeats(rows, pending)
		if err := l.appendRound(ctx, tx, rows, round, outcomes); err != nil {
			return nil, err
		}
		pending = rest
	}
	return outcomes, nil
}

func splitRepeats(rows []encoded, pending []int) (round, rest []int) {
	type key struct {
		source string
		hash   [16]byte
	}
	seen := make(map[key]bool, len(pending))
	for _, i := range pending {
		k := key{rows[i].Source, rows[i].keyHash}
		if seen[k] {
			rest = append(rest, i)
			continue
		}
		seen[k] = true
		round = append(round, i)
	}
	return round, rest
}

func (l *Log) appendRound(ctx context.Context, tx pgx.Tx, rows []encoded, round []int, outcomes []Outcome) error {
	added, err := l.settle(ctx, tx, appendSQL, rows, round)
	if err != nil {
		return fmt.Errorf("append activities: %w", err)
	}
	for _, i := range added {
		outcomes[i] = Inserted
	}
	var known []int
	for _, i := range round {
		if outcomes[i] == "" {
			outcomes[i] = Duplicate
			if !rows[i].FirstStands {
				known = append(known, i)
			}
		}
	}
	if len(known) > 0 {
		replaced, err := l.settle(ctx, tx, replaceSQL, rows, known)
		if err != nil {
			return fmt.Errorf("replace activities: %w", err)
		}
		for _, i := range replaced {
			outcomes[i] = Updated
		}
		added = append(added, replaced...)
	}
	return l.bringFirstFactForward(ctx, tx, rows, added)
}

// settle runs a statement over the chosen rows and returns those it took.
func (l *Log) settle(ctx context.Context, tx pgx.Tx, sql string, rows []encoded, which []int) ([]int, error) {
	args := columns(rows, which)
	args["now"] = l.clock.Now()
	found, err := tx.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	ords, err := pgx.CollectRows(found, pgx.RowTo[int])
	if err != nil {
		return nil, err
	}
	taken := make([]int, len(ords))
	for k, ord := range ords {
		taken[k] = which[ord-1]
	}
	return taken, nil
}

// replaceSQL handles keys that are logged already: equal content stays as it is; other content replaces the activity,
// under a new id. The feed rows are backfill: a revision updates segments but sets nothing in motion.
const replaceSQL = inputCTE + `, old AS (
    SELECT k.source, k.key_hash, k.occurred_at, k.activity_id, i.ord
    FROM member.activity_keys k
    JOIN input i USING (source, key_hash)
    WHERE k.content_hash <> i.content_hash
    ORDER BY k.source, k.key_hash
    FOR UPDATE OF k
), removed AS (
    DELETE FROM member.activities a
    USING old o
    WHERE a.occurred_at = o.occurred_at AND a.id = o.activity_id
    RETURNING o.ord, a.birth, a.key, a.occurred_at
), rekeyed AS (
    UPDATE member.activity_keys k
    SET content_hash = i.content_hash, occurred_at = i.occurred_at, activity_id = nextval('member.activity_seq')
    FROM old o
    JOIN input i USING (ord)
    WHERE k.source = o.source AND k.key_hash = o.key_hash
    RETURNING k.activity_id, i.ord
), logged AS (
    INSERT INTO member.activities (id, birth, key, occurred_at, recorded_at, mode, touchpoint, source, props)
    SELECT r.activity_id, i.birth, i.key, i.occurred_at, @now, i.mode, i.touchpoint, i.source, i.props::jsonb
    FROM input i
    JOIN rekeyed r USING (ord)
), fed AS (
    INSERT INTO member.feed_inbox (birth, key, occurred_at, activity_id, mode)
    SELECT f.birth, f.key, f.occurred_at, f.activity_id, 'backfill'
    FROM (
        SELECT i.birth, i.key, i.occurred_at, r.activity_id
        FROM input i
        JOIN rekeyed r USING (ord)
        UNION ALL
        -- What moved to another birth or key must be noticed where it was.
        SELECT d.birth, d.key, d.occurred_at, NULL
        FROM removed d
        JOIN input i USING (ord)
        WHERE d.birth <> i.birth OR d.key <> i.key
    ) f
)
SELECT ord::int
FROM rekeyed`

// firstFactSQL keeps first_fact_at, on births and their members, at the earliest activity. Rows are locked in order.
const firstFactSQL = `
WITH input AS (
    SELECT birth, min(occurred_at) AS at
    FROM unnest(@births::bigint[], @ats::timestamptz[]) AS t (birth, occurred_at)
    GROUP BY birth
), locked AS (
    SELECT b.birth, b.root, i.at
    FROM member.births b
    JOIN input i USING (birth)
    WHERE b.first_fact_at IS NULL OR b.first_fact_at > i.at
    ORDER BY b.birth
    FOR NO KEY UPDATE OF b
), moved AS (
    UPDATE member.births b
    SET first_fact_at = k.at
    FROM locked k
    WHERE b.birth = k.birth
), earliest AS (
    SELECT root, min(at) AS at
    FROM locked
    GROUP BY root
), heads AS (
    SELECT m.id, e.at
    FROM member.members m
    JOIN earliest e ON e.root = m.id
    WHERE m.first_fact_at IS NULL OR m.first_fact_at > e.at
    ORDER BY m.id
    FOR NO KEY UPDATE OF m
)
UPDATE member.members m
SET first_fact_at = h.at
FROM heads h
WHERE m.id = h.id`

func (l *Log) bringFirstFactForward(ctx context.Context, tx pgx.Tx, rows []encoded, which []int) error {
	if len(which) == 0 {
		return nil
	}
	births := make([]int64, len(which))
	ats := make([]time.Time, len(which))
	for n, i := range which {
		births[n], ats[n] = int64(rows[i].Birth), rows[i].OccurredAt
	}
	if _, err := tx.Exec(ctx, firstFactSQL, pg.Args{"births": births, "ats": ats}); err != nil {
		return fmt.Errorf("note first activity: %w", err)
	}
	return nil
}

const retractSQL = `
WITH gone AS (
    DELETE FROM member.activity_keys k
    WHERE k.source = @source AND k.key_hash = ANY (@key_hashes)
    RETURNING k.occurred_at, k.activity_id
), removed AS (
    DELETE FROM member.activities a
    USING gone g
    WHERE a.occurred_at = g.occurred_at AND a.id = g.activity_id
    RETURNING a.birth, a.key, a.occurred_at
), fed AS (
    INSERT INTO member.feed_inbox (birth, key, occurred_at, activity_id, mode)
    SELECT birth, key, occurred_at, NULL, 'backfill'
    FROM removed
)
SELECT count(*)
FROM removed`

// Retract removes activities that their source has withdrawn and announces it, so that segments forget them. Keys that
// are not logged are ignored; the result counts what was removed.
func (l *Log) Retract(ctx context.Context, tx pgx.Tx, source string, dedupeKeys []string) (int, error) {
	hashes := make([][]byte, len(dedupeKeys))
	for i, k := range dedupeKeys {
		h := hash16([]byte(k))
		hashes[i] = h[:]
	}
	var n int
	if err := tx.QueryRow(ctx, retractSQL, pg.Args{"source": source, "key_hashes": hashes}).Scan(&n); err != nil {
		return 0, fmt.Errorf("retract activities of %s: %w", source, err)
	}
	return n, nil
}

const touchSQL = `
INSERT INTO member.feed_inbox (birth, key, occurred_at, activity_id, mode)
SELECT birth, @key, @at, NULL, @mode
FROM unnest(@births::bigint[]) AS t (birth)`

// Touch announces a change of members that is no activity: KeyProfile or KeyIdentity.
func (l *Log) Touch(ctx context.Context, tx pgx.Tx, births []member.Birth, key string, mode member.Mode, at time.Time) error {
	if len(births) == 0 {
		return nil
	}
	if key != KeyProfile && key != KeyIdentity {
		return fmt.Errorf("touch: %q is not a change of the member", key)
	}
	var b pgx.Batch
	l.QueueTouch(&b, births, key, mode, at)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("touch members: %w", err)
	}
	return nil
}

// QueueTouch is Touch as part of a batch that the caller sends.
func (l *Log) QueueTouch(b *pgx.Batch, births []member.Birth, key string, mode member.Mode, at time.Time) {
	if len(births) > 0 {
		b.Queue(touchSQL, pg.Args{"births": births, "key": key, "at": at, "mode": string(mode)})
	}
}

const movedSQL = `
INSERT INTO member.feed_moves (birth, from_shard)
SELECT t.birth, abs(hashint8(t.root) % 8)
FROM unnest(@births::bigint[], @roots::bigint[]) AS t (birth, root)
JOIN member.births b USING (birth)
WHERE abs(hashint8(t.root) % 8) <> abs(hashint8(b.root) % 8)`

// QueueMoved notes, in the transaction that has changed their roots, births that now belong to another member, with the
// roots they had: from here on their rows may go to another shard, and no consumer may take them there before it has read
// what was numbered in the old one.
func (l *Log) QueueMoved(b *pgx.Batch, births []member.Birth, roots []member.Birth) {
	if len(births) > 0 {
		b.Queue(movedSQL, pg.Args{"births": births, "roots": roots})
	}
}

func columns(rows []encoded, which []int) pg.Args {
	n := len(which)
	births, ats := make([]int64, n), make([]time.Time, n)
	keys, touchpoints, modes, sources, props := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	hashes, contents := make([][]byte, n), make([][]byte, n)
	for k, i := range which {
		r := &rows[i]
		births[k], keys[k], ats[k], touchpoints[k], modes[k] = int64(r.Birth), r.Key, r.OccurredAt, string(r.Touchpoint), string(r.Mode)
		sources[k], hashes[k], contents[k], props[k] = r.Source, r.keyHash[:], r.content[:], string(r.props)
	}
	return pg.Args{
		"births": births, "keys": keys, "ats": ats, "touchpoints": touchpoints, "modes": modes,
		"sources": sources, "key_hashes": hashes, "contents": contents, "props": props,
	}
}
