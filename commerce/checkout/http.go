package checkout

import (
	"context"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
	"github.com/lianke/lianke/member/cluster"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of checkout.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	sell := []auth.Role{auth.RoleShop, auth.RoleManager, auth.RoleAssociate, auth.RoleAgent}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "checkout", Summary: summary, Roles: roles}
	}
	api.Add(a, op("quote-basket", http.MethodPost, "/quotes", "What a basket costs, with a token that holds us to it", sell), h.quote)
	place := op("place-order", http.MethodPost, "/orders", "Place an order: everything is held, or nothing happens", sell)
	place.Status = http.StatusCreated
	place.About = "request_id makes it harmless to repeat: the same request gets the same order, another content under the same id is refused."
	api.Add(a, place, h.place)
	api.Add(a, op("pay-order", http.MethodPost, "/orders/{no}/pay", "Make an order payable by WeChat Pay; returns what the device needs", sell), h.pay)
	api.Add(a, op("order-payments", http.MethodGet, "/orders/{no}/payments", "Payments and refunds of an order",
		append([]auth.Role{auth.RoleFinance}, sell...)), h.payments)
	api.Add(a, op("cancel-order", http.MethodPost, "/orders/{no}/cancel", "Cancel an order that nobody has sent", sell), h.cancel)
	api.Add(a, op("find-selling-terms", http.MethodGet, "/selling-terms", "Who sells, collects and delivers at each touchpoint",
		[]auth.Role{auth.RoleMerchandiser, auth.RoleFinance, auth.RoleManager}), h.terms)
	api.Add(a, op("put-selling-terms", http.MethodPut, "/selling-terms", "Say who sells, collects and delivers at a touchpoint", []auth.Role{auth.RoleFinance}), h.putTerms)
}

type handlers struct {
	s     *Service
	audit Auditor
}

// allowed checks that the actor may sell at the store and to the member. Touchpoints without a store are the brand's own.
func allowed(ctx context.Context, db pg.DB, b Basket) (auth.Actor, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil || by.Scope.All {
		return by, err
	}
	if !slices.Contains(by.Scope.Stores, b.Store) {
		return by, auth.ErrForbidden
	}
	if b.Birth != 0 {
		_, err = cluster.Within(ctx, db, by.Scope, b.Birth)
	}
	return by, err
}

func (h handlers) quote(ctx context.Context, in *api.Body[Basket]) (*api.Body[Quote], error) {
	if _, err := allowed(ctx, h.s.db, in.Body); err != nil {
		return nil, err
	}
	q, err := h.s.Quote(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &api.Body[Quote]{Body: q}, nil
}

// PlaceBody is the body of place-order.
type PlaceBody struct {
	Place
	RequestID string `json:"request_id" doc:"the caller's own id of this order"`
	Token     string `json:"quote" doc:"token of the quote that the member saw"`
}

func (h handlers) place(ctx context.Context, in *api.Body[PlaceBody]) (*api.Body[order.Order], error) {
	by, err := allowed(ctx, h.s.db, in.Body.Basket)
	if err != nil {
		return nil, err
	}
	p := in.Body.Place
	p.Caller, p.Request, p.Quote, p.Actor = by.ID.String(), in.Body.RequestID, in.Body.Token, by.Name
	if p.Quote == "" {
		return nil, ErrQuote
	}
	o, err := h.s.Place(ctx, p)
	if err != nil {
		return nil, err
	}
	return &api.Body[order.Order]{Body: o}, nil
}

type orderPayInput struct {
	order.OrderPath
	Body struct {
		OpenID      string `json:"openid" doc:"of the payer, under the merchant's appid"`
		Description string `json:"description,omitempty"`
	}
}

func (h handlers) pay(ctx context.Context, in *orderPayInput) (*api.Body[payment.Invocation], error) {
	o, err := h.s.orders.Within(ctx, h.s.db, auth.ScopeFrom(ctx), in.No)
	if err != nil {
		return nil, err
	}
	description := in.Body.Description
	if description == "" {
		description = o.OrderNo
	}
	i, err := h.s.payments.Prepare(ctx, o.OrderNo, description, in.Body.OpenID)
	if err != nil {
		return nil, err
	}
	return &api.Body[payment.Invocation]{Body: i}, nil
}

type orderPaymentsOutput struct {
	Body struct {
		Payments []payment.Payment `json:"payments"`
		Refunds  []payment.Refund  `json:"refunds"`
	}
}

func (h handlers) payments(ctx context.Context, in *order.OrderPath) (*orderPaymentsOutput, error) {
	o, err := h.s.orders.Within(ctx, h.s.db, auth.ScopeFrom(ctx), in.No)
	if err != nil {
		return nil, err
	}
	out := &orderPaymentsOutput{}
	if out.Body.Payments, err = h.s.payments.OfOrder(ctx, h.s.db, o.OrderNo); err != nil {
		return nil, err
	}
	out.Body.Refunds, err = h.s.payments.Refunds(ctx, h.s.db, o.OrderNo)
	return out, err
}

type orderCancelInput struct {
	order.OrderPath
	Body struct {
		Reason string `json:"reason,omitempty"`
	}
}

func (h handlers) cancel(ctx context.Context, in *orderCancelInput) (*api.Body[order.Order], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	o, err := h.s.orders.Within(ctx, h.s.db, by.Scope, in.No)
	if err != nil {
		return nil, err
	}
	if o, err = h.s.Cancel(ctx, o.OrderNo, by.Name, in.Body.Reason); err != nil {
		return nil, err
	}
	return &api.Body[order.Order]{Body: o}, nil
}

func (h handlers) terms(ctx context.Context, _ *struct{}) (*api.PageOutput[SellingTerms], error) {
	all, err := h.s.Terms(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

func (h handlers) putTerms(ctx context.Context, in *api.Body[SellingTerms]) (*api.Body[SellingTerms], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	if !by.Scope.All {
		return nil, auth.ErrForbidden
	}
	if err := validate.Struct(in.Body); err != nil {
		return nil, err
	}
	out := &api.Body[SellingTerms]{}
	err = pg.InTx(ctx, h.s.db, func(tx pgx.Tx) (err error) {
		if out.Body, err = h.s.PutTerms(ctx, tx, in.Body); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, "selling_terms.put", "selling-terms/"+string(in.Body.Touchpoint)+"/"+in.Body.Store, nil)
	})
	h.s.forgetTerms()
	return out, err
}
