package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// account is an account in the middle of a post. For a hot account the balance is that of its row, without deltas.
type account struct {
	id       int64
	lane     Lane
	balance  int64
	floor    *int64
	delta    int64
	postings int64
}

const openBookSQL = `
INSERT INTO core.ledger_books (code, asset)
VALUES (@book, @asset)
ON CONFLICT ON CONSTRAINT ledger_books_pkey DO NOTHING`

const bookAssetSQL = `
SELECT asset
FROM core.ledger_books
WHERE code = @book`

func openBook(ctx context.Context, tx pgx.Tx, book, asset string) error {
	if _, err := tx.Exec(ctx, openBookSQL, pg.Args{"book": book, "asset": asset}); err != nil {
		if pg.Constraint(err) == "ledger_books_code" {
			return invalid("book", "账簿代码格式有误", "a book's code is letters, digits and _.:-")
		}
		return err
	}
	var has string
	if err := tx.QueryRow(ctx, bookAssetSQL, pg.Args{"book": book}).Scan(&has); err != nil {
		return err
	}
	if has != asset {
		return ErrBookExists.With("book", book)
	}
	return nil
}

const openAccountsSQL = `
INSERT INTO core.ledger_accounts (book, code, lane, opened_at)
SELECT @book, code, lane, @at
FROM unnest(@codes::text[], @lanes::text[]) AS a (code, lane)
ORDER BY code
ON CONFLICT ON CONSTRAINT ledger_accounts_book_code DO NOTHING`

const openBalancesSQL = `
INSERT INTO core.ledger_balances (account_id, floor)
SELECT a.id, w.floor
FROM unnest(@codes::text[], @floors::bigint[]) AS w (code, floor)
JOIN core.ledger_accounts a ON a.code = w.code
WHERE a.book = @book AND a.code = ANY(@codes)
ORDER BY a.id
ON CONFLICT ON CONSTRAINT ledger_balances_pkey DO NOTHING`

const openedOtherwiseSQL = `
SELECT a.code
FROM unnest(@codes::text[], @lanes::text[], @floors::bigint[]) AS w (code, lane, floor)
JOIN core.ledger_accounts a ON a.book = @book AND a.code = w.code
JOIN core.ledger_balances b ON b.account_id = a.id
WHERE a.lane <> w.lane OR b.floor IS DISTINCT FROM w.floor
ORDER BY a.code
LIMIT 1`

func openAccounts(ctx context.Context, tx pgx.Tx, book string, at time.Time, accounts []Account) error {
	codes, lanes, floors := make([]string, len(accounts)), make([]string, len(accounts)), make([]*int64, len(accounts))
	for i, a := range accounts {
		codes[i], lanes[i], floors[i] = a.Code, string(a.Lane), a.Floor
	}
	if _, err := tx.Exec(ctx, openAccountsSQL, pg.Args{"book": book, "codes": codes, "lanes": lanes, "at": at}); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, openBalancesSQL, pg.Args{"book": book, "codes": codes, "floors": floors}); err != nil {
		return err
	}
	var other string
	err := tx.QueryRow(ctx, openedOtherwiseSQL, pg.Args{"book": book, "codes": codes, "lanes": lanes, "floors": floors}).Scan(&other)
	switch {
	case pg.NoRows(err):
		return nil
	case err != nil:
		return err
	}
	return ErrAccountExists.With("account", other)
}

// Locks the balance rows of spread accounts in the order of account ids; every post does, so posts do not deadlock among
// themselves. Rows of hot accounts are only read.
const lockAccountsSQL = `
WITH wanted AS MATERIALIZED (
    SELECT a.id, a.book, a.code, a.lane
    FROM unnest(@books::text[], @codes::text[]) AS w (book, code)
    JOIN core.ledger_accounts a USING (book, code)
), spread AS (
    SELECT w.id, w.book, w.code, w.lane, b.balance, b.floor
    FROM wanted w
    JOIN core.ledger_balances b ON b.account_id = w.id
    WHERE w.lane = 'spread'
    ORDER BY b.account_id
    FOR NO KEY UPDATE OF b
)
SELECT id, book, code, lane, balance, floor
FROM spread
UNION ALL
SELECT w.id, w.book, w.code, w.lane, b.balance, NULL
FROM wanted w
JOIN core.ledger_balances b ON b.account_id = w.id
WHERE w.lane = 'hot'`

