package segments

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Explanation says why a member is in a segment or not.
type Explanation struct {
	Member member.ID `json:"member,string"` // the root the question came to
	At     time.Time `json:"at"`
	Exists bool      `json:"exists"` // is a member, registered or first seen by then
	Holds  bool      `json:"holds"`  // exists and satisfies the rule
	Rule   Verdict   `json:"rule"`
}

// Verdict is the rule tree with an answer at every vertex.
type Verdict struct {
	Kind     string          `json:"kind"` // all, any, not, or the kind of leaf
	Holds    bool            `json:"holds"`
	Leaf     json.RawMessage `json:"leaf,omitempty"`     // of a leaf, its canonical JSON
	Children []Verdict       `json:"children,omitempty"` // of all, any and not; of a segment, its rule
}

// ErrMember says that nobody has this number, or nobody in the actor's scope.
var ErrMember = fault.New(fault.NotFound, "segments.member_not_found", "没有编号为 {member} 的会员", "there is no member {member}").
	WithHint("请检查会员编号;lianke identity find 可查找", "check the number; `lianke identity find` looks members up")

// Explain evaluates every leaf of the rule for the member to whom a birth belongs. Errors: ErrMember, ErrRule, ErrCycle.
func (s *Service) Explain(ctx context.Context, scope auth.Scope, rule Rule, at time.Time, birth member.Birth) (Explanation, error) {
	e := Explanation{At: at}
	var err error
	if e.Member, err = s.root(ctx, scope, birth); err != nil {
		return e, err
	}
	refs, err := resolve(ctx, s.db, rule)
	if err != nil {
		return e, err
	}
	ids := []member.ID{e.Member}
	c := newCompiler(at, ids, refs)
	found, err := run(ctx, s.db, c.statement(c.universe("")))
	if err != nil {
		return e, err
	}
	e.Exists = len(found) == 1
	x := explainer{ctx: ctx, db: s.db, at: at, ids: ids, refs: refs}
	if e.Rule, err = x.node(rule.root); err != nil {
		return e, err
	}
	e.Holds = e.Exists && e.Rule.Holds
	return e, nil
}

type explainer struct {
	ctx  context.Context
	db   pg.DB
	at   time.Time
	ids  []member.ID
	refs map[string]Rule
}

func (x explainer) node(n node) (Verdict, error) {
	switch n := n.(type) {
	case allNode:
		v, err := x.children("all", n.All)
		v.Holds = true
		for _, c := range v.Children {
			v.Holds = v.Holds && c.Holds
		}
		return v, err
	case anyNode:
		v, err := x.children("any", n.Any)
		for _, c := range v.Children {
			v.Holds = v.Holds || c.Holds
		}
		return v, err
	case notNode:
		v, err := x.children("not", []node{n.Not})
		v.Holds = err == nil && !v.Children[0].Holds
		return v, err
	}
	leaf, err := json.Marshal(n)
	if err != nil {
		return Verdict{}, fmt.Errorf("explain segment: %w", err)
	}
	v := Verdict{Kind: kindOf(n), Leaf: leaf}
	if ref, ok := n.(segmentNode); ok {
		child, err := x.node(x.refs[ref.Segment].root)
		v.Holds, v.Children = child.Holds, []Verdict{child}
		return v, err
	}
	c := newCompiler(x.at, x.ids, x.refs)
	held, err := run(x.ctx, x.db, c.statement(c.members(n)))
	v.Holds = len(held) > 0
	return v, err
}

func (x explainer) children(kind string, nodes []node) (Verdict, error) {
	v := Verdict{Kind: kind}
	for _, n := range nodes {
		c, err := x.node(n)
		if err != nil {
			return v, err
		}
		v.Children = append(v.Children, c)
	}
	return v, nil
}

func kindOf(n node) string {
	switch n.(type) {
	case allNode:
		return "all"
	case anyNode:
		return "any"
	case notNode:
		return "not"
	case attrNode:
		return "attr"
	case tagNode:
		return "tag"
	case segmentNode:
		return "segment"
	case listNode:
		return "list"
	case eventNode, occurrenceNode:
		return "event"
	case sequenceNode:
		return "sequence"
	case rfmNode:
		return "rfm"
	case stageNode:
		return "stage"
	case reachableNode:
		return "reachable"
	case sampleNode:
		return "sample"
	}
	panic(fmt.Sprintf("segments: %T has no kind", n))
}

// Reach is how many members of a segment one channel could reach.
type Reach struct {
	Channel   string `json:"channel"`
	Known     int64  `json:"known"`     // with an identity in the channel
	Reachable int64  `json:"reachable"` // and with consent
}

// Estimate is the size of a segment and its reach per channel, before quiet hours and caps.
type Estimate struct {
	Count    int64         `json:"count" doc:"members within the actor's scope"`
	Any      int64         `json:"reachable_any"` // through at least one channel
	Reach    []Reach       `json:"reach"`
	Warnings []fault.Field `json:"warnings,omitempty" doc:"what is allowed and probably not meant, such as a mistyped activity key"`
}

// Estimate previews a rule: its size and reach within the scope, and advice. A rule that looks at everybody, like RFM, does so
// over the brand. Errors: ErrRule, ErrCycle.
func (s *Service) Estimate(ctx context.Context, db pg.DB, scope auth.Scope, rule Rule, at time.Time) (Estimate, error) {
	var e Estimate
	refs, err := resolve(ctx, db, rule)
	if err != nil {
		return e, err
	}
	c := newCompiler(at, nil, refs)
	held := c.members(rule.root)
	if !scope.All || scope.Associate != nil {
		held = intersect(held, "SELECT m.id FROM member.members m WHERE "+inScope)
		c.args = scopeArgs(scope, c.args)
	}
	st := c.statement("")
	st.with += ", held AS MATERIALIZED (\n" + held + "\n)"
	st.sql = `
SELECT coalesce(r.channel, ''), count(r.id), count(*) FILTER (WHERE r.granted), (SELECT count(*) FROM held),
    (SELECT count(*) FROM held h WHERE EXISTS (SELECT FROM member.reach g WHERE g.id = h.id AND g.granted))
FROM (SELECT 1) once
LEFT JOIN (held h JOIN member.reach r USING (id)) ON true
GROUP BY 1
ORDER BY 1`
	text, args := st.query()
	err = whole(ctx, db, func(tx pgx.Tx) error {
		e.Reach = nil
		rows, err := tx.Query(ctx, text, pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return err
		}
		var r Reach
		_, err = pgx.ForEachRow(rows, []any{&r.Channel, &r.Known, &r.Reachable, &e.Count, &e.Any}, func() error {
			if r.Channel != "" {
				e.Reach = append(e.Reach, r)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return e, fmt.Errorf("estimate reach: %w", err)
	}
	e.Warnings, err = s.Advise(ctx, db, rule)
	return e, err
}
