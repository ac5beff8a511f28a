package tracking

import "github.com/lianke/lianke/internal/fault"

// Faults of the tracking API.
var (
	ErrCall = fault.New(fault.Invalid, "tracking.call", "上报数据无效,未保存任何内容", "the call is invalid; nothing of it was stored").
		WithHint("请按字段提示修改后整体重发", "correct the fields named and send the call again")
	ErrJSON = fault.New(fault.Invalid, "tracking.json", "请求体不是 JSON 对象", "the body is not a JSON object").
		WithHint("请按 Segment HTTP 规范发送 JSON", "send JSON as the Segment HTTP spec describes")
	ErrTooLarge = fault.New(fault.TooLarge, "tracking.too_large", "请求体过大", "the body is too large").
			WithHint("单次调用不超过 32 KB,批量不超过 500 KB", "a call may have 32 KB, a batch 500 KB")
	ErrBusy = fault.New(fault.Unavailable, "tracking.busy", "上报过多,请稍后重试", "too much is waiting, try again shortly").
		WithHint("请以相同的 messageId 重发,不会重复记录", "send it again with the same messageIds: nothing is counted twice")
)
