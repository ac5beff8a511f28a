package order

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const orderColumns = `order_no, touchpoint, store, seller_unit, seller_entity, lead_unit, lead_associate, birth, guest, status, asked_from, quantity,
    list_fen, discount_fen, points, points_fen, cash_fen, freight_fen, paid_fen, refunded_fen, receiver, receiver_sealed, invoice, terms,
    source, placed_at, pay_by, paid_at, shipped_at, delivered_at, ended_at, events, updated_at`

const lineColumns = `line_no, kind, sku, name, category, brand, tax_code, bundle, bundle_no, trigger_line, location, owner, tag_price_fen, retail_price_fen,
    member_price_fen, cost_price_fen, unit_price_fen, quantity, list_fen, discount_fen, points, points_fen, cash_fen, allocated, shipped,
    delivered, refused, returned, cancelled`

const unitColumns = `line_no, unit_no, list_fen, discount_fen, discounts, points, points_fen, cash_fen, state`

const tenderColumns = `tender_no, kind, collector, account, amount_fen, points, state, reference, refunded_fen, refunded_points`

// The rows of one order are few and nested; they go in as JSON, whose names are the columns'.
const insertOrderSQL = `
INSERT INTO commerce.orders (` + orderColumns + `)
SELECT order_no, touchpoint, store, seller_unit, seller_entity, lead_unit, lead_associate, birth, guest, status, '', quantity,
    list_fen, discount_fen, points, points_fen, cash_fen, freight_fen, paid_fen, refunded_fen, receiver, @sealed::bytea, invoice, terms,
    source, placed_at, pay_by, paid_at, shipped_at, delivered_at, ended_at, events, updated_at
FROM jsonb_populate_record(NULL::commerce.orders, @order::jsonb)`

const insertLinesSQL = `
INSERT INTO commerce.order_lines (order_no, ` + lineColumns + `)
SELECT @order_no, ` + lineColumns + `
FROM jsonb_populate_recordset(NULL::commerce.order_lines, @lines::jsonb)`

const insertUnitsSQL = `
INSERT INTO commerce.order_units (order_no, ` + unitColumns + `)
SELECT @order_no, ` + unitColumns + `
FROM jsonb_populate_recordset(NULL::commerce.order_units, @units::jsonb)`

const insertTendersSQL = `
INSERT INTO commerce.order_tenders (order_no, ` + tenderColumns + `)
SELECT @order_no, ` + tenderColumns + `
FROM jsonb_populate_recordset(NULL::commerce.order_tenders, @tenders::jsonb)`

const insertEventSQL = `
INSERT INTO commerce.order_events (order_no, seq, kind, to_status, actor, detail, at)
VALUES (@order_no, @seq, @kind, @to, @actor, @detail, @at)`

// queueInsert adds the statements that store a new order to a batch.
func queueInsert(b *pgx.Batch, o Order, actor string) error {
	lines, tenders, units := o.Lines, o.Tenders, []Unit{}
	for i := range lines {
		units = append(units, lines[i].Units...)
	}
	bare := make([]Line, len(lines))
	for i, l := range lines {
		l.Units = nil
		bare[i] = l
	}
	o.Lines, o.Tenders, o.Events = nil, nil, 1
	var text [4]string
	for i, v := range []any{o, bare, units, tenders} {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode order %s: %w", o.OrderNo, err)
		}
		text[i] = string(raw)
	}
	b.Queue(insertOrderSQL, pg.Args{"order": text[0], "sealed": o.ReceiverSealed})
	b.Queue(insertLinesSQL, pg.Args{"order_no": o.OrderNo, "lines": text[1]})
	b.Queue(insertUnitsSQL, pg.Args{"order_no": o.OrderNo, "units": text[2]})
	if len(tenders) > 0 {
		b.Queue(insertTendersSQL, pg.Args{"order_no": o.OrderNo, "tenders": text[3]})
	}
	b.Queue(insertEventSQL, pg.Args{
		"order_no": o.OrderNo, "seq": 1, "kind": "placed", "to": string(o.Status), "actor": actor, "detail": struct{}{}, "at": o.PlacedAt,
	})
	return nil
}

const getOrderSQL = `
SELECT ` + orderColumns + `
FROM commerce.orders
WHERE order_no = @order_no`

const lockOrderSQL = getOrderSQL + `
FOR NO KEY UPDATE`

const getLinesSQL = `
SELECT ` + lineColumns + `
FROM commerce.order_lines
WHERE order_no = @order_no
ORDER BY line_no`

const getUnitsSQL = `
SELECT ` + unitColumns + `
FROM commerce.order_units
WHERE order_no = @order_no
ORDER BY line_no, unit_no`

const getTendersSQL = `
SELECT ` + tenderColumns + `
FROM commerce.order_tenders
WHERE order_no = @order_no
ORDER BY tender_no`

