package checkout

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
	"github.com/lianke/lianke/member/cluster"
)

// Staff keeps the audit log and knows who works for the brand.
type Staff interface {
	Operator(ctx context.Context, operator id.UUID) (op auth.Operator, known bool, err error)
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of checkout.
func Routes(a *api.API, s *Service, staff Staff) {
	h := handlers{s, staff}
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
	staff Staff
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

// lead checks who is said to have led the sale, which shows them the order and counts as their performance: units exist,
// whoever sees a part of the brand names only that part, and an associate only itself.
func (h handlers) lead(ctx context.Context, by auth.Actor, in *Place) error {
	if unit := in.LeadUnit; unit != "" {
		kinds := map[string]org.Kind{}
		var b pgx.Batch
		org.QueueKinds(&b, []string{unit}, kinds)
		if err := h.s.db.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("find unit %s: %w", unit, err)
		}
		if _, known := kinds[unit]; !known || !by.Scope.All && !slices.Contains(by.Scope.Stores, unit) {
			return invalid("lead_unit", "没有此组织单元,或不在您的管辖范围,请填写自己的门店", "there is no such unit, or it is not yours; name one of your own")
		}
	}
	if self := by.Scope.Associate; self != nil {
		if in.LeadAssociate == "" {
			in.LeadAssociate = self.String()
		}
		if in.LeadAssociate != self.String() {
			return invalid("lead_associate", "导购只能填写自己", "an associate leads sales in its own name only")
		}
		return nil
	}
	if in.LeadAssociate == "" {
		return nil
	}
	unknown := invalid("lead_associate", "没有此导购,或不在您的管辖范围,请填写其账号 id", "there is no such associate, or not one of yours; name the id of an operator")
	operator, err := id.Parse(in.LeadAssociate)
	if err != nil {
		return unknown
	}
	o, known, err := h.staff.Operator(ctx, operator)
	switch {
	case err != nil:
		return err
	case !known || !o.Active || !by.Scope.All && !slices.Contains(by.Scope.Stores, o.Org):
		return unknown
	}
	in.LeadAssociate = operator.String()
	return nil
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
	if err := h.lead(ctx, by, &p); err != nil {
		return nil, err
	}
	o, err := h.s.Place(ctx, p)
	if err != nil {
		return nil, err
	}
	return &api.Body[order.Order]{Body: o.For(by)}, nil
}

type orderPayInput struct {
	order.OrderPath
	Body struct {
		OpenID      string `json:"openid" doc:"of the payer, under the merchant's appid"`
		Description string `json:"description,omitempty"`
	}
}

func (h handlers) pay(ctx context.Context, in *orderPayInput) (*api.Body[payment.Invocation], error) {
	o, err := h.s.orders.Managed(ctx, h.s.db, auth.ScopeFrom(ctx), in.No)
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
	o, err := h.s.orders.Managed(ctx, h.s.db, by.Scope, in.No)
	if err != nil {
		return nil, err
	}
	if o, err = h.s.Cancel(ctx, o.OrderNo, by.Name, in.Body.Reason); err != nil {
		return nil, err
	}
	return &api.Body[order.Order]{Body: o.For(by)}, nil
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
		return h.staff.Audit(ctx, tx, by, "selling_terms.put", "selling-terms/"+string(in.Body.Touchpoint)+"/"+in.Body.Store, nil)
	})
	h.s.forgetTerms()
	return out, err
}
