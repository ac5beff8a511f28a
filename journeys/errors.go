package journeys

import (
	"encoding/json"
	"errors"

	"github.com/lianke/lianke/internal/fault"
)

// The faults of this module.
var (
	ErrTooLarge = fault.New(fault.TooLarge, "journey.too_large", "旅程文档超过 {max} 字节", "the journey document is over {max} bytes").
			WithHint("请拆分为多个旅程", "split it into several journeys")
	ErrUndecodable = fault.New(fault.Invalid, "journey.undecodable", "旅程文档无法解析", "the journey document cannot be read").
			WithHint("请按字段提示修改 JSON", "mend the JSON at the field named")
	ErrInvalid = fault.New(fault.Invalid, "journey.invalid", "旅程有 {n} 处问题,未发布", "the journey was not published; faults found: {n}").
			WithHint("请逐条修改后重试", "mend each of them and try again")
	ErrNotFound = fault.New(fault.NotFound, "journey.not_found", "没有旅程 {code}", "there is no journey {code}").
			WithHint("用 lianke journey list 查看全部旅程", "lianke journey list shows all journeys")
	ErrNoVersion = fault.New(fault.NotFound, "journey.no_version", "旅程 {code} 没有版本 {version}", "journey {code} has no version {version}").
			WithHint("请先发布旅程", "publish the journey first")
	ErrCodeTaken = fault.New(fault.Conflict, "journey.code_taken", "旅程编码 {code} 已被使用", "journey code {code} is taken").
			WithHint("请换一个编码", "choose another code")
	ErrCodeInvalid = fault.New(fault.Invalid, "journey.code_invalid", "旅程编码 {code} 不合规", "journey code {code} is not valid").
			WithHint("使用 1-60 位小写字母、数字、短横线或下划线", "use 1-60 lower-case letters, digits, - or _")
	ErrStale = fault.New(fault.Conflict, "journey.stale", "旅程已被他人修改(当前修订 {current},您的修订 {given})", "the journey was changed by someone else (now revision {current}, yours {given})").
			WithHint("请重新加载后再保存", "reload it, then save again")
	ErrStatus = fault.New(fault.Precondition, "journey.status", "旅程 {code} 处于 {status} 状态,不能执行此操作", "journey {code} is {status}, which does not allow this").
			WithHint("已归档的旅程可以复制为新旅程", "an archived journey can be copied")
	ErrPlan = fault.New(fault.Invalid, "journey.plan", "在途成员迁移方案无效", "the plan for runs in flight is not valid").
		WithHint("mode 为 keep、move 或 exit;move 需为每个在途节点指定新版本中的节点", "mode is keep, move or exit; move needs a node of the new version for every node with runs")
	ErrNotAPI = fault.New(fault.Precondition, "journey.not_api", "旅程 {code} 不是由接口触发", "journey {code} is not triggered through the API").
			WithHint("将触发方式改为 api 并发布", "set its trigger to api and publish")
	ErrNoKey = fault.New(fault.Invalid, "journey.no_key", "缺少 Idempotency-Key", "there is no Idempotency-Key").
			WithHint("为每次触发生成唯一的 Idempotency-Key(不超过 200 字节)", "send an Idempotency-Key of at most 200 bytes, one for each trigger")
	ErrNoMember = fault.New(fault.NotFound, "journey.no_member", "没有找到该成员", "no such member").
			WithHint("请检查成员编号", "check the member's number")
	ErrNobody = fault.New(fault.Unavailable, "journey.nobody", "没有模块处理 {kind} 节点", "no module receives the effects of {kind} nodes").
			WithHint("请启用对应模块后重试隔离的成员", "enable the module, then retry the quarantined runs")
	ErrPeriod = fault.New(fault.Invalid, "journey.period", "演练时段无效", "the period to simulate is not valid").
			WithHint("--to 必须晚于 --from,且不超过 400 天", "--to must be later than --from, by at most 400 days")
)

// undecodable names the field at which decoding stopped.
func undecodable(err error) error {
	path := ""
	var ute *json.UnmarshalTypeError
	if errors.As(err, &ute) {
		path = ute.Field
	}
	return ErrUndecodable.WithFields(fault.Field{
		Path: path, Code: "undecodable",
		Text: fault.Text{ZH: "无法解析:" + err.Error(), EN: err.Error()},
		Hint: fault.Text{ZH: "请检查字段名、类型与括号", EN: "check field names, types and brackets"},
	}).Because(err)
}
