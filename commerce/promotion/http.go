package promotion

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of promotions.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	edit := []auth.Role{auth.RoleMarketer, auth.RoleMerchandiser}
	see := []auth.Role{auth.RoleMarketer, auth.RoleMerchandiser, auth.RoleManager, auth.RoleAgent, auth.RoleAssociate, auth.RoleFinance}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "promotions", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-promotions", http.MethodGet, "/promotions", "List promotions", see), h.find)
	create := op("create-promotion", http.MethodPost, "/promotions", "Create a draft", edit)
	create.Status = http.StatusCreated
	api.Add(a, create, h.create)
	api.Add(a, op("get-promotion", http.MethodGet, "/promotions/{code}", "Get a promotion", see), h.get)
	api.Add(a, op("update-promotion", http.MethodPut, "/promotions/{code}", "Change what is being written; what is live stays", edit), h.update)
	api.Add(a, op("approve-promotion", http.MethodPost, "/promotions/{code}/approve", "Approve a draft", edit), h.approve)
	api.Add(a, op("publish-promotion", http.MethodPost, "/promotions/{code}/publish", "Make what was approved the live version", edit), h.publish)
	api.Add(a, op("stop-promotion", http.MethodPost, "/promotions/{code}/stop", "End the live version at once", edit), h.stop)
	api.Add(a, op("promotion-versions", http.MethodGet, "/promotions/{code}/versions", "What was published, with use and cost", see), h.versions)
	api.Add(a, op("get-promotion-stacking", http.MethodGet, "/promotion-stacking", "How promotions combine", see), h.stacking)
	api.Add(a, op("set-promotion-stacking", http.MethodPut, "/promotion-stacking", "Change how promotions combine", edit), h.setStacking)
	api.Add(a, op("evaluate-promotions", http.MethodPost, "/promotions/evaluate", "What a cart comes to, and why each promotion applies or does not", see), h.evaluate)
	api.Add(a, op("forecast-promotion", http.MethodPost, "/promotions/forecast", "What a draft would have done to past orders", edit), h.forecast)
}

type handlers struct {
	s     *Service
	audit Auditor
}

// audited runs fn in a transaction together with its line in the audit log.
func (h handlers) audited(ctx context.Context, action, object string, fn func(tx pgx.Tx, by auth.Actor) error) error {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	return pg.InTx(ctx, h.s.db, func(tx pgx.Tx) error {
		if err := fn(tx, by); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, object, nil)
	})
}

