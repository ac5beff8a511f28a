package segments

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// statement is a compiled rule: one SELECT of member ids. The text depends on the rule's shape only; everything that comes
// from outside is a parameter.
type statement struct {
	with string // shared parts
	sql  string
	args pg.Args
}

// wrap puts the query into another one, written with one %s.
func (s statement) wrap(format string) statement {
	s.sql = fmt.Sprintf(format, s.sql)
	return s
}

// query returns the text and its arguments, without those that simplification has left unused.
func (s statement) query() (string, pg.Args) {
	text := s.with + "\n" + s.sql
	args := pg.Args{}
	for name, v := range s.args {
		if strings.Contains(text, "@"+name+"::") {
			args[name] = v
		}
	}
	return text, args
}

// compiler turns a rule into set algebra. Conditions on the member's own row become predicates of one scan; everything
// else becomes a set of roots of its own, grouped before it is combined, and sets are combined by INTERSECT, UNION and
// EXCEPT. (One pass with FILTER aggregates over all keys was measured five times slower, see docs/architecture.md.)
//
// The same rule restricted to a few members reads their births first and goes through activities_birth.
type compiler struct {
	at         time.Time
	restricted bool
	refs       map[string]Rule // rules of referenced segments by code
	args       pg.Args
	memo       map[string]string // value → placeholder, so that equal values share one
}

func newCompiler(at time.Time, ids []member.ID, refs map[string]Rule) *compiler {
	c := &compiler{at: at, refs: refs, args: pg.Args{}, memo: map[string]string{}}
	if ids != nil {
		c.restricted = true
		c.args["ids"] = int64s(ids)
	}
	return c
}

func int64s[T ~int64](in []T) []int64 {
	out := make([]int64, len(in))
	for i, v := range in {
		out[i] = int64(v)
	}
	return out
}

// compile returns the statement that selects the members for whom the rule holds at an instant: all of them, or those
// among ids unless ids is nil.
func compile(r Rule, at time.Time, ids []member.ID, refs map[string]Rule) statement {
	c := newCompiler(at, ids, refs)
	return c.statement(c.members(r.root))
}

// statement puts the shared parts before a query.
func (c *compiler) statement(query string) statement {
	with := "WITH universe AS (\n" + c.universe("") + ")"
	if c.restricted {
		with += ", births AS MATERIALIZED (SELECT birth, root FROM member.births WHERE root = ANY(@ids::bigint[]))"
	}
	return statement{with: with, sql: query, args: c.args}
}

// members returns a query for the members of the universe for whom n holds.
func (c *compiler) members(n node) string {
	p := c.node(n)
	switch {
	case p.pred != "":
		return c.universe(p.pred)
	case p.minus != "":
		return except("SELECT id FROM universe", p.minus)
	case p.inside:
		return p.set
	}
	return intersect("SELECT id FROM universe", p.set)
}

// piece is a compiled subtree in the form that combines best; exactly one of the first three is filled.
type piece struct {
	pred   string // a predicate over member.members m, never NULL
	set    string // a query for ids, duplicates allowed
	minus  string // a query for the ids that do NOT satisfy it; everybody else does
	inside bool   // set stays within the universe
}

