package settlement

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of settlement.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	finance := []auth.Role{auth.RoleFinance}
	see := []auth.Role{auth.RoleFinance, auth.RolePartner}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "settlement", Summary: summary, Roles: roles}
	}
	api.Add(a, op("get-order-settlement", http.MethodGet, "/settlements/{order_no}", "How an order's money was divided, and why", see), h.settlement)
	api.Add(a, op("simulate-settlement", http.MethodPost, "/settlement-simulations", "What past orders would have come to under other terms", finance), h.simulate)
	api.Add(a, op("get-performance", http.MethodGet, "/performance", "Performance by unit and associate", []auth.Role{auth.RoleFinance, auth.RolePartner, auth.RoleManager}), h.performance)
	api.Add(a, op("find-statements", http.MethodGet, "/statements", "List statements", see), h.find)
	api.Add(a, op("draft-statements", http.MethodPost, "/statement-drafts", "Put what is payable onto draft statements", finance), h.draft)
	api.Add(a, op("get-statement", http.MethodGet, "/statements/{id}", "Get a statement", see), h.get)
	api.Add(a, op("statement-lines", http.MethodGet, "/statements/{id}/lines", "Lines of a statement, each with its reason", see), h.lines)
	api.Add(a, op("send-statement", http.MethodPost, "/statements/{id}/send", "Ask the partner to confirm", finance), h.move("statement.sent", StateSent))
	api.Add(a, op("confirm-statement", http.MethodPost, "/statements/{id}/confirm", "Confirm a statement", see), h.move("statement.confirmed", StateConfirmed))
	api.Add(a, op("dispute-statement", http.MethodPost, "/statements/{id}/dispute", "Say what is wrong with a statement", see), h.move("statement.disputed", StateDisputed))
	api.Add(a, op("reopen-statement", http.MethodPost, "/statements/{id}/reopen", "Take a disputed statement back to draft", finance), h.move("statement.reopened", StateDraft))
	api.Add(a, op("pay-statement", http.MethodPost, "/statements/{id}/pay", "Say that a statement was paid", finance), h.move("statement.paid", StatePaid))
}

type handlers struct {
	s     *Service
	audit Auditor
}

type orderPath struct {
	OrderNo string `path:"order_no"`
}

func (h handlers) settlement(ctx context.Context, in *orderPath) (*api.Body[Settled], error) {
	out, err := h.s.Order(ctx, h.s.db, auth.ScopeFrom(ctx), in.OrderNo)
	return &api.Body[Settled]{Body: out}, err
}

type simulateInput struct {
	Body struct {
		Partner string    `json:"partner" doc:"code of the partner's org unit"`
		From    time.Time `json:"from"`
		To      time.Time `json:"to"`
		Terms   org.Terms `json:"terms"`
	}
}

func (h handlers) simulate(ctx context.Context, in *simulateInput) (*api.Body[Simulation], error) {
	if _, err := auth.WholeBrand(ctx); err != nil {
		return nil, err
	}
	if err := in.Body.Terms.Validate(true); err != nil {
		return nil, err
	}
	out, err := h.s.Simulate(ctx, h.s.db, in.Body.Partner, in.Body.From, in.Body.To, in.Body.Terms)
	return &api.Body[Simulation]{Body: out}, err
}

