package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const ensurePartitionsSQL = `
SELECT member.ensure_activity_partitions(@at::timestamptz, @at::timestamptz)`

// settled is how long ago a partition must have been made for every open transaction to know it.
const settled = 15 * time.Minute

// patience bounds the wait for a new partition. Nothing known blocks it for long; should something that waits for the
// caller's locks do, the caller's transaction gives up and runs again.
const patience = 10 * time.Second

// ensurePartitions makes the monthly partitions that the rows need, outside of the caller's transaction, which must not
// hold their locks. A transaction that has used the log before does not notice a new partition by itself, because it holds
// the lock at which PostgreSQL would look for news; reading from the partition makes it look.
func (l *Log) ensurePartitions(ctx context.Context, tx pgx.Tx, rows []encoded) error {
	var missing, recent []time.Time
	seen := map[int]bool{}
	l.mu.Lock()
	for i := range rows {
		at := rows[i].OccurredAt
		month := monthOf(at)
		if seen[month] {
			continue
		}
		seen[month] = true
		made, known := l.months[month]
		if !known {
			missing = append(missing, at)
		}
		if !known || time.Since(made) <= settled {
			recent = append(recent, at)
		}
	}
	l.mu.Unlock()
	if len(missing) > 0 {
		if err := l.makePartitions(ctx, missing); err != nil {
			return err
		}
	}
	for _, at := range recent {
		if _, err := tx.Exec(ctx, "SELECT FROM member.activities_"+at.UTC().Format("200601")+" WHERE false"); err != nil {
			return fmt.Errorf("see partition for %s: %w", at.UTC().Format("2006-01"), err)
		}
	}
	return nil
}

// dialer is a pool that opens connections beside itself.
type dialer interface {
	Dial(ctx context.Context) (*pgx.Conn, error)
}

// makePartitions makes partitions on a connection of its own, one caller at a time. It must not take one from the pool:
// callers hold connections of it, and those who wait here may hold them all.
func (l *Log) makePartitions(ctx context.Context, ats []time.Time) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := l.makeInTurn(waiting, ats)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		err = errors.Join(err, pg.ErrRetry)
	}
	if err != nil {
		return fmt.Errorf("make partitions of the log: %w", err)
	}
	return nil
}

func (l *Log) makeInTurn(ctx context.Context, ats []time.Time) error {
	select {
	case l.making <- struct{}{}:
		defer func() { <-l.making }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	ats = slices.DeleteFunc(ats, func(at time.Time) bool { _, known := l.months[monthOf(at)]; return known })
	l.mu.Unlock()
	if len(ats) == 0 { // somebody else made them meanwhile
		return nil
	}
	exec := l.db.Exec
	if d, ok := l.db.(dialer); ok {
		conn, err := d.Dial(ctx)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		exec = conn.Exec
	}
	for _, at := range ats {
		if _, err := exec(ctx, ensurePartitionsSQL, pg.Args{"at": at}); err != nil {
			return err
		}
		l.mu.Lock()
		l.months[monthOf(at)] = time.Now()
		l.mu.Unlock()
	}
	return nil
}

// monthOf numbers the months as the partitions do, in UTC.
func monthOf(at time.Time) int {
	at = at.UTC()
	return at.Year()*12 + int(at.Month())
}
