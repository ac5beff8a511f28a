package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const foldSQL = `
WITH taken AS (
    DELETE FROM core.ledger_deltas
    WHERE id = ANY(ARRAY(
        SELECT id
        FROM core.ledger_deltas
        ORDER BY id
        LIMIT @limit
        FOR UPDATE SKIP LOCKED))
    RETURNING account_id, amount, postings
), summed AS (
    SELECT account_id, sum(amount)::bigint AS amount, sum(postings)::bigint AS postings, count(*) AS rows
    FROM taken
    GROUP BY account_id
), folded AS (
    UPDATE core.ledger_balances b
    SET balance = b.balance + s.amount, postings = b.postings + s.postings
    FROM summed s
    WHERE b.account_id = s.account_id
    RETURNING s.rows
)
SELECT coalesce(sum(rows), 0)::bigint
FROM folded`

// Fold moves the deltas of hot accounts into their balance rows, in transactions of at most 10,000 deltas, until few are
// left, and returns how many it moved. Running it is never necessary for exactness, only for speed; two may run at once.
func (l *Ledger) Fold(ctx context.Context, db pg.DB) (int64, error) {
	const limit = 10_000
	var total int64
	for {
		var n int64
		err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, foldSQL, pg.Args{"limit": limit}).Scan(&n)
		})
		if err != nil {
			return total, fmt.Errorf("fold hot accounts: %w", err)
		}
		total += n
		if n < limit {
			return total, nil
		}
	}
}

// Report is what Verify found; all counts of faults are zero in a sound ledger.
type Report struct {
	Transactions int64 `json:"transactions"`
	Postings     int64 `json:"postings"`
	Unbalanced   int64 `json:"unbalanced"`    // transactions whose postings do not sum to zero
	Empty        int64 `json:"empty"`         // transactions with fewer than two postings
	WrongBook    int64 `json:"wrong_book"`    // postings to an account of another book
	WrongBalance int64 `json:"wrong_balance"` // accounts whose balance is not the sum of their postings
	Overdrawn    int64 `json:"overdrawn"`     // accounts below their floor
}

// OK reports whether the ledger is sound.
func (r Report) OK() bool {
	return r.Unbalanced == 0 && r.Empty == 0 && r.WrongBook == 0 && r.WrongBalance == 0 && r.Overdrawn == 0
}

// One statement, so one snapshot: posts that commit meanwhile are wholly in or wholly out.
const verifySQL = `
WITH per_transaction AS (
    SELECT t.id, coalesce(sum(p.amount), 0) AS sum, count(p.amount) AS lines, count(*) FILTER (WHERE a.book <> t.book) AS strangers
    FROM core.ledger_transactions t
    LEFT JOIN core.ledger_postings p ON p.transaction_id = t.id
    LEFT JOIN core.ledger_accounts a ON a.id = p.account_id
    GROUP BY t.id
), per_account AS (
    SELECT account_id, sum(amount) AS amount, count(*) AS postings
    FROM core.ledger_postings
    GROUP BY account_id
), pending AS (
    SELECT account_id, sum(amount) AS amount, sum(postings) AS postings
    FROM core.ledger_deltas
    GROUP BY account_id
)
SELECT
    (SELECT count(*) FROM per_transaction),
    (SELECT count(*) FROM core.ledger_postings),
    (SELECT count(*) FROM per_transaction WHERE sum <> 0),
    (SELECT count(*) FROM per_transaction WHERE lines < 2),
    (SELECT coalesce(sum(strangers), 0)::bigint FROM per_transaction),
    (SELECT count(*)
     FROM core.ledger_balances b
     FULL JOIN per_account p USING (account_id)
     LEFT JOIN pending d USING (account_id)
     WHERE coalesce(b.balance, 0) + coalesce(d.amount, 0) <> coalesce(p.amount, 0)
        OR coalesce(b.postings, 0) + coalesce(d.postings, 0) <> coalesce(p.postings, 0)),
    (SELECT count(*) FROM core.ledger_balances WHERE balance < floor)`

