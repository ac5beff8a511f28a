package activity

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Entry is one activity as a timeline shows it.
type Entry struct {
	ID         int64             `json:"id,string"`
	Birth      member.Birth      `json:"birth,string"`
	Key        string            `json:"key"`
	OccurredAt time.Time         `json:"occurred_at"`
	RecordedAt time.Time         `json:"recorded_at"`
	Mode       member.Mode       `json:"mode"`
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Source     string            `json:"source"`
	Props      json.RawMessage   `json:"props"`
}

// Cursor is a position in a timeline: what follows is older.
type Cursor struct {
	OccurredAt time.Time
	ID         int64
}

// TimelineQuery is a page of a timeline.
type TimelineQuery struct {
	Before Cursor   // the zero cursor begins with the newest
	Keys   []string // only these; empty: all
	Limit  int
}

const timelineSQL = `
SELECT id, birth, key, occurred_at, recorded_at, mode, touchpoint, source, props
FROM member.activities
WHERE birth = ANY (@births) AND (occurred_at, id) < (@before_at, @before_id) AND (key = ANY (@keys) OR cardinality(@keys::text[]) = 0)
ORDER BY occurred_at DESC, id DESC
LIMIT @limit`

// Timeline returns activities of a cluster's births, newest first.
func (l *Log) Timeline(ctx context.Context, db pg.DB, births []member.Birth, q TimelineQuery) ([]Entry, error) {
	if q.Before.OccurredAt.IsZero() {
		q.Before.OccurredAt = time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if q.Keys == nil {
		q.Keys = []string{}
	}
	rows, err := db.Query(ctx, timelineSQL, pg.Args{
		"births": births, "before_at": q.Before.OccurredAt, "before_id": q.Before.ID, "keys": q.Keys, "limit": q.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[Entry])
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	return entries, nil
}
