package inventory

import (
	"context"
	"fmt"

	"github.com/lianke/lianke/internal/pg"
)

// Report says whether the books of stock agree: levels with the sum of their moves, what is reserved with the open
// reservations, and costs with what their owners have, on shelves and in transit.
type Report struct {
	Levels       int64 `json:"levels"`
	OnHand       int64 `json:"on_hand"`
	Reserved     int64 `json:"reserved"`
	OffMoves     int64 `json:"off_moves" doc:"levels that are not the sum of their moves"`
	OffReserved  int64 `json:"off_reserved" doc:"levels whose reserved is not the sum of open reservations"`
	OffCosts     int64 `json:"off_costs" doc:"costs whose quantity is not what the owner has"`
	OffCostMoves int64 `json:"off_cost_moves" doc:"costs whose value is not the sum of their moves"`
}

// OK reports that nothing is off.
func (r Report) OK() bool {
	return r.OffMoves == 0 && r.OffReserved == 0 && r.OffCosts == 0 && r.OffCostMoves == 0
}

const checkSQL = `
WITH moves AS MATERIALIZED (
    SELECT sku, location, owner, status, sum(d_on_hand) AS on_hand, sum(d_reserved) AS reserved, sum(d_cost_fen) AS cost
    FROM commerce.stock_moves
    GROUP BY sku, location, owner, status
),
promised AS (
    SELECT sku, location, owner, 'good' AS status, sum(quantity - consumed - released) AS reserved
    FROM commerce.stock_reservations
    WHERE state IN ('held', 'confirmed')
    GROUP BY sku, location, owner
),
owned AS (
    SELECT sku, owner, sum(on_hand) AS quantity
    FROM (
        SELECT sku, owner, on_hand FROM commerce.stock_levels
        UNION ALL
        SELECT l.sku, t.from_owner, l.shipped
        FROM commerce.stock_transfers t
        JOIN commerce.stock_transfer_lines l ON l.transfer = t.id
        WHERE t.state = 'shipped'
    ) o
    GROUP BY sku, owner
)
SELECT (SELECT count(*) FROM commerce.stock_levels) AS levels,
       (SELECT coalesce(sum(on_hand), 0)::bigint FROM commerce.stock_levels) AS on_hand,
       (SELECT coalesce(sum(reserved), 0)::bigint FROM commerce.stock_levels) AS reserved,
       (SELECT count(*)
        FROM commerce.stock_levels l
        FULL JOIN (SELECT * FROM moves WHERE on_hand <> 0 OR reserved <> 0) m USING (sku, location, owner, status)
        WHERE coalesce(l.on_hand, 0) <> coalesce(m.on_hand, 0) OR coalesce(l.reserved, 0) <> coalesce(m.reserved, 0)) AS off_moves,
       (SELECT count(*)
        FROM commerce.stock_levels l
        FULL JOIN promised p USING (sku, location, owner, status)
        WHERE coalesce(l.reserved, 0) <> coalesce(p.reserved, 0)) AS off_reserved,
       (SELECT count(*)
        FROM commerce.stock_costs c
        FULL JOIN owned o USING (sku, owner)
        WHERE coalesce(c.quantity, 0) <> coalesce(o.quantity, 0)) AS off_costs,
       (SELECT count(*)
        FROM commerce.stock_costs c
        FULL JOIN (SELECT sku, owner, sum(cost) AS cost FROM moves GROUP BY sku, owner) m USING (sku, owner)
        WHERE coalesce(c.value_fen, 0) <> coalesce(m.cost, 0)) AS off_cost_moves`

// Check proves the books. It reads all of them.
func (s *Service) Check(ctx context.Context, db pg.DB) (Report, error) {
	var r Report
	if err := db.QueryRow(ctx, checkSQL).Scan(&r.Levels, &r.OnHand, &r.Reserved, &r.OffMoves, &r.OffReserved, &r.OffCosts, &r.OffCostMoves); err != nil {
		return r, fmt.Errorf("check stock: %w", err)
	}
	return r, nil
}
