package promotion

import (
	"strconv"
	"strings"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Code says in one word why a promotion applied or did not.
type Code string

// The reasons.
const (
	CodeApplied       Code = "applied"
	CodeNotStarted    Code = "not_started"
	CodeEnded         Code = "ended"
	CodeWeekday       Code = "weekday"
	CodeHours         Code = "hours"
	CodeTouchpoint    Code = "touchpoint"
	CodeStore         Code = "store"
	CodeMember        Code = "member"
	CodeFirstOrder    Code = "first_order"
	CodeTier          Code = "tier"
	CodeSegment       Code = "segment"
	CodeTag           Code = "tag"
	CodeExhausted     Code = "exhausted"
	CodeNoGoods       Code = "no_goods"
	CodeMinQuantity   Code = "min_quantity"
	CodeMinAmount     Code = "min_amount"
	CodeUnits         Code = "units"
	CodeNoEffect      Code = "no_effect"
	CodeNoMemberPrice Code = "no_member_price"
	CodeAddOn         Code = "add_on"
	CodeGiftStock     Code = "gift_stock"
	CodeNoFreight     Code = "no_freight"
	CodeGroup         Code = "group"
	CodeExclusive     Code = "exclusive"
	CodeCapPromotions Code = "cap_promotions"
	CodeCapCoupons    Code = "cap_coupons"
	CodeCapDiscount   Code = "cap_discount"
	CodeNotBest       Code = "not_best"
	CodeBetter        Code = "better"
)

// money reports whether Need and Have of the reason are amounts.
func (c Code) money() bool { return c == CodeMinAmount || c == CodeApplied }

var sayings = map[Code]fault.Text{
	CodeApplied:       {ZH: "已优惠 {have}", EN: "takes {have} off"},
	CodeNotStarted:    {ZH: "活动尚未开始", EN: "has not begun"},
	CodeEnded:         {ZH: "活动已结束", EN: "is over"},
	CodeWeekday:       {ZH: "今天不在活动日", EN: "is not on today"},
	CodeHours:         {ZH: "不在活动时段", EN: "is not on at this hour"},
	CodeTouchpoint:    {ZH: "此渠道不参加", EN: "is not on at this touchpoint"},
	CodeStore:         {ZH: "此门店不参加", EN: "is not on in this store"},
	CodeMember:        {ZH: "仅限会员", EN: "is for members"},
	CodeFirstOrder:    {ZH: "仅限首单", EN: "is for a first order"},
	CodeTier:          {ZH: "会员等级不符", EN: "is for other tiers"},
	CodeSegment:       {ZH: "不在目标人群", EN: "is for another segment"},
	CodeTag:           {ZH: "没有所需标签", EN: "is for members with another tag"},
	CodeExhausted:     {ZH: "名额或预算已用完", EN: "is used up"},
	CodeNoGoods:       {ZH: "没有参加活动的商品", EN: "concerns none of the goods"},
	CodeMinQuantity:   {ZH: "未满 {need} 件,现有 {have} 件", EN: "needs {need} units, there are {have}"},
	CodeMinAmount:     {ZH: "未满 {need},现为 {have}", EN: "needs {need}, it is {have}"},
	CodeUnits:         {ZH: "需 {need} 件成组,现有 {have} 件", EN: "works on {need} units together, there are {have}"},
	CodeNoEffect:      {ZH: "已是更低价格或已到底价", EN: "would not lower the price, or it is at its floor"},
	CodeNoMemberPrice: {ZH: "商品没有会员价", EN: "the goods have no member price"},
	CodeAddOn:         {ZH: "可加价换购,购物车中没有换购商品", EN: "goods may be added at a small price; there are none in the cart"},
	CodeGiftStock:     {ZH: "赠品已赠完", EN: "the gifts are out of stock"},
	CodeNoFreight:     {ZH: "没有运费", EN: "there is no freight"},
	CodeGroup:         {ZH: "与 {by} 不可同享", EN: "does not combine with {by}"},
	CodeExclusive:     {ZH: "与 {by} 互斥", EN: "excludes {by}"},
	CodeCapPromotions: {ZH: "已达每单优惠个数上限", EN: "the order has as many promotions as it may"},
	CodeCapCoupons:    {ZH: "已达每单用券张数上限", EN: "the order has as many coupons as it may"},
	CodeCapDiscount:   {ZH: "已达整单优惠上限", EN: "the order has as much discount as it may"},
	CodeBetter:        {ZH: "这些商品已享更优惠的活动", EN: "has lost its goods to better ones"},
	CodeNotBest:       {ZH: "不用它合计更优惠", EN: "without it the order gets more off"},
}

func (r *rule) why(code Code, need, have int64, by string) Why {
	text := sayings[code]
	if strings.Contains(text.EN, "{") {
		number := func(v int64) string {
			if code.money() {
				return money.Fen(v).String()
			}
			return strconv.FormatInt(v, 10)
		}
		fill := strings.NewReplacer("{need}", number(need), "{have}", number(have), "{by}", by)
		text = fault.Text{ZH: fill.Replace(text.ZH), EN: fill.Replace(text.EN)}
	}
	w := Why{Promotion: r.Promotion, Version: r.Version, Coupon: r.coupon, Applied: code == CodeApplied, Code: code, Text: text, Need: need, Have: have, By: by}
	if code == CodeApplied && r.Kind == KindGift {
		w.Text = fault.Text{ZH: "已赠 " + strconv.FormatInt(have, 10) + " 件", EN: "gives " + strconv.FormatInt(have, 10)}
	}
	return w
}

// Refuse returns the fault that a coupon takes nothing off, with the reason.
func (w Why) Refuse() error {
	f := ErrCoupon.With("code", w.Coupon)
	f.Text.ZH, f.Text.EN = strings.ReplaceAll(f.Text.ZH, "{why}", w.Text.ZH), strings.ReplaceAll(f.Text.EN, "{why}", w.Text.EN)
	return f
}
