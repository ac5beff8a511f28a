package channels

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// limits keeps each account below its rate. Every shard of an account gets an equal part of it, and a shard is worked by
// one process at a time (its lease), so the sum over all processes stays below the rate without a central counter.
type limits struct {
	mu sync.Mutex
	by map[string]*rate.Limiter // by lease
}

func newLimits() *limits { return &limits{by: map[string]*rate.Limiter{}} }

// share is a shard's part of the account's rate, in messages per second; 0 is no limit.
func share(s AccountSettings) rate.Limit {
	return rate.Limit(s.RatePerSecond) / rate.Limit(max(1, s.Shards))
}

// wait blocks until n messages of the shard may go, or ctx ends.
func (l *limits) wait(ctx context.Context, a Account, shard, n int) error {
	perSecond := share(a.Settings)
	if perSecond <= 0 {
		return ctx.Err()
	}
	name := leaseName(a.Code, shard)
	l.mu.Lock()
	lim, ok := l.by[name]
	if !ok || lim.Limit() != perSecond {
		lim = rate.NewLimiter(perSecond, max(1, int(perSecond)))
		l.by[name] = lim
	}
	l.mu.Unlock()
	for n > 0 {
		part := min(n, lim.Burst())
		if err := lim.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}
