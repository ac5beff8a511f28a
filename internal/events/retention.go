package events

import (
	"context"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

const (
	kept        = 90 * 24 * time.Hour
	forgetBatch = 10_000
)

const forgetEventsSQL = `
DELETE FROM core.events
WHERE id = ANY (ARRAY(
    SELECT id FROM core.events WHERE occurred_at < @before ORDER BY occurred_at LIMIT @batch
))`

// forgetReceiptsSQL spares receipts of events that are still there: without them a job that runs late would handle its
// event again.
const forgetReceiptsSQL = `
DELETE FROM core.event_receipts r
WHERE (r.event_id, r.subscriber) IN (
    SELECT o.event_id, o.subscriber
    FROM core.event_receipts o
    WHERE o.handled_at < @before AND NOT EXISTS (SELECT FROM core.events e WHERE e.id = o.event_id)
    ORDER BY o.handled_at
    LIMIT @batch
)`

// Forget removes events that happened more than 90 days ago, and their receipts, in batches. A delivery that has been
// failing for so long finds nothing and ends.
func (b *Bus) Forget(ctx context.Context) error {
	for _, sql := range []string{forgetEventsSQL, forgetReceiptsSQL} {
		for {
			tag, err := b.db.Exec(ctx, sql, pg.Args{"before": b.clock.Now().Add(-kept), "batch": forgetBatch})
			if err != nil {
				return fmt.Errorf("forget old events: %w", err)
			}
			if tag.RowsAffected() < forgetBatch {
				break
			}
		}
	}
	return nil
}
