package redis

import (
	"context"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/lianke/lianke/internal/clock"
)

// Rate allows Events in every Per, spread evenly, and Burst of them at once (at least 1).
type Rate struct {
	Events int
	Per    time.Duration
	Burst  int
}

// Verdict is the answer to one request.
type Verdict struct {
	Allowed    bool
	Remaining  int           // how many more would be allowed now
	RetryAfter time.Duration // when not allowed: how long until it would be
}

// Limiter is a rate limit over all processes, by the generic cell rate algorithm: per key one instant, the theoretical
// arrival time (TAT) of the next conforming event.
type Limiter struct {
	c      *Client
	prefix string
	clock  clock.Clock

	mu  sync.Mutex
	tat map[string]time.Time // used while Redis is away
}

// Limiter returns a limiter whose keys begin with prefix.
func (c *Client) Limiter(prefix string, clk clock.Clock) *Limiter {
	return &Limiter{c: c, prefix: prefix, clock: clk, tat: map[string]time.Time{}}
}

// gcraScript works in microseconds of Redis's own clock, the one that all processes share.
// KEYS[1] key; ARGV: microseconds per event, burst, how many events. Returns allowed, remaining, retry after.
var gcraScript = goredis.NewScript(`
local t = redis.call("TIME")
local now = t[1] * 1000000 + t[2]
local gap, burst, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = tonumber(redis.call("GET", KEYS[1]) or now)
if tat < now then tat = now end
local new = tat + gap * n
local allow_at = new - gap * burst
if allow_at > now then
    return {0, math.max(0, math.floor((now + gap * burst - tat) / gap)), allow_at - now}
end
redis.call("SET", KEYS[1], string.format("%.0f", new), "PX", math.max(1, math.ceil((new - now) / 1000)))
return {1, math.floor((now - allow_at) / gap), 0}`)

// Allow counts n events under key and says whether they conform; events that do not are not counted. n above the burst
// never conforms.
func (l *Limiter) Allow(ctx context.Context, key string, rate Rate, n int) (Verdict, error) {
	if rate.Events <= 0 || rate.Per <= 0 || n <= 0 {
		return Verdict{}, fmt.Errorf("rate limit %s: %d events in %s, %d at once: must be positive", key, rate.Events, rate.Per, n)
	}
	gap := max(rate.Per/time.Duration(rate.Events), time.Microsecond)
	burst := max(rate.Burst, 1)
	if rdb := l.c.use(); rdb != nil {
		out, err := gcraScript.Run(ctx, rdb, []string{l.prefix + key}, gap.Microseconds(), burst, n).Int64Slice()
		if err == nil && len(out) == 3 {
			return Verdict{out[0] == 1, int(out[1]), time.Duration(out[2]) * time.Microsecond}, nil
		}
		if ctx.Err() != nil {
			return Verdict{}, ctx.Err()
		}
		l.c.lost(ctx, "rate limit", err)
	}
	return l.allowHere(key, gap, burst, n), nil
}

func (l *Limiter) allowHere(key string, gap time.Duration, burst, n int) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if len(l.tat) >= maxLocal {
		for k, t := range l.tat {
			if t.Before(now) {
				delete(l.tat, k)
			}
		}
	}
	tat := l.tat[key]
	if tat.Before(now) {
		tat = now
	}
	next := tat.Add(gap * time.Duration(n))
	allowAt := next.Add(-gap * time.Duration(burst))
	if allowAt.After(now) {
		return Verdict{false, max(0, int(now.Add(gap*time.Duration(burst)).Sub(tat)/gap)), allowAt.Sub(now)}
	}
	l.tat[key] = next
	return Verdict{true, int(now.Sub(allowAt) / gap), 0}
}
