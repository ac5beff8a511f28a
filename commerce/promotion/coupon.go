package promotion

import (
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/money"
)

// couponPriority puts coupons behind the promotions of their level: a percentage counts on what these left.
const couponPriority = 1000

// CouponRule is a coupon template as a rule. Who may use the coupon and until when is coupon's business; where, on what
// and from which amount on is decided here. Coupons of one stack group exclude each other.
func CouponRule(t coupon.Template) Rule {
	r := Rule{
		Promotion: t.Code, Version: int(t.Version), Name: t.Name, Priority: couponPriority,
		When:  Conditions{Touchpoints: t.Scope.Touchpoints, Stores: t.Scope.Stores},
		Items: Scope{SKUs: t.Scope.SKUs, Categories: t.Scope.Categories},
	}
	if t.StackGroup != "" {
		r.Exclusive = "coupon:" + t.StackGroup
	}
	for _, b := range t.Bearers {
		r.Bearers = append(r.Bearers, Bearer(b))
	}
	switch t.Kind {
	case coupon.KindAmountOff:
		r.Kind, r.Benefit.Tiers = KindThreshold, []Tier{{MinAmount: t.ThresholdFen, Amount: t.AmountFen}}
	case coupon.KindPercent:
		r.Kind, r.Benefit.Tiers = KindThreshold, []Tier{{MinAmount: t.ThresholdFen, PercentBp: t.PercentBp}}
		r.MaxDiscount = t.MaxDiscountFen
	case coupon.KindGift:
		r.Kind, r.MinAmount = KindGift, t.ThresholdFen
		r.Benefit.Gifts = []GiftItem{{SKU: t.GiftSKU, Quantity: 1, Worth: t.AmountFen}}
	case coupon.KindFreight:
		r.Kind, r.MinAmount = KindFreight, t.ThresholdFen
		if r.Benefit.Amount = t.AmountFen; t.AmountFen == 0 {
			r.Benefit.Free = true
		}
	}
	return r
}

// Shares splits what a discount costs over its bearers, by largest remainder in their order.
func Shares(amount money.Fen, bearers []Bearer) []money.Fen {
	weights := make([]int64, len(bearers))
	for i, b := range bearers {
		weights[i] = b.Bp
	}
	parts, err := money.Split(amount, weights)
	if err != nil {
		return make([]money.Fen, len(bearers)) // no bearers: Validate refuses such a rule
	}
	return parts
}
