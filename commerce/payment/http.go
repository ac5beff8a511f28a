package payment

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of stored-value cards.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleShop, auth.RoleManager, auth.RoleAgent, auth.RoleAssociate, auth.RoleFinance}
	load := []auth.Role{auth.RoleManager, auth.RoleFinance}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/cards" + path, Tag: "cards", Summary: summary, Roles: roles}
	}
	open := op("open-card", http.MethodPost, "", "Issue a stored-value card to a member", load)
	open.Status = http.StatusCreated
	api.Add(a, open, h.open)
	api.Add(a, op("get-card", http.MethodGet, "/{card}", "A stored-value card with what is on it", see), h.get)
	api.Add(a, op("load-card", http.MethodPost, "/{card}/load", "Put principal and bonus on a card", load), h.load)
}

type handlers struct {
	s     *Service
	audit Auditor
}

type cardOpenBody struct {
	Card   string       `json:"card"`
	Birth  member.Birth `json:"birth,string" doc:"any birth of the member"`
	Issuer string       `json:"issuer" doc:"entity that owes its value"`
}

func (h handlers) open(ctx context.Context, in *api.Body[cardOpenBody]) (*api.Body[Card], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := cluster.Within(ctx, h.s.db, by.Scope, in.Body.Birth); err != nil {
		return nil, err
	}
	return h.change(ctx, in.Body.Card, "card.opened", func(tx pgx.Tx) error {
		return h.s.OpenCard(ctx, tx, in.Body.Card, in.Body.Birth, in.Body.Issuer)
	})
}

// CardPath is the path of operations on one card.
type CardPath struct {
	Card string `path:"card"`
}

// within returns the card if its member lies in the actor's scope.
func (h handlers) within(ctx context.Context, card string) (Card, error) {
	c, err := h.s.GetCard(ctx, h.s.db, card)
	if err != nil {
		return Card{}, err
	}
	if _, err := cluster.Within(ctx, h.s.db, auth.ScopeFrom(ctx), c.Birth); err != nil {
		return Card{}, ErrNoCard.With("card", card)
	}
	return c, nil
}

func (h handlers) get(ctx context.Context, in *CardPath) (*api.Body[Card], error) {
	c, err := h.within(ctx, in.Card)
	if err != nil {
		return nil, err
	}
	return &api.Body[Card]{Body: c}, nil
}

type cardLoadInput struct {
	CardPath
	Body struct {
		RequestID    string    `json:"request_id" doc:"makes it harmless to repeat"`
		PrincipalFen money.Fen `json:"principal_fen" doc:"what the member paid"`
		BonusFen     money.Fen `json:"bonus_fen" doc:"what is given on top"`
	}
}

func (h handlers) load(ctx context.Context, in *cardLoadInput) (*api.Body[Card], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	if in.Body.RequestID == "" || len(in.Body.RequestID) > 100 {
		return nil, invalid("request_id", "请求号须为 1 到 100 字节", "a request id of 1 to 100 bytes is needed")
	}
	if _, err := h.within(ctx, in.Card); err != nil {
		return nil, err
	}
	key := id.Derived("card.load", by.ID.String(), in.Body.RequestID)
	return h.change(ctx, in.Card, "card.loaded", func(tx pgx.Tx) error {
		return h.s.LoadCard(ctx, tx, key, in.Card, in.Body.PrincipalFen, in.Body.BonusFen, h.s.clock.Now())
	})
}

func (h handlers) change(ctx context.Context, card, action string, fn func(tx pgx.Tx) error) (*api.Body[Card], error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Body[Card]{}
	return out, pg.InTx(ctx, h.s.db, func(tx pgx.Tx) (err error) {
		if err := fn(tx); err != nil {
			return err
		}
		if out.Body, err = h.s.GetCard(ctx, tx, card); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, "card/"+card, nil)
	})
}
