// Package auth knows who acts and what they may see: operators, their roles and scope, sessions, write keys and API keys,
// and the audit log. It owns core.operators, core.sessions, core.keys and core.audit.
package auth

import (
	"context"
	"slices"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
)

// Role is what an operator is. An operator may have several.
type Role string

// The roles of the house.
const (
	RoleMarketer     Role = "marketer"     // segments, journeys, campaigns, coupons
	RoleMerchandiser Role = "merchandiser" // products, prices, stock
	RoleAssociate    Role = "associate"    // 导购: own members, own tasks
	RoleManager      Role = "manager"      // 店长: a store
	RoleAgent        Role = "agent"        // 客服坐席: 360° view, compensation within limits
	RoleFinance      Role = "finance"      // statements, ledgers
	RolePartner      Role = "partner"      // a partner's own tree
	RoleShop         Role = "shop"         // the server of a shop front (mini-program, app, web): carts, orders and payments of its members
	RoleAdmin        Role = "admin"        // organisation, operators, audit
	RoleSystem       Role = "system"       // the program itself and its command line
)

// Roles lists what an operator can be given; RoleSystem is not among them.
var Roles = []Role{RoleMarketer, RoleMerchandiser, RoleAssociate, RoleManager, RoleAgent, RoleFinance, RolePartner, RoleShop, RoleAdmin}

// SessionCookie is the cookie that carries a session token.
const SessionCookie = "lianke_session"

// Scope is the part of the brand an actor sees. Every Find takes one; the zero Scope sees nothing.
type Scope struct {
	// All sees the whole brand.
	All bool
	// Org is the org unit whose subtree the actor sees; "" with All.
	Org string
	// Stores are the store codes of that subtree.
	Stores []string
	// Associate limits members to those served by this associate's operator id, on top of Stores.
	Associate *id.UUID
	// Reveal allows personal data in clear; without it the server masks.
	Reveal bool
}

// Everything is the scope of the system itself and of HQ operators without masking.
var Everything = Scope{All: true, Reveal: true}

// Actor is whoever causes a change.
type Actor struct {
	ID    id.UUID // operator or key; nil UUID for the system
	Name  string
	Roles []Role
	Scope Scope
}

// System is the actor of background work and of the command line.
var System = Actor{Name: "system", Roles: []Role{RoleSystem}, Scope: Everything}

// Has reports whether the actor has one of the roles. The system has all of them.
func (a Actor) Has(roles ...Role) bool {
	if slices.Contains(a.Roles, RoleSystem) {
		return true
	}
	return slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(a.Roles, r) })
}

type actorKey struct{}

// WithActor puts the actor into the context of a request.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ErrUnauthenticated is returned where nobody is signed in.
var ErrUnauthenticated = fault.New(fault.Unauthenticated, "auth.unauthenticated", "请先登录", "please sign in").
	WithHint("请登录,或在 Authorization 头中携带 API 密钥:Bearer lk_api_…", "sign in, or send an API key in the Authorization header: Bearer lk_api_…")

// ErrForbidden is returned where the actor's roles do not allow the operation.
var ErrForbidden = fault.New(fault.Forbidden, "auth.forbidden", "您的角色无权执行此操作", "your role does not allow this").
	WithHint("请联系管理员授予角色,或由有权限的同事操作", "ask an administrator for the role, or a colleague who has it")

// ActorFrom returns the actor of the request, or ErrUnauthenticated.
func ActorFrom(ctx context.Context) (Actor, error) {
	a, ok := ctx.Value(actorKey{}).(Actor)
	if !ok {
		return Actor{}, ErrUnauthenticated
	}
	return a, nil
}

// WholeBrand returns the actor of the request if they see the whole brand, else ErrForbidden: for what concerns all partners.
func WholeBrand(ctx context.Context) (Actor, error) {
	by, err := ActorFrom(ctx)
	if err == nil && !by.Scope.All {
		err = ErrForbidden
	}
	return by, err
}

// ScopeFrom returns the scope of the request's actor; the zero Scope, which sees nothing, if there is none.
func ScopeFrom(ctx context.Context) Scope {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a.Scope
}
