package price

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of prices. Everybody with a role sees what things cost; cost, floor, plan and history are
// for those who set prices.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleMerchandiser, auth.RoleMarketer, auth.RoleFinance}
	edit := []auth.Role{auth.RoleMerchandiser}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "prices", Summary: summary, Roles: roles}
	}
	api.Add(a, op("quote-prices", http.MethodGet, "/prices", "What SKUs cost somebody, and why", auth.Roles), h.quote)
	api.Add(a, op("set-prices", http.MethodPost, "/prices", "Set or schedule prices", edit), h.set)
	api.Add(a, op("cancel-price", http.MethodPost, "/prices/cancel", "Cancel a scheduled change", edit), h.cancel)
	api.Add(a, op("coming-prices", http.MethodGet, "/prices/coming", "Changes still to come, earliest first", see), h.coming)
	api.Add(a, op("price-plan", http.MethodGet, "/products/{sku}/prices", "All prices of a SKU, past and to come", see), h.plan)
	api.Add(a, op("price-changes", http.MethodGet, "/products/{sku}/price-changes", "Who changed the prices of a SKU, newest first", see), h.changes)
}

type handlers struct {
	s     *Service
	audit Auditor
}

type quoteInput struct {
	SKUs       []string          `query:"sku" required:"true" maxItems:"200" doc:"up to 200, separated by commas"`
	At         time.Time         `query:"at" doc:"now if empty"`
	Touchpoint member.Touchpoint `query:"touchpoint"`
	Store      string            `query:"store"`
	Tier       string            `query:"tier"`
	Partner    string            `query:"partner" doc:"price level of a partner"`
}

func (h handlers) quote(ctx context.Context, in *quoteInput) (*api.PageOutput[Quote], error) {
	at := in.At
	if at.IsZero() {
		at = h.s.clock.Now()
	}
	found, err := h.s.Prices(ctx, h.s.db, Query{SKUs: in.SKUs, At: at, Touchpoint: in.Touchpoint, Store: in.Store, Tier: in.Tier, Partner: in.Partner})
	if err != nil {
		return nil, err
	}
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	inside := by.Has(auth.RoleMerchandiser, auth.RoleMarketer, auth.RoleFinance, auth.RoleAdmin)
	all := make([]Quote, 0, len(found))
	for _, sku := range in.SKUs {
		q, ok := found[sku]
		if !ok {
			continue
		}
		delete(found, sku)
		if !inside {
			q.Cost, q.Floor = nil, nil
			public := q.Why[:0:0]
			for _, w := range q.Why {
				if w.Kind != KindCost && w.Kind != KindFloor {
					public = append(public, w)
				}
			}
			q.Why = public
		}
		all = append(all, q)
	}
	return api.NewPage(all, len(all), nil), nil
}

type setInput struct {
	Body struct {
		Reason string  `json:"reason,omitempty" maxLength:"500"`
		Prices []Price `json:"prices" doc:"effective_at left out: now"`
	}
}

type setOutput struct {
	Body struct {
		Prices []Price `json:"prices"`
	}
}

func (h handlers) set(ctx context.Context, in *setInput) (*setOutput, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &setOutput{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) (err error) {
		if out.Body.Prices, err = h.s.Set(ctx, tx, by.Name, in.Body.Reason, in.Body.Prices); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, "prices.set", "prices", map[string]any{"prices": len(in.Body.Prices), "reason": in.Body.Reason})
	})
}

type cancelInput struct {
	Body struct {
		Reason      string    `json:"reason,omitempty" maxLength:"500"`
		SKU         string    `json:"sku"`
		Kind        Kind      `json:"kind" enum:"tag,retail,member,cost,floor"`
		Level       Level     `json:"level,omitempty"`
		EffectiveAt time.Time `json:"effective_at"`
	}
}

func (h handlers) cancel(ctx context.Context, in *cancelInput) (*struct{}, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	b := in.Body
	return nil, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if err := h.s.Cancel(ctx, tx, by.Name, b.Reason, Price{SKU: b.SKU, Kind: b.Kind, Level: b.Level, EffectiveAt: b.EffectiveAt}); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, "price.cancelled", "product/"+b.SKU, map[string]any{"kind": b.Kind, "level": b.Level, "effective_at": b.EffectiveAt})
	})
}

type comingInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) coming(ctx context.Context, in *comingInput) (*api.PageOutput[Planned], error) {
	all, err := h.s.Coming(ctx, h.s.db, h.s.clock.Now(), in.Limit)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

// SKUPath is the path of operations on the prices of a SKU.
type SKUPath struct {
	SKU string `path:"sku"`
}

func (h handlers) plan(ctx context.Context, in *SKUPath) (*api.PageOutput[Planned], error) {
	all, err := h.s.Plan(ctx, h.s.db, in.SKU)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

type changesInput struct {
	SKUPath
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"199" default:"50"`
}

func (h handlers) changes(ctx context.Context, in *changesInput) (*api.PageOutput[Change], error) {
	if in.Cursor != "" {
		if _, err := id.Parse(in.Cursor); err != nil {
			return nil, ErrUnknownSKU.With("sku", in.SKU)
		}
	}
	all, err := h.s.History(ctx, h.s.db, in.SKU, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(c Change) string { return c.ID.String() }), nil
}
