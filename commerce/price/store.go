package price

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// The catalogue's prices and, per kind and level, what holds at the instant.
const quotesSQL = `
SELECT w.sku, s.tag_price_fen, s.retail_price_fen, s.sku IS NOT NULL AS known, p.kind, p.level, p.effective_at, p.price_fen
FROM unnest(@skus::text[]) AS w (sku)
LEFT JOIN commerce.skus s USING (sku)
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (kind, level) kind, level, effective_at, price_fen
    FROM commerce.prices
    WHERE sku = w.sku AND level = ANY(@levels) AND effective_at <= @at
    ORDER BY kind, level, effective_at DESC) p ON true`

func findQuotes(ctx context.Context, db pg.DB, q Query) (map[string]Quote, error) {
	skus := slices.Compact(slices.Sorted(slices.Values(q.SKUs)))
	rows, err := db.Query(ctx, quotesSQL, pg.Args{"skus": skus, "levels": q.levels(), "at": q.At})
	if err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	type base struct {
		tag, retail *money.Fen
		known       bool
		held        []Price
	}
	bases := map[string]*base{}
	var sku string
	var b base
	var kind *Kind
	var level *Level
	var from *time.Time
	var fen *money.Fen
	if _, err := pgx.ForEachRow(rows, []any{&sku, &b.tag, &b.retail, &b.known, &kind, &level, &from, &fen}, func() error {
		known := bases[sku]
		if known == nil {
			known = &base{b.tag, b.retail, b.known, nil}
			bases[sku] = known
		}
		if kind != nil {
			known.held = append(known.held, Price{sku, *kind, *level, *from, fen})
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	out := make(map[string]Quote, len(bases))
	for sku, b := range bases {
		if b.known || len(b.held) > 0 {
			out[sku] = quote(sku, b.tag, b.retail, b.held)
		}
	}
	return out, nil
}

const unknownSKUsSQL = `
SELECT DISTINCT w.sku
FROM unnest(@skus::text[]) AS w (sku)
LEFT JOIN commerce.skus s USING (sku)
WHERE s.sku IS NULL
ORDER BY w.sku`

func unknownSKUs(ctx context.Context, db pg.DB, skus []string) ([]string, error) {
	rows, err := db.Query(ctx, unknownSKUsSQL, pg.Args{"skus": skus})
	if err != nil {
		return nil, fmt.Errorf("look SKUs up: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Writes the plan and its history; a price that stays what it was makes no history.
const putPricesSQL = `
WITH new AS MATERIALIZED (
    SELECT *
    FROM unnest(@ids::uuid[], @skus::text[], @kinds::text[], @levels::text[], @froms::timestamptz[], @prices::bigint[])
         AS n (id, sku, kind, level, effective_at, price_fen)),
old AS MATERIALIZED (
    SELECT n.id, p.sku IS NOT NULL AS there, p.price_fen
    FROM new n
    LEFT JOIN commerce.prices p USING (sku, kind, level, effective_at)),
history AS (
    INSERT INTO commerce.price_changes (id, sku, kind, level, effective_at, action, old_fen, new_fen, changed_by, reason, changed_at)
    SELECT n.id, n.sku, n.kind, n.level, n.effective_at, 'set', o.price_fen, n.price_fen, @by, @reason, @now
    FROM new n
    JOIN old o USING (id)
    WHERE NOT o.there OR o.price_fen IS DISTINCT FROM n.price_fen)
INSERT INTO commerce.prices (sku, kind, level, effective_at, price_fen, changed_by, changed_at)
SELECT sku, kind, level, effective_at, price_fen, @by, @now
FROM new
ORDER BY sku, kind, level, effective_at
ON CONFLICT ON CONSTRAINT prices_pkey DO UPDATE
SET price_fen = excluded.price_fen, changed_by = excluded.changed_by, changed_at = excluded.changed_at
WHERE prices.price_fen IS DISTINCT FROM excluded.price_fen`

// putPrices writes prices; of several with the same key the last one counts.
func putPrices(ctx context.Context, tx pgx.Tx, by, reason string, now time.Time, prices []Price) error {
	type key struct {
		sku   string
		kind  Kind
		level Level
		from  int64
	}
	last := map[key]Price{}
	for _, p := range prices {
		last[key{p.SKU, p.Kind, p.Level, p.EffectiveAt.UnixMicro()}] = p
	}
	n := len(last)
	ids, skus, kinds, levels := make([]id.UUID, 0, n), make([]string, 0, n), make([]Kind, 0, n), make([]Level, 0, n)
	froms, fens := make([]time.Time, 0, n), make([]*money.Fen, 0, n)
	all := make([]Price, 0, n)
	for _, p := range last {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Price) int {
		return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Level, b.Level), a.EffectiveAt.Compare(b.EffectiveAt))
	})
	for _, p := range all {
		ids, skus, kinds, levels = append(ids, id.New()), append(skus, p.SKU), append(kinds, p.Kind), append(levels, p.Level)
		froms, fens = append(froms, p.EffectiveAt), append(fens, p.PriceFen)
	}
	if _, err := tx.Exec(ctx, putPricesSQL, pg.Args{
		"ids": ids, "skus": skus, "kinds": kinds, "levels": levels, "froms": froms, "prices": fens, "by": by, "reason": reason, "now": now,
	}); err != nil {
		return fmt.Errorf("put prices: %w", err)
	}
	return nil
}

const cancelPriceSQL = `
WITH gone AS (
    DELETE FROM commerce.prices
    WHERE sku = @sku AND kind = @kind AND level = @level AND effective_at = @from AND effective_at > @now
    RETURNING sku, kind, level, effective_at, price_fen)
INSERT INTO commerce.price_changes (id, sku, kind, level, effective_at, action, old_fen, new_fen, changed_by, reason, changed_at)
SELECT @id, sku, kind, level, effective_at, 'cancel', price_fen, NULL, @by, @reason, @now
FROM gone`

func cancelPrice(ctx context.Context, tx pgx.Tx, by, reason string, now time.Time, p Price) error {
	tag, err := tx.Exec(ctx, cancelPriceSQL, pg.Args{
		"id": id.New(), "sku": p.SKU, "kind": p.Kind, "level": p.Level, "from": p.EffectiveAt, "now": now, "by": by, "reason": reason,
	})
	if err != nil {
		return fmt.Errorf("cancel price: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotScheduled
	}
	return nil
}

// Planned is a price of the plan, with who put it there.
type Planned struct {
	Price
	ChangedBy string    `json:"changed_by"`
	ChangedAt time.Time `json:"changed_at"`
}

const planSQL = `
SELECT sku, kind, level, effective_at, price_fen, changed_by, changed_at
FROM commerce.prices
WHERE sku = @sku
ORDER BY kind, level, effective_at DESC
LIMIT 2000`

func findPlan(ctx context.Context, db pg.DB, sku string) ([]Planned, error) {
	return collectPlanned(ctx, db, planSQL, pg.Args{"sku": sku})
}

const comingSQL = `
SELECT sku, kind, level, effective_at, price_fen, changed_by, changed_at
FROM commerce.prices
WHERE effective_at > @from
ORDER BY effective_at, sku, kind, level
LIMIT @limit`

func findComing(ctx context.Context, db pg.DB, from time.Time, limit int) ([]Planned, error) {
	return collectPlanned(ctx, db, comingSQL, pg.Args{"from": from, "limit": limit})
}

func collectPlanned(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Planned, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read the plan of prices: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Planned, err error) {
		err = r.Scan(&p.SKU, &p.Kind, &p.Level, &p.EffectiveAt, &p.PriceFen, &p.ChangedBy, &p.ChangedAt)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the plan of prices: %w", err)
	}
	return all, nil
}

// Change is one line of the history.
type Change struct {
	ID          id.UUID    `json:"id"`
	SKU         string     `json:"sku"`
	Kind        Kind       `json:"kind"`
	Level       Level      `json:"level"`
	EffectiveAt time.Time  `json:"effective_at"`
	Action      string     `json:"action" enum:"set,cancel"`
	OldFen      *money.Fen `json:"old_fen"`
	NewFen      *money.Fen `json:"new_fen"`
	ChangedBy   string     `json:"changed_by"`
	Reason      string     `json:"reason"`
	ChangedAt   time.Time  `json:"changed_at"`
}

const changesSQL = `
SELECT id, sku, kind, level, effective_at, action, old_fen, new_fen, changed_by, reason, changed_at
FROM commerce.price_changes
WHERE sku = @sku AND (@before::text = '' OR id < NULLIF(@before::text, '')::uuid)
ORDER BY id DESC
LIMIT @limit`

func findChanges(ctx context.Context, db pg.DB, sku, before string, limit int) ([]Change, error) {
	rows, err := db.Query(ctx, changesSQL, pg.Args{"sku": sku, "before": before, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read changes of prices: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Change])
	if err != nil {
		return nil, fmt.Errorf("read changes of prices: %w", err)
	}
	return all, nil
}
