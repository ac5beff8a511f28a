package ledger

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const (
	combineBatch   = 512         // transactions committed together at most
	combineLeaders = 2           // batches in flight: one is written while another commits
	combineQueue   = 64 << 10    // callers waiting at most
	combineTimeout = time.Minute // for one batch
)

// Combiner commits the transactions of many concurrent callers together (group commit): each caller waits until its own
// is durable, and an account that all of them touch is locked once per batch instead of once per caller. One
// transaction's refusal does not concern the others. When the process dies, callers that had no answer repeat with the
// same key.
//
//	caller ──▶ waiting ──▶ leader takes all that wait (≤ 512) ──▶ one database transaction ──▶ an answer to each caller
//	              ▲                                                        │
//	              └── those who come meanwhile wait for the next leader ◀──┘
type Combiner struct {
	ledger *Ledger
	db     *pg.Pool

	mu      sync.Mutex
	waiting []*waiter
	leaders int
}

type waiter struct {
	t    Transaction
	done chan verdict
}

// Combine returns a combiner that commits on db.
func (l *Ledger) Combine(db *pg.Pool) *Combiner { return &Combiner{ledger: l, db: db} }

// Post posts the transaction durably. Errors are those of Ledger.Post, ErrBusy when too many wait, or the context's: the
// transaction may then have been posted, and repeating it with the same key says so.
func (c *Combiner) Post(ctx context.Context, t Transaction) (Outcome, error) {
	w := &waiter{t: t, done: make(chan verdict, 1)}
	c.mu.Lock()
	if len(c.waiting) >= combineQueue {
		c.mu.Unlock()
		return "", ErrBusy
	}
	c.waiting = append(c.waiting, w)
	if c.leaders < combineLeaders {
		c.leaders++
		go c.lead(context.WithoutCancel(ctx))
	}
	c.mu.Unlock()
	select {
	case v := <-w.done:
		if v.err != nil {
			return "", fmt.Errorf("post %s %s: %w", t.Kind, t.Key, v.err)
		}
		return v.outcome, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// lead commits batches until nobody waits.
func (c *Combiner) lead(ctx context.Context) {
	for {
		c.gather()
		c.mu.Lock()
		n := min(len(c.waiting), combineBatch)
		if n == 0 {
			c.leaders--
			c.mu.Unlock()
			return
		}
		batch := make([]*waiter, n)
		copy(batch, c.waiting)
		c.waiting = append(c.waiting[:0:0], c.waiting[n:]...)
		c.mu.Unlock()
		c.commit(ctx, batch)
	}
}

// gather lets callers that are ready to run come in first: those who were just answered often have the next transaction
// at hand, and a batch of one costs nearly as much as a batch of thirty. It waits for nobody who is not ready.
func (c *Combiner) gather() {
	for before := -1; ; {
		c.mu.Lock()
		n := len(c.waiting)
		c.mu.Unlock()
		if n == before || n >= combineBatch {
			return
		}
		before = n
		runtime.Gosched()
	}
}

func (c *Combiner) commit(ctx context.Context, batch []*waiter) {
	ctx, cancel := context.WithTimeout(ctx, combineTimeout)
	defer cancel()
	txs := make([]Transaction, len(batch))
	for i, w := range batch {
		txs[i] = w.t
	}
	p := newPosting(txs)
	var err error
	if !p.idle() {
		err = pg.InSteps(ctx, c.db, pg.Steps{
			Read:    p.read,
			Write:   func(b *pgx.Batch) error { p.write(b); return nil },
			Explain: explain,
		})
	}
	for i, w := range batch {
		if err != nil {
			w.done <- verdict{err: err}
			continue
		}
		w.done <- p.verdicts[i]
	}
}
