package coupon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Book is the coupons' book in the ledger, in fen.
const Book = "coupon"

func accountPromised(template string) string          { return template + ":promised" }
func accountDiscounts(template string) string         { return template + ":discounts" }
func accountLiability(template, bearer string) string { return template + ":" + bearer + ":liability" }
func accountCost(template, bearer string) string      { return template + ":" + bearer + ":cost" }

const findTemplatesSQL = `
SELECT t.code, t.name, t.kind, t.amount_fen, t.percent_bp, t.max_discount_fen, t.gift_sku, t.threshold_fen, t.valid_from, t.valid_to,
    t.valid_days, t.member_limit, c.quantity, c.budget_fen, t.stack_group, t.scope, t.bearers, t.status, t.version
FROM commerce.coupon_templates t
JOIN commerce.coupon_counters c ON c.template = t.code
WHERE (@codes::text[] IS NULL OR t.code = ANY(@codes)) AND t.code > @after
ORDER BY t.code
LIMIT NULLIF(@limit::integer, 0)`

func findTemplates(ctx context.Context, db pg.DB, codes []string, after string, limit int) ([]Template, error) {
	rows, err := db.Query(ctx, findTemplatesSQL, pg.Args{"codes": codes, "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read coupon templates: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Template])
	if err != nil {
		return nil, fmt.Errorf("read coupon templates: %w", err)
	}
	return all, nil
}

// Templates returns templates by code, after the given one; limit 0 means all.
func (s *Service) Templates(ctx context.Context, db pg.DB, after string, limit int) ([]Template, error) {
	return findTemplates(ctx, db, nil, after, limit)
}

// Template returns one template, or ErrNoTemplate.
func (s *Service) Template(ctx context.Context, db pg.DB, code string) (Template, error) {
	all, err := findTemplates(ctx, db, []string{code}, "", 1)
	if err != nil {
		return Template{}, err
	}
	if len(all) == 0 {
		return Template{}, ErrNoTemplate.With("template", code)
	}
	return all[0], nil
}

const createTemplateSQL = `
INSERT INTO commerce.coupon_templates (code, name, kind, amount_fen, percent_bp, max_discount_fen, gift_sku, threshold_fen, valid_from,
    valid_to, valid_days, member_limit, stack_group, scope, bearers, status, created_at, updated_at)
VALUES (@code, @name, @kind, @amount, @percent, @max, @gift, @threshold, @from, @to, @days, @limit, @stack, @scope, @bearers, @status, @now, @now)`

const createCounterSQL = `
INSERT INTO commerce.coupon_counters (template, quantity, budget_fen)
VALUES (@code, @quantity, @budget)`

// CreateTemplate stores a template and opens its accounts. It fails with ErrInvalid or ErrTemplateExists.
func (s *Service) CreateTemplate(ctx context.Context, tx pgx.Tx, t Template) (Template, error) {
	if t.Status == "" {
		t.Status = StatusActive
	}
	t.Version = 1
	if err := t.Validate(); err != nil {
		return Template{}, err
	}
	return t, s.create(ctx, tx, t)
}

func (s *Service) create(ctx context.Context, tx pgx.Tx, t Template) error {
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, createTemplateSQL, pg.Args{
			"code": t.Code, "name": t.Name, "kind": t.Kind, "amount": t.AmountFen, "percent": t.PercentBp, "max": t.MaxDiscountFen,
			"gift": t.GiftSKU, "threshold": t.ThresholdFen, "from": t.ValidFrom, "to": t.ValidTo, "days": t.ValidDays,
			"limit": t.MemberLimit, "stack": t.StackGroup, "scope": t.Scope, "bearers": t.Bearers, "status": t.Status, "now": s.clock.Now(),
		}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, createCounterSQL, pg.Args{"code": t.Code, "quantity": t.Quantity, "budget": t.BudgetFen})
		return err
	})
	if pg.Constraint(err) == "coupon_templates_pkey" {
		return ErrTemplateExists.With("template", t.Code)
	}
	if err != nil {
		return fmt.Errorf("create coupon template %s: %w", t.Code, err)
	}
	accounts := []ledger.Account{{Code: accountPromised(t.Code), Lane: ledger.LaneHot}, {Code: accountDiscounts(t.Code), Lane: ledger.LaneHot}}
	for _, b := range t.Bearers {
		accounts = append(accounts,
			ledger.Account{Code: accountLiability(t.Code, b.Bearer), Lane: ledger.LaneHot},
			ledger.Account{Code: accountCost(t.Code, b.Bearer), Lane: ledger.LaneHot})
	}
	return s.ledger.Open(ctx, tx, Book, "fen", s.clock.Now(), accounts...)
}

const updateTemplateSQL = `
UPDATE commerce.coupon_templates
SET name = @name, threshold_fen = @threshold, valid_from = @from, valid_to = @to, valid_days = @days, member_limit = @limit,
    stack_group = @stack, scope = @scope, status = @status, version = version + 1, updated_at = @now
WHERE code = @code AND version = @version`

const updateCounterSQL = `
UPDATE commerce.coupon_counters
SET quantity = @quantity, budget_fen = @budget
WHERE template = @code`

// What an unlimited template gave out was not counted; it is when the template becomes limited.
const recountSQL = `
UPDATE commerce.coupon_counters k
SET issued = n.issued, promised_fen = n.promised
FROM (SELECT count(*) AS issued, coalesce(sum(face_fen), 0)::bigint AS promised
      FROM commerce.coupons WHERE template = @code AND state <> 'recalled') n
WHERE k.template = @code AND k.quantity IS NULL AND k.budget_fen IS NULL`