// load reads an order with everything that belongs to it, in one round trip; with lock, its row is locked first.
func load(ctx context.Context, db pg.DB, orderNo string, lock bool) (Order, error) {
	sql := getOrderSQL
	if lock {
		sql = lockOrderSQL
	}
	var orders []Order
	var lines []Line
	var units []Unit
	var tenders []Tender
	args := pg.Args{"order_no": orderNo}
	var b pgx.Batch
	b.Queue(sql, args).Query(func(rows pgx.Rows) (err error) {
		orders, err = pgx.CollectRows(rows, pgx.RowToStructByName[Order])
		return err
	})
	b.Queue(getLinesSQL, args).Query(func(rows pgx.Rows) (err error) {
		lines, err = pgx.CollectRows(rows, pgx.RowToStructByName[Line])
		return err
	})
	b.Queue(getUnitsSQL, args).Query(func(rows pgx.Rows) (err error) {
		units, err = pgx.CollectRows(rows, pgx.RowToStructByName[Unit])
		return err
	})
	b.Queue(getTendersSQL, args).Query(func(rows pgx.Rows) (err error) {
		tenders, err = pgx.CollectRows(rows, pgx.RowToStructByName[Tender])
		return err
	})
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		return Order{}, fmt.Errorf("read order %s: %w", orderNo, err)
	}
	if len(orders) == 0 {
		return Order{}, ErrNotFound.With("order", orderNo)
	}
	o := orders[0]
	o.Lines, o.Tenders = lines, tenders
	for _, u := range units {
		if l := o.Line(u.LineNo); l != nil {
			l.Units = append(l.Units, u)
		}
	}
	return o, nil
}

const eventsSQL = `
SELECT seq, kind, from_status, to_status, actor, detail, at
FROM commerce.order_events
WHERE order_no = @order_no
ORDER BY seq`

// moveSQL changes the status if it is what the caller believes, and writes the event with it.
const moveSQL = `
WITH moved AS (
    UPDATE commerce.orders
    SET status = @to,
        asked_from = CASE WHEN @to = 'cancel_requested' THEN @from ELSE '' END,
        paid_at = CASE WHEN @to = 'paid' THEN coalesce(paid_at, @at) ELSE paid_at END,
        shipped_at = CASE WHEN @to = 'shipped' THEN @at ELSE shipped_at END,
        delivered_at = CASE WHEN @to = 'delivered' THEN @at ELSE delivered_at END,
        ended_at = CASE WHEN @to IN ('completed', 'cancelled', 'closed_unpaid') THEN @at ELSE ended_at END,
        events = events + 1, updated_at = @at
    WHERE order_no = @order_no AND status = @from
    RETURNING events
)
INSERT INTO commerce.order_events (order_no, seq, kind, from_status, to_status, actor, detail, at)
SELECT @order_no, events, @kind, @from, @to, @actor, @detail, @at
FROM moved`

const recordSQL = `
WITH counted AS (
    UPDATE commerce.orders
    SET events = events + 1, updated_at = @at
    WHERE order_no = @order_no
    RETURNING events
)
INSERT INTO commerce.order_events (order_no, seq, kind, actor, detail, at)
SELECT @order_no, events, @kind, @actor, @detail, @at
FROM counted`

const progressSQL = `
UPDATE commerce.order_lines l
SET allocated = l.allocated + d.allocated, shipped = l.shipped + d.shipped, delivered = l.delivered + d.delivered,
    refused = l.refused + d.refused, returned = l.returned + d.returned, cancelled = l.cancelled + d.cancelled
FROM unnest(@lines::integer[], @allocated::bigint[], @shipped::bigint[], @delivered::bigint[], @refused::bigint[], @returned::bigint[],
            @cancelled::bigint[]) AS d (line_no, allocated, shipped, delivered, refused, returned, cancelled)
WHERE l.order_no = @order_no AND l.line_no = d.line_no`

const markUnitsSQL = `
UPDATE commerce.order_units u
SET state = @state
FROM unnest(@lines::integer[], @units::integer[]) AS w (line_no, unit_no)
WHERE u.order_no = @order_no AND u.line_no = w.line_no AND u.unit_no = w.unit_no AND u.state = 'open'`

const paySQL = `
UPDATE commerce.orders
SET terms = @terms, paid_fen = @paid, pay_by = NULL
WHERE order_no = @order_no`

const setTendersSQL = `
UPDATE commerce.order_tenders t
SET state = w.state, reference = coalesce(nullif(w.reference, ''), t.reference)
FROM unnest(@tenders::integer[], @states::text[], @references::text[]) AS w (tender_no, state, reference)
WHERE t.order_no = @order_no AND t.tender_no = w.tender_no`

const refundTenderSQL = `
UPDATE commerce.order_tenders
SET refunded_fen = refunded_fen + @fen, refunded_points = refunded_points + @points
WHERE order_no = @order_no AND tender_no = @tender`

const refundOrderSQL = `
UPDATE commerce.orders
SET refunded_fen = refunded_fen + @fen, updated_at = @at
WHERE order_no = @order_no`

func nowOr(at, now time.Time) time.Time {
	if at.IsZero() {
		return now
	}
	return at
}
