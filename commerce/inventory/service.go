package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/pg"
)

// Service keeps stock.
type Service struct {
	db    *pg.Pool
	clock clock.Clock
	bus   *events.Bus
	hot   *lanes
	gate  *Gate
}

// New returns the service. gate may be nil: then nothing is shed.
func New(db *pg.Pool, clk clock.Clock, bus *events.Bus, gate *Gate) *Service {
	s := &Service{db: db, clock: clk, bus: bus, gate: gate}
	s.hot = newLanes(s)
	return s
}

// Reserve promises the whole basket or nothing, in two round trips, and is the last thing a transaction does: it locks the
// levels it takes from until the commit. Lines that the ref has reserved already, ahead (see Ahead) or by a repeated request,
// are kept with the new expiry; with another quantity they are ErrKeyReused. It fails with ErrShort, whose fields and
// Shortages name every SKU that there is not enough of, or ErrInvalid.
func (s *Service) Reserve(ctx context.Context, tx pgx.Tx, b Basket) ([]Reservation, error) {
	out, err := s.reserve(ctx, tx, b)
	if err != nil {
		return nil, fmt.Errorf("reserve stock for %s: %w", b.Ref, err)
	}
	return out, nil
}

func (s *Service) reserve(ctx context.Context, tx pgx.Tx, b Basket) ([]Reservation, error) {
	lines, err := b.checked()
	if err != nil {
		return nil, err
	}
	wishes := make([]wish, len(lines))
	for i, w := range lines {
		wishes[i] = wish{w, b.Ref, b.Touchpoint, b.ExpiresAt}
	}
	d, waited, err := take(ctx, tx, wishes, true, b.Touchpoint, s.clock.Now())
	if err != nil {
		return nil, err
	}
	s.hot.waited(waited)
	var shortages Shortages
	for i := range wishes {
		if missing, ok := d.short[i]; ok && !slices.Contains(shortages, missing) {
			shortages = append(shortages, missing)
		}
	}
	if shortages = append(shortages, d.overQuota...); len(shortages) > 0 {
		return nil, short(shortages)
	}
	var out []Reservation
	for i, w := range wishes {
		got := d.taken(i, w)
		if n := units(got); n != w.Quantity {
			return nil, ErrKeyReused.With("ref", w.ref, "line", w.Line, "quantity", n)
		}
		out = append(out, got...)
	}
	slices.SortStableFunc(out, func(a, b Reservation) int { return a.Line - b.Line })
	for _, e := range d.soldOut(wishes) {
		if err := s.bus.Publish(ctx, tx, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Confirm makes what is held for the ref wait for shipping instead of expiring: the order was paid. It fails with ErrExpired
// when a line has lost its stock (nothing is confirmed then; reserve again or refund) and ErrNoReservation when there is
// nothing. Confirming twice is fine.
func (s *Service) Confirm(ctx context.Context, tx pgx.Tx, ref Ref) error {
	all, err := confirm(ctx, tx, ref, s.clock.Now())
	if err != nil {
		return fmt.Errorf("confirm %s: %w", ref, err)
	}
	alive := false
	for _, r := range all {
		if r.State == StateHeld {
			return ErrExpired.With("ref", ref)
		}
		alive = alive || r.State == StateConfirmed || r.State == StateConsumed
	}
	switch {
	case alive && !slices.ContainsFunc(all, func(r Reservation) bool { return gone(all, r) }):
		return nil
	case slices.ContainsFunc(all, func(r Reservation) bool { return r.State == StateExpired }):
		return ErrExpired.With("ref", ref)
	}
	return ErrNoReservation.With("ref", ref)
}

// gone says that r expired and nothing else stands in for it.
func gone(all []Reservation, r Reservation) bool {
	return r.State == StateExpired && !slices.ContainsFunc(all, func(o Reservation) bool {
		return o.Line == r.Line && o.SKU == r.SKU && (o.State == StateConfirmed || o.State == StateConsumed || o.State == StateHeld)
	})
}

// Release gives back what is promised to the ref, or only the parts given. What is not promised any more is left as it is, so
// releasing twice is fine; a part that asks for more than is promised fails with ErrNoReservation.
func (s *Service) Release(ctx context.Context, tx pgx.Tx, ref Ref, parts ...Part) error {
	_, err := s.end(ctx, tx, ref, parts, StateReleased, ReasonRelease)
	if err != nil {
		return fmt.Errorf("release %s: %w", ref, err)
	}
	return nil
}

// Consume lets what is promised to the ref, or only the parts given, leave the shelf: it was shipped or handed over. It
// returns what left, with its cost. Whether it was confirmed before is the caller's to know; a part that asks for more than
// is promised fails with ErrNoReservation, so nothing leaves twice.
func (s *Service) Consume(ctx context.Context, tx pgx.Tx, ref Ref, parts ...Part) ([]Issue, error) {
	closed, err := s.end(ctx, tx, ref, parts, StateConsumed, ReasonShip)
	if err != nil {
		return nil, fmt.Errorf("ship %s: %w", ref, err)
	}
	out, err := issue(ctx, tx, closed, s.clock.Now())
	if err != nil {
		return nil, fmt.Errorf("ship %s: %w", ref, err)
	}
	return out, nil
}

func (s *Service) end(ctx context.Context, tx pgx.Tx, ref Ref, parts []Part, state State, reason Reason) ([]Reservation, error) {
	all, err := lockReservations(ctx, tx, ref)
	if err != nil {
		return nil, err
	}
	open := slices.DeleteFunc(all, func(r Reservation) bool { return r.State != StateHeld && r.State != StateConfirmed })
	if len(parts) > 0 {
		if open, err = pick(open, parts, ref); err != nil {
			return nil, err
		}
	}
	if len(open) == 0 {
		if state == StateConsumed {
			return nil, ErrNoReservation.With("ref", ref)
		}
		return nil, nil
	}
	return open, s.close(ctx, tx, open, state, reason)
}

// close ends reservations that the transaction has locked.
func (s *Service) close(ctx context.Context, tx pgx.Tx, open []Reservation, state State, reason Reason) error {
	if len(open) == 0 {
		return nil
	}
	balances, err := closeParts(ctx, tx, open, state, reason, s.clock.Now())
	if err != nil {
		return err
	}
	return s.backInStock(ctx, tx, balances)
}

// pick chooses from open reservations what the parts name, each unit once.
func pick(open []Reservation, parts []Part, ref Ref) ([]Reservation, error) {
	left := make([]int64, len(open))
	for i, r := range open {
		left[i] = r.Quantity
	}
	for _, p := range parts {
		want, found := p.Quantity, false
		for i, r := range open {
			if r.Line != p.Line || p.SKU != "" && r.SKU != p.SKU || p.Location != "" && r.Location != p.Location || p.Owner != "" && r.Owner != p.Owner {
				continue
			}
			n := left[i]
			if p.Quantity > 0 {
				n = min(n, want)
				want -= n
			}
			left[i] -= n
			found = found || n > 0
		}
		if !found || want > 0 {
			return nil, ErrNoReservation.With("ref", ref)
		}
	}
	var out []Reservation
	for i, r := range open {
		if r.Quantity -= left[i]; r.Quantity > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

func (s *Service) backInStock(ctx context.Context, tx pgx.Tx, balances []balance) error {
	for _, b := range balances {
		if b.Free > 0 || b.Now <= 0 {
			continue
		}
		s.gate.restocked(ctx, b.SKU, b.Location)
		if err := s.bus.Publish(ctx, tx, BackInStock{SKU: b.SKU, Location: b.Location, Available: b.Now}); err != nil {
			return err
		}
	}
	return nil
}

// Reservations returns how all reservations of the ref stand.
func (s *Service) Reservations(ctx context.Context, db pg.DB, ref Ref) ([]Reservation, error) {
	return findReservations(ctx, db, ref)
}

const sweepBatch = 500

// Expire ends holds whose time is over and returns the refs it ended, so that their orders can be closed by whoever owns
// them. Refs that somebody is paying for at this moment are left alone.
func (s *Service) Expire(ctx context.Context) ([]Ref, error) {
	var all []Ref
	for {
		var refs []Ref
		more := false
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
			refs, more = nil, false
			due, err := claimExpired(ctx, tx, s.clock.Now(), sweepBatch)
			if err != nil || len(due) == 0 {
				return err
			}
			if err := s.close(ctx, tx, due, StateExpired, ReasonExpire); err != nil {
				return err
			}
			for _, r := range due {
				if !slices.Contains(refs, r.Ref) {
					refs = append(refs, r.Ref)
					if err := s.bus.Publish(ctx, tx, HoldExpired{Kind: r.Ref.Kind, ID: r.Ref.ID}); err != nil {
						return err
					}
				}
			}
			more = true
			return nil
		})
		if err != nil {
			return all, fmt.Errorf("expire reservations: %w", err)
		}
		if all = append(all, refs...); !more {
			return all, nil
		}
	}
}

// RunExpiry sweeps holds that have run out until ctx ends.
func (s *Service) RunExpiry(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := s.Expire(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
