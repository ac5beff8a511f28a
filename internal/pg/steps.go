package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// Steps is a transaction of two batches: what Read asks decides what Write queues. Both are called anew at every attempt
// and have no effect but on the batch and on state that Read resets.
type Steps struct {
	Read  func(b *pgx.Batch)
	Write func(b *pgx.Batch) error
	// Explain translates an error of the database before it is judged; it may join ErrRetry to it. Nil leaves errors alone.
	Explain func(error) error
}

// InSteps runs the steps in a transaction of their own and commits, in two round trips: BEGIN travels with the first batch
// and COMMIT with the second, where an error anywhere keeps the COMMIT from being run. It retries as InTx does. It is for
// statements on which many callers wait; everything else is InTx.
func InSteps(ctx context.Context, db *Pool, s Steps) error {
	return retry(ctx, func() error { return stepsOnce(ctx, db, s) })
}

func stepsOnce(ctx context.Context, db *Pool, s Steps) (err error) {
	conn, err := db.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer conn.Release() // ends the connection if a transaction is still open on it
	defer func() {
		if err == nil || conn.Conn().PgConn().TxStatus() == 'I' {
			return
		}
		// A cancelled request must not leave its transaction open.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, rerr := conn.Exec(ctx, "ROLLBACK"); rerr != nil {
			err = errors.Join(err, fmt.Errorf("rollback: %w", rerr))
		}
	}()
	explain := func(err error) error {
		if err != nil && s.Explain != nil {
			return s.Explain(err)
		}
		return err
	}
	var read, write pgx.Batch
	read.Queue("BEGIN")
	s.Read(&read)
	if err := conn.SendBatch(ctx, &read).Close(); err != nil {
		return explain(err)
	}
	if err := s.Write(&write); err != nil {
		return err
	}
	write.Queue("COMMIT")
	return explain(conn.SendBatch(ctx, &write).Close())
}

// retry calls once until it succeeds, fails for good or has failed often enough.
func retry(ctx context.Context, once func() error) error {
	for attempt := 1; ; attempt++ {
		err := once()
		if err == nil || attempt == maxAttempts || !Retryable(err) {
			return err
		}
		pause := time.Duration(rand.Int64N(int64(attempt)*4+1)) * time.Millisecond
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}
