package order

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

type importStore struct{}

type lineKey struct{ order, line string }

// header is a row of commerce.order_imports.
type header struct {
	OrderNo    string
	Birth      member.Birth
	GuestBirth *member.Birth
	Paid       bool
	Returned   bool
}

const upsertLines = `
INSERT INTO commerce.order_import_lines (order_no, line_no, birth, touchpoint, store, associate, placed_at, paid_at, sku, quantity,
    unit_price_fen, discount_fen, coupon_code, return_of, kind)
SELECT order_no, line_no, nullif(birth, 0), touchpoint, store, associate, placed_at, paid_at, sku, quantity, unit_price, discount, coupon, return_of, kind
FROM unnest(@orders::text[], @lines::text[], @births::bigint[], @touchpoints::text[], @stores::text[], @associates::text[],
            @placed::timestamptz[], @paid::timestamptz[], @skus::text[], @quantities::bigint[], @prices::bigint[], @discounts::bigint[],
            @coupons::text[], @returns::text[], @kinds::text[])
     AS t (order_no, line_no, birth, touchpoint, store, associate, placed_at, paid_at, sku, quantity, unit_price, discount, coupon, return_of, kind)
ORDER BY order_no, line_no
ON CONFLICT (order_no, line_no) DO UPDATE
SET birth = excluded.birth, touchpoint = excluded.touchpoint, store = excluded.store, associate = excluded.associate,
    placed_at = excluded.placed_at, paid_at = excluded.paid_at, sku = excluded.sku, quantity = excluded.quantity,
    unit_price_fen = excluded.unit_price_fen, discount_fen = excluded.discount_fen, coupon_code = excluded.coupon_code,
    return_of = excluded.return_of, kind = excluded.kind
RETURNING order_no, line_no, xmax <> 0 AS existed`

