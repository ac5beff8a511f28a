package sourcing

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of sourcing. Rules and freight tables are the brand's; locations are in scope.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleMerchandiser, auth.RoleManager}
	change := []auth.Role{auth.RoleMerchandiser}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/sourcing" + path, Tag: "sourcing", Summary: summary, Roles: roles}
	}
	api.Add(a, op("plan-sourcing", http.MethodPost, "/plan", "Who would supply a basket, and why not the others", see), h.plan)
	api.Add(a, op("find-sourcing-rules", http.MethodGet, "/rules", "List sourcing rules", see), h.findRules)
	api.Add(a, op("put-sourcing-rules", http.MethodPut, "/rules/{code}", "Put the next version of sourcing rules", change), h.putRules)
	api.Add(a, op("find-freight-tables", http.MethodGet, "/freight", "List freight tables", see), h.findFreight)
	api.Add(a, op("put-freight-table", http.MethodPut, "/freight/{code}", "Put the next version of a carrier's freight table", change), h.putFreight)
	api.Add(a, op("find-sourcing-locations", http.MethodGet, "/locations", "List what locations offer", see), h.findSettings)
	api.Add(a, op("put-sourcing-location", http.MethodPut, "/locations/{code}", "Put what a location offers, and its capacity", see), h.putSettings)
}

type handlers struct {
	s     *Service
	audit Auditor
}

type planInput struct {
	Body struct {
		Rules   string  `json:"rules,omitempty" doc:"code of the rules; empty for default"`
		Request Request `json:"request"`
	}
}

func (h handlers) plan(ctx context.Context, in *planInput) (*api.Body[Decision], error) {
	d, err := h.s.Plan(ctx, h.s.db, auth.ScopeFrom(ctx), in.Body.Rules, in.Body.Request)
	return &api.Body[Decision]{Body: d}, err
}

type pageInput struct {
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) findRules(ctx context.Context, in *pageInput) (*api.PageOutput[Rules], error) {
	all, err := findRules(ctx, h.s.db, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(r Rules) string { return r.Code }), nil
}

func (h handlers) findFreight(ctx context.Context, in *pageInput) (*api.PageOutput[Table], error) {
	all, err := findFreight(ctx, h.s.db, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(t Table) string { return t.Carrier }), nil
}

func (h handlers) findSettings(ctx context.Context, in *pageInput) (*api.PageOutput[Settings], error) {
	all, err := findSettings(ctx, h.s.db, auth.ScopeFrom(ctx), in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(s Settings) string { return s.Location }), nil
}

type putRulesInput struct {
	Code string `path:"code"`
	Body Rules
}

func (h handlers) putRules(ctx context.Context, in *putRulesInput) (*api.Body[Rules], error) {
	in.Body.Code = in.Code
	return put(ctx, h, "sourcing_rules.put", "sourcing-rules/"+in.Code, in.Body, h.s.PutRules)
}

type putFreightInput struct {
	Code string `path:"code"`
	Body Table
}

func (h handlers) putFreight(ctx context.Context, in *putFreightInput) (*api.Body[Table], error) {
	in.Body.Carrier = in.Code
	return put(ctx, h, "freight_table.put", "freight-table/"+in.Code, in.Body, h.s.PutFreight)
}

type putSettingsInput struct {
	Code string `path:"code"`
	Body Settings
}

func (h handlers) putSettings(ctx context.Context, in *putSettingsInput) (*api.Body[Settings], error) {
	in.Body.Location = in.Code
	return put(ctx, h, "sourcing_location.put", "sourcing-location/"+in.Code, in.Body, h.s.PutSettings)
}

func put[T any](ctx context.Context, h handlers, action, object string, v T, do func(context.Context, pgx.Tx, auth.Actor, T) (T, error)) (*api.Body[T], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Body[T]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if out.Body, err = do(ctx, tx, by, v); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, object, map[string]any{"content": out.Body})
	})
}
