// Package redis is the one place that knows Redis. What it keeps are hints: a cache, a lock that saves doubled work, a
// rate limit shared by processes. Every helper goes on when Redis is slow, full, flushed or gone: the cache falls back
// to the process's memory, the lock lets everybody in, the limiter counts per process. Nothing that must be right may
// rest on it; a right to work that must be exclusive is an internal/lease.
package redis
