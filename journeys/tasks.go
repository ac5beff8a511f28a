package journeys

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// TaskBook keeps the tasks that journeys give to associates. It is the Tasks that the engine uses.
type TaskBook struct{}

const assignTasksSQL = `
INSERT INTO journeys.tasks (key, birth, journey, node, kind, title, body, due_at, created_at)
SELECT t.key, t.birth, j.no, t.node, t.kind, t.title, t.body, t.due_at, t.at
FROM unnest(@keys::uuid[], @births::bigint[], @codes::text[], @nodes::text[], @kinds::text[], @titles::text[], @bodies::text[],
            @dues::timestamptz[], @ats::timestamptz[]) AS t (key, birth, code, node, kind, title, body, due_at, at)
JOIN journeys.journeys j USING (code)
ON CONFLICT DO NOTHING`

// Assign stores tasks; one whose key is known is left alone.
func (TaskBook) Assign(ctx context.Context, tx pgx.Tx, tasks []Task) error {
	n := len(tasks)
	keys, births := make([]id.UUID, n), make([]member.Birth, n)
	codes, nodes, kinds, titles, bodies := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	dues, ats := make([]time.Time, n), make([]time.Time, n)
	for i, t := range tasks {
		keys[i], births[i], codes[i], nodes[i], kinds[i] = t.Key, t.Birth, t.Journey, t.Node, t.Kind
		titles[i], bodies[i], dues[i], ats[i] = t.Title, t.Body, t.DueAt, t.At
	}
	_, err := tx.Exec(ctx, assignTasksSQL, pg.Args{"keys": keys, "births": births, "codes": codes, "nodes": nodes, "kinds": kinds,
		"titles": titles, "bodies": bodies, "dues": dues, "ats": ats})
	if err != nil {
		return fmt.Errorf("assign tasks: %w", err)
	}
	return nil
}
