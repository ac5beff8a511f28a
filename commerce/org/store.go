package org

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const selectSubtree = `
SELECT code
FROM commerce.org_units
WHERE path @> ARRAY[@code::text]
ORDER BY path`

// Subtree returns the codes of the unit and of everything below it, parents before children; none if it is unknown.
func Subtree(ctx context.Context, db pg.DB, code string) ([]string, error) {
	return codes(ctx, db, "read org subtree", selectSubtree, pg.Args{"code": code})
}

const lockTree = `SELECT pg_advisory_xact_lock(hashtextextended('commerce.org_units', 0))`

const selectKinds = `
SELECT code, kind
FROM commerce.org_units
WHERE code = ANY(@codes)`

// QueueKinds asks in a batch of the caller's for the kinds of units; units that are not known are left out.
func QueueKinds(b *pgx.Batch, units []string, kinds map[string]Kind) {
	b.Queue(selectKinds, pg.Args{"codes": units}).Query(func(rows pgx.Rows) error {
		var code string
		var kind Kind
		_, err := pgx.ForEachRow(rows, []any{&code, &kind}, func() error { kinds[code] = kind; return nil })
		return err
	})
}

const selectParents = `SELECT code, coalesce(parent, '') FROM commerce.org_units`

// LockTree keeps others from changing the tree until the transaction ends, and returns the parent of each unit.
func LockTree(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	if _, err := tx.Exec(ctx, lockTree); err != nil {
		return nil, fmt.Errorf("lock org tree: %w", err)
	}
	rows, err := tx.Query(ctx, selectParents)
	if err != nil {
		return nil, fmt.Errorf("read org tree: %w", err)
	}
	out := map[string]string{}
	var code, parent string
	if _, err := pgx.ForEachRow(rows, []any{&code, &parent}, func() error { out[code] = parent; return nil }); err != nil {
		return nil, fmt.Errorf("read org tree: %w", err)
	}
	return out, nil
}

const upsertUnits = `
INSERT INTO commerce.org_units (code, parent, path, name, kind, entity, province, city, district, address, longitude, latitude, attrs, created_at, updated_at)
SELECT code, nullif(parent, ''), ARRAY[code], name, kind, nullif(entity, ''), province, city, district, address,
       nullif(longitude, '')::numeric, nullif(latitude, '')::numeric, attrs, @now, @now
FROM unnest(@codes::text[], @parents::text[], @names::text[], @kinds::text[], @entities::text[], @provinces::text[], @cities::text[],
            @districts::text[], @addresses::text[], @longitudes::text[], @latitudes::text[], @attrs::jsonb[])
     AS t (code, parent, name, kind, entity, province, city, district, address, longitude, latitude, attrs)
ORDER BY code
ON CONFLICT (code) DO UPDATE
SET parent = excluded.parent, name = excluded.name, kind = excluded.kind, entity = excluded.entity, province = excluded.province,
    city = excluded.city, district = excluded.district, address = excluded.address, longitude = excluded.longitude,
    latitude = excluded.latitude, attrs = excluded.attrs, stub = false, version = org_units.version + 1, updated_at = excluded.updated_at`

const derivePaths = `
WITH RECURSIVE tree AS (
    SELECT code, ARRAY[code] AS path
    FROM commerce.org_units
    WHERE parent IS NULL
    UNION ALL
    SELECT u.code, t.path || u.code
    FROM commerce.org_units u
    JOIN tree t ON u.parent = t.code
)
UPDATE commerce.org_units u
SET path = t.path
FROM tree t
WHERE u.code = t.code AND u.path <> t.path`

// PutUnits creates or replaces units, whose codes differ, and derives all paths. The caller holds LockTree, has made sure
// that no cycle arises and that parents and entities exist.
func PutUnits(ctx context.Context, tx pgx.Tx, units []Unit, now time.Time) error {
	cols := map[string][]string{}
	attrs := make([]map[string]string, len(units))
	for i, u := range units {
		for name, v := range map[string]string{
			"codes": u.Code, "parents": u.Parent, "names": u.Name, "kinds": string(u.Kind), "entities": u.Entity, "provinces": u.Province, "cities": u.City,
			"districts": u.District, "addresses": u.Address, "longitudes": u.Longitude, "latitudes": u.Latitude,
		} {
			cols[name] = append(cols[name], v)
		}
		if attrs[i] = u.Attrs; attrs[i] == nil {
			attrs[i] = map[string]string{}
		}
	}
	if len(units) == 0 {
		return nil
	}
	args := pg.Args{"attrs": attrs, "now": now}
	for name, values := range cols {
		args[name] = values
	}
	if _, err := tx.Exec(ctx, upsertUnits, args); err != nil {
		return fmt.Errorf("put org units: %w", err)
	}
	return paths(ctx, tx)
}

