package inventory

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// Available is what can be promised of one owner's goods at one location.
type Available struct {
	SKU       string `json:"sku"`
	Location  string `json:"location"`
	Owner     string `json:"owner"`
	OnHand    int64  `json:"on_hand"`
	Reserved  int64  `json:"reserved"`
	Safety    int64  `json:"safety"`
	Available int64  `json:"available"`
	Pool      string `json:"pool" doc:"empty if the location is in none"`
	// Limit is what the touchpoint may still sell of the pool, over all of its locations; nil without quotas.
	Limit *int64 `json:"limit,omitempty" doc:"what the touchpoint may still sell of the pool, over all of its locations"`
	// Arriving is in transit to the location. It cannot be promised yet.
	Arriving int64 `json:"arriving"`
}

const availableSQL = `
WITH level AS MATERIALIZED (
    SELECT l.*, coalesce(p.pool, '') AS pool
    FROM commerce.stock_levels l
    LEFT JOIN commerce.stock_pool_locations p ON p.location = l.location
    WHERE l.sku = ANY (@skus) AND l.status = 'good' AND (@anywhere OR l.location = ANY (@locations))
),
limited AS MATERIALIZED (
    SELECT k.pool, k.sku,
           greatest(least(CASE WHEN own.kind = 'shared' THEN own.quantity - own.used END, free.quantity - others.quantity), 0)::bigint AS quantity
    FROM (SELECT DISTINCT pool, sku FROM level WHERE pool <> '') k
    LEFT JOIN commerce.stock_quotas own ON own.pool = k.pool AND own.sku = k.sku AND own.touchpoint = @touchpoint
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.quantity - q.used), 0) AS quantity
        FROM commerce.stock_quotas q
        WHERE q.pool = k.pool AND q.sku = k.sku AND q.kind = 'exclusive' AND q.touchpoint <> @touchpoint
    ) others
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(greatest(o.on_hand - o.reserved - o.safety, 0)), 0) AS quantity
        FROM commerce.stock_pool_locations m
        JOIN commerce.stock_levels o ON o.location = m.location AND o.sku = k.sku AND o.status = 'good'
        WHERE m.pool = k.pool
    ) free
    WHERE EXISTS (SELECT FROM commerce.stock_quotas q WHERE q.pool = k.pool AND q.sku = k.sku)
),
arriving AS MATERIALIZED (
    SELECT l.sku, t.to_location, t.to_owner, sum(l.shipped)::bigint AS quantity
    FROM commerce.stock_transfers t
    JOIN commerce.stock_transfer_lines l ON l.transfer = t.id
    WHERE t.state = 'shipped' AND l.sku = ANY (@skus) AND (@anywhere OR t.to_location = ANY (@locations))
    GROUP BY l.sku, t.to_location, t.to_owner
)
SELECT sku, location, owner, coalesce(l.on_hand, 0) AS on_hand, coalesce(l.reserved, 0) AS reserved, coalesce(l.safety, 0) AS safety,
       greatest(coalesce(l.on_hand - l.reserved - l.safety, 0), 0) AS available, coalesce(l.pool, '') AS pool, x.quantity AS "limit",
       coalesce(a.quantity, 0) AS arriving
FROM level l
FULL JOIN (SELECT sku, to_location AS location, to_owner AS owner, quantity FROM arriving) a USING (sku, location, owner)
LEFT JOIN limited x USING (pool, sku)
ORDER BY sku, location, owner`

// Available tells what can be promised now of the SKUs at the locations (none given: anywhere) through the touchpoint. It
// takes no lock: whether it is still there is decided by Reserve.
func (s *Service) Available(ctx context.Context, db pg.DB, skus, locations []string, touchpoint string) ([]Available, error) {
	rows, err := db.Query(ctx, availableSQL, pg.Args{"skus": skus, "locations": locations, "anywhere": len(locations) == 0, "touchpoint": touchpoint})
	if err != nil {
		return nil, fmt.Errorf("read available stock: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Available])
	if err != nil {
		return nil, fmt.Errorf("read available stock: %w", err)
	}
	return out, nil
}
