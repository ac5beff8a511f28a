package redis_test

import (
	"crypto/rand"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/redis"
)

const envURL = "LIANKE_TEST_REDIS_URL"

// clients are Redis as it can be: there, switched off, and gone.
func clients(t *testing.T) map[string]*redis.Client {
	t.Helper()
	url := os.Getenv(envURL)
	if url == "" {
		t.Fatalf("%s is not set: run `make test`, or point it at a Redis server", envURL)
	}
	out := map[string]*redis.Client{}
	for name, u := range map[string]string{"there": url, "off": redis.Off, "gone": "unix:///nowhere/redis.sock?db=0"} {
		c, err := redis.Open(u, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		out[name] = c
	}
	return out
}

func TestCacheWithAndWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, c := range clients(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := c.Cache("test:"+rand.Text()+":", clock.System{})
			require.Nil(t, k.Get("token"))
			require.False(t, k.IsExist("token"))
			require.NoError(t, k.Set("token", "abc", time.Minute))
			require.Equal(t, "abc", k.Get("token"))
			require.True(t, k.IsExist("token"))
			require.NoError(t, k.Delete("token"))
			require.Nil(t, k.Get("token"))
			require.Error(t, k.Set("token", 7, time.Minute))
			require.Error(t, k.Set("token", "abc", 0))
		})
	}
}

func TestCacheDropsOnlyWhatItWasToldToDrop(t *testing.T) {
	t.Parallel()
	for name, c := range clients(t) {
		cache := c.Cache("drop-"+name+":", clock.System{})
		require.NoError(t, cache.Set("token", "new", time.Minute), name)
		require.NoError(t, cache.DeleteIfEqual(t.Context(), "token", "old"), name)
		require.Equal(t, "new", cache.Get("token"), name)
		require.NoError(t, cache.DeleteIfEqual(t.Context(), "token", "new"), name)
		require.Nil(t, cache.Get("token"), name)
	}
}

func TestCacheExpires(t *testing.T) {
	t.Parallel()
	clk := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k := clients(t)["off"].Cache("", clk)
	require.NoError(t, k.Set("token", "abc", time.Minute))
	clk.Advance(time.Minute)
	require.Nil(t, k.Get("token"))
}

func TestProcessesShareACache(t *testing.T) {
	t.Parallel()
	prefix := "test:" + rand.Text() + ":"
	one, two := clients(t)["there"].Cache(prefix, clock.System{}), clients(t)["there"].Cache(prefix, clock.System{})
	require.NoError(t, one.Set("token", "abc", time.Minute))
	require.Equal(t, "abc", two.Get("token"))
}

func TestLockKeepsOthersOutUntilItIsGivenBack(t *testing.T) {
	t.Parallel()
	c, key := clients(t)["there"], rand.Text()
	unlock, ok := c.Lock(t.Context(), key, time.Minute)
	require.True(t, ok)
	_, ok = c.Lock(t.Context(), key, time.Minute)
	require.False(t, ok)
	unlock()
	unlock2, ok := c.Lock(t.Context(), key, time.Minute)
	require.True(t, ok)
	unlock() // a late unlock of the first holder must not free the second's
	_, ok = c.Lock(t.Context(), key, time.Minute)
	require.False(t, ok)
	unlock2()
}

func TestWithoutRedisEverybodyGetsTheLock(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"off", "gone"} {
		c := clients(t)[name]
		_, ok := c.Lock(t.Context(), "x", time.Minute)
		require.True(t, ok)
		_, ok = c.Lock(t.Context(), "x", time.Minute)
		require.True(t, ok)
	}
}

func TestLimiterWithAndWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, c := range clients(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, key := c.Limiter("test:", clock.System{}), rand.Text()
			rate := redis.Rate{Events: 1, Per: time.Hour, Burst: 3}
			for left := 2; left >= 0; left-- {
				v, err := l.Allow(t.Context(), key, rate, 1)
				require.NoError(t, err)
				require.Equal(t, redis.Verdict{Allowed: true, Remaining: left}, v)
			}
			v, err := l.Allow(t.Context(), key, rate, 1)
			require.NoError(t, err)
			require.False(t, v.Allowed)
			require.Zero(t, v.Remaining)
			require.InDelta(t, time.Hour.Seconds(), v.RetryAfter.Seconds(), 60)

			v, err = l.Allow(t.Context(), rand.Text(), rate, 4)
			require.NoError(t, err)
			require.False(t, v.Allowed, "more at once than the burst")
			require.Equal(t, 3, v.Remaining, "and nothing is used up")

			_, err = l.Allow(t.Context(), key, redis.Rate{}, 1)
			require.Error(t, err)
		})
	}
}

func TestLimiterRefillsEvenly(t *testing.T) {
	t.Parallel()
	clk := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	l := clients(t)["off"].Limiter("", clk)
	rate := redis.Rate{Events: 10, Per: time.Second, Burst: 1}
	allowed := 0
	for range 1000 { // 10 s in steps of 10 ms
		v, err := l.Allow(t.Context(), "k", rate, 1)
		require.NoError(t, err)
		if v.Allowed {
			allowed++
		}
		clk.Advance(10 * time.Millisecond)
	}
	require.Equal(t, 100, allowed)
}
