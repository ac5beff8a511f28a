package api

import (
	"context"
	"net/http"
	"time"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
)

// AccountRoutes registers sign-in, operators, keys and the audit log. They stand here rather than in auth because api
// builds on auth.
func AccountRoutes(a *API, s *auth.Service, secureCookies bool) {
	h := accounts{auth: s, secure: secureCookies}
	Add(a, Op{ID: "sign-in", Method: http.MethodPost, Path: "/api/v1/session", Tag: "session", Summary: "Sign in", Public: true, MaxBody: 4 << 10}, h.signIn)
	Add(a, Op{ID: "get-session", Method: http.MethodGet, Path: "/api/v1/session", Tag: "session", Summary: "Who am I", Roles: auth.Roles}, h.whoAmI)
	Add(a, Op{ID: "sign-out", Method: http.MethodDelete, Path: "/api/v1/session", Tag: "session", Summary: "Sign out", Public: true}, h.signOut)

	admin := []auth.Role{auth.RoleAdmin}
	Add(a, Op{ID: "find-operators", Method: http.MethodGet, Path: "/api/v1/operators", Tag: "operators", Summary: "List operators", Roles: admin}, h.findOperators)
	Add(a, Op{ID: "create-operator", Method: http.MethodPost, Path: "/api/v1/operators", Tag: "operators", Summary: "Create an operator", Roles: admin, Status: http.StatusCreated}, h.createOperator)
	Add(a, Op{ID: "update-operator", Method: http.MethodPatch, Path: "/api/v1/operators/{id}", Tag: "operators", Summary: "Change an operator; ends their sessions", Roles: admin}, h.updateOperator)
	Add(a, Op{ID: "find-keys", Method: http.MethodGet, Path: "/api/v1/keys", Tag: "keys", Summary: "List write keys and API keys", Roles: admin}, h.findKeys)
	Add(a, Op{ID: "create-key", Method: http.MethodPost, Path: "/api/v1/keys", Tag: "keys", Summary: "Make a key; its secret is shown once", Roles: admin, Status: http.StatusCreated}, h.createKey)
	Add(a, Op{ID: "revoke-key", Method: http.MethodPost, Path: "/api/v1/keys/{id}/revoke", Tag: "keys", Summary: "Stop a key", Roles: admin}, h.revokeKey)
	Add(a, Op{ID: "find-audit", Method: http.MethodGet, Path: "/api/v1/audit", Tag: "audit", Summary: "Read the audit log, newest first", Roles: admin}, h.findAudit)
}

type accounts struct {
	auth   *auth.Service
	secure bool
}

type requestKey struct{}

// Request returns the HTTP request of an operation, for the few that need its address or cookies; nil outside one.
func Request(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	return r
}

type signInInput struct {
	Body struct {
		Login    string `json:"login" validate:"required,max=64"`
		Password string `json:"password" validate:"required,max=200"`
	}
}

type sessionOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      struct {
		Operator  auth.Operator `json:"operator"`
		ExpiresAt time.Time     `json:"expires_at"`
	}
}

func (h accounts) signIn(ctx context.Context, in *signInInput) (*sessionOutput, error) {
	r := Request(ctx)
	session, err := h.auth.SignIn(ctx, in.Body.Login, in.Body.Password, auth.Address(r), r.UserAgent())
	if err != nil {
		return nil, err
	}
	out := &sessionOutput{SetCookie: h.cookie(session.Token, session.ExpiresAt)}
	out.Body.Operator, out.Body.ExpiresAt = session.Operator, session.ExpiresAt
	return out, nil
}

func (h accounts) cookie(token string, expires time.Time) http.Cookie {
	return http.Cookie{
		Name: auth.SessionCookie, Value: token, Path: "/", Expires: expires,
		HttpOnly: true, Secure: h.secure, SameSite: http.SameSiteLaxMode,
	}
}

type actorOutput struct {
	Body struct {
		ID     id.UUID     `json:"id"`
		Name   string      `json:"name"`
		Roles  []auth.Role `json:"roles"`
		All    bool        `json:"all" doc:"sees the whole brand"`
		Stores []string    `json:"stores" doc:"otherwise these stores"`
	}
}

func (h accounts) whoAmI(ctx context.Context, _ *struct{}) (*actorOutput, error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &actorOutput{}
	out.Body.ID, out.Body.Name, out.Body.Roles = actor.ID, actor.Name, actor.Roles
	out.Body.All, out.Body.Stores = actor.Scope.All, append([]string{}, actor.Scope.Stores...)
	return out, nil
}

type clearCookieOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

func (h accounts) signOut(ctx context.Context, _ *struct{}) (*clearCookieOutput, error) {
	if c, err := Request(ctx).Cookie(auth.SessionCookie); err == nil {
		if err := h.auth.SignOut(ctx, c.Value); err != nil {
			return nil, err
		}
	}
	return &clearCookieOutput{SetCookie: h.cookie("", time.Unix(0, 0))}, nil
}

type findOperatorsInput struct {
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h accounts) findOperators(ctx context.Context, in *findOperatorsInput) (*PageOutput[auth.Operator], error) {
	found, err := h.auth.FindOperators(ctx, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return NewPage(found, in.Limit, func(o auth.Operator) string { return o.Login }), nil
}

func (h accounts) createOperator(ctx context.Context, in *Body[auth.CreateOperatorInput]) (*Body[auth.Operator], error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	op, err := h.auth.CreateOperator(ctx, actor, in.Body)
	return &Body[auth.Operator]{op}, err
}

type updateOperatorInput struct {
	ItemPath
	Body auth.UpdateOperatorInput
}

func (h accounts) updateOperator(ctx context.Context, in *updateOperatorInput) (*Body[auth.Operator], error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	operator, err := in.UUID()
	if err != nil {
		return nil, err
	}
	op, err := h.auth.UpdateOperator(ctx, actor, operator, in.Body)
	return &Body[auth.Operator]{op}, err
}

func (h accounts) findKeys(ctx context.Context, _ *struct{}) (*PageOutput[auth.Key], error) {
	keys, err := h.auth.FindKeys(ctx)
	if err != nil {
		return nil, err
	}
	return NewPage(keys, len(keys), nil), nil
}

type createdKey struct {
	Key    auth.Key `json:"key"`
	Secret string   `json:"secret" doc:"shown only now"`
}

func (h accounts) createKey(ctx context.Context, in *Body[auth.CreateKeyInput]) (*Body[createdKey], error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	key, secret, err := h.auth.CreateKey(ctx, actor, in.Body)
	return &Body[createdKey]{createdKey{key, secret}}, err
}

func (h accounts) revokeKey(ctx context.Context, in *ItemPath) (*struct{}, error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	key, err := in.UUID()
	if err != nil {
		return nil, err
	}
	return nil, h.auth.RevokeKey(ctx, actor, key)
}

type findAuditInput struct {
	Object string `query:"object" doc:"for example member/17"`
	Cursor int64  `query:"cursor" minimum:"0"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h accounts) findAudit(ctx context.Context, in *findAuditInput) (*PageOutput[auth.AuditEntry], error) {
	found, err := h.auth.FindAudit(ctx, auth.AuditFilter{Object: in.Object, Before: in.Cursor, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return NewPage(found, in.Limit, func(e auth.AuditEntry) string { return Int64(e.ID) }), nil
}
