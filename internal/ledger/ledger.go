package ledger

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// Ledger opens accounts and posts to them. It holds no state.
type Ledger struct{}

// New returns the ledger.
func New() *Ledger { return &Ledger{} }

// Open makes sure that the book and its accounts exist; opening again changes nothing. It fails with ErrBookExists or
// ErrAccountExists if they exist otherwise.
func (l *Ledger) Open(ctx context.Context, tx pgx.Tx, book, asset string, at time.Time, accounts ...Account) error {
	for _, a := range accounts {
		if a.Code == "" || (a.Lane != LaneSpread && a.Lane != LaneHot) || (a.Lane == LaneHot && a.Floor != nil) {
			return invalid("account", "账户须有代码;热点账户不能设下限", "an account has a code and a lane; a hot account has no floor")
		}
	}
	if err := openBook(ctx, tx, book, asset); err != nil {
		return fmt.Errorf("open book %s: %w", book, err)
	}
	if err := openAccounts(ctx, tx, book, at, accounts); err != nil {
		return fmt.Errorf("open accounts of book %s: %w", book, err)
	}
	return nil
}

// Post posts all transactions or none, in a few round trips however many they are, and returns one outcome each. It
// fails with ErrInvalid, ErrUnbalanced, ErrNoAccount, ErrInsufficient, ErrOverflow or ErrKeyReused; the caller's
// transaction must then be rolled back. Spread accounts stay locked until the caller's transaction ends.
func (l *Ledger) Post(ctx context.Context, tx pgx.Tx, txs []Transaction) ([]Outcome, error) {
	verdicts, err := l.post(ctx, tx, txs)
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(txs))
	for i, v := range verdicts {
		if v.err != nil {
			return nil, fmt.Errorf("post %s %s: %w", txs[i].Kind, txs[i].Key, v.err)
		}
		outcomes[i] = v.outcome
	}
	return outcomes, nil
}

// verdict is what became of one transaction of a batch: an outcome, or the reason why it was left out.
type verdict struct {
	outcome Outcome
	err     error
}

type bookKey struct {
	book string
	key  id.UUID
}

type accountKey struct{ book, code string }

// post writes every transaction that stands on its own feet, in the given order, and returns one verdict each. An error
// of its own means that nothing can be said about any of them.
func (l *Ledger) post(ctx context.Context, tx pgx.Tx, txs []Transaction) ([]verdict, error) {
	verdicts := make([]verdict, len(txs))
	hashes := make([][]byte, len(txs))
	keys := make(map[bookKey]int, len(txs))
	accounts := make(map[accountKey]*account, 2*len(txs))
	for i, t := range txs {
		if err := t.validate(); err != nil {
			verdicts[i].err = err
			continue
		}
		hashes[i] = t.hash()
		keys[bookKey{t.Book, t.Key}] = i
		for _, p := range t.Postings {
			accounts[accountKey{t.Book, p.Account}] = nil
		}
	}
	if len(keys) == 0 {
		return verdicts, nil
	}
	seen, ids, err := prepare(ctx, tx, keys, accounts)
	if err != nil {
		return nil, err
	}

	var w writes
	for i, t := range txs {
		if verdicts[i].err != nil {
			continue
		}
		k := bookKey{t.Book, t.Key}
		if before, dup := seen[k]; dup {
			verdicts[i] = duplicate(t.Key, before, hashes[i])
			continue
		}
		if err := apply(t, accounts); err != nil {
			verdicts[i].err = err
			continue
		}
		seen[k] = hashes[i]
		verdicts[i].outcome = Posted
		w.add(ids[len(w.ids)], t, hashes[i], accounts)
	}
	if len(w.ids) == 0 {
		return verdicts, nil
	}
	return verdicts, w.flush(ctx, tx, accounts)
}

func duplicate(key id.UUID, before, now []byte) verdict {
	if string(before) != string(now) {
		return verdict{err: ErrKeyReused.With("key", key)}
	}
	return verdict{outcome: Duplicate}
}

// apply adds the postings to the accounts in memory, or changes nothing and says why not.
func apply(t Transaction, accounts map[accountKey]*account) error {
	for i, p := range t.Postings {
		a := accounts[accountKey{t.Book, p.Account}]
		if a == nil {
			undo(t, i, accounts)
			return ErrNoAccount.With("book", t.Book, "account", p.Account)
		}
		if sum(a.balance, a.delta, p.Amount) == nil {
			undo(t, i, accounts)
			return ErrOverflow.With("account", p.Account)
		}
		a.delta += p.Amount
		a.postings++
	}
	// Floors are judged on the transaction as a whole: its postings happen at once.
	for _, p := range t.Postings {
		a := accounts[accountKey{t.Book, p.Account}]
		if a.floor != nil && a.balance+a.delta < *a.floor {
			undo(t, len(t.Postings), accounts)
			return ErrInsufficient.With("account", p.Account).WithFields(fault.Field{
				Path: "account", Code: "ledger.insufficient",
				Text: fault.Text{ZH: "余额不足", EN: "not enough on " + p.Account},
			})
		}
	}
	return nil
}

func undo(t Transaction, n int, accounts map[accountKey]*account) {
	for _, p := range t.Postings[:n] {
		a := accounts[accountKey{t.Book, p.Account}]
		a.delta -= p.Amount
		a.postings--
	}
}

// sum adds int64s, or returns nil if they leave the range.
func sum(xs ...int64) *int64 {
	var total int64
	for _, x := range xs {
		if (x > 0 && total > math.MaxInt64-x) || (x < 0 && total < math.MinInt64-x) {
			return nil
		}
		total += x
	}
	return &total
}

// Balance is the state of one account.
type Balance struct {
	Account  string `json:"account"`
	Balance  int64  `json:"balance"`
	Postings int64  `json:"postings"`
}

// Balance returns the balance of an account, or ErrNoAccount.
func (l *Ledger) Balance(ctx context.Context, db pg.DB, book, code string) (int64, error) {
	all, err := balances(ctx, db, book, code, "")
	if err != nil {
		return 0, fmt.Errorf("balance of %s/%s: %w", book, code, err)
	}
	if len(all) == 0 {
		return 0, ErrNoAccount.With("book", book, "account", code)
	}
	return all[0].Balance, nil
}

// Balances returns the balances of the book's accounts whose code starts with prefix, by code. It is meant for books of
// few accounts.
func (l *Ledger) Balances(ctx context.Context, db pg.DB, book, prefix string) ([]Balance, error) {
	all, err := balances(ctx, db, book, "", prefix)
	if err != nil {
		return nil, fmt.Errorf("balances of %s: %w", book, err)
	}
	return all, nil
}
