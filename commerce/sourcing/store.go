package sourcing

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
)

const keepVersion = `
INSERT INTO commerce.sourcing_versions (kind, code, version, content, changed_by, changed_at)
VALUES (@kind, @code, @version, @content, @by, @now)`

// A first version meets no row, a later one the row it was read from; no row is written otherwise.
const putRules = `
INSERT INTO commerce.sourcing_rules AS r (code, version, rules, updated_at)
SELECT @code::text, @version::bigint, @content::jsonb, @now::timestamptz
WHERE @version::bigint = 1 OR EXISTS (SELECT FROM commerce.sourcing_rules WHERE code = @code::text)
ON CONFLICT ON CONSTRAINT sourcing_rules_pkey DO UPDATE
SET version = excluded.version, rules = excluded.rules, updated_at = excluded.updated_at
WHERE r.version = excluded.version - 1`

const putFreight = `
INSERT INTO commerce.sourcing_freight AS f (carrier, version, freight, updated_at)
SELECT @code::text, @version::bigint, @content::jsonb, @now::timestamptz
WHERE @version::bigint = 1 OR EXISTS (SELECT FROM commerce.sourcing_freight WHERE carrier = @code::text)
ON CONFLICT ON CONSTRAINT sourcing_freight_pkey DO UPDATE
SET version = excluded.version, freight = excluded.freight, updated_at = excluded.updated_at
WHERE f.version = excluded.version - 1`

const putSettings = `
INSERT INTO commerce.sourcing_locations AS l (location, version, settings, daily_cap, updated_at)
SELECT @code::text, @version::bigint, @content::jsonb, @cap::integer, @now::timestamptz
WHERE @version::bigint = 1 OR EXISTS (SELECT FROM commerce.sourcing_locations WHERE location = @code::text)
ON CONFLICT ON CONSTRAINT sourcing_locations_pkey DO UPDATE
SET version = excluded.version, settings = excluded.settings, daily_cap = excluded.daily_cap, updated_at = excluded.updated_at
WHERE l.version = excluded.version - 1`

const rulesByCode = `
SELECT rules, version
FROM commerce.sourcing_rules
WHERE code = @code`

func getRules(ctx context.Context, db pg.DB, code string) (r Rules, found bool, err error) {
	err = db.QueryRow(ctx, rulesByCode, pg.Args{"code": code}).Scan(&r, &r.Version)
	if pg.NoRows(err) {
		return Rules{}, false, nil
	}
	if err != nil {
		return Rules{}, false, fmt.Errorf("read sourcing rules %s: %w", code, err)
	}
	return r, true, nil
}

const findRulesSQL = `
SELECT rules
FROM commerce.sourcing_rules
WHERE code > @after
ORDER BY code
LIMIT @limit`

func findRules(ctx context.Context, db pg.DB, after string, limit int) ([]Rules, error) {
	return collect[Rules](ctx, db, "find sourcing rules", findRulesSQL, pg.Args{"after": after, "limit": limit})
}

const findFreightSQL = `
SELECT freight
FROM commerce.sourcing_freight
WHERE carrier > @after
ORDER BY carrier
LIMIT @limit`

func findFreight(ctx context.Context, db pg.DB, after string, limit int) ([]Table, error) {
	return collect[Table](ctx, db, "find freight tables", findFreightSQL, pg.Args{"after": after, "limit": limit})
}

const findSettingsSQL = `
SELECT l.settings
FROM commerce.sourcing_locations l
WHERE l.location > @after AND (@everything OR l.location = ANY (@stores::text[]))
ORDER BY l.location
LIMIT @limit`

func findSettings(ctx context.Context, db pg.DB, scope auth.Scope, after string, limit int) ([]Settings, error) {
	return collect[Settings](ctx, db, "find settings of locations", findSettingsSQL, pg.Args{
		"after": after, "limit": limit, "everything": scope.All, "stores": scope.Stores,
	})
}

func collect[T any](ctx context.Context, db pg.DB, what, sql string, args pg.Args) ([]T, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

const locationExistsSQL = `
SELECT EXISTS (
    SELECT FROM commerce.org_units
    WHERE code = @location AND kind IN ('store', 'warehouse') AND (@everything OR code = ANY (@stores::text[])))`

func locationExists(ctx context.Context, db pg.DB, scope auth.Scope, location string) (found bool, err error) {
	err = db.QueryRow(ctx, locationExistsSQL, pg.Args{"location": location, "everything": scope.All, "stores": scope.Stores}).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for location %s: %w", location, err)
	}
	return found, nil
}

// The entity is the unit's own or that of the nearest above it.
const findLocationsSQL = `
SELECT u.code, u.kind, coalesce(e.entity, '') AS entity, u.province, u.city, u.district,
       coalesce(round(u.latitude * 1000000), 0)::bigint AS lat, coalesce(round(u.longitude * 1000000), 0)::bigint AS lon,
       l.settings, coalesce(c.cap, l.daily_cap, @unlimited::integer)::bigint AS cap, coalesce(c.taken, 0)::bigint AS taken
FROM commerce.org_units u
LEFT JOIN LATERAL (
    SELECT a.entity
    FROM commerce.org_units a
    WHERE a.code = ANY (u.path) AND a.entity IS NOT NULL
    ORDER BY array_position(u.path, a.code) DESC
    LIMIT 1
) e ON true
LEFT JOIN commerce.sourcing_locations l ON l.location = u.code
LEFT JOIN commerce.sourcing_capacity c ON c.location = u.code AND c.day = @day::text::date
WHERE u.kind IN ('store', 'warehouse') AND (@everything OR u.code = ANY (@stores::text[]))
ORDER BY u.code`

func findLocations(ctx context.Context, db pg.DB, scope auth.Scope, day clock.Day) ([]Location, error) {
	rows, err := db.Query(ctx, findLocationsSQL, pg.Args{
		"day": day.String(), "everything": scope.All, "stores": scope.Stores, "unlimited": unlimited,
	})
	if err != nil {
		return nil, fmt.Errorf("find locations: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Location, err error) {
		var text []byte
		if err := row.Scan(&l.Code, &l.Kind, &l.Entity, &l.Address.Province, &l.Address.City, &l.Address.District,
			&l.Position.LatE6, &l.Position.LonE6, &text, &l.Cap, &l.Taken); err != nil {
			return l, err
		}
		set := Settings{Modes: modes}
		if text != nil {
			set = Settings{}
			if err := json.Unmarshal(text, &set); err != nil {
				return l, err
			}
		}
		set.apply(&l)
		return l, nil
	})
	if err != nil {
		return nil, fmt.Errorf("find locations: %w", err)
	}
	return out, nil
}
