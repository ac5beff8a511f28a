package order

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member/activity"
)

// ShippedKey and ReceivedKey name the activities of an order on its way; with Source they are logged once.
func ShippedKey(orderNo string) string { return "shipped/" + orderNo }

// ReceivedKey names the order_received of an order.
func ReceivedKey(orderNo string) string { return "received/" + orderNo }

// Progress changes the counters of one line; negative parts take back (a store that refuses gives up its allocation).
type Progress struct {
	LineNo                                                      int
	Allocated, Shipped, Delivered, Refused, Returned, Cancelled int64
}

// Advance moves counters of lines and takes the status to where they say the order is, over every status between. It
// locks the order and returns it as it is then. Steps writes one event for the whole. It fails with ErrCounters if a
// counter would leave the chain, ErrTransition if the order is not on its way at all (unpaid, ended), ErrNotFound.
func (s *Service) Advance(ctx context.Context, tx pgx.Tx, steps []Progress, c Change) (Order, error) {
	o, err := load(ctx, tx, c.OrderNo, true)
	if err != nil {
		return Order{}, err
	}
	if !o.Status.Paid() {
		return Order{}, ErrTransition.With("order", o.OrderNo, "from", o.Status, "to", c.Kind)
	}
	if err := s.count(ctx, tx, &o, steps); err != nil {
		return Order{}, err
	}
	to := derived(&o)
	way := path(o.Status, to)
	if way == nil {
		return Order{}, check(o.OrderNo, o.Status, to)
	}
	c.At = nowOr(c.At, s.clock.Now())
	if len(way) == 0 {
		return o, s.Record(ctx, tx, c)
	}
	from := o.Status
	for _, next := range way {
		c.From, c.To = o.Status, next
		if err := s.Transition(ctx, tx, c); err != nil {
			return Order{}, err
		}
		o.Status = next
		o.Events++
	}
	if err := s.tell(ctx, tx, &o, way, c.At); err != nil {
		return Order{}, err
	}
	return o, s.bus.Publish(ctx, tx, Moved{OrderNo: o.OrderNo, Birth: o.Birth, From: from, Status: o.Status})
}

// tell logs what the member notices of the statuses that an order went through.
func (s *Service) tell(ctx context.Context, tx pgx.Tx, o *Order, way []Status, at time.Time) error {
	var items []activity.Activity
	for _, st := range way {
		switch st {
		case StatusShipped:
			o.ShippedAt = &at
			items = append(items, o.step(activity.KeyOrderShipped, ShippedKey(o.OrderNo), at))
		case StatusDelivered:
			o.DeliveredAt = &at
			items = append(items, o.step(activity.KeyOrderReceived, ReceivedKey(o.OrderNo), at))
		case StatusCancelled, StatusCompleted:
			o.EndedAt = &at
		case StatusDraft, StatusPlaced, StatusPaid, StatusSourcing, StatusAllocated, StatusPartiallyShipped, StatusCancelRequested, StatusClosedUnpaid:
		}
	}
	if _, err := s.log.Append(ctx, tx, items); err != nil {
		return fmt.Errorf("log steps of order %s: %w", o.OrderNo, err)
	}
	return nil
}

func (s *Service) count(ctx context.Context, tx pgx.Tx, o *Order, steps []Progress) error {
	n := len(steps)
	args := pg.Args{"order_no": o.OrderNo}
	lines := make([]int, n)
	cols := make([][]int64, 6)
	seen := map[int]bool{}
	for i, p := range steps {
		l := o.Line(p.LineNo)
		if l == nil || seen[p.LineNo] {
			return invalid(fmt.Sprintf("steps[%d].line_no", i), "订单没有此行或该行重复", "the order has no such line, or it occurs twice")
		}
		seen[p.LineNo], lines[i] = true, p.LineNo
		for j, v := range []int64{p.Allocated, p.Shipped, p.Delivered, p.Refused, p.Returned, p.Cancelled} {
			cols[j] = append(cols[j], v)
		}
		l.Allocated += p.Allocated
		l.Shipped += p.Shipped
		l.Delivered += p.Delivered
		l.Refused += p.Refused
		l.Returned += p.Returned
		l.Cancelled += p.Cancelled
	}
	if n == 0 {
		return nil
	}
	args["lines"] = lines
	for j, name := range []string{"allocated", "shipped", "delivered", "refused", "returned", "cancelled"} {
		args[name] = cols[j]
	}
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, progressSQL, args)
		return err
	})
	if pg.Constraint(err) == "order_lines_counters" {
		return ErrCounters.With("order", o.OrderNo)
	}
	if err != nil {
		return fmt.Errorf("count progress of order %s: %w", o.OrderNo, err)
	}
	return nil
}

// UnitRef names one unit of a line.
type UnitRef struct {
	LineNo int `json:"line_no"`
	UnitNo int `json:"unit_no"`
}

// MarkUnits makes open units returned or cancelled, all or none: ErrUnits if one of them is not open. The counters are
// Advance's.
func (s *Service) MarkUnits(ctx context.Context, tx pgx.Tx, orderNo string, units []UnitRef, state UnitState) error {
	lines, nos := make([]int, len(units)), make([]int, len(units))
	for i, u := range units {
		lines[i], nos[i] = u.LineNo, u.UnitNo
	}
	return pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, markUnitsSQL, pg.Args{"order_no": orderNo, "lines": lines, "units": nos, "state": string(state)})
		if err != nil {
			return fmt.Errorf("mark units of order %s: %w", orderNo, err)
		}
		if tag.RowsAffected() != int64(len(units)) {
			return ErrUnits.With("order", orderNo)
		}
		return nil
	})
}
