package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID        int64           `json:"id,string"`
	At        time.Time       `json:"at"`
	ActorID   *id.UUID        `json:"actor_id"`
	ActorName string          `json:"actor_name"`
	Action    string          `json:"action"`
	Object    string          `json:"object"`
	Detail    json.RawMessage `json:"detail"`
}

const insertAuditSQL = `
INSERT INTO core.audit (at, actor_id, actor_name, action, object, detail)
VALUES (@now, @actor, @name, @action, @object, @detail)`

// Audit records that the actor did something to an object ("member/17", "journey/second-cup"), in the transaction of the
// deed. Details hold ids and settings, no personal data.
func (s *Service) Audit(ctx context.Context, tx pgx.Tx, by Actor, action, object string, detail map[string]any) error {
	var actor *id.UUID
	if by.ID != uuid.Nil {
		actor = &by.ID
	}
	if detail == nil {
		detail = map[string]any{}
	}
	if _, err := tx.Exec(ctx, insertAuditSQL, pg.Args{
		"now": s.clock.Now(), "actor": actor, "name": by.Name, "action": action, "object": object, "detail": detail,
	}); err != nil {
		return fmt.Errorf("audit %s of %s: %w", action, object, err)
	}
	return nil
}

const findAuditSQL = `
SELECT id, at, actor_id, actor_name, action, object, detail
FROM core.audit
WHERE id < @before
  AND (@object = '' OR object = @object)
  AND (@actor::uuid IS NULL OR actor_id = @actor)
ORDER BY id DESC
LIMIT @limit`

// AuditFilter narrows the audit log; zero fields do not.
type AuditFilter struct {
	Object string
	Actor  *id.UUID
	Before int64 // entries older than this id; 0 begins with the newest
	Limit  int
}

// FindAudit lists the audit log, newest first.
func (s *Service) FindAudit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	if f.Before == 0 {
		f.Before = 1<<63 - 1
	}
	rows, err := s.db.Query(ctx, findAuditSQL, pg.Args{"before": f.Before, "object": f.Object, "actor": f.Actor, "limit": f.Limit})
	if err != nil {
		return nil, fmt.Errorf("find audit: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[AuditEntry])
}
