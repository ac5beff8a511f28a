package segments

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/member"
)

// The naive evaluator: the rule language as the specification (docs/architecture.md, "Segment rules") reads, over plain
// slices and the rule's raw JSON, sharing no code with the compiler. It is the judge of the SQL and of the live engine.

type fact struct {
	birth member.Birth
	key   string
	at    time.Time
	props map[string]any
}

type person struct {
	id         member.ID
	isMember   bool
	registered *time.Time
	firstFact  *time.Time
	homeStore  *string
	attrs      map[string]any
	tags       []string
	reach      []string
	births     []member.Birth
}

type world struct {
	people   []person
	facts    []fact
	lists    map[string][]member.Birth
	segments map[string]map[string]any
}

type naive struct {
	*world
	t     time.Time
	of    map[member.ID][]fact // up to t
	score map[member.ID][3]int
}

func (w *world) members(rule map[string]any, t time.Time) []member.ID {
	n := &naive{world: w, t: t, of: map[member.ID][]fact{}}
	root := map[member.Birth]member.ID{}
	for _, p := range w.people {
		for _, b := range p.births {
			root[b] = p.id
		}
	}
	for _, f := range w.facts {
		if !f.at.After(t) {
			n.of[root[f.birth]] = append(n.of[root[f.birth]], f)
		}
	}
	n.rank()
	out := []member.ID{}
	for _, p := range w.people {
		if n.exists(p) && n.rule(p, rule) {
			out = append(out, p.id)
		}
	}
	slices.Sort(out)
	return out
}

func (n *naive) exists(p person) bool {
	since := p.registered
	if since == nil {
		since = p.firstFact
	}
	return p.isMember && since != nil && !since.After(n.t)
}

func (n *naive) rule(p person, r map[string]any) bool {
	switch {
	case r["all"] != nil:
		for _, c := range r["all"].([]any) {
			if !n.rule(p, c.(map[string]any)) {
				return false
			}
		}
		return true
	case r["any"] != nil:
		for _, c := range r["any"].([]any) {
			if n.rule(p, c.(map[string]any)) {
				return true
			}
		}
		return false
	case r["not"] != nil:
		return !n.rule(p, r["not"].(map[string]any))
	case r["attr"] != nil:
		return n.attr(p, r)
	case r["tag"] != nil:
		return slices.Contains(p.tags, r["tag"].(string))
	case r["segment"] != nil:
		return n.rule(p, n.segments[r["segment"].(string)])
	case r["list"] != nil:
		return slices.ContainsFunc(n.lists[r["list"].(string)], func(b member.Birth) bool { return slices.Contains(p.births, b) })
	case r["sequence"] != nil:
		return n.sequence(p, r)
	case r["rfm"] != nil:
		score, ok := n.score[p.id]
		for i, k := range []string{"r", "f", "m"} {
			want, given := r["rfm"].(map[string]any)[k]
			ok = ok && (!given || slices.ContainsFunc(want.([]any), func(v any) bool { return number(v).Cmp(big.NewRat(int64(score[i]), 1)) == 0 }))
		}
		return ok
	case r["stage"] != nil:
		return slices.Contains(r["stage"].([]any), any(n.stage(p)))
	case r["reachable"] != nil:
		return slices.Contains(p.reach, r["reachable"].(string))
	case r["sample"] != nil:
		s := r["sample"].(map[string]any)
		sum := sha256.Sum256([]byte(fmt.Sprintf("%s:%d", s["salt"], p.id)))
		bucket := binary.BigEndian.Uint64(sum[:8]) % 10000
		return new(big.Rat).SetUint64(bucket).Cmp(new(big.Rat).Mul(number(s["percent"]), big.NewRat(100, 1))) < 0
	}
	return n.event(p, r)
}

func (n *naive) stage(p person) string {
	seen := func(days int, keys ...string) bool {
		return slices.ContainsFunc(n.of[p.id], func(f fact) bool {
			return slices.Contains(keys, f.key) && f.at.After(n.t.AddDate(0, 0, -days))
		})
	}
	switch {
	case seen(365, "content_shared"):
		return "share"
	case seen(365, "order_paid"):
		return "action"
	case seen(180, "account_followed", "chat_started", "message_opened", "message_clicked"):
		return "connect"
	case seen(90, "product_viewed", "cart_added"):
		return "interest"
	}
	return "sense"
}

