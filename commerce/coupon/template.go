package coupon

import (
	"regexp"
	"slices"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// Kind is what a coupon gives.
type Kind string

// The kinds of coupons.
const (
	KindAmountOff Kind = "amount_off" // amount_fen off
	KindPercent   Kind = "percent"    // percent_bp of the price off, at most max_discount_fen
	KindGift      Kind = "gift"       // gift_sku for nothing; amount_fen is what it costs
	KindFreight   Kind = "freight"    // free delivery; amount_fen is what it costs at most
)

// Status says whether a template issues.
type Status string

// The states of a template.
const (
	StatusActive   Status = "active"
	StatusPaused   Status = "paused"   // issues nothing for now; what was issued stays good
	StatusArchived Status = "archived" // issues nothing any more
)

// Bearer carries a share of the cost: HQ, a store, a mall, a platform, a supplier.
type Bearer struct {
	Bearer string `json:"bearer"`
	Bp     int64  `json:"bp"`
}

// Scope is where a coupon is good. Empty lists allow everything. SKUs and categories are for the promotion engine.
type Scope struct {
	Touchpoints []member.Touchpoint `json:"touchpoints,omitempty"`
	Stores      []string            `json:"stores,omitempty"`
	SKUs        []string            `json:"skus,omitempty"`
	Categories  []string            `json:"categories,omitempty"`
}

// Template is a kind of coupon.
type Template struct {
	Code           string     `json:"code"`
	Name           string     `json:"name"`
	Kind           Kind       `json:"kind" enum:"amount_off,percent,gift,freight"`
	AmountFen      money.Fen  `json:"amount_fen"`
	PercentBp      int64      `json:"percent_bp"`
	MaxDiscountFen money.Fen  `json:"max_discount_fen"`
	GiftSKU        string     `json:"gift_sku"`
	ThresholdFen   money.Fen  `json:"threshold_fen"`
	ValidFrom      *time.Time `json:"valid_from,omitempty"`
	ValidTo        *time.Time `json:"valid_to,omitempty" doc:"coupons are good and issued before this instant"`
	ValidDays      int        `json:"valid_days" doc:"whole days after the day of issue; 0: until valid_to"`
	MemberLimit    int        `json:"member_limit" doc:"coupons per member; 0: no limit"`
	Quantity       *int64     `json:"quantity,omitempty" doc:"coupons in all"`
	BudgetFen      *money.Fen `json:"budget_fen,omitempty" doc:"face value in all"`
	StackGroup     string     `json:"stack_group" doc:"coupons of one group exclude each other"`
	Scope          Scope      `json:"scope"`
	Bearers        []Bearer   `json:"bearers" doc:"who bears the cost, in basis points that sum to 10,000"`
	Status         Status     `json:"status" enum:"active,paused,archived"`
	Version        int64      `json:"version"`
}

const maxFen = money.Fen(1_000_000_000_000)

var (
	codePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	bearerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
)

// Validate checks a template before it is stored.
func (t Template) Validate() error {
	switch {
	case !codePattern.MatchString(t.Code):
		return invalid("code", "代码须为小写字母、数字、.、- 或 _,最长 63 位", "a code has 1 to 63 lower-case letters, digits, dots, - or _")
	case t.Name == "" || len(t.Name) > 200:
		return invalid("name", "名称须为 1 到 200 字节", "a name has 1 to 200 bytes")
	case t.Status != StatusActive && t.Status != StatusPaused && t.Status != StatusArchived:
		return invalid("status", "状态须为 active、paused 或 archived", "status is active, paused or archived")
	case t.AmountFen < 0 || t.AmountFen > maxFen || t.MaxDiscountFen < 0 || t.MaxDiscountFen > maxFen || t.ThresholdFen < 0 || t.ThresholdFen > maxFen:
		return invalid("amount_fen", "金额须在 0 到 10^12 分之间", "amounts are 0 to 10^12 fen")
	case t.ValidDays < 0 || t.ValidDays > 3660:
		return invalid("valid_days", "有效天数须在 0 到 3660 之间", "valid_days is 0 to 3660")
	case t.ValidDays == 0 && t.ValidTo == nil:
		return invalid("valid_to", "须指定有效天数或截止时间", "give valid_days or valid_to")
	case t.ValidTo != nil && t.ValidFrom != nil && !t.ValidTo.After(*t.ValidFrom):
		return invalid("valid_to", "截止时间须晚于开始时间", "valid_to lies after valid_from")
	case t.MemberLimit < 0 || (t.Quantity != nil && *t.Quantity < 0) || (t.BudgetFen != nil && (*t.BudgetFen < 0 || *t.BudgetFen > 1000*maxFen)):
		return invalid("quantity", "限量不能为负", "limits are not negative")
	}
	switch t.Kind {
	case KindAmountOff:
		if t.AmountFen == 0 {
			return invalid("amount_fen", "满减券须有面额", "an amount_off coupon has an amount")
		}
	case KindPercent:
		if t.PercentBp < 1 || t.PercentBp > 10000 {
			return invalid("percent_bp", "折扣须为 1 到 10000 基点", "percent_bp is 1 to 10000")
		}
		if t.BudgetFen != nil && t.MaxDiscountFen == 0 {
			return invalid("max_discount_fen", "设预算的折扣券须有最高优惠", "a percent coupon with a budget has a max_discount_fen")
		}
	case KindGift:
		if t.GiftSKU == "" {
			return invalid("gift_sku", "赠品券须指定商品", "a gift coupon has a gift_sku")
		}
	case KindFreight:
	default:
		return invalid("kind", "类型须为 amount_off、percent、gift 或 freight", "kind is amount_off, percent, gift or freight")
	}
	var sum int64
	seen := map[string]bool{}
	for _, b := range t.Bearers {
		if !bearerPattern.MatchString(b.Bearer) || seen[b.Bearer] || b.Bp < 1 {
			return invalid("bearers", "承担方代码有误、重复或份额不为正", "a bearer's code is malformed or occurs twice, or its share is not positive")
		}
		seen[b.Bearer] = true
		sum += b.Bp
	}
	if sum != 10000 {
		return invalid("bearers", "承担比例之和须为 10000 基点", "the bearers' shares sum to 10,000 basis points")
	}
	return nil
}

// Face is what one coupon may cost at most: what is promised when it is issued. It is 0 for a percentage without maximum.
func (t Template) Face() money.Fen {
	if t.Kind == KindPercent {
		return t.MaxDiscountFen
	}
	return t.AmountFen
}

// Discount is what the coupon takes off an order of that amount, never more than the amount for price discounts.
func (t Template) Discount(amount money.Fen) money.Fen {
	switch t.Kind {
	case KindAmountOff:
		return max(0, min(t.AmountFen, amount))
	case KindPercent:
		d := money.Bp(amount, t.PercentBp)
		if t.MaxDiscountFen > 0 {
			d = min(d, t.MaxDiscountFen)
		}
		return max(0, min(d, amount))
	case KindGift, KindFreight:
		return t.AmountFen
	default:
		return 0
	}
}

// Validity returns when a coupon issued at the instant is good: [from, to).
func (t Template) Validity(issued time.Time) (from, to time.Time) {
	from = issued
	if t.ValidFrom != nil && t.ValidFrom.After(from) {
		from = *t.ValidFrom
	}
	if t.ValidDays > 0 {
		d := clock.DayOf(from)
		to = time.Date(d.Year, d.Month, d.Day+t.ValidDays+1, 0, 0, 0, 0, clock.Shanghai).UTC()
	}
	if t.ValidTo != nil && (to.IsZero() || t.ValidTo.Before(to)) {
		to = *t.ValidTo
	}
	return from, to
}

// shares splits an amount over the bearers.
func (t Template) shares(amount money.Fen) []money.Fen {
	weights := make([]int64, len(t.Bearers))
	for i, b := range t.Bearers {
		weights[i] = b.Bp
	}
	parts, err := money.Split(amount, weights)
	if err != nil {
		panic("coupon: template " + t.Code + " has no bearers") // Validate and the import see to it
	}
	return parts
}

// sameMoney reports whether what decides money is equal.
func (t Template) sameMoney(o Template) bool {
	return t.Kind == o.Kind && t.AmountFen == o.AmountFen && t.PercentBp == o.PercentBp && t.MaxDiscountFen == o.MaxDiscountFen &&
		t.GiftSKU == o.GiftSKU && slices.Equal(t.Bearers, o.Bearers)
}

func (s Scope) allows(touchpoint member.Touchpoint, store string) bool {
	return (len(s.Touchpoints) == 0 || slices.Contains(s.Touchpoints, touchpoint)) &&
		(len(s.Stores) == 0 || slices.Contains(s.Stores, store))
}
