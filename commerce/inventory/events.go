package inventory

import (
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
)

// SoldOut: the last unit that can be promised at a location was reserved.
type SoldOut struct {
	SKU      string `json:"sku"`
	Location string `json:"location"`
}

// EventName implements events.Event.
func (SoldOut) EventName() string { return "commerce.stock.sold_out" }

// BackInStock: a SKU that could not be promised at a location can be again.
type BackInStock struct {
	SKU       string `json:"sku"`
	Location  string `json:"location"`
	Available int64  `json:"available"`
}

// EventName implements events.Event.
func (BackInStock) EventName() string { return "commerce.stock.back_in_stock" }

// HoldExpired: what was held for something is on sale again.
type HoldExpired struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// EventName implements events.Event.
func (HoldExpired) EventName() string { return "commerce.stock.hold_expired" }

// Transferred: goods of a transfer arrived. Legs say what it means between entities, for settlement; none within one entity.
type Transferred struct {
	Transfer id.UUID `json:"transfer"`
	From     string  `json:"from"`
	To       string  `json:"to"`
	Units    int64   `json:"units"`
	Missing  int64   `json:"missing"`
	Legs     []Leg   `json:"legs"`
}

// Leg is one change of ownership: goods go back from a partner to the principal (return), or from the principal to a partner
// (sale), at the price the two have agreed.
type Leg struct {
	Kind      string    `json:"kind"` // return, sale
	From      string    `json:"from"`
	To        string    `json:"to"`
	AmountFen money.Fen `json:"amount_fen"`
	CostFen   money.Fen `json:"cost_fen"`
}

// EventName implements events.Event.
func (Transferred) EventName() string { return "commerce.stock.transferred" }
