package org

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// The nearest unit on the way up that has an entity decides.
const selectEntitiesOf = `
SELECT u.code, coalesce(e.entity, '') AS entity, coalesce(r.entity, '') AS root
FROM commerce.org_units u
LEFT JOIN LATERAL (
    SELECT a.entity
    FROM commerce.org_units a
    WHERE a.code = ANY(u.path) AND a.entity IS NOT NULL
    ORDER BY array_position(u.path, a.code) DESC
    LIMIT 1
) e ON true
LEFT JOIN commerce.org_units r ON r.code = u.path[1]
WHERE u.code = ANY(@units)`

// Behind is which entities stand behind a unit; "" where none is known.
type Behind struct {
	Entity    string // of the unit itself or of the nearest above it
	Principal string // of the root of its tree
}

// EntitiesOf returns the entities behind units; units that are not known are left out.
func EntitiesOf(ctx context.Context, db pg.DB, units []string) (map[string]Behind, error) {
	if len(units) == 0 {
		return nil, nil
	}
	rows, err := db.Query(ctx, selectEntitiesOf, pg.Args{"units": distinct(units)})
	if err != nil {
		return nil, fmt.Errorf("find entities of units: %w", err)
	}
	out := map[string]Behind{}
	var unit string
	var b Behind
	if _, err := pgx.ForEachRow(rows, []any{&unit, &b.Entity, &b.Principal}, func() error { out[unit] = b; return nil }); err != nil {
		return nil, fmt.Errorf("find entities of units: %w", err)
	}
	return out, nil
}
