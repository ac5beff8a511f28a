package identity

import "github.com/lianke/lianke/internal/fault"

// The faults of the package.
var (
	ErrKey = fault.New(fault.Invalid, "identity.key", "标识 {ns} 不可用", "the {ns} identifier is unusable").
		WithHint("请检查格式与占位值(如 00000000000)", "check its form; placeholders such as 00000000000 are not taken")
	// ErrNoKey is set on an observation none of whose keys is usable.
	ErrNoKey = fault.New(fault.Invalid, "identity.no_key", "没有可用的标识", "no usable identifier").
			WithHint("请至少提供一个有效标识,如 source_id、phone 或 openid", "give at least one valid identifier such as source_id, phone or openid")
	// ErrErased is set on an observation of a person who was erased after it happened.
	ErrErased = fault.New(fault.Precondition, "identity.erased", "该会员资料已被删除", "this person has been erased").
			WithHint("已删除的资料不能恢复;如本人再次注册,请使用新的来源编号", "erased data does not come back; if the person registers again, use a new source_id")
	ErrMerge = fault.New(fault.Precondition, "identity.merge_refused", "不能合并 {a} 与 {b}: {why}", "{a} and {b} cannot be merged: {why}").
			WithHint("用 lianke identity explain 查看原因", "`lianke identity explain` shows what stands against it")
	ErrSplit = fault.New(fault.Invalid, "identity.split", "拆分的标识必须是该会员标识的一部分(不能为空,也不能是全部)",
		"the births to split off must be some but not all births of one member").
		WithHint("用 lianke identity show 查看该会员的全部标识", "`lianke identity show` lists the births of the member")
	ErrEvidence = fault.New(fault.NotFound, "identity.evidence_not_found", "找不到证据 {id},或已被撤销", "there is no live evidence {id}").
			WithHint("用 lianke identity explain 查看有效证据", "`lianke identity explain` lists the evidence that is live")
	ErrRelease = fault.New(fault.Precondition, "identity.not_quarantined", "标识 {birth} 未被隔离", "identifier {birth} is not quarantined").
			WithHint("用 lianke identity show 查看哪些标识被隔离", "`lianke identity show` says which identifiers are quarantined")
	ErrTooHot = fault.New(fault.Precondition, "identity.too_hot", "标识 {birth} 与 {n} 个标识同时出现过,最多可解除 {max} 个", "identifier {birth} was seen with {n} others; up to {max} can be released").
			WithHint("出现次数如此之多的标识不属于任何个人,请保持隔离", "an identifier of so many people is nobody's; leave it quarantined")
	ErrReason = fault.New(fault.Invalid, "identity.reason_required", "请填写原因", "a reason is required").
			WithHint("请写明原因,它会与证据一起留存(命令行用 --reason)", "say why; it is kept with the evidence (--reason on the command line)")
	ErrQuery = fault.New(fault.Invalid, "identity.query", "请输入至少 2 个字符", "enter at least 2 characters").
			WithHint("请输入手机号或尾号、姓名、拼音、卡号或订单号", "enter a phone or its last digits, a name, pinyin, a card or an order number")
)
