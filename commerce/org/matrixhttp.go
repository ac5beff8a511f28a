package org

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// MatrixRoutes registers the operations of the matrix of touchpoints and services.
func MatrixRoutes(a *api.API, m *Matrix, audit Auditor) {
	h := matrixHandlers{m, audit}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "touchpoints", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-touchpoint-services", http.MethodGet, "/touchpoint-services", "Which touchpoint does which service", auth.Roles), h.find)
	api.Add(a, op("set-touchpoint-service", http.MethodPut, "/touchpoint-services", "Set what a touchpoint, account or store does about a service", []auth.Role{auth.RoleAdmin}), h.set)
	api.Add(a, op("where-is-service", http.MethodGet, "/touchpoint-services/where", "Touchpoints that do a service, the nearest first", auth.Roles), h.where)
	api.Add(a, op("may-return", http.MethodGet, "/touchpoint-services/returns", "Whether a store takes back what was bought elsewhere, and who refunds it", auth.Roles), h.returns)
}

type matrixHandlers struct {
	m     *Matrix
	audit Auditor
}

// PlaceInput names a place.
type PlaceInput struct {
	Touchpoint string `query:"touchpoint"`
	Account    string `query:"account"`
	Store      string `query:"store"`
}

func (p PlaceInput) place() Place { return Place{member.Touchpoint(p.Touchpoint), p.Account, p.Store} }

// ServiceList is the answer of find-touchpoint-services.
type ServiceList struct {
	Items []Cell `json:"items"`
}

func (h matrixHandlers) find(ctx context.Context, in *PlaceInput) (*api.Body[ServiceList], error) {
	cells, err := h.m.Cells(ctx, h.m.db, in.place(), h.m.clock.Now())
	return &api.Body[ServiceList]{Body: ServiceList{cells}}, err
}

func (h matrixHandlers) set(ctx context.Context, in *api.Body[Cell]) (*api.Body[Cell], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Body[Cell]{}
	err = pg.InTx(ctx, h.m.db, func(tx pgx.Tx) error {
		if out.Body, err = h.m.Set(ctx, tx, by, in.Body); err != nil {
			return err
		}
		c := out.Body
		return h.audit.Audit(ctx, tx, by, "touchpoint_service.set", "touchpoint/"+string(c.Touchpoint), map[string]any{
			"service": c.Service, "account": c.Account, "store": c.Store, "mode": c.Mode, "handover_to": c.HandoverTo, "valid_from": c.ValidFrom,
		})
	})
	h.m.Changed()
	return out, err
}

type whereInput struct {
	PlaceInput
	Service string `query:"service" required:"true" enum:"brand_promotion,new_product,push,traffic,capture,shopping,sales_service,checkout,delivery_pickup,track_cancel,returns,feedback"`
}

// NamedTouchpoint is a touchpoint with its name.
type NamedTouchpoint struct {
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Name       fault.Text        `json:"name"`
}

// TouchpointList is the answer of where-is-service.
type TouchpointList struct {
	Items []NamedTouchpoint `json:"items"`
}

func (h matrixHandlers) where(ctx context.Context, in *whereInput) (*api.Body[TouchpointList], error) {
	list, err := h.m.Where(ctx, h.m.db, in.place(), Service(in.Service), h.m.clock.Now())
	out := &api.Body[TouchpointList]{Body: TouchpointList{[]NamedTouchpoint{}}}
	for _, t := range list {
		out.Body.Items = append(out.Body.Items, NamedTouchpoint{t, h.m.defaults.name(t)})
	}
	return out, err
}

type mayReturnInput struct {
	PlaceInput
	At string `query:"at" required:"true" doc:"code of the store that would receive the goods"`
}

// ReturnAnswer is the answer of may-return.
type ReturnAnswer struct {
	RefundBy RefundBy `json:"refund_by" enum:"hq,platform,seller"`
}

func (h matrixHandlers) returns(ctx context.Context, in *mayReturnInput) (*api.Body[ReturnAnswer], error) {
	by, err := h.m.MayReturn(ctx, h.m.db, Return{in.place(), in.At}, h.m.clock.Now())
	return &api.Body[ReturnAnswer]{Body: ReturnAnswer{by}}, err
}
