package settlement

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// LedgerBook is the book of internal/ledger that settlement posts to. What a legal entity is owed stands in account
// party:<entity>; money that comes in from outside in in:<kind>, money that goes outside in out:<kind>.
const LedgerBook = "settlement"

// Service settles orders, keeps the performance book and the statements.
type Service struct {
	db     pg.DB
	clock  clock.Clock
	ledger *ledger.Ledger
}

// New returns the service; db is the pool of reads and of batches.
func New(db pg.DB, clk clock.Clock, l *ledger.Ledger) *Service {
	return &Service{db: db, clock: clk, ledger: l}
}

// Order is a sale to settle, and since when it is payable.
type Order struct {
	Sale
	Partner    string     // org unit of the contract's partner, for simulation
	ReceivedAt *time.Time // when the member received it; nil until then
}

// payableAt is when the return window closes.
func (o Order) payableAt() *time.Time {
	if o.ReceivedAt == nil {
		return nil
	}
	at := o.ReceivedAt.AddDate(0, 0, o.Terms.ReturnDays)
	return &at
}

// Record settles an order as it stands and posts the difference to what was posted before, in money and in performance.
// Recording the same state again posts nothing. It fails with ErrSale or ErrShareBelowCost.
func (s *Service) Record(ctx context.Context, tx pgx.Tx, o Order, at time.Time) (posted int, err error) {
	book, err := Settle(o.Sale)
	if err != nil {
		return 0, err
	}
	posted, err = s.record(ctx, tx, o, book, at)
	if err != nil {
		return 0, fmt.Errorf("settle order %s: %w", o.OrderNo, err)
	}
	return posted, nil
}

func (s *Service) record(ctx context.Context, tx pgx.Tx, o Order, book Book, at time.Time) (int, error) {
	seq, err := lockSettlement(ctx, tx, o, book.Base, at)
	if err != nil {
		return 0, err
	}
	before, err := postedLines(ctx, tx, o.OrderNo)
	if err != nil {
		return 0, err
	}
	performed, err := performedLines(ctx, tx, o.OrderNo)
	if err != nil {
		return 0, err
	}
	lines := Correct(book.Lines, before)
	performance := correctPerformance(performance(book), performed)
	if len(lines)+len(performance) > 0 {
		if err := insertLines(ctx, tx, o.OrderNo, seq, lines, o.payableAt(), at); err != nil {
			return 0, err
		}
		if err := insertPerformance(ctx, tx, o.OrderNo, seq, performance, at); err != nil {
			return 0, err
		}
		if err := s.post(ctx, tx, o.OrderNo, seq, lines, at); err != nil {
			return 0, err
		}
	}
	return len(lines), markPayable(ctx, tx, o.OrderNo, o.payableAt())
}

// account is where a line stands in the ledger: with the entity, or outside the house.
func (l Line) account() string {
	switch {
	case l.Party.Entity != "":
		return "party:" + l.Party.Entity
	case l.In && l.Code != "":
		return "in:" + string(l.Kind) + ":" + l.Code
	case l.In:
		return "in:" + string(l.Kind)
	default:
		return "out:" + string(l.Kind)
	}
}

// post writes the lines of one correction as one transaction, a posting an account.
func (s *Service) post(ctx context.Context, tx pgx.Tx, orderNo string, seq int, lines []Line, at time.Time) error {
	sums := map[string]money.Fen{}
	for _, l := range lines {
		if l.In {
			sums[l.account()] -= l.Fen
		} else {
			sums[l.account()] += l.Fen
		}
	}
	var postings []ledger.Posting
	var accounts []ledger.Account
	for account, fen := range sums {
		if fen != 0 {
			postings = append(postings, ledger.Posting{Account: account, Amount: int64(fen)})
			accounts = append(accounts, ledger.Account{Code: account, Lane: ledger.LaneHot})
		}
	}
	if len(postings) == 0 {
		return nil // it moved between lines of the same entity
	}
	slices.SortFunc(postings, func(a, b ledger.Posting) int { return compareText(a.Account, b.Account) })
	if err := s.ledger.Open(ctx, tx, LedgerBook, "fen", at, accounts...); err != nil {
		return err
	}
	_, err := s.ledger.Post(ctx, tx, []ledger.Transaction{{
		Key: id.Derived("settlement", orderNo, strconv.Itoa(seq)), Book: LedgerBook, Kind: "settlement.order", Ref: orderNo, At: at, Postings: postings,
	}})
	return err
}

// Check compares the settled lines with the ledger and returns the accounts that differ; none in a sound house.
func (s *Service) Check(ctx context.Context, db pg.DB) ([]string, error) {
	lines, err := accountSums(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("check settlement: %w", err)
	}
	balances, err := s.ledger.Balances(ctx, db, LedgerBook, "")
	if err != nil {
		return nil, fmt.Errorf("check settlement: %w", err)
	}
	var wrong []string
	for _, b := range balances {
		if int64(lines[b.Account]) != b.Balance {
			wrong = append(wrong, b.Account)
		}
		delete(lines, b.Account)
	}
	for account, fen := range lines {
		if fen != 0 {
			wrong = append(wrong, account)
		}
	}
	slices.Sort(wrong)
	return wrong, nil
}
