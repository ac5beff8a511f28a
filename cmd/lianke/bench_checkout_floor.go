package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/internal/pg"
)

// plainCheckoutTables is the floor of the checkout benchmark: the rows that a checkout leaves behind, on plain tables with the same
// keys and indexes, written by one function that a careful person would write by hand.
const plainCheckoutTables = `
CREATE SCHEMA plain;
CREATE TABLE plain.requests (request text PRIMARY KEY, hash bytea NOT NULL, order_no text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE plain.skus (sku text PRIMARY KEY, name text NOT NULL, category text NOT NULL, price bigint NOT NULL);
CREATE TABLE plain.coupons (code text PRIMARY KEY, birth bigint NOT NULL, amount bigint NOT NULL, threshold bigint NOT NULL, state text NOT NULL,
    order_no text NOT NULL DEFAULT '', expires_at timestamptz NOT NULL) WITH (fillfactor = 85);
CREATE INDEX ON plain.coupons (birth);
CREATE INDEX ON plain.coupons (order_no) WHERE order_no <> '';
CREATE TABLE plain.lots (birth bigint, n integer, remaining bigint NOT NULL, expires_at timestamptz NOT NULL, PRIMARY KEY (birth, n)) WITH (fillfactor = 80);
CREATE TABLE plain.point_moves (id uuid PRIMARY KEY, birth bigint NOT NULL, points bigint NOT NULL, at timestamptz NOT NULL);
CREATE INDEX ON plain.point_moves (birth, at);
CREATE TABLE plain.point_uses (move uuid, birth bigint, n integer, points bigint NOT NULL, PRIMARY KEY (move, birth, n));
CREATE TABLE plain.postings (tx uuid, n integer, account text NOT NULL, amount bigint NOT NULL, PRIMARY KEY (tx, n));
CREATE INDEX ON plain.postings (account, tx);
CREATE TABLE plain.orders (order_no text PRIMARY KEY, birth bigint NOT NULL, status text NOT NULL, list bigint NOT NULL, discount bigint NOT NULL,
    points bigint NOT NULL, cash bigint NOT NULL, receiver jsonb NOT NULL, at timestamptz NOT NULL, pay_by timestamptz NOT NULL);
CREATE INDEX ON plain.orders (birth, at);
CREATE INDEX ON plain.orders (at);
CREATE INDEX ON plain.orders (pay_by) WHERE status = 'placed';
CREATE TABLE plain.lines (order_no text, line_no integer, sku text NOT NULL, name text NOT NULL, category text NOT NULL, price bigint NOT NULL,
    quantity bigint NOT NULL, discount bigint NOT NULL, points bigint NOT NULL, cash bigint NOT NULL, PRIMARY KEY (order_no, line_no));
CREATE INDEX ON plain.lines (sku, order_no);
CREATE TABLE plain.units (order_no text, line_no integer, unit_no integer, discount bigint NOT NULL, points bigint NOT NULL, cash bigint NOT NULL,
    bearers jsonb NOT NULL, PRIMARY KEY (order_no, line_no, unit_no));
CREATE TABLE plain.tenders (order_no text, n integer, kind text NOT NULL, amount bigint NOT NULL, PRIMARY KEY (order_no, n));
CREATE TABLE plain.history (order_no text, seq integer, kind text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (order_no, seq));
CREATE TABLE plain.payments (id uuid PRIMARY KEY, order_no text NOT NULL, out_trade_no text NOT NULL UNIQUE, amount bigint NOT NULL, state text NOT NULL);
CREATE INDEX ON plain.payments (order_no);
CREATE TABLE plain.outbox (id uuid PRIMARY KEY, name text NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL);
CREATE TABLE plain.levels (sku text, location text, on_hand bigint NOT NULL, reserved bigint NOT NULL, PRIMARY KEY (sku, location),
    CHECK (0 <= reserved AND reserved <= on_hand)) WITH (fillfactor = 50);
CREATE TABLE plain.reservations (order_no text, line_no integer, sku text NOT NULL, location text NOT NULL, quantity bigint NOT NULL, state text NOT NULL,
    expires_at timestamptz NOT NULL, PRIMARY KEY (order_no, line_no));
CREATE INDEX ON plain.reservations (expires_at) WHERE state = 'held';
CREATE TABLE plain.moves (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku text NOT NULL, location text NOT NULL, order_no text NOT NULL,
    reserved bigint NOT NULL, at timestamptz NOT NULL);
CREATE INDEX ON plain.moves (sku, location, id);

CREATE FUNCTION plain.checkout(p_request text, p_birth bigint, p_skus text[], p_quantities bigint[], p_coupon text, p_points bigint, p_due bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_no text := to_char(now(), 'YYMMDD') || substr(md5(random()::text), 1, 12);
    v_list bigint;
    v_discount bigint;
    v_move uuid := gen_random_uuid();
    v_left bigint := p_points;
    v_lot record;
    v_short integer;
BEGIN
    INSERT INTO plain.requests VALUES (p_request, sha256(p_request::bytea), v_no, now()) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN (SELECT order_no FROM plain.requests WHERE request = p_request);
    END IF;
    SELECT sum(s.price * w.quantity) INTO v_list FROM unnest(p_skus, p_quantities) AS w (sku, quantity) JOIN plain.skus s USING (sku);
    UPDATE plain.coupons SET state = 'locked', order_no = v_no
    WHERE code = p_coupon AND birth = p_birth AND state = 'issued' AND expires_at > now() AND threshold <= v_list
    RETURNING amount INTO v_discount;
    IF v_discount IS NULL THEN RAISE EXCEPTION 'coupon'; END IF;
    IF v_list + 1000 - v_discount - p_points <> p_due THEN RAISE EXCEPTION 'price changed'; END IF;
    INSERT INTO plain.point_moves VALUES (v_move, p_birth, p_points, now());
    FOR v_lot IN SELECT * FROM plain.lots WHERE birth = p_birth AND remaining > 0 ORDER BY expires_at, n FOR UPDATE LOOP
        EXIT WHEN v_left = 0;
        UPDATE plain.lots SET remaining = remaining - least(v_left, v_lot.remaining) WHERE birth = p_birth AND n = v_lot.n;
        INSERT INTO plain.point_uses VALUES (v_move, p_birth, v_lot.n, least(v_left, v_lot.remaining));
        v_left := v_left - least(v_left, v_lot.remaining);
    END LOOP;
    IF v_left > 0 THEN RAISE EXCEPTION 'points'; END IF;
    INSERT INTO plain.postings VALUES (v_move, 0, 'outstanding', -p_points), (v_move, 1, 'spent', p_points);
    INSERT INTO plain.orders VALUES (v_no, p_birth, 'placed', v_list + 1000, v_discount, p_points, p_due,
        '{"name":"沈**","phone":"138****8000","city":"杭州市"}', now(), now() + interval '30 minutes');
    INSERT INTO plain.lines
    SELECT v_no, w.n, s.sku, s.name, s.category, s.price, w.quantity, v_discount * s.price * w.quantity / v_list, p_points * s.price * w.quantity / v_list,
           s.price * w.quantity - v_discount * s.price * w.quantity / v_list - p_points * s.price * w.quantity / v_list
    FROM unnest(p_skus, p_quantities) WITH ORDINALITY AS w (sku, quantity, n) JOIN plain.skus s USING (sku);
    INSERT INTO plain.lines VALUES (v_no, 9999, 'freight', '', '', 1000, 1, 0, 0, 1000);
    INSERT INTO plain.units
    SELECT v_no, l.line_no, k, l.discount * k / l.quantity - l.discount * (k - 1) / l.quantity, l.points * k / l.quantity - l.points * (k - 1) / l.quantity,
           l.cash / l.quantity, jsonb_build_object('hq', l.discount * 6 / 10 / l.quantity, 'store', l.discount * 4 / 10 / l.quantity)
    FROM plain.lines l, generate_series(1, l.quantity) AS k
    WHERE l.order_no = v_no;
    INSERT INTO plain.tenders VALUES (v_no, 1, 'points', p_points), (v_no, 2, 'wechat', p_due);
    INSERT INTO plain.history VALUES (v_no, 1, 'placed', now());
    INSERT INTO plain.payments VALUES (gen_random_uuid(), v_no, v_no, p_due, 'created');
    INSERT INTO plain.outbox VALUES (gen_random_uuid(), 'order.placed', jsonb_build_object('order_no', v_no, 'birth', p_birth), now());
    WITH want AS (
        SELECT sku, sum(quantity) AS quantity FROM unnest(p_skus, p_quantities) AS w (sku, quantity) GROUP BY sku
    ), locked AS MATERIALIZED (
        SELECT l.sku, w.quantity FROM plain.levels l JOIN want w USING (sku) WHERE l.location = 'W1' ORDER BY l.sku FOR UPDATE OF l
    ), taken AS (
        UPDATE plain.levels l SET reserved = l.reserved + k.quantity FROM locked k
        WHERE l.sku = k.sku AND l.location = 'W1' AND l.on_hand - l.reserved >= k.quantity
        RETURNING l.sku
    )
    SELECT (SELECT count(*) FROM want) - (SELECT count(*) FROM taken) INTO v_short;
    IF v_short > 0 THEN RAISE EXCEPTION 'stock'; END IF;
    INSERT INTO plain.reservations
    SELECT v_no, w.n, w.sku, 'W1', w.quantity, 'held', now() + interval '40 minutes' FROM unnest(p_skus, p_quantities) WITH ORDINALITY AS w (sku, quantity, n);
    INSERT INTO plain.moves (sku, location, order_no, reserved, at)
    SELECT w.sku, 'W1', v_no, w.quantity, now() FROM unnest(p_skus, p_quantities) AS w (sku, quantity);
    RETURN v_no;
END $$;`