func (c *compiler) node(n node) piece {
	switch n := n.(type) {
	case allNode:
		return c.all(n)
	case anyNode:
		return c.any(n)
	case notNode:
		p := c.node(n.Not)
		switch {
		case p.pred != "":
			return piece{pred: "NOT (" + p.pred + ")"}
		case p.minus != "":
			return piece{set: p.minus}
		}
		return piece{minus: p.set}
	case attrNode:
		return piece{pred: c.attr(n)}
	case tagNode:
		return piece{pred: c.arg(n.Tag, "text") + " = ANY(m.tags)"}
	case sampleNode:
		return piece{pred: fmt.Sprintf("segments.bucket(%s, m.id) < %s", c.arg(n.salt, "text"), c.arg(n.below, "bigint"))}
	case segmentNode:
		return c.node(c.refs[n.Segment].root)
	case stageNode:
		return c.node(n.rule())
	case reachableNode:
		return piece{set: "SELECT r.id FROM member.reach r WHERE r.granted AND r.channel = " + c.arg(n.Reachable, "text") + c.only(" AND r.id")}
	case listNode:
		return piece{set: fmt.Sprintf(`SELECT %s AS id FROM segments.list_members l JOIN segments.lists k ON k.id = l.list_id %s WHERE k.code = %s`,
			c.root("l"), c.roots("l"), c.arg(n.List, "text"))}
	case eventNode:
		return c.event(n)
	case occurrenceNode:
		return piece{set: c.occurrence(n)}
	case sequenceNode:
		return piece{set: c.sequence(n)}
	case rfmNode:
		return piece{set: c.rfm(n), inside: true}
	}
	panic(fmt.Sprintf("segments: no SQL for %T", n))
}

func (c *compiler) all(n allNode) piece {
	var preds, sets, minus []string
	inside := false
	for _, child := range n.All {
		p := c.node(child)
		switch {
		case p.pred != "":
			preds = append(preds, "("+p.pred+")")
		case p.minus != "":
			minus = append(minus, p.minus)
		default:
			sets, inside = append(sets, p.set), inside || p.inside
		}
	}
	if len(sets) == 0 && len(minus) == 0 {
		return piece{pred: strings.Join(preds, " AND ")}
	}
	if len(sets) == 0 && len(preds) == 0 {
		return piece{minus: union(minus...)}
	}
	if len(preds) > 0 {
		sets, inside = append([]string{c.universe(strings.Join(preds, " AND "))}, sets...), true
	}
	return piece{set: except(intersect(sets...), minus...), inside: inside}
}

func (c *compiler) any(n anyNode) piece {
	var preds, sets, minus []string
	inside := true
	for _, child := range n.Any {
		p := c.node(child)
		switch {
		case p.pred != "":
			preds = append(preds, "("+p.pred+")")
		case p.minus != "":
			minus = append(minus, p.minus)
		default:
			sets, inside = append(sets, p.set), inside && p.inside
		}
	}
	if len(sets) == 0 && len(minus) == 0 {
		return piece{pred: strings.Join(preds, " OR ")}
	}
	if len(preds) > 0 {
		sets = append([]string{c.universe(strings.Join(preds, " OR "))}, sets...)
	}
	if len(minus) > 0 {
		// ¬a ∨ ¬b ∨ S = ¬((a ∧ b) − S)
		kept := intersect(minus...)
		if len(sets) > 0 {
			kept = except(kept, sets...)
		}
		return piece{minus: kept}
	}
	return piece{set: union(sets...), inside: inside}
}

func combine(op string, queries []string) string {
	if len(queries) == 1 {
		return queries[0]
	}
	parts := make([]string, len(queries))
	for i, q := range queries {
		parts[i] = "(" + q + ")"
	}
	return strings.Join(parts, "\n"+op+"\n")
}

func union(queries ...string) string     { return combine("UNION", queries) }
func intersect(queries ...string) string { return combine("INTERSECT", queries) }
func except(from string, minus ...string) string {
	if len(minus) == 0 {
		return from
	}
	return combine("EXCEPT", append([]string{from}, minus...))
}

// universe returns the query for members whose registered_at, else first fact, is not after the instant, and who satisfy
// the predicate.
func (c *compiler) universe(pred string) string {
	q := "SELECT m.id FROM member.members m WHERE m.is_member AND coalesce(m.registered_at, m.first_fact_at) <= " +
		c.instant(c.at) + c.only(" AND m.id")
	if pred != "" {
		q += " AND (" + pred + ")"
	}
	return q
}