func (n *naive) attr(p person, r map[string]any) bool {
	var v any
	switch name := r["attr"].(string); name {
	case "registered_at", "first_fact_at":
		at := p.registered
		if name == "first_fact_at" {
			at = p.firstFact
		}
		if at == nil {
			return n.value(nil, r)
		}
		return n.instant(*at, r)
	case "home_store":
		if p.homeStore != nil {
			v = *p.homeStore
		}
	default:
		v = p.attrs[name]
	}
	return n.value(v, r)
}

// instant tests an attribute that is a time by itself: strings of the rule are times too.
func (n *naive) instant(at time.Time, r map[string]any) bool {
	cmp := func(v any) int { return at.Compare(moment(v.(string))) }
	switch r["op"] {
	case "eq":
		return cmp(r["value"]) == 0
	case "ne":
		return cmp(r["value"]) != 0
	case "in":
		return slices.ContainsFunc(r["value"].([]any), func(v any) bool { return cmp(v) == 0 })
	case "nin":
		return !slices.ContainsFunc(r["value"].([]any), func(v any) bool { return cmp(v) == 0 })
	case "gt", "after":
		return cmp(r["value"]) > 0
	case "gte":
		return cmp(r["value"]) >= 0
	case "lt", "before":
		return cmp(r["value"]) < 0
	case "lte":
		return cmp(r["value"]) <= 0
	case "between":
		return cmp(r["value"].([]any)[0]) >= 0 && cmp(r["value"].([]any)[1]) <= 0
	case "exists":
		return r["value"].(bool)
	case "anniversary":
		return n.anniversary(at, r["value"])
	}
	panic(r["op"])
}

func (n *naive) anniversary(at time.Time, days any) bool {
	ahead, _ := number(days).Float64()
	_, month, day := at.In(clock.Shanghai).Date()
	target := n.t.In(clock.Shanghai).AddDate(0, 0, int(ahead))
	leap := time.Date(target.Year(), 12, 31, 0, 0, 0, 0, time.UTC).YearDay() == 366
	if month == time.February && day == 29 && !leap {
		day = 28
	}
	return target.Month() == month && target.Day() == day
}

// value tests a JSON value; nil is absent.
func (n *naive) value(v any, r map[string]any) bool {
	op, want := r["op"].(string), r["value"]
	var elements []any
	list, isList := v.([]any)
	if isList {
		elements = list
	} else if _, isObject := v.(map[string]any); v != nil && !isObject {
		elements = []any{v}
	}
	elements = slices.DeleteFunc(slices.Clone(elements), func(e any) bool { return e == nil })
	equal := func(w any) bool {
		return slices.ContainsFunc(elements, func(e any) bool {
			if _, ok := w.(json.Number); ok {
				x := parse(e)
				return x != nil && x.Cmp(number(w)) == 0
			}
			return plain(e) == plain(w)
		})
	}
	order := func(w any) (int, bool) {
		if v == nil || isList || len(elements) == 0 {
			return 0, false
		}
		if _, ok := w.(json.Number); ok {
			x := parse(v)
			if x == nil {
				return 0, false
			}
			return x.Cmp(number(w)), true
		}
		return strings.Compare(plain(v), w.(string)), true
	}
	switch op {
	case "eq":
		return equal(want)
	case "ne":
		return !equal(want)
	case "in":
		return slices.ContainsFunc(want.([]any), equal)
	case "nin":
		return !slices.ContainsFunc(want.([]any), equal)
	case "gt":
		c, ok := order(want)
		return ok && c > 0
	case "gte":
		c, ok := order(want)
		return ok && c >= 0
	case "lt":
		c, ok := order(want)
		return ok && c < 0
	case "lte":
		c, ok := order(want)
		return ok && c <= 0
	case "between":
		lo, ok1 := order(want.([]any)[0])
		hi, ok2 := order(want.([]any)[1])
		return ok1 && ok2 && lo >= 0 && hi <= 0
	case "exists":
		return len(elements) > 0 == want.(bool)
	case "contains":
		return slices.ContainsFunc(elements, func(e any) bool { return strings.Contains(plain(e), plain(want)) })
	case "before", "after", "anniversary":
		s, ok := v.(string)
		if !ok {
			return false
		}
		at, ok := tryMoment(s)
		if !ok {
			return false
		}
		switch op {
		case "before":
			return at.Before(moment(want.(string)))
		case "after":
			return at.After(moment(want.(string)))
		}
		return n.anniversary(at, want)
	}
	panic(op)
}

