package settlement

import "github.com/lianke/lianke/internal/fault"

// The faults of settlement.
var (
	ErrSale = fault.New(fault.Invalid, "settlement.sale", "订单 {order} 无法结算", "order {order} cannot be settled").
		WithHint("请按各字段提示修改合同或订单", "mend the contract or the order as the fields say")

	ErrShareBelowCost = fault.New(fault.Precondition, "settlement.share_below_cost", "订单 {order} 按销售额分成时发货方得 {share},低于其货物成本 {cost}",
		"in order {order} the shipper's share of sales is {share}, less than its goods cost {cost}").
		WithHint("请改用毛利分成,或提高发货方比例", "share the margin instead, or raise the shipper's share")
)
