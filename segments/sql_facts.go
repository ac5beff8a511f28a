package segments

import (
	"fmt"
	"strings"
)

// source returns FROM and WHERE of the facts of one leaf as activities a with their roots, up to the instant and within
// the window.
func (c *compiler) source(f facts, w window) string {
	return "FROM member.activities a " + c.roots("a") + "\nWHERE " + c.facts(f, w)
}

// facts returns the condition on activities a.
func (c *compiler) facts(f facts, w window) string {
	q := "a.key = " + c.arg(f.Key, "text")
	if c.restricted {
		// An array, not a join: the planner must not scan the log for a handful of births.
		q += " AND a.birth = ANY(ARRAY(SELECT birth FROM births))"
	}
	q += " AND a.occurred_at <= " + c.instant(c.at)
	if w.rolling() {
		q += " AND a.occurred_at > " + c.instant(c.at.Add(-w.length))
	}
	if w.from != nil {
		q += " AND a.occurred_at >= " + c.instant(w.from.at)
	}
	if w.to != nil {
		q += " AND a.occurred_at < " + c.instant(w.to.at)
	}
	if len(f.Where) > 0 {
		q += " AND " + c.where(f)
	}
	return q
}

func (c *compiler) where(f facts) string {
	tests := make([]string, len(f.Where))
	for i, t := range f.Where {
		tests[i] = "(" + c.test(c.prop(t.name), t) + ")"
	}
	return strings.Join(tests, " AND ")
}

func (c *compiler) prop(name string) value { return c.member("a.props", name) }

// event folds facts per root, then tests. A test that zero satisfies is turned round: everybody but the roots with facts
// that fail it.
func (c *compiler) event(n eventNode) piece {
	if len(n.tests) == 0 {
		return piece{set: c.anybody(n.facts, n.within)}
	}
	of := "SELECT " + c.root("a") + " AS id "
	var whole, count string // the aggregate, and the factor on the right-hand side
	from := c.source(n.facts, n.within)
	v := ""
	if n.prop != "" {
		v = "segments.number(" + c.prop(n.prop).json + ")"
	}
	switch n.measure {
	case measureCount:
		whole = "count(*)"
	case measureSum:
		whole = "coalesce(sum(" + v + "), 0)"
	case measureMin:
		whole = "min(" + v + ")"
	case measureMax:
		whole = "max(" + v + ")"
	case measureAvg:
		// Compared as sum against n × count, because a quotient would be rounded.
		whole, count = "sum("+v+")", "count("+v+")"
	case measureDistinct:
		inner := "SELECT DISTINCT " + c.root("a") + " AS id, " + c.prop(n.prop).text + " AS v " + from
		return c.having(n, "SELECT f.id FROM ("+inner+") f GROUP BY f.id HAVING ", "count(f.v)", "")
	}
	return c.having(n, of+from+" GROUP BY 1 HAVING ", whole, count)
}

// anybody selects the roots that have such a fact at all. Of the many facts of a birth one is enough, so births are made
// distinct before their roots are looked up.
func (c *compiler) anybody(f facts, w window, limits ...string) string {
	q := "SELECT DISTINCT a.birth FROM member.activities a\nWHERE " + c.facts(f, w)
	for _, l := range limits {
		q += " AND a.occurred_at" + l
	}
	return "SELECT " + c.root("f") + " AS id FROM (" + q + ") f " + c.roots("f")
}

func (c *compiler) having(n eventNode, query, value, factor string) piece {
	parts := make([]string, len(n.tests))
	for i, t := range n.tests {
		parts[i] = c.numeric(value, factor, t)
	}
	test := strings.Join(parts, " AND ")
	if n.measure.overNothing() && holdsAtZero(n.tests) {
		return piece{minus: query + "NOT (" + test + ")"}
	}
	return piece{set: query + test}
}

