package segments

import (
	"encoding/json"
	"slices"
	"time"
)

// Rule is a validated condition over members. The zero Rule is none; make one with Parse. Rules are immutable.
type Rule struct {
	root  node
	terms Terms
}

// IsZero reports whether this is no rule.
func (r Rule) IsZero() bool { return r.root == nil }

// Terms returns what the rule mentions by name, without what referenced segments mention.
func (r Rule) Terms() Terms { return r.terms }

// MarshalJSON returns the canonical form: one order of keys, no white space, values as they were written. Two rules with
// the same canonical form are the same rule.
func (r Rule) MarshalJSON() ([]byte, error) {
	if r.root == nil {
		return []byte("null"), nil
	}
	return json.Marshal(r.root)
}

// UnmarshalJSON parses and validates.
func (r *Rule) UnmarshalJSON(data []byte) error {
	parsed, err := Parse(data)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// String returns the canonical JSON.
func (r Rule) String() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Terms are the names a rule depends on: with them the live engine finds the rules that a fact may change. Each list is
// sorted and without duplicates.
type Terms struct {
	Events   []string // activity keys
	Attrs    []string
	Tags     []string
	Segments []string
	Lists    []string
	Channels []string // reachable
	Daily    bool     // anniversaries: the answer changes at Shanghai midnight
	RFM      bool     // everybody's answer depends on everybody's orders
}

func (t *Terms) sort() {
	for _, list := range []*[]string{&t.Events, &t.Attrs, &t.Tags, &t.Segments, &t.Lists, &t.Channels} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// with returns the union.
func (t Terms) with(o Terms) Terms {
	u := Terms{
		Events: slices.Concat(t.Events, o.Events), Attrs: slices.Concat(t.Attrs, o.Attrs), Tags: slices.Concat(t.Tags, o.Tags),
		Segments: slices.Concat(t.Segments, o.Segments), Lists: slices.Concat(t.Lists, o.Lists),
		Channels: slices.Concat(t.Channels, o.Channels), Daily: t.Daily || o.Daily, RFM: t.RFM || o.RFM,
	}
	u.sort()
	return u
}

// node is one vertex of the rule tree. The set of implementations is closed: every switch over it is exhaustive.
type node interface{ terms(t *Terms) }

type (
	allNode struct {
		All []node `json:"all"`
	}
	anyNode struct {
		Any []node `json:"any"`
	}
	notNode struct {
		Not node `json:"not"`
	}
	// attrNode tests one attribute of the effective profile.
	attrNode struct{ cond }
	tagNode  struct {
		Tag string `json:"tag"`
	}
	segmentNode struct {
		Segment string `json:"segment"`
		path    string
	}
	listNode struct {
		List string `json:"list"`
		path string
	}
	// eventNode aggregates the facts of one key and tests the aggregate.
	eventNode struct {
		facts
		measure measure
		prop    string // of every measure but count
		tests   []cond // numeric; ANDed; empty only for count, where it means at least one
		within  window
	}
	// occurrenceNode tests the time of the first or last fact.
	occurrenceNode struct {
		facts
		last   bool
		before *instant
		after  *instant
		within window // rolling or none
	}
	// sequenceNode wants facts in strictly increasing time.
	sequenceNode struct {
		steps  []facts
		within time.Duration // 0 is no limit
		text   string        // within as written
		unless *facts
	}
	rfmNode struct {
		R, F, M []int // quintiles accepted; empty accepts all
	}
	stageNode struct {
		Stage []Stage `json:"stage"`
	}
	reachableNode struct {
		Reachable string `json:"reachable"`
	}
	sampleNode struct {
		below   int64 // of 10,000
		percent json.Number
		salt    string
	}
)

// facts selects activities: those of a key whose props satisfy every condition.
type facts struct {
	Key   string `json:"event"`
	Where []cond `json:"where,omitempty"`
}

type measure string

const (
	measureCount    measure = "count"
	measureSum      measure = "sum"
	measureAvg      measure = "avg"
	measureMin      measure = "min"
	measureMax      measure = "max"
	measureDistinct measure = "distinct"
)

// overNothing reports whether the measure has a value over no rows, which is 0.
func (m measure) overNothing() bool {
	return m == measureCount || m == measureSum || m == measureDistinct
}

// op is an operator of the language.
type op string

const (
	opEq          op = "eq"
	opNe          op = "ne"
	opIn          op = "in"
	opNin         op = "nin"
	opGt          op = "gt"
	opGte         op = "gte"
	opLt          op = "lt"
	opLte         op = "lte"
	opBetween     op = "between"
	opExists      op = "exists"
	opContains    op = "contains"
	opBefore      op = "before"
	opAfter       op = "after"
	opAnniversary op = "anniversary"
)

var (
	valueOps   = []op{opEq, opNe, opIn, opNin, opGt, opGte, opLt, opLte, opBetween, opExists, opContains, opBefore, opAfter, opAnniversary}
	numericOps = []op{opEq, opNe, opIn, opNin, opGt, opGte, opLt, opLte, opBetween}
	timeOps    = []op{opEq, opNe, opIn, opNin, opGt, opGte, opLt, opLte, opBetween, opExists, opBefore, opAfter, opAnniversary}
)

// cond tests one value: an attribute, a prop, or (without a name) an aggregate.
type cond struct {
	name   string
	isProp bool
	op     op
	values []scalar  // eq ne gt … contains: one; between: two; in, nin: any number
	times  []instant // before, after; every operator on a time attribute
	days   int       // anniversary
	want   bool      // exists
}

// scalar is a string, number or boolean of the rule. Numbers keep their literal, so nothing is rounded.
type scalar struct {
	text   string
	number bool
	truth  bool // a boolean; text is true or false
}

func (s scalar) MarshalJSON() ([]byte, error) {
	if s.number || s.truth {
		return []byte(s.text), nil
	}
	return json.Marshal(s.text)
}

// instant is a point in time and how it was written.
type instant struct {
	at   time.Time
	text string
}

func (i instant) MarshalJSON() ([]byte, error) { return json.Marshal(i.text) }

// window limits facts in time. Rolling windows are (t−length, t]; absolute ones [from, to); both end at t.
type window struct {
	length   time.Duration
	text     string // length as written
	from, to *instant
}

func (w window) isZero() bool  { return !w.rolling() && w.from == nil && w.to == nil }
func (w window) rolling() bool { return w.length > 0 }
func (w window) MarshalJSON() ([]byte, error) {
	if w.rolling() {
		return json.Marshal(w.text)
	}
	return json.Marshal(struct {
		From *instant `json:"from,omitempty"`
		To   *instant `json:"to,omitempty"`
	}{w.from, w.to})
}

// BuiltinTimes are attributes of every member that are instants; they shadow profile attributes of the same name.
var builtinTimes = []string{"registered_at", "first_fact_at"}

// BuiltinHomeStore is the attribute that names the member's store.
const builtinHomeStore = "home_store"

func (n allNode) terms(t *Terms) {
	for _, c := range n.All {
		c.terms(t)
	}
}

func (n anyNode) terms(t *Terms) {
	for _, c := range n.Any {
		c.terms(t)
	}
}

func (n notNode) terms(t *Terms)       { n.Not.terms(t) }
func (n tagNode) terms(t *Terms)       { t.Tags = append(t.Tags, n.Tag) }
func (n segmentNode) terms(t *Terms)   { t.Segments = append(t.Segments, n.Segment) }
func (n listNode) terms(t *Terms)      { t.Lists = append(t.Lists, n.List) }
func (n reachableNode) terms(t *Terms) { t.Channels = append(t.Channels, n.Reachable) }
func (n sampleNode) terms(*Terms)      {}

func (n attrNode) terms(t *Terms) {
	t.Attrs = append(t.Attrs, n.name)
	t.Daily = t.Daily || n.op == opAnniversary
}

func (f facts) terms(t *Terms) {
	t.Events = append(t.Events, f.Key)
	for _, c := range f.Where {
		t.Daily = t.Daily || c.op == opAnniversary
	}
}

func (n sequenceNode) terms(t *Terms) {
	for _, s := range n.steps {
		s.terms(t)
	}
	if n.unless != nil {
		n.unless.terms(t)
	}
}

func (n rfmNode) terms(t *Terms) {
	t.Events = append(t.Events, "order_paid")
	t.RFM = true
}

func (n stageNode) terms(t *Terms) { n.rule().terms(t) }
