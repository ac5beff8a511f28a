package settlement

import "github.com/lianke/lianke/internal/fault"

// The faults of settlement.
var (
	ErrSale = fault.New(fault.Invalid, "settlement.sale", "订单 {order} 无法结算", "order {order} cannot be settled").
		WithHint("请按各字段提示修改合同或订单", "mend the contract or the order as the fields say")

	ErrShareBelowCost = fault.New(fault.Precondition, "settlement.share_below_cost", "订单 {order} 按销售额分成时发货方得 {share},低于其货物成本 {cost}",
		"in order {order} the shipper's share of sales is {share}, less than its goods cost {cost}").
		WithHint("请改用毛利分成,或提高发货方比例", "share the margin instead, or raise the shipper's share")

	ErrPeriod = fault.New(fault.Invalid, "settlement.period", "账期 {period} 无效", "period {period} is not a month").
			WithHint("格式为 2026-03", "write it like 2026-03")

	ErrNoStatement = fault.New(fault.NotFound, "settlement.no_statement", "没有此对账单", "there is no such statement").
			WithHint("请核对编号与权限", "check the id and your scope")

	ErrNoSettlement = fault.New(fault.NotFound, "settlement.no_settlement", "订单 {order} 尚无结算", "order {order} is not settled").
			WithHint("订单支付后才会结算", "an order is settled when it is paid")

	ErrMove = fault.New(fault.Precondition, "settlement.move", "对账单不能从 {from} 变为 {to}", "a statement cannot go from {from} to {to}").
		WithHint("顺序为 draft → sent → confirmed → paid;有异议时 sent → disputed → draft", "draft → sent → confirmed → paid; with a dispute sent → disputed → draft")

	ErrNote = fault.New(fault.Invalid, "settlement.note", "异议须说明原因", "a dispute needs a reason").
		WithHint("请填写 note", "fill in note")

	ErrStale = fault.New(fault.Conflict, "settlement.stale", "对账单已被他人修改", "the statement was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")
)
