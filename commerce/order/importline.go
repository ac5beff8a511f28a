package order

import (
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

// Source is the source under which activities of orders are logged.
const Source = "commerce.order"

// PaidKey, ReturnedKey and PurchasedKey name the activities of an order; with Source they are logged once.
func PaidKey(orderNo string) string { return "paid/" + orderNo }

// ReturnedKey names the order_returned of an order.
func ReturnedKey(orderNo string) string { return "returned/" + orderNo }

// PurchasedKey names the product_purchased of a line.
func PurchasedKey(orderNo, lineNo string) string { return "line/" + orderNo + "/" + lineNo }

// importLine is one line of an imported order.
type importLine struct {
	OrderNo    string
	LineNo     string
	Touchpoint string
	Store      string
	Associate  string
	PlacedAt   time.Time
	PaidAt     *time.Time
	Source     string
	SourceID   string
	SKU        string
	Quantity   int64
	UnitPrice  money.Fen
	Discount   money.Fen
	CouponCode string
	ReturnOf   string
	Kind       string
}

// lineKinds are what a line can be: goods sold, given or come back, a part of a bundle, a charge, delivery.
func lineKinds() []string { return []string{"sale", "gift", "return", "component", "fee", "freight"} }

// Amount is what the line adds to the order; negative on returned lines.
func (l importLine) Amount() money.Fen {
	return money.Fen(l.Quantity)*l.UnitPrice - l.Discount
}

// buyer is the identifier of the person the line names, or of the partner for an order at touchpoint b2b: a sales
// organisation is no member.
func (l importLine) buyer() identity.Key {
	if l.Touchpoint == string(member.TouchpointB2B) {
		return identity.Key{NS: identity.NSPartner, Scope: l.Source, Value: l.SourceID}
	}
	return identity.Key{NS: identity.NSSource, Scope: l.Source, Value: l.SourceID}
}

// guest is the identifier of an order that names nobody. An order number that cannot be an identifier stands for itself by
// its hash.
func guest(orderNo string) identity.Key {
	k := identity.Key{NS: identity.NSOrder, Value: orderNo}
	if _, err := k.Normalise(); err != nil {
		k.Value = "no." + id.Hash16(orderNo)
	}
	return k
}

// purchased is the activity of a line that was bought. category and brand are those of the catalogue at the time of import.
func (l importLine) purchased(birth member.Birth, mode member.Mode, category, brand string) activity.Activity {
	return activity.Activity{
		Birth: birth, Key: activity.KeyProductPurchased, OccurredAt: *l.PaidAt, Touchpoint: member.Touchpoint(l.Touchpoint),
		Mode: mode, Source: Source, DedupeKey: PurchasedKey(l.OrderNo, l.LineNo),
		Props: map[string]any{
			"order_no": l.OrderNo, "sku": l.SKU, "category": category, "brand": brand, "touchpoint": l.Touchpoint, "store": l.Store,
			"quantity": l.Quantity, "amount_fen": l.Amount(),
		},
	}
}

func (l importLine) bought() bool { return l.Quantity > 0 && l.PaidAt != nil }

// total is an order folded from its lines.
type total struct {
	OrderNo string
	Birth   *member.Birth // of the first line that names somebody

	PaidAt      *time.Time // earliest of the positive lines; nil: not paid or nothing bought
	Amount      money.Fen
	Quantity    int64
	Touchpoint  *string // of the first positive line, like store and associate
	Store       *string
	Associate   *string
	ReturnedAt  *time.Time // earliest of the negative lines; nil: nothing returned
	Refund      money.Fen
	Returned    int64
	ReturnedTo  *string // touchpoint of the first negative line
	ReturnStore *string
	ReturnOf    string
	FirstPlaced time.Time
}

func (t total) activities(birth member.Birth, mode member.Mode) []activity.Activity {
	var out []activity.Activity
	if t.PaidAt != nil {
		out = append(out, activity.Activity{
			Birth: birth, Key: activity.KeyOrderPaid, OccurredAt: *t.PaidAt, Touchpoint: member.Touchpoint(*t.Touchpoint),
			Mode: mode, Source: Source, DedupeKey: PaidKey(t.OrderNo),
			Props: map[string]any{
				"order_no": t.OrderNo, "touchpoint": *t.Touchpoint, "store": *t.Store, "associate": *t.Associate,
				"amount_fen": t.Amount, "quantity": t.Quantity,
			},
		})
	}
	if t.ReturnedAt != nil {
		out = append(out, activity.Activity{
			Birth: birth, Key: activity.KeyOrderReturned, OccurredAt: *t.ReturnedAt, Touchpoint: member.Touchpoint(*t.ReturnedTo),
			Mode: mode, Source: Source, DedupeKey: ReturnedKey(t.OrderNo),
			Props: map[string]any{
				"order_no": t.OrderNo, "return_of": t.ReturnOf, "touchpoint": *t.ReturnedTo, "store": *t.ReturnStore,
				"amount_fen": t.Refund, "quantity": t.Returned,
			},
		})
	}
	return out
}