func paths(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, derivePaths); err != nil {
		return fmt.Errorf("derive org paths: %w", err)
	}
	return nil
}

const selectKnownUnits = `SELECT code FROM commerce.org_units WHERE code = ANY(@codes)`

const insertStubUnits = `
INSERT INTO commerce.org_units (code, path, name, kind, stub, created_at, updated_at)
SELECT code, ARRAY[code], code, @kind, true, @now, @now
FROM unnest(@codes::text[]) AS t (code)
ORDER BY code
ON CONFLICT (code) DO NOTHING
RETURNING code`

// Ensure makes stubs of the units that are not known and returns their codes. Empty codes are ignored.
func Ensure(ctx context.Context, tx pgx.Tx, units []string, kind Kind, now time.Time) (stubs []string, err error) {
	units = distinct(units)
	if len(units) == 0 {
		return nil, nil
	}
	known, err := codes(ctx, tx, "find org units", selectKnownUnits, pg.Args{"codes": units})
	if err != nil {
		return nil, err
	}
	unknown := slices.DeleteFunc(units, func(c string) bool { return slices.Contains(known, c) })
	if len(unknown) == 0 {
		return nil, nil
	}
	return codes(ctx, tx, "make org stubs", insertStubUnits, pg.Args{"codes": unknown, "kind": string(kind), "now": now})
}

const upsertEntities = `
INSERT INTO commerce.entities (code, name, tax_no, taxpayer_kind, attrs, created_at, updated_at)
SELECT code, name, tax_no, taxpayer_kind, attrs, @now, @now
FROM unnest(@codes::text[], @names::text[], @tax_nos::text[], @taxpayer_kinds::text[], @attrs::jsonb[])
     AS t (code, name, tax_no, taxpayer_kind, attrs)
ORDER BY code
ON CONFLICT (code) DO UPDATE
SET name = excluded.name, tax_no = excluded.tax_no, taxpayer_kind = excluded.taxpayer_kind, attrs = excluded.attrs, stub = false,
    version = entities.version + 1, updated_at = excluded.updated_at`

// PutEntities creates or replaces entities, whose codes differ.
func PutEntities(ctx context.Context, tx pgx.Tx, entities []Entity, now time.Time) error {
	n := len(entities)
	codes, names, taxNos, kinds, attrs := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]map[string]string, n)
	for i, e := range entities {
		codes[i], names[i], taxNos[i], kinds[i], attrs[i] = e.Code, e.Name, e.TaxNo, e.TaxpayerKind, e.Attrs
		if attrs[i] == nil {
			attrs[i] = map[string]string{}
		}
	}
	_, err := tx.Exec(ctx, upsertEntities, pg.Args{"codes": codes, "names": names, "tax_nos": taxNos, "taxpayer_kinds": kinds, "attrs": attrs, "now": now})
	if err != nil {
		return fmt.Errorf("put entities: %w", err)
	}
	return nil
}

const insertStubEntities = `
INSERT INTO commerce.entities (code, name, stub, created_at, updated_at)
SELECT code, code, true, @now, @now
FROM unnest(@codes::text[]) AS t (code)
ORDER BY code
ON CONFLICT (code) DO NOTHING
RETURNING code`

// EnsureEntities makes stubs of the entities that are not known and returns their codes. Empty codes are ignored.
func EnsureEntities(ctx context.Context, tx pgx.Tx, entities []string, now time.Time) (stubs []string, err error) {
	entities = distinct(entities)
	if len(entities) == 0 {
		return nil, nil
	}
	return codes(ctx, tx, "make entity stubs", insertStubEntities, pg.Args{"codes": entities, "now": now})
}

func codes(ctx context.Context, db pg.DB, what, sql string, args pg.Args) ([]string, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

func distinct(codes []string) []string {
	codes = slices.Compact(slices.Sorted(slices.Values(codes)))
	return slices.DeleteFunc(codes, func(c string) bool { return c == "" })
}

// Tree answers the scope of operators.
type Tree struct{}

const selectStores = `
SELECT code
FROM commerce.org_units
WHERE path @> ARRAY[@code::text] AND kind = 'store'
ORDER BY path`

// Stores returns the codes of the stores in the unit's subtree, itself included.
func (Tree) Stores(ctx context.Context, db pg.DB, unit string) ([]string, error) {
	return codes(ctx, db, "read stores of org unit", selectStores, pg.Args{"code": unit})
}