type promotionsInput struct {
	Status Status `query:"status" enum:"draft,approved,published,stopped"`
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"199" default:"50"`
}

func (h handlers) find(ctx context.Context, in *promotionsInput) (*api.PageOutput[Promotion], error) {
	all, err := h.s.Find(ctx, h.s.db, in.Status, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(p Promotion) string { return p.Spec.Promotion }), nil
}

func (h handlers) create(ctx context.Context, in *api.Body[Rule]) (*api.Body[Promotion], error) {
	out := &api.Body[Promotion]{}
	return out, h.audited(ctx, "promotion.created", "promotion/"+in.Body.Promotion, func(tx pgx.Tx, by auth.Actor) (err error) {
		out.Body, err = h.s.Create(ctx, tx, by.Name, in.Body)
		return err
	})
}

// CodePath is the path of operations on one promotion.
type CodePath struct {
	Code string `path:"code"`
}

func (h handlers) get(ctx context.Context, in *CodePath) (*api.Body[Promotion], error) {
	p, err := h.s.Get(ctx, h.s.db, in.Code)
	return &api.Body[Promotion]{Body: p}, err
}

type promotionUpdateInput struct {
	CodePath
	Body struct {
		Spec     Rule  `json:"spec"`
		Revision int64 `json:"revision" doc:"the one that was read"`
	}
}

func (h handlers) update(ctx context.Context, in *promotionUpdateInput) (*api.Body[Promotion], error) {
	in.Body.Spec.Promotion = in.Code
	out := &api.Body[Promotion]{}
	return out, h.audited(ctx, "promotion.updated", "promotion/"+in.Code, func(tx pgx.Tx, _ auth.Actor) (err error) {
		out.Body, err = h.s.Update(ctx, tx, in.Body.Spec, in.Body.Revision)
		return err
	})
}

func (h handlers) approve(ctx context.Context, in *CodePath) (*api.Body[Promotion], error) {
	return h.step(ctx, "promotion.approved", in.Code, h.s.Approve)
}

func (h handlers) publish(ctx context.Context, in *CodePath) (*api.Body[Promotion], error) {
	return h.step(ctx, "promotion.published", in.Code, h.s.Publish)
}

func (h handlers) stop(ctx context.Context, in *CodePath) (*api.Body[Promotion], error) {
	return h.step(ctx, "promotion.stopped", in.Code, h.s.Stop)
}

func (h handlers) step(ctx context.Context, action, code string, do func(ctx context.Context, tx pgx.Tx, by, code string) (Promotion, error)) (*api.Body[Promotion], error) {
	out := &api.Body[Promotion]{}
	return out, h.audited(ctx, action, "promotion/"+code, func(tx pgx.Tx, by auth.Actor) (err error) {
		out.Body, err = do(ctx, tx, by.Name, code)
		return err
	})
}

func (h handlers) versions(ctx context.Context, in *CodePath) (*api.PageOutput[Version], error) {
	if _, err := h.s.Get(ctx, h.s.db, in.Code); err != nil {
		return nil, err
	}
	all, err := h.s.Versions(ctx, h.s.db, in.Code)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), func(v Version) string { return strconv.Itoa(v.Version) }), nil
}

func (h handlers) stacking(ctx context.Context, _ *struct{}) (*api.Body[Stacking], error) {
	st, err := h.s.Stacking(ctx, h.s.db)
	return &api.Body[Stacking]{Body: st}, err
}

func (h handlers) setStacking(ctx context.Context, in *api.Body[Stacking]) (*api.Body[Stacking], error) {
	out := &api.Body[Stacking]{}
	return out, h.audited(ctx, "promotion.stacking", "promotion-stacking", func(tx pgx.Tx, _ auth.Actor) (err error) {
		out.Body, err = h.s.SetStacking(ctx, tx, in.Body)
		return err
	})
}

type evaluateInput struct {
	Body struct {
		At         time.Time         `json:"at,omitempty" doc:"now if left out"`
		Touchpoint member.Touchpoint `json:"touchpoint,omitempty"`
		Store      string            `json:"store,omitempty"`
		Member     Member            `json:"member,omitempty"`
		Lines      []Line            `json:"lines"`
		FreightFen money.Fen         `json:"freight_fen,omitempty"`
		GiftStock  map[string]int64  `json:"gift_stock,omitempty" doc:"left out: all gifts are there"`
		Draft      *Rule             `json:"draft,omitempty" doc:"a promotion to try beside those that are live"`
		Explain    bool              `json:"explain,omitempty" doc:"trace all promotions, also those that have nothing to do with the cart"`
	}
}

func (h handlers) evaluate(ctx context.Context, in *evaluateInput) (*api.Body[Result], error) {
	b := &in.Body
	cart := Cart{At: b.At, Touchpoint: b.Touchpoint, Store: b.Store, Member: b.Member, Lines: b.Lines, Freight: b.FreightFen, GiftStock: b.GiftStock}
	if cart.At.IsZero() {
		cart.At = h.s.clock.Now()
	}
	if err := cart.Validate(); err != nil {
		return nil, err
	}
	live, err := h.s.Live(ctx, h.s.db, nil, cart.At)
	if err != nil {
		return nil, err
	}
	cart.Exhausted = live.Exhausted
	if b.Draft != nil {
		if _, live.Rules, err = compileWith(ctx, h.s.db, *b.Draft); err != nil {
			return nil, err
		}
	}
	if b.Explain {
		return &api.Body[Result]{Body: Explain(live.Rules, cart)}, nil
	}
	return &api.Body[Result]{Body: Evaluate(live.Rules, cart)}, nil
}

type forecastInput struct {
	Body struct {
		Draft  Rule       `json:"draft"`
		From   *time.Time `json:"from,omitempty" doc:"28 days before to if left out"`
		To     *time.Time `json:"to,omitempty" doc:"now if left out"`
		Assume bool       `json:"assume,omitempty" doc:"treat the draft's dates, tiers, segments and tags as met"`
		Limit  int        `json:"limit,omitempty" doc:"orders to replay, at most 20,000; more are sampled"`
	}
}

func (h handlers) forecast(ctx context.Context, in *forecastInput) (*api.Body[Forecast], error) {
	q := ForecastInput{Draft: in.Body.Draft, To: h.s.clock.Now(), Assume: in.Body.Assume, Limit: in.Body.Limit}
	if in.Body.To != nil {
		q.To = *in.Body.To
	}
	q.From = q.To.AddDate(0, 0, -28)
	if in.Body.From != nil {
		q.From = *in.Body.From
	}
	f, err := h.s.Forecast(ctx, h.s.db, q)
	return &api.Body[Forecast]{Body: f}, err
}
