package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const reservationColumnsCTE = `kind, id, line, sku, location, owner, quantity - consumed - released AS quantity, consumed, state, touchpoint, expires_at`

// lockReservationsSQL locks all reservations of a ref, closed ones too, so that paying and expiring meet here.
const lockReservationsSQL = `
SELECT ` + reservationColumnsCTE + `
FROM commerce.stock_reservations
WHERE kind = @kind AND id = @id
ORDER BY line, sku, location, owner
FOR NO KEY UPDATE`

// claimExpiredSQL takes refs whose hold has run out. Refs that somebody works on are left for the next sweep. A ref is taken
// whole, so that no basket expires by half.
const claimExpiredSQL = `
SELECT ` + reservationColumnsCTE + `
FROM commerce.stock_reservations
WHERE state = 'held' AND expires_at <= @now AND (kind, id) IN (
    SELECT kind, id
    FROM (
        SELECT kind, id
        FROM commerce.stock_reservations
        WHERE state = 'held' AND expires_at <= @now
        ORDER BY expires_at, kind, id
        LIMIT @limit
    ) due
)
ORDER BY kind, id, line, sku, location, owner
FOR NO KEY UPDATE SKIP LOCKED`

const countDueSQL = `
SELECT kind, id, count(*)
FROM commerce.stock_reservations
WHERE state = 'held' AND expires_at <= @now AND (kind, id) IN (SELECT kind, id FROM unnest(@kinds::text[], @ids::text[]) AS t (kind, id))
GROUP BY kind, id`

const findReservationsSQL = `
SELECT ` + reservationColumnsCTE + `
FROM commerce.stock_reservations
WHERE kind = @kind AND id = @id
ORDER BY line, sku, location, owner`

// confirmSQL is the one statement that decides between paying and expiring: it confirms what is still held, unless a line of
// the ref has lost its stock.
const confirmSQL = `
UPDATE commerce.stock_reservations r
SET state = 'confirmed', expires_at = NULL, updated_at = @now
WHERE r.kind = @kind AND r.id = @id AND r.state = 'held' AND NOT EXISTS (
    SELECT
    FROM commerce.stock_reservations gone
    WHERE gone.kind = @kind AND gone.id = @id AND gone.state = 'expired' AND NOT EXISTS (
        SELECT
        FROM commerce.stock_reservations o
        WHERE o.kind = @kind AND o.id = @id AND o.line = gone.line AND o.sku = gone.sku AND o.state NOT IN ('expired', 'released')
    )
)`

type reservationRow struct {
	Kind       string
	ID         string
	Line       int
	SKU        string
	Location   string
	Owner      string
	Quantity   int64
	Consumed   int64
	State      State
	Touchpoint string
	ExpiresAt  *time.Time
}

func (r reservationRow) reservation() Reservation {
	return Reservation{
		Ref: Ref{r.Kind, r.ID}, Line: r.Line, SKU: r.SKU, Location: r.Location, Owner: r.Owner, Quantity: r.Quantity, Consumed: r.Consumed,
		State: r.State, Touchpoint: r.Touchpoint, ExpiresAt: r.ExpiresAt,
	}
}

func collectReservations(rows pgx.Rows, err error) ([]Reservation, error) {
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[reservationRow])
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	out := make([]Reservation, len(found))
	for i, r := range found {
		out[i] = r.reservation()
	}
	return out, nil
}

func lockReservations(ctx context.Context, tx pgx.Tx, ref Ref) ([]Reservation, error) {
	return collectReservations(tx.Query(ctx, lockReservationsSQL, pg.Args{"kind": ref.Kind, "id": ref.ID}))
}

func findReservations(ctx context.Context, db pg.DB, ref Ref) ([]Reservation, error) {
	return collectReservations(db.Query(ctx, findReservationsSQL, pg.Args{"kind": ref.Kind, "id": ref.ID}))
}