const plainCheckoutFill = `
INSERT INTO plain.skus SELECT 'SKU-' || lpad(i::text, 3, '0'), '商品', '餐具', 19900 FROM generate_series(0, %d - 1) AS i;
INSERT INTO plain.levels SELECT sku, 'W1', 100000, 0 FROM plain.skus;
INSERT INTO plain.coupons SELECT 'C' || i, i, 4000, 30000, 'issued', '', now() + interval '1 year' FROM generate_series(1, %d) AS i;
INSERT INTO plain.lots SELECT i, n, 1000, now() + interval '1 year' FROM generate_series(1, %d) AS i, generate_series(1, 3) AS n;
ANALYZE;`

func makePlainCheckout(ctx context.Context, db *pg.Pool, members int) error {
	if _, err := db.Exec(ctx, plainCheckoutTables); err != nil {
		return fmt.Errorf("make the floor: %w", err)
	}
	if _, err := db.Exec(ctx, fmt.Sprintf(plainCheckoutFill, checkoutSKUs, members, members)); err != nil {
		return fmt.Errorf("fill the floor: %w", err)
	}
	return nil
}

const plainCheckoutCall = `SELECT plain.checkout($1, $2, $3, $4, $5, $6, $7)`

// plainPlace calls the floor for buyer i.
func plainPlace(ctx context.Context, db *pg.Pool, i int) error {
	var no string
	err := db.QueryRow(ctx, plainCheckoutCall, fmt.Sprint("r", i), i+1, []string{checkoutSKU(i), checkoutSKU(i*7 + 1)}, []int64{1, 2}, fmt.Sprint("C", i+1), 1_000,
		3*19_900+1_000-4_000-1_000).Scan(&no)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}

