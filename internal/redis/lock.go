package redis

import (
	"context"
	"crypto/rand"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

var unlockScript = goredis.NewScript(`
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("DEL", KEYS[1])
end
return 0`)

// Lock keeps processes from doing the same work twice for nothing. ok is false while another holder has it. It is a
// hint: without Redis everybody gets it, and a holder slower than ttl loses it unawares. unlock gives it back unless it
// is another's by then.
func (c *Client) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), ok bool) {
	none := func() {}
	rdb := c.use()
	if rdb == nil {
		return none, true
	}
	token := rand.Text()
	got, err := rdb.SetNX(ctx, "lock:"+key, token, ttl).Result()
	if err != nil {
		c.lost(ctx, "lock", err)
		return none, true
	}
	if !got {
		return none, false
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := unlockScript.Run(ctx, rdb, []string{"lock:" + key}, token).Err(); err != nil {
			c.lost(ctx, "unlock", err)
		}
	}, true
}
