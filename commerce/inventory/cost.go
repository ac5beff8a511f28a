package inventory

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Issue is goods that left an owner, at moving-average cost.
type Issue struct {
	Reservation
	CostFen money.Fen `json:"cost_fen"`
}

// Cost is what an owner's units of a SKU cost: the average of what was paid for those that are there.
type Cost struct {
	SKU      string    `json:"sku"`
	Owner    string    `json:"owner"`
	Quantity int64     `json:"quantity"`
	ValueFen money.Fen `json:"value_fen"`
}

// AverageFen is the cost of one unit, rounded half up.
func (c Cost) AverageFen() money.Fen {
	if c.Quantity == 0 {
		return 0
	}
	return money.Fen(share(2*int64(c.ValueFen)+c.Quantity, 1, 2*c.Quantity))
}

// in adds units that cost so much together.
func (c *Cost) in(quantity int64, value money.Fen) {
	c.Quantity += quantity
	c.ValueFen += value
}

// out takes units away at the average; the last ones take what is left, so nothing is lost to rounding.
func (c *Cost) out(quantity int64) money.Fen {
	quantity = min(quantity, c.Quantity)
	if quantity <= 0 {
		return 0
	}
	value := money.Fen(share(int64(c.ValueFen), quantity, c.Quantity))
	c.Quantity -= quantity
	c.ValueFen -= value
	return value
}

// share returns ⌊value·part/whole⌋ for values that are not negative.
func share(value, part, whole int64) int64 {
	hi, lo := bits.Mul64(uint64(value), uint64(part))
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}

type costKey struct{ sku, owner string }

func compareCostKeys(a, b costKey) int {
	return cmp.Or(cmp.Compare(a.sku, b.sku), cmp.Compare(a.owner, b.owner))
}

const ensureCostsSQL = `
INSERT INTO commerce.stock_costs (sku, owner, quantity, value_fen, updated_at)
SELECT DISTINCT sku, owner, 0, 0, @now::timestamptz
FROM unnest(@skus::text[], @owners::text[]) AS t (sku, owner)
ORDER BY sku, owner
ON CONFLICT DO NOTHING`

const lockCostsSQL = `
SELECT c.sku, c.owner, c.quantity, c.value_fen
FROM (SELECT DISTINCT sku, owner FROM unnest(@skus::text[], @owners::text[]) AS t (sku, owner) ORDER BY sku, owner) k
CROSS JOIN LATERAL (
    SELECT *
    FROM commerce.stock_costs c
    WHERE c.sku = k.sku AND c.owner = k.owner
    FOR NO KEY UPDATE
) c`

const updateCostsSQL = `
UPDATE commerce.stock_costs c
SET quantity = t.quantity, value_fen = t.value_fen, updated_at = @now
FROM unnest(@skus::text[], @owners::text[], @quantities::bigint[], @values::bigint[]) AS t (sku, owner, quantity, value_fen)
WHERE c.sku = t.sku AND c.owner = t.owner`

// lockCosts locks the costs, making those that are missing. Costs come after levels in the order of locks.
func lockCosts(ctx context.Context, tx pgx.Tx, keys []costKey, now time.Time) (map[costKey]*Cost, error) {
	skus, owners := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		skus[i], owners[i] = k.sku, k.owner
	}
	var b pgx.Batch
	b.Queue(ensureCostsSQL, pg.Args{"skus": skus, "owners": owners, "now": now})
	b.Queue(lockCostsSQL, pg.Args{"skus": skus, "owners": owners})
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("make costs: %w", err)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("lock costs: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Cost])
	if err != nil {
		return nil, fmt.Errorf("lock costs: %w", err)
	}
	out := map[costKey]*Cost{}
	for _, c := range found {
		out[costKey{c.SKU, c.Owner}] = &c
	}
	return out, nil
}

func putCosts(ctx context.Context, tx pgx.Tx, costs map[costKey]*Cost, now time.Time) error {
	var skus, owners []string
	var quantities, values []int64
	for k, c := range costs {
		skus, owners, quantities, values = append(skus, k.sku), append(owners, k.owner), append(quantities, c.Quantity), append(values, int64(c.ValueFen))
	}
	if _, err := tx.Exec(ctx, updateCostsSQL, pg.Args{"skus": skus, "owners": owners, "quantities": quantities, "values": values, "now": now}); err != nil {
		return fmt.Errorf("put costs: %w", err)
	}
	return nil
}

const costMovesSQL = `
INSERT INTO commerce.stock_moves (sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, d_cost_fen, at)
SELECT sku, location, owner, 'good', 'cost', kind, id, line, 0, 0, cost, @now
FROM unnest(@kinds::text[], @ids::text[], @lines::int[], @skus::text[], @locations::text[], @owners::text[], @costs::bigint[])
     AS t (kind, id, line, sku, location, owner, cost)
WHERE cost <> 0`

// issue takes the cost of what was shipped out of its owners' books.
func issue(ctx context.Context, tx pgx.Tx, shipped []Reservation, now time.Time) ([]Issue, error) {
	keys := make([]costKey, len(shipped))
	for i, r := range shipped {
		keys[i] = costKey{r.SKU, r.Owner}
	}
	slices.SortFunc(keys, compareCostKeys)
	costs, err := lockCosts(ctx, tx, slices.Compact(keys), now)
	if err != nil {
		return nil, err
	}
	n := len(shipped)
	out := make([]Issue, n)
	kinds, ids, skus, locations, owners := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	lines, values := make([]int, n), make([]int64, n)
	for i, r := range shipped {
		out[i] = Issue{r, costs[costKey{r.SKU, r.Owner}].out(r.Quantity)}
		kinds[i], ids[i], lines[i], skus[i], locations[i], owners[i] = r.Ref.Kind, r.Ref.ID, r.Line, r.SKU, r.Location, r.Owner
		values[i] = -int64(out[i].CostFen)
	}
	if err := putCosts(ctx, tx, costs, now); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, costMovesSQL, pg.Args{
		"kinds": kinds, "ids": ids, "lines": lines, "skus": skus, "locations": locations, "owners": owners, "costs": values, "now": now,
	}); err != nil {
		return nil, fmt.Errorf("record cost of shipping: %w", err)
	}
	return out, nil
}