// confirm locks the reservations of the ref, confirms those that are held and returns how all of them stand.
func confirm(ctx context.Context, tx pgx.Tx, ref Ref, now time.Time) ([]Reservation, error) {
	key := pg.Args{"kind": ref.Kind, "id": ref.ID}
	var b pgx.Batch
	b.Queue(byKeySQL)
	b.Queue(lockReservationsSQL, key)
	b.Queue(confirmSQL, pg.Args{"kind": ref.Kind, "id": ref.ID, "now": now})
	b.Queue(findReservationsSQL, key)
	b.Queue(asUsualSQL)
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	for range 3 {
		if _, err := results.Exec(); err != nil {
			return nil, fmt.Errorf("confirm reservations: %w", err)
		}
	}
	return collectReservations(results.Query())
}

// claimExpired locks at most limit holds that have run out, of refs that it could lock whole.
func claimExpired(ctx context.Context, tx pgx.Tx, now time.Time, limit int) ([]Reservation, error) {
	found, err := collectReservations(tx.Query(ctx, claimExpiredSQL, pg.Args{"now": now, "limit": limit}))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	claimed := map[Ref]int64{}
	var kinds, ids []string
	for _, r := range found {
		if claimed[r.Ref]++; claimed[r.Ref] == 1 {
			kinds, ids = append(kinds, r.Ref.Kind), append(ids, r.Ref.ID)
		}
	}
	rows, err := tx.Query(ctx, countDueSQL, pg.Args{"now": now, "kinds": kinds, "ids": ids})
	if err != nil {
		return nil, fmt.Errorf("count due reservations: %w", err)
	}
	var ref Ref
	var due int64
	if _, err := pgx.ForEachRow(rows, []any{&ref.Kind, &ref.ID, &due}, func() error {
		if claimed[ref] != due {
			delete(claimed, ref)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count due reservations: %w", err)
	}
	return slices.DeleteFunc(found, func(r Reservation) bool { return claimed[r.Ref] == 0 }), nil
}

// lockPartsSQL locks quotas and levels of reservations that the transaction has locked, in the order of doc.go.
const lockPartsSQL = `
WITH want AS MATERIALIZED (
    SELECT DISTINCT sku, location, owner
    FROM unnest(@skus::text[], @locations::text[], @owners::text[]) AS t (sku, location, owner)
    ORDER BY sku, location, owner
),
quota AS MATERIALIZED (
    SELECT k.sku
    FROM (SELECT DISTINCT p.pool, w.sku FROM want w JOIN commerce.stock_pool_locations p USING (location) ORDER BY p.pool, w.sku) k
    CROSS JOIN LATERAL (
        SELECT q.sku
        FROM commerce.stock_quotas q
        WHERE q.pool = k.pool AND q.sku = k.sku
        ORDER BY q.touchpoint
        FOR NO KEY UPDATE
    ) q
),
level AS MATERIALIZED (
    SELECT w.sku
    FROM want w
    CROSS JOIN LATERAL (
        SELECT l.sku
        FROM commerce.stock_levels l
        WHERE l.sku = w.sku AND l.location = w.location AND l.owner = w.owner AND l.status = 'good'
          AND (SELECT count(*) FROM quota) >= 0
        FOR NO KEY UPDATE
    ) l
)
SELECT count(*)
FROM level`

// closeSQL ends parts of reservations: what is consumed leaves the shelf, what is released or expires goes back to sale and
// to its quota. It returns, per SKU and location, what can be promised now and before.
const closeSQL = `
WITH part AS MATERIALIZED (
    SELECT *
    FROM unnest(@kinds::text[], @ids::text[], @lines::int[], @skus::text[], @locations::text[], @owners::text[], @quantities::bigint[])
         AS t (kind, id, line, sku, location, owner, quantity)
),
before AS MATERIALIZED (
    SELECT f.sku, f.location, sum(greatest(l.on_hand - l.reserved - l.safety, 0))::bigint AS free
    FROM (SELECT DISTINCT sku, location FROM part) f
    JOIN commerce.stock_levels l ON l.sku = f.sku AND l.location = f.location AND l.status = 'good'
    GROUP BY f.sku, f.location
),
closed AS (
    UPDATE commerce.stock_reservations r
    SET consumed = r.consumed + CASE WHEN @state = 'consumed' THEN p.quantity ELSE 0 END,
        released = r.released + CASE WHEN @state = 'consumed' THEN 0 ELSE p.quantity END,
        quota = CASE WHEN @state = 'consumed' THEN r.quota ELSE r.quota - least(p.quantity, r.quota) END,
        state = CASE WHEN r.quantity - r.consumed - r.released > p.quantity THEN r.state
                     WHEN r.consumed > 0 AND @state = 'released' THEN 'consumed'
                     ELSE @state END,
        updated_at = @now
    FROM part p
    WHERE r.kind = p.kind AND r.id = p.id AND r.line = p.line AND r.sku = p.sku AND r.location = p.location AND r.owner = p.owner
      AND r.quantity - r.consumed - r.released >= p.quantity
    RETURNING r.kind, r.id, r.line, r.sku, r.location, r.owner, r.touchpoint, p.quantity
),
refund AS MATERIALIZED (
    SELECT m.pool, r.sku, r.touchpoint, sum(least(p.quantity, r.quota)) AS quota
    FROM part p
    JOIN commerce.stock_reservations r ON r.kind = p.kind AND r.id = p.id AND r.line = p.line AND r.sku = p.sku AND r.location = p.location
                                      AND r.owner = p.owner
    JOIN commerce.stock_pool_locations m ON m.location = p.location
    WHERE @state <> 'consumed' AND r.quota > 0
    GROUP BY m.pool, r.sku, r.touchpoint
),
refunded AS (
    UPDATE commerce.stock_quotas q
    SET used = greatest(q.used - f.quota, 0), updated_at = @now
    FROM refund f
    WHERE q.pool = f.pool AND q.sku = f.sku AND q.touchpoint = f.touchpoint
    RETURNING 1
),
moved AS (
    INSERT INTO commerce.stock_moves (sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, at)
    SELECT sku, location, owner, 'good', @reason, kind, id, line, CASE WHEN @state = 'consumed' THEN -quantity ELSE 0 END, -quantity, @now
    FROM closed
    RETURNING 1
),
lowered AS (
    UPDATE commerce.stock_levels l
    SET reserved = l.reserved - c.quantity, on_hand = l.on_hand - CASE WHEN @state = 'consumed' THEN c.quantity ELSE 0 END, updated_at = @now
    FROM (SELECT sku, location, owner, sum(quantity) AS quantity FROM closed GROUP BY sku, location, owner) c
    WHERE l.sku = c.sku AND l.location = c.location AND l.owner = c.owner AND l.status = 'good'
    RETURNING 1
)
SELECT b.sku, b.location, b.free, (SELECT count(*) FROM closed) AS closed, b.free + CASE WHEN @state = 'consumed' THEN 0 ELSE coalesce(sum(c.quantity), 0)::bigint END AS now
FROM before b
LEFT JOIN closed c USING (sku, location)
GROUP BY b.sku, b.location, b.free
ORDER BY b.sku, b.location`

// balance is what could be promised of a SKU at a location before a change, and after it.
type balance struct {
	SKU      string
	Location string
	Free     int64
	Closed   int64
	Now      int64
}

// closeParts ends parts of reservations that the transaction has locked; state is consumed, released or expired.
func closeParts(ctx context.Context, tx pgx.Tx, parts []Reservation, state State, reason Reason, now time.Time) ([]balance, error) {
	n := len(parts)
	kinds, ids, skus, locations, owners := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	lines, quantities := make([]int, n), make([]int64, n)
	for i, p := range parts {
		kinds[i], ids[i], lines[i], skus[i], locations[i], owners[i], quantities[i] = p.Ref.Kind, p.Ref.ID, p.Line, p.SKU, p.Location, p.Owner, p.Quantity
	}
	var b pgx.Batch
	b.Queue(byKeySQL)
	b.Queue(lockPartsSQL, pg.Args{"skus": skus, "locations": locations, "owners": owners})
	b.Queue(closeSQL, pg.Args{
		"kinds": kinds, "ids": ids, "lines": lines, "skus": skus, "locations": locations, "owners": owners, "quantities": quantities,
		"state": string(state), "reason": string(reason), "now": now,
	})
	b.Queue(asUsualSQL)
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, fmt.Errorf("lock stock: %w", err)
		}
	}
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("close reservations: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[balance])
	if err != nil {
		return nil, fmt.Errorf("close reservations: %w", err)
	}
	if len(out) == 0 || out[0].Closed != int64(n) {
		return nil, fmt.Errorf("close reservations: %d parts were not as they had been locked", n)
	}
	return out, nil
}
