package email

import "github.com/lianke/lianke/internal/fault"

// Faults of this package.
var (
	ErrConfig = fault.New(fault.Invalid, "email.config",
		"邮件账号 {account} 的配置有误:{what}", "the settings of mail account {account} are wrong: {what}").
		WithHint("请检查 host、port、tls、from、domain、secret 和 DKIM 私钥", "check host, port, tls, from, domain, secret and the DKIM key")
	ErrAddress = fault.New(fault.Invalid, "email.address",
		"邮箱地址无效", "not a mail address").
		WithHint("请写作 name@example.com", "write it as name@example.com")
	ErrUnsubscribe = fault.New(fault.Invalid, "email.unsubscribe",
		"营销邮件必须带 https 退订地址", "a marketing mail needs an https unsubscribe address").
		WithHint("请在账号中配置公网地址,系统会为每封邮件生成退订链接", "configure the public address; an unsubscribe link is made for each mail")
	ErrEmpty = fault.New(fault.Invalid, "email.empty",
		"邮件没有主题或正文", "the mail has no subject or no body").
		WithHint("请在模板中填写 subject 和正文", "give the template a subject and a body")
)
