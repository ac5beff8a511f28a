package inventory

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const (
	laneCount   = 8
	laneBatch   = 256         // requests committed together at most
	laneLeaders = 2           // batches of a lane in flight: one waits for the lock that the other holds until it is durable
	laneQueue   = 32 << 10    // requests of a lane waiting at most
	laneTimeout = time.Minute // for one batch
	maxHeats    = 20_000

	// aheadTTL is how long stock is held between the hot lane and the transaction that needs it.
	aheadTTL = 30 * time.Second
)

// lanes are the hot lanes of a process: requests for one SKU that many want at once are committed together, so that its
// level is locked once per batch instead of once per buyer. Each waits until its own reservation is durable.
//
//	buyer ──▶ waiting ──▶ leader takes all that wait (≤ 256) ──▶ one transaction ──▶ an answer to each buyer
//	             ▲                                                    │
//	             └── those who come meanwhile wait for the next ◀─────┘
//
// Every process combines its own buyers; two processes that do meet at the lock of the level, batch after batch.
type lanes struct {
	s     *Service
	lanes [laneCount]combiner

	mu    sync.Mutex
	heats map[string]*heat
}

type combiner struct {
	mu      sync.Mutex
	waiting []*waiter
	leaders int
}

type waiter struct {
	wish
	done chan verdict
}

// verdict is the answer to one request: reservations, or a shortage. A SKU with quotas needs the normal lane.
type verdict struct {
	taken   []Reservation
	short   *Shortage
	limited bool
	err     error
}

func newLanes(s *Service) *lanes { return &lanes{s: s, heats: map[string]*heat{}} }

// waited notes how long a request of the normal lane waited, and for which SKU.
func (l *lanes) waited(w wait) {
	if w.long < longWait {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heat(w.sku).waited(l.s.clock.Now(), w.long)
}

// lane says how requests for the SKU are served now.
func (l *lanes) lane(sku string) lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.heats[sku]
	if !ok {
		return laneNormal
	}
	if h.turn(l.s.clock.Now()); h.lane == laneNormal && h.waits == 0 {
		delete(l.heats, sku)
	}
	return h.lane
}

func (l *lanes) heat(sku string) *heat {
	h, ok := l.heats[sku]
	if !ok {
		if len(l.heats) >= maxHeats {
			clear(l.heats) // it is measured again soon enough
		}
		h = &heat{lane: laneNormal, began: l.s.clock.Now()}
		l.heats[sku] = h
	}
	return h
}

// promote serves the SKU through the hot lane from now on, without waiting for evidence.
func (l *lanes) promote(sku string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.heat(sku) = heat{lane: laneHot, began: l.s.clock.Now()}
}

// submit puts requests into their lanes and waits for all of them. A request whose answer was lost with ctx may have been
// carried out: its hold is short, and repeating it finds it.
func (l *lanes) submit(ctx context.Context, wishes []wish) ([]verdict, error) {
	waiters := make([]*waiter, len(wishes))
	for i, w := range wishes {
		waiters[i] = &waiter{w, make(chan verdict, 1)}
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(w.SKU))
		if err := l.lanes[sum.Sum32()%laneCount].enqueue(ctx, l, waiters[i]); err != nil {
			waiters[i].done <- verdict{err: err}
		}
	}
	out := make([]verdict, len(waiters))
	for i, w := range waiters {
		select {
		case out[i] = <-w.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return out, nil
}

func (c *combiner) enqueue(ctx context.Context, l *lanes, w *waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= laneQueue {
		return ErrBusy
	}
	c.waiting = append(c.waiting, w)
	if c.leaders < laneLeaders {
		c.leaders++
		go c.lead(context.WithoutCancel(ctx), l)
	}
	return nil
}

// lead commits batches until nobody waits.
func (c *combiner) lead(ctx context.Context, l *lanes) {
	for {
		batch := c.next()
		if len(batch) == 0 {
			return
		}
		verdicts, err := l.commit(ctx, batch)
		for i, w := range batch {
			if err != nil {
				w.done <- verdict{err: err}
				continue
			}
			w.done <- verdicts[i]
		}
	}
}

// next takes the requests that wait, each key once; with none left the leader is done.
func (c *combiner) next() []*waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	type key struct {
		ref           Ref
		line          int
		sku, location string
	}
	seen := make(map[key]bool, min(len(c.waiting), laneBatch))
	var batch, rest []*waiter
	for i, w := range c.waiting {
		if len(batch) == laneBatch {
			rest = append(rest, c.waiting[i:]...)
			break
		}
		k := key{w.ref, w.Line, w.SKU, w.Location}
		if seen[k] {
			rest = append(rest, w)
			continue
		}
		seen[k] = true
		batch = append(batch, w)
	}
	c.waiting = rest
	if len(batch) == 0 {
		c.leaders--
	}
	return batch
}

