package segments

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member/activity"
)

// Codes of advice.
const (
	adviceEvent = "unknown_event"
	adviceProp  = "unknown_prop"
	adviceAttr  = "unknown_attr"
)

// adviceSample is how many of the newest activities of a key, and of the newest members, are asked for the names they carry.
const adviceSample = 1000

// Advise returns what is allowed in a rule and probably not meant: activity keys that nobody ever logged, and properties
// and attributes that nobody carries. Such a condition sees nothing, and says so to nobody. Keys are free, so it may also
// be right: the first of its kind is still to come.
func (s *Service) Advise(ctx context.Context, db pg.DB, rule Rule) ([]fault.Field, error) {
	a := adviser{ctx: ctx, db: db, props: map[string][]string{}}
	for _, m := range mentions(rule.root, "") {
		if err := a.judge(m); err != nil {
			return nil, fmt.Errorf("advise on a rule: %w", err)
		}
	}
	return a.found, nil
}

// mention is one name in a rule, and where it stands.
type mention struct {
	path string
	code string // what advice it may need
	key  string // the activity key of an event or a property
	name string
}

func mentions(n node, path string) (out []mention) {
	of := func(f facts, path string) {
		out = append(out, mention{join(path, "event"), adviceEvent, f.Key, f.Key})
		for i, c := range f.Where {
			out = append(out, mention{join(index(join(path, "where"), i), "prop"), adviceProp, f.Key, c.name})
		}
	}
	switch n := n.(type) {
	case allNode:
		for i, c := range n.All {
			out = append(out, mentions(c, index(join(path, "all"), i))...)
		}
	case anyNode:
		for i, c := range n.Any {
			out = append(out, mentions(c, index(join(path, "any"), i))...)
		}
	case notNode:
		return mentions(n.Not, join(path, "not"))
	case attrNode:
		out = append(out, mention{join(path, "attr"), adviceAttr, "", n.name})
	case eventNode:
		of(n.facts, path)
		if n.prop != "" {
			out = append(out, mention{join(path, string(n.measure)), adviceProp, n.Key, n.prop})
		}
	case occurrenceNode:
		of(n.facts, path)
	case sequenceNode:
		for i, f := range n.steps {
			of(f, index(join(path, "sequence"), i))
		}
		if n.unless != nil {
			of(*n.unless, join(path, "unless"))
		}
	case tagNode, segmentNode, listNode, rfmNode, stageNode, reachableNode, sampleNode:
	}
	return out
}

// adviser knows the names that are in use, each list read when it is first wanted.
type adviser struct {
	ctx   context.Context
	db    pg.DB
	keys  []string
	props map[string][]string // by key; absent: not read
	attrs []string
	found []fault.Field
}

func (a *adviser) judge(m mention) error {
	known, err := a.known(m)
	if err != nil || known == nil || slices.Contains(known, m.name) {
		return err
	}
	f := fault.Field{Path: m.path, Code: m.code, Hint: fault.Text{
		ZH: "自定义名称可以使用;请检查拼写,或忽略此提示", EN: "names of your own are allowed: check the spelling, or ignore this",
	}}
	switch m.code {
	case adviceEvent:
		f.Text = fault.Text{ZH: "从未记录过活动 " + m.name + ",该条件不会数到任何活动", EN: "no activity " + m.name + " was ever logged: the condition counts none"}
	case adviceProp:
		f.Text = fault.Text{
			ZH: fmt.Sprintf("最近 %d 条 %s 活动都没有属性 %s", adviceSample, m.key, m.name),
			EN: fmt.Sprintf("none of the newest %d activities %s has a property %s", adviceSample, m.key, m.name),
		}
	case adviceAttr:
		f.Text = fault.Text{
			ZH: fmt.Sprintf("最近 %d 位会员都没有属性 %s", adviceSample, m.name),
			EN: fmt.Sprintf("none of the newest %d members has an attribute %s", adviceSample, m.name),
		}
	}
	if near := nearest(m.name, known); near != "" {
		f.Hint = fault.Text{ZH: "是否想写 " + near + "?", EN: "did you mean " + near + "?"}
	}
	a.found = append(a.found, f)
	return nil
}

