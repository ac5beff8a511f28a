package segments

import "time"

// rfmWindow is how far back RFM looks.
const rfmWindow = 365 * 24 * time.Hour

// Stage is where a member stands in the SICAS life cycle. A member is at exactly one stage at any instant: the furthest
// whose sign was seen lately.
type Stage string

// The stages, from the first to the last.
const (
	StageSense    Stage = "sense"    // 感知: known, none of the signs below
	StageInterest Stage = "interest" // 兴趣与互动: looked at or put aside a product in the last 90 days
	StageConnect  Stage = "connect"  // 联系与沟通: followed, chatted, opened or clicked a message in the last 180 days
	StageAction   Stage = "action"   // 行动: paid an order in the last 365 days
	StageShare    Stage = "share"    // 分享: shared content in the last 365 days
)

// Stages lists them in order.
func Stages() []Stage {
	return []Stage{StageSense, StageInterest, StageConnect, StageAction, StageShare}
}

// sign is the rule that a member shows the sign of a stage, whatever later stages say; sense has none.
func (s Stage) sign() node {
	seen := func(days int, text string, keys ...string) node {
		var n anyNode
		for _, k := range keys {
			n.Any = append(n.Any, eventNode{
				facts: facts{Key: k}, measure: measureCount, within: window{length: time.Duration(days) * 24 * time.Hour, text: text},
			})
		}
		return n
	}
	switch s {
	case StageShare:
		return seen(365, "365d", "content_shared")
	case StageAction:
		return seen(365, "365d", "order_paid")
	case StageConnect:
		return seen(180, "180d", "account_followed", "chat_started", "message_opened", "message_clicked")
	case StageInterest:
		return seen(90, "90d", "product_viewed", "cart_added")
	case StageSense:
		return nil
	}
	return nil
}

// rule expands the leaf: at stage s is its sign and no sign of a later stage.
func (n stageNode) rule() node {
	all := Stages()
	var out anyNode
	for i, s := range all {
		wanted := false
		for _, w := range n.Stage {
			wanted = wanted || w == s
		}
		if !wanted {
			continue
		}
		var at allNode
		if sign := s.sign(); sign != nil {
			at.All = append(at.All, sign)
		}
		for _, later := range all[i+1:] {
			at.All = append(at.All, notNode{Not: later.sign()})
		}
		out.Any = append(out.Any, at)
	}
	return out
}
