package segments

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
)

// Limits of a rule.
const (
	MaxRuleBytes  = 64 << 10
	MaxDepth      = 16  // levels of all, any and not
	MaxLeaves     = 200 // leaves of one rule
	MaxSteps      = 10  // steps of a sequence
	MaxConditions = 20  // entries of a where
	MaxValues     = 1000
	MaxText       = 512 // characters of one value
	MaxName       = 128 // characters of a key, attribute, tag or code
	maxWindowDays = 36500
	maxFaults     = 20
)

// Channels are the channel codes that a reachable leaf may name.
func Channels() []string { return []string{"wechat", "miniprogram", "sms", "email", "push", "wecom"} }

// Parse reads a rule and checks it to the last key. Everything that is wrong is reported at once, each fault field with
// the JSON path, what is wrong there and how to mend it: ErrRule.
func Parse(data []byte) (Rule, error) {
	var p parser
	v, ok := p.decode(data)
	if ok {
		root := p.rule("", v, 1)
		if len(p.faults) == 0 {
			r := Rule{root: root}
			root.terms(&r.terms)
			r.terms.sort()
			return r, nil
		}
	}
	return Rule{}, ErrRule.WithFields(p.faults...)
}

// parser collects what is wrong while it reads.
type parser struct {
	faults []fault.Field
	leaves int
}

func (p *parser) fail(path, code, zh, en, hintZH, hintEN string) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, fault.Field{
			Path: path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN},
		})
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// kinds are the keys of which every rule object has exactly one.
var kinds = []string{"all", "any", "not", "attr", "tag", "segment", "list", "event", "sequence", "rfm", "stage", "reachable", "sample"}

func (p *parser) rule(path string, v any, depth int) node {
	o, ok := p.object(path, v)
	if !ok {
		return nil
	}
	if depth > MaxDepth {
		p.fail(path, "depth", fmt.Sprintf("嵌套超过 %d 层", MaxDepth), fmt.Sprintf("nested deeper than %d levels", MaxDepth),
			"请合并层级,或把一部分存为人群再引用", "flatten it, or save a part as a segment and refer to that")
		return nil
	}
	var kind string
	for _, k := range kinds {
		if !o.has(k) {
			continue
		}
		if kind != "" {
			p.fail(path, "ambiguous", fmt.Sprintf("同时出现 %s 和 %s", kind, k), fmt.Sprintf("%s and %s stand side by side", kind, k),
				`请用 {"all":[…]} 或 {"any":[…]} 组合`, `combine them with {"all":[…]} or {"any":[…]}`)
			return nil
		}
		kind = k
	}
	switch kind {
	case "":
		p.fail(path, "kind", "看不出是哪种条件", "not a kind of condition", "对象须含其中一个键:"+strings.Join(kinds, "、"),
			"the object needs one of the keys "+strings.Join(kinds, ", "))
		return nil
	case "all", "any":
		children := p.rules(join(path, kind), o.get(kind), depth)
		p.closed(path, o, kind)
		if kind == "all" {
			return allNode{children}
		}
		return anyNode{children}
	case "not":
		child := p.rule(join(path, kind), o.get(kind), depth+1)
		p.closed(path, o, kind)
		return notNode{child}
	}
	p.leaves++
	if p.leaves == MaxLeaves+1 {
		p.fail(path, "leaves", fmt.Sprintf("条件超过 %d 个", MaxLeaves), fmt.Sprintf("more than %d conditions", MaxLeaves),
			"请把一部分存为人群再引用", "save a part as a segment and refer to that")
	}
	switch kind {
	case "attr":
		p.closed(path, o, "attr", "op", "value")
		return attrNode{p.cond(path, o, "attr")}
	case "tag":
		p.closed(path, o, kind)
		return tagNode{p.name(join(path, kind), o.get(kind))}
	case "segment":
		p.closed(path, o, kind)
		return segmentNode{p.name(join(path, kind), o.get(kind)), join(path, kind)}
	case "list":
		p.closed(path, o, kind)
		return listNode{p.name(join(path, kind), o.get(kind)), join(path, kind)}
	case "event":
		return p.event(path, o)
	case "sequence":
		return p.sequence(path, o)
	case "rfm":
		return p.rfm(path, o)
	case "stage":
		return p.stage(path, o)
	case "reachable":
		p.closed(path, o, kind)
		return reachableNode{p.choice(join(path, kind), o.get(kind), Channels())}
	case "sample":
		return p.sample(path, o)
	}
	panic("segments: kind without a parser: " + kind)
}

