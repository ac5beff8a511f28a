package activity

import (
	"context"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

const (
	// feedKept is how long feed rows stay after every consumer has read them: for looking into what happened.
	feedKept  = 72 * time.Hour
	trimBatch = 10_000
	// monthsAhead of partitions exist before they are needed, so that appending does not have to make them.
	monthsAhead = 3
)

// trimFeedSQL looks at the oldest rows of each shard only: rows are recorded about in the order of their numbers, and a
// younger row that stands before an old one merely delays it.
const trimFeedSQL = `
WITH bound AS (
    SELECT s.shard, coalesce(min(c.seq), s.last_seq) AS seq
    FROM member.feed_shards s
    LEFT JOIN member.feed_cursors c USING (shard)
    GROUP BY s.shard, s.last_seq
), old AS (
    SELECT head.shard, head.seq
    FROM bound b
    CROSS JOIN LATERAL (
        SELECT f.shard, f.seq, f.recorded_at
        FROM member.feed f
        WHERE f.shard = b.shard AND f.seq <= b.seq
        ORDER BY f.seq
        LIMIT @batch
    ) head
    WHERE head.recorded_at < @before
)
DELETE FROM member.feed f
USING old
WHERE f.shard = old.shard AND f.seq = old.seq`

// Trim removes feed rows that every consumer has read and that are older than 72 hours, in batches. A consumer that no
// longer runs holds the feed back for ever: Retire it.
func (l *Log) Trim(ctx context.Context) (removed int64, err error) {
	for {
		tag, err := l.db.Exec(ctx, trimFeedSQL, pg.Args{"before": l.clock.Now().Add(-feedKept), "batch": trimBatch})
		if err != nil {
			return removed, fmt.Errorf("trim feed: %w", err)
		}
		removed += tag.RowsAffected()
		if tag.RowsAffected() == 0 {
			return removed, nil
		}
	}
}

const retireSQL = `
DELETE FROM member.feed_cursors
WHERE consumer = @consumer`

// Retire forgets how far a consumer has read. It starts from the oldest row that is left if it ever returns.
func (l *Log) Retire(ctx context.Context, consumer string) error {
	if _, err := l.db.Exec(ctx, retireSQL, pg.Args{"consumer": consumer}); err != nil {
		return fmt.Errorf("retire feed consumer %s: %w", consumer, err)
	}
	return nil
}

const partitionsAheadSQL = `
SELECT member.ensure_activity_partitions(@from::timestamptz, @to::timestamptz)`

// MakePartitions makes the partitions of the log for this month and the next three.
func (l *Log) MakePartitions(ctx context.Context) error {
	now := l.clock.Now()
	if _, err := l.db.Exec(ctx, partitionsAheadSQL, pg.Args{"from": now, "to": now.AddDate(0, monthsAhead, 0)}); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}
