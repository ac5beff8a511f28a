package channels

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// limits keeps each account below its own rate in this process. Processes that share an account divide it by its shards,
// so the sum stays below the rate without a central counter.
type limits struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

func newLimits() *limits { return &limits{by: map[string]*rate.Limiter{}} }

// wait blocks until n messages may go, or ctx ends.
func (l *limits) wait(ctx context.Context, account string, perSecond, n int) error {
	if perSecond <= 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	lim, ok := l.by[account]
	if !ok || lim.Limit() != rate.Limit(perSecond) {
		lim = rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond))
		l.by[account] = lim
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
