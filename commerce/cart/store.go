package cart

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const cartColumns = `id, birth, touchpoint, store, version, updated_at`

const openCartsSQL = `
SELECT ` + cartColumns + `
FROM commerce.carts
WHERE birth = ANY(@births) AND state = 'open'
ORDER BY updated_at DESC, birth`

const lockCartsSQL = `
SELECT ` + cartColumns + `
FROM commerce.carts
WHERE birth = ANY(@births) AND state = 'open'
ORDER BY birth
FOR NO KEY UPDATE`

func openCarts(ctx context.Context, db pg.DB, sql string, births []member.Birth) ([]Cart, error) {
	rows, err := db.Query(ctx, sql, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("read carts: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Cart])
	if err != nil {
		return nil, fmt.Errorf("read carts: %w", err)
	}
	return all, nil
}

const touchCartSQL = `
INSERT INTO commerce.carts AS c (id, birth, touchpoint, store, state, updated_at)
VALUES (@id, @birth, @touchpoint, @store, 'open', @now)
ON CONFLICT (birth) WHERE state = 'open' DO UPDATE
SET version = c.version + 1, updated_at = excluded.updated_at, touchpoint = excluded.touchpoint, store = excluded.store
RETURNING ` + cartColumns

// touch opens the birth's cart or counts a change of it, and leaves its row locked.
func touch(ctx context.Context, tx pgx.Tx, in SetLine, now time.Time) (Cart, error) {
	rows, err := tx.Query(ctx, touchCartSQL, pg.Args{
		"id": id.New(), "birth": in.Birth, "touchpoint": string(in.Touchpoint), "store": in.Store, "now": now,
	})
	if err != nil {
		return Cart{}, fmt.Errorf("open cart: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Cart])
	if err != nil {
		return Cart{}, fmt.Errorf("open cart: %w", err)
	}
	return c, nil
}

const lineQuantitySQL = `
SELECT coalesce(sum(quantity), 0)::bigint
FROM commerce.cart_lines
WHERE cart = ANY(@carts) AND sku = @sku`

const putLineSQL = `
INSERT INTO commerce.cart_lines (cart, birth, sku, quantity, added_at)
VALUES (@cart, @birth, @sku, @quantity, @now)
ON CONFLICT ON CONSTRAINT cart_lines_pkey DO UPDATE
SET quantity = excluded.quantity`

const dropLinesSQL = `
WITH gone AS (
    DELETE FROM commerce.cart_lines
    WHERE cart = ANY(@carts) AND sku = @sku
    RETURNING cart
)
UPDATE commerce.carts
SET version = version + 1, updated_at = @now
WHERE id <> @counted AND id IN (SELECT cart FROM gone)`

// queueSet puts the line into the first of the carts, whose change is counted already, and takes it out of the others; all
// are locked.
func queueSet(b *pgx.Batch, carts []id.UUID, in SetLine, now time.Time, before *int64) {
	cart, drop := carts[0], carts[1:]
	b.Queue(lineQuantitySQL, pg.Args{"carts": carts, "sku": in.SKU}).QueryRow(func(row pgx.Row) error { return row.Scan(before) })
	if in.Quantity == 0 {
		drop = carts
	}
	if len(drop) > 0 {
		b.Queue(dropLinesSQL, pg.Args{"carts": drop, "counted": cart, "sku": in.SKU, "now": now})
	}
	if in.Quantity == 0 {
		return
	}
	b.Queue(putLineSQL, pg.Args{"cart": cart, "birth": in.Birth, "sku": in.SKU, "quantity": in.Quantity, "now": now})
}

const linesSQL = `
SELECT sku, least(sum(quantity), 9999)::bigint AS quantity, min(added_at) AS added_at
FROM commerce.cart_lines
WHERE cart = ANY(@carts)
GROUP BY sku
ORDER BY min(added_at), sku`

func linesOf(ctx context.Context, db pg.DB, carts []id.UUID) ([]Line, error) {
	rows, err := db.Query(ctx, linesSQL, pg.Args{"carts": carts})
	if err != nil {
		return nil, fmt.Errorf("read cart lines: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Line])
	if err != nil {
		return nil, fmt.Errorf("read cart lines: %w", err)
	}
	return all, nil
}

const mergeLinesSQL = `
INSERT INTO commerce.cart_lines AS l (cart, birth, sku, quantity, added_at)
SELECT @to, @birth, sku, quantity, added_at
FROM commerce.cart_lines
WHERE cart = @from
ORDER BY sku
ON CONFLICT ON CONSTRAINT cart_lines_pkey DO UPDATE
SET quantity = least(l.quantity + excluded.quantity, 9999)`

const endCartSQL = `
UPDATE commerce.carts
SET state = 'merged', version = version + 1, updated_at = @now
WHERE id = @cart`

const countChangeSQL = `
UPDATE commerce.carts
SET version = version + 1, updated_at = @now
WHERE id = @cart`

func mergeLines(ctx context.Context, tx pgx.Tx, from, to Cart, now time.Time) error {
	var b pgx.Batch
	b.Queue(mergeLinesSQL, pg.Args{"from": from.ID, "to": to.ID, "birth": to.Birth})
	b.Queue(endCartSQL, pg.Args{"cart": from.ID, "now": now})
	b.Queue(countChangeSQL, pg.Args{"cart": to.ID, "now": now})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("merge carts: %w", err)
	}
	return nil
}

const removeLinesSQL = `
WITH mine AS (
    SELECT id
    FROM commerce.carts
    WHERE birth = ANY(@births) AND state = 'open'
    ORDER BY birth
    FOR NO KEY UPDATE
), gone AS (
    DELETE FROM commerce.cart_lines
    WHERE cart IN (SELECT id FROM mine) AND sku = ANY(@skus)
)
UPDATE commerce.carts
SET version = version + 1, updated_at = @now
WHERE id IN (SELECT id FROM mine)`

type idleCart struct {
	Cart
	lines int64
}

const claimIdleSQL = `
UPDATE commerce.carts c
SET reminded = version
WHERE id = ANY(ARRAY(
    SELECT id
    FROM commerce.carts
    WHERE state = 'open' AND reminded < version AND updated_at <= @before
    ORDER BY updated_at
    LIMIT @limit
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING ` + cartColumns + `, (SELECT count(*) FROM commerce.cart_lines l WHERE l.cart = c.id)`

func claimIdle(ctx context.Context, tx pgx.Tx, before time.Time, limit int) ([]idleCart, error) {
	rows, err := tx.Query(ctx, claimIdleSQL, pg.Args{"before": before, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("claim carts: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c idleCart, err error) {
		err = row.Scan(&c.ID, &c.Birth, &c.Touchpoint, &c.Store, &c.Version, &c.UpdatedAt, &c.lines)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim carts: %w", err)
	}
	return all, nil
}
