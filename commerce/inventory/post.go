package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// change is one physical change of stock: goods come (OnHand > 0) or go.
type change struct {
	Place
	OnHand int64
	Reason Reason
	Line   int
	// Value is what units that come cost together; nil takes the owner's average. Units that go take the average with them.
	Value *money.Fen
	// Within keeps the owner's cost as it is: goods change place or status, not hands.
	Within bool
	// Counted sets when the level was last known for certain.
	Counted bool
}

// posting is what changes are made for, by whom.
type posting struct {
	ref   Ref
	actor string
	// at is when it happened.
	at time.Time
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.Location, b.Location), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Status, b.Status))
}

// lockedLevel is a level as it was locked. Free is what could be promised of the SKU at the location, over all owners.
type lockedLevel struct {
	SKU      string
	Location string
	Owner    string
	Status   Status
	OnHand   int64
	Reserved int64
	Safety   int64
	Counted  *time.Time `db:"counted_at"`
	Free     int64
	Fresh    bool `db:"-"` // there was none before
}

const ensureLevelsSQL = `
INSERT INTO commerce.stock_levels (sku, location, owner, status, updated_at)
SELECT DISTINCT sku, location, owner, status, @now::timestamptz
FROM unnest(@skus::text[], @locations::text[], @owners::text[], @statuses::text[]) AS t (sku, location, owner, status)
ORDER BY sku, location, owner, status
ON CONFLICT DO NOTHING
RETURNING sku, location, owner, status`

const lockLevelsSQL = `
WITH locked AS MATERIALIZED (
    SELECT l.*
    FROM (
        SELECT DISTINCT sku, location, owner, status
        FROM unnest(@skus::text[], @locations::text[], @owners::text[], @statuses::text[]) AS t (sku, location, owner, status)
        ORDER BY sku, location, owner, status
    ) k
    CROSS JOIN LATERAL (
        SELECT *
        FROM commerce.stock_levels l
        WHERE l.sku = k.sku AND l.location = k.location AND l.owner = k.owner AND l.status = k.status
        FOR NO KEY UPDATE
    ) l
)
SELECT l.sku, l.location, l.owner, l.status, l.on_hand, l.reserved, l.safety, l.counted_at, coalesce(f.free, 0)::bigint AS free
FROM locked l
LEFT JOIN LATERAL (
    SELECT sum(greatest(o.on_hand - o.reserved - o.safety, 0)) AS free
    FROM commerce.stock_levels o
    WHERE o.sku = l.sku AND o.location = l.location AND o.status = 'good'
) f ON true
ORDER BY l.sku, l.location, l.owner, l.status`

const updateLevelsSQL = `
UPDATE commerce.stock_levels l
SET on_hand = t.on_hand, counted_at = coalesce(t.counted_at, l.counted_at), updated_at = @now
FROM unnest(@skus::text[], @locations::text[], @owners::text[], @statuses::text[], @on_hands::bigint[], @counted::timestamptz[])
     AS t (sku, location, owner, status, on_hand, counted_at)
WHERE l.sku = t.sku AND l.location = t.location AND l.owner = t.owner AND l.status = t.status`

const insertMovesSQL = `
INSERT INTO commerce.stock_moves (sku, location, owner, status, reason, ref_kind, ref_id, line, d_on_hand, d_reserved, d_cost_fen, actor, at)
SELECT sku, location, owner, status, reason, @kind, @id, line, d_on_hand, 0, d_cost, @actor, @at
FROM unnest(@skus::text[], @locations::text[], @owners::text[], @statuses::text[], @reasons::text[], @lines::int[], @d_on_hands::bigint[],
            @d_costs::bigint[])
     WITH ORDINALITY AS t (sku, location, owner, status, reason, line, d_on_hand, d_cost, n)
WHERE d_on_hand <> 0 OR d_cost <> 0
ORDER BY n`

