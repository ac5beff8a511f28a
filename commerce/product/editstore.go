package product

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
)

const lockCategories = `SELECT pg_advisory_xact_lock(hashtextextended('commerce.categories', 0))`

// A parent that lies below the category would close a cycle; one that is unknown has no row.
const checkParent = `
SELECT path @> ARRAY[@code::text]
FROM commerce.categories
WHERE code = @parent`

const insertCategory = `
INSERT INTO commerce.categories (code, parent, path, name, attributes, created_at, updated_at)
VALUES (@code, nullif(@parent, ''), ARRAY[@code::text], @name, @attributes, @now, @now)
RETURNING version`

const updateCategory = `
UPDATE commerce.categories
SET parent = nullif(@parent, ''), name = @name, attributes = @attributes, version = version + 1, updated_at = @now
WHERE code = @code AND version = @version
RETURNING version`

const deriveCategoryPaths = `
WITH RECURSIVE tree AS (
    SELECT code, ARRAY[code] AS path
    FROM commerce.categories
    WHERE parent IS NULL
    UNION ALL
    SELECT c.code, t.path || c.code
    FROM commerce.categories c
    JOIN tree t ON c.parent = t.code
)
UPDATE commerce.categories c
SET path = t.path
FROM tree t
WHERE c.code = t.code AND c.path <> t.path`

func putCategory(ctx context.Context, tx pgx.Tx, c Category, now time.Time) (version int64, err error) {
	if _, err := tx.Exec(ctx, lockCategories); err != nil {
		return 0, fmt.Errorf("lock the categories: %w", err)
	}
	if c.Parent != "" {
		var below bool
		err := tx.QueryRow(ctx, checkParent, pg.Args{"code": c.Code, "parent": c.Parent}).Scan(&below)
		switch {
		case pg.NoRows(err):
			return 0, ErrInvalid.WithFields(validate.Field("parent", "product.category", "没有此上级分类", "there is no such category", "请先建立上级分类", "create the parent first"))
		case err != nil:
			return 0, fmt.Errorf("read category %s: %w", c.Parent, err)
		case below:
			return 0, ErrCycle.With("code", c.Code)
		}
	}
	args := pg.Args{"code": c.Code, "parent": c.Parent, "name": c.Name, "attributes": c.Attributes, "now": now}
	sql := insertCategory
	if c.Version != 0 {
		sql, args["version"] = updateCategory, c.Version
	}
	if version, err = written(tx.QueryRow(ctx, sql, args), c.Code, "categories_pkey"); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, deriveCategoryPaths); err != nil {
		return 0, fmt.Errorf("derive the paths of categories: %w", err)
	}
	return version, nil
}

// written reads the new version of a row that was created or changed.
func written(row pgx.Row, code, pkey string) (version int64, err error) {
	switch err := row.Scan(&version); {
	case pg.Constraint(err) == pkey:
		return 0, ErrExists.With("code", code)
	case pg.NoRows(err):
		return 0, ErrStale.With("code", code)
	case err != nil:
		return 0, fmt.Errorf("write %s: %w", code, err)
	}
	return version, nil
}

const selectCategories = `
SELECT code, coalesce(parent, ''), name, attributes, version
FROM commerce.categories
WHERE code > @after
ORDER BY code
LIMIT @limit`

