package coupon

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of coupons.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	edit := []auth.Role{auth.RoleMarketer}
	see := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent, auth.RoleAssociate, auth.RoleFinance}
	give := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "coupons", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-coupon-templates", http.MethodGet, "/coupon-templates", "List coupon templates", see), h.templates)
	create := op("create-coupon-template", http.MethodPost, "/coupon-templates", "Create a coupon template", edit)
	create.Status = http.StatusCreated
	api.Add(a, create, h.create)
	api.Add(a, op("get-coupon-template", http.MethodGet, "/coupon-templates/{code}", "Get a coupon template", see), h.template)
	api.Add(a, op("update-coupon-template", http.MethodPut, "/coupon-templates/{code}", "Change a template; kind, amounts and bearers are fixed", edit), h.update)
	api.Add(a, op("recall-coupons", http.MethodPost, "/coupon-templates/{code}/recall", "Take back unused coupons, at most 2,000 a call", edit), h.recall)
	api.Add(a, op("coupon-costs", http.MethodGet, "/coupon-costs", "Liability and cost per bearer", []auth.Role{auth.RoleFinance, auth.RoleMarketer}), h.costs)
	api.Add(a, op("member-coupons", http.MethodGet, "/members/{birth}/coupons", "Coupons of a member", see), h.coupons)
	api.Add(a, op("issue-coupon", http.MethodPost, "/members/{birth}/coupons", "Give a member a coupon", give), h.issue)
	api.Add(a, op("get-coupon", http.MethodGet, "/coupons/{code}", "Look a coupon up by its code", see), h.get)
}