// UpdateTemplate changes what may change; coupons issued before keep their time. t.Version is the version that was read.
// It fails with ErrInvalid, ErrNoTemplate, ErrStale, ErrFixed or ErrBelowIssued.
func (s *Service) UpdateTemplate(ctx context.Context, tx pgx.Tx, t Template) (Template, error) {
	if err := t.Validate(); err != nil {
		return Template{}, err
	}
	// The counter first: whoever issues holds it, so a limit and what was issued under it stay together.
	if _, err := lockCounters(ctx, tx, []string{t.Code}); err != nil {
		return Template{}, err
	}
	old, err := s.Template(ctx, tx, t.Code)
	if err != nil {
		return Template{}, err
	}
	switch {
	case old.Version != t.Version:
		return Template{}, ErrStale
	case !old.sameMoney(t):
		return Template{}, ErrFixed
	case old.Quantity == nil && old.BudgetFen == nil && (t.Quantity != nil || t.BudgetFen != nil):
		// Issues of unlimited templates do not lock the counter: keep them out while counting.
		if _, err := tx.Exec(ctx, `LOCK TABLE commerce.coupons IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return Template{}, fmt.Errorf("count coupons of %s: %w", t.Code, err)
		}
		if _, err := tx.Exec(ctx, recountSQL, pg.Args{"code": t.Code}); err != nil {
			return Template{}, fmt.Errorf("count coupons of %s: %w", t.Code, err)
		}
	}
	err = pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, updateCounterSQL, pg.Args{"code": t.Code, "quantity": t.Quantity, "budget": t.BudgetFen})
		return err
	})
	if c := pg.Constraint(err); c == "coupon_counters_quantity" || c == "coupon_counters_budget" {
		return Template{}, ErrBelowIssued
	}
	if err != nil {
		return Template{}, fmt.Errorf("update coupon template %s: %w", t.Code, err)
	}
	tag, err := tx.Exec(ctx, updateTemplateSQL, pg.Args{
		"code": t.Code, "name": t.Name, "threshold": t.ThresholdFen, "from": t.ValidFrom, "to": t.ValidTo, "days": t.ValidDays,
		"limit": t.MemberLimit, "stack": t.StackGroup, "scope": t.Scope, "status": t.Status, "now": s.clock.Now(), "version": t.Version,
	})
	if err != nil {
		return Template{}, fmt.Errorf("update coupon template %s: %w", t.Code, err)
	}
	if tag.RowsAffected() == 0 {
		return Template{}, ErrStale
	}
	t.Version++
	return t, nil
}

// Cost is what coupons of a template cost one bearer.
type Cost struct {
	Template     string    `json:"template"`
	Bearer       string    `json:"bearer"`
	LiabilityFen money.Fen `json:"liability_fen" doc:"share of the face value of coupons that can still be used"`
	CostFen      money.Fen `json:"cost_fen" doc:"share of what was really given"`
}

// Costs reports liability and cost per bearer from the ledger; template "" means all.
func (s *Service) Costs(ctx context.Context, db pg.DB, template string) ([]Cost, error) {
	prefix := template
	if prefix != "" {
		prefix += ":"
	}
	all, err := s.ledger.Balances(ctx, db, Book, prefix)
	if err != nil {
		return nil, fmt.Errorf("coupon costs: %w", err)
	}
	var out []Cost
	at := map[[2]string]int{}
	for _, b := range all {
		parts := strings.Split(b.Account, ":")
		if len(parts) != 3 {
			continue
		}
		k := [2]string{parts[0], parts[1]}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Cost{Template: k[0], Bearer: k[1]})
		}
		if parts[2] == "cost" {
			out[i].CostFen = money.Fen(b.Balance)
		} else {
			out[i].LiabilityFen = money.Fen(b.Balance)
		}
	}
	return out, nil
}

// ErrDisagree is returned by Check when coupons and ledger differ.
var ErrDisagree = errors.New("coupon: coupons and ledger disagree")

const openFaceSQL = `
SELECT t.code,
    coalesce(sum(c.face_fen) FILTER (WHERE c.state IN ('issued', 'locked')), 0)::bigint,
    coalesce(sum(c.discount_fen) FILTER (WHERE c.state = 'used'), 0)::bigint
FROM commerce.coupon_templates t
LEFT JOIN commerce.coupons c ON c.template = t.code
GROUP BY t.code
ORDER BY t.code`

// Check compares the coupons of each template with the ledger. Run it in a transaction that reads one snapshot, or while
// nothing is issued.
func (s *Service) Check(ctx context.Context, db pg.DB) error {
	rows, err := db.Query(ctx, openFaceSQL)
	if err != nil {
		return fmt.Errorf("check coupons: %w", err)
	}
	type sums struct {
		Template    string
		Face, Given int64
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sums])
	if err != nil {
		return fmt.Errorf("check coupons: %w", err)
	}
	booked, err := s.ledger.Balances(ctx, db, Book, "")
	if err != nil {
		return fmt.Errorf("check coupons: %w", err)
	}
	balance := map[string]int64{}
	for _, b := range booked {
		balance[b.Account] = b.Balance
	}
	var differences error
	for _, t := range all {
		if promised, given := -balance[accountPromised(t.Template)], -balance[accountDiscounts(t.Template)]; promised != t.Face || given != t.Given {
			differences = errors.Join(differences, fmt.Errorf("%w: %s: coupons promise %d and gave %d, ledger %d and %d",
				ErrDisagree, t.Template, t.Face, t.Given, promised, given))
		}
	}
	return differences
}