func (n *naive) pick(p person, r map[string]any) []fact {
	var out []fact
	for _, f := range n.of[p.id] {
		ok := f.key == r["event"]
		conds, _ := r["where"].([]any)
		for _, c := range conds {
			ok = ok && n.value(f.props[c.(map[string]any)["prop"].(string)], c.(map[string]any))
		}
		if ok {
			out = append(out, f)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].at.Before(out[j].at) })
	return out
}

func (n *naive) within(at time.Time, w any) bool {
	switch w := w.(type) {
	case nil:
		return true
	case string:
		return at.After(n.t.Add(-length(w)))
	case map[string]any:
		if from, ok := w["from"]; ok && at.Before(moment(from.(string))) {
			return false
		}
		to, ok := w["to"]
		return !ok || at.Before(moment(to.(string)))
	}
	panic(w)
}

func (n *naive) event(p person, r map[string]any) bool {
	facts := n.pick(p, r)
	for _, k := range []string{"first", "last"} {
		test, ok := r[k].(map[string]any)
		if !ok {
			continue
		}
		if len(facts) == 0 {
			return false
		}
		at := facts[0].at
		if k == "last" {
			at = facts[len(facts)-1].at
		}
		if t, ok := test["before"]; ok && !at.Before(moment(t.(string))) {
			return false
		}
		if t, ok := test["after"]; ok && !at.After(moment(t.(string))) {
			return false
		}
		return n.within(at, test["within"])
	}
	facts = slices.DeleteFunc(facts, func(f fact) bool { return !n.within(f.at, r["within"]) })
	for _, m := range []string{"sum", "avg", "min", "max", "distinct"} {
		prop, ok := r[m].(string)
		if !ok {
			continue
		}
		var numbers []*big.Rat
		texts := map[string]bool{}
		for _, f := range facts {
			if v := f.props[prop]; v != nil {
				texts[canonicalText(v)] = true
				if x := parse(v); x != nil {
					numbers = append(numbers, x)
				}
			}
		}
		value := new(big.Rat)
		for _, x := range numbers {
			value.Add(value, x)
		}
		slices.SortFunc(numbers, (*big.Rat).Cmp)
		switch {
		case m == "distinct":
			value.SetInt64(int64(len(texts)))
		case m == "sum":
		case len(numbers) == 0:
			return false
		case m == "avg":
			value.Quo(value, big.NewRat(int64(len(numbers)), 1))
		case m == "min":
			value = numbers[0]
		case m == "max":
			value = numbers[len(numbers)-1]
		}
		return compare(value, r)
	}
	count, ok := r["count"].(map[string]any)
	if !ok {
		return len(facts) >= 1
	}
	return compare(big.NewRat(int64(len(facts)), 1), count)
}

func compare(v *big.Rat, ops map[string]any) bool {
	for op, want := range ops {
		member := func() bool {
			return slices.ContainsFunc(want.([]any), func(w any) bool { return v.Cmp(number(w)) == 0 })
		}
		ok := true
		switch op {
		case "eq":
			ok = v.Cmp(number(want)) == 0
		case "ne":
			ok = v.Cmp(number(want)) != 0
		case "gt":
			ok = v.Cmp(number(want)) > 0
		case "gte":
			ok = v.Cmp(number(want)) >= 0
		case "lt":
			ok = v.Cmp(number(want)) < 0
		case "lte":
			ok = v.Cmp(number(want)) <= 0
		case "between":
			ok = v.Cmp(number(want.([]any)[0])) >= 0 && v.Cmp(number(want.([]any)[1])) <= 0
		case "in":
			ok = member()
		case "nin":
			ok = !member()
		}
		if !ok {
			return false
		}
	}
	return true
}

