package checkout_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tappedTx counts the round trips of a transaction and lets the tap fail them. One that fails has not reached the database;
// the transaction around it is rolled back by whoever began it.
type tappedTx struct {
	pgx.Tx
	d   *tapped
	top bool
}

func (t *tappedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := t.d.hit(); err != nil {
		return nil, err
	}
	tx, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &tappedTx{Tx: tx, d: t.d}, nil
}

func (t *tappedTx) Commit(ctx context.Context) error {
	if err := t.d.hit(); err != nil {
		return err
	}
	return t.Tx.Commit(ctx)
}

func (t *tappedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.d.hit(); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *tappedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.d.hit(); err != nil {
		return nil, err
	}
	return t.Tx.Query(ctx, sql, args...)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

func (t *tappedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := t.d.hit(); err != nil {
		return failedRow{err}
	}
	return t.Tx.QueryRow(ctx, sql, args...)
}

type failedBatch struct{ err error }

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return nil, b.err }
func (b failedBatch) QueryRow() pgx.Row                { return failedRow(b) }
func (b failedBatch) Close() error                     { return b.err }

// SendBatch is one round trip. The tap may also cut a batch short: then its first statements are done and the rest is not.
func (t *tappedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := t.d.hit(); err != nil {
		return failedBatch{err}
	}
	return t.Tx.SendBatch(ctx, b)
}

func (b failedBatch) Tx() pgx.Tx { return nil }
