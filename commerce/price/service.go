package price

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// maxChanges bounds one call of Set.
const maxChanges = 1000

// Service keeps prices.
type Service struct {
	db    pg.DB
	clock clock.Clock
}

// New returns the service.
func New(db pg.DB, clk clock.Clock) *Service { return &Service{db: db, clock: clk} }

// Prices returns what the SKUs cost somebody at an instant, in one round trip. SKUs that neither the catalogue nor a price
// knows are missing.
func (s *Service) Prices(ctx context.Context, db pg.DB, q Query) (map[string]Quote, error) {
	return findQuotes(ctx, db, q)
}

// Set puts prices into the plan; a price with the same SKU, kind, level and time is replaced. A zero time is now. It fails
// with ErrInvalid, also for a time in the past, or ErrUnknownSKU.
func (s *Service) Set(ctx context.Context, tx pgx.Tx, by, reason string, prices []Price) ([]Price, error) {
	now := s.clock.Now()
	var wrong []fault.Field
	if len(prices) == 0 || len(prices) > maxChanges {
		wrong = append(wrong, fault.Field{Path: "prices", Code: "length", Text: fault.Text{ZH: "须有 1 到 1000 项", EN: "has not 1 to 1,000 entries"},
			Hint: fault.Text{ZH: "请分批提交,或使用导入", EN: "send it in parts, or import a file"}})
	}
	prices = append([]Price(nil), prices...)
	for i := range prices {
		if prices[i].EffectiveAt.IsZero() {
			prices[i].EffectiveAt = now
		}
		wrong = append(wrong, at(i, prices[i].check())...)
		if prices[i].EffectiveAt.Before(now) {
			wrong = append(wrong, at(i, []fault.Field{{Path: "effective_at", Code: "past", Text: fault.Text{ZH: "生效时间已过", EN: "lies in the past"},
				Hint: fault.Text{ZH: "留空表示立即生效;补录历史请使用导入", EN: "leave it out for now; history is brought by import"}}})...)
		}
	}
	if len(wrong) > 0 {
		return nil, ErrInvalid.WithFields(wrong...)
	}
	skus := make([]string, len(prices))
	for i, p := range prices {
		skus[i] = p.SKU
	}
	unknown, err := unknownSKUs(ctx, tx, skus)
	if err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		return nil, ErrUnknownSKU.With("sku", unknown[0])
	}
	return prices, putPrices(ctx, tx, by, reason, now, prices)
}

// Cancel takes a price out of the plan that is not in effect yet: ErrNotScheduled.
func (s *Service) Cancel(ctx context.Context, tx pgx.Tx, by, reason string, p Price) error {
	return cancelPrice(ctx, tx, by, reason, s.clock.Now(), p)
}

// Plan returns all prices of a SKU, past and to come.
func (s *Service) Plan(ctx context.Context, db pg.DB, sku string) ([]Planned, error) {
	return findPlan(ctx, db, sku)
}

// History returns the changes of a SKU's prices, newest first, before the given one.
func (s *Service) History(ctx context.Context, db pg.DB, sku, before string, limit int) ([]Change, error) {
	return findChanges(ctx, db, sku, before, limit)
}

// Coming returns the changes that take effect from an instant on, earliest first.
func (s *Service) Coming(ctx context.Context, db pg.DB, from time.Time, limit int) ([]Planned, error) {
	return findComing(ctx, db, from, limit)
}