func (p *parser) rules(path string, v any, depth int) []node {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		p.fail(path, "empty", "须是至少含一个条件的数组", "must be an array with at least one condition",
			"请加入条件,或去掉这一层", "add a condition, or remove this level")
		return nil
	}
	out := make([]node, len(list))
	for i, e := range list {
		out[i] = p.rule(index(path, i), e, depth+1)
	}
	return out
}

func (p *parser) event(path string, o object) node {
	f := facts{Key: p.key(join(path, "event"), o.get("event")), Where: p.where(path, o)}
	var form string
	for _, k := range []string{"count", "sum", "avg", "min", "max", "distinct", "first", "last"} {
		if !o.has(k) {
			continue
		}
		if form != "" {
			p.fail(path, "ambiguous", fmt.Sprintf("同时出现 %s 和 %s", form, k), fmt.Sprintf("%s and %s stand side by side", form, k),
				"一个条件只算一个量;请拆成两个条件", "one condition measures one thing; make it two conditions")
			return nil
		}
		form = k
	}
	switch form {
	case "first", "last":
		p.closed(path, o, "event", "where", form)
		return p.occurrence(join(path, form), o.get(form), f, form == "last")
	case "", "count":
		p.closed(path, o, "event", "where", "within", "count")
		n := eventNode{facts: f, measure: measureCount, within: p.within(path, o)}
		if form == "count" {
			at := join(path, "count")
			tests, ok := o.get("count").(object)
			if !ok || len(tests.keys) == 0 {
				p.fail(at, "count", "须写成 {运算符: 次数}", "must be {operator: number}", `例如 {"gte":2}`, `for example {"gte":2}`)
				return nil
			}
			n.tests = p.tests(at, tests, tests.keys)
		}
		return n
	}
	allowed := []string{"event", "where", "within", form}
	for _, k := range numericOps {
		allowed = append(allowed, string(k))
	}
	p.closed(path, o, allowed...)
	n := eventNode{facts: f, measure: measure(form), prop: p.name(join(path, form), o.get(form)), within: p.within(path, o)}
	var ops []string
	for _, k := range o.keys {
		if slices.Contains(numericOps, op(k)) {
			ops = append(ops, k)
		}
	}
	if len(ops) == 0 {
		p.fail(path, "operator", form+" 缺少运算符", form+" has no operator", `例如加上 "gte":1000`, `add for example "gte":1000`)
		return nil
	}
	n.tests = p.tests(path, o, ops)
	return n
}

// tests reads the numeric operators of an aggregate, in the order of numericOps so that the canonical form is one.
func (p *parser) tests(path string, o object, keys []string) []cond {
	var out []cond
	for _, k := range keys {
		if !slices.Contains(numericOps, op(k)) {
			p.fail(join(path, k), "operator", "未知运算符 "+k, "unknown operator "+k, "可用:"+list(numericOps), "use one of "+list(numericOps))
		}
	}
	for _, k := range numericOps {
		if !slices.Contains(keys, string(k)) {
			continue
		}
		c := cond{op: k}
		c.values = p.scalars(join(path, string(k)), k, o.get(string(k)), true)
		out = append(out, c)
	}
	return out
}

func (p *parser) occurrence(path string, v any, f facts, last bool) node {
	o, ok := p.object(path, v)
	if !ok {
		return nil
	}
	p.closed(path, o, "before", "after", "within")
	if len(o.keys) == 0 {
		p.fail(path, "empty", "缺少时间条件", "has no time to test", `例如 {"within":"30d"}`, `for example {"within":"30d"}`)
	}
	n := occurrenceNode{facts: f, last: last, within: p.within(path, o)}
	if o.has("before") {
		n.before = p.instant(join(path, "before"), o.get("before"))
	}
	if o.has("after") {
		n.after = p.instant(join(path, "after"), o.get("after"))
	}
	return n
}

