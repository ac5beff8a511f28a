package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
)

// MaxAmount is the largest size of one posting and MaxPostings the largest number of postings in a transaction; their
// product fits an int64.
const (
	MaxAmount   = 1_000_000_000_000_000
	MaxPostings = 1000
)

// Lane is how an account's balance is kept.
type Lane string

// The lanes of the package documentation.
const (
	LaneSpread Lane = "spread"
	LaneHot    Lane = "hot"
)

// Account opens an account.
type Account struct {
	Code string
	Lane Lane
	// Floor is the least balance allowed; nil means none. Hot accounts have none.
	Floor *int64
}

// Zero is the floor of accounts that must not be overdrawn.
func Zero() *int64 { return new(int64) }

// Posting adds Amount to the account: positive into it, negative out of it, never zero.
type Posting struct {
	Account string
	Amount  int64
}

// Transaction moves amounts between accounts of one book.
type Transaction struct {
	Key      id.UUID // idempotency key, unique in the book
	Book     string
	Kind     string // what happened: "points.spend"
	Ref      string // what it happened to, for people
	At       time.Time
	Postings []Posting
}

// Transfer is the transaction that moves amount from one account to another.
func Transfer(key id.UUID, book, kind string, at time.Time, from, to string, amount int64) Transaction {
	return Transaction{Key: key, Book: book, Kind: kind, At: at, Postings: []Posting{{from, -amount}, {to, amount}}}
}

// validate checks everything that needs no database.
func (t Transaction) validate() error {
	switch {
	case t.Key == id.UUID{}:
		return invalid("key", "缺少幂等键", "an idempotency key is needed")
	case t.Book == "" || t.Kind == "":
		return invalid("book", "缺少账簿或类型", "book and kind are needed")
	case t.At.IsZero():
		return invalid("at", "缺少时间", "a time is needed")
	case len(t.Postings) < 2 || len(t.Postings) > MaxPostings:
		return invalid("postings", "分录须为 2 到 1000 条", "a transaction has 2 to 1000 postings")
	}
	var sum int64
	for i, p := range t.Postings {
		if p.Amount == 0 || p.Amount > MaxAmount || p.Amount < -MaxAmount {
			return invalid(fmt.Sprintf("postings[%d].amount", i), "金额须非零且不超过 10^15", "an amount is not zero and at most 10^15 in size")
		}
		sum += p.Amount
	}
	if sum != 0 {
		return ErrUnbalanced.With("sum", sum)
	}
	return nil
}

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "ledger.invalid", Text: fault.Text{ZH: zh, EN: en}})
}

// hash names the input: everything but the instant, length-prefixed.
func (t Transaction) hash() []byte {
	h := sha256.New()
	word := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	word(t.Kind)
	word(t.Ref)
	for _, p := range t.Postings {
		var n [8]byte
		word(p.Account)
		binary.LittleEndian.PutUint64(n[:], uint64(p.Amount))
		h.Write(n[:])
	}
	return h.Sum(nil)
}

// Outcome says what became of a transaction.
type Outcome string

// The outcomes of a post without error.
const (
	Posted    Outcome = "posted"
	Duplicate Outcome = "duplicate" // the same key and input were posted before; nothing changed
)
