package ledger

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/pg"
)

// queuePostSQL posts one transaction as one statement. Spread accounts are taken in the order of their ids; their floors are
// the database's to hold. What it returns as affected are the accounts that it reached.
const queuePostSQL = `
WITH moved AS (
    INSERT INTO core.ledger_transactions (id, book, key, hash, kind, ref, at)
    VALUES (nextval('core.ledger_transaction_seq'), @book, @key, @hash, @kind, @ref, @at)
    ON CONFLICT ON CONSTRAINT ledger_transactions_key DO NOTHING
    RETURNING id
), line AS (
    SELECT m.id AS transaction_id, a.id AS account_id, a.lane, p.amount, p.n
    FROM moved m
    CROSS JOIN unnest(@codes::text[], @amounts::bigint[]) WITH ORDINALITY AS p (code, amount, n)
    JOIN core.ledger_accounts a ON a.book = @book AND a.code = p.code
), posted AS (
    INSERT INTO core.ledger_postings (transaction_id, n, account_id, amount)
    SELECT transaction_id, n - 1, account_id, amount
    FROM line
), change AS MATERIALIZED (
    SELECT account_id, lane, sum(amount)::bigint AS amount, count(*) AS postings
    FROM line
    GROUP BY account_id, lane
), locked AS MATERIALIZED (
    SELECT b.account_id, c.amount, c.postings
    FROM core.ledger_balances b
    JOIN change c USING (account_id)
    WHERE c.lane = 'spread'
    ORDER BY b.account_id
    FOR NO KEY UPDATE OF b
), spread AS (
    UPDATE core.ledger_balances b
    SET balance = b.balance + l.amount, postings = b.postings + l.postings
    FROM locked l
    WHERE b.account_id = l.account_id
    RETURNING b.account_id
), hot AS (
    INSERT INTO core.ledger_deltas (account_id, amount, postings)
    SELECT account_id, amount, postings
    FROM change
    WHERE lane = 'hot'
    RETURNING account_id
)
SELECT account_id FROM spread
UNION ALL
SELECT account_id FROM hot`

// Queue is Post of one transaction as one statement of a batch that the caller sends. The key must be new: one that is
// known makes the caller's transaction run again (pg.ErrRetry), so its owner asks for it first. It fails with ErrInvalid or
// ErrUnbalanced at once, and the batch with ErrNoAccount, or with the constraint ledger_balances_floor where Post says
// ErrInsufficient.
func (l *Ledger) Queue(b *pgx.Batch, t Transaction) error {
	if err := t.validate(); err != nil {
		return fmt.Errorf("post %s %s: %w", t.Kind, t.Key, err)
	}
	codes, amounts := make([]string, len(t.Postings)), make([]int64, len(t.Postings))
	accounts := map[string]bool{}
	for i, p := range t.Postings {
		codes[i], amounts[i] = p.Account, p.Amount
		accounts[p.Account] = true
	}
	b.Queue(queuePostSQL, pg.Args{
		"book": t.Book, "key": t.Key, "hash": t.hash(), "kind": t.Kind, "ref": t.Ref, "at": t.At, "codes": codes, "amounts": amounts,
	}).Exec(func(tag pgconn.CommandTag) error {
		switch int(tag.RowsAffected()) {
		case len(accounts):
			return nil
		case 0:
			return fmt.Errorf("post %s %s: the key or the accounts are not there: %w", t.Kind, t.Key, pg.ErrRetry)
		}
		return ErrNoAccount.With("book", t.Book, "account", codes)
	})
	return nil
}
