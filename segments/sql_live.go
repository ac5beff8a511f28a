package segments

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
)

// settle returns the statement that brings the stored membership of a segment in line with its rule at an instant, for
// the ids or, if ids is nil, for everybody, and returns who came and who went.
func settle(segment id.UUID, r Rule, at time.Time, ids []member.ID, refs map[string]Rule) statement {
	c := newCompiler(at, ids, refs)
	held := c.members(r.root)
	c.args["segment"] = segment
	st := c.statement("")
	st.with += ", held AS MATERIALIZED (\n" + held + "\n)"
	st.sql = fmt.Sprintf(`, gone AS (
    DELETE FROM segments.members s
    WHERE s.segment_id = @segment::uuid%s AND NOT EXISTS (SELECT FROM held h WHERE h.id = s.root)
        -- A root that has merged away meanwhile is moved by the $identity row that follows.
        AND EXISTS (SELECT FROM member.members m WHERE m.id = s.root)
    RETURNING s.root
), came AS (
    INSERT INTO segments.members (segment_id, root, entered_at)
    SELECT @segment::uuid, h.id, %s
    FROM held h
    ON CONFLICT DO NOTHING
    RETURNING root
)
SELECT root, true AS entered FROM came
UNION ALL
SELECT root, false FROM gone
ORDER BY root`, c.only(" AND s.root"), c.instant(at))
	return st
}

// schedule returns the statement that writes the expiry wheel of a segment for the ids, or everybody: per member the next
// instant after at when the answer may change though nothing happens. It may be too early, never too late.
func schedule(segment id.UUID, r Rule, at time.Time, ids []member.ID, refs map[string]Rule) statement {
	c := newCompiler(at, ids, refs)
	c.args["segment"] = segment
	sources := c.turning(r.root, nil)
	due := fmt.Sprintf("SELECT m.id, coalesce(m.registered_at, m.first_fact_at) AS due FROM member.members m WHERE m.is_member AND coalesce(m.registered_at, m.first_fact_at) > %s%s",
		c.instant(at), c.only(" AND m.id"))
	if len(sources) > 0 {
		due += fmt.Sprintf("\nUNION ALL\nSELECT %s, f.due FROM (%s) f %s", c.root("f"), strings.Join(sources, "\nUNION ALL\n"), c.roots("f"))
	}
	st := c.statement("")
	st.with += ", due AS MATERIALIZED (SELECT id, min(due) AS due FROM (" + due + ") d GROUP BY id)"
	st.sql = fmt.Sprintf(`, cleared AS (
    DELETE FROM segments.expiries e
    WHERE e.segment_id = @segment::uuid%s AND NOT EXISTS (SELECT FROM due d WHERE d.id = e.root)
)
INSERT INTO segments.expiries (segment_id, root, due_at)
SELECT @segment::uuid, d.id, d.due
FROM due d
ON CONFLICT (segment_id, root) DO UPDATE
SET due_at = excluded.due_at
WHERE segments.expiries.due_at <> excluded.due_at`, c.only(" AND e.root"))
	return st
}

// turning collects queries (birth, due) for the leaves of n whose answer time alone can change: a fact that is still in
// the future arrives; a fact leaves a rolling window; the deadline of an unless passes. RFM and anniversaries turn for
// everybody at midnight and are refreshed as a whole (Terms.Daily, Terms.RFM).
func (c *compiler) turning(n node, out []string) []string {
	add := func(f facts, w time.Duration) {
		q := "SELECT a.birth, min(" + "%s" + ") AS due FROM member.activities a WHERE a.key = " + c.arg(f.Key, "text") + " AND a.occurred_at > %s"
		if w > 0 {
			length := c.arg(w.Microseconds(), "bigint") + " * interval '1 microsecond'"
			q = fmt.Sprintf(q, "CASE WHEN a.occurred_at > "+c.instant(c.at)+" THEN a.occurred_at ELSE a.occurred_at + "+length+" END", c.instant(c.at.Add(-w)))
		} else {
			q = fmt.Sprintf(q, "a.occurred_at", c.instant(c.at))
		}
		if c.restricted {
			q += " AND a.birth = ANY(ARRAY(SELECT birth FROM births))"
		}
		if len(f.Where) > 0 {
			q += " AND " + c.where(f)
		}
		q += " GROUP BY a.birth"
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	switch n := n.(type) {
	case allNode:
		for _, child := range n.All {
			out = c.turning(child, out)
		}
	case anyNode:
		for _, child := range n.Any {
			out = c.turning(child, out)
		}
	case notNode:
		out = c.turning(n.Not, out)
	case segmentNode:
		out = c.turning(c.refs[n.Segment].root, out)
	case stageNode:
		out = c.turning(n.rule(), out)
	case eventNode:
		add(n.facts, n.within.length)
	case occurrenceNode:
		add(n.facts, n.within.length)
	case sequenceNode:
		for i, s := range n.steps {
			if i == 0 && len(n.steps) == 1 && n.unless != nil {
				add(s, n.within)
			} else {
				add(s, 0)
			}
		}
		if n.unless != nil {
			add(*n.unless, 0)
		}
	case attrNode, tagNode, listNode, rfmNode, reachableNode, sampleNode:
	}
	return out
}
