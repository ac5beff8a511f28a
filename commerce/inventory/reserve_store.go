package inventory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// lockWantedSQL takes the locks of a reservation in the order of doc.go: reservations of the same refs, quotas, levels. It
// is a statement of its own, so that the next one sees everything that those whom it waited for have committed. It returns
// the SKU that was waited for longest. The waiting is the database's, so this clock is too.
const lockWantedSQL = `
WITH want AS MATERIALIZED (
    SELECT DISTINCT sku, location
    FROM unnest(@skus::text[], @locations::text[]) AS t (sku, location)
    ORDER BY sku, location
),
kept AS MATERIALIZED (
    SELECT k.id
    FROM (SELECT DISTINCT kind, id FROM unnest(@kinds::text[], @ids::text[]) AS t (kind, id) ORDER BY kind, id) k
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM commerce.stock_reservations r
        WHERE r.kind = k.kind AND r.id = k.id
        ORDER BY r.line, r.sku, r.location, r.owner
        FOR NO KEY UPDATE
    ) r
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
    SELECT w.sku, clock_timestamp() AS at
    FROM want w
    CROSS JOIN LATERAL (
        SELECT l.sku
        FROM commerce.stock_levels l
        WHERE l.sku = w.sku AND l.location = w.location AND l.status = 'good'
          AND (SELECT count(*) FROM kept) >= 0 AND (SELECT count(*) FROM quota) >= 0
        ORDER BY l.owner
        FOR NO KEY UPDATE
    ) l
)
SELECT sku, (extract(epoch FROM waited) * 1000000)::bigint AS waited
FROM (SELECT sku, at - lag(at, 1, statement_timestamp()) OVER (ORDER BY at) AS waited FROM level) w
ORDER BY waited DESC
LIMIT 1`

