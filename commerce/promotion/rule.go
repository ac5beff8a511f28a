package promotion

import (
	"time"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// Kind is what a promotion does.
type Kind string

// The kinds of promotions.
const (
	KindItemDiscount Kind = "item_discount" // percent, amount off or fixed price of each unit
	KindMemberPrice  Kind = "member_price"  // 会员价: members pay the member price
	KindNthUnit      Kind = "nth_unit"      // 第 N 件半价: every Nth unit at percent_bp off, the cheapest of its N
	KindBuyGet       Kind = "buy_get"       // 买 X 送 Y among the same goods, or from other goods with a trigger
	KindBundlePrice  Kind = "bundle_price"  // N 件一口价: N units for one price
	KindAddOn        Kind = "add_on"        // 加价购: certain goods at a small price
	KindThreshold    Kind = "threshold"     // 满减, 满折: tiers over the sum of the goods
	KindGift         Kind = "gift"          // 赠品
	KindFreight      Kind = "freight"       // freight free, or less
)

// Level is where a discount is given.
type Level string

// The levels, in the order in which they are worked out; each sees what those before it left.
const (
	LevelItem    Level = "item"
	LevelOrder   Level = "order"
	LevelGift    Level = "gift"
	LevelFreight Level = "freight"
)

// Level returns the level at which promotions of the kind work.
func (k Kind) Level() Level {
	switch k {
	case KindThreshold:
		return LevelOrder
	case KindGift:
		return LevelGift
	case KindFreight:
		return LevelFreight
	default:
		return LevelItem
	}
}

// Basis is which amount a threshold looks at.
type Basis string

// The bases of thresholds.
const (
	BasisDiscounted Basis = "discounted" // what the goods cost after the discounts before this one; the default
	BasisInitial    Basis = "initial"    // what they cost before all discounts
)

// Bearer carries a share of a discount.
type Bearer struct {
	Bearer string `json:"bearer"`
	Bp     int64  `json:"bp"`
}

// Scope names goods. A line is in it when its SKU or SPU is listed, or when it is of one of the categories (or below) and
// one of the brands, whichever of the two are given. Without any of the four every line is in it; Except takes lines out.
type Scope struct {
	SKUs       []string `json:"skus,omitempty"`
	SPUs       []string `json:"spus,omitempty"`
	Categories []string `json:"categories,omitempty"`
	Brands     []string `json:"brands,omitempty"`
	Except     *Scope   `json:"except,omitempty"`
}

// Conditions say when, where and for whom a promotion is. Empty means everybody, everywhere, always.
type Conditions struct {
	From        *time.Time          `json:"from,omitempty"`
	To          *time.Time          `json:"to,omitempty" doc:"it ends before this instant"`
	Weekdays    []int               `json:"weekdays,omitempty" doc:"1 Monday to 7 Sunday, in Shanghai"`
	Hours       []Hours             `json:"hours,omitempty" doc:"times of the day, in Shanghai"`
	Touchpoints []member.Touchpoint `json:"touchpoints,omitempty"`
	Stores      []string            `json:"stores,omitempty"`
	Members     bool                `json:"members,omitempty" doc:"only for members"`
	FirstOrder  bool                `json:"first_order,omitempty" doc:"only for the first order of a member"`
	Tiers       []string            `json:"tiers,omitempty"`
	Segments    []string            `json:"segments,omitempty" doc:"in any of these"`
	Tags        []string            `json:"tags,omitempty" doc:"with any of these"`
}

// Hours is a span of the day, [from, to) as HH:MM; to before from goes over midnight.
type Hours struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Tier is a step of a threshold promotion: from min_amount_fen or min_quantity on, amount_fen off or percent_bp off.
type Tier struct {
	MinAmount   money.Fen `json:"min_amount_fen,omitempty"`
	MinQuantity int64     `json:"min_quantity,omitempty"`
	Amount      money.Fen `json:"amount_fen,omitempty"`
	PercentBp   int64     `json:"percent_bp,omitempty"`
}

// GiftItem is something given for nothing, from the stock named. The first of Items that is in stock is given.
type GiftItem struct {
	SKU      string    `json:"sku"`
	Quantity int64     `json:"quantity" doc:"per time the condition is met; 0 is 1"`
	Stock    string    `json:"stock,omitempty" doc:"the stock it is taken from, if not the goods' own"`
	Worth    money.Fen `json:"worth_fen,omitempty" doc:"what it counts when the best combination is sought"`
}

// AddOnItem is what may be bought along at a price.
type AddOnItem struct {
	SKU   string    `json:"sku"`
	Price money.Fen `json:"price_fen"`
}

// Benefit is what a promotion gives; which fields count depends on the kind.
type Benefit struct {
	PercentBp int64       `json:"percent_bp,omitempty" doc:"item_discount, nth_unit, buy_get, freight: part of the price that is taken off"`
	Amount    money.Fen   `json:"amount_fen,omitempty" doc:"item_discount: off each unit; freight: off the freight"`
	Price     money.Fen   `json:"price_fen,omitempty" doc:"item_discount: price of each unit; bundle_price: price of the bundle"`
	Free      bool        `json:"free,omitempty" doc:"freight"`
	N         int64       `json:"n,omitempty" doc:"nth_unit: which unit; bundle_price: units in a bundle"`
	Buy       int64       `json:"buy,omitempty" doc:"buy_get"`
	Get       int64       `json:"get,omitempty" doc:"buy_get"`
	Tiers     []Tier      `json:"tiers,omitempty" doc:"threshold"`
	Repeat    bool        `json:"repeat,omitempty" doc:"threshold with one tier, gift and add_on: again for every further time the threshold is reached (每满)"`
	Most      int64       `json:"most,omitempty" doc:"at most so many times (sets, bundles, repetitions) in an order, or units for item_discount; 0: no limit"`
	Gifts     []GiftItem  `json:"gifts,omitempty" doc:"gift: the first, or when it is out of stock the next"`
	AddOns    []AddOnItem `json:"add_ons,omitempty" doc:"add_on: one unit each time"`
}

// Limits bound the use of a promotion over all orders. Zero means no limit.
type Limits struct {
	Total     int64     `json:"total,omitempty" doc:"orders in all"`
	PerDay    int64     `json:"per_day,omitempty" doc:"orders a day"`
	PerMember int64     `json:"per_member,omitempty" doc:"orders of one member; guests cannot use it"`
	BudgetFen money.Fen `json:"budget_fen,omitempty" doc:"discount in all"`
}

// Rule is one version of a promotion, or a coupon as the engine sees it.
type Rule struct {
	Promotion string `json:"code"`
	Version   int    `json:"version"`
	Name      string `json:"name"`
	Kind      Kind   `json:"kind" enum:"item_discount,member_price,nth_unit,buy_get,bundle_price,add_on,threshold,gift,freight"`
	// Group is where it stacks; "" is the root group, in which everything stacks.
	Group     string `json:"group,omitempty"`
	Priority  int    `json:"priority,omitempty" doc:"smaller ones are worked out first"`
	Exclusive string `json:"exclusive,omitempty" doc:"promotions of one exclusive category never apply together"`

	When        Conditions `json:"when"`
	Items       Scope      `json:"items" doc:"the goods it discounts"`
	Trigger     *Scope     `json:"trigger,omitempty" doc:"the goods its conditions look at, if not the same"`
	MinQuantity int64      `json:"min_quantity,omitempty"`
	MinAmount   money.Fen  `json:"min_amount_fen,omitempty"`
	Basis       Basis      `json:"basis,omitempty" enum:"discounted,initial" doc:"which amount thresholds look at: after the discounts before it, or before all discounts"`

	Benefit     Benefit   `json:"benefit"`
	MaxDiscount money.Fen `json:"max_discount_fen,omitempty"`
	Limits      Limits    `json:"limits"`
	Bearers     []Bearer  `json:"bearers" doc:"who bears the cost, in basis points that sum to 10,000"`

	coupon string // the code of the coupon this rule is, if it is one
}

// Mode says what of a group may apply together.
type Mode string

// The modes of groups.
const (
	ModeStackable Mode = "stackable" // all, one after the other, at most Max of them
	ModeFirst     Mode = "first"     // the first, in the order of the list, that gives something
	ModeBest      Mode = "best"      // the one that gives most
)

// GroupScope says whether a group chooses once for the order or for each line.
type GroupScope string

// The scopes of groups.
const (
	ScopeOrder GroupScope = "order"
	ScopeItem  GroupScope = "item"
)

// Group is a set of promotions and groups that stack in one way. Groups form a tree.
type Group struct {
	Code     string     `json:"code"`
	Name     string     `json:"name"`
	Parent   string     `json:"parent,omitempty"`
	Mode     Mode       `json:"mode" enum:"stackable,first,best"`
	Scope    GroupScope `json:"scope" enum:"order,item" doc:"item: each line chooses for itself"`
	Priority int        `json:"priority,omitempty" doc:"its place among its siblings"`
	Max      int        `json:"max,omitempty" doc:"stackable: at most so many of its children; 0: no limit"`
}

// Caps bound what one order may get in all. Zero means no limit.
type Caps struct {
	Promotions    int   `json:"promotions,omitempty" doc:"promotions and coupons in one order"`
	Coupons       int   `json:"coupons,omitempty" doc:"coupons in one order"`
	MaxDiscountBp int64 `json:"max_discount_bp,omitempty" doc:"discount of all goods together, of their initial amount"`
}

// Set is everything that is live at one time.
type Set struct {
	Rules  []Rule
	Groups []Group
	Caps   Caps
}
