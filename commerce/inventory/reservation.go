package inventory

import (
	"fmt"
	"time"
)

// State is where a reservation is in its life.
type State string

// The states. Held and confirmed promise stock; the others are final, though a closed reservation may be opened again by
// reserving once more under its key.
const (
	StateHeld      State = "held"
	StateConfirmed State = "confirmed"
	StateConsumed  State = "consumed"
	StateReleased  State = "released"
	StateExpired   State = "expired"
)

// Ref says what stock is promised to: ("order", order number), ("transfer", its id).
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// String returns kind/id.
func (r Ref) String() string { return r.Kind + "/" + r.ID }

// Want is a line of a basket. The components of a bundle are wants with the number of their line.
type Want struct {
	Line     int
	SKU      string
	Location string
	// Owner is the entity whose goods are wanted. Empty takes whoever's, in the order of their codes, and may split the line.
	Owner    string
	Quantity int64
}

// Basket is what is reserved together: all of it or nothing.
type Basket struct {
	Ref Ref
	// Touchpoint decides which quotas apply.
	Touchpoint string
	// ExpiresAt is when the hold ends by itself. Zero: it is confirmed at once.
	ExpiresAt time.Time
	Lines     []Want
}

// Reservation is stock promised to one line, from one owner.
type Reservation struct {
	Ref        Ref        `json:"ref"`
	Line       int        `json:"line"`
	SKU        string     `json:"sku"`
	Location   string     `json:"location"`
	Owner      string     `json:"owner"`
	Quantity   int64      `json:"quantity" doc:"what is still promised"`
	Consumed   int64      `json:"consumed" doc:"what has left"`
	State      State      `json:"state"`
	Touchpoint string     `json:"touchpoint"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

// Part names what of a reservation is consumed or released; a zero Quantity is all that is left.
type Part struct {
	Line     int
	SKU      string
	Location string
	Owner    string // "" is any
	Quantity int64
}

const (
	maxLines    = 500
	maxQuantity = 1_000_000
)

// checked returns the lines with equal keys summed, or what is wrong with the basket.
func (b Basket) checked() ([]Want, error) {
	if b.Ref.Kind == "" || b.Ref.ID == "" {
		return nil, invalid("ref", "缺少预占对象", "say what the stock is for")
	}
	if len(b.Lines) == 0 || len(b.Lines) > maxLines {
		return nil, invalid("lines", "行数须在 1 到 500 之间", "give 1 to 500 lines")
	}
	type key struct {
		line                 int
		sku, location, owner string
	}
	at := map[key]int{}
	out := make([]Want, 0, len(b.Lines))
	for i, w := range b.Lines {
		path := fmt.Sprintf("lines[%d]", i)
		switch {
		case w.SKU == "" || w.Location == "":
			return nil, invalid(path, "缺少商品或地点", "name the SKU and the location")
		case w.Quantity <= 0 || w.Quantity > maxQuantity:
			return nil, invalid(path+".quantity", "数量须在 1 到 1000000 之间", "the quantity is from 1 to 1,000,000")
		}
		k := key{w.Line, w.SKU, w.Location, w.Owner}
		if j, seen := at[k]; seen {
			out[j].Quantity += w.Quantity
			continue
		}
		at[k] = len(out)
		out = append(out, w)
	}
	for _, w := range out {
		if _, any := at[key{w.Line, w.SKU, w.Location, ""}]; any && w.Owner != "" {
			return nil, invalid("lines", "同一行不能既指定又不指定货主", "one line cannot both name an owner and take any")
		}
	}
	return out, nil
}
