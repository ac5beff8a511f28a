package points

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// What roles may move at a time by hand. Finance and admin have no limit.
const (
	agentLimit   = 1_000
	managerLimit = 10_000
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// Routes registers the operations of points.
func Routes(a *api.API, s *Service, audit Auditor) {
	h := handlers{s, audit}
	see := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent, auth.RoleAssociate, auth.RoleFinance}
	edit := []auth.Role{auth.RoleMarketer}
	move := []auth.Role{auth.RoleAgent, auth.RoleManager, auth.RoleFinance}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "points", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-programmes", http.MethodGet, "/programmes", "List programmes", see), h.programmes)
	create := op("create-programme", http.MethodPost, "/programmes", "Create a programme", edit)
	create.Status = http.StatusCreated
	api.Add(a, create, h.create)
	api.Add(a, op("update-programme", http.MethodPut, "/programmes/{code}", "Change a programme; lots keep their terms", edit), h.update)
	api.Add(a, op("member-points", http.MethodGet, "/members/{birth}/points", "Balances of a member", see), h.balances)
	api.Add(a, op("member-point-lots", http.MethodGet, "/members/{birth}/point-lots", "Lots of a member", see), h.lots)
	api.Add(a, op("member-tiers", http.MethodGet, "/members/{birth}/tiers", "Tiers of a member", see), h.tiers)
	api.Add(a, op("grant-points", http.MethodPost, "/members/{birth}/points/grant", "Grant points by hand, within the role's limit", move), h.grant)
	api.Add(a, op("spend-points", http.MethodPost, "/members/{birth}/points/spend", "Spend points by hand, within the role's limit", move), h.spend)
	finance := []auth.Role{auth.RoleFinance}
	api.Add(a, op("refund-points", http.MethodPost, "/point-spends/{key}/refund", "Give points of a spend back to their lots", finance), h.refund)
	api.Add(a, op("revoke-points", http.MethodPost, "/point-grants/{key}/revoke", "Take points of a grant back", finance), h.revoke)
	api.Add(a, op("check-points", http.MethodGet, "/programmes-check", "Compare lots, debts and moves with the ledger", finance), h.check)
}

type handlers struct {
	s     *Service
	audit Auditor
}

