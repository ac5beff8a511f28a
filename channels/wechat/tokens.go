package wechat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/silenceper/wechat/v2/credential"

	"github.com/lianke/lianke/internal/clock"
)

// TokenCache is where access tokens are shared between processes; *redis.Cache is one. Get returns a string, or nil if
// there is none. A cache that loses its server serves from memory: that costs token calls, nothing else.
type TokenCache interface {
	GetContext(ctx context.Context, key string) any
	SetContext(ctx context.Context, key string, value any, ttl time.Duration) error
	// DeleteIfEqual removes the key only while it still holds value.
	DeleteIfEqual(ctx context.Context, key, value string) error
}

// Memory is a TokenCache inside one process.
type Memory struct {
	clock clock.Clock
	mu    sync.Mutex
	items map[string]memoryItem
}

type memoryItem struct {
	value   string
	expires time.Time
}

// NewMemory returns an empty cache.
func NewMemory(c clock.Clock) *Memory { return &Memory{clock: c, items: map[string]memoryItem{}} }

// GetContext returns a value that has not expired.
func (m *Memory) GetContext(_ context.Context, key string) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.items[key]
	if !ok || !m.clock.Now().Before(i.expires) {
		return nil
	}
	return i.value
}

// SetContext keeps a value for ttl.
func (m *Memory) SetContext(_ context.Context, key string, value any, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[key] = memoryItem{fmt.Sprint(value), m.clock.Now().Add(ttl)}
	return nil
}

// DeleteIfEqual removes the key while it holds value.
func (m *Memory) DeleteIfEqual(_ context.Context, key, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items[key].value == value {
		delete(m.items, key)
	}
	return nil
}

// sdkCache gives a TokenCache the shape the SDK wants.
type sdkCache struct{ TokenCache }

func (c sdkCache) IsExistContext(ctx context.Context, key string) bool {
	return c.GetContext(ctx, key) != nil
}

// DeleteContext is part of the SDK's interface; tokens are dropped by DeleteIfEqual only.
func (c sdkCache) DeleteContext(ctx context.Context, key string) error {
	if v, ok := c.GetContext(ctx, key).(string); ok {
		return c.DeleteIfEqual(ctx, key, v)
	}
	return nil
}

func (c sdkCache) Get(key string) any { return c.GetContext(context.Background(), key) }

func (c sdkCache) Set(key string, value any, ttl time.Duration) error {
	return c.SetContext(context.Background(), key, value, ttl)
}

func (c sdkCache) IsExist(key string) bool { return c.IsExistContext(context.Background(), key) }

func (c sdkCache) Delete(key string) error { return c.DeleteContext(context.Background(), key) }

// tokens hands out the access token of one app and replaces rejected ones.
type tokens struct {
	cache  sdkCache
	key    string
	stable *credential.StableAccessToken
	handle credential.AccessTokenContextHandle
	clock  clock.Clock

	mu     sync.Mutex // one refresh at a time; the rest of the callers find the new token in the cache
	forced time.Time  // last force_refresh
}

// forceEvery keeps force_refresh far below WeChat's limit of 20 a day, at least 30 seconds apart.
const forceEvery = 90 * time.Minute

func newTokens(cfg Config, prefix string, cache sdkCache, c clock.Clock) *tokens {
	handle := credential.NewStableAccessToken(cfg.AppID, cfg.AppSecret, prefix, cache)
	return &tokens{
		cache: cache, key: prefix + "_stable_access_token_" + cfg.AppID, handle: handle, clock: c,
		stable: handle.(*credential.StableAccessToken),
	}
}

// GetAccessToken is what the SDK calls.
func (t *tokens) GetAccessToken() (string, error) { return t.handle.GetAccessToken() }

// GetAccessTokenContext is what the SDK calls where it knows contexts.
func (t *tokens) GetAccessTokenContext(ctx context.Context) (string, error) {
	return t.handle.GetAccessTokenContext(ctx)
}

// replace drops a rejected token if it is still the current one, and fetches another. Of many callers with the same
// dead token one fetches; the others find the new one in the cache. If WeChat answers with the dead token again, it is
// forced, at most once in forceEvery.
func (t *tokens) replace(ctx context.Context, dead string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.cache.DeleteIfEqual(ctx, t.key, dead); err != nil {
		return fmt.Errorf("drop wechat token: %w", err)
	}
	current, err := t.handle.GetAccessTokenContext(ctx)
	if err != nil {
		return ParseErr(err)
	}
	if current != dead {
		return nil
	}
	now := t.clock.Now()
	if !t.forced.IsZero() && now.Sub(t.forced) < forceEvery {
		return &APIError{Code: 40001, Text: "the token stays rejected after a forced refresh"}
	}
	t.forced = now
	fresh, err := t.stable.GetAccessTokenDirectly(ctx, true)
	if err != nil {
		return ParseErr(err)
	}
	return t.cache.SetContext(ctx, t.key, fresh.AccessToken, time.Duration(fresh.ExpiresIn-300)*time.Second)
}

// call runs f; if WeChat rejects the token, it is replaced and f runs once more. WeChat refuses such calls unread.
func (t *tokens) call(ctx context.Context, f func() error) error {
	used, err := t.handle.GetAccessTokenContext(ctx)
	if err != nil {
		return tokenError(ParseErr(err))
	}
	err = ParseErr(f())
	var api *APIError
	if !errors.As(err, &api) || !tokenRejected(api.Code) {
		return err
	}
	if err := t.replace(ctx, used); err != nil {
		return tokenError(err)
	}
	return ParseErr(f())
}

// tokenError marks a failure to get a token: whatever happened, the message itself has not left.
func tokenError(err error) error {
	var transport *TransportError
	if errors.As(err, &transport) {
		return &TransportError{Status: transport.Status, Unsent: true, Text: "no access token: " + transport.Text}
	}
	return err
}

func tokenRejected(code int64) bool { return code == 40001 || code == 40014 || code == 42001 }
