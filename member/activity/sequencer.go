package activity

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
)

const (
	// feedBatch is how many rows are numbered at once. Members who move between shards hold consumers up to the batch in
	// which they moved, so that a backlog of merges is best numbered in large batches.
	feedBatch = 20000
	pollBusy  = 5 * time.Millisecond
	pollIdle  = 50 * time.Millisecond
	// straggler bounds how long a row may wait whose writer took its inbox id long before it committed.
	straggler = time.Second
	// recent is how far below the newest inbox id the quick look reaches. Beyond it lie dead rows that vacuum cannot
	// remove while some transaction is open; the quick look must not wade through them.
	recent = 20000
	// sequencerTTL is how long a sequencer may be silent before another process takes over.
	sequencerTTL = 5 * time.Second
)

// sequenceSQL moves committed rows from the inbox into the feed and numbers them in the shards of their present roots. The
// caller holds the locks of feed_shards, which make the numbers of a shard commit in order. All parts of the statement see
// the same snapshot: where the new root of a birth is visible, its row in feed_moves is too, and is sealed with the last
// numbers given before.
const sequenceSQL = `
WITH sealed AS (
    UPDATE member.feed_moves
    SET sealed = (SELECT array_agg(last_seq ORDER BY shard) FROM member.feed_shards)
    WHERE sealed IS NULL
), moved AS (
    DELETE FROM member.feed_inbox
    WHERE id = ANY (ARRAY(
        SELECT id
        FROM member.feed_inbox
        WHERE id > @above
        ORDER BY id
        LIMIT @batch))
    RETURNING *
), placed AS (
    SELECT m.*, abs(hashint8(coalesce((SELECT b.root FROM member.births b WHERE b.birth = m.birth), m.birth)) % 8) AS shard
    FROM moved m
), numbered AS (
    INSERT INTO member.feed (shard, seq, birth, key, occurred_at, activity_id, mode, recorded_at)
    SELECT p.shard, s.last_seq + row_number() OVER (PARTITION BY p.shard ORDER BY p.id),
           p.birth, p.key, p.occurred_at, p.activity_id, p.mode, @now
    FROM placed p
    JOIN member.feed_shards s USING (shard)
    RETURNING shard, seq
), advanced AS (
    UPDATE member.feed_shards f
    SET last_seq = n.seq
    FROM (SELECT shard, max(seq) AS seq FROM numbered GROUP BY shard) n
    WHERE f.shard = n.shard
)
SELECT count(*), coalesce(max(id), 0)
FROM moved`

const lockShardsSQL = `
SELECT shard
FROM member.feed_shards
ORDER BY shard
FOR UPDATE`

// sequence numbers one batch of rows with inbox ids above the given one. The shards are locked by a statement of their
// own: in READ COMMITTED the next statement then sees all that the previous sequencer committed.
func (l *Log) sequence(ctx context.Context, held *lease.Lease, above int64) (n int, top int64, err error) {
	err = pg.InTx(ctx, l.db, func(tx pgx.Tx) error {
		if held != nil {
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, lockShardsSQL); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sequenceSQL, pg.Args{"above": above, "batch": feedBatch, "now": l.clock.Now()}).Scan(&n, &top)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("number the feed: %w", err)
	}
	if n > 0 {
		l.broadcast()
	}
	return n, top, nil
}

// forgetMovesSQL drops moves that every consumer has come past.
const forgetMovesSQL = `
DELETE FROM member.feed_moves m
WHERE m.sealed IS NOT NULL AND NOT EXISTS (
    SELECT FROM member.feed_cursors c
    WHERE c.shard = m.from_shard AND c.seq < m.sealed[c.shard + 1])`

// RunSequencer numbers the feed until ctx ends. One process of the installation does it at a time; the others wait to
// take over.
func (l *Log) RunSequencer(ctx context.Context) error {
	host, _ := os.Hostname()
	holder := fmt.Sprintf("%s/%d/%s", host, os.Getpid(), id.New())
	for ctx.Err() == nil {
		held, ok, err := lease.Acquire(ctx, l.db, "member.feed.sequencer", holder, sequencerTTL)
		switch {
		case err != nil:
			l.warn(ctx, "feed sequencer", err)
			pause(ctx, time.Second)
		case !ok:
			pause(ctx, sequencerTTL/4)
		default:
			if err := l.sequenceUnder(ctx, held); err != nil {
				l.warn(ctx, "feed sequencer", err)
				pause(ctx, 200*time.Millisecond)
			}
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			if err := held.Release(release, l.db); err != nil {
				l.warn(ctx, "feed sequencer", err)
			}
			cancel()
		}
	}
	return nil
}

// sequenceUnder works under a lease until ctx ends or the lease is lost. It paces itself by the process's own clock; no
// fact depends on it.
func (l *Log) sequenceUnder(ctx context.Context, held lease.Lease) error {
	var top int64
	var renewed, swept, forgot time.Time
	wait := pollBusy
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(renewed) > sequencerTTL/3 {
			if err := held.Renew(ctx, l.db); err != nil {
				return err
			}
			renewed = now
		}
		if now.Sub(forgot) > straggler {
			if _, err := l.db.Exec(ctx, forgetMovesSQL); err != nil {
				return fmt.Errorf("forget moves: %w", err)
			}
			forgot = now
		}
		above := top - recent
		if now.Sub(swept) > straggler {
			above, swept = 0, now
		}
		n, high, err := l.sequence(ctx, &held, above)
		if err != nil {
			return err
		}
		top = max(top, high)
		switch {
		case n == feedBatch:
			wait, swept = 0, time.Time{}
		case n > 0:
			wait = pollBusy
		default:
			wait = min(max(wait, pollBusy)*2, pollIdle)
		}
		pause(ctx, wait)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