// only restricts a column to the wanted ids, when there are any.
func (c *compiler) only(column string) string {
	if !c.restricted {
		return ""
	}
	return column + " = ANY(@ids::bigint[])"
}

// roots returns the join by which root knows the root of the births of t. Most births are their own root, so over everybody
// only the others are looked up, which fit into memory where all births do not.
func (c *compiler) roots(t string) string {
	if c.restricted {
		return "JOIN births b ON b.birth = " + t + ".birth"
	}
	return "LEFT JOIN member.births b ON b.birth = " + t + ".birth AND b.birth <> b.root"
}

func (c *compiler) root(t string) string {
	if c.restricted {
		return "b.root"
	}
	return "coalesce(b.root, " + t + ".birth)"
}

// arg binds a value and returns its placeholder with a cast.
func (c *compiler) arg(v any, typ string) string {
	key := fmt.Sprintf("%s:%#v", typ, v)
	name, ok := c.memo[key]
	if !ok {
		name = "p" + strconv.Itoa(len(c.memo)+1)
		c.memo[key] = name
		c.args[name] = v
	}
	return "@" + name + "::" + typ
}

func (c *compiler) instant(t time.Time) string { return c.arg(t.UTC(), "timestamptz") }

// number binds a literal of the rule; it travels as text so that nothing is rounded.
func (c *compiler) number(s scalar) string { return c.arg(s.text, "text") + "::numeric" }

// array binds a list under a name of its own.
func (c *compiler) array(v []string, typ string) string {
	return c.arg(v, "text[]") + "::" + typ
}

// attr compiles a condition on the member's row.
func (c *compiler) attr(n attrNode) string {
	switch {
	case slices.Contains(builtinTimes, n.name):
		return c.timeTest("m."+n.name, n.cond)
	case n.name == builtinHomeStore:
		return c.test(value{"to_jsonb(m.home_store)", "m.home_store"}, n.cond)
	}
	return c.test(c.member("m.attrs", n.name), n.cond)
}

// value is a jsonb value that may be NULL: as jsonb, and as the text of a scalar. Of lists and objects text is their JSON.
type value struct{ json, text string }

func (c *compiler) member(object, name string) value {
	key := c.arg(name, "text")
	return value{"(" + object + " -> " + key + ")", "(" + object + " ->> " + key + ")"}
}

// timeTest compiles a condition on a timestamptz column.
func (c *compiler) timeTest(column string, t cond) string {
	at := func(i int) string { return c.instant(t.times[i].at) }
	any := func() string {
		list := make([]string, len(t.times))
		for i := range t.times {
			list[i] = at(i)
		}
		return column + " IN (" + strings.Join(list, ", ") + ")"
	}
	switch t.op {
	case opEq, opIn:
		return known(any())
	case opNe, opNin:
		return "NOT " + known(any())
	case opGt, opAfter:
		return known(column + " > " + at(0))
	case opGte:
		return known(column + " >= " + at(0))
	case opLt, opBefore:
		return known(column + " < " + at(0))
	case opLte:
		return known(column + " <= " + at(0))
	case opBetween:
		return known(column + " BETWEEN " + at(0) + " AND " + at(1))
	case opExists:
		if t.want {
			return column + " IS NOT NULL"
		}
		return column + " IS NULL"
	case opAnniversary:
		return known("segments.month_day(" + column + ") = ANY(" + c.array(anniversary(c.at, t.days), "text[]") + ")")
	case opContains:
	}
	panic("segments: operator " + string(t.op) + " on a time attribute")
}

// known makes a comparison with something absent false instead of NULL, so that NOT means what it says.
func known(expr string) string { return "coalesce(" + expr + ", false)" }

