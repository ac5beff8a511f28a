package activity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Row is one row of the feed as consumers read it.
type Row struct {
	Shard      int
	Seq        int64
	Birth      member.Birth // whose fact
	Root       member.ID    // whose member, at the time of reading
	Key        string
	OccurredAt time.Time
	RecordedAt time.Time
	ActivityID int64 // 0 for $ keys and for facts that were withdrawn
	Mode       member.Mode
	Props      json.RawMessage // null when there is no activity (any more)
}

// readBatch is how many rows a consumer gets at most. It is large because consumers look at members, not rows: after an
// import of a whole history, a few large batches meet each member a few times, many small ones would meet them again and
// again.
const readBatch = 40_000

const registerConsumerSQL = `
INSERT INTO member.feed_cursors (consumer, shard, seq)
SELECT @consumer, shard, 0
FROM member.feed_shards
ON CONFLICT DO NOTHING`

// claimSQL takes the shard furthest behind that no other process is reading.
const claimSQL = `
SELECT c.shard, c.seq, s.last_seq
FROM member.feed_cursors c
JOIN member.feed_shards s USING (shard)
WHERE c.consumer = @consumer AND s.last_seq > c.seq AND c.shard <> ALL (@waiting::smallint[])
ORDER BY s.last_seq - c.seq DESC
LIMIT 1
FOR UPDATE OF c SKIP LOCKED`

const readSQL = `
SELECT f.shard, f.seq, f.birth, b.root, f.key, f.occurred_at, f.recorded_at,
       coalesce(a.id, 0) AS activity_id, f.mode, a.props
FROM member.feed f
JOIN member.births b USING (birth)
LEFT JOIN member.activities a ON a.occurred_at = f.occurred_at AND a.id = f.activity_id
WHERE f.shard = @shard AND f.seq > @after AND f.seq <= @upto
ORDER BY f.seq`

// openMovesSQL finds births whose earlier rows, in the shard they left, the consumer has not all read, and which may have
// rows among those asked for.
const openMovesSQL = `
SELECT m.birth, m.sealed[@shard::integer + 1] AS seq
FROM member.feed_moves m
JOIN member.feed_cursors c ON c.consumer = @consumer AND c.shard = m.from_shard
WHERE m.from_shard <> @shard AND m.sealed[@shard::integer + 1] < @upto AND c.seq < m.sealed[m.from_shard + 1]`

// barSQL finds the first row that must wait: of a member that one of the births belongs to, numbered after the move.
const barSQL = `
SELECT coalesce(min(f.seq), 0)
FROM member.feed f
JOIN member.births b USING (birth)
JOIN (
    SELECT r.root, min(m.seq) AS seq
    FROM unnest(@births::bigint[], @seqs::bigint[]) AS m (birth, seq)
    JOIN member.births r USING (birth)
    GROUP BY r.root
) m ON m.root = b.root
WHERE f.shard = @shard AND f.seq > @after AND f.seq <= @upto AND f.seq > m.seq`

// bar returns how far a batch may reach: to the last row before that of a member who came from another shard with rows
// that the consumer has yet to read there. Moves are sealed one after the other, and of the rows that wait, the one behind
// the earliest seal waits for rows that wait for nothing; so some shard can always go on.
func (l *Log) bar(ctx context.Context, tx pgx.Tx, consumer string, shard int, after, upto int64) (int64, error) {
	rows, err := tx.Query(ctx, openMovesSQL, pg.Args{"consumer": consumer, "shard": shard, "upto": upto})
	if err != nil {
		return 0, fmt.Errorf("read moves of the feed: %w", err)
	}
	var births, seqs []int64
	var birth, seq int64
	if _, err := pgx.ForEachRow(rows, []any{&birth, &seq}, func() error {
		births, seqs = append(births, birth), append(seqs, seq)
		return nil
	}); err != nil {
		return 0, fmt.Errorf("read moves of the feed: %w", err)
	}
	if len(births) == 0 {
		return upto, nil
	}
	var first int64
	err = tx.QueryRow(ctx, barSQL, pg.Args{"births": births, "seqs": seqs, "shard": shard, "after": after, "upto": upto}).Scan(&first)
	if err != nil {
		return 0, fmt.Errorf("bar feed shard %d: %w", shard, err)
	}
	if first > 0 {
		return first - 1, nil
	}
	return upto, nil
}

