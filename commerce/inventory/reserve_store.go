package inventory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/pg"
)

// These statements read by key, whatever the statistics of a young table say, and planning them anew for each basket would
// cost more than running them. What comes after them in the transaction is planned as usual.
const (
	byKeySQL   = `SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)`
	asUsualSQL = `SELECT set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true)`
)

// The locks of a reservation, in the order of doc.go, each statement sent behind the one before in the same round trip. Each
// sees what everybody whom those before it waited for has committed.
const (
	lockKeysSQL = `
SELECT 1
FROM (SELECT DISTINCT kind, id FROM unnest(@kinds::text[], @ids::text[]) AS t (kind, id) ORDER BY kind, id) k
CROSS JOIN LATERAL (
    SELECT r.id
    FROM commerce.stock_reservations r
    WHERE r.kind = k.kind AND r.id = k.id
    ORDER BY r.line, r.sku, r.location, r.owner
    FOR NO KEY UPDATE
) r`

	lockQuotasSQL = `
SELECT k.pool, k.sku, k.location, q.touchpoint, q.kind, q.rest
FROM (
    SELECT DISTINCT p.pool, w.sku, w.location
    FROM unnest(@skus::text[], @locations::text[]) AS w (sku, location)
    JOIN commerce.stock_pool_locations p USING (location)
    ORDER BY p.pool, w.sku, w.location
) k
CROSS JOIN LATERAL (
    SELECT q.touchpoint, q.kind, q.quantity - q.used AS rest
    FROM commerce.stock_quotas q
    WHERE q.pool = k.pool AND q.sku = k.sku
    ORDER BY q.touchpoint
    FOR NO KEY UPDATE
) q`

	// The waiting is the database's, so this clock is too.
	lockShelvesSQL = `
SELECT w.sku, w.location, l.owner, greatest(l.on_hand - l.reserved - l.safety, 0) AS free,
       (extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000)::bigint AS waited
FROM (SELECT DISTINCT sku, location FROM unnest(@skus::text[], @locations::text[]) AS t (sku, location) ORDER BY sku, location) w
CROSS JOIN LATERAL (
    SELECT l.owner, l.on_hand, l.reserved, l.safety
    FROM commerce.stock_levels l
    WHERE l.sku = w.sku AND l.location = w.location AND l.status = 'good'
    ORDER BY l.owner
    FOR NO KEY UPDATE
) l`

	findOpenSQL = `
SELECT r.*
FROM (SELECT DISTINCT kind, id FROM unnest(@kinds::text[], @ids::text[]) AS t (kind, id)) k
CROSS JOIN LATERAL (
    SELECT ` + reservationColumnsCTE + `
    FROM commerce.stock_reservations r
    WHERE r.kind = k.kind AND r.id = k.id
    OFFSET 0 -- by key, never by state
) r
WHERE r.state IN ('held', 'confirmed')`
)

const poolFreeSQL = `
SELECT m.pool, l.sku, sum(greatest(l.on_hand - l.reserved - l.safety, 0))::bigint AS free
FROM unnest(@pools::text[], @skus::text[]) AS k (pool, sku)
JOIN commerce.stock_pool_locations m ON m.pool = k.pool
JOIN commerce.stock_levels l ON l.location = m.location AND l.sku = k.sku AND l.status = 'good'
GROUP BY m.pool, l.sku`

// grantSQL writes what was decided. A key that was taken meanwhile is not in what it returns.
const grantSQL = `
WITH part AS MATERIALIZED (
    SELECT *
    FROM unnest(@kinds::text[], @ids::text[], @lines::int[], @skus::text[], @locations::text[], @owners::text[], @quantities::bigint[],
                @quotas::bigint[], @touchpoints::text[], @expiries::timestamptz[])
         AS t (kind, id, line, sku, location, owner, quantity, quota, touchpoint, expires_at)
),
moved AS (
    INSERT INTO commerce.stock_moves (sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, at)
    SELECT sku, location, owner, 'good', 'reserve', kind, id, line, 0, quantity, @now
    FROM part
),
raised AS (
    UPDATE commerce.stock_levels l
    SET reserved = l.reserved + t.quantity, updated_at = @now
    FROM (SELECT sku, location, owner, sum(quantity) AS quantity FROM part GROUP BY sku, location, owner) t
    WHERE l.sku = t.sku AND l.location = t.location AND l.owner = t.owner AND l.status = 'good'
)
INSERT INTO commerce.stock_reservations AS r
       (kind, id, line, sku, location, owner, quantity, state, touchpoint, quota, expires_at, created_at, updated_at)
SELECT kind, id, line, sku, location, owner, quantity, CASE WHEN expires_at IS NULL THEN 'confirmed' ELSE 'held' END, touchpoint, quota,
       expires_at, @now, @now
FROM part
ON CONFLICT ON CONSTRAINT stock_reservations_pkey DO UPDATE
SET quantity = r.quantity + excluded.quantity, state = excluded.state, touchpoint = excluded.touchpoint, quota = r.quota + excluded.quota,
    expires_at = excluded.expires_at, updated_at = excluded.updated_at
WHERE r.state NOT IN ('held', 'confirmed')`

