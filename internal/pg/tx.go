package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const maxAttempts = 10

// ErrRetry asks the outermost InTx to run the transaction again: a lock protocol found that what it read before locking
// has changed.
var ErrRetry = errors.New("pg: transaction must be retried")

// InTx runs fn in a transaction and commits if it returns nil. See the package documentation for nesting and retries.
func InTx(ctx context.Context, db DB, fn func(tx pgx.Tx) error) error {
	if _, nested := db.(pgx.Tx); nested {
		return once(ctx, db, fn)
	}
	return retry(ctx, func() error { return once(ctx, db, fn) })
}

func once(ctx context.Context, db DB, fn func(tx pgx.Tx) error) (err error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		// A cancelled request must not leave its transaction open.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if rerr := tx.Rollback(ctx); rerr != nil && !errors.Is(rerr, pgx.ErrTxClosed) {
			err = errors.Join(err, fmt.Errorf("rollback: %w", rerr))
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Retryable reports whether err says that the transaction may be run again.
func Retryable(err error) bool {
	if errors.Is(err, ErrRetry) {
		return true
	}
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

// Constraint returns the name of the constraint that err reports as violated, or "".
func Constraint(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.ConstraintName
	}
	return ""
}

// NoRows reports whether err says that a query found nothing.
func NoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
