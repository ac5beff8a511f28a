package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
)

// KeyKind says what a key is for.
type KeyKind string

// The kinds of keys.
const (
	KeyWrite KeyKind = "write" // sends tracking data
	KeyAPI   KeyKind = "api"   // calls the API with roles
)

// Key is a program's key. The secret itself is shown once, when it is made.
type Key struct {
	ID        id.UUID    `json:"id"`
	Kind      KeyKind    `json:"kind"`
	Name      string     `json:"name"`
	Source    string     `json:"source" doc:"the source that facts sent with this key carry"`
	Prefix    string     `json:"prefix" doc:"the first characters of the key"`
	Roles     []Role     `json:"roles"`
	Org       string     `json:"org"`
	PerSecond int        `json:"per_second" doc:"calls per second and process"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

// CreateKeyInput describes a new key.
type CreateKeyInput struct {
	Kind      KeyKind `json:"kind" validate:"required,oneof=write api"`
	Name      string  `json:"name" validate:"required,max=64"`
	Source    string  `json:"source" validate:"required,code"`
	Roles     []Role  `json:"roles,omitempty" validate:"required_if=Kind api,max=9,dive,oneof=marketer merchandiser associate manager agent finance partner shop admin"`
	Org       string  `json:"org,omitempty" validate:"max=64"`
	PerSecond int     `json:"per_second,omitempty" validate:"gte=0,lte=1000000" doc:"0 means 1000"`
	Secret    string  `json:"-"` // chosen by the program itself (demo, tests); otherwise random
}

// Errors of keys.
var (
	ErrBadKey      = fault.New(fault.Unauthenticated, "auth.bad_key", "密钥无效或已停用", "the key is wrong or revoked").WithHint("请在管理后台检查密钥", "check the key in the console")
	ErrRateLimited = fault.New(fault.RateLimited, "auth.rate_limited", "调用过于频繁", "too many calls").WithHint("请稍后重试", "slow down and retry")
)

const insertKeySQL = `
INSERT INTO core.keys (id, kind, name, source, prefix, key_hash, roles, org, per_second, created_at)
VALUES (@id, @kind, @name, @source, @prefix, @hash, @roles, @org, @rate, @now)
RETURNING id, kind, name, source, prefix, roles, org, per_second, created_at, revoked_at`

// CreateKey makes a key and returns its secret, which is not stored.
func (s *Service) CreateKey(ctx context.Context, by Actor, in CreateKeyInput) (Key, string, error) {
	if err := validate.Struct(in); err != nil {
		return Key{}, "", err
	}
	secret := in.Secret
	if secret == "" {
		raw := make([]byte, 24)
		_, _ = rand.Read(raw) // never fails
		secret = "lk_" + string(in.Kind) + "_" + base64.RawURLEncoding.EncodeToString(raw)
	}
	if in.PerSecond == 0 {
		in.PerSecond = 1000
	}
	if in.Roles == nil {
		in.Roles = []Role{}
	}
	var key Key
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, insertKeySQL, pg.Args{
			"id": id.New(), "kind": in.Kind, "name": in.Name, "source": in.Source, "prefix": truncate(secret, 12),
			"hash": tokenHash(secret), "roles": in.Roles, "org": in.Org, "rate": in.PerSecond, "now": s.clock.Now(),
		})
		if err == nil {
			key, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Key])
		}
		if err != nil {
			return fmt.Errorf("create key: %w", err)
		}
		return s.Audit(ctx, tx, by, "key.created", "key/"+key.ID.String(), map[string]any{"kind": key.Kind, "source": key.Source})
	})
	return key, secret, err
}

const revokeKeySQL = `
UPDATE core.keys
SET revoked_at = coalesce(revoked_at, @now)
WHERE id = @id`

// RevokeKey stops a key; other processes notice within keyMemory.
func (s *Service) RevokeKey(ctx context.Context, by Actor, key id.UUID) error {
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, revokeKeySQL, pg.Args{"id": key, "now": s.clock.Now()}); err != nil {
			return fmt.Errorf("revoke key %s: %w", key, err)
		}
		s.keys.forget()
		return s.Audit(ctx, tx, by, "key.revoked", "key/"+key.String(), nil)
	})
}

const findKeysSQL = `
SELECT id, kind, name, source, prefix, roles, org, per_second, created_at, revoked_at
FROM core.keys
ORDER BY created_at DESC, id DESC
LIMIT 500`

// FindKeys lists the newest 500 keys.
func (s *Service) FindKeys(ctx context.Context) ([]Key, error) {
	rows, err := s.db.Query(ctx, findKeysSQL)
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Key])
}

// keyMemory is how long a process believes what it read about a key.
const keyMemory = 15 * time.Second

// keyCache remembers keys by hash, with their rate limiters; at most keyCacheSize of them.
type keyCache struct {
	mu   sync.Mutex
	keys map[[32]byte]*cachedKey
}

type cachedKey struct {
	key     Key
	limiter *rate.Limiter
	until   time.Time
}

const keyCacheSize = 10_000

func (c *keyCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = nil
}

const keySQL = `
SELECT id, kind, name, source, prefix, roles, org, per_second, created_at, revoked_at
FROM core.keys
WHERE key_hash = @hash AND revoked_at IS NULL`

// CheckKey returns the live key of that kind with the secret and counts the call against its rate limit: ErrBadKey,
// ErrRateLimited.
func (s *Service) CheckKey(ctx context.Context, kind KeyKind, secret string) (Key, error) {
	hash := [32]byte(tokenHash(secret))
	now := s.clock.Now()
	s.keys.mu.Lock()
	known := s.keys.keys[hash]
	s.keys.mu.Unlock()
	if known == nil || now.After(known.until) {
		rows, err := s.db.Query(ctx, keySQL, pg.Args{"hash": hash[:]})
		if err != nil {
			return Key{}, fmt.Errorf("read key: %w", err)
		}
		key, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Key])
		if pg.NoRows(err) {
			return Key{}, ErrBadKey
		}
		if err != nil {
			return Key{}, fmt.Errorf("read key: %w", err)
		}
		fresh := &cachedKey{key: key, until: now.Add(keyMemory)}
		if known != nil && known.key.PerSecond == key.PerSecond {
			fresh.limiter = known.limiter
		} else {
			fresh.limiter = rate.NewLimiter(rate.Limit(key.PerSecond), key.PerSecond)
		}
		s.keys.mu.Lock()
		if s.keys.keys == nil || len(s.keys.keys) >= keyCacheSize {
			s.keys.keys = map[[32]byte]*cachedKey{}
		}
		s.keys.keys[hash] = fresh
		s.keys.mu.Unlock()
		known = fresh
	}
	if known.key.Kind != kind {
		return Key{}, ErrBadKey
	}
	if !known.limiter.Allow() {
		return Key{}, ErrRateLimited
	}
	return known.key, nil
}

func (s *Service) actorOfKey(ctx context.Context, secret string) (Actor, error) {
	key, err := s.CheckKey(ctx, KeyAPI, secret)
	if err != nil {
		return Actor{}, err
	}
	a := Actor{ID: key.ID, Name: "key " + key.Name, Roles: key.Roles}
	a.Scope, err = s.scope(ctx, a, key.Org)
	a.Scope.Reveal = false // personal data in clear is for people, who answer for their reasons
	return a, err
}