const chargeSQL = `
UPDATE commerce.stock_quotas q
SET used = q.used + t.quantity, updated_at = @now
FROM unnest(@pools::text[], @skus::text[], @quantities::bigint[]) AS t (pool, sku, quantity)
WHERE q.pool = t.pool AND q.sku = t.sku AND q.touchpoint = @touchpoint`

// extendSQL: who reserved ahead and comes again keeps it until the new time.
const extendSQL = `
UPDATE commerce.stock_reservations r
SET expires_at = t.expires_at, state = CASE WHEN t.expires_at IS NULL THEN 'confirmed' ELSE 'held' END, updated_at = @now
FROM unnest(@kinds::text[], @ids::text[], @lines::int[], @skus::text[], @locations::text[], @owners::text[], @expiries::timestamptz[])
     AS t (kind, id, line, sku, location, owner, expires_at)
WHERE r.kind = t.kind AND r.id = t.id AND r.line = t.line AND r.sku = t.sku AND r.location = t.location AND r.owner = t.owner`

// wait is how long one SKU kept a reservation waiting.
type wait struct {
	sku  string
	long time.Duration
}

// take reserves what the wishes ask for, all or each (see decide), in two round trips: one locks and reads, one writes.
func take(ctx context.Context, tx pgx.Tx, wishes []wish, whole bool, touchpoint string, now time.Time) (decision, wait, error) {
	shelves, before, quotas, err := lockWanted(ctx, tx, wishes)
	if err != nil {
		return decision{}, wait{}, err
	}
	d := decide(wishes, shelves, before, quotas, whole, touchpoint)
	if whole && (len(d.short) > 0 || len(d.overQuota) > 0) {
		if _, err := tx.Exec(ctx, asUsualSQL); err != nil {
			return decision{}, wait{}, fmt.Errorf("plan as usual: %w", err)
		}
		return d, longest(shelves), nil
	}
	return d, longest(shelves), grant(ctx, tx, wishes, d, touchpoint, now)
}

// longest finds the SKU that was waited for longest: locks are taken one after the other.
func longest(shelves []shelf) wait {
	var w wait
	var last int64
	for _, s := range shelves {
		if d := time.Duration(s.Waited-last) * time.Microsecond; d > w.long {
			w = wait{s.SKU, d}
		}
		last = s.Waited
	}
	return w
}

func lockWanted(ctx context.Context, tx pgx.Tx, wishes []wish) ([]shelf, []Reservation, []quota, error) {
	n := len(wishes)
	kinds, ids, skus, locations := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, w := range wishes {
		kinds[i], ids[i], skus[i], locations[i] = w.ref.Kind, w.ref.ID, w.SKU, w.Location
	}
	keys, places := pg.Args{"kinds": kinds, "ids": ids}, pg.Args{"skus": skus, "locations": locations}
	var b pgx.Batch
	b.Queue(byKeySQL)
	b.Queue(lockKeysSQL, keys)
	b.Queue(lockQuotasSQL, places)
	b.Queue(lockShelvesSQL, places)
	b.Queue(findOpenSQL, keys)
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, nil, nil, fmt.Errorf("lock reservations: %w", err)
		}
	}
	quotas, err := collect[quota](results.Query())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("lock quotas: %w", err)
	}
	shelves, err := collect[shelf](results.Query())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("lock stock: %w", err)
	}
	before, err := collectReservations(results.Query())
	if err != nil {
		return nil, nil, nil, err
	}
	if err := results.Close(); err != nil {
		return nil, nil, nil, fmt.Errorf("lock stock: %w", err)
	}
	return shelves, before, quotas, fillPools(ctx, tx, quotas)
}