func (p *parser) sequence(path string, o object) node {
	p.closed(path, o, "sequence", "within", "unless")
	at := join(path, "sequence")
	steps, ok := o.get("sequence").([]any)
	if !ok || len(steps) == 0 || len(steps) > MaxSteps {
		p.fail(at, "steps", fmt.Sprintf("须是 1–%d 步的数组", MaxSteps), fmt.Sprintf("must be an array of 1–%d steps", MaxSteps),
			`例如 [{"event":"cart_added"},{"event":"order_paid"}]`, `for example [{"event":"cart_added"},{"event":"order_paid"}]`)
		return nil
	}
	var n sequenceNode
	for i, s := range steps {
		n.steps = append(n.steps, p.step(index(at, i), s))
	}
	if o.has("within") {
		text, _ := o.get("within").(string)
		n.within, n.text = p.duration(join(path, "within"), o.get("within")), text
	}
	if o.has("unless") {
		u := p.step(join(path, "unless"), o.get("unless"))
		n.unless = &u
		if len(steps) == 1 && !o.has("within") {
			p.fail(join(path, "within"), "required", "单步序列带 unless 时须写 within", "a single step with unless needs within",
				`例如 "within":"48h":发生后 48 小时内没有 unless 事件`, `for example "within":"48h": no unless event in the 48 hours after it`)
		}
	}
	return n
}

func (p *parser) step(path string, v any) facts {
	o, ok := p.object(path, v)
	if !ok {
		return facts{}
	}
	p.closed(path, o, "event", "where")
	return facts{Key: p.key(join(path, "event"), o.get("event")), Where: p.where(path, o)}
}

func (p *parser) rfm(path string, o object) node {
	p.closed(path, o, "rfm")
	at := join(path, "rfm")
	q, ok := p.object(at, o.get("rfm"))
	if !ok {
		return nil
	}
	p.closed(at, q, "r", "f", "m")
	if len(q.keys) == 0 {
		p.fail(at, "empty", "至少给出 r、f、m 之一", "give at least one of r, f, m", `例如 {"r":[4,5]}`, `for example {"r":[4,5]}`)
	}
	var n rfmNode
	for _, k := range q.keys {
		var scores []int
		list, ok := q.get(k).([]any)
		for _, e := range list {
			num, isNum := e.(json.Number)
			s, err := strconv.Atoi(string(num))
			if !isNum || err != nil || s < 1 || s > 5 {
				ok = false
				break
			}
			scores = append(scores, s)
		}
		if !ok || len(scores) == 0 {
			p.fail(join(at, k), "score", "须是 1–5 的整数数组", "must be an array of integers from 1 to 5", "5 为最好,例如 [4,5]", "5 is best, for example [4,5]")
			continue
		}
		slices.Sort(scores)
		scores = slices.Compact(scores)
		switch k {
		case "r":
			n.R = scores
		case "f":
			n.F = scores
		case "m":
			n.M = scores
		}
	}
	return n
}

func (p *parser) stage(path string, o object) node {
	p.closed(path, o, "stage")
	at := join(path, "stage")
	list, ok := o.get("stage").([]any)
	if !ok || len(list) == 0 {
		p.fail(at, "empty", "须是至少含一个阶段的数组", "must be an array with at least one stage", `例如 ["action","share"]`, `for example ["action","share"]`)
		return nil
	}
	names := make([]string, 0, 5)
	for _, s := range Stages() {
		names = append(names, string(s))
	}
	var n stageNode
	for i, e := range list {
		n.Stage = append(n.Stage, Stage(p.choice(index(at, i), e, names)))
	}
	return n
}

func (p *parser) sample(path string, o object) node {
	p.closed(path, o, "sample")
	at := join(path, "sample")
	s, ok := p.object(at, o.get("sample"))
	if !ok {
		return nil
	}
	p.closed(at, s, "percent", "salt")
	n := sampleNode{salt: p.text(join(at, "salt"), s.get("salt"))}
	num, _ := s.get("percent").(json.Number)
	r, ok := new(big.Rat).SetString(string(num))
	if ok {
		r.Mul(r, big.NewRat(100, 1))
		ok = validNumber(string(num)) && r.IsInt() && r.Sign() >= 0 && r.Cmp(big.NewRat(10000, 1)) <= 0
	}
	if !ok {
		p.fail(join(at, "percent"), "percent", "须是 0–100 的数,最多两位小数", "must be a number from 0 to 100 with at most two decimals",
			`例如 {"percent":10,"salt":"2026-618"}`, `for example {"percent":10,"salt":"2026-618"}`)
		return nil
	}
	n.percent, n.below = num, r.Num().Int64()
	return n
}

