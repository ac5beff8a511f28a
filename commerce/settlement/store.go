package settlement

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

func compareText(a, b string) int { return cmp.Compare(a, b) }

const lockSettlementSQL = `
INSERT INTO commerce.settlements AS s (order_no, contract, version, partner, sale, base_fen, seq, paid_at, updated_at)
VALUES (@order, @contract, @version, @partner, @sale, @base, 1, @paid, @now)
ON CONFLICT (order_no) DO UPDATE
SET sale = excluded.sale, base_fen = excluded.base_fen, seq = s.seq + 1, updated_at = excluded.updated_at
RETURNING seq`

// lockSettlement keeps others from settling the order until the transaction ends, and returns the number of this settling.
func lockSettlement(ctx context.Context, tx pgx.Tx, o Order, base money.Fen, now time.Time) (seq int, err error) {
	err = tx.QueryRow(ctx, lockSettlementSQL, pg.Args{
		"order": o.OrderNo, "contract": o.Contract, "version": o.Version, "partner": o.Partner, "sale": o.Sale, "base": base,
		"paid": o.PaidAt, "now": now,
	}).Scan(&seq)
	return seq, err
}

const postedLinesSQL = `
SELECT inward, kind, role, unit, entity, code, sum(fen)::bigint
FROM commerce.settlement_lines
WHERE order_no = @order
GROUP BY inward, kind, role, unit, entity, code`

func postedLines(ctx context.Context, db pg.DB, orderNo string) ([]Line, error) {
	rows, err := db.Query(ctx, postedLinesSQL, pg.Args{"order": orderNo})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Line, err error) {
		err = row.Scan(&l.In, &l.Kind, &l.Role, &l.Party.Unit, &l.Party.Entity, &l.Code, &l.Fen)
		return l, err
	})
}

const performedLinesSQL = `
SELECT kind, role, unit, associate, sum(fen)::bigint
FROM commerce.performance_lines
WHERE order_no = @order
GROUP BY kind, role, unit, associate`

func performedLines(ctx context.Context, db pg.DB, orderNo string) ([]PerformanceLine, error) {
	rows, err := db.Query(ctx, performedLinesSQL, pg.Args{"order": orderNo})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[PerformanceLine])
}

const insertLinesSQL = `
INSERT INTO commerce.settlement_lines (order_no, seq, n, inward, kind, role, unit, entity, code, fen, why_zh, why_en, posted_at, payable_at)
SELECT @order, @seq, n, inward, kind, role, unit, entity, code, fen, zh, en, @now, @payable
FROM unnest(@inward::boolean[], @kinds::text[], @roles::text[], @units::text[], @entities::text[], @codes::text[], @fen::bigint[], @zh::text[], @en::text[])
     WITH ORDINALITY AS t (inward, kind, role, unit, entity, code, fen, zh, en, n)`

func insertLines(ctx context.Context, tx pgx.Tx, orderNo string, seq int, lines []Line, payable *time.Time, now time.Time) error {
	inward, fen := make([]bool, len(lines)), make([]money.Fen, len(lines))
	cols := map[string][]string{"kinds": {}, "roles": {}, "units": {}, "entities": {}, "codes": {}, "zh": {}, "en": {}}
	for i, l := range lines {
		inward[i], fen[i] = l.In, l.Fen
		for name, v := range map[string]string{
			"kinds": string(l.Kind), "roles": string(l.Role), "units": l.Party.Unit, "entities": l.Party.Entity, "codes": l.Code, "zh": l.Why.ZH, "en": l.Why.EN,
		} {
			cols[name] = append(cols[name], v)
		}
	}
	args := pg.Args{"order": orderNo, "seq": seq, "inward": inward, "fen": fen, "payable": payable, "now": now}
	for name, values := range cols {
		args[name] = values
	}
	_, err := tx.Exec(ctx, insertLinesSQL, args)
	return err
}

const insertPerformanceSQL = `
INSERT INTO commerce.performance_lines (order_no, seq, n, kind, role, unit, associate, fen, posted_at)
SELECT @order, @seq, n, kind, role, unit, associate, fen, @now
FROM unnest(@kinds::text[], @roles::text[], @units::text[], @associates::text[], @fen::bigint[])
     WITH ORDINALITY AS t (kind, role, unit, associate, fen, n)`

func insertPerformance(ctx context.Context, tx pgx.Tx, orderNo string, seq int, lines []PerformanceLine, now time.Time) error {
	kinds, roles, units, associates := make([]string, len(lines)), make([]string, len(lines)), make([]string, len(lines)), make([]string, len(lines))
	fen := make([]money.Fen, len(lines))
	for i, l := range lines {
		kinds[i], roles[i], units[i], associates[i], fen[i] = l.Kind, l.Role, l.Unit, l.Associate, l.Fen
	}
	_, err := tx.Exec(ctx, insertPerformanceSQL, pg.Args{
		"order": orderNo, "seq": seq, "kinds": kinds, "roles": roles, "units": units, "associates": associates, "fen": fen, "now": now,
	})
	return err
}

const markPayableSQL = `
WITH first AS (
    UPDATE commerce.settlements
    SET payable_at = @payable
    WHERE order_no = @order AND payable_at IS NULL
)
UPDATE commerce.settlement_lines
SET payable_at = @payable
WHERE order_no = @order AND payable_at IS NULL`

// markPayable says since when the lines of an order are payable, once that is known; the first word stands.
func markPayable(ctx context.Context, tx pgx.Tx, orderNo string, payable *time.Time) error {
	if payable == nil {
		return nil
	}
	_, err := tx.Exec(ctx, markPayableSQL, pg.Args{"order": orderNo, "payable": payable})
	return err
}

const accountSumsSQL = `
SELECT CASE WHEN entity <> '' THEN 'party:' || entity
            WHEN inward AND code <> '' THEN 'in:' || kind || ':' || code
            WHEN inward THEN 'in:' || kind
            ELSE 'out:' || kind END,
       sum(CASE WHEN inward THEN -fen ELSE fen END)::bigint
FROM commerce.settlement_lines
GROUP BY 1`

func accountSums(ctx context.Context, db pg.DB) (map[string]money.Fen, error) {
	rows, err := db.Query(ctx, accountSumsSQL)
	if err != nil {
		return nil, err
	}
	out := map[string]money.Fen{}
	var account string
	var fen money.Fen
	_, err = pgx.ForEachRow(rows, []any{&account, &fen}, func() error { out[account] = fen; return nil })
	return out, err
}

const salesSQL = `
SELECT sale
FROM commerce.settlements
WHERE partner = @partner AND paid_at >= @from AND paid_at < @to
ORDER BY paid_at, order_no`

// eachSale calls fn with every settled sale of a partner in [from, to), without holding them all.
func eachSale(ctx context.Context, db pg.DB, partner string, from, to time.Time, fn func(Sale) error) error {
	rows, err := db.Query(ctx, salesSQL, pg.Args{"partner": partner, "from": from, "to": to})
	if err != nil {
		return fmt.Errorf("read sales of %s: %w", partner, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Sale
		if err := rows.Scan(&s); err != nil {
			return fmt.Errorf("read sales of %s: %w", partner, err)
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return rows.Err()
}