// putLines creates or replaces lines and returns which of them were there before.
func (importStore) putLines(ctx context.Context, tx pgx.Tx, lines []importLine, births []member.Birth) (map[lineKey]bool, error) {
	n := len(lines)
	text := map[string][]string{}
	placed, paid := make([]time.Time, n), make([]*time.Time, n)
	quantities, prices, discounts := make([]int64, n), make([]money.Fen, n), make([]money.Fen, n)
	for _, name := range []string{"orders", "lines", "touchpoints", "stores", "associates", "skus", "coupons", "returns", "kinds"} {
		text[name] = make([]string, n)
	}
	for i, l := range lines {
		text["orders"][i], text["lines"][i], text["touchpoints"][i] = l.OrderNo, l.LineNo, l.Touchpoint
		text["stores"][i], text["associates"][i], text["skus"][i] = l.Store, l.Associate, l.SKU
		text["coupons"][i], text["returns"][i], text["kinds"][i] = l.CouponCode, l.ReturnOf, l.Kind
		placed[i], paid[i], quantities[i], prices[i], discounts[i] = l.PlacedAt, l.PaidAt, l.Quantity, l.UnitPrice, l.Discount
	}
	args := pg.Args{"births": births, "placed": placed, "paid": paid, "quantities": quantities, "prices": prices, "discounts": discounts}
	for name, values := range text {
		args[name] = values
	}
	rows, err := tx.Query(ctx, upsertLines, args)
	if err != nil {
		return nil, fmt.Errorf("put order lines: %w", err)
	}
	out := map[lineKey]bool{}
	var k lineKey
	var existed bool
	_, err = pgx.ForEachRow(rows, []any{&k.order, &k.line, &existed}, func() error {
		if existed {
			out[k] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("put order lines: %w", err)
	}
	return out, nil
}

const selectHeaders = `
SELECT order_no, birth, guest_birth, paid, returned
FROM commerce.order_imports
WHERE order_no = ANY(@orders)
ORDER BY order_no
FOR UPDATE`

func (importStore) headers(ctx context.Context, tx pgx.Tx, orders []string) (map[string]header, error) {
	rows, err := tx.Query(ctx, selectHeaders, pg.Args{"orders": orders})
	if err != nil {
		return nil, fmt.Errorf("read imported orders: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[header])
	if err != nil {
		return nil, fmt.Errorf("read imported orders: %w", err)
	}
	out := make(map[string]header, len(found))
	for _, h := range found {
		out[h.OrderNo] = h
	}
	return out, nil
}

// selectTotals folds orders from their lines. Lines are taken in the order of their numbers: shorter first, so that 2
// comes before 10.
const selectTotals = `
SELECT order_no,
       (array_agg(birth ORDER BY length(line_no), line_no) FILTER (WHERE birth IS NOT NULL))[1] AS birth,
       min(paid_at) FILTER (WHERE quantity > 0) AS paid_at,
       coalesce(sum(amount_fen) FILTER (WHERE quantity > 0), 0)::bigint AS amount,
       coalesce(sum(quantity) FILTER (WHERE quantity > 0), 0)::bigint AS quantity,
       (array_agg(touchpoint ORDER BY length(line_no), line_no) FILTER (WHERE quantity > 0))[1] AS touchpoint,
       (array_agg(store ORDER BY length(line_no), line_no) FILTER (WHERE quantity > 0))[1] AS store,
       (array_agg(associate ORDER BY length(line_no), line_no) FILTER (WHERE quantity > 0))[1] AS associate,
       min(coalesce(paid_at, placed_at)) FILTER (WHERE quantity < 0) AS returned_at,
       coalesce(sum(amount_fen) FILTER (WHERE quantity < 0), 0)::bigint AS refund,
       coalesce(sum(quantity) FILTER (WHERE quantity < 0), 0)::bigint AS returned,
       (array_agg(touchpoint ORDER BY length(line_no), line_no) FILTER (WHERE quantity < 0))[1] AS returned_to,
       (array_agg(store ORDER BY length(line_no), line_no) FILTER (WHERE quantity < 0))[1] AS return_store,
       coalesce((array_agg(return_of ORDER BY length(line_no), line_no) FILTER (WHERE quantity < 0 AND return_of <> ''))[1], '') AS return_of,
       min(placed_at) AS first_placed
FROM commerce.order_import_lines
WHERE order_no = ANY(@orders)
GROUP BY order_no
ORDER BY order_no`

func (importStore) totals(ctx context.Context, tx pgx.Tx, orders []string) ([]total, error) {
	rows, err := tx.Query(ctx, selectTotals, pg.Args{"orders": orders})
	if err != nil {
		return nil, fmt.Errorf("fold orders: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[total])
	if err != nil {
		return nil, fmt.Errorf("fold orders: %w", err)
	}
	return out, nil
}

const selectBought = `
SELECT l.order_no, l.line_no, l.touchpoint, l.store, l.paid_at, l.sku, l.quantity, l.unit_price_fen, l.discount_fen, p.category, p.brand
FROM commerce.order_import_lines l
JOIN commerce.skus s USING (sku)
JOIN commerce.products p USING (spu)
WHERE l.order_no = ANY(@orders) AND l.quantity > 0 AND l.paid_at IS NOT NULL
ORDER BY l.order_no, l.line_no`

type boughtLine struct {
	importLine
	Category, Brand string
}

func (importStore) bought(ctx context.Context, tx pgx.Tx, orders []string) ([]boughtLine, error) {
	rows, err := tx.Query(ctx, selectBought, pg.Args{"orders": orders})
	if err != nil {
		return nil, fmt.Errorf("read order lines: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (l boughtLine, err error) {
		err = r.Scan(&l.OrderNo, &l.LineNo, &l.Touchpoint, &l.Store, &l.PaidAt, &l.SKU, &l.Quantity, &l.UnitPrice, &l.Discount, &l.Category, &l.Brand)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read order lines: %w", err)
	}
	return out, nil
}

const upsertHeaders = `
INSERT INTO commerce.order_imports (order_no, birth, guest_birth, paid, returned, updated_at)
SELECT order_no, birth, guest_birth, paid, returned, @now
FROM unnest(@orders::text[], @births::bigint[], @guests::bigint[], @paid::boolean[], @returned::boolean[])
     AS t (order_no, birth, guest_birth, paid, returned)
ORDER BY order_no
ON CONFLICT (order_no) DO UPDATE
SET birth = excluded.birth, guest_birth = excluded.guest_birth, paid = excluded.paid, returned = excluded.returned, updated_at = excluded.updated_at`

func (importStore) putHeaders(ctx context.Context, tx pgx.Tx, headers map[string]header, now time.Time) error {
	var orders []string
	var births []member.Birth
	var guests []*member.Birth
	var paid, returned []bool
	for _, h := range headers {
		orders, births, guests = append(orders, h.OrderNo), append(births, h.Birth), append(guests, h.GuestBirth)
		paid, returned = append(paid, h.Paid), append(returned, h.Returned)
	}
	_, err := tx.Exec(ctx, upsertHeaders, pg.Args{"orders": orders, "births": births, "guests": guests, "paid": paid, "returned": returned, "now": now})
	if err != nil {
		return fmt.Errorf("put imported orders: %w", err)
	}
	return nil
}