// reserveSQL decides and reserves. Wants and levels are laid on a line each, per (sku, location) and owner asked for; where
// they overlap is what a want takes from a level. With @whole nothing is taken unless everything fits; without, each want
// that fits its running sum is taken, for requests that have nothing to do with each other.
//
// Levels change by what was inserted, not by what was wanted: a key that is reserved already changes nothing.
const reserveSQL = `
WITH want AS MATERIALIZED (
    SELECT *
    FROM unnest(@kinds::text[], @ids::text[], @lines::int[], @skus::text[], @locations::text[], @owners::text[], @quantities::bigint[],
                @touchpoints::text[], @expiries::timestamptz[])
         WITH ORDINALITY AS t (kind, id, line, sku, location, owner, quantity, touchpoint, expires_at, n)
),
held AS MATERIALIZED (
    SELECT w.n, w.expires_at, r.kind, r.id, r.line, r.sku, r.location, r.owner, r.quantity - r.consumed - r.released AS quantity, r.state
    FROM want w
    CROSS JOIN LATERAL (
        SELECT *
        FROM commerce.stock_reservations r
        WHERE r.kind = w.kind AND r.id = w.id AND r.line = w.line AND r.sku = w.sku AND r.location = w.location
          AND (w.owner = '' OR r.owner = w.owner) AND r.state IN ('held', 'confirmed')
        OFFSET 0
    ) r
),
fresh AS MATERIALIZED (
    SELECT w.*
    FROM want w
    WHERE NOT EXISTS (SELECT FROM held h WHERE h.n = w.n)
),
level AS MATERIALIZED (
    SELECT l.sku, l.location, l.owner, greatest(l.on_hand - l.reserved - l.safety, 0) AS free
    FROM (SELECT DISTINCT sku, location FROM fresh) f
    CROSS JOIN LATERAL (
        SELECT *
        FROM commerce.stock_levels l
        WHERE l.sku = f.sku AND l.location = f.location AND l.status = 'good'
        OFFSET 0
    ) l
),
named AS MATERIALIZED (
    SELECT sku, location, owner, sum(quantity)::bigint AS quantity
    FROM fresh
    WHERE owner <> ''
    GROUP BY sku, location, owner
),
supply AS MATERIALIZED (
    SELECT l.sku, l.location, l.owner AS asked, l.owner, 0::bigint AS low, l.free AS high
    FROM level l
    JOIN named m USING (sku, location, owner)
    UNION ALL
    -- Who takes any owner's goods gets what those who name one leave.
    SELECT sku, location, '', owner, (sum(rest) OVER w - rest)::bigint, (sum(rest) OVER w)::bigint
    FROM (
        SELECT l.sku, l.location, l.owner, greatest(l.free - coalesce(m.quantity, 0), 0) AS rest
        FROM level l
        LEFT JOIN named m USING (sku, location, owner)
    ) r
    WINDOW w AS (PARTITION BY sku, location ORDER BY owner)
),
judged AS MATERIALIZED (
    SELECT f.*, (sum(f.quantity) OVER w - f.quantity)::bigint AS low, (sum(f.quantity) OVER w)::bigint AS high,
           (sum(f.quantity) OVER (PARTITION BY f.sku, f.location, f.owner))::bigint AS wanted, coalesce(s.available, 0) AS available
    FROM fresh f
    LEFT JOIN (SELECT sku, location, asked, max(high) AS available FROM supply GROUP BY sku, location, asked) s
           ON s.sku = f.sku AND s.location = f.location AND s.asked = f.owner
    WINDOW w AS (PARTITION BY f.sku, f.location, f.owner ORDER BY f.n)
),
pooled AS MATERIALIZED (
    SELECT p.pool, f.sku, sum(f.quantity)::bigint AS wanted
    FROM fresh f
    JOIN commerce.stock_pool_locations p ON p.location = f.location
    WHERE EXISTS (SELECT FROM commerce.stock_quotas q WHERE q.pool = p.pool AND q.sku = f.sku)
    GROUP BY p.pool, f.sku
),
limited AS MATERIALIZED (
    SELECT p.pool, p.sku, p.wanted, least(p.wanted, coalesce(own.quantity - own.used, 0)) AS drawn,
           greatest(least(CASE WHEN own.kind = 'shared' THEN own.quantity - own.used END, free.quantity - others.quantity), 0)::bigint AS available
    FROM pooled p
    LEFT JOIN commerce.stock_quotas own ON own.pool = p.pool AND own.sku = p.sku AND own.touchpoint = @touchpoint
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.quantity - q.used), 0) AS quantity
        FROM commerce.stock_quotas q
        WHERE q.pool = p.pool AND q.sku = p.sku AND q.kind = 'exclusive' AND q.touchpoint <> @touchpoint
    ) others
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(greatest(l.on_hand - l.reserved - l.safety, 0)), 0) AS quantity
        FROM commerce.stock_pool_locations m
        JOIN commerce.stock_levels l ON l.location = m.location AND l.sku = p.sku AND l.status = 'good'
        WHERE m.pool = p.pool
    ) free
),
part AS MATERIALIZED (
    SELECT d.n, d.kind, d.id, d.line, d.sku, d.location, s.owner, least(d.high, s.high) - greatest(d.low, s.low) AS quantity, d.touchpoint,
           d.expires_at
    FROM judged d
    JOIN supply s ON s.sku = d.sku AND s.location = d.location AND s.asked = d.owner
    WHERE d.high <= d.available AND least(d.high, s.high) > greatest(d.low, s.low)
      AND CASE WHEN @whole
               THEN NOT EXISTS (SELECT FROM judged j WHERE j.high > j.available) AND NOT EXISTS (SELECT FROM limited x WHERE x.wanted > x.available)
               -- Quotas are judged per basket.
               ELSE NOT EXISTS (SELECT FROM pooled x WHERE x.sku = d.sku)
          END
),
drawn AS MATERIALIZED (
    SELECT p.n, p.owner, x.pool, p.sku,
           greatest(least(sum(p.quantity) OVER w, x.drawn) - (sum(p.quantity) OVER w - p.quantity), 0)::bigint AS quota
    FROM part p
    JOIN commerce.stock_pool_locations m ON m.location = p.location
    JOIN limited x ON x.pool = m.pool AND x.sku = p.sku
    WINDOW w AS (PARTITION BY x.pool, p.sku ORDER BY p.n, p.owner)
),
taken AS (
    INSERT INTO commerce.stock_reservations AS r
           (kind, id, line, sku, location, owner, quantity, state, touchpoint, quota, expires_at, created_at, updated_at)
    SELECT p.kind, p.id, p.line, p.sku, p.location, p.owner, p.quantity, CASE WHEN p.expires_at IS NULL THEN 'confirmed' ELSE 'held' END,
           p.touchpoint, coalesce(d.quota, 0), p.expires_at, @now, @now
    FROM part p
    LEFT JOIN drawn d ON d.n = p.n AND d.owner = p.owner
    ON CONFLICT ON CONSTRAINT stock_reservations_pkey DO UPDATE
    SET quantity = r.quantity + excluded.quantity, state = excluded.state, touchpoint = excluded.touchpoint, quota = r.quota + excluded.quota,
        expires_at = excluded.expires_at, updated_at = excluded.updated_at
    WHERE r.state NOT IN ('held', 'confirmed')
    RETURNING r.kind, r.id, r.line, r.sku, r.location, r.owner, r.quantity - r.consumed - r.released AS quantity, r.state
),
moved AS (
    INSERT INTO commerce.stock_moves (sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, at)
    SELECT sku, location, owner, 'good', 'reserve', kind, id, line, 0, quantity, @now
    FROM taken
    RETURNING 1
),
raised AS (
    UPDATE commerce.stock_levels l
    SET reserved = l.reserved + t.quantity, updated_at = @now
    FROM (SELECT sku, location, owner, sum(quantity) AS quantity FROM taken GROUP BY sku, location, owner) t
    WHERE l.sku = t.sku AND l.location = t.location AND l.owner = t.owner AND l.status = 'good'
    RETURNING 1
),
charged AS (
    UPDATE commerce.stock_quotas q
    SET used = q.used + d.quota, updated_at = @now
    FROM (SELECT pool, sku, sum(quota) AS quota FROM drawn GROUP BY pool, sku HAVING sum(quota) > 0) d
    WHERE q.pool = d.pool AND q.sku = d.sku AND q.touchpoint = @touchpoint
    RETURNING 1
),
-- Who reserved ahead and comes again keeps it until the new time.
extended AS (
    UPDATE commerce.stock_reservations r
    SET expires_at = h.expires_at, state = CASE WHEN h.expires_at IS NULL THEN 'confirmed' ELSE r.state END, updated_at = @now
    FROM held h
    WHERE r.kind = h.kind AND r.id = h.id AND r.line = h.line AND r.sku = h.sku AND r.location = h.location AND r.owner = h.owner AND r.state = 'held'
    RETURNING 1
)
SELECT 'held' AS outcome, n::int, sku, location, owner, quantity, state, 0::bigint AS wanted, 0::bigint AS available
FROM held
UNION ALL
SELECT 'taken', w.n::int, t.sku, t.location, t.owner, t.quantity, t.state, 0, 0
FROM taken t
JOIN want w ON w.kind = t.kind AND w.id = t.id AND w.line = t.line AND w.sku = t.sku AND w.location = t.location AND w.owner IN ('', t.owner)
UNION ALL
SELECT 'short', n::int, sku, location, owner, quantity, '', wanted, available
FROM judged
WHERE high > available
UNION ALL
SELECT 'quota', 0, sku, pool, '', 0, '', wanted, available
FROM limited
WHERE wanted > available OR NOT @whole
UNION ALL
SELECT 'left', 0, l.sku, l.location, '', 0, '', 0, (l.free - coalesce(t.quantity, 0))::bigint
FROM (SELECT sku, location, sum(free) AS free FROM level GROUP BY sku, location) l
LEFT JOIN (SELECT sku, location, sum(quantity) AS quantity FROM taken GROUP BY sku, location) t USING (sku, location)
ORDER BY 1, 2, 5`

