package settlement

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Settled is an order as it stands in the money book. A partner sees the lines of its own entities.
type Settled struct {
	OrderNo   string          `json:"order_no"`
	Contract  string          `json:"contract"`
	Version   int             `json:"version"`
	Model     string          `json:"model"`
	BaseFen   money.Fen       `json:"base_fen"`
	PaidAt    time.Time       `json:"paid_at"`
	PayableAt *time.Time      `json:"payable_at,omitempty"`
	Lines     []StatementLine `json:"lines" doc:"positive: owed to the party of the line"`
}

const settledSQL = `
SELECT s.order_no, s.contract, s.version, s.sale -> 'terms' ->> 'model', s.base_fen, s.paid_at, s.payable_at
FROM commerce.settlements s
WHERE s.order_no = @order
  AND (@everything OR EXISTS (
      SELECT FROM commerce.settlement_lines l WHERE l.order_no = s.order_no AND l.entity IN (` + ownEntitiesSQL + `)))`

const settledLinesSQL = `
SELECT l.order_no, l.seq, l.n, l.kind, l.role, l.unit, CASE WHEN l.inward THEN -l.fen ELSE l.fen END, l.why_zh, l.why_en, l.posted_at
FROM commerce.settlement_lines l
WHERE l.order_no = @order
  AND (@everything OR l.entity IN (` + ownEntitiesSQL + `))
ORDER BY l.seq, l.n`

// Order returns how an order was settled, within the scope. It fails with ErrNoSettlement.
func (s *Service) Order(ctx context.Context, db pg.DB, scope auth.Scope, orderNo string) (Settled, error) {
	args := pg.Args{"order": orderNo, "everything": scope.All, "org": scope.Org}
	var o Settled
	err := db.QueryRow(ctx, settledSQL, args).Scan(&o.OrderNo, &o.Contract, &o.Version, &o.Model, &o.BaseFen, &o.PaidAt, &o.PayableAt)
	if pg.NoRows(err) {
		return Settled{}, ErrNoSettlement.With("order", orderNo)
	}
	if err != nil {
		return Settled{}, fmt.Errorf("settlement of order %s: %w", orderNo, err)
	}
	rows, err := db.Query(ctx, settledLinesSQL, args)
	if err != nil {
		return Settled{}, fmt.Errorf("settlement of order %s: %w", orderNo, err)
	}
	if o.Lines, err = pgx.CollectRows(rows, pgx.RowToStructByPos[StatementLine]); err != nil {
		return Settled{}, fmt.Errorf("settlement of order %s: %w", orderNo, err)
	}
	return o, nil
}

// PerformanceSum is what a unit or associate performed.
type PerformanceSum struct {
	Unit      string    `json:"unit"`
	Associate string    `json:"associate"`
	Kind      string    `json:"kind" enum:"performance,wholesale,commission"`
	Fen       money.Fen `json:"fen"`
	Orders    int64     `json:"orders"`
}

func (p PerformanceSum) cursor() string {
	return strings.Join([]string{p.Unit, p.Associate, p.Kind}, "/")
}

// PerformanceQuery selects performance posted in [From, To).
type PerformanceQuery struct {
	From, To time.Time
	Unit     string // "" for all
	After    string // unit/associate/kind of the last one seen
	Limit    int
}

const performanceSQL = `
SELECT unit, associate, kind, sum(fen)::bigint, count(DISTINCT order_no)
FROM commerce.performance_lines
WHERE posted_at >= @from AND posted_at < @to AND (@unit = '' OR unit = @unit) AND (@everything OR EXISTS (SELECT FROM commerce.org_units u WHERE u.code = unit AND u.path @> ARRAY[@org::text]))
  AND unit || '/' || associate || '/' || kind > @after
GROUP BY unit, associate, kind
ORDER BY unit || '/' || associate || '/' || kind
LIMIT @limit`

// Performance returns sums by unit, associate and kind, within the scope.
func (s *Service) Performance(ctx context.Context, db pg.DB, scope auth.Scope, q PerformanceQuery) ([]PerformanceSum, error) {
	rows, err := db.Query(ctx, performanceSQL, pg.Args{
		"from": q.From, "to": q.To, "unit": q.Unit, "everything": scope.All, "org": scope.Org, "after": q.After, "limit": q.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("performance: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PerformanceSum])
	if err != nil {
		return nil, fmt.Errorf("performance: %w", err)
	}
	return out, nil
}
