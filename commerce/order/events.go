package order

import (
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// Placed is published when an order is placed and waits for payment.
type Placed struct {
	OrderNo    string            `json:"order_no"`
	Birth      member.Birth      `json:"birth"`
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Store      string            `json:"store"`
}

// EventName names the event.
func (Placed) EventName() string { return "commerce.order.placed" }

// Paid is published when an order is paid; sourcing begins with it.
type Paid struct {
	OrderNo    string            `json:"order_no"`
	Birth      member.Birth      `json:"birth"`
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Store      string            `json:"store"`
	AmountFen  money.Fen         `json:"amount_fen"`
}

// EventName names the event.
func (Paid) EventName() string { return "commerce.order.paid" }

// Moved is published when a paid order's goods got further: its status is what the counters of its lines say.
type Moved struct {
	OrderNo string       `json:"order_no"`
	Birth   member.Birth `json:"birth"`
	From    Status       `json:"from"`
	Status  Status       `json:"status"`
}

// EventName names the event.
func (Moved) EventName() string { return "commerce.order.moved" }

// Ended is published when an order is cancelled or closed because nobody paid.
type Ended struct {
	OrderNo string       `json:"order_no"`
	Birth   member.Birth `json:"birth"`
	Status  Status       `json:"status"`
}

// EventName names the event.
func (Ended) EventName() string { return "commerce.order.ended" }