func collect[T any](rows pgx.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

// fillPools reads what pools with quotas can promise. The quotas are locked, so nobody else draws on it meanwhile.
func fillPools(ctx context.Context, tx pgx.Tx, quotas []quota) error {
	if len(quotas) == 0 {
		return nil
	}
	seen := map[charge]int64{}
	var pools, skus []string
	for _, q := range quotas {
		if _, ok := seen[charge{q.Pool, q.SKU}]; !ok {
			seen[charge{q.Pool, q.SKU}] = 0
			pools, skus = append(pools, q.Pool), append(skus, q.SKU)
		}
	}
	rows, err := tx.Query(ctx, poolFreeSQL, pg.Args{"pools": pools, "skus": skus})
	if err != nil {
		return fmt.Errorf("read pools: %w", err)
	}
	var k charge
	var free int64
	if _, err := pgx.ForEachRow(rows, []any{&k.pool, &k.sku, &free}, func() error { seen[k] = free; return nil }); err != nil {
		return fmt.Errorf("read pools: %w", err)
	}
	for i, q := range quotas {
		quotas[i].Free = seen[charge{q.Pool, q.SKU}]
	}
	return nil
}

// grant writes a decision in one round trip.
func grant(ctx context.Context, tx pgx.Tx, wishes []wish, d decision, touchpoint string, now time.Time) error {
	var b pgx.Batch
	if n := len(d.parts); n > 0 {
		kinds, ids, skus, locations, owners, touchpoints := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		lines, quantities, quotas, expiries := make([]int, n), make([]int64, n), make([]int64, n), make([]*time.Time, n)
		for i, p := range d.parts {
			w := wishes[p.wish]
			kinds[i], ids[i], lines[i], skus[i], locations[i], owners[i] = w.ref.Kind, w.ref.ID, w.Line, w.SKU, w.Location, p.owner
			quantities[i], quotas[i], touchpoints[i], expiries[i] = p.quantity, p.quota, w.touchpoint, expiry(w.expires)
		}
		b.Queue(grantSQL, pg.Args{
			"kinds": kinds, "ids": ids, "lines": lines, "skus": skus, "locations": locations, "owners": owners, "quantities": quantities,
			"quotas": quotas, "touchpoints": touchpoints, "expiries": expiries, "now": now,
		}).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != int64(n) {
				return fmt.Errorf("%w: a key was reserved meanwhile", pg.ErrRetry)
			}
			return nil
		})
	}
	if len(d.charges) > 0 {
		var pools, skus []string
		var quantities []int64
		for k, n := range d.charges {
			pools, skus, quantities = append(pools, k.pool), append(skus, k.sku), append(quantities, n)
		}
		b.Queue(chargeSQL, pg.Args{"pools": pools, "skus": skus, "quantities": quantities, "touchpoint": touchpoint, "now": now})
	}
	queueExtensions(&b, wishes, d, now)
	b.Queue(asUsualSQL)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		switch pg.Constraint(err) {
		case "stock_levels_reserved_is_there", "stock_quotas_used":
			// A level was made after the locks were taken, and somebody else took of it meanwhile.
			return fmt.Errorf("reserve stock: %w: %w", pg.ErrRetry, err)
		}
		return fmt.Errorf("reserve stock: %w", err)
	}
	return nil
}

func queueExtensions(b *pgx.Batch, wishes []wish, d decision, now time.Time) {
	var kinds, ids, skus, locations, owners []string
	var lines []int
	var expiries []*time.Time
	for i, held := range d.held {
		for _, r := range held {
			if r.State != StateHeld {
				continue
			}
			kinds, ids, lines, skus = append(kinds, r.Ref.Kind), append(ids, r.Ref.ID), append(lines, r.Line), append(skus, r.SKU)
			locations, owners, expiries = append(locations, r.Location), append(owners, r.Owner), append(expiries, expiry(wishes[i].expires))
		}
	}
	if len(ids) > 0 {
		b.Queue(extendSQL, pg.Args{
			"kinds": kinds, "ids": ids, "lines": lines, "skus": skus, "locations": locations, "owners": owners, "expiries": expiries, "now": now,
		})
	}
}

// taken is what wish i of the decision has now.
func (d decision) taken(i int, w wish) []Reservation {
	var out []Reservation
	for _, r := range d.held[i] {
		if r.State == StateHeld {
			if r.ExpiresAt = expiry(w.expires); r.ExpiresAt == nil {
				r.State = StateConfirmed
			}
		}
		out = append(out, r)
	}
	for _, p := range d.parts {
		if p.wish != i {
			continue
		}
		r := Reservation{
			Ref: w.ref, Line: w.Line, SKU: w.SKU, Location: w.Location, Owner: p.owner, Quantity: p.quantity, State: StateHeld,
			Touchpoint: w.touchpoint, ExpiresAt: expiry(w.expires),
		}
		if r.ExpiresAt == nil {
			r.State = StateConfirmed
		}
		out = append(out, r)
	}
	return out
}

// soldOut lists where the last unit was taken.
func (d decision) soldOut(wishes []wish) []SoldOut {
	var out []SoldOut
	seen := map[[2]string]bool{}
	for _, p := range d.parts {
		w := wishes[p.wish]
		at := [2]string{w.SKU, w.Location}
		if !seen[at] && d.left[at] <= 0 {
			out = append(out, SoldOut{SKU: w.SKU, Location: w.Location})
		}
		seen[at] = true
	}
	return out
}
