package sourcing

import "github.com/lianke/lianke/internal/fault"

// The faults of sourcing.
var (
	ErrRequest = fault.New(fault.Invalid, "sourcing.request", "寻源请求有误", "the request is wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrRules = fault.New(fault.Invalid, "sourcing.rules", "寻源规则有误", "the sourcing rules are wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrFreight = fault.New(fault.Invalid, "sourcing.freight", "运费表有误", "the freight table is wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrLocation = fault.New(fault.Invalid, "sourcing.location", "发货地点设置有误", "the settings of the location are wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrNoRules = fault.New(fault.NotFound, "sourcing.no_rules", "没有寻源规则 {rules}", "there are no sourcing rules {rules}").
			WithHint("请核对规则编号,或先保存该规则", "check the code, or put the rules first")

	ErrNoLocation = fault.New(fault.NotFound, "sourcing.no_location", "没有发货地点 {location}", "there is no location {location}").
			WithHint("请先导入该门店或仓库", "import the store or warehouse first")

	ErrStale = fault.New(fault.Conflict, "sourcing.stale", "已被他人修改", "somebody else has changed it").
			WithHint("请刷新后重试", "reload it and try again")

	ErrNoCapacity = fault.New(fault.Precondition, "sourcing.no_capacity", "{location} 在 {day} 的产能已满", "{location} has no capacity left on {day}").
			WithHint("请换一个地点、换一天,或提高该地点的日产能", "take another location or day, or raise the location's capacity")

	ErrKeyReused = fault.New(fault.Conflict, "sourcing.key_reused", "编号 {ref} 已用于其他产能占用", "{ref} holds capacity elsewhere already").
			WithHint("请先释放,或使用新的编号", "release it first, or use another reference")

	ErrNoToken = fault.New(fault.Precondition, "sourcing.no_token", "{ref} 的产能占用已释放或过期", "{ref} holds no capacity any more").
			WithHint("请重新占用产能", "hold capacity again")
)
