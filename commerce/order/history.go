package order

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/promotion"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// History gives promotion forecasts the imported orders: the lines that were bought, at their unit prices, and what they
// really cost.
type History struct{}

// The orders of a window, those with the smallest hash of their number if there are more, with their lines and what the
// catalogue says of them.
const pastSQL = `
WITH chosen AS MATERIALIZED (
    SELECT order_no
    FROM commerce.order_import_lines
    WHERE placed_at >= @from AND placed_at < @to AND quantity > 0 AND kind IN ('', 'sale')
    GROUP BY order_no
    ORDER BY hashtextextended(order_no, 0), order_no
    LIMIT @limit)
SELECT l.order_no, l.line_no, l.touchpoint, l.store, l.placed_at, coalesce(o.guest_birth IS NULL, false) AS known, l.sku, coalesce(s.spu, '') AS spu,
       coalesce(p.category, '') AS category, coalesce(p.brand, '') AS brand, l.quantity, l.unit_price_fen, l.amount_fen
FROM chosen c
JOIN commerce.order_import_lines l USING (order_no)
LEFT JOIN commerce.order_imports o USING (order_no)
LEFT JOIN commerce.skus s USING (sku)
LEFT JOIN commerce.products p USING (spu)
WHERE l.quantity > 0 AND l.kind IN ('', 'sale')
ORDER BY l.order_no, l.line_no`

// Past returns orders placed in [from, to) as carts.
func (History) Past(ctx context.Context, db pg.DB, from, to time.Time, limit int) ([]promotion.Past, error) {
	rows, err := db.Query(ctx, pastSQL, pg.Args{"from": from, "to": to, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read past orders: %w", err)
	}
	var all []promotion.Past
	var orderNo, touchpoint, store, category string
	var placedAt time.Time
	var known bool
	var l promotion.Line
	var amount money.Fen
	if _, err := pgx.ForEachRow(rows, []any{&orderNo, &l.ID, &touchpoint, &store, &placedAt, &known, &l.SKU, &l.SPU, &category, &l.Brand, &l.Quantity, &l.UnitPrice, &amount}, func() error {
		if n := len(all); n == 0 || all[n-1].OrderNo != orderNo {
			all = append(all, promotion.Past{OrderNo: orderNo, Cart: promotion.Cart{
				At: placedAt, Touchpoint: member.Touchpoint(touchpoint), Store: store, Member: promotion.Member{Known: known},
			}})
		}
		o := &all[len(all)-1]
		line := l
		line.Category = nil
		if category != "" {
			line.Category = []string{category}
		}
		o.Cart.Lines = append(o.Cart.Lines, line)
		o.Paid += amount
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read past orders: %w", err)
	}
	return all, nil
}
