package sms

import "github.com/lianke/lianke/internal/fault"

// Faults of this package.
var (
	ErrConfig = fault.New(fault.Invalid, "sms.config",
		"短信账号 {account} 的配置不完整", "the settings of SMS account {account} are incomplete").
		WithHint("请填写 AccessKey、Secret、签名,以及至少 32 位的回调口令", "give access key, secret, signature, and a callback token of at least 32 characters")
	ErrOptOutText = fault.New(fault.Invalid, "sms.opt_out_text",
		"营销短信必须以“拒收请回复R”结尾", "a marketing message must end with 拒收请回复R").
		WithHint("请在模板末尾加上“拒收请回复R”", "add 拒收请回复R at the end of the template")
	ErrBrackets = fault.New(fault.Invalid, "sms.brackets",
		"短信正文不能包含【】", "the text must not contain 【】").
		WithHint("【】只用于签名,由服务商加在开头", "the brackets are for the signature, which the provider puts in front")
	ErrNumber = fault.New(fault.Invalid, "sms.number",
		"手机号无效", "not a mobile number of mainland China").
		WithHint("请使用 11 位手机号", "use the 11 digits")
)
