package journeys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// Limits of a journey.
const (
	MaxNodes = 200
	MaxPaths = 30
	maxExits = 10
	maxWhere = 20
)

var (
	nodeID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)
	codeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,59}$`)
)

// findings collects every fault of a document.
type findings struct{ fields []fault.Field }

func (f *findings) add(path, code, zh, en, hintZH, hintEN string) {
	f.fields = append(f.fields, fault.Field{Path: path, Code: code,
		Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}})
}

func (f *findings) err() error {
	if len(f.fields) == 0 {
		return nil
	}
	return ErrInvalid.With("n", len(f.fields)).WithFields(f.fields...)
}

// Validate finds every fault of a document that can be seen without the rest of the house; a document without them can be
// compiled and run. rules checks segment rules.
func Validate(doc *Document, rules Rules) error {
	var f findings
	f.document(doc, rules)
	f.graph(doc)
	return f.err()
}

// CheckReferences finds templates, coupons, programmes and segments that the document names and that do not exist.
func CheckReferences(ctx context.Context, db pg.DB, doc *Document, catalogue Catalogue) error {
	refs := doc.references()
	missing, err := catalogue.Missing(ctx, db, refs)
	if err != nil {
		return fmt.Errorf("check references: %w", err)
	}
	var f findings
	for _, m := range missing {
		f.add(m.Path, "missing_"+string(m.Kind),
			fmt.Sprintf("没有%s %q", refNames[m.Kind], m.Code), fmt.Sprintf("there is no %s %q", m.Kind, m.Code),
			"先创建它,或改为已有的编码", "create it first, or name an existing one")
	}
	return f.err()
}

var refNames = map[RefKind]string{RefTemplate: "消息模板", RefCoupon: "优惠券模板", RefProgramme: "会员计划", RefSegment: "人群"}

// references lists what the document names outside itself, each with its path.
func (d *Document) references() []Ref {
	var refs []Ref
	if s := d.Settings.Trigger.Segment; s != "" {
		refs = append(refs, Ref{Kind: RefSegment, Code: s, Path: "settings.trigger.segment"})
	}
	for i, c := range d.Settings.Exit {
		if c.SegmentEntered != "" {
			refs = append(refs, Ref{Kind: RefSegment, Code: c.SegmentEntered, Path: fmt.Sprintf("settings.exit[%d].segment_entered", i)})
		}
		if c.SegmentLeft != "" {
			refs = append(refs, Ref{Kind: RefSegment, Code: c.SegmentLeft, Path: fmt.Sprintf("settings.exit[%d].segment_left", i)})
		}
	}
	for i := range d.Nodes {
		n, path := &d.Nodes[i], fmt.Sprintf("nodes[%d].", i)
		switch {
		case n.Message != nil:
			refs = append(refs, Ref{Kind: RefTemplate, Channel: n.Message.Channel, Account: n.Message.Account, Code: n.Message.Template, Path: path + "message.template"})
		case n.Coupon != nil:
			refs = append(refs, Ref{Kind: RefCoupon, Code: n.Coupon.Template, Path: path + "grant_coupon.template"})
		case n.Points != nil:
			refs = append(refs, Ref{Kind: RefProgramme, Code: n.Points.Programme, Path: path + "grant_points.programme"})
		}
	}
	return refs
}

func (f *findings) document(doc *Document, rules Rules) {
	if strings.TrimSpace(doc.Name) == "" || len(doc.Name) > 200 {
		f.add("name", "name", "旅程需要名称(1-200 字节)", "the journey needs a name of 1-200 bytes", "填写名称", "give it a name")
	}
	s := &doc.Settings
	f.trigger(&s.Trigger, len(s.Audience) > 0)
	if len(s.Audience) > 0 {
		f.rule("settings.audience", s.Audience, rules)
	}
	switch s.Reentry.Policy {
	case "", ReentryNever, ReentryAfterExit, ReentryAlways:
	default:
		f.add("settings.reentry.policy", "reentry", "再次进入策略未知", "the re-entry policy is unknown", "使用 never、after_exit 或 always", "use never, after_exit or always")
	}
	if s.Reentry.Max < 0 {
		f.add("settings.reentry.max", "reentry", "次数上限不能为负", "the maximum cannot be negative", "0 表示不限", "0 means no limit")
	}
	if len(s.Exit) > maxExits {
		f.add("settings.exit", "too_many", "退出条件超过 10 条", "there are more than 10 exit criteria", "合并或删除", "merge or remove some")
	}
	for i, c := range s.Exit {
		path := fmt.Sprintf("settings.exit[%d]", i)
		named := 0
		for _, v := range []string{c.Key, c.SegmentEntered, c.SegmentLeft} {
			if v != "" {
				named++
			}
		}
		if named != 1 {
			f.add(path, "criterion", "退出条件须且只能指定一种", "an exit criterion names exactly one thing", "填写 key、segment_entered 或 segment_left 之一", "give one of key, segment_entered, segment_left")
		}
		f.where(path+".where", c.Where)
	}
	if g := s.Goal; g != nil {
		f.key("settings.goal.key", g.Key)
		f.where("settings.goal.where", g.Where)
		f.duration("settings.goal.within", g.Within)
	}
	if s.MaxLateness < 0 {
		f.duration("settings.max_lateness", s.MaxLateness)
	}
	if s.HoldoutBP < 0 || s.HoldoutBP > 9000 {
		f.add("settings.holdout_bp", "holdout", "对照组比例须在 0 到 9000 个基点之间", "the hold-out is between 0 and 9,000 basis points", "例如 1000 表示 10%", "1000 means 10 %")
	}
	switch s.Lane {
	case "", LaneTransaction, LaneService, LaneMarketing:
	default:
		f.add("settings.lane", "lane", "消息通道级别未知", "the lane is unknown", "使用 transaction、service 或 marketing", "use transaction, service or marketing")
	}
	if len(doc.Nodes) == 0 {
		f.add("nodes", "nodes", "旅程没有节点", "the journey has no nodes", "至少放置一个节点和一个退出节点", "place at least one node and an exit")
	}
	if len(doc.Nodes) > MaxNodes {
		f.add("nodes", "too_many_nodes", fmt.Sprintf("旅程有 %d 个节点,上限 %d", len(doc.Nodes), MaxNodes),
			fmt.Sprintf("the journey has %d nodes; %d are allowed", len(doc.Nodes), MaxNodes), "拆分为多个旅程", "split it into several journeys")
		return
	}
	for i := range doc.Nodes {
		f.node(fmt.Sprintf("nodes[%d]", i), &doc.Nodes[i], rules)
	}
}

func (f *findings) trigger(t *Trigger, audience bool) {
	const path = "settings.trigger"
	switch t.Kind {
	case TriggerActivity:
		f.key(path+".key", t.Key)
		f.where(path+".where", t.Where)
	case TriggerSegmentEntered, TriggerSegmentLeft:
		if t.Segment == "" {
			f.add(path+".segment", "segment", "未指定人群", "no segment is named", "填写人群编码", "name a segment")
		}
	case TriggerSchedule:
		if !audience {
			f.add("settings.audience", "audience", "定时旅程需要人群规则", "a scheduled journey needs an audience", "在 settings.audience 填写规则", "give a rule in settings.audience")
		}
		f.schedule(path+".schedule", t.Schedule)
	case TriggerAPI:
	default:
		f.add(path+".kind", "trigger", fmt.Sprintf("触发方式 %q 未知", t.Kind), fmt.Sprintf("trigger kind %q is unknown", t.Kind),
			"使用 activity、segment_entered、segment_left、schedule 或 api", "use activity, segment_entered, segment_left, schedule or api")
	}
}

func (f *findings) schedule(path string, s *Schedule) {
	if s == nil {
		f.add(path, "schedule", "未设置时间", "no schedule is given", "设置 every 与时间", "give every and a time")
		return
	}
	switch s.Every {
	case "once":
		if s.At == nil {
			f.add(path+".at", "schedule", "未设置执行时间", "no time is given", "填写 RFC 3339 时间", "give an RFC 3339 time")
		}
	case "day":
	case "week":
		if len(s.Days) == 0 {
			f.add(path+".days", "weekday", "未选择星期", "no weekday is chosen", "填写 1(周一)到 7(周日)", "give 1 (Monday) to 7 (Sunday)")
		}
	default:
		f.add(path+".every", "schedule", "周期未知", "every is unknown", "使用 once、day 或 week", "use once, day or week")
	}
	f.localTime(path, LocalTime{s.Time, s.Days})
}

func (f *findings) localTime(path string, l LocalTime) {
	for _, d := range l.Days {
		if d < 1 || d > 7 {
			f.add(path+".days", "weekday", "星期须为 1 到 7", "weekdays are 1 to 7", "1 为周一,7 为周日", "1 is Monday, 7 Sunday")
			return
		}
	}
}

func (f *findings) node(path string, n *Node, rules Rules) {
	if !nodeID.MatchString(n.ID) {
		f.add(path+".id", "node_id", "节点编号须为 1-40 位字母、数字、- 或 _", "a node id has 1-40 letters, digits, - or _", "改用合规编号", "use such an id")
	}
	if !slices.Contains(kinds, n.Kind) {
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = string(k)
		}
		list := strings.Join(names, ", ")
		f.add(path+".kind", "unknown_kind", fmt.Sprintf("节点类型 %q 未知", n.Kind), fmt.Sprintf("node kind %q is unknown", n.Kind), "可用类型:"+list, "kinds are "+list)
		return
	}
	for kind, given := range n.bodies() {
		if given && kind != n.Kind {
			f.add(path+"."+string(kind), "body", fmt.Sprintf("%s 节点不应包含 %s 设置", n.Kind, kind), fmt.Sprintf("a %s node has no %s settings", n.Kind, kind), "删除该字段", "remove the field")
		}
	}
	if given, needs := n.bodies()[n.Kind]; needs && !given && n.Kind != KindExit {
		f.add(path+"."+string(n.Kind), "body", fmt.Sprintf("%s 节点缺少设置", n.Kind), fmt.Sprintf("a %s node needs its settings", n.Kind), "填写同名字段", "fill in the field of that name")
		return
	}
	path += "." + string(n.Kind)
	text := func(name, value string) {
		if strings.TrimSpace(value) == "" {
			f.add(path+"."+name, "empty", "不能为空", "it cannot be empty", "填写该字段", "fill it in")
		}
	}
	switch n.Kind {
	case KindWait:
		f.wait(path, n.Wait)
	case KindCondition:
		f.rule(path+".rule", n.Condition.Rule, rules)
	case KindSplit:
		f.split(path, n.Split)
	case KindMessage:
		text("channel", n.Message.Channel)
		text("template", n.Message.Template)
	case KindCoupon:
		text("template", n.Coupon.Template)
	case KindPoints:
		text("programme", n.Points.Programme)
		if n.Points.Points <= 0 || n.Points.Points > 1_000_000_000 {
			f.add(path+".points", "points", "积分须为正数且不超过十亿", "points are positive, at most a thousand million", "填写正整数", "give a positive whole number")
		}
	case KindTag:
		if len(n.Tag.Add)+len(n.Tag.Remove) == 0 || slices.Contains(append(n.Tag.Add[:len(n.Tag.Add):len(n.Tag.Add)], n.Tag.Remove...), "") {
			f.add(path, "empty", "未指定标签", "no tag is named", "填写 add 或 remove", "give add or remove")
		}
	case KindAttribute:
		if !strings.HasPrefix(n.Attribute.Name, "attr.") {
			f.add(path+".name", "attribute", "旅程只能设置 attr.* 属性", "a journey sets attr.* attributes only", "改用 attr. 开头的名称", "use a name that begins with attr.")
		}
		if !json.Valid(n.Attribute.Value) {
			f.add(path+".value", "empty", "属性值无效", "the value is not valid", "填写 JSON 值", "give a JSON value")
		}
	case KindTask:
		text("kind", n.Task.Kind)
		text("title", n.Task.Title)
		f.duration(path+".due", n.Task.Due)
	case KindWebhook:
		if u, err := url.Parse(n.Webhook.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			f.add(path+".url", "url", "地址无效", "the address is not valid", "填写 http(s) 地址", "give an http(s) address")
		}
	}
}

// bodies says which settings are present, by the kind they belong to.
func (n *Node) bodies() map[NodeKind]bool {
	return map[NodeKind]bool{KindWait: n.Wait != nil, KindCondition: n.Condition != nil, KindSplit: n.Split != nil,
		KindMessage: n.Message != nil, KindCoupon: n.Coupon != nil, KindPoints: n.Points != nil, KindTag: n.Tag != nil,
		KindAttribute: n.Attribute != nil, KindTask: n.Task != nil, KindWebhook: n.Webhook != nil, KindExit: n.Exit != nil}
}

func (f *findings) wait(path string, w *WaitNode) {
	given := 0
	if w.For != 0 {
		given++
		f.duration(path+".for", w.For)
	}
	if w.Until != nil {
		given++
		f.localTime(path+".until", *w.Until)
	}
	if w.Event != nil {
		given++
		f.key(path+".event.key", w.Event.Key)
		f.where(path+".event.where", w.Event.Where)
		f.duration(path+".timeout", w.Timeout)
	} else if w.Timeout != 0 || w.TimeoutNext != "" {
		f.add(path+".timeout", "wait", "只有等待事件才有超时", "only a wait for an event has a timeout", "删除 timeout 与 timeout_next", "remove timeout and timeout_next")
	}
	if given != 1 {
		f.add(path, "wait", "等待须且只能设置一种:时长、时刻或事件", "a wait is for exactly one thing: a duration, a time or an event", "填写 for、until 或 event 之一", "give one of for, until, event")
	}
}

func (f *findings) split(path string, s *SplitNode) {
	if len(s.Paths) < 2 || len(s.Paths) > MaxPaths {
		f.add(path+".paths", "paths", fmt.Sprintf("分流须有 2 到 %d 条路径", MaxPaths), fmt.Sprintf("a split has 2 to %d paths", MaxPaths), "增减路径", "add or remove paths")
	}
	sum := 0
	seen := map[string]bool{}
	for i, p := range s.Paths {
		at := fmt.Sprintf("%s.paths[%d]", path, i)
		if p.Name == "" || seen[p.Name] {
			f.add(at+".name", "paths", "路径名称为空或重复", "a path's name is empty or repeated", "为每条路径命名", "name each path differently")
		}
		seen[p.Name] = true
		if p.WeightBP < 0 || p.WeightBP > 10000 {
			f.add(at+".weight_bp", "weights", "权重须在 0 到 10000 之间", "a weight is between 0 and 10,000", "以基点填写,10000 为 100%", "give basis points; 10,000 is 100 %")
		}
		sum += p.WeightBP
	}
	if sum != 10000 {
		f.add(path+".paths", "weights", fmt.Sprintf("权重之和为 %d,应为 10000", sum), fmt.Sprintf("the weights sum to %d, not 10,000", sum), "调整权重使其合计 10000 个基点", "make them sum to 10,000 basis points")
	}
}

func (f *findings) key(path, key string) {
	if key == "" || len(key) > 100 || strings.HasPrefix(key, "$") {
		f.add(path, "key", "活动名称为空或不可用", "the activity key is empty or not usable", "填写活动名称,如 order_paid", "name an activity, such as order_paid")
	}
}

func (f *findings) where(path string, where []Predicate) {
	if len(where) > maxWhere {
		f.add(path, "too_many", "筛选条件超过 20 条", "there are more than 20 predicates", "删减条件", "remove some")
	}
	for i, p := range where {
		if _, err := compilePredicate(p); err != nil {
			f.add(fmt.Sprintf("%s[%d]", path, i), "predicate", "筛选条件无效:"+err.Error(), "the predicate is not valid: "+err.Error(), "参考人群规则中的 where 写法", "write it like where in segment rules")
		}
	}
}

func (f *findings) duration(path string, d Duration) {
	if d < Duration(time.Second) || d > Duration(maxDuration) {
		f.add(path, "duration", "时长须在 1 秒到 400 天之间", "a duration is between 1 s and 400 d", "例如 30m、2h、3d", "such as 30m, 2h, 3d")
	}
}

// rule passes on what the segment language finds, with paths that begin at the journey.
func (f *findings) rule(path string, raw json.RawMessage, rules Rules) {
	if len(raw) == 0 {
		f.add(path, "rule", "未填写人群规则", "no segment rule is given", "填写规则", "give a rule")
		return
	}
	err := rules.Check(raw)
	if err == nil {
		return
	}
	var fe *fault.Error
	if errors.As(err, &fe) && len(fe.Fields) > 0 {
		for _, fld := range fe.Fields {
			fld.Path = strings.TrimSuffix(path+"."+strings.TrimPrefix(fld.Path, "$."), ".")
			f.fields = append(f.fields, fld)
		}
		return
	}
	fe = fault.From(err)
	f.fields = append(f.fields, fault.Field{Path: path, Code: "rule", Text: fe.Text, Hint: fe.Hint})
}

// graph finds faults of the graph as a whole: start, edges, reachability, cycles.
func (f *findings) graph(doc *Document) {
	index := map[string]int{}
	for i, n := range doc.Nodes {
		if j, dup := index[n.ID]; dup {
			f.add(fmt.Sprintf("nodes[%d].id", i), "duplicate_id", fmt.Sprintf("节点编号 %q 与第 %d 个节点重复", n.ID, j+1), fmt.Sprintf("node id %q is taken by nodes[%d]", n.ID, j), "换一个编号", "use another id")
			continue
		}
		index[n.ID] = i
	}
	next := make([][]int, len(doc.Nodes))
	for i := range doc.Nodes {
		for _, e := range doc.Nodes[i].edges() {
			path := fmt.Sprintf("nodes[%d].%s", i, e.path)
			to, ok := index[e.to]
			switch {
			case e.to == "":
				f.add(path, "edge_missing", fmt.Sprintf("节点 %q 的出口 %s 没有去向", doc.Nodes[i].ID, e.name), fmt.Sprintf("branch %s of node %q leads nowhere", e.name, doc.Nodes[i].ID), "连接到下一个节点或退出节点", "connect it to a node or an exit")
			case !ok:
				f.add(path, "edge_dangling", fmt.Sprintf("去向 %q 不存在", e.to), fmt.Sprintf("there is no node %q", e.to), "改为已有节点", "name an existing node")
			default:
				next[i] = append(next[i], to)
			}
		}
	}
	start, ok := index[doc.Start]
	if !ok {
		f.add("start", "start", fmt.Sprintf("起始节点 %q 不存在", doc.Start), fmt.Sprintf("there is no start node %q", doc.Start), "将 start 设为第一个节点的编号", "set start to the id of the first node")
		return
	}
	reached := make([]bool, len(doc.Nodes))
	reach(next, reached, start)
	for i, n := range doc.Nodes {
		if !reached[i] && index[n.ID] == i {
			f.add(fmt.Sprintf("nodes[%d]", i), "unreachable", fmt.Sprintf("节点 %q 无法到达", n.ID), fmt.Sprintf("node %q cannot be reached", n.ID), "连接它或删除它", "connect it or remove it")
		}
	}
	for i := range instantCycles(doc, next) {
		f.add(fmt.Sprintf("nodes[%d]", i), "cycle_without_wait", fmt.Sprintf("节点 %q 处于没有等待的循环中", doc.Nodes[i].ID), fmt.Sprintf("node %q is in a cycle without a wait", doc.Nodes[i].ID), "在循环中加入等待节点", "put a wait into the cycle")
	}
}

func reach(next [][]int, seen []bool, from int) {
	stack := []int{from}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[i] {
			continue
		}
		seen[i] = true
		stack = append(stack, next[i]...)
	}
}

// instantCycles returns the nodes on cycles that contain no wait.
func instantCycles(doc *Document, next [][]int) map[int]bool {
	instant := make([][]int, len(next))
	for i := range next {
		if doc.Nodes[i].Kind == KindWait {
			continue
		}
		for _, j := range next[i] {
			if doc.Nodes[j].Kind != KindWait {
				instant[i] = append(instant[i], j)
			}
		}
	}
	return onCycles(instant)
}

// onCycles returns the nodes that can reach themselves. Graphs have at most MaxNodes nodes.
func onCycles(next [][]int) map[int]bool {
	on := map[int]bool{}
	for i := range next {
		seen := make([]bool, len(next))
		for _, j := range next[i] {
			reach(next, seen, j)
		}
		if seen[i] {
			on[i] = true
		}
	}
	return on
}
