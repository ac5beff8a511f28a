package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// plainForm is double entry as it is usually written by hand: one database transaction per transfer, which updates the two
// balances itself. Locks are taken in a fixed order and the hot account's (0) last, so that it is held as briefly as can be.
type plainForm struct {
	suffix, ratio string // of the figures' names
	transfers     func(lane string) int64
	transfer      func(ctx context.Context, db *pg.Pool, from, to int, amount int64, at time.Time) error
}

// plainForms are, in this order:
//   - the baseline of the ratio: the durable rows and indexes that the ledger keeps (transaction with unique idempotency
//     key and input hash, two postings, two balances), in one pipelined round trip between BEGIN and COMMIT;
//   - the same as one function, called without BEGIN and COMMIT: the least that a database can be asked;
//   - double entry without transactions and keys, which cannot tell a retry from a second transfer.
func plainForms() []plainForm {
	few := func(hot, spread int64) func(string) int64 {
		return func(lane string) int64 {
			if lane == "hot" {
				return hot
			}
			return spread
		}
	}
	return []plainForm{
		{"_baseline", "", few(2_000, 10_000), plainTransfer},
		{"_function", "_function", few(2_000, 10_000), plainFunction},
		{"_keyless", "_keyless", few(2_000, 10_000), plainKeyless},
	}
}

// On tables of the benchmark's own, not of the migrated schema: so not named …SQL, which internal/archtest prepares.
const plainTables = `
CREATE SCHEMA plain;
CREATE TABLE plain.balances (account_id bigint PRIMARY KEY, balance bigint NOT NULL, postings bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE plain.transactions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, book text NOT NULL, key uuid NOT NULL,
    hash bytea NOT NULL, kind text NOT NULL, ref text NOT NULL, at timestamptz NOT NULL, UNIQUE (book, key));
CREATE TABLE plain.postings (transaction_id bigint NOT NULL, n smallint NOT NULL, account_id bigint NOT NULL, amount bigint NOT NULL,
    PRIMARY KEY (transaction_id, n));
CREATE INDEX ON plain.postings (account_id, transaction_id);
CREATE TABLE plain.lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL, amount bigint NOT NULL,
    at timestamptz NOT NULL);
CREATE INDEX ON plain.lines (account_id, id);
INSERT INTO plain.balances SELECT i, 0, 0 FROM generate_series(0, 100000) i;
CREATE FUNCTION plain.transfer(the_key uuid, the_hash bytea, from_id bigint, to_id bigint, the_amount bigint, the_time timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    first bigint := CASE WHEN from_id < to_id AND from_id <> 0 OR to_id = 0 THEN from_id ELSE to_id END;
BEGIN
    INSERT INTO plain.transactions (book, key, hash, kind, ref, at) VALUES ('bench', the_key, the_hash, 'bench', '', the_time) RETURNING id INTO t;
    INSERT INTO plain.postings VALUES (t, 0, from_id, -the_amount), (t, 1, to_id, the_amount);
    UPDATE plain.balances SET balance = balance + CASE WHEN first = from_id THEN -the_amount ELSE the_amount END, postings = postings + 1
    WHERE account_id = first;
    UPDATE plain.balances SET balance = balance + CASE WHEN first = from_id THEN the_amount ELSE -the_amount END, postings = postings + 1
    WHERE account_id = CASE WHEN first = from_id THEN to_id ELSE from_id END;
END $$;
ANALYZE`

const (
	plainPost = `
WITH t AS (
    INSERT INTO plain.transactions (book, key, hash, kind, ref, at) VALUES ('bench', $1, $2, 'bench', '', $3) RETURNING id
)
INSERT INTO plain.postings
SELECT t.id, v.n, v.account_id, v.amount
FROM t, (VALUES (0::smallint, $4::bigint, -$6::bigint), (1::smallint, $5::bigint, $6::bigint)) AS v (n, account_id, amount)`
	plainUpdate = `UPDATE plain.balances SET balance = balance + $2, postings = postings + 1 WHERE account_id = $1`
	plainLine   = `INSERT INTO plain.lines (account_id, amount, at) VALUES ($1, $2, $3)`
	plainCall   = `SELECT plain.transfer($1, $2, $3, $4, $5, $6)`
)

func plainTransfer(ctx context.Context, db *pg.Pool, from, to int, amount int64, at time.Time) error {
	return pg.InTx(ctx, db, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(plainPost, id.New(), make([]byte, 32), at, from, to, amount)
		queuePlainUpdates(&b, from, to, amount)
		return tx.SendBatch(ctx, &b).Close()
	})
}

func plainFunction(ctx context.Context, db *pg.Pool, from, to int, amount int64, at time.Time) error {
	_, err := db.Exec(ctx, plainCall, id.New(), make([]byte, 32), from, to, amount, at)
	return err
}

func plainKeyless(ctx context.Context, db *pg.Pool, from, to int, amount int64, at time.Time) error {
	return pg.InTx(ctx, db, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(plainLine, from, -amount, at)
		b.Queue(plainLine, to, amount, at)
		queuePlainUpdates(&b, from, to, amount)
		return tx.SendBatch(ctx, &b).Close()
	})
}

func queuePlainUpdates(b *pgx.Batch, from, to int, amount int64) {
	low, lowAmount, high, highAmount := from, -amount, to, amount
	if high < low {
		low, lowAmount, high, highAmount = high, highAmount, low, lowAmount
	}
	if low == 0 {
		low, lowAmount, high, highAmount = high, highAmount, low, lowAmount
	}
	b.Queue(plainUpdate, low, lowAmount)
	b.Queue(plainUpdate, high, highAmount)
}