// commit reserves for a batch in one durable transaction.
func (l *lanes) commit(ctx context.Context, batch []*waiter) ([]verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	var verdicts []verdict
	if err := pg.InTx(ctx, l.s.db, func(tx pgx.Tx) (err error) {
		verdicts, err = l.decide(ctx, tx, batch)
		return err
	}); err != nil {
		return nil, fmt.Errorf("reserve in batch: %w", err)
	}
	counts := map[string]int{}
	for i, w := range batch {
		counts[w.SKU]++
		if s := verdicts[i].short; s != nil && s.Available == 0 {
			l.s.gate.soldOut(ctx, s.SKU, s.Location)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for sku, n := range counts {
		l.heat(sku).combined(l.s.clock.Now(), n)
	}
	return verdicts, nil
}

// decide serves the batch in its order, each request by itself.
func (l *lanes) decide(ctx context.Context, tx pgx.Tx, batch []*waiter) ([]verdict, error) {
	wishes := make([]wish, len(batch))
	for i, w := range batch {
		wishes[i] = w.wish
	}
	d, _, err := take(ctx, tx, wishes, false, "", l.s.clock.Now())
	if err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(batch))
	parts := map[int][]part{}
	for _, p := range d.parts {
		parts[p.wish] = append(parts[p.wish], p)
	}
	for i, w := range wishes {
		verdicts[i].limited = d.limited[w.SKU]
		if missing, ok := d.short[i]; ok {
			verdicts[i].short = &missing
			continue
		}
		one := decision{held: map[int][]Reservation{0: d.held[i]}, parts: parts[i]}
		for k := range one.parts {
			one.parts[k].wish = 0
		}
		verdicts[i].taken = one.taken(0, w)
	}
	for _, e := range d.soldOut(wishes) {
		if err := l.s.bus.Publish(ctx, tx, e); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

func expiry(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// Ahead is stock that was reserved before the transaction that needs it.
type Ahead struct {
	s     *Service
	ref   Ref
	until time.Time
	took  []Part
}

// Release gives back what was reserved ahead, because the transaction did not happen. What a transaction has taken over is
// left to it, also when its commit succeeded without the caller's learning of it. If the process dies first, the hold expires
// by itself.
func (a *Ahead) Release(ctx context.Context) error {
	if len(a.took) == 0 {
		return nil
	}
	return pg.InTx(ctx, a.s.db, func(tx pgx.Tx) error {
		all, err := lockReservations(ctx, tx, a.ref)
		if err != nil {
			return err
		}
		mine := slices.DeleteFunc(all, func(r Reservation) bool {
			return r.State != StateHeld || r.ExpiresAt == nil || !r.ExpiresAt.Equal(a.until) ||
				!slices.ContainsFunc(a.took, func(p Part) bool { return p.Line == r.Line && p.SKU == r.SKU && p.Location == r.Location })
		})
		return a.s.close(ctx, tx, mine, StateReleased, ReasonRelease)
	})
}

// Ahead reserves those lines of a basket that are in such demand that transactions would queue up for them. Call it before
// the transaction that ends with Reserve, which then only extends what is held; call Release if that transaction fails.
// For a basket without such lines it does nothing. It fails with ErrShort like Reserve, and then holds nothing.
//
//	ahead, err := stock.Ahead(ctx, basket)
//	…
//	err = pg.InTx(ctx, db, func(tx pgx.Tx) error { …; _, err := stock.Reserve(ctx, tx, basket); return err })
//	if err != nil {
//		return errors.Join(err, ahead.Release(context.WithoutCancel(ctx)))
//	}
func (s *Service) Ahead(ctx context.Context, b Basket) (*Ahead, error) {
	a, _, err := s.ahead(ctx, b, s.clock.Now().Add(aheadTTL))
	if err != nil {
		return nil, fmt.Errorf("reserve ahead for %s: %w", b.Ref, err)
	}
	return a, nil
}

// ahead also says what it reserved; whole reports that it was the whole basket.
func (s *Service) ahead(ctx context.Context, b Basket, until time.Time) (*Ahead, []Reservation, error) {
	a := &Ahead{s: s, ref: b.Ref, until: until}
	lines, err := b.checked()
	if err != nil {
		return nil, nil, err
	}
	var wishes []wish
	for _, w := range lines {
		if s.hot.lane(w.SKU) == laneNormal {
			continue
		}
		if s.gate.isSoldOut(ctx, w.SKU, w.Location) {
			return nil, nil, short(Shortages{{SKU: w.SKU, Location: w.Location, Wanted: w.Quantity}})
		}
		wishes = append(wishes, wish{w, b.Ref, b.Touchpoint, until})
	}
	if len(wishes) == 0 {
		return a, nil, nil
	}
	verdicts, err := s.hot.submit(ctx, wishes)
	if err != nil {
		return nil, nil, err
	}
	var shortages Shortages
	var taken []Reservation
	for i, v := range verdicts {
		switch {
		case v.err != nil:
			err = errors.Join(err, v.err)
		case v.short != nil && !v.limited:
			shortages = append(shortages, *v.short)
		}
		if len(v.taken) > 0 {
			taken = append(taken, v.taken...)
			w := wishes[i]
			a.took = append(a.took, Part{Line: w.Line, SKU: w.SKU, Location: w.Location})
			if n := units(v.taken); n != w.Quantity {
				err = errors.Join(err, ErrKeyReused.With("ref", w.ref, "line", w.Line, "quantity", n))
			}
		}
	}
	if err == nil && len(shortages) > 0 {
		err = short(shortages)
	}
	if err != nil {
		return nil, nil, errors.Join(err, a.Release(context.WithoutCancel(ctx)))
	}
	return a, taken, nil
}

// ReserveNow reserves a basket in a transaction of its own, through the hot lane where there is demand for it.
func (s *Service) ReserveNow(ctx context.Context, b Basket) ([]Reservation, error) {
	ahead, taken, err := s.ahead(ctx, b, b.ExpiresAt)
	if err != nil {
		return nil, fmt.Errorf("reserve stock for %s: %w", b.Ref, err)
	}
	var want int64
	for _, w := range b.Lines {
		want += w.Quantity
	}
	if want == units(taken) {
		return taken, nil
	}
	var out []Reservation
	if err := pg.InTx(ctx, s.db, func(tx pgx.Tx) (err error) {
		out, err = s.Reserve(ctx, tx, b)
		return err
	}); err != nil {
		return nil, errors.Join(err, ahead.Release(context.WithoutCancel(ctx)))
	}
	return out, nil
}

func units(all []Reservation) int64 {
	var n int64
	for _, r := range all {
		n += r.Quantity
	}
	return n
}
