package checkout

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/points"
)

// Item is one thing that somebody wants.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Basket is what is to be priced: for a quote, and again when the order is placed.
type Basket struct {
	Birth      member.Birth      `json:"birth,string,omitempty" doc:"any birth of the member or visitor; empty for a guest"`
	Touchpoint member.Touchpoint `json:"touchpoint"`
	Store      string            `json:"store,omitempty"`
	Items      []Item            `json:"items"`
	Coupons    []string          `json:"coupons,omitempty" doc:"codes"`
	Points     int64             `json:"points,omitempty" doc:"points to pay with"`
	Card       string            `json:"card,omitempty" doc:"stored-value card to pay with"`
	CardFen    money.Fen         `json:"card_fen,omitempty" doc:"how much of it"`
	Pickup     string            `json:"pickup,omitempty" doc:"store where the member fetches it: no freight"`
}

const maxItems = 200

func (b Basket) check() error {
	switch {
	case b.Touchpoint == "" || len(b.Touchpoint) > 32 || len(b.Store) > 64 || len(b.Pickup) > 64:
		return invalid("touchpoint", "缺少渠道或代码过长", "a touchpoint is needed; codes have at most 64 bytes")
	case len(b.Items) == 0 || len(b.Items) > maxItems:
		return invalid("items", "商品须为 1 到 200 行", "1 to 200 items are needed")
	case len(b.Coupons) > 10:
		return invalid("coupons", "最多使用 10 张券", "at most 10 coupons")
	case b.Points < 0 || b.Points > points.MaxPoints:
		return invalid("points", "积分须在 0 到 10^12 之间", "points are 0 to 10^12")
	case b.CardFen < 0 || (b.CardFen > 0) != (b.Card != ""):
		return invalid("card_fen", "储值卡与金额须同时填写", "a card and an amount belong together")
	case b.Birth < 0:
		return invalid("birth", "会员标识有误", "the birth is not one of ours")
	case b.Birth == 0 && (b.Points > 0 || b.Card != ""):
		return ErrGuest
	}
	seen := map[string]bool{}
	for i, it := range b.Items {
		if it.SKU == "" || it.Quantity < 1 || it.Quantity > order.MaxUnits || seen[it.SKU] {
			return invalid(fmt.Sprintf("items[%d]", i), "商品编码为空、重复,或数量不在 1 到 9,999 之间", "the SKU is empty or occurs twice, or the quantity is not 1 to 9,999")
		}
		seen[it.SKU] = true
	}
	seen = map[string]bool{}
	for i, c := range b.Coupons {
		if code := coupon.Normalise(c); code == "" || seen[code] {
			return invalid(fmt.Sprintf("coupons[%d]", i), "券码为空或重复", "the code is empty or occurs twice")
		}
		seen[coupon.Normalise(c)] = true
	}
	return nil
}

// queuePickup asks for the store where the goods are to be fetched; the check that it returns fails with ErrInvalid if
// there is none, once the batch has been sent.
func (b Basket) queuePickup(batch *pgx.Batch) (check func() error) {
	if b.Pickup == "" {
		return func() error { return nil }
	}
	kinds := map[string]org.Kind{}
	org.QueueKinds(batch, []string{b.Pickup}, kinds)
	return func() error {
		if kinds[b.Pickup] != org.KindStore {
			return invalid("pickup", "没有此自提门店,请填写门店编码", "there is no such store; name the code of one")
		}
		return nil
	}
}

func (b Basket) skus() []string {
	out := make([]string, len(b.Items))
	for i, it := range b.Items {
		out[i] = it.SKU
	}
	return out
}

// facts are what pricing reads; whoever places an order holds the locks on them.
type facts struct {
	at        time.Time
	terms     *SellingTerms
	offers    map[string]product.Offer
	births    []member.Birth
	coupons   []CouponFact
	programme *points.Programme
	card      CardFact
}

// CouponFact is a coupon that is presented, with its template.
type CouponFact struct {
	Coupon   coupon.Coupon
	Template coupon.Template
}