func (p *parser) where(path string, o object) []cond {
	if !o.has("where") {
		return nil
	}
	at := join(path, "where")
	list, ok := o.get("where").([]any)
	if !ok || len(list) > MaxConditions {
		p.fail(at, "where", fmt.Sprintf("须是不超过 %d 个属性条件的数组", MaxConditions), fmt.Sprintf("must be an array of at most %d conditions on props", MaxConditions),
			`例如 [{"prop":"category","op":"eq","value":"茶具"}]`, `for example [{"prop":"category","op":"eq","value":"tea"}]`)
		return nil
	}
	out := make([]cond, 0, len(list))
	for i, e := range list {
		c, ok := p.object(index(at, i), e)
		if !ok {
			continue
		}
		p.closed(index(at, i), c, "prop", "op", "value")
		out = append(out, p.cond(index(at, i), c, "prop"))
	}
	return out
}

// cond reads {"attr"|"prop": NAME, "op": OP, "value": V}.
func (p *parser) cond(path string, o object, kind string) cond {
	c := cond{isProp: kind == "prop", name: p.name(join(path, kind), o.get(kind))}
	isTime := kind == "attr" && slices.Contains(builtinTimes, c.name)
	ops := valueOps
	if isTime {
		ops = timeOps
	}
	if !o.has("op") {
		p.fail(join(path, "op"), "required", "缺少 op", "op is missing", "可用:"+list(ops), "use one of "+list(ops))
		return c
	}
	text, _ := o.get("op").(string)
	c.op = op(text)
	if !slices.Contains(ops, c.op) {
		p.fail(join(path, "op"), "operator", "未知运算符 "+text, "unknown operator "+text, "可用:"+list(ops), "use one of "+list(ops))
		return c
	}
	at, v := join(path, "value"), o.get("value")
	if !o.has("value") {
		p.fail(at, "required", "缺少 value", "value is missing", "请给出比较值", "give the value to compare with")
		return c
	}
	switch {
	case c.op == opExists:
		var ok bool
		if c.want, ok = v.(bool); !ok {
			p.fail(at, "boolean", "须是 true 或 false", "must be true or false", "", "")
		}
	case c.op == opAnniversary:
		num, _ := v.(json.Number)
		days, err := strconv.Atoi(string(num))
		if err != nil || days < 0 || days > 366 {
			p.fail(at, "days", "须是 0–366 的整数(提前天数)", "must be an integer from 0 to 366 (days ahead)", "0 表示当天", "0 is today")
		}
		c.days = days
	case c.op == opBefore || c.op == opAfter:
		if t := p.instant(at, v); t != nil {
			c.times = []instant{*t}
		}
	case isTime:
		for i, s := range p.scalars(at, c.op, v, false) {
			place := at
			if c.op == opIn || c.op == opNin || c.op == opBetween {
				place = index(at, i)
			}
			if s.number || s.truth {
				p.fail(place, "time", c.name+" 只能与时间比较", c.name+" compares with times only", `例如 "2026-01-31"`, `for example "2026-01-31"`)
			} else if t := p.instant(place, s.text); t != nil {
				c.times = append(c.times, *t)
			}
		}
	default:
		c.values = p.scalars(at, c.op, v, false)
	}
	if len(p.faults) == 0 && c.op == opBetween && disordered(c) {
		p.fail(at, "order", "区间下限大于上限", "the lower bound is above the upper one", "请交换两个值", "swap the two values")
	}
	return c
}

func disordered(c cond) bool {
	if c.times != nil {
		return c.times[0].at.After(c.times[1].at)
	}
	if c.values[0].number {
		return rat(c.values[0].text).Cmp(rat(c.values[1].text)) > 0
	}
	return c.values[0].text > c.values[1].text
}

