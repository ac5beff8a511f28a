package cart

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Routes registers the operations of carts.
func Routes(a *api.API, s *Service) {
	h := handlers{s}
	who := []auth.Role{auth.RoleShop, auth.RoleManager, auth.RoleAssociate, auth.RoleAgent}
	op := func(id, method, path, summary string) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/carts/{birth}" + path, Tag: "carts", Summary: summary, Roles: who}
	}
	api.Add(a, op("get-cart", http.MethodGet, "", "The open cart of a member or visitor"), h.get)
	api.Add(a, op("set-cart-line", http.MethodPut, "/lines/{sku}", "Put a line of the cart at a quantity; 0 removes it"), h.set)
	api.Add(a, op("merge-carts", http.MethodPost, "/merge", "Move the cart of a guest to the member who signed in"), h.merge)
}

type handlers struct{ s *Service }

// BirthPath is the path of operations on the cart of a member or visitor: any of its births.
type BirthPath struct {
	Birth int64 `path:"birth"`
}

func (h handlers) get(ctx context.Context, in *BirthPath) (*api.Body[Cart], error) {
	who, err := cluster.Within(ctx, h.s.db, auth.ScopeFrom(ctx), member.Birth(in.Birth))
	if err != nil {
		return nil, err
	}
	c, err := h.s.Get(ctx, h.s.db, who.Births)
	if err != nil {
		return nil, err
	}
	return &api.Body[Cart]{Body: c}, nil
}

type lineSetInput struct {
	BirthPath
	SKU  string `path:"sku"`
	Body struct {
		Quantity   int64             `json:"quantity" minimum:"0" maximum:"9999"`
		Touchpoint member.Touchpoint `json:"touchpoint"`
		Store      string            `json:"store,omitempty"`
	}
}

func (h handlers) set(ctx context.Context, in *lineSetInput) (*api.Body[Cart], error) {
	birth := member.Birth(in.Birth)
	who, err := cluster.Within(ctx, h.s.db, auth.ScopeFrom(ctx), birth)
	if err != nil {
		return nil, err
	}
	out := &api.Body[Cart]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) (err error) {
		out.Body, err = h.s.Set(ctx, tx, SetLine{Birth: birth, Births: who.Births, Touchpoint: in.Body.Touchpoint, Store: in.Body.Store, SKU: in.SKU, Quantity: in.Body.Quantity})
		return err
	})
}

type cartMergeInput struct {
	BirthPath
	Body struct {
		From member.Birth `json:"from,string" doc:"birth of the guest"`
	}
}

func (h handlers) merge(ctx context.Context, in *cartMergeInput) (*api.Body[Cart], error) {
	scope := auth.ScopeFrom(ctx)
	if _, err := cluster.Within(ctx, h.s.db, scope, in.Body.From); err != nil {
		return nil, err
	}
	who, err := cluster.Within(ctx, h.s.db, scope, member.Birth(in.Birth))
	if err != nil {
		return nil, err
	}
	out := &api.Body[Cart]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) (err error) {
		if err := h.s.Merge(ctx, tx, in.Body.From, member.Birth(in.Birth)); err != nil {
			return err
		}
		out.Body, err = h.s.Get(ctx, tx, who.Births)
		return err
	})
}
