// Package sandbox stands in for the message providers: one TLS server, told apart by SNI and Host, that speaks their
// real protocols, and an SMTP sink. Production code reaches it through channels/provider and runs unchanged; nothing
// in the product imports this package except the command `lianke sandbox`, the demo and tests.
//
// # What it plays
//
//	api.weixin.qq.com    official account and mini-program (weixin*.go, miniprogram.go)
//	open.weixin.qq.com   web OAuth
//	api.mch.weixin.qq.com  WeChat Pay v3: JSAPI, query, close, refund, signed and sealed callbacks (wechatpay*.go)
//	dysmsapi.aliyuncs.com  short messages, V3 signature (aliyun.go)
//	SMTP, SMTPS          every mail domain (smtp.go)
//
// It is as strict as the provider: wrong signatures, dead tokens, used codes, exceeded windows and broken template
// values are refused with the provider's own codes and texts. Callbacks are signed and encrypted as configured,
// retried on the provider's ladder, and can be duplicated, reordered or have their acknowledgement swallowed.
//
// # People
//
// A Person is one human with a phone number and a mail address. Their unionid is one per Open Platform subject, their
// openid one per appid; both derive from the person, so they are the same in every run. Acting as a person (Follow,
// Click, Reply …) makes the provider send the callbacks it would send.
//
// # Time
//
// All windows (48 h, 1 min, 5 min, token life, retry ladders) run on the injected clock. With Options.Manual nothing
// is delivered until Pump is called: demo and tests then decide when the provider talks. Otherwise a loop pumps.
//
// # State
//
// Everything is in memory and bounded: the last Options.Keep exchanges are kept for assertions. Accepted sends are in
// addition written to a JSON-lines file, one line each, before the provider's answer leaves, so that a test which
// kills lianke can compare what it believes with what the provider has.
package sandbox
