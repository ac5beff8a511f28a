package product

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

const upsertProducts = `
INSERT INTO commerce.products (spu, name, category, brand, created_at, updated_at)
SELECT DISTINCT ON (spu) spu, name, category, brand, @now, @now
FROM unnest(@spus::text[], @names::text[], @categories::text[], @brands::text[]) WITH ORDINALITY AS t (spu, name, category, brand, ord)
ORDER BY spu, ord DESC
ON CONFLICT (spu) DO UPDATE
SET name = excluded.name, category = excluded.category, brand = excluded.brand, updated_at = excluded.updated_at,
    version = products.version + 1
WHERE (products.name, products.category, products.brand) IS DISTINCT FROM (excluded.name, excluded.category, excluded.brand)
RETURNING spu`

// touchSKUs makes the search index read the SKUs of changed products again.
const touchSKUs = `
UPDATE commerce.skus
SET version = version + 1, unindexed = true
WHERE sku = ANY (ARRAY(SELECT sku FROM commerce.skus WHERE spu = ANY(@spus) ORDER BY sku FOR NO KEY UPDATE))`

const upsertSKUs = `
INSERT INTO commerce.skus (sku, spu, name, unit, tag_price_fen, retail_price_fen, status, attrs, gift, tax_code, created_at, updated_at)
SELECT t.sku, t.spu, t.name, t.unit, tag, retail, t.status, t.attrs, coalesce(t.gift, s.gift, false), coalesce(nullif(t.tax_code, ''), s.tax_code, ''), @now, @now
FROM unnest(@skus::text[], @spus::text[], @names::text[], @units::text[], @tags::bigint[], @retails::bigint[], @statuses::text[], @attrs::jsonb[],
            @gifts::boolean[], @tax_codes::text[])
     AS t (sku, spu, name, unit, tag, retail, status, attrs, gift, tax_code)
LEFT JOIN commerce.skus s ON s.sku = t.sku
ORDER BY t.sku
ON CONFLICT (sku) DO UPDATE
SET spu = excluded.spu, name = excluded.name, unit = excluded.unit, tag_price_fen = excluded.tag_price_fen,
    retail_price_fen = excluded.retail_price_fen, status = excluded.status, attrs = excluded.attrs, stub = false,
    gift = excluded.gift, tax_code = excluded.tax_code,
    version = skus.version + 1, unindexed = true, updated_at = excluded.updated_at`

const upsertBarcodes = `
INSERT INTO commerce.barcodes (barcode, sku)
SELECT barcode, sku
FROM unnest(@barcodes::text[], @skus::text[]) AS t (barcode, sku)
ORDER BY barcode
ON CONFLICT (barcode) DO NOTHING`

// Put creates or replaces SKUs with their products; their codes differ. Barcodes are added, those of other SKUs stay where
// they are (see Owners).
func Put(ctx context.Context, tx pgx.Tx, skus []SKU, now time.Time) error {
	n := len(skus)
	codes, spus, names, units, statuses := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	categories, brands := make([]string, n), make([]string, n)
	tags, retails := make([]*money.Fen, n), make([]*money.Fen, n)
	attrs := make([]map[string]string, n)
	gifts, taxCodes := make([]*bool, n), make([]string, n)
	var barcodes, owners []string
	for i, s := range skus {
		codes[i], spus[i], names[i], units[i], statuses[i] = s.SKU, s.SPU, s.Name, s.Unit, string(s.Status)
		categories[i], brands[i], tags[i], retails[i] = s.Category, s.Brand, s.TagPrice, s.RetailPrice
		gifts[i], taxCodes[i] = s.Gift, s.TaxCode
		if attrs[i] = s.Attrs; attrs[i] == nil {
			attrs[i] = map[string]string{}
		}
		for _, b := range s.Barcodes {
			barcodes, owners = append(barcodes, b), append(owners, s.SKU)
		}
	}
	rows, err := tx.Query(ctx, upsertProducts, pg.Args{"spus": spus, "names": names, "categories": categories, "brands": brands, "now": now})
	if err != nil {
		return fmt.Errorf("put products: %w", err)
	}
	changed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("put products: %w", err)
	}
	if _, err = tx.Exec(ctx, touchSKUs, pg.Args{"spus": changed}); err != nil {
		return fmt.Errorf("mark SKUs of changed products: %w", err)
	}
	_, err = tx.Exec(ctx, upsertSKUs, pg.Args{
		"skus": codes, "spus": spus, "names": names, "units": units, "tags": tags, "retails": retails, "statuses": statuses, "attrs": attrs,
		"gifts": gifts, "tax_codes": taxCodes, "now": now,
	})
	if err != nil {
		return fmt.Errorf("put skus: %w", err)
	}
	if _, err = tx.Exec(ctx, upsertBarcodes, pg.Args{"barcodes": barcodes, "skus": owners}); err != nil {
		return fmt.Errorf("put barcodes: %w", err)
	}
	return nil
}