// Categories returns the categories by code.
func (e *Editor) Categories(ctx context.Context, db pg.DB, after string, limit int) ([]Category, error) {
	rows, err := db.Query(ctx, selectCategories, pg.Args{"after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read categories: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Category])
}

const selectDefinitions = `
SELECT c.code, array_agg(a.attributes ORDER BY cardinality(a.path))
FROM commerce.categories c
JOIN commerce.categories a ON a.code = ANY (c.path)
WHERE c.code = ANY (@categories::text[])
GROUP BY c.code`

// definitions returns the attributes of categories, with those they inherit.
func definitions(ctx context.Context, db pg.DB, categories []string) (map[string][]Attribute, error) {
	categories = slices.Compact(slices.Sorted(slices.Values(categories)))
	rows, err := db.Query(ctx, selectDefinitions, pg.Args{"categories": categories})
	if err != nil {
		return nil, fmt.Errorf("read attributes of categories: %w", err)
	}
	out := map[string][]Attribute{}
	var code string
	var levels [][]Attribute
	if _, err := pgx.ForEachRow(rows, []any{&code, &levels}, func() error {
		out[code], levels = inherited(levels), nil
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read attributes of categories: %w", err)
	}
	return out, nil
}

const insertSPU = `
INSERT INTO commerce.products (spu, name, category, brand, created_at, updated_at)
VALUES (@spu, @name, @category, @brand, @now, @now)
RETURNING version`

const updateSPU = `
UPDATE commerce.products
SET name = @name, category = @category, brand = @brand, version = version + 1, updated_at = @now
WHERE spu = @spu AND version = @version
RETURNING version`

const deleteContents = `DELETE FROM commerce.product_contents WHERE spu = @spu`

const insertContents = `
INSERT INTO commerce.product_contents (spu, touchpoint, title, body, images)
VALUES (@spu, @touchpoint, @title, @body, @images)`

func putSPU(ctx context.Context, tx pgx.Tx, p SPU, now time.Time) (version int64, err error) {
	args := pg.Args{"spu": p.SPU, "name": p.Name, "category": p.Category, "brand": p.Brand, "now": now}
	sql := insertSPU
	if p.Version != 0 {
		sql, args["version"] = updateSPU, p.Version
	}
	if version, err = written(tx.QueryRow(ctx, sql, args), p.SPU, "products_pkey"); err != nil {
		return 0, err
	}
	var b pgx.Batch
	b.Queue(deleteContents, pg.Args{"spu": p.SPU})
	for _, c := range p.Contents {
		images := c.Images
		if images == nil {
			images = []string{}
		}
		b.Queue(insertContents, pg.Args{"spu": p.SPU, "touchpoint": string(c.Touchpoint), "title": c.Title, "body": c.Body, "images": images})
	}
	b.Queue(touchSKUs, pg.Args{"spus": []string{p.SPU}})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return 0, fmt.Errorf("write contents of %s: %w", p.SPU, err)
	}
	return version, nil
}

const selectSPU = `
SELECT spu, name, category, brand, version
FROM commerce.products
WHERE spu = @spu`

const selectContents = `
SELECT touchpoint, title, body, images
FROM commerce.product_contents
WHERE spu = @spu
ORDER BY touchpoint`

func readSPU(ctx context.Context, db pg.DB, spu string) (SPU, error) {
	var p SPU
	err := db.QueryRow(ctx, selectSPU, pg.Args{"spu": spu}).Scan(&p.SPU, &p.Name, &p.Category, &p.Brand, &p.Version)
	if pg.NoRows(err) {
		return SPU{}, ErrNoSPU.With("spu", spu)
	}
	if err != nil {
		return SPU{}, fmt.Errorf("read product %s: %w", spu, err)
	}
	rows, err := db.Query(ctx, selectContents, pg.Args{"spu": spu})
	if err != nil {
		return SPU{}, fmt.Errorf("read contents of %s: %w", spu, err)
	}
	if p.Contents, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Content]); err != nil {
		return SPU{}, fmt.Errorf("read contents of %s: %w", spu, err)
	}
	return p, nil
}

const lockSPUSQL = `
SELECT category
FROM commerce.products
WHERE spu = @spu
FOR NO KEY UPDATE`

// lockSPU locks a product and returns the attributes of its category.
func lockSPU(ctx context.Context, tx pgx.Tx, spu string) ([]Attribute, error) {
	var category string
	err := tx.QueryRow(ctx, lockSPUSQL, pg.Args{"spu": spu}).Scan(&category)
	if pg.NoRows(err) {
		return nil, ErrNoSPU.With("spu", spu)
	}
	if err != nil {
		return nil, fmt.Errorf("lock product %s: %w", spu, err)
	}
	defined, err := definitions(ctx, tx, []string{category})
	return defined[category], err
}

const insertSKU = `
INSERT INTO commerce.skus (sku, spu, name, kind, unit, tag_price_fen, retail_price_fen, status, attrs, gift, tax_code, created_at, updated_at)
VALUES (@sku, @spu, @name, @kind, @unit, @tag, @retail, 'draft', @attrs, @gift, @tax_code, @now, @now)
RETURNING version`

const updateSKU = `
UPDATE commerce.skus
SET spu = @spu, name = @name, unit = @unit, tag_price_fen = @tag, retail_price_fen = @retail, attrs = @attrs, gift = @gift,
    tax_code = @tax_code, stub = false, version = version + 1, unindexed = true, updated_at = @now
WHERE sku = @sku AND version = @version AND kind = @kind
RETURNING version`

const dropBarcodes = `
DELETE FROM commerce.barcodes
WHERE sku = @sku AND barcode <> ALL (@barcodes::text[])`

