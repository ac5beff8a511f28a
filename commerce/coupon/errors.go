package coupon

import "github.com/lianke/lianke/internal/fault"

// The faults of coupons.
var (
	ErrInvalid = fault.New(fault.Invalid, "coupon.invalid", "优惠券请求有误", "the coupon request is malformed").
			WithHint("请按字段提示修改", "correct the fields named")

	ErrNoTemplate = fault.New(fault.NotFound, "coupon.no_template", "没有券模板 {template}", "there is no coupon template {template}").
			WithHint("请先创建券模板", "create the template first")

	ErrTemplateExists = fault.New(fault.Conflict, "coupon.template_exists", "券模板 {template} 已存在", "coupon template {template} exists already").
				WithHint("请换一个编码,或修改已有模板", "choose another code, or change the template that has it")

	ErrStale = fault.New(fault.Conflict, "coupon.stale", "券模板已被他人修改", "the template was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")

	ErrFixed = fault.New(fault.Conflict, "coupon.fixed", "券模板的类型、金额与承担方创建后不可修改", "kind, amounts and bearers of a template cannot change").
			WithHint("请新建券模板", "create another template")

	ErrBelowIssued = fault.New(fault.Precondition, "coupon.below_issued", "总量或预算低于已发放", "quantity or budget is below what was issued already").
			WithHint("请填写不低于已发放数的总量与预算", "set a quantity and a budget that are not below it")

	ErrNoCoupon = fault.New(fault.NotFound, "coupon.unknown", "没有此券码", "there is no such coupon").
			WithHint("请核对券码", "check the code")

	ErrState = fault.New(fault.Precondition, "coupon.state", "券 {code} 当前状态为 {state},不能操作", "coupon {code} is {state}").
			WithHint("GET /api/v1/coupons/{code} 查看券的经过", "GET /api/v1/coupons/{code} shows what became of it")

	ErrExpired = fault.New(fault.Precondition, "coupon.expired", "券 {code} 已于 {at} 过期", "coupon {code} expired at {at}").
			WithHint("请换一张有效期内的优惠券", "use a coupon that is still valid")

	ErrNotYet = fault.New(fault.Precondition, "coupon.not_yet", "券 {code} 自 {at} 起可用", "coupon {code} can be used from {at}").
			WithHint("请在生效之后使用", "use it once it is valid")

	ErrThreshold = fault.New(fault.Precondition, "coupon.threshold", "未满使用门槛 {threshold}", "the order does not reach {threshold}").
			WithHint("请增加商品金额后再用", "add goods until the order reaches it")

	ErrScope = fault.New(fault.Precondition, "coupon.scope", "券 {code} 在此渠道或门店不可用", "coupon {code} is not valid at this touchpoint or store").
			WithHint("请换一张适用于此渠道与门店的券", "use a coupon that is good for this touchpoint and store")

	ErrNotTheirs = fault.New(fault.Precondition, "coupon.not_theirs", "券 {code} 不属于该会员", "coupon {code} belongs to another member").
			WithHint("请由持券会员本人使用", "it can be used by the member who holds it")

	ErrKeyReused = fault.New(fault.Conflict, "coupon.key_reused", "幂等键 {key} 已用于其他内容", "key {key} was used with another input").
			WithHint("同一请求重试时内容须一致,新请求请换新键", "repeat a request unchanged, or use a fresh key for a new one")
)

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "coupon." + path, Text: fault.Text{ZH: zh, EN: en}})
}
