package journeys

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/id"
)

// Version is one published document made ready to run. It never changes.
type Version struct {
	Journey   Journey
	No        int
	Doc       Document
	nodes     map[string]*node
	trigger   *matcher
	exits     []exitMatcher
	goal      *matcher
	within    time.Duration
	lateness  time.Duration
	reentry   Reentry
	published time.Time
}

// Journey names the journey that a version belongs to.
type Journey struct {
	ID   id.UUID
	No   int
	Code string
}

type node struct {
	*Node
	out    []edge
	event  *matcher
	cyclic bool
}

type exitMatcher struct {
	matcher
	reason string
}

// matcher recognises activities.
type matcher struct {
	key   string
	where []predicate
}

func newMatcher(key string, where []Predicate) (*matcher, error) {
	m := &matcher{key: key}
	for _, p := range where {
		c, err := compilePredicate(p)
		if err != nil {
			return nil, err
		}
		m.where = append(m.where, c)
	}
	return m, nil
}

func segmentMatcher(key, segment string) *matcher {
	return &matcher{key: key, where: []predicate{{prop: "segment", op: "eq", values: []any{segment}}}}
}

func (m *matcher) matches(row *Row) bool {
	if m == nil || m.key != row.Key {
		return false
	}
	for _, p := range m.where {
		if !p.matches(row.props()) {
			return false
		}
	}
	return true
}

// Activity keys that segments write.
const (
	keyEntered  = "segment_entered"
	keyLeft     = "segment_left"
	keyIdentity = "$identity"
)

// Compile makes a valid document ready to run. A document that Validate accepts compiles.
func Compile(j Journey, no int, doc Document) (*Version, error) {
	v := &Version{Journey: j, No: no, Doc: doc, nodes: map[string]*node{}, reentry: doc.Settings.Reentry}
	v.lateness = time.Duration(cmp.Or(doc.Settings.MaxLateness, Duration(24*time.Hour)))
	v.reentry.Policy = cmp.Or(v.reentry.Policy, ReentryNever)
	v.Doc.Settings.Lane = cmp.Or(doc.Settings.Lane, LaneMarketing)
	var err error
	t := doc.Settings.Trigger
	switch t.Kind {
	case TriggerActivity:
		if v.trigger, err = newMatcher(t.Key, t.Where); err != nil {
			return nil, fmt.Errorf("compile trigger: %w", err)
		}
	case TriggerSegmentEntered:
		v.trigger = segmentMatcher(keyEntered, t.Segment)
	case TriggerSegmentLeft:
		v.trigger = segmentMatcher(keyLeft, t.Segment)
	}
	for _, c := range doc.Settings.Exit {
		var m *matcher
		var reason string
		switch {
		case c.SegmentEntered != "":
			m, reason = segmentMatcher(keyEntered, c.SegmentEntered), keyEntered+":"+c.SegmentEntered
		case c.SegmentLeft != "":
			m, reason = segmentMatcher(keyLeft, c.SegmentLeft), keyLeft+":"+c.SegmentLeft
		default:
			if m, err = newMatcher(c.Key, c.Where); err != nil {
				return nil, fmt.Errorf("compile exit: %w", err)
			}
			reason = c.Key
		}
		v.exits = append(v.exits, exitMatcher{*m, "criterion:" + reason})
	}
	if g := doc.Settings.Goal; g != nil {
		if v.goal, err = newMatcher(g.Key, g.Where); err != nil {
			return nil, fmt.Errorf("compile goal: %w", err)
		}
		v.within = time.Duration(g.Within)
	}
	if err := v.compileNodes(); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Version) compileNodes() error {
	index := map[string]int{}
	for i := range v.Doc.Nodes {
		index[v.Doc.Nodes[i].ID] = i
	}
	next := make([][]int, len(v.Doc.Nodes))
	for i := range v.Doc.Nodes {
		n := &node{Node: &v.Doc.Nodes[i], out: v.Doc.Nodes[i].edges()}
		if n.Wait != nil && n.Wait.Event != nil {
			var err error
			if n.event, err = newMatcher(n.Wait.Event.Key, n.Wait.Event.Where); err != nil {
				return fmt.Errorf("compile node %s: %w", n.ID, err)
			}
		}
		for _, e := range n.out {
			j, ok := index[e.to]
			if !ok {
				return fmt.Errorf("compile node %s: no node %q", n.ID, e.to)
			}
			next[i] = append(next[i], j)
		}
		v.nodes[n.ID] = n
	}
	if v.nodes[v.Doc.Start] == nil {
		return fmt.Errorf("compile: no start node %q", v.Doc.Start)
	}
	for i := range onCycles(next) {
		v.nodes[v.Doc.Nodes[i].ID].cyclic = true
	}
	return nil
}

// Keys lists the activity keys that can move a run of this version or, with triggers, begin one.
func (v *Version) Keys() []string {
	seen := map[string]bool{}
	var keys []string
	add := func(m *matcher) {
		if m != nil && !seen[m.key] {
			seen[m.key] = true
			keys = append(keys, m.key)
		}
	}
	add(v.trigger)
	add(v.goal)
	for i := range v.exits {
		add(&v.exits[i].matcher)
	}
	for i := range v.Doc.Nodes {
		add(v.nodes[v.Doc.Nodes[i].ID].event)
	}
	return keys
}

// asks reports whether a run of this version may need facts about its member.
func (v *Version) asks() bool {
	for _, n := range v.nodes {
		if n.Kind == KindCondition {
			return true
		}
	}
	return false
}

// rule returns the segment rule that is asked at a node; the empty node asks the audience.
func (v *Version) rule(nodeID string) json.RawMessage {
	if nodeID == "" {
		return v.Doc.Settings.Audience
	}
	return v.nodes[nodeID].Condition.Rule
}
