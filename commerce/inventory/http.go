package inventory

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of stock. Those who are bound to stores see and move the stock of these.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleMerchandiser, auth.RoleManager, auth.RoleAssociate, auth.RoleAgent, auth.RoleFinance}
	move := []auth.Role{auth.RoleMerchandiser, auth.RoleManager}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "stock", Summary: summary, Roles: roles}
	}
	get, post := http.MethodGet, http.MethodPost
	api.Add(a, op("find-stock", get, "/stock", "List stock by location and SKU", see), h.levels)
	api.Add(a, op("find-stock-moves", get, "/stock/moves", "Read the history of stock, newest first", see), h.moves)
	api.Add(a, op("available-stock", get, "/stock/available", "What can be promised now, through a touchpoint", see), h.available)
	api.Add(a, op("set-safety-stock", post, "/stock/safety", "Keep good units back from sale", move), h.safety)
	api.Add(a, op("hold-stock", post, "/stock/holds", "Hold stock for a while, all lines or none", []auth.Role{auth.RoleManager, auth.RoleAssociate, auth.RoleAgent}), h.hold)
	api.Add(a, op("receive-stock", post, "/stock-receipts", "Receive goods", move), h.paper("receipt"))
	api.Add(a, op("adjust-stock", post, "/stock-adjustments", "Correct stock, with a reason", move), h.paper("adjustment"))
	api.Add(a, op("change-stock-status", post, "/stock-status-changes", "Move goods between good, damaged, inspecting and frozen", move), h.paper("status_change"))

	api.Add(a, op("open-stock-count", post, "/stock-counts", "Begin a blind count", move), h.openCount)
	api.Add(a, op("get-stock-count", get, "/stock-counts/{id}", "Get a count; blind while it is open", see), h.count)
	api.Add(a, op("record-stock-count", post, "/stock-counts/{id}/lines", "Note what was counted", see), h.record)
	api.Add(a, op("finish-stock-count", post, "/stock-counts/{id}/finish", "End the counting and show the differences", move), h.moveCount("counted"))
	api.Add(a, op("post-stock-count", post, "/stock-counts/{id}/post", "Correct stock by the differences", move), h.moveCount("posted"))
	api.Add(a, op("cancel-stock-count", post, "/stock-counts/{id}/cancel", "Give a count up", move), h.moveCount("cancelled"))

	api.Add(a, op("find-stock-transfers", get, "/stock-transfers", "List transfers, newest first", see), h.transfers)
	api.Add(a, op("request-stock-transfer", post, "/stock-transfers", "Ask for goods of another location", move), h.requestTransfer)
	api.Add(a, op("get-stock-transfer", get, "/stock-transfers/{id}", "Get a transfer", see), h.transfer)
	api.Add(a, op("approve-stock-transfer", post, "/stock-transfers/{id}/approve", "Approve a transfer and reserve its goods", move), h.approve)
	api.Add(a, op("reject-stock-transfer", post, "/stock-transfers/{id}/reject", "Say no to a transfer", move), h.reject)
	api.Add(a, op("cancel-stock-transfer", post, "/stock-transfers/{id}/cancel", "Withdraw a transfer that was not shipped", move), h.cancel)
	api.Add(a, op("ship-stock-transfer", post, "/stock-transfers/{id}/ship", "Ship a transfer", move), h.ship)
	api.Add(a, op("receive-stock-transfer", post, "/stock-transfers/{id}/receive", "Receive a transfer, with what is missing", move), h.receive)
}

type handlers struct {
	s     *Service
	audit Auditor
}

// within checks that the actor may see at least one of the locations.
func within(ctx context.Context, locations ...string) error {
	scope := auth.ScopeFrom(ctx)
	if scope.All || slices.ContainsFunc(locations, func(l string) bool { return slices.Contains(scope.Stores, l) }) {
		return nil
	}
	return ErrNoLocation.With("location", locations[0])
}

// scoped are the locations the actor sees, or the one that was asked for; nil is every one.
func scoped(ctx context.Context, asked string) ([]string, error) {
	if asked != "" {
		return []string{asked}, within(ctx, asked)
	}
	if scope := auth.ScopeFrom(ctx); !scope.All {
		return append([]string{}, scope.Stores...), nil
	}
	return nil, nil
}

// audited runs fn in a transaction with a line in the audit log, and validates its input first.
func audited[T any](ctx context.Context, h handlers, action string, in any, fn func(tx pgx.Tx, actor string) (T, string, error)) (*api.Body[T], error) {
	if err := validate.Struct(in); err != nil {
		return nil, err
	}
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Body[T]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		v, object, err := fn(tx, by.Name)
		if err != nil {
			return err
		}
		out.Body = v
		return h.audit.Audit(ctx, tx, by, action, object, nil)
	})
}