const advanceSQL = `
UPDATE member.feed_cursors
SET seq = @seq
WHERE consumer = @consumer AND shard = @shard`

// Handler handles a batch of one shard, in order, inside tx.
type Handler func(ctx context.Context, tx pgx.Tx, batch []Row) error

// step handles one batch of one shard; it reports how many feed rows it went past. Shards whose next row must wait for
// another shard are left for later.
func (l *Log) step(ctx context.Context, consumer string, handle Handler) (n int, err error) {
	err = pg.InTx(ctx, l.db, func(tx pgx.Tx) error {
		n = 0
		var shard int
		var after, last, upto int64
		for waiting := []int16{}; upto == after; waiting = append(waiting, int16(shard)) {
			err := tx.QueryRow(ctx, claimSQL, pg.Args{"consumer": consumer, "waiting": waiting}).Scan(&shard, &after, &last)
			if pg.NoRows(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("claim feed shard: %w", err)
			}
			if upto, err = l.bar(ctx, tx, consumer, shard, after, min(last, after+readBatch)); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, readSQL, pg.Args{"shard": shard, "after": after, "upto": upto})
		if err != nil {
			return fmt.Errorf("read feed shard %d: %w", shard, err)
		}
		batch, err := pgx.CollectRows(rows, pgx.RowToStructByName[Row])
		if err != nil {
			return fmt.Errorf("read feed shard %d: %w", shard, err)
		}
		if len(batch) > 0 {
			if err := handle(ctx, tx, batch); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, advanceSQL, pg.Args{"consumer": consumer, "shard": shard, "seq": upto}); err != nil {
			return fmt.Errorf("advance feed cursor: %w", err)
		}
		n = int(upto - after)
		return nil
	})
	return n, err
}

// Follow hands the feed to handle, batch by batch, until ctx ends. A new consumer begins with the oldest row kept.
func (l *Log) Follow(ctx context.Context, consumer string, handle Handler) error {
	registered := false
	wait, failures := pollBusy, 0
	for ctx.Err() == nil {
		woken := l.woken()
		var n int
		var err error
		if !registered {
			_, err = l.db.Exec(ctx, registerConsumerSQL, pg.Args{"consumer": consumer})
			registered = err == nil
		}
		if err == nil {
			n, err = l.step(ctx, consumer, handle)
		}
		switch {
		case err != nil:
			failures++
			l.warn(ctx, "feed consumer "+consumer, err)
			pause(ctx, min(time.Duration(failures)*200*time.Millisecond, 5*time.Second))
		case n > 0:
			wait, failures = pollBusy, 0
		default:
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-woken:
				wait = pollBusy
			case <-timer.C:
				wait = min(wait*2, pollIdle)
			}
			timer.Stop()
		}
	}
	return nil
}

// Drain numbers what has committed and hands it to handle until nothing is left, and returns how many rows the consumer
// went past. It is for tests, the demo and the simulator, where no loop is running.
func (l *Log) Drain(ctx context.Context, consumer string, handle Handler) (int, error) {
	if _, err := l.db.Exec(ctx, registerConsumerSQL, pg.Args{"consumer": consumer}); err != nil {
		return 0, fmt.Errorf("register feed consumer %s: %w", consumer, err)
	}
	total := 0
	for {
		moved := 0
		for {
			n, _, err := l.sequence(ctx, nil, 0)
			if err != nil {
				return total, err
			}
			if moved += n; n == 0 {
				break
			}
		}
		handled := 0
		for {
			n, err := l.step(ctx, consumer, handle)
			if err != nil {
				return total, err
			}
			if handled += n; n == 0 {
				break
			}
		}
		total += handled
		if moved+handled == 0 {
			return total, nil
		}
	}
}