type handlers struct {
	s     *Service
	audit Auditor
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

// PageInput asks for one page of a list.
type PageInput struct {
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (p PageInput) limit() int { return min(cmp.Or(max(p.Limit, 0), 50), 200) }

func (h handlers) templates(ctx context.Context, in *PageInput) (*api.PageOutput[Template], error) {
	all, err := h.s.Templates(ctx, h.s.db, in.Cursor, in.limit()+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.limit(), func(t Template) string { return t.Code }), nil
}

// CodePath is the path of operations on one item with a code.
type CodePath struct {
	Code string `path:"code"`
}

func (h handlers) template(ctx context.Context, in *CodePath) (*api.Body[Template], error) {
	t, err := h.s.Template(ctx, h.s.db, in.Code)
	if err != nil {
		return nil, err
	}
	return &api.Body[Template]{Body: t}, nil
}

func (h handlers) create(ctx context.Context, in *api.Body[Template]) (*api.Body[Template], error) {
	out := &api.Body[Template]{}
	return out, h.audited(ctx, "coupon_template.created", "coupon-template/"+in.Body.Code, nil, func(tx pgx.Tx) (err error) {
		out.Body, err = h.s.CreateTemplate(ctx, tx, in.Body)
		return err
	})
}

type updateInput struct {
	CodePath
	Body Template
}

func (h handlers) update(ctx context.Context, in *updateInput) (*api.Body[Template], error) {
	in.Body.Code = in.Code
	out := &api.Body[Template]{}
	return out, h.audited(ctx, "coupon_template.updated", "coupon-template/"+in.Code, nil, func(tx pgx.Tx) (err error) {
		out.Body, err = h.s.UpdateTemplate(ctx, tx, in.Body)
		return err
	})
}

type couponRecallInput struct {
	CodePath
	Body struct {
		Codes []string `json:"codes,omitempty" doc:"only these; otherwise all unused ones"`
	}
}

type couponRecallOutput struct {
	Body struct {
		Recalled int `json:"recalled" doc:"repeat the call until it is 0"`
	}
}

func (h handlers) recall(ctx context.Context, in *couponRecallInput) (*couponRecallOutput, error) {
	var codes []string
	for _, c := range in.Body.Codes {
		codes = append(codes, Normalise(c))
	}
	out := &couponRecallOutput{}
	return out, h.audited(ctx, "coupons.recalled", "coupon-template/"+in.Code, map[string]any{"codes": len(codes)}, func(tx pgx.Tx) (err error) {
		out.Body.Recalled, err = h.s.Recall(ctx, tx, in.Code, codes, h.s.clock.Now())
		return err
	})
}

type costsInput struct {
	Template string `query:"template"`
}

func (h handlers) costs(ctx context.Context, in *costsInput) (*api.PageOutput[Cost], error) {
	all, err := h.s.Costs(ctx, h.s.db, in.Template)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

// MemberPath is the path of operations on a member: any birth of it.
type MemberPath struct {
	Birth string `path:"birth" doc:"the member's id, or any birth of it"`
}

// cluster finds the member of the path within the actor's scope.
func (p MemberPath) cluster(ctx context.Context, db pg.DB) (member.Birth, cluster.Cluster, error) {
	n, err := strconv.ParseInt(p.Birth, 10, 64)
	if err != nil || n <= 0 {
		return 0, cluster.Cluster{}, cluster.ErrUnknown.With("birth", p.Birth)
	}
	c, err := cluster.Within(ctx, db, auth.ScopeFrom(ctx), member.Birth(n))
	return member.Birth(n), c, err
}

type couponsInput struct {
	MemberPath
	State string `query:"state" doc:"issued, locked, used, expired or recalled"`
	PageInput
}

func (h handlers) coupons(ctx context.Context, in *couponsInput) (*api.PageOutput[Coupon], error) {
	_, c, err := in.cluster(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	all, err := h.s.Coupons(ctx, h.s.db, c.Births, State(in.State), in.Cursor, in.limit()+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.limit(), func(c Coupon) string { return c.Code }), nil
}

type couponIssueInput struct {
	MemberPath
	IdempotencyKey string `header:"Idempotency-Key" doc:"up to 200 bytes of your choice; a repeated request with the same key changes nothing"`
	Body           struct {
		Template string `json:"template"`
		Reason   string `json:"reason"`
	}
}

type couponIssueOutput struct {
	Body struct {
		Outcome Outcome `json:"outcome" enum:"granted,limit_reached,exhausted,expired_template,inactive"`
		Code    string  `json:"code"`
	}
}

func (h handlers) issue(ctx context.Context, in *couponIssueInput) (*couponIssueOutput, error) {
	if in.IdempotencyKey == "" || len(in.IdempotencyKey) > 200 {
		return nil, invalid("Idempotency-Key", "缺少 Idempotency-Key 请求头", "give an Idempotency-Key header of 1 to 200 bytes")
	}
	if in.Body.Reason == "" {
		return nil, invalid("reason", "请填写原因", "give a reason")
	}
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	birth, _, err := in.cluster(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	out := &couponIssueOutput{}
	detail := map[string]any{"template": in.Body.Template, "reason": in.Body.Reason}
	return out, h.audited(ctx, "coupon.issued", "member/"+birth.String(), detail, func(tx pgx.Tx) error {
		results, err := h.s.Issue(ctx, tx, []Issue{{
			Key: id.Derived("api", "coupon.issue", by.ID.String(), in.IdempotencyKey), Birth: birth, Template: in.Body.Template, At: h.s.clock.Now(), Source: "console",
		}})
		if err != nil {
			return err
		}
		out.Body.Outcome, out.Body.Code = results[0].Outcome, results[0].Code
		return nil
	})
}

// get shows a coupon to whoever may see its member; a bearer coupon to everybody who may look coupons up.
func (h handlers) get(ctx context.Context, in *CodePath) (*api.Body[Coupon], error) {
	c, err := h.s.Get(ctx, h.s.db, in.Code)
	if err != nil {
		return nil, err
	}
	if c.Birth != 0 {
		if _, err := cluster.Within(ctx, h.s.db, auth.ScopeFrom(ctx), c.Birth); err != nil {
			return nil, ErrNoCoupon
		}
	}
	return &api.Body[Coupon]{Body: c}, nil
}
