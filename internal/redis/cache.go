package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/lianke/lianke/internal/clock"
)

// Cache keeps strings for a while. Its methods have the shape of silenceper/wechat's cache.Cache and ContextCache, for
// the access tokens that SDK keeps: Get returns nil when the key is absent, else a string.
type Cache struct {
	c      *Client
	prefix string
	local  *local
}

// Cache returns a cache whose keys begin with prefix.
func (c *Client) Cache(prefix string, clk clock.Clock) *Cache {
	return &Cache{c: c, prefix: prefix, local: newLocal(clk)}
}

// Get returns the string under key, or nil.
func (k *Cache) Get(key string) any { return k.GetContext(context.Background(), key) }

// GetContext returns the string under key, or nil.
func (k *Cache) GetContext(ctx context.Context, key string) any {
	if rdb := k.c.use(); rdb != nil {
		v, err := rdb.Get(ctx, k.prefix+key).Result()
		switch {
		case err == nil:
			return v
		case !errors.Is(err, goredis.Nil):
			k.c.lost(ctx, "get", err)
		}
	}
	// What was set while Redis was away is here.
	if v, ok := k.local.get(key); ok {
		return v
	}
	return nil
}

// Set keeps a string for ttl, which must be positive.
func (k *Cache) Set(key string, val any, ttl time.Duration) error {
	return k.SetContext(context.Background(), key, val, ttl)
}

// SetContext keeps a string for ttl, which must be positive.
func (k *Cache) SetContext(ctx context.Context, key string, val any, ttl time.Duration) error {
	s, ok := val.(string)
	if !ok {
		return fmt.Errorf("redis cache keeps strings, not %T", val)
	}
	if ttl <= 0 {
		return fmt.Errorf("redis cache keeps nothing for ever: ttl %s", ttl)
	}
	if rdb := k.c.use(); rdb != nil {
		err := rdb.Set(ctx, k.prefix+key, s, ttl).Err()
		if err == nil {
			k.local.delete(key)
			return nil
		}
		k.c.lost(ctx, "set", err)
	}
	k.local.set(key, s, ttl)
	return nil
}

// IsExist says whether key is present.
func (k *Cache) IsExist(key string) bool { return k.Get(key) != nil }

// IsExistContext says whether key is present.
func (k *Cache) IsExistContext(ctx context.Context, key string) bool {
	return k.GetContext(ctx, key) != nil
}

// Delete forgets key.
func (k *Cache) Delete(key string) error { return k.DeleteContext(context.Background(), key) }

// DeleteContext forgets key.
func (k *Cache) DeleteContext(ctx context.Context, key string) error {
	k.local.delete(key)
	if rdb := k.c.use(); rdb != nil {
		if err := rdb.Del(ctx, k.prefix+key).Err(); err != nil {
			k.c.lost(ctx, "del", err)
		}
	}
	return nil
}

// DeleteIfEqual forgets key while it still holds value, so that whoever drops a dead token cannot drop its successor.
func (k *Cache) DeleteIfEqual(ctx context.Context, key, value string) error {
	if v, ok := k.local.get(key); ok && v == value {
		k.local.delete(key)
	}
	if rdb := k.c.use(); rdb != nil {
		if err := unlockScript.Run(ctx, rdb, []string{k.prefix + key}, value).Err(); err != nil {
			k.c.lost(ctx, "del", err)
		}
	}
	return nil
}

// maxLocal bounds what one cache holds in memory.
const maxLocal = 10_000

type local struct {
	mu    sync.Mutex
	clock clock.Clock
	items map[string]localItem
}

type localItem struct {
	value string
	until time.Time
}

func newLocal(clk clock.Clock) *local { return &local{clock: clk, items: map[string]localItem{}} }

func (l *local) get(key string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it, ok := l.items[key]
	if ok && !l.clock.Now().Before(it.until) {
		delete(l.items, key)
		return "", false
	}
	return it.value, ok
}

func (l *local) set(key, value string, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if len(l.items) >= maxLocal {
		for k, it := range l.items {
			if !now.Before(it.until) {
				delete(l.items, k)
			}
		}
	}
	if len(l.items) >= maxLocal {
		clear(l.items) // it is a cache
	}
	l.items[key] = localItem{value, now.Add(ttl)}
}

func (l *local) delete(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.items, key)
}
