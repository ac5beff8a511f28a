package order

import "github.com/lianke/lianke/internal/fault"

// Faults of orders.
var (
	ErrNotFound = fault.New(fault.NotFound, "order.not_found", "没有订单 {order}", "there is no order {order}").
			WithHint("请核对订单号,并确认它属于您的门店", "check the number, and that it is an order of your stores")
	ErrExists = fault.New(fault.Conflict, "order.exists", "订单号 {order} 已存在", "order {order} exists already").
			WithHint("请换一个订单号,或查看已有订单", "use another number, or look at the order that has it")
	ErrTransition = fault.New(fault.Precondition, "order.transition", "订单 {order} 不能从 {from} 变为 {to}", "order {order} cannot go from {from} to {to}").
			WithHint("请先查看订单当前状态", "look at the order's status first")
	ErrCounters = fault.New(fault.Precondition, "order.counters", "订单 {order} 的数量不允许此操作", "the quantities of order {order} do not allow this").
			WithHint("发货不能超过已分配,签收与退货不能超过已发货", "what is shipped was allocated, what is delivered or returned was shipped")
	ErrUnits = fault.New(fault.Precondition, "order.units", "订单 {order} 的这些商品已退回或取消", "these units of order {order} were returned or cancelled already").
			WithHint("请只选择仍未退的商品", "name only units that are still open")
	ErrTenders = fault.New(fault.Precondition, "order.tenders", "退款超过订单 {order} 的可退金额", "the refund exceeds what is left of order {order}").
			WithHint("请核对此前的退款", "look at the refunds before this one")
	ErrUnbalanced = fault.New(fault.Invalid, "order.unbalanced", "支付方式合计 {tenders} 不等于应付 {due}", "the tenders sum to {tenders}, the order to {due} fen").
			WithHint("请使各支付方式之和等于应付金额", "let the tenders sum to what the order costs")
	ErrInvalid = fault.New(fault.Invalid, "order.invalid", "订单无效", "the order is invalid").
			WithHint("请更正所列字段", "correct the fields named")
)

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "order.invalid", Text: fault.Text{ZH: zh, EN: en}})
}
