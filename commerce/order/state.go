package order

import (
	"slices"

	"github.com/lianke/lianke/internal/fault"
)

// Status is where an order stands.
type Status string

// The statuses.
const (
	StatusDraft            Status = "draft"             // being put together, nothing is reserved
	StatusPlaced           Status = "placed"            // stock, coupon and points are held; waits for payment
	StatusPaid             Status = "paid"              // terms are frozen
	StatusSourcing         Status = "sourcing"          // looking for who sends it
	StatusAllocated        Status = "allocated"         // everything that is not cancelled has a sender
	StatusPartiallyShipped Status = "partially_shipped" // some is on its way
	StatusShipped          Status = "shipped"           // everything is on its way
	StatusDelivered        Status = "delivered"         // everything has arrived
	StatusCompleted        Status = "completed"         // the time for returns is over
	StatusCancelRequested  Status = "cancel_requested"  // the member wants it stopped; the sender has to agree
	StatusCancelled        Status = "cancelled"         // ended by somebody
	StatusClosedUnpaid     Status = "closed_unpaid"     // ended because nobody paid in time
)

// Statuses lists them in the order of an order's life.
var Statuses = []Status{
	StatusDraft, StatusPlaced, StatusPaid, StatusSourcing, StatusAllocated, StatusPartiallyShipped, StatusShipped, StatusDelivered,
	StatusCompleted, StatusCancelRequested, StatusCancelled, StatusClosedUnpaid,
}

// transitions is the state machine: from where to where. Whatever is not here is refused.
var transitions = map[Status][]Status{
	StatusDraft:            {StatusPlaced, StatusCancelled},
	StatusPlaced:           {StatusPaid, StatusCancelled, StatusClosedUnpaid},
	StatusPaid:             {StatusSourcing, StatusAllocated, StatusCancelRequested, StatusCancelled},
	StatusSourcing:         {StatusAllocated, StatusPartiallyShipped, StatusCancelRequested, StatusCancelled},
	StatusAllocated:        {StatusSourcing, StatusPartiallyShipped, StatusShipped, StatusCancelRequested, StatusCancelled},
	StatusPartiallyShipped: {StatusShipped},
	StatusShipped:          {StatusDelivered, StatusCancelled},
	StatusDelivered:        {StatusCompleted},
	StatusCompleted:        {},
	StatusCancelRequested:  {StatusCancelled, StatusPaid, StatusSourcing, StatusAllocated},
	StatusCancelled:        {},
	StatusClosedUnpaid:     {},
}

// May reports whether an order may go from one status to another.
func May(from, to Status) bool { return slices.Contains(transitions[from], to) }

// Final reports whether nothing follows the status.
func (s Status) Final() bool { return len(transitions[s]) == 0 }

// Paid reports whether the money of an order in this status is ours: it was paid and has not been cancelled.
func (s Status) Paid() bool {
	switch s {
	case StatusPaid, StatusSourcing, StatusAllocated, StatusPartiallyShipped, StatusShipped, StatusDelivered, StatusCompleted, StatusCancelRequested:
		return true
	case StatusDraft, StatusPlaced, StatusCancelled, StatusClosedUnpaid:
		return false
	}
	return false
}

// check returns ErrTransition unless the transition is allowed.
func check(orderNo string, from, to Status) error {
	if May(from, to) {
		return nil
	}
	return ErrTransition.With("order", orderNo, "from", from, "to", to).WithFields(fault.Field{
		Path: "status", Code: "order.transition",
		Text: fault.Text{ZH: "订单状态为 " + string(from), EN: "the order is " + string(from)},
	})
}

// derived is the status that the counters of a paid order say: how far its goods are. An order without goods counts as
// far as it can be. asked and unpaid orders keep theirs.
func derived(o *Order) Status {
	switch o.Status {
	case StatusPaid, StatusSourcing, StatusAllocated, StatusPartiallyShipped, StatusShipped:
	case StatusDraft, StatusPlaced, StatusDelivered, StatusCompleted, StatusCancelRequested, StatusCancelled, StatusClosedUnpaid:
		return o.Status
	}
	var want, allocated, shipped, delivered, refused int64
	for _, l := range o.Lines {
		if !l.Kind.Goods() {
			continue
		}
		want += l.Quantity - l.Cancelled
		allocated += l.Allocated
		shipped += l.Shipped
		delivered += l.Delivered
		refused += l.Refused
	}
	switch {
	case want == 0:
		return StatusCancelled
	case shipped == want && refused == want:
		return StatusCancelled
	case delivered+refused == want:
		return StatusDelivered
	case shipped == want:
		return StatusShipped
	case shipped > 0:
		return StatusPartiallyShipped
	case allocated == want:
		return StatusAllocated
	case o.Status == StatusPaid && allocated == 0:
		return StatusPaid
	}
	return StatusSourcing
}

// path returns the statuses that lead from one to the other over what is on the way of goods, or nil.
func path(from, to Status) []Status {
	if from == to {
		return []Status{}
	}
	if May(from, to) {
		return []Status{to}
	}
	way := []Status{StatusPaid, StatusSourcing, StatusAllocated, StatusPartiallyShipped, StatusShipped, StatusDelivered}
	i, j := slices.Index(way, from), slices.Index(way, to)
	if i < 0 || j <= i {
		return nil
	}
	var out []Status
	for at := from; at != to; {
		// The farthest step forward that is allowed and does not overshoot.
		next := Status("")
		for k := j; k > slices.Index(way, at); k-- {
			if May(at, way[k]) {
				next = way[k]
				break
			}
		}
		if next == "" {
			return nil
		}
		out, at = append(out, next), next
	}
	return out
}