func (h handlers) programmes(ctx context.Context, _ *struct{}) (*api.PageOutput[Programme], error) {
	all, err := h.s.Programmes(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
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

func (h handlers) create(ctx context.Context, in *api.Body[Programme]) (out *api.Body[Programme], err error) {
	out = &api.Body[Programme]{}
	return out, h.audited(ctx, "programme.created", "programme/"+in.Body.Code, nil, func(tx pgx.Tx) (err error) {
		out.Body, err = h.s.CreateProgramme(ctx, tx, in.Body)
		return err
	})
}

type updateInput struct {
	Code string `path:"code"`
	Body Programme
}

func (h handlers) update(ctx context.Context, in *updateInput) (out *api.Body[Programme], err error) {
	in.Body.Code = in.Code
	out = &api.Body[Programme]{}
	return out, h.audited(ctx, "programme.updated", "programme/"+in.Code, nil, func(tx pgx.Tx) (err error) {
		out.Body, err = h.s.UpdateProgramme(ctx, tx, in.Body)
		return err
	})
}

// MemberPath is the path of operations on a member: any birth of it.
type MemberPath struct {
	Birth string `path:"birth" doc:"the member's id, or any birth of it"`
}

// Cluster finds the member of the path within the actor's scope.
func (p MemberPath) Cluster(ctx context.Context, db pg.DB) (member.Birth, cluster.Cluster, error) {
	n, err := strconv.ParseInt(p.Birth, 10, 64)
	if err != nil || n <= 0 {
		return 0, cluster.Cluster{}, cluster.ErrUnknown.With("birth", p.Birth)
	}
	c, err := cluster.Within(ctx, db, auth.ScopeFrom(ctx), member.Birth(n))
	return member.Birth(n), c, err
}

type balancesInput struct {
	MemberPath
	Days int `query:"days" default:"30" minimum:"0" maximum:"3660" doc:"what runs out within so many days counts as soon"`
}

func (h handlers) balances(ctx context.Context, in *balancesInput) (*api.PageOutput[Balance], error) {
	_, c, err := in.Cluster(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	all, err := h.s.Balance(ctx, h.s.db, c.Births, h.s.clock.Now(), time.Duration(in.Days)*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

type tiersInput struct{ MemberPath }

func (h handlers) tiers(ctx context.Context, in *tiersInput) (*api.PageOutput[Standing], error) {
	_, c, err := in.Cluster(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	all, err := h.s.Tiers(ctx, h.s.db, c.Root)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, len(all), nil), nil
}

type lotsInput struct {
	MemberPath
	Programme string `query:"programme"`
	Cursor    string `query:"cursor"`
	Limit     int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// LotView is a lot with its state at the time of asking.
type LotView struct {
	Lot
	State LotState `json:"state" enum:"pending,active,spent,expired,revoked"`
}

func (h handlers) lots(ctx context.Context, in *lotsInput) (*api.PageOutput[LotView], error) {
	_, c, err := in.Cluster(ctx, h.s.db)
	if err != nil {
		return nil, err
	}
	var before id.UUID
	if in.Cursor != "" {
		if before, err = id.Parse(in.Cursor); err != nil {
			return nil, invalid("cursor", "游标无效", "the cursor is not one of ours")
		}
	}
	limit := min(cmp.Or(max(in.Limit, 0), 50), 200)
	lots, err := h.s.Lots(ctx, h.s.db, c.Births, in.Programme, before, limit+1)
	if err != nil {
		return nil, err
	}
	now := h.s.clock.Now()
	views := make([]LotView, len(lots))
	for i, l := range lots {
		views[i] = LotView{l, l.State(now)}
	}
	return api.NewPage(views, limit, func(l LotView) string { return l.Key.String() }), nil
}

// Idempotent carries the header that makes a repeated request harmless.
type Idempotent struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"up to 200 bytes of your choice; a repeated request with the same key changes nothing"`
}

// UUID is the key of the move that the request causes; different actors may choose the same key.
func (i Idempotent) UUID(ctx context.Context, op string) (id.UUID, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return id.UUID{}, err
	}
	if i.IdempotencyKey == "" || len(i.IdempotencyKey) > 200 {
		return id.UUID{}, invalid("Idempotency-Key", "缺少 Idempotency-Key 请求头", "give an Idempotency-Key header of 1 to 200 bytes")
	}
	return id.Derived("api", op, by.ID.String(), i.IdempotencyKey), nil
}

type moveBody struct {
	Programme string `json:"programme"`
	Points    int64  `json:"points"`
	Reason    string `json:"reason"`
}

type pointsMoveInput struct {
	MemberPath
	Idempotent
	Body moveBody
}

type pointsMoveOutput struct {
	Body struct {
		Key   id.UUID `json:"key"`
		Draws []Draw  `json:"draws,omitempty"`
	}
}

// allowed refuses what the actor's roles may not move by hand.
func allowed(ctx context.Context, points int64) error {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	limit := int64(0)
	switch {
	case by.Has(auth.RoleFinance, auth.RoleAdmin):
		return nil
	case by.Has(auth.RoleManager):
		limit = managerLimit
	case by.Has(auth.RoleAgent):
		limit = agentLimit
	}
	if points > limit {
		return ErrLimit.With("limit", limit)
	}
	return nil
}

// byHand prepares a move by an operator: limit, reason, key and member.
func (h handlers) byHand(ctx context.Context, in *pointsMoveInput, op string) (member.Birth, id.UUID, error) {
	if err := allowed(ctx, in.Body.Points); err != nil {
		return 0, id.UUID{}, err
	}
	if in.Body.Reason == "" {
		return 0, id.UUID{}, invalid("reason", "请填写原因", "give a reason")
	}
	key, err := in.UUID(ctx, op)
	if err != nil {
		return 0, id.UUID{}, err
	}
	birth, _, err := in.Cluster(ctx, h.s.db)
	return birth, key, err
}

func (in *pointsMoveInput) detail(key id.UUID) map[string]any {
	return map[string]any{"key": key, "programme": in.Body.Programme, "points": in.Body.Points, "reason": in.Body.Reason}
}

func (h handlers) grant(ctx context.Context, in *pointsMoveInput) (*pointsMoveOutput, error) {
	birth, key, err := h.byHand(ctx, in, "points.grant")
	if err != nil {
		return nil, err
	}
	out := &pointsMoveOutput{}
	out.Body.Key = key
	return out, h.audited(ctx, "points.granted", "member/"+birth.String(), in.detail(key), func(tx pgx.Tx) error {
		_, err := h.s.Grant(ctx, tx, []Grant{{
			Key: key, Birth: birth, Programme: in.Body.Programme, Points: in.Body.Points, At: h.s.clock.Now(), Reason: in.Body.Reason,
		}})
		return err
	})
}

func (h handlers) spend(ctx context.Context, in *pointsMoveInput) (*pointsMoveOutput, error) {
	birth, key, err := h.byHand(ctx, in, "points.spend")
	if err != nil {
		return nil, err
	}
	out := &pointsMoveOutput{}
	out.Body.Key = key
	return out, h.audited(ctx, "points.spent", "member/"+birth.String(), in.detail(key), func(tx pgx.Tx) (err error) {
		out.Body.Draws, err = h.s.Spend(ctx, tx, Spend{
			Key: key, Birth: birth, Programme: in.Body.Programme, Points: in.Body.Points, At: h.s.clock.Now(), Reason: in.Body.Reason,
		})
		return err
	})
}

type pointsUndoInput struct {
	Key string `path:"key" format:"uuid"`
	Idempotent
	Body struct {
		Points int64  `json:"points"`
		Reason string `json:"reason"`
	}
}

func (in *pointsUndoInput) keys(ctx context.Context, op string) (of, key id.UUID, err error) {
	if of, err = id.Parse(in.Key); err != nil {
		return of, key, ErrNoMove.With("key", in.Key)
	}
	key, err = in.UUID(ctx, op)
	return of, key, err
}

func (h handlers) refund(ctx context.Context, in *pointsUndoInput) (*pointsMoveOutput, error) {
	of, key, err := in.keys(ctx, "points.refund")
	if err != nil {
		return nil, err
	}
	out := &pointsMoveOutput{}
	out.Body.Key = key
	detail := map[string]any{"key": key, "points": in.Body.Points, "reason": in.Body.Reason}
	return out, h.audited(ctx, "points.refunded", "point-spend/"+of.String(), detail, func(tx pgx.Tx) error {
		_, err := h.s.Refund(ctx, tx, Refund{Key: key, Spend: of, Points: in.Body.Points, At: h.s.clock.Now(), Reason: in.Body.Reason})
		return err
	})
}

func (h handlers) revoke(ctx context.Context, in *pointsUndoInput) (*pointsMoveOutput, error) {
	of, key, err := in.keys(ctx, "points.revoke")
	if err != nil {
		return nil, err
	}
	out := &pointsMoveOutput{}
	out.Body.Key = key
	detail := map[string]any{"key": key, "points": in.Body.Points, "reason": in.Body.Reason}
	return out, h.audited(ctx, "points.revoked", "point-grant/"+of.String(), detail, func(tx pgx.Tx) error {
		_, err := h.s.Revoke(ctx, tx, Revoke{Key: key, Grant: of, Points: in.Body.Points, At: h.s.clock.Now(), Reason: in.Body.Reason})
		return err
	})
}

type pointsCheckOutput struct {
	Body struct {
		OK      bool      `json:"ok"`
		Figures []Figures `json:"figures"`
	}
}

func (h handlers) check(ctx context.Context, _ *struct{}) (*pointsCheckOutput, error) {
	out := &pointsCheckOutput{}
	figures, err := h.s.Check(ctx, h.s.db)
	if figures == nil && err != nil {
		return nil, err
	}
	out.Body.OK, out.Body.Figures = err == nil, figures
	return out, nil
}