// numeric compares an aggregate; it is NULL, so not satisfied, where the aggregate has no value.
func (c *compiler) numeric(value, factor string, t cond) string {
	operand := func(i int) string {
		if factor == "" {
			return c.number(t.values[i])
		}
		return c.number(t.values[i]) + " * " + factor
	}
	operands := make([]string, len(t.values))
	for i := range t.values {
		operands[i] = operand(i)
	}
	switch t.op {
	case opEq, opIn:
		return value + " IN (" + strings.Join(operands, ", ") + ")"
	case opNe, opNin:
		return value + " NOT IN (" + strings.Join(operands, ", ") + ")"
	case opGt:
		return value + " > " + operands[0]
	case opGte:
		return value + " >= " + operands[0]
	case opLt:
		return value + " < " + operands[0]
	case opLte:
		return value + " <= " + operands[0]
	case opBetween:
		return "(" + value + " >= " + operands[0] + " AND " + value + " <= " + operands[1] + ")"
	case opExists, opContains, opBefore, opAfter, opAnniversary:
	}
	panic("segments: operator " + string(t.op) + " on an aggregate")
}

// holdsAtZero reports whether 0 satisfies every test.
func holdsAtZero(tests []cond) bool {
	for _, t := range tests {
		sign := make([]int, len(t.values)) // of 0 compared with the value
		any := false
		for i, v := range t.values {
			sign[i] = -rat(v.text).Sign()
			any = any || sign[i] == 0
		}
		var ok bool
		switch t.op {
		case opEq, opIn:
			ok = any
		case opNe, opNin:
			ok = !any
		case opGt:
			ok = sign[0] > 0
		case opGte:
			ok = sign[0] >= 0
		case opLt:
			ok = sign[0] < 0
		case opLte:
			ok = sign[0] <= 0
		case opBetween:
			ok = sign[0] >= 0 && sign[1] <= 0
		case opExists, opContains, opBefore, opAfter, opAnniversary:
		}
		if !ok {
			return false
		}
	}
	return true
}

// occurrence tests the first or last fact. A fact before a lower bound cannot be the last that satisfies it, nor one behind
// an upper bound the first: such bounds limit the facts that are read, and where no other is left, any fact will do.
func (c *compiler) occurrence(n occurrenceNode) string {
	var lower, upper []string
	if n.after != nil {
		lower = append(lower, " > "+c.instant(n.after.at))
	}
	if n.within.rolling() {
		lower = append(lower, " > "+c.instant(c.at.Add(-n.within.length)))
	}
	if n.within.from != nil {
		lower = append(lower, " >= "+c.instant(n.within.from.at))
	}
	if n.before != nil {
		upper = append(upper, " < "+c.instant(n.before.at))
	}
	if n.within.to != nil {
		upper = append(upper, " < "+c.instant(n.within.to.at))
	}
	limits, tests, pick := lower, upper, "max(a.occurred_at)"
	if !n.last {
		limits, tests, pick = upper, lower, "min(a.occurred_at)"
	}
	if len(tests) == 0 {
		return c.anybody(n.facts, window{}, limits...)
	}
	q := "SELECT " + c.root("a") + " AS id " + c.source(n.facts, window{})
	for _, l := range limits {
		q += " AND a.occurred_at" + l
	}
	return q + " GROUP BY 1 HAVING " + pick + strings.Join(tests, " AND "+pick)
}

