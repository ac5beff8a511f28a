package activity

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// replaySQL reads a period in the order of members. It streams: one sort in the database, one row at a time here.
const replaySQL = `
SELECT 0 AS shard, 0::bigint AS seq, a.birth, b.root, a.key, a.occurred_at, a.recorded_at, a.id AS activity_id, a.mode, a.props
FROM member.activities a
JOIN member.births b USING (birth)
WHERE a.key = ANY (@keys) AND a.occurred_at >= @from AND a.occurred_at < @to
ORDER BY b.root, a.occurred_at, a.id`

// Replay calls fn with the activities of each member that has any of the keys in [from, to): members in order of their
// id, activities in order of time. fn runs while the query is open, so it must not use the same connection.
func (l *Log) Replay(ctx context.Context, db pg.DB, keys []string, from, to time.Time, fn func(root member.ID, rows []Row) error) error {
	rows, err := db.Query(ctx, replaySQL, pg.Args{"keys": keys, "from": from, "to": to})
	if err != nil {
		return fmt.Errorf("replay activities: %w", err)
	}
	defer rows.Close()
	var batch []Row
	for rows.Next() {
		r, err := pgx.RowToStructByName[Row](rows)
		if err != nil {
			return fmt.Errorf("replay activities: %w", err)
		}
		if len(batch) > 0 && batch[0].Root != r.Root {
			if err := fn(batch[0].Root, batch); err != nil {
				return err
			}
			batch = nil
		}
		batch = append(batch, r)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("replay activities: %w", err)
	}
	if len(batch) > 0 {
		return fn(batch[0].Root, batch)
	}
	return nil
}
