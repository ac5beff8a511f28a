package promotion

import (
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// LineKind is what a line of a cart is. Only sales and components take part in promotions.
type LineKind string

// The kinds of lines.
const (
	LineSale      LineKind = "sale" // also if empty
	LineComponent LineKind = "bundle_component"
	LineGift      LineKind = "gift"
	LineFee       LineKind = "fee"
)

func (k LineKind) takesPart() bool { return k == "" || k == LineSale || k == LineComponent }

// Line is one line of a cart.
type Line struct {
	ID          string    `json:"id"`
	SKU         string    `json:"sku"`
	SPU         string    `json:"spu,omitempty"`
	Category    []string  `json:"category,omitempty" doc:"the codes of its categories, from the root down"`
	Brand       string    `json:"brand,omitempty"`
	Quantity    int64     `json:"quantity"`
	UnitPrice   money.Fen `json:"unit_price_fen" doc:"the list price everything starts from"`
	MemberPrice money.Fen `json:"member_price_fen,omitempty" doc:"0: there is none"`
	FloorPrice  money.Fen `json:"floor_price_fen,omitempty" doc:"no discount brings a unit below it"`
	Kind        LineKind  `json:"kind,omitempty" enum:"sale,bundle_component,gift,fee"`
}

// Member is what is known of who buys.
type Member struct {
	Known      bool     `json:"known"`
	Tier       string   `json:"tier,omitempty"`
	Segments   []string `json:"segments,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	FirstOrder bool     `json:"first_order,omitempty"`
}

// CouponClaim is a coupon that the buyer presents, with the rule of its template (see CouponRule).
type CouponClaim struct {
	Code     string
	Template string
	Rule     Rule
}

// Cart is what Evaluate looks at.
type Cart struct {
	At         time.Time
	Touchpoint member.Touchpoint
	Store      string
	Member     Member
	Lines      []Line
	Freight    money.Fen
	Coupons    []CouponClaim
	// Exhausted names promotions whose limits or budgets leave nothing for this buyer (see Service.Exhausted).
	Exhausted map[string]bool
	// GiftStock is how many of a gift there are; a gift that is not in a non-nil map is out of stock. Nil: all are there.
	GiftStock map[string]int64
}

// LineShare is the part of a discount that falls on a line, and on each of its units; the units sum to it.
type LineShare struct {
	Line   string      `json:"line"`
	Amount money.Fen   `json:"amount_fen"`
	Units  []money.Fen `json:"units_fen"`
}

// Adjustment is a discount that one promotion or coupon gives. A freight discount has no lines.
type Adjustment struct {
	Promotion string      `json:"promotion" doc:"of a coupon: its template"`
	Version   int         `json:"version"`
	Name      string      `json:"name"`
	Coupon    string      `json:"coupon,omitempty" doc:"the code of the coupon that gives it"`
	Level     Level       `json:"level" enum:"item,order,freight"`
	Amount    money.Fen   `json:"amount_fen"`
	Lines     []LineShare `json:"lines"`
	Bearers   []Bearer    `json:"bearers"`
}

// Gift is given for nothing, bound to the line that earned it: who returns that returns the gift.
type Gift struct {
	Promotion string    `json:"promotion"`
	Version   int       `json:"version"`
	Name      string    `json:"name"`
	Coupon    string    `json:"coupon,omitempty"`
	Line      string    `json:"line" doc:"the line that earned it"`
	SKU       string    `json:"sku"`
	Quantity  int64     `json:"quantity"`
	Stock     string    `json:"stock,omitempty"`
	Worth     money.Fen `json:"worth_fen"`
	Fallback  bool      `json:"fallback" doc:"a substitute for a gift that is out of stock"`
	Bearers   []Bearer  `json:"bearers"`
}

// LineTotal is what became of a line.
type LineTotal struct {
	Line     string      `json:"line"`
	List     money.Fen   `json:"list_fen"`
	Discount money.Fen   `json:"discount_fen"`
	Amount   money.Fen   `json:"amount_fen"`
	Units    []money.Fen `json:"units_fen" doc:"what each unit costs"`
}

// Totals of a cart. Payable = List − ItemDiscount − OrderDiscount + Freight − FreightDiscount.
type Totals struct {
	List            money.Fen `json:"list_fen"`
	ItemDiscount    money.Fen `json:"item_discount_fen"`
	OrderDiscount   money.Fen `json:"order_discount_fen"`
	Goods           money.Fen `json:"goods_fen" doc:"goods after discounts"`
	Freight         money.Fen `json:"freight_fen" doc:"before its discount"`
	FreightDiscount money.Fen `json:"freight_discount_fen"`
	Payable         money.Fen `json:"payable_fen"`
}

// Why says what became of one promotion or coupon.
type Why struct {
	Promotion string     `json:"promotion"`
	Version   int        `json:"version"`
	Coupon    string     `json:"coupon,omitempty"`
	Applied   bool       `json:"applied"`
	Code      Code       `json:"code"`
	Text      fault.Text `json:"text"`
	// Need and Have say what is missing, in fen, units or whatever Code counts.
	Need int64 `json:"need,omitempty"`
	Have int64 `json:"have,omitempty"`
	// By names what stood in the way.
	By string `json:"by,omitempty"`
}

// Result is what Evaluate found.
type Result struct {
	Adjustments []Adjustment `json:"adjustments"`
	Gifts       []Gift       `json:"gifts"`
	Lines       []LineTotal  `json:"lines" doc:"in the order of the cart"`
	Totals      Totals       `json:"totals"`
	Trace       []Why        `json:"trace"`
	// Exact is false when the search ended early; then no combination gives more than Gap above what was found.
	Exact bool      `json:"exact" doc:"no other combination gives more"`
	Gap   money.Fen `json:"gap_fen" doc:"if not exact: at most so much more may be possible"`
	Nodes int       `json:"nodes" doc:"combinations looked at"`
}