// loggedKeysSQL steps from key to key through the index, however many activities each has.
const loggedKeysSQL = `
WITH RECURSIVE keys AS (
    (SELECT key FROM member.activities ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (SELECT a.key FROM member.activities a WHERE a.key > k.key ORDER BY a.key LIMIT 1)
    FROM keys k
    WHERE k.key IS NOT NULL
)
SELECT key
FROM keys
WHERE key IS NOT NULL
LIMIT 1000`

const loggedPropsSQL = `
SELECT DISTINCT jsonb_object_keys(a.props)
FROM (
    SELECT props
    FROM member.activities
    WHERE key = @key
    ORDER BY occurred_at DESC
    LIMIT @sample) a
WHERE jsonb_typeof(a.props) = 'object'`

const carriedAttrsSQL = `
SELECT DISTINCT jsonb_object_keys(m.attrs)
FROM (
    SELECT attrs
    FROM member.members
    ORDER BY id DESC
    LIMIT @sample) m`

// known returns the names that may stand where m stands, or nil if nothing can be said: for properties of a key that was
// never logged.
func (a *adviser) known(m mention) ([]string, error) {
	switch m.code {
	case adviceEvent:
		house := houseKeys()
		if slices.Contains(house, m.name) {
			return house, nil
		}
		if a.keys == nil {
			logged, err := a.names(loggedKeysSQL, pg.Args{})
			if err != nil {
				return nil, err
			}
			a.keys = append(house, logged...)
		}
		return a.keys, nil
	case adviceProp:
		if names, ok := a.props[m.key]; ok {
			return names, nil
		}
		names, err := a.names(loggedPropsSQL, pg.Args{"key": m.key, "sample": adviceSample})
		if err != nil {
			return nil, err
		}
		names = append(houseProps(m.key), names...)
		a.props[m.key] = names
		return names, nil
	}
	if a.attrs == nil {
		carried, err := a.names(carriedAttrsSQL, pg.Args{"sample": adviceSample})
		if err != nil {
			return nil, err
		}
		a.attrs = slices.Concat(builtinTimes, []string{builtinHomeStore, "gender", "birthday", "province", "city"}, carried)
	}
	return a.attrs, nil
}

func (a *adviser) names(sql string, args pg.Args) ([]string, error) {
	rows, err := a.db.Query(a.ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func houseKeys() (out []string) {
	for _, k := range activity.Specs() {
		out = append(out, k.Key)
	}
	return out
}

func houseProps(key string) (out []string) {
	for _, k := range activity.Specs() {
		if k.Key == key {
			for _, p := range k.Props {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// nearest returns the known name that the given one is most likely a slip or a part of, or "".
func nearest(name string, known []string) string {
	plain := snake(name)
	best, distance := "", max(2, len(plain)/4)+1
	for _, k := range known {
		if d := edits(plain, snake(k)); d < distance {
			best, distance = k, d
		}
	}
	if best == "" && len(plain) >= 4 {
		if i := slices.IndexFunc(known, func(k string) bool { return strings.Contains(snake(k), plain) }); i >= 0 {
			return known[i]
		}
	}
	return best
}

// snake writes Order Paid, orderPaid and order-paid alike.
func snake(name string) string {
	var out strings.Builder
	lower := false
	for _, r := range name {
		switch {
		case unicode.IsUpper(r):
			if lower {
				out.WriteByte('_')
			}
			out.WriteRune(unicode.ToLower(r))
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			out.WriteRune(r)
		default:
			out.WriteByte('_')
		}
		lower = unicode.IsLower(r)
	}
	return out.String()
}

// edits is the number of characters to insert, remove or replace between two short texts.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, q := range y {
			cost := diagonal
			if r != q {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(y)]
}