// Runs after the locks: a post of the same key on the same accounts has committed by then and is seen.
const seenSQL = `
SELECT t.book, t.key, t.hash
FROM unnest(@books::text[], @keys::uuid[]) AS w (book, key)
JOIN core.ledger_transactions t USING (book, key)`

const transactionIDsSQL = `
SELECT nextval('core.ledger_transaction_seq')
FROM generate_series(1, @n::integer)`

// queueRead locks and reads the accounts, finds which keys were posted before, and reserves transaction ids. Accounts that
// do not exist stay nil.
func (p *posting) queueRead(b *pgx.Batch) {
	books, codes := make([]string, 0, len(p.accounts)), make([]string, 0, len(p.accounts))
	for k := range p.accounts {
		books, codes = append(books, k.book), append(codes, k.code)
	}
	keyBooks, keyIDs := make([]string, 0, len(p.keys)), make([]id.UUID, 0, len(p.keys))
	for k := range p.keys {
		keyBooks, keyIDs = append(keyBooks, k.book), append(keyIDs, k.key)
	}
	b.Queue(lockAccountsSQL, pg.Args{"books": books, "codes": codes}).Query(func(rows pgx.Rows) error {
		var k accountKey
		var a account
		_, err := pgx.ForEachRow(rows, []any{&a.id, &k.book, &k.code, &a.lane, &a.balance, &a.floor}, func() error {
			fresh := a
			p.accounts[k] = &fresh
			return nil
		})
		return err
	})
	b.Queue(seenSQL, pg.Args{"books": keyBooks, "keys": uuids(keyIDs)}).Query(func(rows pgx.Rows) error {
		var k bookKey
		var hash []byte
		_, err := pgx.ForEachRow(rows, []any{&k.book, &k.key, &hash}, func() error {
			p.seen[k] = append([]byte(nil), hash...)
			return nil
		})
		return err
	})
	b.Queue(transactionIDsSQL, pg.Args{"n": len(p.keys)}).Query(func(rows pgx.Rows) error {
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&n}, func() error {
			p.ids = append(p.ids, n)
			return nil
		})
		return err
	})
}

const insertTransactionsSQL = `
INSERT INTO core.ledger_transactions (id, book, key, hash, kind, ref, at)
SELECT *
FROM unnest(@ids::bigint[], @books::text[], @keys::uuid[], @hashes::bytea[], @kinds::text[], @refs::text[], @ats::timestamptz[])
     AS t (id, book, key, hash, kind, ref, at)
ORDER BY book, key -- writers of the same keys wait for each other in one order`

const insertPostingsSQL = `
INSERT INTO core.ledger_postings (transaction_id, n, account_id, amount)
SELECT *
FROM unnest(@ids::bigint[], @ns::smallint[], @accounts::bigint[], @amounts::bigint[])`

const insertDeltasSQL = `
INSERT INTO core.ledger_deltas (account_id, amount, postings)
SELECT *
FROM unnest(@accounts::bigint[], @amounts::bigint[], @postings::integer[])`

// The rows are locked already.
const updateBalancesSQL = `
UPDATE core.ledger_balances b
SET balance = b.balance + d.amount, postings = b.postings + d.postings
FROM unnest(@accounts::bigint[], @amounts::bigint[], @postings::bigint[]) AS d (account_id, amount, postings)
WHERE b.account_id = d.account_id`

