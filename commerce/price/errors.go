package price

import "github.com/lianke/lianke/internal/fault"

// The faults of prices.
var (
	ErrInvalid = fault.New(fault.Invalid, "price.invalid", "价格内容有误", "the price is malformed").
			WithHint("请按各字段的提示更正", "correct the fields named")

	ErrUnknownSKU = fault.New(fault.NotFound, "price.unknown_sku", "没有商品 {sku}", "there is no SKU {sku}").
			WithHint("请先导入商品,或核对编码", "import the product first, or check the code")

	ErrNotScheduled = fault.New(fault.NotFound, "price.not_scheduled", "没有尚未生效的这一价格变更", "there is no such change of price still to come").
			WithHint("只能取消尚未生效的变更;请核对商品、类型、级别与生效时间", "only changes that are not in effect yet can be cancelled; check SKU, kind, level and time")
)
