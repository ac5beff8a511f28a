package org

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

// Routes registers the operations of contracts.
func Routes(a *api.API, s *Contracts, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleFinance, auth.RolePartner}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/contracts" + path, Tag: "contracts", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-contracts", http.MethodGet, "", "List contracts with partners", see), h.find)
	sign := op("sign-contract", http.MethodPost, "", "Sign a contract", []auth.Role{auth.RoleFinance})
	sign.Status = http.StatusCreated
	api.Add(a, sign, h.sign)
	api.Add(a, op("get-contract", http.MethodGet, "/{code}", "Get a contract", see), h.get)
	api.Add(a, op("change-contract", http.MethodPut, "/{code}", "Change a contract; paid orders keep their version", []auth.Role{auth.RoleFinance}), h.change)
}

type handlers struct {
	s     *Contracts
	audit Auditor
}

type findInput struct {
	Partner string `query:"partner"`
	Cursor  string `query:"cursor"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) find(ctx context.Context, in *findInput) (*api.PageOutput[Contract], error) {
	all, err := h.s.Find(ctx, h.s.db, auth.ScopeFrom(ctx), in.Partner, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(c Contract) string { return c.Code }), nil
}

type contractPath struct {
	Code string `path:"code"`
}

func (h handlers) get(ctx context.Context, in *contractPath) (*api.Body[Contract], error) {
	c, err := h.s.Get(ctx, h.s.db, auth.ScopeFrom(ctx), in.Code)
	return &api.Body[Contract]{Body: c}, err
}

func (h handlers) sign(ctx context.Context, in *api.Body[Contract]) (*api.Body[Contract], error) {
	return h.write(ctx, "contract.signed", in.Body, h.s.Sign)
}

type changeInput struct {
	Code string `path:"code"`
	Body Contract
}

func (h handlers) change(ctx context.Context, in *changeInput) (*api.Body[Contract], error) {
	in.Body.Code = in.Code
	return h.write(ctx, "contract.changed", in.Body, h.s.Change)
}

func (h handlers) write(ctx context.Context, action string, c Contract, do func(context.Context, pgx.Tx, auth.Actor, Contract) (Contract, error)) (*api.Body[Contract], error) {
	by, err := auth.WholeBrand(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Body[Contract]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if out.Body, err = do(ctx, tx, by, c); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, "contract/"+c.Code, map[string]any{"version": out.Body.Version, "model": c.Terms.Model})
	})
}
