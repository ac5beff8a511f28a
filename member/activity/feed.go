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
WHERE c.consumer = @consumer AND s.last_seq > c.seq
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

const advanceSQL = `
UPDATE member.feed_cursors
SET seq = @seq
WHERE consumer = @consumer AND shard = @shard`

// Handler handles a batch of one shard, in order, inside tx.
type Handler func(ctx context.Context, tx pgx.Tx, batch []Row) error

// step handles one batch of one shard; it reports how many feed rows it went past.
func (l *Log) step(ctx context.Context, consumer string, handle Handler) (n int, err error) {
	err = pg.InTx(ctx, l.db, func(tx pgx.Tx) error {
		n = 0
		var shard int
		var after, last int64
		err := tx.QueryRow(ctx, claimSQL, pg.Args{"consumer": consumer}).Scan(&shard, &after, &last)
		if pg.NoRows(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("claim feed shard: %w", err)
		}
		upto := min(last, after+readBatch)
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