// CardFact is what a card would pay.
type CardFact struct {
	Issuer           string
	Principal, Bonus money.Fen
}

// Line is a line as promotions see it.
type Line struct {
	LineNo    int
	SKU       string
	SPU       string
	Category  string
	Brand     string
	Quantity  int64
	UnitPrice money.Fen
}

// Deal is what promotions and coupons make of a basket. A coupon's reductions have Kind "coupon" and its code as Source.
// Line numbers are those of the basket's lines; FreightLine stands for freight.
type Deal struct {
	Reductions []order.Reduction
	Gifts      []Gift
	Trace      json.RawMessage
}

// FreightLine is the line number that stands for freight in reductions.
const FreightLine = 9_999

// Gift is given for nothing, bound to the line that earned it.
type Gift struct {
	Line     int
	SKU      string
	Quantity int64
	Worth    money.Fen // of one
	Source   string
}

// Occasion is what promotions decide over.
type Occasion struct {
	At         time.Time
	Touchpoint member.Touchpoint
	Store      string
	Births     []member.Birth // of the member; none for a guest
	Lines      []Line
	Freight    money.Fen
	Coupons    []CouponFact
}

// Promotions work out what a basket costs less. Evaluate does no I/O: it is called between the two round trips of a
// checkout and decides by rules that are in memory.
type Promotions interface {
	Evaluate(o Occasion) (Deal, error)
}

// couponsOnly is Promotions without promotions: each coupon alone, in the order given.
type couponsOnly struct{}

// Evaluate takes coupons off the goods they are for, one after the other.
func (couponsOnly) Evaluate(o Occasion) (Deal, error) {
	var d Deal
	groups := map[string]bool{}
	left := map[int]money.Fen{}
	for _, l := range o.Lines {
		left[l.LineNo] = l.UnitPrice * money.Fen(l.Quantity)
	}
	freight := o.Freight
	for _, c := range o.Coupons {
		t := c.Template
		if t.StackGroup != "" && groups[t.StackGroup] {
			return Deal{}, invalid("coupons", "这些券不能同时使用", "these coupons exclude each other")
		}
		groups[t.StackGroup] = true
		var lines []int
		var amount money.Fen
		for _, l := range o.Lines {
			if inScope(t.Scope, l) {
				lines = append(lines, l.LineNo)
				amount += left[l.LineNo]
			}
		}
		if amount < t.ThresholdFen || len(lines) == 0 {
			return Deal{}, coupon.ErrThreshold.With("threshold", t.ThresholdFen)
		}
		r := order.Reduction{Kind: "coupon", Source: c.Coupon.Code, Lines: lines, Bearers: shares(t.Bearers)}
		switch t.Kind {
		case coupon.KindAmountOff, coupon.KindPercent:
			r.Amount = t.Discount(amount)
			for _, no := range lines {
				// Roughly: what matters afterwards is only how much is left in all.
				left[no] -= money.Fen(int64(r.Amount) * int64(left[no]) / max(1, int64(amount)))
			}
		case coupon.KindFreight:
			r.Lines, r.Amount = []int{FreightLine}, min(freight, t.AmountFen)
			freight -= r.Amount
		case coupon.KindGift:
			d.Gifts = append(d.Gifts, Gift{Line: lines[0], SKU: t.GiftSKU, Quantity: 1, Worth: t.AmountFen, Source: c.Coupon.Code})
		}
		if r.Amount > 0 {
			d.Reductions = append(d.Reductions, r)
		}
	}
	return d, nil
}

func inScope(s coupon.Scope, l Line) bool {
	if len(s.SKUs) == 0 && len(s.Categories) == 0 {
		return true
	}
	for _, sku := range s.SKUs {
		if sku == l.SKU {
			return true
		}
	}
	for _, c := range s.Categories {
		if c == l.Category {
			return true
		}
	}
	return false
}

func shares(bearers []coupon.Bearer) []order.Share {
	out := make([]order.Share, len(bearers))
	for i, b := range bearers {
		out[i] = order.Share{Bearer: b.Bearer, Bp: b.Bp}
	}
	return out
}
