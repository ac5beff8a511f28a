package order

import (
	"encoding/json"
	"time"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// LineKind is what a line is. Gifts carry their retail price for the case that they are kept while the goods come back,
// and a unit price of 0.
type LineKind string

// The kinds of lines.
const (
	LineSale            LineKind = "sale"
	LineGift            LineKind = "gift"
	LineBundleComponent LineKind = "bundle_component"
	LineFee             LineKind = "fee"
	LineFreight         LineKind = "freight"
)

// Goods reports whether lines of the kind are things that are kept in stock and sent.
func (k LineKind) Goods() bool { return k == LineSale || k == LineGift || k == LineBundleComponent }

// TenderKind is what an order is paid with.
type TenderKind string

// The kinds of tenders.
const (
	TenderWeChat          TenderKind = "wechat"
	TenderPoints          TenderKind = "points"
	TenderCoupon          TenderKind = "coupon" // a voucher that somebody sold; a promotion's coupon is a discount
	TenderStoredPrincipal TenderKind = "stored_principal"
	TenderStoredBonus     TenderKind = "stored_bonus"
	TenderCash            TenderKind = "cash"
	TenderMall            TenderKind = "mall" // the mall's till collected it
	TenderCredit          TenderKind = "credit"
	TenderPlatform        TenderKind = "platform" // the marketplace collected it
	TenderSubsidy         TenderKind = "subsidy"  // a public subsidy
)

// TenderState is where a tender stands.
type TenderState string

// The states of a tender.
const (
	TenderPlanned  TenderState = "planned"  // somebody will pay it
	TenderHeld     TenderState = "held"     // taken from the member, not yet earned
	TenderCaptured TenderState = "captured" // paid
	TenderReleased TenderState = "released" // given back, or never paid, because the order ended
)

// Order is an order of any touchpoint. Its lines, units and tenders are read with it by Get and Lock, not by Find.
type Order struct {
	OrderNo       string            `json:"order_no"`
	Touchpoint    member.Touchpoint `json:"touchpoint"`
	Store         string            `json:"store"`
	SellerUnit    string            `json:"seller_unit" doc:"org unit that sells"`
	SellerEntity  string            `json:"seller_entity" doc:"legal subject that sells and invoices"`
	LeadUnit      string            `json:"lead_unit" doc:"store that led the sale"`
	LeadAssociate string            `json:"lead_associate" doc:"associate who led the sale, frozen"`
	Birth         member.Birth      `json:"birth,string"`
	Guest         bool              `json:"guest"`
	Status        Status            `json:"status"`
	AskedFrom     Status            `json:"asked_from,omitempty" doc:"status in which cancelling was asked for"`
	Quantity      int64             `json:"quantity" doc:"units of goods"`
	ListFen       money.Fen         `json:"list_fen"`
	DiscountFen   money.Fen         `json:"discount_fen"`
	Points        int64             `json:"points"`
	PointsFen     money.Fen         `json:"points_fen"`
	CashFen       money.Fen         `json:"cash_fen" doc:"what tenders other than points pay"`
	FreightFen    money.Fen         `json:"freight_fen" doc:"freight before discounts, part of list_fen"`
	PaidFen       money.Fen         `json:"paid_fen"`
	RefundedFen   money.Fen         `json:"refunded_fen"`
	Receiver      Receiver          `json:"receiver"`
	Invoice       *Invoice          `json:"invoice,omitempty"`
	Terms         json.RawMessage   `json:"terms,omitempty" doc:"contract version, roles and rates, frozen at payment; for finance and for the partner who sells"`
	Source        string            `json:"source" doc:"who placed it: an API key, a till"`
	PlacedAt      time.Time         `json:"placed_at"`
	PayBy         *time.Time        `json:"pay_by,omitempty"`
	PaidAt        *time.Time        `json:"paid_at,omitempty"`
	ShippedAt     *time.Time        `json:"shipped_at,omitempty"`
	DeliveredAt   *time.Time        `json:"delivered_at,omitempty"`
	EndedAt       *time.Time        `json:"ended_at,omitempty"`
	Events        int               `json:"events" doc:"number of events"`
	UpdatedAt     time.Time         `json:"updated_at"`

	Lines   []Line   `json:"lines,omitempty" db:"-"`
	Tenders []Tender `json:"tenders,omitempty" db:"-"`

	// ReceiverSealed is the clear receiver, sealed under the data key of the birth; see Receiver.
	ReceiverSealed []byte `json:"-"`
}

// Line is a line of an order. Prices are in fen per unit; nil means that the catalogue had none. Counters run down the
// chain quantity − cancelled ≥ allocated ≥ shipped ≥ delivered + refused ≥ returned.
type Line struct {
	LineNo         int        `json:"line_no"`
	Kind           LineKind   `json:"kind"`
	SKU            string     `json:"sku"`
	Name           string     `json:"name"`
	Category       string     `json:"category"`
	Brand          string     `json:"brand"`
	TaxCode        string     `json:"tax_code"`
	Bundle         string     `json:"bundle" doc:"SKU of the bundle that the component came out of"`
	BundleNo       int        `json:"bundle_no" doc:"which of the order's bundles"`
	TriggerLine    *int       `json:"trigger_line" doc:"the line that a gift belongs to"`
	Location       string     `json:"location" doc:"where its stock is reserved"`
	Owner          string     `json:"owner" doc:"entity that owns the stock"`
	TagPriceFen    *money.Fen `json:"tag_price_fen"`
	RetailPriceFen *money.Fen `json:"retail_price_fen"`
	MemberPriceFen *money.Fen `json:"member_price_fen"`
	CostPriceFen   *money.Fen `json:"cost_price_fen,omitempty" doc:"for finance and for the partner who sells"`
	UnitPriceFen   money.Fen  `json:"unit_price_fen" doc:"price before discounts"`
	Quantity       int64      `json:"quantity"`
	ListFen        money.Fen  `json:"list_fen"`
	DiscountFen    money.Fen  `json:"discount_fen"`
	Points         int64      `json:"points"`
	PointsFen      money.Fen  `json:"points_fen"`
	CashFen        money.Fen  `json:"cash_fen"`
	Allocated      int64      `json:"allocated"`
	Shipped        int64      `json:"shipped"`
	Delivered      int64      `json:"delivered"`
	Refused        int64      `json:"refused" doc:"not accepted at the door, or intercepted"`
	Returned       int64      `json:"returned" doc:"came back, refused units included"`
	Cancelled      int64      `json:"cancelled"`

	Units []Unit `json:"units,omitempty" db:"-"`
}

// Unit says what one unit of a line costs whom: list = discounts + points + cash. Refunds read it.
type Unit struct {
	LineNo      int        `json:"line_no"`
	UnitNo      int        `json:"unit_no"`
	ListFen     money.Fen  `json:"list_fen"`
	DiscountFen money.Fen  `json:"discount_fen"`
	Discounts   []Discount `json:"discounts"`
	Points      int64      `json:"points"`
	PointsFen   money.Fen  `json:"points_fen"`
	CashFen     money.Fen  `json:"cash_fen"`
	State       UnitState  `json:"state"`
}

// UnitState is what became of a unit.
type UnitState string

// The states of a unit.
const (
	UnitOpen      UnitState = "open"
	UnitCancelled UnitState = "cancelled"
	UnitReturned  UnitState = "returned"
)

// Discount is what one promotion or coupon takes off one unit, and who bears it. The shares sum to Fen.
type Discount struct {
	Kind    string       `json:"kind" doc:"promotion, coupon or manual"`
	Source  string       `json:"source" doc:"code of the promotion or coupon"`
	Fen     money.Fen    `json:"fen"`
	Bearers []BearerPart `json:"bearers"`
}

// BearerPart is what one bearer bears of a discount.
type BearerPart struct {
	Bearer string    `json:"bearer"`
	Fen    money.Fen `json:"fen"`
}

// Tender is one way in which an order is paid.
type Tender struct {
	TenderNo       int         `json:"tender_no"`
	Kind           TenderKind  `json:"kind"`
	Collector      string      `json:"collector" doc:"entity that receives the money"`
	Account        string      `json:"account" doc:"programme, card or merchant account"`
	AmountFen      money.Fen   `json:"amount_fen"`
	Points         int64       `json:"points"`
	State          TenderState `json:"state"`
	Reference      string      `json:"reference" doc:"key of the hold, or the provider's transaction"`
	RefundedFen    money.Fen   `json:"refunded_fen"`
	RefundedPoints int64       `json:"refunded_points"`
}

// Receiver says where an order goes: a platform's token that only its print interface opens, or masked text. The clear
// text is sealed under the data key of the order's birth.
type Receiver struct {
	Token    string `json:"token,omitempty" doc:"opaque, of the platform that sold"`
	Name     string `json:"name,omitempty" doc:"masked"`
	Phone    string `json:"phone,omitempty" doc:"masked"`
	Province string `json:"province,omitempty"`
	City     string `json:"city,omitempty"`
	District string `json:"district,omitempty"`
	Street   string `json:"street,omitempty" doc:"masked"`
	Pickup   string `json:"pickup,omitempty" doc:"store where the member fetches it"`
}

// Invoice is what the member wants invoiced, and how far that is.
type Invoice struct {
	Title string `json:"title"`
	TaxNo string `json:"tax_no,omitempty"`
	State string `json:"state" doc:"asked, issued or red"`
}

// Event is one entry in the history of an order.
type Event struct {
	Seq        int             `json:"seq"`
	Kind       string          `json:"kind"`
	FromStatus Status          `json:"from_status"`
	ToStatus   Status          `json:"to_status"`
	Actor      string          `json:"actor"`
	Detail     json.RawMessage `json:"detail"`
	At         time.Time       `json:"at"`
}

// Line returns the line with the number, or nil.
func (o *Order) Line(no int) *Line {
	for i := range o.Lines {
		if o.Lines[i].LineNo == no {
			return &o.Lines[i]
		}
	}
	return nil
}

// total sets the sums of the order from its lines.
func (o *Order) total() {
	o.Quantity, o.ListFen, o.DiscountFen, o.Points, o.PointsFen, o.CashFen, o.FreightFen = 0, 0, 0, 0, 0, 0, 0
	for _, l := range o.Lines {
		if l.Kind.Goods() {
			o.Quantity += l.Quantity
		}
		if l.Kind == LineFreight {
			o.FreightFen += l.ListFen
		}
		o.ListFen += l.ListFen
		o.DiscountFen += l.DiscountFen
		o.Points += l.Points
		o.PointsFen += l.PointsFen
		o.CashFen += l.CashFen
	}
}