func putSKU(ctx context.Context, tx pgx.Tx, d Draft, now time.Time) error {
	args := pg.Args{
		"sku": d.SKU, "spu": d.SPU, "name": d.Name, "kind": string(d.Kind), "unit": d.Unit, "tag": d.TagPrice, "retail": d.RetailPrice,
		"attrs": d.Attrs, "gift": d.Gift, "tax_code": d.TaxCode, "now": now,
	}
	sql := insertSKU
	if d.Version != 0 {
		sql, args["version"] = updateSKU, d.Version
	}
	if _, err := written(tx.QueryRow(ctx, sql, args), d.SKU, "skus_pkey"); err != nil {
		return err
	}
	barcodes := slices.Clone(d.Barcodes)
	owner := make([]string, len(barcodes))
	for i := range owner {
		owner[i] = d.SKU
	}
	if barcodes == nil {
		barcodes = []string{}
	}
	if _, err := tx.Exec(ctx, dropBarcodes, pg.Args{"sku": d.SKU, "barcodes": barcodes}); err != nil {
		return fmt.Errorf("drop barcodes of %s: %w", d.SKU, err)
	}
	if _, err := tx.Exec(ctx, upsertBarcodes, pg.Args{"barcodes": barcodes, "skus": owner}); err != nil {
		return fmt.Errorf("put barcodes of %s: %w", d.SKU, err)
	}
	owners, err := Owners(ctx, tx, barcodes)
	if err != nil {
		return err
	}
	for _, b := range barcodes {
		if owners[b] != d.SKU {
			return ErrBarcode.With("barcode", b, "sku", owners[b])
		}
	}
	return nil
}

const moveSKUSQL = `
UPDATE commerce.skus
SET status = @to, version = version + 1, unindexed = true, updated_at = @now
WHERE sku = @sku AND status = @from AND version = @version`

func moveSKU(ctx context.Context, tx pgx.Tx, it Item, to Status, now time.Time) error {
	tag, err := tx.Exec(ctx, moveSKUSQL, pg.Args{"sku": it.SKU, "from": string(it.Status), "to": string(to), "version": it.Version, "now": now})
	if err != nil {
		return fmt.Errorf("move product %s: %w", it.SKU, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrStale.With("code", it.SKU)
	}
	return nil
}

const touchBundle = `
UPDATE commerce.skus
SET version = version + 1, unindexed = true, updated_at = @now
WHERE sku = @sku AND version = @version
RETURNING version`

const deleteComponents = `DELETE FROM commerce.bundle_components WHERE bundle = @sku`

const insertComponents = `
INSERT INTO commerce.bundle_components (bundle, sku, position, quantity, weight)
SELECT @sku, t.sku, ord, quantity, weight
FROM unnest(@skus::text[], @quantities::bigint[], @weights::bigint[]) WITH ORDINALITY AS t (sku, quantity, weight, ord)`

func putComponents(ctx context.Context, tx pgx.Tx, b Bundle, now time.Time) error {
	if _, err := written(tx.QueryRow(ctx, touchBundle, pg.Args{"sku": b.SKU, "version": b.Version, "now": now}), b.SKU, "skus_pkey"); err != nil {
		return err
	}
	n := len(b.Components)
	skus, quantities, weights := make([]string, n), make([]int64, n), make([]int64, n)
	for i, c := range b.Components {
		skus[i], quantities[i], weights[i] = c.SKU, c.Quantity, c.Weight
	}
	if _, err := tx.Exec(ctx, deleteComponents, pg.Args{"sku": b.SKU}); err != nil {
		return fmt.Errorf("write components of %s: %w", b.SKU, err)
	}
	if _, err := tx.Exec(ctx, insertComponents, pg.Args{"sku": b.SKU, "skus": skus, "quantities": quantities, "weights": weights}); err != nil {
		return fmt.Errorf("write components of %s: %w", b.SKU, err)
	}
	return nil
}

const selectComponents = `
SELECT bundle, sku, quantity, weight
FROM commerce.bundle_components
WHERE bundle = ANY (@bundles::text[])
ORDER BY bundle, position`

// Components returns the components of bundles in their order; SKUs that are no bundles are missing.
func Components(ctx context.Context, db pg.DB, bundles []string) (map[string][]Component, error) {
	rows, err := db.Query(ctx, selectComponents, pg.Args{"bundles": bundles})
	if err != nil {
		return nil, fmt.Errorf("read components: %w", err)
	}
	out := map[string][]Component{}
	var bundle string
	var c Component
	if _, err := pgx.ForEachRow(rows, []any{&bundle, &c.SKU, &c.Quantity, &c.Weight}, func() error {
		out[bundle] = append(out[bundle], c)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read components: %w", err)
	}
	return out, nil
}

const selectSKUsOf = `
SELECT sku
FROM commerce.skus
WHERE spu = @spu
ORDER BY sku`

func itemsOf(ctx context.Context, db pg.DB, spu string) ([]Item, error) {
	rows, err := db.Query(ctx, selectSKUsOf, pg.Args{"spu": spu})
	if err != nil {
		return nil, fmt.Errorf("read SKUs of %s: %w", spu, err)
	}
	skus, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read SKUs of %s: %w", spu, err)
	}
	return readItems(ctx, db, skus)
}
