package sandbox

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// queue holds what providers and people are going to do, by sandbox time.
type queue struct {
	mu      sync.Mutex
	items   []*delivery
	seq     int64
	running int
	woken   chan struct{}
}

// delivery is one thing to do at a moment: a callback, or a member's tap. Deliveries of one lane keep their order.
type delivery struct {
	due    time.Time
	seq    int64
	lane   string
	ladder []time.Duration // waits before the further attempts when do returns false
	do     func(ctx context.Context) bool
}

func newQueue() *queue { return &queue{woken: make(chan struct{}, 1)} }

func (q *queue) add(d *delivery) {
	q.mu.Lock()
	q.seq++
	d.seq = q.seq
	q.items = append(q.items, d)
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// due takes what is due, in order.
func (q *queue) take(now time.Time) []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var due []*delivery
	q.items = slices.DeleteFunc(q.items, func(d *delivery) bool {
		if d.due.After(now) {
			return false
		}
		due = append(due, d)
		return true
	})
	slices.SortFunc(due, func(a, b *delivery) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(a.seq - b.seq)
	})
	return due
}

// next returns when the earliest item is due.
func (q *queue) next() (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.items {
		if !ok || d.due.Before(at) {
			at, ok = d.due, true
		}
	}
	return at, ok
}

// Next returns the moment of the earliest pending callback or tap, so that a virtual clock can jump there.
func (s *Server) Next() (time.Time, bool) { return s.queue.next() }

// pumpWorkers is how many callbacks are under way at once.
const pumpWorkers = 8

// Pump delivers everything that is due by the sandbox's time, including what follows from it, and returns the number
// of attempts made.
func (s *Server) Pump(ctx context.Context) int {
	done := 0
	for ctx.Err() == nil {
		due := s.queue.take(s.Now())
		if len(due) == 0 {
			return done
		}
		done += len(due)
		lanes := make([][]*delivery, pumpWorkers)
		for _, d := range due {
			h := fnv.New32a()
			_, _ = h.Write([]byte(d.lane))
			i := h.Sum32() % pumpWorkers
			lanes[i] = append(lanes[i], d)
		}
		var wait sync.WaitGroup
		for _, lane := range lanes {
			if len(lane) > 0 {
				wait.Go(func() {
					for _, d := range lane {
						s.deliver(ctx, d)
					}
				})
			}
		}
		wait.Wait()
	}
	return done
}

func (s *Server) deliver(ctx context.Context, d *delivery) {
	if d.do(ctx) || len(d.ladder) == 0 {
		return
	}
	s.queue.add(&delivery{due: s.Now().Add(d.ladder[0]), lane: d.lane, ladder: d.ladder[1:], do: d.do})
}

// pumpLoop delivers as time passes. The tick serves clocks that are moved from outside.
func (s *Server) pumpLoop(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s.Pump(ctx)
		if _, pending := s.queue.next(); pending {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-s.queue.woken:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.queue.woken:
		}
	}
}

// schedule lets something happen later; it is not repeated. The caller holds the lock.
func (s *Server) schedule(wait time.Duration, lane string, do func(ctx context.Context)) {
	s.queue.add(&delivery{due: s.now().Add(wait), lane: lane, do: func(ctx context.Context) bool { do(ctx); return true }})
}
