package channels

import "github.com/lianke/lianke/internal/fault"

// The faults of this package.
var (
	ErrAccountNotFound = fault.New(fault.NotFound, "channel.account_not_found",
		"找不到渠道账号 {code}", "there is no channel account {code}").
		WithHint("GET /api/v1/channel-accounts 列出全部账号", "GET /api/v1/channel-accounts lists the accounts")
	ErrAccountInvalid = fault.New(fault.Invalid, "channel.account_invalid",
		"渠道账号配置有误", "the channel account is not valid").
		WithHint("请按字段提示修改", "mend the fields named")
	ErrAccountStale = fault.New(fault.Conflict, "channel.account_stale",
		"渠道账号 {code} 已被他人修改", "channel account {code} was changed by someone else").
		WithHint("请刷新后再保存", "reload it and save again")
	ErrMessageNotFound = fault.New(fault.NotFound, "channel.message_not_found",
		"找不到消息 {ref}", "there is no message {ref}").
		WithHint("请检查消息编号;GET /api/v1/messages 列出消息", "check the id; GET /api/v1/messages lists messages")
	ErrNotResendable = fault.New(fault.Precondition, "channel.not_resendable",
		"只能重发失败的消息;未知结果的消息须先确认", "only failed messages can be sent again; settle unknown ones first").
		WithHint("请在失败列表中选择", "choose among the failures")
	ErrIntent = fault.New(fault.Invalid, "channel.intent_invalid",
		"消息请求有误", "the message request is not valid").
		WithHint("请按字段提示修改", "correct the fields named")
	ErrToken = fault.New(fault.NotFound, "channel.link_invalid",
		"链接无效或已失效", "this link is not valid").
		WithHint("请从最近收到的消息中重新打开链接", "open the link again from the newest message")
	ErrCaps = fault.New(fault.Invalid, "channel.caps_invalid",
		"频次规则有误", "the frequency rules are not valid").
		WithHint("max 为正整数,window 例如 24h、7d", "max is a positive number, window reads 24h or 7d")
)

func field(path, code, zh, en, hintZH, hintEN string) fault.Field {
	return fault.Field{Path: path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}}
}
