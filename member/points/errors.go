package points

import "github.com/lianke/lianke/internal/fault"

// The faults of points.
var (
	ErrInvalid = fault.New(fault.Invalid, "points.invalid", "积分请求有误", "the points request is malformed").
			WithHint("请按字段提示修改", "correct the fields named")

	ErrNoProgramme = fault.New(fault.NotFound, "points.no_programme", "没有积分计划 {programme}", "there is no programme {programme}").
			WithHint("请先创建积分计划", "create the programme first")

	ErrProgrammeExists = fault.New(fault.Conflict, "points.programme_exists", "积分计划 {programme} 已存在", "programme {programme} exists already").
				WithHint("请换一个编码,或修改已有计划", "choose another code, or change the programme that has it")

	ErrStale = fault.New(fault.Conflict, "points.stale", "积分计划已被他人修改", "the programme was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")

	ErrClosed = fault.New(fault.Precondition, "points.closed", "积分计划 {programme} 已关闭,不再发放", "programme {programme} is closed and grants no more").
			WithHint("请使用其他积分计划,或重新开放它", "use another programme, or open this one again")

	ErrInsufficient = fault.New(fault.Precondition, "points.insufficient", "积分不足:可用 {available},需要 {points}", "not enough points: {available} can be spent, {points} are needed").
			WithHint("请减少使用的积分", "spend fewer points")

	ErrNoMove = fault.New(fault.NotFound, "points.no_move", "没有积分流水 {key}", "there is no move of points {key}").
			WithHint("请检查流水号;退回须引用原消费的流水", "check the key: giving back names the move that spent the points")

	ErrExceeds = fault.New(fault.Precondition, "points.exceeds", "超出可退积分 {left}", "only {left} points are left to give back").
			WithHint("请减少退回的积分", "give back fewer points")

	ErrKeyReused = fault.New(fault.Conflict, "points.key_reused", "幂等键 {key} 已用于其他内容", "key {key} was used with another input").
			WithHint("同一请求重试时内容须一致,新请求请换新键", "repeat a request unchanged, or use a fresh key for a new one")

	ErrLimit = fault.New(fault.Forbidden, "points.limit", "超出您的权限额度 {limit} 分", "your role may move at most {limit} points at a time").
			WithHint("请由财务处理", "ask finance to do it")
)

func invalid(path, zh, en string) error {
	return ErrInvalid.WithFields(fault.Field{Path: path, Code: "points." + path, Text: fault.Text{ZH: zh, EN: en}})
}