const lagSQL = `
SELECT (SELECT count(*) FROM member.feed_inbox)
     + coalesce((SELECT sum(s.last_seq - c.seq)
                 FROM member.feed_cursors c
                 JOIN member.feed_shards s USING (shard)
                 WHERE c.consumer = @consumer), 0)::bigint`

// Lag returns how many rows the consumer is behind, those not yet numbered included.
func (l *Log) Lag(ctx context.Context, consumer string) (int64, error) {
	var n int64
	if err := l.db.QueryRow(ctx, lagSQL, pg.Args{"consumer": consumer}).Scan(&n); err != nil {
		return 0, fmt.Errorf("feed lag of %s: %w", consumer, err)
	}
	return n, nil
}

// unreadSQL looks at the next rows of each shard and the newest of the inbox. Members are found by their keys, whatever
// the planner thinks of the number of rows.
const unreadSQL = `
WITH bounds AS (
    SELECT s.shard, coalesce(c.seq, 0) AS seq, s.last_seq
    FROM member.feed_shards s
    LEFT JOIN member.feed_cursors c ON c.shard = s.shard AND c.consumer = @consumer
), inbox AS MATERIALIZED (
    SELECT birth, key, occurred_at
    FROM member.feed_inbox
    WHERE id > (SELECT last_value FROM member.feed_inbox_id_seq) - @recent::bigint
), waiting AS (
    SELECT f.birth, f.key, f.occurred_at
    FROM bounds b
    CROSS JOIN LATERAL (
        SELECT birth, key, occurred_at
        FROM member.feed
        WHERE shard = b.shard AND seq > b.seq
        ORDER BY seq
        LIMIT @look
    ) f
    WHERE b.last_seq > b.seq
    UNION ALL
    SELECT birth, key, occurred_at
    FROM inbox
), whose AS (
    SELECT DISTINCT b.root
    FROM waiting w
    CROSS JOIN LATERAL (SELECT root FROM member.births WHERE birth = w.birth OFFSET 0) b
    WHERE w.key = ANY (@keys) AND w.occurred_at <= @upto
)
SELECT (SELECT sum(seq)::bigint FROM bounds) AS position,
       (SELECT bool_or(last_seq - seq > @look) FROM bounds)
           OR (SELECT count(*) FROM inbox) > @look AS behind,
       ARRAY(
           SELECT b.birth
           FROM whose w
           CROSS JOIN LATERAL (SELECT birth FROM member.births WHERE root = w.root OFFSET 0) b
       ) AS births`

// Unread is what a consumer has not come to yet.
type Unread struct {
	Position int64          // grows whenever the consumer moves
	Behind   bool           // there is more than Births knows of
	Births   []member.Birth // of members with unread rows, all births of each
}

// unreadLook is how many rows of each shard Unread looks at.
const unreadLook = 5000

// Unread returns the births of members with rows of these keys that have committed, occurred up to the given time, and
// were not handled by the consumer yet. Only the next some thousand rows are looked at.
func (l *Log) Unread(ctx context.Context, db pg.DB, consumer string, keys []string, upto time.Time) (Unread, error) {
	var u Unread
	err := db.QueryRow(ctx, unreadSQL, pg.Args{"consumer": consumer, "keys": keys, "upto": upto, "look": unreadLook, "recent": recent}).
		Scan(&u.Position, &u.Behind, &u.Births)
	if err != nil {
		return Unread{}, fmt.Errorf("unread rows of %s: %w", consumer, err)
	}
	return u, nil
}

// broadcast wakes this process's followers; woken must be called before looking for rows, so that none is missed.
func (l *Log) broadcast() {
	l.wakeMu.Lock()
	defer l.wakeMu.Unlock()
	close(l.wake)
	l.wake = make(chan struct{})
}

func (l *Log) woken() <-chan struct{} {
	l.wakeMu.Lock()
	defer l.wakeMu.Unlock()
	return l.wake
}

func (l *Log) warn(ctx context.Context, what string, err error) {
	if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		l.log.WarnContext(ctx, what+" will retry", "error", err)
	}
}