// countTrips places one order through a pool that counts the round trips of its transaction.
func countTrips(ctx context.Context, a *app, body []byte) (int, error) {
	var in checkout.PlaceBody
	if err := json.Unmarshal(body, &in); err != nil {
		return 0, fmt.Errorf("read request: %w", err)
	}
	in.Caller, in.Request, in.Quote, in.Actor = "bench", in.RequestID, in.Token, "bench"
	db := &countingDB{Pool: a.db}
	s := checkout.New(db, a.clock, checkout.Modules{
		Orders: a.orders, Carts: a.carts, Coupons: a.coupons, Points: a.points, Payments: a.payments, Ledger: a.ledger, Log: a.activity,
		Bus: a.bus, Graph: a.graph, Secrets: a.secrets, Ring: a.ring, Stock: a.stock, Freezer: contractsOf{a.contracts},
	})
	defer a.payments.Attach(a.checkout)
	_, err := s.Place(ctx, in.Place)
	return db.n, err
}

// countingDB counts the round trips of transactions begun on it.
type countingDB struct {
	*pg.Pool
	n int
}

func (d *countingDB) Begin(ctx context.Context) (pgx.Tx, error) {
	d.n++
	tx, err := d.Pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &countingTx{tx, d}, nil
}

type countingTx struct {
	pgx.Tx
	d *countingDB
}

func (t *countingTx) Commit(ctx context.Context) error {
	t.d.n++
	return t.Tx.Commit(ctx)
}

func (t *countingTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.d.n++
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *countingTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.d.n++
	return t.Tx.Query(ctx, sql, args...)
}

func (t *countingTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.d.n++
	return t.Tx.QueryRow(ctx, sql, args...)
}

func (t *countingTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	t.d.n++
	return t.Tx.SendBatch(ctx, b)
}
