package checkout

import "github.com/lianke/lianke/internal/fault"

// Faults of checkout.
var (
	ErrInvalid = fault.New(fault.Invalid, "checkout.invalid", "下单请求有误", "the request is malformed").
			WithHint("请更正所列字段", "correct the fields named")
	ErrNotSold = fault.New(fault.Precondition, "checkout.not_sold", "商品 {sku} 不可售", "SKU {sku} is not for sale").
			WithHint("请从购物车移除该商品", "take it out of the cart")
	ErrNoTerms = fault.New(fault.Precondition, "checkout.no_terms", "渠道 {touchpoint} 没有销售配置", "nobody sells at {touchpoint}").
			WithHint("请在 PUT /api/v1/selling-terms 配置卖方、收款方与发货地点", "say with PUT /api/v1/selling-terms who sells, collects and delivers there")
	ErrTender = fault.New(fault.Precondition, "checkout.tender", "渠道 {touchpoint} 不能以 {tender} 收款", "{touchpoint} does not take {tender}").
			WithHint("请改用微信支付,或由财务在 PUT /api/v1/selling-terms 的 tenders 中允许", "pay with wechat, or let finance list it under tenders with PUT /api/v1/selling-terms")
	ErrQuote = fault.New(fault.Precondition, "checkout.quote", "报价无效或已过期", "the quote is not valid or has run out").
			WithHint("请重新获取报价", "ask for a quote again")
	ErrChanged = fault.New(fault.Conflict, "checkout.changed", "价格或优惠已变化,应付 {due} 分", "prices or offers have changed; it costs {due} fen now").
			WithHint("请重新获取报价并让会员确认", "ask for a quote again and let the member confirm it")
	ErrKeyReused = fault.New(fault.Conflict, "checkout.key_reused", "请求号 {request} 已用于其他内容", "request {request} was used with other content").
			WithHint("重试时内容须一致,新的订单请换新的请求号", "repeat a request unchanged; give a new order a new request id")
	ErrStockLost = fault.New(fault.Precondition, "checkout.stock_lost", "订单 {order} 的预占库存已失效", "order {order} has lost its stock").
			WithHint("货款将自动退回", "the money goes back by itself")
	ErrStages = fault.New(fault.Precondition, "checkout.stage", "订单 {order} 状态为 {status},不能取消", "order {order} is {status} and cannot be cancelled").
			WithHint("已发货的订单请走售后", "return what has been sent")
	ErrGuest = fault.New(fault.Invalid, "checkout.guest", "散客不能使用积分或储值卡", "a guest has no points and no card").
			WithHint("请先识别会员", "let the member sign in first")
)

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "checkout.invalid", Text: fault.Text{ZH: zh, EN: en}})
}