// scalars reads the operand of an operator: one value, two of one kind for between, a list for in and nin.
func (p *parser) scalars(path string, o op, v any, numeric bool) []scalar {
	one := func(path string, v any) (scalar, bool) {
		switch v := v.(type) {
		case json.Number:
			if validNumber(string(v)) {
				return scalar{text: string(v), number: true}, true
			}
			p.fail(path, "number", "数字过长", "the number is too long", "最多 30 位有效数字", "at most 30 digits")
			return scalar{}, false
		case string:
			if !numeric && len([]rune(v)) <= MaxText && validText(v) {
				return scalar{text: v}, true
			}
			if !numeric {
				p.fail(path, "text", fmt.Sprintf("文本超过 %d 字或含空字符", MaxText), fmt.Sprintf("text over %d characters or with a NUL", MaxText), "", "")
				return scalar{}, false
			}
		case bool:
			if !numeric {
				return scalar{text: strconv.FormatBool(v), truth: true}, true
			}
		}
		if numeric {
			p.fail(path, "number", "须是数字", "must be a number", "金额以分计", "money is in fen")
		} else {
			p.fail(path, "scalar", "须是文本、数字或布尔值", "must be a string, number or boolean", "", "")
		}
		return scalar{}, false
	}
	var out []scalar
	switch o {
	case opIn, opNin, opBetween:
		l, ok := v.([]any)
		if o == opBetween && (!ok || len(l) != 2) {
			p.fail(path, "between", "须是两个值的数组 [下限, 上限]", "must be an array of two values [low, high]", "两端都包含在内", "both ends belong to it")
			return []scalar{{}, {}}
		}
		if !ok || len(l) == 0 || len(l) > MaxValues {
			p.fail(path, "values", fmt.Sprintf("须是 1–%d 个值的数组", MaxValues), fmt.Sprintf("must be an array of 1–%d values", MaxValues), `例如 ["上海","杭州"]`, `for example ["上海","杭州"]`)
			return nil
		}
		for i, e := range l {
			s, _ := one(index(path, i), e)
			out = append(out, s)
		}
		if o == opBetween && (out[0].number != out[1].number || out[0].truth || out[1].truth) {
			p.fail(path, "between", "两端须同为数字或同为文本", "both ends must be numbers, or both strings", "", "")
		}
	default:
		s, _ := one(path, v)
		if s.truth && o != opEq && o != opNe {
			p.fail(path, "scalar", "布尔值只能用 eq 或 ne", "booleans take eq or ne only", "", "")
		}
		out = []scalar{s}
	}
	return out
}

// within reads the window of a leaf; absent is the zero window.
func (p *parser) within(path string, o object) window {
	if !o.has("within") {
		return window{}
	}
	at, v := join(path, "within"), o.get("within")
	if text, ok := v.(string); ok {
		return window{length: p.duration(at, v), text: text}
	}
	w, ok := v.(object)
	if !ok || len(w.keys) == 0 {
		p.fail(at, "window", `须是 "30d" 或 {"from":…,"to":…}`, `must be "30d" or {"from":…,"to":…}`, "单位 s m h d w", "units s m h d w")
		return window{}
	}
	p.closed(at, w, "from", "to")
	var out window
	if w.has("from") {
		out.from = p.instant(join(at, "from"), w.get("from"))
	}
	if w.has("to") {
		out.to = p.instant(join(at, "to"), w.get("to"))
	}
	if out.from != nil && out.to != nil && !out.from.at.Before(out.to.at) {
		p.fail(at, "order", "from 须早于 to", "from must be before to", "区间为 [from, to)", "the window is [from, to)")
	}
	return out
}

func (p *parser) duration(path string, v any) time.Duration {
	text, _ := v.(string)
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	if n := len(text); n >= 2 && n <= 12 {
		count, err := strconv.ParseUint(text[:n-1], 10, 40)
		unit, known := units[text[n-1]]
		if err == nil && known && count > 0 && count <= uint64(maxWindowDays*24*time.Hour/unit) {
			return time.Duration(count) * unit
		}
	}
	p.fail(path, "duration", "不是时长:"+text, "not a duration: "+text, `写成 "30d",单位 s m h d w,最长 100 年`, `write it like "30d", units s m h d w, at most 100 years`)
	return time.Nanosecond
}

func (p *parser) instant(path string, v any) *instant {
	text, ok := v.(string)
	if ok {
		if at, ok := parseTime(text); ok {
			return &instant{at, text}
		}
	}
	p.fail(path, "time", fmt.Sprintf("不是时间:%v", show(v)), fmt.Sprintf("not a time: %v", show(v)),
		"用 RFC 3339,或 2026-01-31(上海零点)", "use RFC 3339, or 2026-01-31 (midnight in Shanghai)")
	return nil
}