type performanceInput struct {
	From   time.Time `query:"from" required:"true"`
	To     time.Time `query:"to" required:"true"`
	Unit   string    `query:"unit"`
	Cursor string    `query:"cursor"`
	Limit  int       `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) performance(ctx context.Context, in *performanceInput) (*api.PageOutput[PerformanceSum], error) {
	all, err := h.s.Performance(ctx, h.s.db, auth.ScopeFrom(ctx), PerformanceQuery{From: in.From, To: in.To, Unit: in.Unit, After: in.Cursor, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, PerformanceSum.cursor), nil
}

type statementsInput struct {
	Entity string `query:"entity"`
	Period string `query:"period"`
	State  State  `query:"state" enum:"draft,sent,disputed,confirmed,paid"`
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) find(ctx context.Context, in *statementsInput) (*api.PageOutput[Statement], error) {
	all, err := h.s.Statements(ctx, h.s.db, auth.ScopeFrom(ctx), StatementQuery{
		Entity: in.Entity, Period: in.Period, State: in.State, After: in.Cursor, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(st Statement) string { return st.Period + "/" + st.Entity }), nil
}

type draftInput struct {
	Body struct {
		Period string `json:"period" doc:"month, like 2026-03"`
	}
}

type draftOutput struct {
	Body struct {
		Statements int `json:"statements" doc:"how many took something in"`
	}
}

func (h handlers) draft(ctx context.Context, in *draftInput) (*draftOutput, error) {
	if _, err := auth.WholeBrand(ctx); err != nil {
		return nil, err
	}
	out := &draftOutput{}
	return out, h.audited(ctx, "statements.drafted", "statements/"+in.Body.Period, nil, func(tx pgx.Tx) (err error) {
		out.Body.Statements, err = h.s.Draft(ctx, tx, in.Body.Period)
		return err
	})
}

func (h handlers) get(ctx context.Context, in *api.ItemPath) (*api.Body[Statement], error) {
	key, err := in.UUID()
	if err != nil {
		return nil, err
	}
	st, err := h.s.Statement(ctx, h.s.db, auth.ScopeFrom(ctx), key)
	return &api.Body[Statement]{Body: st}, err
}

// LinesInput asks for one page of a statement.
type LinesInput struct {
	api.ItemPath
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}

func (h handlers) lines(ctx context.Context, in *LinesInput) (*api.PageOutput[StatementLine], error) {
	key, err := in.UUID()
	if err != nil {
		return nil, err
	}
	st, err := h.s.Statement(ctx, h.s.db, auth.ScopeFrom(ctx), key)
	if err != nil {
		return nil, err
	}
	all, err := h.s.Lines(ctx, h.s.db, st, lineAt(in.Cursor), in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(l StatementLine) string {
		return strconv.Itoa(l.Seq) + "/" + strconv.Itoa(l.N) + "/" + l.OrderNo
	}), nil
}

// lineAt reads a cursor; one that is malformed begins at the start.
func lineAt(cursor string) (l StatementLine) {
	parts := strings.SplitN(cursor, "/", 3)
	if len(parts) < 3 {
		return l
	}
	l.Seq, _ = strconv.Atoi(parts[0])
	l.N, _ = strconv.Atoi(parts[1])
	l.OrderNo = parts[2]
	return l
}

// MoveInput brings a statement into another state.
type MoveInput struct {
	api.ItemPath
	Body struct {
		Version int    `json:"version" doc:"as it was read"`
		Note    string `json:"note,omitempty" maxLength:"2000" doc:"the reason of a dispute, the reference of a payment"`
	}
}

func (h handlers) move(action string, to State) func(context.Context, *MoveInput) (*api.Body[Statement], error) {
	return func(ctx context.Context, in *MoveInput) (*api.Body[Statement], error) {
		if to != StateConfirmed && to != StateDisputed { // those two are the partner's word
			if _, err := auth.WholeBrand(ctx); err != nil {
				return nil, err
			}
		}
		key, err := in.UUID()
		if err != nil {
			return nil, err
		}
		out := &api.Body[Statement]{}
		return out, h.audited(ctx, action, "statement/"+in.ID, map[string]any{"version": in.Body.Version}, func(tx pgx.Tx) (err error) {
			out.Body, err = h.s.Move(ctx, tx, auth.ScopeFrom(ctx), key, in.Body.Version, to, in.Body.Note)
			return err
		})
	}
}

// audited runs fn in a transaction together with its line in the audit log.
func (h handlers) audited(ctx context.Context, action, object string, detail map[string]any, fn func(tx pgx.Tx) error) error {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	return pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, object, detail)
	})
}
