package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
)

// OrgTree answers which stores an org unit contains; commerce/org does.
type OrgTree interface {
	// Stores returns the store codes in the subtree of the org unit.
	Stores(ctx context.Context, db pg.DB, org string) ([]string, error)
}

// Operator is a console user.
type Operator struct {
	ID        id.UUID   `json:"id"`
	Login     string    `json:"login"`
	Name      string    `json:"name"`
	Roles     []Role    `json:"roles"`
	Org       string    `json:"org" doc:"org unit whose subtree the operator sees; empty is the whole brand"`
	Active    bool      `json:"active"`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Service signs operators in and keeps the audit log.
type Service struct {
	db    pg.DB
	clock clock.Clock
	log   *slog.Logger
	tree  OrgTree
	keys  keyCache
}

// New returns the service.
func New(db pg.DB, clk clock.Clock, log *slog.Logger, tree OrgTree) *Service {
	return &Service{db: db, clock: clk, log: log, tree: tree}
}

// Errors of operators and sessions.
var (
	ErrBadCredentials = fault.New(fault.Unauthenticated, "auth.bad_credentials", "用户名或密码不正确", "login or password is wrong").
				WithHint("请检查大小写;忘记密码请联系管理员重设", "check upper and lower case; an administrator can set a new password")
	ErrThrottled = fault.New(fault.RateLimited, "auth.throttled", "尝试次数过多,请 15 分钟后再试", "too many attempts, try again in 15 minutes").
			WithHint("请等待后用正确的密码登录", "wait, then sign in with the right password")
	ErrLoginTaken = fault.New(fault.Conflict, "auth.login_taken", "用户名 {login} 已被占用", "login {login} is taken").
			WithHint("请换一个用户名", "choose another login")
	ErrNoOperator = fault.New(fault.NotFound, "auth.no_operator", "没有这个用户", "there is no such operator").
			WithHint("请检查编号;GET /api/v1/operators 列出用户", "check the id; GET /api/v1/operators lists them")
	ErrStale = fault.New(fault.Conflict, "auth.stale_version", "内容已被他人修改,请刷新后重试", "somebody changed it meanwhile; reload and try again").
			WithHint("请刷新后在最新版本上修改", "reload it and repeat the change on the newest version")
)

// CreateOperatorInput describes a new operator.
type CreateOperatorInput struct {
	Login    string `json:"login" validate:"required,min=2,max=64"`
	Name     string `json:"name" validate:"required,max=64"`
	Password string `json:"password" validate:"required,min=10,max=200"`
	Roles    []Role `json:"roles" validate:"required,min=1,max=9,dive,oneof=marketer merchandiser associate manager agent finance partner shop admin"`
	Org      string `json:"org" validate:"max=64"`
}

const insertOperatorSQL = `
INSERT INTO core.operators (id, login, name, password_hash, roles, org, created_at, updated_at)
VALUES (@id, @login, @name, @hash, @roles, @org, @now, @now)
RETURNING id, login, name, roles, org, active, version, created_at, updated_at`

// CreateOperator adds an operator; ErrLoginTaken if the login exists.
func (s *Service) CreateOperator(ctx context.Context, by Actor, in CreateOperatorInput) (Operator, error) {
	in.Login = strings.ToLower(strings.TrimSpace(in.Login))
	if err := validate.Struct(in); err != nil {
		return Operator{}, err
	}
	var op Operator
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, insertOperatorSQL, pg.Args{
			"id": id.New(), "login": in.Login, "name": in.Name, "hash": hashPassword(in.Password),
			"roles": in.Roles, "org": in.Org, "now": s.clock.Now(),
		})
		if err == nil {
			op, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Operator])
		}
		if pg.Constraint(err) == "operators_login_key" {
			return ErrLoginTaken.With("login", in.Login)
		}
		if err != nil {
			return fmt.Errorf("create operator: %w", err)
		}
		return s.Audit(ctx, tx, by, "operator.created", "operator/"+op.ID.String(), map[string]any{"login": op.Login, "roles": op.Roles, "org": op.Org})
	})
	return op, err
}

// UpdateOperatorInput changes an operator; nil fields stay.
type UpdateOperatorInput struct {
	Version  int64   `json:"version" validate:"gte=1" doc:"the version that was read"`
	Name     *string `json:"name,omitempty" validate:"omitempty,max=64"`
	Password *string `json:"password,omitempty" validate:"omitempty,min=10,max=200"`
	Roles    []Role  `json:"roles,omitempty" validate:"omitempty,min=1,max=9,dive,oneof=marketer merchandiser associate manager agent finance partner shop admin"`
	Org      *string `json:"org,omitempty" validate:"omitempty,max=64"`
	Active   *bool   `json:"active,omitempty"`
}

