package channels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
)

// The rhythm of the loops.
const (
	leaseTTL   = 15 * time.Second
	renewEvery = 5 * time.Second
	idlePoll   = 200 * time.Millisecond
	lookAround = time.Second
)

func leaseName(account string, shard int) string {
	return fmt.Sprintf("channels/%s/%d", account, shard)
}

// Run sends what is due and applies what came back until ctx ends. Any number of processes may run it: each account shard
// is worked by the holder of its lease.
func (s *Service) Run(ctx context.Context) error {
	holder := fmt.Sprintf("%d/%s", os.Getpid(), id.New())
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.runInbox(ctx) })
	wg.Go(func() { s.runRetention(ctx) })
	wg.Go(func() { s.runReconcile(ctx) })

	var mu sync.Mutex
	working := map[string]bool{}
	for {
		accounts, err := s.store.accounts(ctx, s.db)
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "channel accounts cannot be read", "error", err)
		}
		for _, a := range accounts {
			for shard := range a.Settings.Shards {
				name := leaseName(a.Code, shard)
				mu.Lock()
				busy := working[name]
				working[name] = true
				mu.Unlock()
				if busy || a.Status == AccountDisabled {
					continue
				}
				wg.Go(func() {
					s.workShard(ctx, a.Code, shard, holder)
					mu.Lock()
					delete(working, name)
					mu.Unlock()
				})
			}
		}
		if !sleep(ctx, lookAround) {
			return nil
		}
	}
}

// workShard takes the lease of a shard if it is free and sends until ctx ends or the lease is lost.
func (s *Service) workShard(ctx context.Context, account string, shard int, holder string) {
	l, ok, err := lease.Acquire(ctx, s.db, leaseName(account, shard), holder, leaseTTL)
	if err != nil || !ok {
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "lease cannot be acquired", "lease", leaseName(account, shard), "error", err)
		}
		return
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		for sleep(work, renewEvery) {
			if err := l.Renew(work, s.db); errors.Is(err, lease.ErrLost) {
				cancel()
				return
			}
		}
	}()
	err = s.sendUntil(work, l, account, shard, false)
	cancel()
	<-renewed
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.WarnContext(ctx, "sending stopped", "account", account, "shard", shard, "error", err)
	}
	release, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if err := l.Release(release, s.db); err != nil {
		s.log.WarnContext(ctx, "lease cannot be released", "lease", l.Name, "error", err)
	}
}

// sendUntil settles what a dead holder left, then sends batch after batch. While one batch is being recorded and the next
// is with the provider, the one after is being claimed, so at most three are in flight. With drain it returns when nothing
// is due.
func (s *Service) sendUntil(ctx context.Context, l lease.Lease, account string, shard int, drain bool) error {
	if err := s.recover(ctx, l, account, shard); err != nil {
		return err
	}
	var (
		inFlight sync.WaitGroup
		slot     = make(chan struct{}, 2)
		failMu   sync.Mutex
		failed   error
	)
	defer inFlight.Wait()
	for {
		failMu.Lock()
		err := failed
		failMu.Unlock()
		if err != nil {
			return err
		}
		b, err := s.handOver(ctx, l, account, shard)
		if err != nil {
			return err
		}
		if len(b.messages) == 0 {
			if b.more {
				continue
			}
			if drain {
				inFlight.Wait()
				return failed
			}
			if !sleep(ctx, idlePoll) {
				return nil
			}
			continue
		}
		slot <- struct{}{}
		inFlight.Go(func() {
			defer func() { <-slot }()
			outcomes := s.send(ctx, b)
			// What was sent is recorded even while shutting down.
			keep, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer done()
			if ctx.Err() == nil {
				keep = ctx
			}
			if err := s.record(keep, b, outcomes); err != nil {
				failMu.Lock()
				failed = err
				failMu.Unlock()
			}
		})
	}
}

// recover settles the batches that an earlier holder handed over and never recorded: planned again under the same key
// where the provider dedupes by it, unknown otherwise.
func (s *Service) recover(ctx context.Context, l lease.Lease, account string, shard int) error {
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := l.Check(ctx, tx); err != nil {
			return err
		}
		a, err := s.store.account(ctx, tx, account)
		if err != nil {
			return err
		}
		n, err := s.store.settleAbandoned(ctx, tx, a, shard, l.Epoch, s.clock.Now())
		if n > 0 {
			s.log.WarnContext(ctx, "a sender died between handover and result", "account", account, "messages", n, "retried", a.Settings.Idempotent)
		}
		return err
	})
}

// Drain applies what came back and sends everything that is due now, account by account, and returns when nothing is left
// to do. It is Run for tests, the demo and the command line.
func (s *Service) Drain(ctx context.Context) error {
	if _, err := s.ApplyInbound(ctx); err != nil {
		return err
	}
	accounts, err := s.store.accounts(ctx, s.db)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if a.Status == AccountDisabled {
			continue
		}
		for shard := range a.Settings.Shards {
			l, ok, err := lease.Acquire(ctx, s.db, leaseName(a.Code, shard), "drain/"+id.New().String(), time.Minute)
			if err != nil {
				return err
			}
			if !ok {
				continue // another process is sending
			}
			err = s.sendUntil(ctx, l, a.Code, shard, true)
			if rerr := l.Release(ctx, s.db); err == nil {
				err = rerr
			}
			if err != nil {
				return fmt.Errorf("drain %s: %w", a.Code, err)
			}
		}
	}
	_, err = s.ApplyInbound(ctx)
	return err
}

// runRetention forgets bindings, provider ids and applied callbacks that are past their time.
func (s *Service) runRetention(ctx context.Context) {
	for {
		if err := s.Forget(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "retention failed", "error", err)
		}
		if !sleep(ctx, time.Hour) {
			return
		}
	}
}

// Forget removes what is past its retention.
func (s *Service) Forget(ctx context.Context) error {
	return s.store.forget(ctx, s.db, s.clock.Now())
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
