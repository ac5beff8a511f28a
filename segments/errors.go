package segments

import "github.com/lianke/lianke/internal/fault"

// The faults of this package. ErrRule carries one field per place that is wrong.
var (
	ErrRule = fault.New(fault.Invalid, "segments.rule",
		"人群规则有误", "the segment rule is not valid").
		WithHint("请按字段提示修改", "correct the rule at the paths named")
	ErrNotFound = fault.New(fault.NotFound, "segments.not_found",
		"没有编码为 {code} 的人群", "there is no segment {code}").
		WithHint("GET /api/v1/segments 列出全部人群", "GET /api/v1/segments lists all segments")
	ErrListNotFound = fault.New(fault.NotFound, "segments.list_not_found",
		"没有编码为 {code} 的名单", "there is no list {code}").
		WithHint("请检查名单编码,或先上传名单", "check its code, or make the list first")
	ErrCodeTaken = fault.New(fault.Conflict, "segments.code_taken",
		"编码 {code} 已被使用", "the code {code} is taken").
		WithHint("请换一个编码", "choose another code")
	ErrStale = fault.New(fault.Conflict, "segments.stale",
		"人群 {code} 已被他人修改(当前版本 {version})", "segment {code} has changed meanwhile (it is at version {version})").
		WithHint("请刷新后再改", "reload it and apply your change again")
	ErrCycle = fault.New(fault.Invalid, "segments.cycle",
		"人群引用成环:{path}", "segments refer to each other in a circle: {path}").
		WithHint("请去掉其中一个引用", "remove one of the references")
	ErrReferenced = fault.New(fault.Precondition, "segments.referenced",
		"人群 {code} 被 {by} 引用,不能归档", "segment {code} is used by {by} and cannot be archived").
		WithHint("请先从这些人群的规则中去掉引用", "remove it from those rules first")
	ErrArchived = fault.New(fault.Precondition, "segments.archived",
		"人群 {code} 已归档", "segment {code} is archived").
		WithHint("请复制为新人群后修改", "make a new segment of its rule")
	ErrCode = fault.New(fault.Invalid, "segments.code",
		"编码不合规:{code}", "not a usable code: {code}").
		WithHint("用 1–64 个小写字母、数字、连字符或下划线,以字母开头", "use 1–64 lower-case letters, digits, hyphens or underscores, beginning with a letter")
	ErrName = fault.New(fault.Invalid, "segments.name",
		"名称不能为空,且不超过 200 字", "the name must have 1–200 characters").
		WithHint("请填写 1–200 个字的名称", "give it a name of 1 to 200 characters")
)
