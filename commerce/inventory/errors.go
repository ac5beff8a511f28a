package inventory

import (
	"fmt"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/validate"
)

// The faults of stock.
var (
	ErrInvalid = fault.New(fault.Invalid, "stock.invalid", "库存请求有误", "the stock request is malformed").
			WithHint("请更正所列字段", "correct the fields that are named")

	ErrShort = fault.New(fault.Precondition, "stock.short", "库存不足", "there is not enough stock").
			WithHint("请减少数量,或选择其他地点", "take fewer, or choose another location")

	ErrKeyReused = fault.New(fault.Conflict, "stock.key_reused", "{ref} 第 {line} 行已预占 {quantity} 件,数量不同",
		"line {line} of {ref} has reserved {quantity} already, another quantity").
		WithHint("重复请求须与首次一致;改数量请先释放", "repeat a request unchanged, or release the line before taking another quantity")

	ErrExpired = fault.New(fault.Precondition, "stock.expired", "{ref} 的预占已过期", "the reservation for {ref} has expired").
			WithHint("请重新预占;若已无库存则退款", "reserve again; if nothing is left, refund")

	ErrNoReservation = fault.New(fault.NotFound, "stock.no_reservation", "{ref} 没有可操作的预占", "nothing is reserved for {ref}").
				WithHint("可能已发货、释放或过期", "it may have been shipped, released or expired")

	ErrPromised = fault.New(fault.Precondition, "stock.promised", "{sku} 在 {location} 已被预占 {reserved} 件,不能减到 {on_hand} 件",
		"{reserved} of {sku} at {location} are reserved, so stock cannot go down to {on_hand}").
		WithHint("请先将这些订单改由他处发货或释放预占", "let other locations ship these orders, or release their reservations, first")

	ErrNoTransfer = fault.New(fault.NotFound, "stock.no_transfer", "没有调拨单 {transfer}", "there is no transfer {transfer}").
			WithHint("请核对编号与您的门店范围", "check the id, and that it concerns one of your locations")

	ErrTransferState = fault.New(fault.Precondition, "stock.transfer_state", "调拨单状态为 {state},此操作需要 {wanted}",
		"the transfer is {state}; this needs {wanted}").
		WithHint("请刷新后查看当前状态", "reload it to see where it is")

	ErrNoLocation = fault.New(fault.NotFound, "stock.no_location", "没有地点 {location}", "there is no location {location}").
			WithHint("请核对门店或仓库编码与您的范围", "check the code of the store or warehouse, and that it is one of yours")

	ErrNoCount = fault.New(fault.NotFound, "stock.no_count", "没有盘点单 {count}", "there is no count {count}").
			WithHint("请核对编号与您的门店范围", "check the id, and that it concerns one of your locations")

	ErrCountState = fault.New(fault.Precondition, "stock.count_state", "盘点单状态为 {state},不能执行此操作", "the count is {state}").
			WithHint("请刷新后查看当前状态", "reload it to see where it is")

	ErrBusy = fault.New(fault.Unavailable, "stock.busy", "抢购人数过多", "too many buyers at once").
		WithHint("请稍后重试", "try again in a moment")
)

// Shortage is one SKU that a basket wants more of than there is. Wanted sums the lines of the basket for it.
type Shortage struct {
	SKU       string `json:"sku"`
	Location  string `json:"location"`
	Wanted    int64  `json:"wanted"`
	Available int64  `json:"available"`
	// Quota says that the touchpoint's share of the pool, named by Location, is what is short.
	Quota bool `json:"quota,omitempty"`
}

// Shortages is the cause of ErrShort, for callers that look for stock elsewhere.
type Shortages []Shortage

// Error implements error.
func (s Shortages) Error() string { return fmt.Sprintf("%d SKUs are short", len(s)) }

// short is ErrShort with a field per SKU.
func short(all Shortages) error {
	fields := make([]fault.Field, len(all))
	for i, s := range all {
		zh, en := "件", ""
		if s.Quota {
			zh, en = "件(渠道配额)", " under the touchpoint's quota"
		}
		fields[i] = validate.Field(s.SKU, "stock.short",
			fmt.Sprintf("%s 在 %s 需要 %d 件,可用 %d %s", s.SKU, s.Location, s.Wanted, s.Available, zh),
			fmt.Sprintf("%d of %s wanted at %s, %d available%s", s.Wanted, s.SKU, s.Location, s.Available, en), "", "")
	}
	return ErrShort.WithFields(fields...).Because(all)
}

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(validate.Field(path, "stock.value", zh, en, "", ""))
}