// lockLevels locks the places in their order, making those that are missing.
func lockLevels(ctx context.Context, tx pgx.Tx, places []Place, now time.Time) (map[Place]*lockedLevel, error) {
	skus, locations, owners, states := columns(places)
	var b pgx.Batch
	b.Queue(ensureLevelsSQL, pg.Args{"skus": skus, "locations": locations, "owners": owners, "statuses": states, "now": now})
	b.Queue(lockLevelsSQL, pg.Args{"skus": skus, "locations": locations, "owners": owners, "statuses": states})
	results := tx.SendBatch(ctx, &b)
	defer results.Close()
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("make stock levels: %w", err)
	}
	fresh, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
	if err != nil {
		return nil, fmt.Errorf("make stock levels: %w", err)
	}
	rows, err = results.Query()
	if err != nil {
		return nil, fmt.Errorf("lock stock levels: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[lockedLevel])
	if err != nil {
		return nil, fmt.Errorf("lock stock levels: %w", err)
	}
	out := make(map[Place]*lockedLevel, len(found))
	for _, l := range found {
		out[Place{l.SKU, l.Location, l.Owner, l.Status}] = &l
	}
	for _, p := range fresh {
		out[p].Fresh = true
	}
	return out, nil
}

func columns(places []Place) (skus, locations, owners, states []string) {
	for _, p := range places {
		skus, locations, owners, states = append(skus, p.SKU), append(locations, p.Location), append(owners, p.Owner), append(states, string(p.Status))
	}
	return skus, locations, owners, states
}

// post carries out changes together: levels, moves, costs and events in the caller's transaction. It returns what each change
// did to the value of its owner's stock. It fails with ErrShort where less is there than goes, and with ErrPromised where
// what is left would not cover what is reserved.
func (s *Service) post(ctx context.Context, tx pgx.Tx, p posting, changes []change) ([]money.Fen, error) {
	places := make([]Place, len(changes))
	for i, c := range changes {
		places[i] = c.Place
	}
	levels, err := lockLevels(ctx, tx, places, s.clock.Now())
	if err != nil {
		return nil, err
	}
	return s.postLocked(ctx, tx, p, changes, levels)
}

func (s *Service) postLocked(ctx context.Context, tx pgx.Tx, p posting, changes []change, levels map[Place]*lockedLevel) ([]money.Fen, error) {
	now := s.clock.Now()
	before, after := map[[2]string]int64{}, map[[2]string]int64{}
	var keys []costKey
	for _, c := range changes {
		l := levels[c.Place]
		if c.Status == StatusGood {
			at := [2]string{c.SKU, c.Location}
			if before[at] = l.Free; l.Fresh {
				before[at] = max(l.Free, 1) // goods that were never there are not back
			}
			after[at] += max(l.OnHand+c.OnHand-l.Reserved-l.Safety, 0) - max(l.OnHand-l.Reserved-l.Safety, 0)
		}
		l.OnHand += c.OnHand
		if !c.Within {
			keys = append(keys, costKey{c.SKU, c.Owner})
		}
	}
	if err := covered(changes, levels); err != nil {
		return nil, err
	}
	slices.SortFunc(keys, compareCostKeys)
	costs, err := lockCosts(ctx, tx, slices.Compact(keys), now)
	if err != nil {
		return nil, err
	}
	values := make([]money.Fen, len(changes))
	for i, c := range changes {
		if c.Within {
			continue
		}
		cost := costs[costKey{c.SKU, c.Owner}]
		switch {
		case c.OnHand < 0:
			values[i] = -cost.out(-c.OnHand)
		case c.Value != nil:
			values[i] = *c.Value
			cost.in(c.OnHand, *c.Value)
		default:
			values[i] = cost.AverageFen() * money.Fen(c.OnHand)
			cost.in(c.OnHand, values[i])
		}
	}
	if err := write(ctx, tx, p, changes, values, levels, now); err != nil {
		return nil, err
	}
	if err := putCosts(ctx, tx, costs, now); err != nil {
		return nil, err
	}
	var balances []balance
	for at, free := range before {
		balances = append(balances, balance{SKU: at[0], Location: at[1], Free: free, Now: free + after[at]})
	}
	slices.SortFunc(balances, func(a, b balance) int { return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.Location, b.Location)) })
	return values, s.backInStock(ctx, tx, balances)
}

// covered checks that no level has become less than nothing or less than what is promised of it.
func covered(changes []change, levels map[Place]*lockedLevel) error {
	var shortages Shortages
	gone := map[Place]int64{}
	for _, c := range changes {
		gone[c.Place] -= c.OnHand
	}
	for _, c := range changes {
		l := levels[c.Place]
		switch {
		case l.OnHand < 0:
			if n := (Shortage{SKU: c.SKU, Location: c.Location, Wanted: gone[c.Place], Available: l.OnHand + gone[c.Place]}); !slices.Contains(shortages, n) {
				shortages = append(shortages, n)
			}
		case l.OnHand < l.Reserved && gone[c.Place] > 0:
			return ErrPromised.With("sku", c.SKU, "location", c.Location, "reserved", l.Reserved, "on_hand", l.OnHand)
		}
	}
	if len(shortages) > 0 {
		return short(shortages)
	}
	return nil
}

func write(ctx context.Context, tx pgx.Tx, p posting, changes []change, values []money.Fen, levels map[Place]*lockedLevel, now time.Time) error {
	var touched []Place
	counted := map[Place]*time.Time{}
	for _, c := range changes {
		touched = append(touched, c.Place)
		if c.Counted {
			counted[c.Place] = &p.at
		}
	}
	slices.SortFunc(touched, comparePlaces)
	touched = slices.Compact(touched)
	skus, locations, owners, states := columns(touched)
	onHands, countedAt := make([]int64, len(touched)), make([]*time.Time, len(touched))
	for i, place := range touched {
		onHands[i], countedAt[i] = levels[place].OnHand, counted[place]
	}
	var b pgx.Batch
	b.Queue(updateLevelsSQL, pg.Args{
		"skus": skus, "locations": locations, "owners": owners, "statuses": states, "on_hands": onHands, "counted": countedAt, "now": now,
	})
	places := make([]Place, len(changes))
	reasons, lines, onHand, cost := make([]string, len(changes)), make([]int, len(changes)), make([]int64, len(changes)), make([]int64, len(changes))
	for i, c := range changes {
		places[i], reasons[i], lines[i], onHand[i], cost[i] = c.Place, string(c.Reason), c.Line, c.OnHand, int64(values[i])
	}
	skus, locations, owners, states = columns(places)
	b.Queue(insertMovesSQL, pg.Args{
		"kind": p.ref.Kind, "id": p.ref.ID, "actor": p.actor, "at": p.at, "skus": skus, "locations": locations, "owners": owners, "statuses": states,
		"reasons": reasons, "lines": lines, "d_on_hands": onHand, "d_costs": cost,
	})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("write stock: %w", err)
	}
	return nil
}
