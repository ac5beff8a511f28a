package ledger

import (
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
)

// posting is one go at posting a batch: read what the batch concerns, judge each transaction on its own feet in the given
// order, write those that stand. Post runs it inside its caller's transaction, Combiner in one of its own; the rules are
// here, once.
type posting struct {
	txs      []Transaction
	hashes   [][]byte
	refused  []verdict // what validate said; the rest is empty
	keys     map[bookKey]struct{}
	accounts map[accountKey]*account
	seen     map[bookKey][]byte
	ids      []int64

	verdicts []verdict
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

func newPosting(txs []Transaction) *posting {
	p := &posting{
		txs: txs, hashes: make([][]byte, len(txs)), refused: make([]verdict, len(txs)),
		keys: make(map[bookKey]struct{}, len(txs)), accounts: make(map[accountKey]*account, 2*len(txs)),
	}
	for i, t := range txs {
		if err := t.validate(); err != nil {
			p.refused[i].err = err
			continue
		}
		p.hashes[i] = t.hash()
		p.keys[bookKey{t.Book, t.Key}] = struct{}{}
		for _, line := range t.Postings {
			p.accounts[accountKey{t.Book, line.Account}] = nil
		}
	}
	p.verdicts = p.refused
	return p
}

// idle reports that nothing in the batch needs the database.
func (p *posting) idle() bool { return len(p.keys) == 0 }

// read queues what must be known, forgetting what an earlier attempt found.
func (p *posting) read(b *pgx.Batch) {
	for k := range p.accounts {
		p.accounts[k] = nil
	}
	p.seen, p.ids = make(map[bookKey][]byte, len(p.keys)), make([]int64, 0, len(p.keys))
	p.queueRead(b)
}

// write judges every transaction and queues what the good ones change; nothing if there are none.
func (p *posting) write(b *pgx.Batch) {
	p.verdicts = append([]verdict(nil), p.refused...)
	var w writes
	for i, t := range p.txs {
		if p.verdicts[i].err != nil {
			continue
		}
		k := bookKey{t.Book, t.Key}
		if before, dup := p.seen[k]; dup {
			p.verdicts[i] = duplicate(t.Key, before, p.hashes[i])
			continue
		}
		if err := apply(t, p.accounts); err != nil {
			p.verdicts[i].err = err
			continue
		}
		p.seen[k] = p.hashes[i]
		p.verdicts[i].outcome = Posted
		w.add(p.ids[len(w.ids)], t, p.hashes[i], p.accounts)
	}
	if len(w.ids) > 0 {
		w.queue(b, p.accounts)
	}
}

// outcomes is for callers who want all or nothing.
func (p *posting) outcomes() ([]Outcome, error) {
	out := make([]Outcome, len(p.txs))
	for i, v := range p.verdicts {
		if v.err != nil {
			return nil, fmt.Errorf("post %s %s: %w", p.txs[i].Kind, p.txs[i].Key, v.err)
		}
		out[i] = v.outcome
	}
	return out, nil
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