// sequence walks each member's facts backwards in time, once. For a row of the last step the chain ends there; for a row
// of step k it ends where the earliest chain of step k+1 after it ends, which is the least end over all strictly later
// rows: a running minimum over the later groups of equal time. A row of step 1 then knows the earliest end of a chain from
// it, and that is the best one both for the span and for staying clear of the unless event.
func (c *compiler) sequence(n sequenceNode) string {
	keys := []string{}
	flags := make([]string, 0, len(n.steps)+1)
	flag := func(f facts, name string) {
		keys = append(keys, f.Key)
		test := "a.key = " + c.arg(f.Key, "text")
		if len(f.Where) > 0 {
			test += " AND " + c.where(f)
		}
		flags = append(flags, "("+test+") AS "+name)
	}
	for i, s := range n.steps {
		flag(s, fmt.Sprintf("s%d", i+1))
	}
	if n.unless != nil {
		flag(*n.unless, "u")
	} else {
		flags = append(flags, "false AS u")
	}
	q := fmt.Sprintf("SELECT %s AS root, a.occurred_at AS at, %s FROM member.activities a %s WHERE a.key = ANY(%s) AND a.occurred_at <= %s",
		c.root("a"), strings.Join(flags, ", "), c.roots("a"), c.array(distinct(keys), "text[]"), c.instant(c.at))
	if c.restricted {
		q += " AND a.birth = ANY(ARRAY(SELECT birth FROM births))"
	} else if len(n.steps) > 1 {
		// Sorting is what costs: only those who came to the last step, which is mostly the rarest.
		end := n.steps[len(n.steps)-1]
		q += fmt.Sprintf(" AND %s IN (%s)", c.root("a"), c.anybody(end, window{}))
	}
	const later = "OVER (PARTITION BY root ORDER BY at DESC GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
	last := len(n.steps)
	q = fmt.Sprintf("SELECT q.*, CASE WHEN s%d THEN at END AS e%d, min(at) FILTER (WHERE u) %s AS killed FROM (%s) q", last, last, later, q)
	for k := last - 1; k >= 1; k-- {
		q = fmt.Sprintf("SELECT q.*, CASE WHEN s%d THEN min(e%d) %s END AS e%d FROM (%s) q", k, k+1, later, k, q)
	}
	q = "SELECT root AS id FROM (" + q + ") q WHERE s1"
	within := ""
	if n.within > 0 {
		within = c.arg(n.within.Microseconds(), "bigint") + " * interval '1 microsecond'"
	}
	switch {
	case last == 1 && n.unless != nil:
		return q + fmt.Sprintf(" AND at + %s <= %s AND (killed IS NULL OR killed > at + %s)", within, c.instant(c.at), within)
	case last == 1:
		return q
	}
	q += " AND e1 IS NOT NULL AND (killed IS NULL OR killed >= e1)"
	if within != "" {
		q += " AND e1 <= at + " + within
	}
	return q
}

func distinct(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// rfm ranks everybody in the universe who paid an order in the last 365 days, also when only a few members are asked for:
// a quintile is a place among all.
func (c *compiler) rfm(n rfmNode) string {
	at, from := c.instant(c.at), c.instant(c.at.Add(-rfmWindow))
	q := fmt.Sprintf(`
SELECT id,
    6 - ntile(5) OVER (ORDER BY days, id) AS r,
    ntile(5) OVER (ORDER BY orders, id) AS f,
    ntile(5) OVER (ORDER BY amount, id) AS m
FROM (
    SELECT f.id, floor(extract(epoch FROM %[1]s - f.last) / 86400) AS days, f.orders, f.amount
    FROM (
        SELECT coalesce(b.root, a.birth) AS id, max(a.occurred_at) AS last, count(*) AS orders,
            coalesce(sum(segments.number(a.props -> 'amount_fen')), 0) AS amount
        FROM member.activities a
        LEFT JOIN member.births b ON b.birth = a.birth AND b.birth <> b.root
        WHERE a.key = 'order_paid' AND a.occurred_at > %[2]s AND a.occurred_at <= %[1]s
        GROUP BY 1
    ) f
    JOIN member.members m ON m.id = f.id AND m.is_member AND coalesce(m.registered_at, m.first_fact_at) <= %[1]s
) facts`, at, from)
	var tests []string
	for _, s := range []struct {
		name   string
		scores []int
	}{{"r", n.R}, {"f", n.F}, {"m", n.M}} {
		if len(s.scores) > 0 {
			tests = append(tests, fmt.Sprintf("%s = ANY(%s)", s.name, c.arg(s.scores, "integer[]")))
		}
	}
	return "SELECT id FROM (" + q + ") rfm WHERE " + strings.Join(tests, " AND ") + c.only(" AND id")
}