// Verify checks the invariants of the package documentation over the whole ledger.
func (l *Ledger) Verify(ctx context.Context, db pg.DB) (Report, error) {
	var r Report
	err := db.QueryRow(ctx, verifySQL).Scan(&r.Transactions, &r.Postings, &r.Unbalanced, &r.Empty, &r.WrongBook, &r.WrongBalance, &r.Overdrawn)
	if err != nil {
		return Report{}, fmt.Errorf("verify ledger: %w", err)
	}
	return r, nil
}

// Keeps writers out while the balances are replaced; readers go on.
const lockBalancesSQL = `
LOCK TABLE core.ledger_balances, core.ledger_deltas IN SHARE ROW EXCLUSIVE MODE`

const rebuildSQL = `
WITH truth AS (
    SELECT b.account_id, coalesce(sum(p.amount), 0)::bigint AS balance, count(p.amount) AS postings
    FROM core.ledger_balances b
    LEFT JOIN core.ledger_postings p ON p.account_id = b.account_id
    GROUP BY b.account_id
), pending AS (
    DELETE FROM core.ledger_deltas
    RETURNING account_id, amount, postings
), was AS (
    SELECT b.account_id, b.balance + coalesce(sum(d.amount), 0) AS balance, b.postings + coalesce(sum(d.postings), 0) AS postings
    FROM core.ledger_balances b
    LEFT JOIN pending d ON d.account_id = b.account_id
    GROUP BY b.account_id
), written AS (
    UPDATE core.ledger_balances b
    SET balance = t.balance, postings = t.postings
    FROM truth t
    WHERE b.account_id = t.account_id AND (b.balance <> t.balance OR b.postings <> t.postings)
)
SELECT count(*), count(*) FILTER (WHERE was.balance <> truth.balance OR was.postings <> truth.postings)
FROM truth
JOIN was USING (account_id)`

// Rebuilt is what Rebuild did.
type Rebuilt struct {
	Accounts  int64 `json:"accounts"`
	Changed   int64 `json:"changed"`
	Identical bool  `json:"identical"`
}

// Rebuild computes every balance anew from the postings and replaces those that differ. Identical says that none did.
// Posts wait while it runs.
func (l *Ledger) Rebuild(ctx context.Context, db pg.DB) (Rebuilt, error) {
	var r Rebuilt
	err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockBalancesSQL); err != nil {
			return err
		}
		return tx.QueryRow(ctx, rebuildSQL).Scan(&r.Accounts, &r.Changed)
	})
	if err != nil {
		return Rebuilt{}, fmt.Errorf("rebuild balances: %w", err)
	}
	r.Identical = r.Changed == 0
	return r, nil
}

// Line is what one transaction did to an account.
type Line struct {
	Transaction int64     `json:"transaction,string"`
	Key         string    `json:"key"`
	Kind        string    `json:"kind"`
	Ref         string    `json:"ref"`
	At          time.Time `json:"at"`
	Amount      int64     `json:"amount"`
}

const statementSQL = `
WITH lines AS (
    SELECT p.transaction_id, sum(p.amount)::bigint AS amount
    FROM core.ledger_accounts a
    JOIN core.ledger_postings p ON p.account_id = a.id
    WHERE a.book = @book AND a.code = @code AND p.transaction_id < @before
    GROUP BY p.transaction_id
    ORDER BY p.transaction_id DESC
    LIMIT @limit
)
SELECT t.id, t.key::text, t.kind, t.ref, t.at, l.amount
FROM lines l
JOIN core.ledger_transactions t ON t.id = l.transaction_id
ORDER BY t.id DESC`

// Statement returns what moved the account, newest first, before the given transaction (0: from the newest).
func (l *Ledger) Statement(ctx context.Context, db pg.DB, book, code string, before int64, limit int) ([]Line, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	rows, err := db.Query(ctx, statementSQL, pg.Args{"book": book, "code": code, "before": before, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("statement of %s/%s: %w", book, code, err)
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Line, error) {
		var n Line
		err := row.Scan(&n.Transaction, &n.Key, &n.Kind, &n.Ref, &n.At, &n.Amount)
		return n, err
	})
	if err != nil {
		return nil, fmt.Errorf("statement of %s/%s: %w", book, code, err)
	}
	return lines, nil
}
