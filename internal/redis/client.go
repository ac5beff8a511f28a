package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Off as URL means that there is no Redis; so does the empty URL.
const Off = "off"

// Client reaches Redis, or stands for its absence.
type Client struct {
	rdb    *goredis.Client // nil: off
	log    *slog.Logger
	failed atomic.Int64 // unix nanoseconds of the last failure
	logged atomic.Int64 // and of the last one logged
}

// pause is how long a Redis that failed is left alone: waiting for it in every call would cost more than it ever saves.
const pause = time.Second

// Open returns a client for a redis://, rediss:// or unix:// URL. It does not connect: an unreachable Redis is a slower
// one, not an error. An URL that cannot be read is an error.
func Open(url string, log *slog.Logger) (*Client, error) {
	c := &Client{log: log}
	if url == "" || url == Off {
		return c, nil
	}
	opts, err := goredis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}
	// A hint that takes longer than the work it saves is none.
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = time.Second, 500*time.Millisecond, 500*time.Millisecond
	opts.MaxRetries, opts.DialerRetries = 1, 1
	logging.Disable()
	c.rdb = goredis.NewClient(opts)
	return c, nil
}

// Raw returns the go-redis client for packages under internal that need more (live fan-out), or nil when Redis is off.
func (c *Client) Raw() *goredis.Client { return c.rdb }

// Ping says whether Redis answers. off is true when there is none to ask.
func (c *Client) Ping(ctx context.Context) (off bool, err error) {
	if c.rdb == nil {
		return true, nil
	}
	return false, c.rdb.Ping(ctx).Err()
}

// Close lets go of the connections.
func (c *Client) Close() error {
	if c.rdb == nil {
		return nil
	}
	return c.rdb.Close()
}

// use returns the client to ask, or nil while there is none worth asking.
func (c *Client) use() *goredis.Client {
	if c.rdb == nil || time.Now().UnixNano()-c.failed.Load() < int64(pause) {
		return nil
	}
	return c.rdb
}

// lost notes a failure, and logs one in ten seconds.
func (c *Client) lost(ctx context.Context, op string, err error) {
	if ctx.Err() != nil {
		return // the caller's haste says nothing about Redis
	}
	now := time.Now().UnixNano()
	c.failed.Store(now)
	last := c.logged.Load()
	if now-last > int64(10*time.Second) && c.logged.CompareAndSwap(last, now) {
		c.log.WarnContext(ctx, "redis does not answer; going on without it", "op", op, "error", err)
	}
}
