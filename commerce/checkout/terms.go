package checkout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// SellingTerms say who sells at a touchpoint and store (empty: any store), who collects the money, where the stock lies and
// what delivery costs.
type SellingTerms struct {
	Touchpoint     member.Touchpoint `json:"touchpoint" validate:"required,max=32"`
	Store          string            `json:"store" validate:"max=64"`
	SellerUnit     string            `json:"seller_unit" validate:"required,max=64"`
	SellerEntity   string            `json:"seller_entity" validate:"required,max=64"`
	Collector      string            `json:"collector" validate:"required,max=64" doc:"entity that receives the money"`
	Location       string            `json:"location" validate:"required,max=64" doc:"where stock is reserved until sourcing decides"`
	Programme      string            `json:"programme" validate:"max=64" doc:"loyalty programme whose points pay; empty: none"`
	Merchant       string            `json:"merchant" validate:"max=64" doc:"merchant account of the payment provider"`
	FreightFen     money.Fen         `json:"freight_fen" validate:"gte=0"`
	FreeFreightFen money.Fen         `json:"free_freight_fen" validate:"gte=0" doc:"goods from this amount on are sent free; 0: never"`
	PayMinutes     int               `json:"pay_minutes" validate:"gte=0,lte=10080" doc:"0 is 30"`

	// Tenders are believed: whoever sells says that the money is there.
	Tenders []order.TenderKind `json:"tenders,omitempty" doc:"what may be reported as collected already: cash, mall, platform, subsidy; if absent, cash and mall at pos, else none"`

	Version int64 `json:"version"`
}

const termsColumns = `touchpoint, store, seller_unit, seller_entity, collector, location, programme, merchant, freight_fen, free_freight_fen, pay_minutes, tenders, version`

// The most specific row wins.
const termsSQL = `
SELECT ` + termsColumns + `
FROM commerce.selling_terms
WHERE touchpoint = @touchpoint AND store IN ('', @store)
ORDER BY store DESC
LIMIT 1`

const allTermsSQL = `
SELECT ` + termsColumns + `
FROM commerce.selling_terms
ORDER BY touchpoint, store
LIMIT 1000`

const putTermsSQL = `
INSERT INTO commerce.selling_terms AS t (touchpoint, store, seller_unit, seller_entity, collector, location, programme, merchant, freight_fen,
    free_freight_fen, pay_minutes, tenders, updated_at)
VALUES (@touchpoint, @store, @unit, @entity, @collector, @location, @programme, @merchant, @freight, @free, @minutes, @tenders, @now)
ON CONFLICT ON CONSTRAINT selling_terms_pkey DO UPDATE
SET seller_unit = excluded.seller_unit, seller_entity = excluded.seller_entity, collector = excluded.collector, location = excluded.location,
    programme = excluded.programme, merchant = excluded.merchant, freight_fen = excluded.freight_fen,
    free_freight_fen = excluded.free_freight_fen, pay_minutes = excluded.pay_minutes, tenders = excluded.tenders, version = t.version + 1, updated_at = excluded.updated_at
RETURNING ` + termsColumns

// collected are the tenders whose money somebody may have already when the order is placed. Credit and vouchers that were
// sold are not among them: nothing holds them yet.
var collected = []order.TenderKind{order.TenderCash, order.TenderMall, order.TenderPlatform, order.TenderSubsidy}

// takes fails with ErrTender unless what is left of an order may be paid by the kind.
func (t *SellingTerms) takes(kind order.TenderKind) error {
	if kind == order.TenderWeChat || slices.Contains(t.Tenders, kind) {
		return nil
	}
	return ErrTender.With("touchpoint", t.Touchpoint).With("tender", kind).WithFields(fault.Field{Path: "pay_with", Code: "checkout.tender", Text: fault.Text{
		ZH: "请用 wechat,或先在销售配置的 tenders 中允许", EN: "use wechat, or let the selling terms list it under tenders",
	}})
}

// PutTerms creates or replaces selling terms; orders placed before keep theirs. It fails with ErrInvalid.
func (s *Service) PutTerms(ctx context.Context, db pg.DB, t SellingTerms) (SellingTerms, error) {
	if t.PayMinutes == 0 {
		t.PayMinutes = int(defaultPayTime / time.Minute)
	}
	if t.Tenders == nil {
		t.Tenders = []order.TenderKind{}
		if t.Touchpoint == member.TouchpointPOS {
			t.Tenders = []order.TenderKind{order.TenderCash, order.TenderMall}
		}
	}
	for i, kind := range t.Tenders {
		if !slices.Contains(collected, kind) {
			return SellingTerms{}, invalid(fmt.Sprintf("tenders[%d]", i), "只能是 cash、mall、platform 或 subsidy", "only cash, mall, platform and subsidy can be collected elsewhere")
		}
	}
	rows, err := db.Query(ctx, putTermsSQL, pg.Args{
		"touchpoint": string(t.Touchpoint), "store": t.Store, "unit": t.SellerUnit, "entity": t.SellerEntity, "collector": t.Collector,
		"location": t.Location, "programme": t.Programme, "merchant": t.Merchant, "freight": t.FreightFen, "free": t.FreeFreightFen,
		"minutes": t.PayMinutes, "tenders": t.Tenders, "now": s.clock.Now(),
	})
	if err != nil {
		return SellingTerms{}, fmt.Errorf("put selling terms: %w", err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[SellingTerms])
	if err != nil {
		return SellingTerms{}, fmt.Errorf("put selling terms: %w", err)
	}
	return out, nil
}

// Terms returns all selling terms.
func (s *Service) Terms(ctx context.Context, db pg.DB) ([]SellingTerms, error) {
	rows, err := db.Query(ctx, allTermsSQL)
	if err != nil {
		return nil, fmt.Errorf("read selling terms: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[SellingTerms])
	if err != nil {
		return nil, fmt.Errorf("read selling terms: %w", err)
	}
	return out, nil
}

func queueTerms(b *pgx.Batch, touchpoint member.Touchpoint, store string, out **SellingTerms) {
	b.Queue(termsSQL, pg.Args{"touchpoint": string(touchpoint), "store": store}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[SellingTerms])
		if len(all) == 1 {
			*out = &all[0]
		}
		return err
	})
}