// test compiles a condition on a value. Every look at a jsonb value unpacks it again, so the forms look as rarely as
// they can.
func (c *compiler) test(v value, t cond) string {
	switch t.op {
	case opEq, opIn:
		return c.anyOf(v, t.values)
	case opNe, opNin:
		return "NOT (" + c.anyOf(v, t.values) + ")"
	case opGt, opGte, opLt, opLte:
		sign := map[op]string{opGt: " > ", opGte: " >= ", opLt: " < ", opLte: " <= "}[t.op]
		return known(c.ordered(v, t.values[0], sign))
	case opBetween:
		return known(c.ordered(v, t.values[0], " >= ") + " AND " + c.ordered(v, t.values[1], " <= "))
	case opExists:
		there := known(v.json + ` @? '$[*] ? (@ != null)'`)
		if t.want {
			return there
		}
		return "NOT " + there
	case opContains:
		part := c.arg(t.values[0].text, "text")
		return fmt.Sprintf("CASE jsonb_typeof(%[1]s) WHEN 'array' THEN segments.any_contains(%[1]s, %[2]s) ELSE coalesce(strpos(segments.scalar(%[1]s), %[2]s) > 0, false) END", v.json, part)
	case opBefore:
		return known("segments.instant(" + v.json + ") < " + c.instant(t.times[0].at))
	case opAfter:
		return known("segments.instant(" + v.json + ") > " + c.instant(t.times[0].at))
	case opAnniversary:
		// Of a bare date the text tells whether it is worth reading.
		days := c.array(anniversary(c.at, t.days), "text[]")
		return fmt.Sprintf("CASE WHEN length(%[1]s) = 10 AND substr(%[1]s, 6) <> ALL(%[3]s) THEN false ELSE coalesce(segments.month_day(segments.instant(%[2]s)) = ANY(%[3]s), false) END",
			v.text, v.json, days)
	}
	panic("segments: no SQL for operator " + string(t.op))
}

// ordered compares with a number as numbers, with a string byte by byte.
func (c *compiler) ordered(v value, s scalar, sign string) string {
	if s.number {
		return "segments.number(" + v.json + ")" + sign + c.number(s)
	}
	return "segments.scalar(" + v.json + `) COLLATE "C"` + sign + c.arg(s.text, "text")
}

// anyOf is true if the value, or any element of a list value, equals one of the wanted: numbers as numbers, strings and
// booleans as text.
func (c *compiler) anyOf(v value, wanted []scalar) string {
	var texts, numbers []string
	text := v.text
	for _, s := range wanted {
		if s.number {
			numbers = append(numbers, s.text)
			continue
		}
		texts = append(texts, s.text)
		if s.text != "" && (s.text[0] == '[' || s.text[0] == '{') {
			text = "segments.scalar(" + v.json + ")" // it could equal the JSON of a list or an object
		}
	}
	var tests []string
	if len(texts) > 0 {
		tests = append(tests, fmt.Sprintf("CASE WHEN jsonb_typeof(%[1]s) = 'array' THEN segments.any_text(%[1]s, %[3]s) ELSE coalesce(%[2]s = ANY(%[3]s), false) END",
			v.json, text, c.array(texts, "text[]")))
	}
	if len(numbers) > 0 {
		tests = append(tests, fmt.Sprintf(`CASE jsonb_typeof(%[1]s) WHEN 'number' THEN (%[1]s)::numeric = ANY(%[3]s) WHEN 'array' THEN segments.any_number(%[1]s, %[3]s)
    WHEN 'string' THEN coalesce(segments.number(%[2]s) = ANY(%[3]s), false) ELSE false END`, v.json, v.text, c.array(numbers, "numeric[]")))
	}
	return strings.Join(tests, " OR ")
}

// anniversary lists the month-days (MM-DD) whose anniversary falls days after the Shanghai day of t. 29 February counts as
// the 28th in other years.
func anniversary(t time.Time, days int) []string {
	d := t.In(clock.Shanghai).AddDate(0, 0, days)
	out := []string{d.Format("01-02")}
	if out[0] == "02-28" && d.AddDate(0, 0, 1).Month() == time.March {
		out = append(out, "02-29")
	}
	return out
}