// writes is what a post adds, by column.
type writes struct {
	ids    []int64
	books  []string
	keys   []id.UUID
	hashes [][]byte
	kinds  []string
	refs   []string
	ats    []time.Time

	lineIDs      []int64
	lineNs       []int16
	lineAccounts []int64
	lineAmounts  []int64
}

func (w *writes) add(txID int64, t Transaction, hash []byte, accounts map[accountKey]*account) {
	w.ids, w.books, w.keys = append(w.ids, txID), append(w.books, t.Book), append(w.keys, t.Key)
	w.hashes, w.kinds, w.refs = append(w.hashes, hash), append(w.kinds, t.Kind), append(w.refs, t.Ref)
	w.ats = append(w.ats, t.At)
	for n, p := range t.Postings {
		w.lineIDs, w.lineNs = append(w.lineIDs, txID), append(w.lineNs, int16(n))
		w.lineAccounts = append(w.lineAccounts, accounts[accountKey{t.Book, p.Account}].id)
		w.lineAmounts = append(w.lineAmounts, p.Amount)
	}
}

var errKeyRace = errors.New("ledger: the same key was posted at the same time")

// explain recognises that somebody posted one of the keys since queueRead looked: the whole database transaction is run
// again, and sees it then.
func explain(err error) error {
	if pg.Constraint(err) == "ledger_transactions_key" {
		return errors.Join(errKeyRace, pg.ErrRetry)
	}
	return err
}

// queue writes transactions, postings and balances.
func (w *writes) queue(b *pgx.Batch, accounts map[accountKey]*account) {
	var hot, spread struct {
		ids, amounts []int64
		postings     []int64
	}
	for _, a := range accounts {
		if a == nil || a.postings == 0 {
			continue
		}
		to := &spread
		if a.lane == LaneHot {
			to = &hot
		}
		to.ids, to.amounts, to.postings = append(to.ids, a.id), append(to.amounts, a.delta), append(to.postings, a.postings)
	}
	b.Queue(insertTransactionsSQL, pg.Args{
		"ids": w.ids, "books": w.books, "keys": uuids(w.keys), "hashes": w.hashes, "kinds": w.kinds, "refs": w.refs, "ats": w.ats,
	})
	b.Queue(insertPostingsSQL, pg.Args{"ids": w.lineIDs, "ns": w.lineNs, "accounts": w.lineAccounts, "amounts": w.lineAmounts})
	if len(hot.ids) > 0 {
		b.Queue(insertDeltasSQL, pg.Args{"accounts": hot.ids, "amounts": hot.amounts, "postings": hot.postings})
	}
	if len(spread.ids) > 0 {
		b.Queue(updateBalancesSQL, pg.Args{"accounts": spread.ids, "amounts": spread.amounts, "postings": spread.postings})
	}
}

// uuids in the form that pgx encodes without going through text.
func uuids(ids []id.UUID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i, u := range ids {
		out[i] = u
	}
	return out
}

const balancesSQL = `
SELECT a.code, b.balance + coalesce(d.amount, 0)::bigint AS balance, b.postings + coalesce(d.postings, 0)::bigint AS postings
FROM core.ledger_accounts a
JOIN core.ledger_balances b ON b.account_id = a.id
LEFT JOIN LATERAL (
    SELECT sum(amount) AS amount, sum(postings) AS postings
    FROM core.ledger_deltas
    WHERE account_id = a.id AND a.lane = 'hot'
) d ON true
WHERE a.book = @book AND (@code::text = '' OR a.code = @code) AND starts_with(a.code, @prefix)
ORDER BY a.code`

func balances(ctx context.Context, db pg.DB, book, code, prefix string) ([]Balance, error) {
	rows, err := db.Query(ctx, balancesSQL, pg.Args{"book": book, "code": code, "prefix": prefix})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Balance, error) {
		var b Balance
		err := row.Scan(&b.Account, &b.Balance, &b.Postings)
		return b, err
	})
}
