package product

import "github.com/lianke/lianke/internal/fault"

// The faults of the catalogue.
var (
	ErrNotFound = fault.New(fault.NotFound, "product.not_found", "没有商品 {sku}", "there is no product {sku}").
			WithHint("请检查编码;GET /api/v1/products?q= 可按名称或条码搜索", "check the code; GET /api/v1/products?q= finds products by name or barcode")

	ErrNoSPU = fault.New(fault.NotFound, "product.no_spu", "没有款式 {spu}", "there is no product (SPU) {spu}").
			WithHint("请先建立款式", "create the SPU first")

	ErrInvalid = fault.New(fault.Invalid, "product.invalid", "商品资料有误", "the product is wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrExists = fault.New(fault.Conflict, "product.exists", "{code} 已存在", "{code} exists already").
			WithHint("修改已有资料须带上读取时的版本号", "to change it, give the version that was read")

	ErrStale = fault.New(fault.Conflict, "product.stale", "{code} 已被他人修改", "{code} was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")

	ErrTransition = fault.New(fault.Precondition, "product.transition", "商品 {sku} 不能从 {from} 变为 {to}", "product {sku} cannot go from {from} to {to}").
			WithHint("可变为:{allowed}", "it can become: {allowed}")

	ErrCell = fault.New(fault.Conflict, "product.cell", "规格组合 {cell} 已由商品 {sku} 占用", "the combination {cell} is SKU {sku} already").
		WithHint("请改用其他颜色或尺码", "use another colour or size")

	ErrBarcode = fault.New(fault.Conflict, "product.barcode", "条码 {barcode} 已属于商品 {sku}", "barcode {barcode} belongs to SKU {sku}").
			WithHint("请更正条码", "correct the barcode")

	ErrCycle = fault.New(fault.Invalid, "product.cycle", "分类 {code} 不能放在自己之下", "category {code} cannot lie below itself").
			WithHint("请选择其他上级分类", "choose another parent")
)
