package templates

import "github.com/lianke/lianke/internal/fault"

// The faults of this package.
var (
	ErrInvalid = fault.New(fault.Invalid, "template.invalid",
		"消息模板有误", "the message template is not valid").
		WithHint("请按字段提示修改", "mend the fields named")
	ErrNotFound = fault.New(fault.NotFound, "template.not_found",
		"找不到消息模板 {code}", "there is no message template {code}").
		WithHint("GET /api/v1/message-templates 列出全部模板", "GET /api/v1/message-templates lists all templates")
	ErrStale = fault.New(fault.Conflict, "template.stale",
		"模板 {code} 已被他人修改,当前版本为 {version}", "template {code} was changed by someone else; its version is {version} now").
		WithHint("请刷新后再保存", "reload it and save again")
	ErrNotPublished = fault.New(fault.Precondition, "template.not_published",
		"模板 {code} 尚未发布", "template {code} is not published").
		WithHint("请先发布模板", "publish it first")
	ErrRender = fault.New(fault.Invalid, "template.render",
		"模板 {code} 无法用这些数据渲染", "template {code} cannot be rendered with this data").
		WithHint("请检查模板中的变量与过滤器,可先预览", "check the variables and filters of the template; preview it first")
)

// field names one offending input.
func field(path, code, zh, en string, hintZH, hintEN string) fault.Field {
	return fault.Field{Path: path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}}
}
