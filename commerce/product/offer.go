package product

import (
	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Offer is what checkout reads of a SKU: what it is, and the prices that the catalogue has for it.
type Offer struct {
	SKU         string
	SPU         string
	Name        string
	Category    string
	Brand       string
	TagPrice    *money.Fen
	RetailPrice *money.Fen
	Status      Status
}

const offersSQL = `
SELECT s.sku, s.spu, s.name, p.category, p.brand, s.tag_price_fen, s.retail_price_fen, s.status
FROM commerce.skus s
JOIN commerce.products p USING (spu)
WHERE s.sku = ANY(@skus)`

// QueueOffers reads offers by a statement of the caller's batch into out, by SKU; unknown SKUs are missing.
func QueueOffers(b *pgx.Batch, skus []string, out map[string]Offer) {
	b.Queue(offersSQL, pg.Args{"skus": skus}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Offer])
		for _, o := range all {
			out[o.SKU] = o
		}
		return err
	})
}