const updateOperatorSQL = `
UPDATE core.operators
SET name = coalesce(@name, name),
    password_hash = coalesce(@hash, password_hash),
    roles = coalesce(@roles, roles),
    org = coalesce(@org, org),
    active = coalesce(@active, active),
    version = version + 1,
    updated_at = @now
WHERE id = @id AND version = @version
RETURNING id, login, name, roles, org, active, version, created_at, updated_at`

const endSessionsSQL = `
DELETE FROM core.sessions
WHERE operator_id = @id`

// UpdateOperator changes an operator and ends their sessions, so that less rights or a resignation act at once.
func (s *Service) UpdateOperator(ctx context.Context, by Actor, operator id.UUID, in UpdateOperatorInput) (Operator, error) {
	if err := validate.Struct(in); err != nil {
		return Operator{}, err
	}
	var hash *string
	if in.Password != nil {
		h := hashPassword(*in.Password)
		hash = &h
	}
	var op Operator
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, updateOperatorSQL, pg.Args{
			"id": operator, "version": in.Version, "name": in.Name, "hash": hash, "roles": in.Roles,
			"org": in.Org, "active": in.Active, "now": s.clock.Now(),
		})
		if err == nil {
			op, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Operator])
		}
		if pg.NoRows(err) {
			return ErrStale
		}
		if err != nil {
			return fmt.Errorf("update operator %s: %w", operator, err)
		}
		if _, err := tx.Exec(ctx, endSessionsSQL, pg.Args{"id": operator}); err != nil {
			return fmt.Errorf("end sessions of %s: %w", operator, err)
		}
		return s.Audit(ctx, tx, by, "operator.updated", "operator/"+operator.String(), map[string]any{
			"roles": op.Roles, "org": op.Org, "active": op.Active, "password_changed": in.Password != nil,
		})
	})
	return op, err
}

const findOperatorsSQL = `
SELECT id, login, name, roles, org, active, version, created_at, updated_at
FROM core.operators
WHERE login > @after
ORDER BY login
LIMIT @limit`

// FindOperators lists operators by login, those after the given one.
func (s *Service) FindOperators(ctx context.Context, after string, limit int) ([]Operator, error) {
	rows, err := s.db.Query(ctx, findOperatorsSQL, pg.Args{"after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("find operators: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Operator])
}

const operatorSQL = `
SELECT id, login, name, roles, org, active, version, created_at, updated_at
FROM core.operators
WHERE id = @id`

// Operator returns an operator; known is false if there is none.
func (s *Service) Operator(ctx context.Context, operator id.UUID) (op Operator, known bool, err error) {
	rows, err := s.db.Query(ctx, operatorSQL, pg.Args{"id": operator})
	if err != nil {
		return Operator{}, false, fmt.Errorf("find operator %s: %w", operator, err)
	}
	op, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Operator])
	if pg.NoRows(err) {
		return Operator{}, false, nil
	}
	if err != nil {
		return Operator{}, false, fmt.Errorf("find operator %s: %w", operator, err)
	}
	return op, true, nil
}

// Session is what a successful sign-in gives.
type Session struct {
	Token     string
	ExpiresAt time.Time
	Operator  Operator
}

const (
	sessionLifetime = 12 * time.Hour
	failureWindow   = 15 * time.Minute
	maxFailures     = 10
)

const countFailuresSQL = `
SELECT count(*)
FROM core.sign_in_failures
WHERE subject = ANY (@subjects) AND at > @since`

const noteFailureSQL = `
INSERT INTO core.sign_in_failures (subject, at)
SELECT subject, @now
FROM unnest(@subjects::text[]) AS t (subject)`

const operatorByLoginSQL = `
SELECT id, login, name, roles, org, active, version, created_at, updated_at, password_hash
FROM core.operators
WHERE login = @login`

const insertSessionSQL = `
INSERT INTO core.sessions (token_hash, operator_id, created_at, seen_at, expires_at, address, agent)
VALUES (@token, @operator, @now, @now, @expires, @address, @agent)`

