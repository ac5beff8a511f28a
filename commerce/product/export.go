package product

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/sheet"
)

const selectAttrNames = `
SELECT DISTINCT k.name
FROM commerce.skus s
CROSS JOIN LATERAL jsonb_object_keys(s.attrs) AS k (name)
WHERE NOT s.stub
ORDER BY k.name`

const selectExport = `
SELECT sku
FROM commerce.skus
WHERE NOT stub AND sku > @after
ORDER BY sku
LIMIT @limit`

const exportBatch = 500

// Export writes the catalogue as a workbook that the import kind "products" reads back unchanged, stubs excepted: the file
// would make them products.
func (e *Editor) Export(ctx context.Context, db pg.DB, out io.Writer) error {
	names, err := texts(ctx, db, selectAttrNames, pg.Args{})
	if err != nil {
		return err
	}
	x, err := sheet.NewXLSX(out)
	if err != nil {
		return fmt.Errorf("export products: %w", err)
	}
	header := []string{"sku", "spu", "barcode", "name", "category", "brand", "unit", "tag_price_fen", "retail_price_fen", "status", "gift", "tax_code"}
	for _, n := range names {
		header = append(header, "attr."+n)
	}
	if err := x.Write(header); err != nil {
		return fmt.Errorf("export products: %w", err)
	}
	for after := ""; ; {
		skus, err := texts(ctx, db, selectExport, pg.Args{"after": after, "limit": exportBatch})
		if err != nil {
			return err
		}
		items, err := readItems(ctx, db, skus)
		if err != nil {
			return err
		}
		for _, it := range items {
			row := []string{
				it.SKU, it.SPU, strings.Join(it.Barcodes, "|"), it.Name, it.Category, it.Brand, it.Unit, fen(it.TagPrice), fen(it.RetailPrice),
				string(it.Status), strconv.FormatBool(it.Gift), it.TaxCode,
			}
			for _, n := range names {
				row = append(row, it.Attrs[n])
			}
			if err := x.Write(row); err != nil {
				return fmt.Errorf("export products: %w", err)
			}
			after = it.SKU
		}
		if len(skus) < exportBatch {
			return x.Close()
		}
	}
}

func fen(f *money.Fen) string {
	if f == nil {
		return ""
	}
	return strconv.FormatInt(int64(*f), 10)
}

func texts(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]string, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("export products: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("export products: %w", err)
	}
	return out, nil
}
