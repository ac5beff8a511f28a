package promotion

import "github.com/lianke/lianke/internal/fault"

// The faults of promotions.
var (
	ErrInvalid = fault.New(fault.Invalid, "promotion.invalid", "促销内容有误", "the promotion is malformed").
			WithHint("请按各字段的提示更正", "correct the fields named")

	ErrCart = fault.New(fault.Invalid, "promotion.cart", "购物车内容有误", "the cart is malformed").
		WithHint("请按各字段的提示更正", "correct the fields named")

	ErrNotFound = fault.New(fault.NotFound, "promotion.not_found", "没有促销 {code}", "there is no promotion {code}").
			WithHint("请核对促销代码", "check the code; GET /api/v1/promotions lists them")

	ErrExists = fault.New(fault.Conflict, "promotion.exists", "促销 {code} 已存在", "promotion {code} exists already").
			WithHint("请换一个代码,或修改已有促销", "choose another code, or change the one there is")

	ErrStale = fault.New(fault.Conflict, "promotion.stale", "促销已被他人修改", "the promotion was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")

	ErrState = fault.New(fault.Precondition, "promotion.state", "促销 {code} 当前为 {from},不能变为 {to}", "promotion {code} is {from} and cannot become {to}").
			WithHint("状态顺序:草稿 → 已审核 → 已发布 → 已停止", "the order is draft → approved → published → stopped")

	ErrNotLive = fault.New(fault.Conflict, "promotion.not_live", "促销 {code} 第 {version} 版已不再有效", "version {version} of promotion {code} is no longer live").
			WithHint("请重新报价", "quote the cart again")

	ErrExhausted = fault.New(fault.Conflict, "promotion.exhausted", "促销 {code} 的名额或预算已用完", "the limits or the budget of promotion {code} are used up").
			WithHint("请重新报价", "quote the cart again")

	ErrCoupon = fault.New(fault.Precondition, "promotion.coupon", "券 {code} 在此单用不上({why})", "coupon {code} is of no use here ({why})").
			WithHint("请移除该券,或调整商品", "take the coupon out, or change the goods")

	ErrClaimed = fault.New(fault.Conflict, "promotion.claimed", "订单 {order} 已占用过其他促销额度", "order {order} has claimed other promotions before").
			WithHint("请先释放该订单的占用", "release what the order holds first")
)
