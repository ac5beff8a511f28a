package payment

import "github.com/lianke/lianke/internal/fault"

// Faults of payment.
var (
	ErrNotFound = fault.New(fault.NotFound, "payment.not_found", "没有此支付单", "there is no such payment").
			WithHint("请核对订单号", "check the order number")
	ErrState = fault.New(fault.Precondition, "payment.state", "支付单当前状态为 {state},不能支付", "the payment is {state} and cannot be paid").
			WithHint("请查看订单状态,必要时重新下单", "look at the order, and place another one if it has ended")
	ErrNoMerchant = fault.New(fault.Unavailable, "payment.no_merchant", "没有配置商户号 {account}", "merchant account {account} is not configured").
			WithHint("请在 LIANKE_WECHATPAY_FILE 中配置该商户", "configure it in the file that LIANKE_WECHATPAY_FILE names")
	ErrProvider = fault.New(fault.Unavailable, "payment.provider", "支付渠道返回 {code}", "the payment provider answered {code}").
			WithHint("请稍后重试;持续出现时核对商户配置", "try again shortly; if it goes on, check the merchant's configuration")
	ErrNotice = fault.New(fault.Unauthenticated, "payment.notice", "支付通知未通过验证:{why}", "the notice is not authentic: {why}").
			WithHint("请核对平台公钥、APIv3 密钥与服务器时间", "check the platform's public key, the APIv3 key and the clock of this server")
	ErrExceeds = fault.New(fault.Precondition, "payment.exceeds", "退款超过已收金额", "the refund exceeds what was received").
			WithHint("请核对此前的退款", "look at the refunds before this one")
	ErrKeyReused = fault.New(fault.Conflict, "payment.key_reused", "幂等键已用于其他退款", "the key was used for another refund").
			WithHint("新的退款请换新键", "use a fresh key for another refund")
	ErrNoCard = fault.New(fault.NotFound, "card.unknown", "没有储值卡 {card}", "there is no card {card}").
			WithHint("请核对卡号", "check the number of the card")
	ErrCardState = fault.New(fault.Precondition, "card.state", "储值卡 {card} 状态为 {state}", "card {card} is {state}").
			WithHint("请更换支付方式", "pay in another way")
	ErrCardShort = fault.New(fault.Precondition, "card.short", "储值卡 {card} 余额 {balance} 分,不足支付", "card {card} has {balance} fen, which is not enough").
			WithHint("请减少储值卡支付金额或先充值", "take less from the card, or load it first")
	ErrCardExists = fault.New(fault.Conflict, "card.exists", "储值卡 {card} 已存在", "card {card} exists already").
			WithHint("请换一个卡号", "choose another number")
	ErrInvalid = fault.New(fault.Invalid, "payment.invalid", "支付请求有误", "the payment request is malformed").
			WithHint("请更正所列字段", "correct the fields named")
)

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "payment.invalid", Text: fault.Text{ZH: zh, EN: en}})
}
