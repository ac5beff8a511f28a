package inventory

import (
	"context"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/redis"
)

// Gate turns buyers away before they reach the database, by hints that all processes share in Redis. It is never the truth:
// a hint that is lost or late costs a question to the database or a few seconds, no stock. Without Redis each process keeps
// hints of its own. A nil Gate lets everybody through.
type Gate struct {
	soldOuts *redis.Cache
	caps     *redis.Limiter
}

// soldOutFor is how long a SKU counts as sold out after the database said so.
const soldOutFor = 2 * time.Second

// NewGate returns a gate on Redis.
func NewGate(c *redis.Client, clk clock.Clock) *Gate {
	return &Gate{soldOuts: c.Cache("stock:soldout:", clk), caps: c.Limiter("stock:cap:", clk)}
}

func gateKey(sku, location string) string { return location + "\x00" + sku }

func (g *Gate) isSoldOut(ctx context.Context, sku, location string) bool {
	return g != nil && g.soldOuts.IsExistContext(ctx, gateKey(sku, location))
}

func (g *Gate) soldOut(ctx context.Context, sku, location string) {
	if g != nil {
		_ = g.soldOuts.SetContext(ctx, gateKey(sku, location), "1", soldOutFor)
	}
}

// restocked lets buyers through again.
func (g *Gate) restocked(ctx context.Context, sku, location string) {
	if g != nil {
		_ = g.soldOuts.DeleteContext(ctx, gateKey(sku, location))
	}
}

// Admit says whether a member may try to buy so many more of a SKU, when at most limit are allowed per member and period.
// It counts attempts, so a limit that must hold is checked against what was bought.
func (g *Gate) Admit(ctx context.Context, member, sku string, quantity, limit int, per time.Duration) (bool, error) {
	if g == nil || limit <= 0 {
		return true, nil
	}
	v, err := g.caps.Allow(ctx, member+"\x00"+sku, redis.Rate{Events: limit, Per: per, Burst: limit}, quantity)
	return v.Allowed, err
}