// sequence tries every way to pick the steps.
func (n *naive) sequence(p person, r map[string]any) bool {
	var steps [][]fact
	for _, s := range r["sequence"].([]any) {
		steps = append(steps, n.pick(p, s.(map[string]any)))
	}
	var killers []fact
	if u, ok := r["unless"].(map[string]any); ok {
		killers = n.pick(p, u)
	}
	within := time.Duration(1 << 62)
	if w, ok := r["within"].(string); ok {
		within = length(w)
	}
	var walk func(k int, first, last time.Time) bool
	walk = func(k int, first, last time.Time) bool {
		if k == len(steps) {
			if len(steps) == 1 && r["unless"] != nil {
				last = first.Add(within)
				return !last.After(n.t) && !slices.ContainsFunc(killers, func(f fact) bool { return f.at.After(first) && !f.at.After(last) })
			}
			return last.Sub(first) <= within && !slices.ContainsFunc(killers, func(f fact) bool { return f.at.After(first) && f.at.Before(last) })
		}
		for _, f := range steps[k] {
			if k == 0 && walk(1, f.at, f.at) || k > 0 && f.at.After(last) && walk(k+1, first, f.at) {
				return true
			}
		}
		return false
	}
	return walk(0, time.Time{}, time.Time{})
}

func (n *naive) rank() {
	type row struct {
		id      member.ID
		r, f, m *big.Rat
	}
	var rows []row
	for _, p := range n.people {
		if !n.exists(p) {
			continue
		}
		var last time.Time
		count, sum := int64(0), new(big.Rat)
		for _, f := range n.of[p.id] {
			if f.key != "order_paid" || !f.at.After(n.t.AddDate(0, 0, -365)) {
				continue
			}
			count++
			if x := parse(f.props["amount_fen"]); x != nil {
				sum.Add(sum, x)
			}
			if f.at.After(last) {
				last = f.at
			}
		}
		if count > 0 {
			rows = append(rows, row{p.id, big.NewRat(int64(n.t.Sub(last)/(24*time.Hour)), 1), big.NewRat(count, 1), sum})
		}
	}
	n.score = map[member.ID][3]int{}
	for i, value := range []func(row) *big.Rat{func(r row) *big.Rat { return r.r }, func(r row) *big.Rat { return r.f }, func(r row) *big.Rat { return r.m }} {
		sort.Slice(rows, func(a, b int) bool {
			if c := value(rows[a]).Cmp(value(rows[b])); c != 0 {
				return c < 0
			}
			return rows[a].id < rows[b].id
		})
		size, extra := len(rows)/5, len(rows)%5 // the first tiles take one row more each
		tile, left := 1, 0
		for _, r := range rows {
			if left == 0 {
				left = size
				if tile <= extra {
					left++
				}
				tile++
			}
			left--
			s := n.score[r.id]
			s[i] = tile - 1
			if i == 0 {
				s[i] = 6 - s[i]
			}
			n.score[r.id] = s
		}
	}
}

func length(w string) time.Duration {
	var n int
	var unit rune
	_, err := fmt.Sscanf(w, "%d%c", &n, &unit)
	if err != nil {
		panic(err)
	}
	return time.Duration(n) * map[rune]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 168 * time.Hour}[unit]
}

func tryMoment(s string) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, clock.Shanghai); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func moment(s string) time.Time {
	t, ok := tryMoment(s)
	if !ok {
		panic("not a time: " + s)
	}
	return t
}

func number(v any) *big.Rat {
	r, ok := new(big.Rat).SetString(string(v.(json.Number)))
	if !ok {
		panic(v)
	}
	return r
}

// parse reads a stored value as a number; nil is unparsable.
func parse(v any) *big.Rat {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = string(v)
	case string:
		s = strings.TrimSpace(v)
		if strings.ContainsAny(s, "/xXpP_bBoO") || s == "" {
			return nil
		}
	default:
		return nil
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil
	}
	return r
}

func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number, bool:
		return fmt.Sprint(v)
	}
	return "\x00no scalar"
}

func canonicalText(v any) string {
	if s := plain(v); s[:min(1, len(s))] != "\x00" {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// bucketOf is the specification of a sample's bucket.
func bucketOf(salt string, id int64) int64 {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s:%d", salt, id)))
	return int64(binary.BigEndian.Uint64(sum[:8]) % 10000)
}
