package checkout_test

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tappedTx counts the round trips of a transaction and lets the tap fail them: errKilled before the database hears of it,
// errLost after the database has done it, commits included, so that only the answer is missing.
type tappedTx struct {
	pgx.Tx
	d *tapped
}

func (t *tappedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := t.d.hit(); err != nil {
		return nil, err
	}
	tx, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &tappedTx{tx, t.d}, nil
}

func (t *tappedTx) Commit(ctx context.Context) error {
	err := t.d.hit()
	if errors.Is(err, errKilled) {
		return err
	}
	return errors.Join(err, t.Tx.Commit(ctx))
}

func (t *tappedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	err := t.d.hit()
	if errors.Is(err, errKilled) {
		return pgconn.CommandTag{}, err
	}
	tag, done := t.Tx.Exec(ctx, sql, args...)
	if err == nil {
		err = done
	}
	return tag, err
}

func (t *tappedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	err := t.d.hit()
	if errors.Is(err, errKilled) {
		return nil, err
	}
	rows, done := t.Tx.Query(ctx, sql, args...)
	if err == nil {
		return rows, done
	}
	if done == nil {
		rows.Close()
	}
	return nil, err
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

func (t *tappedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, args...)
	if err != nil {
		return failedRow{err}
	}
	return firstRow{rows}
}

// firstRow is the row of QueryRow.
type firstRow struct{ rows pgx.Rows }

func (r firstRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

type failedBatch struct{ err error }

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return nil, b.err }
func (b failedBatch) QueryRow() pgx.Row                { return failedRow(b) }
func (b failedBatch) Close() error                     { return b.err }
func (b failedBatch) Tx() pgx.Tx                       { return nil }

func (t *tappedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	err := t.d.hit()
	if errors.Is(err, errKilled) {
		return failedBatch{err}
	}
	res := t.Tx.SendBatch(ctx, b)
	if err == nil {
		return res
	}
	_ = res.Close()
	return failedBatch{err}
}
