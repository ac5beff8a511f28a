package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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
	p := newPosting(txs)
	if p.idle() {
		return p.outcomes()
	}
	var read, write pgx.Batch
	p.read(&read)
	if err := tx.SendBatch(ctx, &read).Close(); err != nil {
		return nil, fmt.Errorf("lock accounts: %w", err)
	}
	p.write(&write)
	outcomes, err := p.outcomes()
	if err != nil {
		return nil, err
	}
	if write.Len() > 0 {
		if err := explain(tx.SendBatch(ctx, &write).Close()); err != nil {
			return nil, fmt.Errorf("write postings: %w", err)
		}
	}
	return outcomes, nil
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