type stockLevelsInput struct {
	SKU      string `query:"sku"`
	Location string `query:"location"`
	Owner    string `query:"owner"`
	Status   Status `query:"status" enum:"good,damaged,inspecting,frozen"`
	Cursor   string `query:"cursor"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) levels(ctx context.Context, in *stockLevelsInput) (*api.PageOutput[Level], error) {
	locations, err := scoped(ctx, in.Location)
	if err != nil {
		return nil, err
	}
	found, err := h.s.FindLevels(ctx, h.s.db, FindLevelsInput{
		SKU: in.SKU, Locations: locations, Owner: in.Owner, Status: in.Status, After: in.Cursor, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, in.Limit, Level.cursor), nil
}

type stockMovesInput struct {
	SKU      string `query:"sku"`
	Location string `query:"location"`
	RefKind  string `query:"ref_kind"`
	RefID    string `query:"ref_id"`
	Physical bool   `query:"physical" doc:"leave out reservations"`
	Cursor   int64  `query:"cursor" minimum:"0"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) moves(ctx context.Context, in *stockMovesInput) (*api.PageOutput[Move], error) {
	locations, err := scoped(ctx, in.Location)
	if err != nil {
		return nil, err
	}
	found, err := h.s.FindMoves(ctx, h.s.db, FindMovesInput{
		SKU: in.SKU, Locations: locations, Ref: Ref{in.RefKind, in.RefID}, Physical: in.Physical, Before: in.Cursor, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, in.Limit, func(m Move) string { return strconv.FormatInt(m.ID, 10) }), nil
}

type availableInput struct {
	SKUs       []string `query:"sku,explode" required:"true" maxItems:"200"`
	Location   string   `query:"location"`
	Touchpoint string   `query:"touchpoint"`
}

func (h handlers) available(ctx context.Context, in *availableInput) (*api.PageOutput[Available], error) {
	locations, err := scoped(ctx, in.Location)
	if err != nil {
		return nil, err
	}
	if locations != nil && len(locations) == 0 {
		return api.NewPage([]Available{}, 0, nil), nil
	}
	found, err := h.s.Available(ctx, h.s.db, in.SKUs, locations, in.Touchpoint)
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, len(found), nil), nil
}

type safetyStock struct {
	SKU      string `json:"sku" validate:"required,max=100"`
	Location string `json:"location" validate:"required,max=100"`
	Owner    string `json:"owner" validate:"required,max=100"`
	Safety   int64  `json:"safety" validate:"min=0,max=1000000"`
}

func (h handlers) safety(ctx context.Context, in *api.Body[safetyStock]) (*api.Body[safetyStock], error) {
	return audited(ctx, h, "stock.safety_set", in.Body, func(tx pgx.Tx, _ string) (safetyStock, string, error) {
		b := in.Body
		if err := within(ctx, b.Location); err != nil {
			return b, "", err
		}
		return b, "stock/" + b.Location + "/" + b.SKU, h.s.SetSafety(ctx, tx, Place{b.SKU, b.Location, b.Owner, StatusGood}, b.Safety)
	})
}

type holdStock struct {
	ID         string         `json:"id" validate:"required,max=100" doc:"of your choice; the same id is the same hold"`
	Touchpoint string         `json:"touchpoint,omitempty" validate:"max=50"`
	Minutes    int            `json:"minutes" validate:"min=1,max=2880"`
	Lines      []holdStockRow `json:"lines" validate:"required,min=1,max=100,dive"`
}

type holdStockRow struct {
	SKU      string `json:"sku" validate:"required,max=100"`
	Location string `json:"location" validate:"required,max=100"`
	Owner    string `json:"owner,omitempty" validate:"max=100"`
	Quantity int64  `json:"quantity" validate:"min=1,max=1000000"`
}

func (h handlers) hold(ctx context.Context, in *api.Body[holdStock]) (*api.PageOutput[Reservation], error) {
	if err := validate.Struct(in.Body); err != nil {
		return nil, err
	}
	b := Basket{
		Ref: Ref{"hold", in.Body.ID}, Touchpoint: in.Body.Touchpoint, ExpiresAt: h.s.clock.Now().Add(time.Duration(in.Body.Minutes) * time.Minute),
	}
	for i, l := range in.Body.Lines {
		if err := within(ctx, l.Location); err != nil {
			return nil, err
		}
		b.Lines = append(b.Lines, Want{Line: i + 1, SKU: l.SKU, Location: l.Location, Owner: l.Owner, Quantity: l.Quantity})
	}
	got, err := h.s.ReserveNow(ctx, b)
	if err != nil {
		return nil, err
	}
	return api.NewPage(got, len(got), nil), nil
}

func (h handlers) paper(kind string) func(context.Context, *api.Body[WritePaperInput]) (*api.Body[Paper], error) {
	return func(ctx context.Context, in *api.Body[WritePaperInput]) (*api.Body[Paper], error) {
		return audited(ctx, h, "stock."+kind, in.Body, func(tx pgx.Tx, actor string) (Paper, string, error) {
			if err := within(ctx, in.Body.Location); err != nil {
				return Paper{}, "", err
			}
			p, err := h.s.WritePaper(ctx, tx, kind, in.Body, actor)
			return p, "stock-paper/" + p.ID.String(), err
		})
	}
}
