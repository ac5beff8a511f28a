package product

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const itemsSQL = `
SELECT s.sku, s.spu, s.name, p.name AS product, p.category, p.brand, s.unit,
       ARRAY(SELECT b.barcode FROM commerce.barcodes b WHERE b.sku = s.sku ORDER BY b.barcode) AS barcodes,
       s.tag_price_fen AS tag_price, s.retail_price_fen AS retail_price, s.status, s.stub, s.attrs, s.version,
       s.kind, s.gift, s.tax_code, ARRAY(SELECT DISTINCT c.title FROM commerce.product_contents c WHERE c.spu = s.spu ORDER BY c.title) AS titles
FROM unnest(@skus::text[]) WITH ORDINALITY AS w (sku, ord)
JOIN commerce.skus s USING (sku)
JOIN commerce.products p USING (spu)
ORDER BY w.ord`

// items returns the SKUs in the order of their codes given; unknown ones are left out.
func (c *Catalogue) items(ctx context.Context, skus []string) ([]Item, error) {
	return readItems(ctx, c.db, skus)
}

func readItems(ctx context.Context, db pg.DB, skus []string) ([]Item, error) {
	rows, err := db.Query(ctx, itemsSQL, pg.Args{"skus": skus})
	if err != nil {
		return nil, fmt.Errorf("read products: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[Item])
	if err != nil {
		return nil, fmt.Errorf("read products: %w", err)
	}
	return items, nil
}

const unindexedSQL = `
SELECT sku
FROM commerce.skus
WHERE unindexed
ORDER BY sku
LIMIT @limit`

func unindexed(ctx context.Context, db pg.DB, limit int) ([]string, error) {
	rows, err := db.Query(ctx, unindexedSQL, pg.Args{"limit": limit})
	if err != nil {
		return nil, fmt.Errorf("find products to index: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// A SKU that was written again meanwhile has another version and stays marked.
const markIndexedSQL = `
UPDATE commerce.skus s
SET unindexed = false
FROM (SELECT k.sku
      FROM commerce.skus k
      JOIN unnest(@skus::text[], @versions::bigint[]) AS t (sku, version) USING (sku, version)
      ORDER BY k.sku
      FOR NO KEY UPDATE OF k) AS done
WHERE s.sku = done.sku`

func markIndexed(ctx context.Context, db pg.DB, items []Item) error {
	skus, versions := make([]string, len(items)), make([]int64, len(items))
	for i, it := range items {
		skus[i], versions[i] = it.SKU, it.Version
	}
	if _, err := db.Exec(ctx, markIndexedSQL, pg.Args{"skus": skus, "versions": versions}); err != nil {
		return fmt.Errorf("mark products as indexed: %w", err)
	}
	return nil
}

const markUnindexedSQL = `
UPDATE commerce.skus
SET unindexed = true
WHERE sku = ANY (ARRAY(SELECT sku FROM commerce.skus WHERE NOT unindexed ORDER BY sku FOR NO KEY UPDATE))`

func markUnindexed(ctx context.Context, db pg.DB) error {
	if _, err := db.Exec(ctx, markUnindexedSQL); err != nil {
		return fmt.Errorf("mark products for the index: %w", err)
	}
	return nil
}
