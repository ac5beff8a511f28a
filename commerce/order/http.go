package order

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of orders.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleShop, auth.RoleManager, auth.RoleAssociate, auth.RoleAgent, auth.RoleFinance, auth.RoleMerchandiser, auth.RolePartner}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/orders" + path, Tag: "orders", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-orders", http.MethodGet, "", "List orders, newest first", see), h.find)
	api.Add(a, op("get-order", http.MethodGet, "/{no}", "Get an order with lines, units and tenders", see), h.get)
	api.Add(a, op("order-events", http.MethodGet, "/{no}/events", "What happened to an order", see), h.events)
	api.Add(a, op("reveal-order-receiver", http.MethodPost, "/{no}/reveal-receiver", "Read where an order goes, in clear; audited",
		[]auth.Role{auth.RoleManager, auth.RoleAgent}), h.reveal)
}

type handlers struct {
	s     *Service
	audit Auditor
}

type orderFindInput struct {
	Member     int64             `query:"member" doc:"any birth of the member"`
	Status     Status            `query:"status"`
	Touchpoint member.Touchpoint `query:"touchpoint"`
	Store      string            `query:"store"`
	SKU        string            `query:"sku"`
	Number     string            `query:"number" doc:"beginning of the order number"`
	From       time.Time         `query:"from"`
	To         time.Time         `query:"to"`
	Cursor     string            `query:"cursor"`
	Limit      int               `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) find(ctx context.Context, in *orderFindInput) (*api.PageOutput[Order], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	limit := min(cmp.Or(max(in.Limit, 0), 50), 200)
	f := Filter{
		Status: in.Status, Touchpoint: in.Touchpoint, Store: in.Store, SKU: in.SKU, Number: in.Number, From: in.From, To: in.To,
		Cursor: in.Cursor, Limit: limit + 1,
	}
	if in.Member != 0 {
		who, err := cluster.Within(ctx, h.s.db, by.Scope, member.Birth(in.Member))
		if err != nil {
			return nil, err
		}
		f.Births = who.Births
	}
	all, err := h.s.Find(ctx, h.s.db, by.Scope, f)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i] = all[i].For(by)
	}
	return api.NewPage(all, limit, cursor), nil
}

// OrderPath is the path of operations on one order.
type OrderPath struct {
	No string `path:"no"`
}

func (h handlers) get(ctx context.Context, in *OrderPath) (*api.Body[Order], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	o, err := h.s.Within(ctx, h.s.db, by.Scope, in.No)
	if err != nil {
		return nil, err
	}
	return &api.Body[Order]{Body: o.For(by)}, nil
}

func (h handlers) events(ctx context.Context, in *OrderPath) (*api.PageOutput[Event], error) {
	o, err := h.s.Within(ctx, h.s.db, auth.ScopeFrom(ctx), in.No)
	if err != nil {
		return nil, err
	}
	all, err := h.s.Events(ctx, h.s.db, o.OrderNo)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

type receiverRevealInput struct {
	OrderPath
	Body struct {
		Purpose string `json:"purpose" validate:"required,max=200"`
	}
}

func (h handlers) reveal(ctx context.Context, in *receiverRevealInput) (*api.Body[Address], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	if !by.Scope.Reveal {
		return nil, auth.ErrForbidden
	}
	if in.Body.Purpose == "" {
		return nil, invalid("purpose", "请说明用途", "say what it is needed for")
	}
	o, err := h.s.Managed(ctx, h.s.db, by.Scope, in.No)
	if err != nil {
		return nil, err
	}
	out := &api.Body[Address]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if out.Body, err = h.s.OpenReceiver(ctx, tx, o); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, "order.receiver_revealed", "order/"+o.OrderNo, map[string]any{"purpose": in.Body.Purpose})
	})
}