// nobodysHash keeps a sign-in with an unknown login as slow as one with a wrong password.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// SignIn checks the password and opens a session. After ten failures within 15 minutes, for the login or from the address,
// it answers ErrThrottled without looking at the password.
func (s *Service) SignIn(ctx context.Context, login, password, address, agent string) (Session, error) {
	login = strings.ToLower(strings.TrimSpace(login))
	now := s.clock.Now()
	subjects := []string{"login:" + login, "address:" + address}
	var failures int
	if err := s.db.QueryRow(ctx, countFailuresSQL, pg.Args{"subjects": subjects, "since": now.Add(-failureWindow)}).Scan(&failures); err != nil {
		return Session{}, fmt.Errorf("count sign-in failures: %w", err)
	}
	if failures >= maxFailures*len(subjects) {
		return Session{}, ErrThrottled
	}
	var found struct {
		Operator
		PasswordHash string
	}
	rows, err := s.db.Query(ctx, operatorByLoginSQL, pg.Args{"login": login})
	if err != nil {
		return Session{}, fmt.Errorf("find operator: %w", err)
	}
	found, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[struct {
		Operator
		PasswordHash string
	}])
	known := err == nil
	if err != nil && !pg.NoRows(err) {
		return Session{}, fmt.Errorf("find operator: %w", err)
	}
	hash := nobodysHash
	if known {
		hash = found.PasswordHash
	}
	if !checkPassword(hash, password) || !known || !found.Active {
		if _, err := s.db.Exec(ctx, noteFailureSQL, pg.Args{"subjects": subjects, "now": now}); err != nil {
			return Session{}, fmt.Errorf("note sign-in failure: %w", err)
		}
		return Session{}, ErrBadCredentials
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	session := Session{Token: base64.RawURLEncoding.EncodeToString(raw), ExpiresAt: now.Add(sessionLifetime), Operator: found.Operator}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insertSessionSQL, pg.Args{
			"token": tokenHash(session.Token), "operator": found.ID, "now": now, "expires": session.ExpiresAt,
			"address": address, "agent": truncate(agent, 200),
		}); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		return s.Audit(ctx, tx, Actor{ID: found.ID, Name: found.Name}, "session.opened", "operator/"+found.ID.String(), map[string]any{"address": address})
	})
	return session, err
}

const deleteSessionSQL = `
DELETE FROM core.sessions
WHERE token_hash = @token`

// SignOut ends the session of the token; an unknown token is signed out already.
func (s *Service) SignOut(ctx context.Context, token string) error {
	if _, err := s.db.Exec(ctx, deleteSessionSQL, pg.Args{"token": tokenHash(token)}); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

const sessionSQL = `
SELECT o.id, o.name, o.roles, o.org
FROM core.sessions s
JOIN core.operators o ON o.id = s.operator_id
WHERE s.token_hash = @token AND s.expires_at > @now AND o.active`

// Authenticate finds the actor of a request by its session cookie or bearer key.
func (s *Service) Authenticate(r *http.Request) (Actor, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.actorOfKey(r.Context(), token)
	}
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return Actor{}, ErrUnauthenticated
	}
	return s.actorOfSession(r.Context(), cookie.Value)
}

func (s *Service) actorOfSession(ctx context.Context, token string) (Actor, error) {
	var a Actor
	var org string
	err := s.db.QueryRow(ctx, sessionSQL, pg.Args{"token": tokenHash(token), "now": s.clock.Now()}).Scan(&a.ID, &a.Name, &a.Roles, &org)
	if pg.NoRows(err) {
		return Actor{}, ErrUnauthenticated
	}
	if err != nil {
		return Actor{}, fmt.Errorf("read session: %w", err)
	}
	a.Scope, err = s.scope(ctx, a, org)
	return a, err
}

// scope derives what an operator sees: the stores of their org subtree, only their own members for a plain associate,
// and personal data in clear only for roles that serve members.
func (s *Service) scope(ctx context.Context, a Actor, org string) (Scope, error) {
	sc := Scope{All: org == "", Org: org, Reveal: a.Has(RoleAgent, RoleManager, RoleAssociate)}
	if org != "" {
		stores, err := s.tree.Stores(ctx, s.db, org)
		if err != nil {
			return Scope{}, fmt.Errorf("scope of %s: %w", a.Name, err)
		}
		sc.Stores = stores
	}
	if a.Has(RoleAssociate) && !a.Has(RoleManager, RoleAgent, RoleAdmin, RoleMarketer) {
		sc.Associate = &a.ID
	}
	return sc, nil
}

// EnsureAdmin creates the operator "admin" with a fresh password if there is no operator at all, and returns the password;
// otherwise it returns "".
func (s *Service) EnsureAdmin(ctx context.Context) (password string, err error) {
	var any bool
	if err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM core.operators)`).Scan(&any); err != nil {
		return "", fmt.Errorf("look for operators: %w", err)
	}
	if any {
		return "", nil
	}
	password = NewPassword()
	_, err = s.CreateOperator(ctx, System, CreateOperatorInput{Login: "admin", Name: "Administrator", Password: password, Roles: []Role{RoleAdmin}})
	if errors.Is(err, ErrLoginTaken) {
		return "", nil // another process was faster
	}
	return password, err
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func truncate(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// Address returns the client's address without the port.
func Address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
