package inventory

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// FindLevelsInput narrows a list of levels; empty fields do not.
type FindLevelsInput struct {
	SKU       string
	Locations []string // nil is every one
	Owner     string
	Status    Status
	After     string // cursor of the last one read
	Limit     int
}

// cursor names a level in the order of the list.
func (l Level) cursor() string {
	return strings.Join([]string{l.Location, l.SKU, l.Owner, string(l.Status)}, "\x1f")
}

const findLevelsSQL = `
SELECT sku, location, owner, status, on_hand, reserved, safety,
       CASE WHEN status = 'good' THEN greatest(on_hand - reserved - safety, 0) ELSE 0 END AS available, counted_at, updated_at
FROM commerce.stock_levels
WHERE (@sku = '' OR sku = @sku) AND (@anywhere OR location = ANY (@locations)) AND (@owner = '' OR owner = @owner) AND (@status = '' OR status = @status)
  AND (location, sku, owner, status) > (@after_location, @after_sku, @after_owner, @after_status)
ORDER BY location, sku, owner, status
LIMIT @limit`

// FindLevels lists levels by location and SKU.
func (s *Service) FindLevels(ctx context.Context, db pg.DB, in FindLevelsInput) ([]Level, error) {
	after := append(strings.Split(in.After, "\x1f"), "", "", "", "")
	rows, err := db.Query(ctx, findLevelsSQL, pg.Args{
		"sku": in.SKU, "anywhere": in.Locations == nil, "locations": in.Locations, "owner": in.Owner, "status": string(in.Status), "limit": in.Limit,
		"after_location": after[0], "after_sku": after[1], "after_owner": after[2], "after_status": after[3],
	})
	if err != nil {
		return nil, fmt.Errorf("find stock: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Level])
	if err != nil {
		return nil, fmt.Errorf("find stock: %w", err)
	}
	return out, nil
}

// FindMovesInput narrows a list of moves; empty fields do not.
type FindMovesInput struct {
	SKU       string
	Locations []string // nil is every one
	Ref       Ref
	Physical  bool // leaves out reservations
	Before    int64
	Limit     int
}

const findMovesSQL = `
SELECT id, sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, d_cost_fen, actor, at
FROM commerce.stock_moves
WHERE id < @before AND (@sku = '' OR sku = @sku) AND (@anywhere OR location = ANY (@locations))
  AND (@kind = '' OR (ref_kind = @kind AND ref_id = @id)) AND (NOT @physical OR d_on_hand <> 0)
ORDER BY id DESC
LIMIT @limit`

// FindMoves lists moves, the last recorded first.
func (s *Service) FindMoves(ctx context.Context, db pg.DB, in FindMovesInput) ([]Move, error) {
	if in.Before <= 0 {
		in.Before = 1<<63 - 1
	}
	rows, err := db.Query(ctx, findMovesSQL, pg.Args{
		"before": in.Before, "sku": in.SKU, "anywhere": in.Locations == nil, "locations": in.Locations, "kind": in.Ref.Kind, "id": in.Ref.ID,
		"physical": in.Physical, "limit": in.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("find moves: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Move])
	if err != nil {
		return nil, fmt.Errorf("find moves: %w", err)
	}
	return out, nil
}