// wish is a Want of one of several baskets.
type wish struct {
	Want
	ref        Ref
	touchpoint string
	expires    time.Time
}

// answer is a row of reserveSQL.
type answer struct {
	Outcome   string
	N         int
	SKU       string
	Location  string
	Owner     string
	Quantity  int64
	State     State
	Wanted    int64
	Available int64
}

// wait is how long one SKU kept a reservation waiting.
type wait struct {
	sku  string
	long time.Duration
}

// take reserves what the wishes ask for, in one round trip.
func take(ctx context.Context, tx pgx.Tx, wishes []wish, whole bool, touchpoint string, now time.Time) ([]answer, wait, error) {
	n := len(wishes)
	kinds, ids, skus, locations, owners, touchpoints := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	lines, quantities, expiries := make([]int, n), make([]int64, n), make([]*time.Time, n)
	for i, w := range wishes {
		kinds[i], ids[i], lines[i], skus[i], locations[i], owners[i] = w.ref.Kind, w.ref.ID, w.Line, w.SKU, w.Location, w.Owner
		quantities[i], touchpoints[i] = w.Quantity, w.touchpoint
		if !w.expires.IsZero() {
			expiries[i] = &w.expires
		}
	}
	var b pgx.Batch
	b.Queue(lockWantedSQL, pg.Args{"kinds": kinds, "ids": ids, "skus": skus, "locations": locations})
	b.Queue(reserveSQL, pg.Args{
		"kinds": kinds, "ids": ids, "lines": lines, "skus": skus, "locations": locations, "owners": owners, "quantities": quantities,
		"touchpoints": touchpoints, "expiries": expiries, "touchpoint": touchpoint, "whole": whole, "now": now,
	})
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	var waited wait
	var micros int64
	err := results.QueryRow().Scan(&waited.sku, &micros)
	if err != nil && !pg.NoRows(err) {
		return nil, wait{}, fmt.Errorf("lock stock: %w", err)
	}
	waited.long = time.Duration(micros) * time.Microsecond
	rows, err := results.Query()
	if err != nil {
		return nil, wait{}, reserveError(err)
	}
	answers, err := pgx.CollectRows(rows, pgx.RowToStructByName[answer])
	if err != nil {
		return nil, wait{}, reserveError(err)
	}
	if err := results.Close(); err != nil {
		return nil, wait{}, reserveError(err)
	}
	return answers, waited, nil
}

// reserveError: a level that was made after the locks were taken is used without one; what another transaction took of it
// meanwhile breaks a check, and the transaction is run again.
func reserveError(err error) error {
	switch pg.Constraint(err) {
	case "stock_levels_reserved_is_there", "stock_quotas_used":
		return fmt.Errorf("reserve stock: %w", fmt.Errorf("%w: %w", pg.ErrRetry, err))
	}
	return fmt.Errorf("reserve stock: %w", err)
}