const selectOwners = `
SELECT barcode, sku
FROM commerce.barcodes
WHERE barcode = ANY(@barcodes)`

// Owners returns the SKU of each known barcode.
func Owners(ctx context.Context, db pg.DB, barcodes []string) (map[string]string, error) {
	rows, err := db.Query(ctx, selectOwners, pg.Args{"barcodes": barcodes})
	if err != nil {
		return nil, fmt.Errorf("find barcodes: %w", err)
	}
	out := map[string]string{}
	var barcode, sku string
	if _, err := pgx.ForEachRow(rows, []any{&barcode, &sku}, func() error { out[barcode] = sku; return nil }); err != nil {
		return nil, fmt.Errorf("find barcodes: %w", err)
	}
	return out, nil
}

const selectFacts = `
SELECT s.sku, p.category, p.brand
FROM commerce.skus s
JOIN commerce.products p USING (spu)
WHERE s.sku = ANY(@skus)`

const insertStubProducts = `
INSERT INTO commerce.products (spu, name, created_at, updated_at)
SELECT sku, sku, @now, @now
FROM unnest(@skus::text[]) AS t (sku)
ORDER BY sku
ON CONFLICT (spu) DO NOTHING`

const insertStubSKUs = `
INSERT INTO commerce.skus (sku, spu, name, status, stub, created_at, updated_at)
SELECT sku, sku, sku, 'active', true, @now, @now
FROM unnest(@skus::text[]) AS t (sku)
ORDER BY sku
ON CONFLICT (sku) DO NOTHING
RETURNING sku`

// Ensure returns the facts of the SKUs and makes stubs of those the catalogue does not know; it returns their codes.
func Ensure(ctx context.Context, tx pgx.Tx, skus []string, now time.Time) (facts map[string]Facts, stubs []string, err error) {
	skus = slices.Compact(slices.Sorted(slices.Values(skus)))
	facts = make(map[string]Facts, len(skus))
	rows, err := tx.Query(ctx, selectFacts, pg.Args{"skus": skus})
	if err != nil {
		return nil, nil, fmt.Errorf("find skus: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Facts])
	if err != nil {
		return nil, nil, fmt.Errorf("find skus: %w", err)
	}
	for _, f := range found {
		facts[f.SKU] = f
	}
	var unknown []string
	for _, sku := range skus {
		if _, ok := facts[sku]; !ok {
			unknown = append(unknown, sku)
			facts[sku] = Facts{SKU: sku}
		}
	}
	if len(unknown) == 0 {
		return facts, nil, nil
	}
	if _, err := tx.Exec(ctx, insertStubProducts, pg.Args{"skus": unknown, "now": now}); err != nil {
		return nil, nil, fmt.Errorf("make product stubs: %w", err)
	}
	rows, err = tx.Query(ctx, insertStubSKUs, pg.Args{"skus": unknown, "now": now})
	if err != nil {
		return nil, nil, fmt.Errorf("make sku stubs: %w", err)
	}
	if stubs, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, nil, fmt.Errorf("make sku stubs: %w", err)
	}
	return facts, stubs, nil
}
