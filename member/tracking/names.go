package tracking

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"

	"github.com/lianke/lianke/member/activity"
)

// fact is what one message says happened. Suffix tells facts of one message apart.
type fact struct {
	Key    string
	Suffix string
	Props  map[string]any
}

// Names of the Segment e-commerce spec and the house's keys for them. Names that are not here are kept as sent.
var segmentNames = map[string]string{
	"Product Viewed":  activity.KeyProductViewed,
	"Product Added":   activity.KeyCartAdded,
	"Cart Abandoned":  activity.KeyCartAbandoned,
	"Order Completed": activity.KeyOrderPaid,
	"Order Shipped":   activity.KeyOrderShipped,
	"Order Delivered": activity.KeyOrderReceived,
	"Order Refunded":  activity.KeyOrderReturned,
	"Product Shared":  activity.KeyContentShared,
	"Cart Shared":     activity.KeyContentShared,
	"Signed Up":       activity.KeyMemberRegistered,
}

// facts translates an event name and its properties. touchpoint is where the message came from.
func facts(event string, props map[string]any, touchpoint string) []fact {
	key, ok := segmentNames[event]
	if !ok {
		return []fact{{Key: event, Props: props}}
	}
	out := maps.Clone(props)
	if out == nil {
		out = map[string]any{}
	}
	take := func(from string) any {
		v := out[from]
		delete(out, from)
		return v
	}
	switch key {
	case activity.KeyProductViewed, activity.KeyCartAdded:
		return []fact{{Key: key, Props: product(out)}}
	case activity.KeyOrderPaid, activity.KeyOrderReturned:
		products, _ := take("products").([]any)
		order := text(take("order_id"))
		if order != "" {
			out["order_no"] = order
		}
		set(out, "touchpoint", touchpoint)
		if v := text(take("affiliation")); v != "" {
			set(out, "store", v)
		}
		amount, known := yuan(take("total"))
		for _, other := range []string{"revenue", "value"} {
			if v, ok := yuan(take(other)); ok && !known {
				amount, known = v, true
			}
		}
		var quantity, sum int64
		var lines []fact
		for i, p := range products {
			raw, ok := p.(map[string]any)
			if !ok {
				continue
			}
			line := product(maps.Clone(raw))
			n := count(line["quantity"])
			price, _ := line["price_fen"].(int64)
			quantity, sum = quantity+n, sum+n*price
			line["quantity"], line["amount_fen"] = n, n*price
			delete(line, "price_fen")
			for _, name := range []string{"order_no", "touchpoint", "store"} {
				if v, ok := out[name]; ok {
					line[name] = v
				}
			}
			lines = append(lines, fact{Key: activity.KeyProductPurchased, Suffix: fmt.Sprintf("#%d", i+1), Props: line})
		}
		if !known {
			amount = sum
		}
		if key == activity.KeyOrderReturned {
			amount, quantity, lines = -amount, -quantity, nil
			set(out, "return_of", order)
		}
		set(out, "amount_fen", amount)
		set(out, "quantity", quantity)
		return append([]fact{{Key: key, Props: out}}, lines...)
	default:
		if order := text(take("order_id")); order != "" {
			out["order_no"] = order
		}
		return []fact{{Key: key, Props: out}}
	}
}

// product renames the properties of a Segment product.
func product(p map[string]any) map[string]any {
	if text(p["sku"]) == "" {
		if v := text(p["product_id"]); v != "" {
			p["sku"] = v
		}
	}
	p["sku"] = text(p["sku"])
	delete(p, "product_id")
	if fen, ok := yuan(p["price"]); ok {
		set(p, "price_fen", fen)
	}
	delete(p, "price")
	p["quantity"] = count(p["quantity"])
	return p
}

// set gives a property unless the sender did.
func set(p map[string]any, name string, v any) {
	if _, ok := p[name]; !ok {
		p[name] = v
	}
}

// yuan reads an amount in yuan as fen, exactly; halves of a fen round away from zero.
func yuan(v any) (fen int64, ok bool) {
	s := text(v)
	if s == "" || len(s) > 32 {
		return 0, false
	}
	if whole, cents, _ := strings.Cut(s, "."); len(whole) < 12 && len(cents) <= 2 && strings.Trim(whole+cents, "0123456789") == "" && whole != "" {
		// As prices are written; the rest takes the long way.
		for _, d := range whole + (cents + "00")[:2] {
			fen = fen*10 + int64(d-'0')
		}
		return fen, true
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "/_xXpP") || len(r.Denom().String()) > 20 {
		return 0, false
	}
	r.Mul(r, big.NewRat(200, 1))
	r.Add(r, big.NewRat(int64(r.Sign()), 1))
	q := new(big.Int).Quo(r.Num(), new(big.Int).Mul(r.Denom(), big.NewInt(2)))
	if !q.IsInt64() || q.Int64() > 1e14 || q.Int64() < -1e14 {
		return 0, false
	}
	return q.Int64(), true
}

// count reads a quantity; absent and odd ones are 1.
func count(v any) int64 {
	if n, ok := v.(int64); ok {
		return n
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil && i > -1e9 && i < 1e9 {
			return i
		}
	}
	return 1
}

// text reads a string or a number as text.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	}
	return ""
}
