package journeys

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Document is a journey as people write it: settings and a graph of nodes with stable ids. It is stored as JSON, once as
// the draft and once, unchanged, in every published version.
type Document struct {
	Name     string   `json:"name"`
	About    string   `json:"about,omitempty"`
	Settings Settings `json:"settings"`
	Start    string   `json:"start"`
	Nodes    []Node   `json:"nodes"`
}

// Settings say who enters, how often, what ends a run early and how its messages are handled.
type Settings struct {
	Trigger Trigger `json:"trigger"`
	// Audience is a segment rule. For a schedule it says who enters; for every other trigger it filters at entry.
	Audience json.RawMessage `json:"audience,omitempty"`
	Reentry  Reentry         `json:"reentry"`
	// Exit ends a run at once, wherever it stands, when one of the criteria happens after entry.
	Exit []Criterion `json:"exit,omitempty"`
	Goal *Goal       `json:"goal,omitempty"`
	// MaxLateness is how old a live fact may be and still start or wake a run; default 24 h.
	MaxLateness Duration `json:"max_lateness,omitempty"`
	// HoldoutBP of 10,000 members are kept out for comparison: they enter and leave at once, without messages or grants.
	HoldoutBP  int         `json:"holdout_bp,omitempty"`
	Lane       Lane        `json:"lane,omitempty"`
	QuietHours *QuietHours `json:"quiet_hours,omitempty"`
	// Caps names the frequency-cap class that channels apply at handover.
	Caps string `json:"caps,omitempty"`
}

// Lane is the priority class of a journey's messages.
type Lane string

// The lanes, highest first.
const (
	LaneTransaction Lane = "transaction"
	LaneService     Lane = "service"
	LaneMarketing   Lane = "marketing"
)

// QuietHours are local times of day between which messages wait; From may be later than To (over midnight).
type QuietHours struct {
	From TimeOfDay `json:"from"`
	To   TimeOfDay `json:"to"`
}

// TriggerKind is how a run begins.
type TriggerKind string

// The triggers.
const (
	TriggerActivity       TriggerKind = "activity"
	TriggerSegmentEntered TriggerKind = "segment_entered"
	TriggerSegmentLeft    TriggerKind = "segment_left"
	TriggerSchedule       TriggerKind = "schedule"
	TriggerAPI            TriggerKind = "api"
)

// Trigger begins runs.
type Trigger struct {
	Kind     TriggerKind `json:"kind"`
	Key      string      `json:"key,omitempty"`
	Where    []Predicate `json:"where,omitempty"`
	Segment  string      `json:"segment,omitempty"`
	Schedule *Schedule   `json:"schedule,omitempty"`
}

// Predicate is a condition on one property of an activity, as in segment leaves.
type Predicate struct {
	Prop  string          `json:"prop"`
	Op    string          `json:"op"`
	Value json.RawMessage `json:"value,omitempty"`
}

// EventFilter names activities.
type EventFilter struct {
	Key   string      `json:"key"`
	Where []Predicate `json:"where,omitempty"`
}

// Criterion is one reason to leave at once: an activity, or a segment entered or left.
type Criterion struct {
	Key            string      `json:"key,omitempty"`
	Where          []Predicate `json:"where,omitempty"`
	SegmentEntered string      `json:"segment_entered,omitempty"`
	SegmentLeft    string      `json:"segment_left,omitempty"`
}

// ReentryPolicy says whether a member may run through a journey again.
type ReentryPolicy string

// The policies; counts are over all births of the member.
const (
	ReentryNever     ReentryPolicy = "never"
	ReentryAfterExit ReentryPolicy = "after_exit"
	ReentryAlways    ReentryPolicy = "always"
)

// Reentry is the policy and, if positive, how many runs a member may have in all.
type Reentry struct {
	Policy ReentryPolicy `json:"policy,omitempty"`
	Max    int           `json:"max,omitempty"`
}

// Goal is what the journey is for: an activity within a time after entry. With Exit a run that reaches it leaves.
type Goal struct {
	Key    string      `json:"key"`
	Where  []Predicate `json:"where,omitempty"`
	Within Duration    `json:"within"`
	Exit   bool        `json:"exit,omitempty"`
}

// NodeKind is what a node does.
type NodeKind string

// The kinds of nodes.
const (
	KindWait      NodeKind = "wait"
	KindCondition NodeKind = "condition"
	KindSplit     NodeKind = "split"
	KindMessage   NodeKind = "message"
	KindCoupon    NodeKind = "grant_coupon"
	KindPoints    NodeKind = "grant_points"
	KindTag       NodeKind = "tag"
	KindAttribute NodeKind = "attribute"
	KindTask      NodeKind = "task"
	KindWebhook   NodeKind = "webhook"
	KindGoal      NodeKind = "goal"
	KindExit      NodeKind = "exit"
)

// Kinds lists all node kinds, in the order of the palette.
var kinds = []NodeKind{KindWait, KindCondition, KindSplit, KindMessage, KindCoupon, KindPoints, KindTag, KindAttribute,
	KindTask, KindWebhook, KindGoal, KindExit}

// Node is one step. The field named after its kind holds its settings; Next leads on, except from condition and split
// (whose branches lead on) and exit.
type Node struct {
	ID   string   `json:"id"`
	Kind NodeKind `json:"kind"`
	Name string   `json:"name,omitempty"`
	Next string   `json:"next,omitempty"`

	Wait      *WaitNode      `json:"wait,omitempty"`
	Condition *ConditionNode `json:"condition,omitempty"`
	Split     *SplitNode     `json:"split,omitempty"`
	Message   *MessageNode   `json:"message,omitempty"`
	Coupon    *CouponNode    `json:"grant_coupon,omitempty"`
	Points    *PointsNode    `json:"grant_points,omitempty"`
	Tag       *TagNode       `json:"tag,omitempty"`
	Attribute *AttributeNode `json:"attribute,omitempty"`
	Task      *TaskNode      `json:"task,omitempty"`
	Webhook   *WebhookNode   `json:"webhook,omitempty"`
	Exit      *ExitNode      `json:"exit,omitempty"`
}

// WaitNode waits for one thing: a duration, the next local time of day, or an event. After an event the run goes to Next;
// if the event has not come within Timeout it goes to TimeoutNext.
type WaitNode struct {
	For         Duration     `json:"for,omitempty"`
	Until       *LocalTime   `json:"until,omitempty"`
	Event       *EventFilter `json:"event,omitempty"`
	Timeout     Duration     `json:"timeout,omitempty"`
	TimeoutNext string       `json:"timeout_next,omitempty"`
}

// LocalTime is a time of day in Asia/Shanghai, on given ISO weekdays (1 Monday … 7 Sunday) or on any.
type LocalTime struct {
	Time TimeOfDay `json:"time"`
	Days []int     `json:"days,omitempty"`
}

// ConditionNode asks whether the member matches a segment rule at this moment.
type ConditionNode struct {
	Rule json.RawMessage `json:"rule"`
	Then string          `json:"then"`
	Else string          `json:"else"`
}

// SplitNode sends members down paths by weight; the same member always takes the same path.
type SplitNode struct {
	Paths []SplitPath `json:"paths"`
}

// SplitPath is one way out of a split.
type SplitPath struct {
	Name     string `json:"name"`
	WeightBP int    `json:"weight_bp"`
	Next     string `json:"next"`
}

// MessageNode plans one message. String values of Vars may hold {trigger.PROP}, filled from the triggering activity.
type MessageNode struct {
	Channel  string         `json:"channel"`
	Account  string         `json:"account,omitempty"`
	Template string         `json:"template"`
	Vars     map[string]any `json:"vars,omitempty"`
}

// CouponNode grants one coupon.
type CouponNode struct {
	Template string `json:"template"`
}

// PointsNode grants points of a programme.
type PointsNode struct {
	Programme string `json:"programme"`
	Points    int64  `json:"points"`
	Reason    string `json:"reason,omitempty"`
}

// TagNode adds and removes tags.
type TagNode struct {
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// AttributeNode sets an attribute (attr.NAME; not personal data).
type AttributeNode struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// TaskNode asks the member's associate to do something by Due from now.
type TaskNode struct {
	Kind  string   `json:"kind"`
	Title string   `json:"title"`
	Body  string   `json:"body,omitempty"`
	Due   Duration `json:"due"`
}

// WebhookNode calls another system.
type WebhookNode struct {
	URL  string         `json:"url"`
	Body map[string]any `json:"body,omitempty"`
}

// ExitNode ends the run; Reason is kept with it.
type ExitNode struct {
	Reason string `json:"reason,omitempty"`
}

// Duration is written as a number and a unit: 90s, 30m, 2h, 3d, 1w (a day is 24 hours).
type Duration time.Duration

// units in the order in which String prefers them.
var units = []struct {
	suffix byte
	length time.Duration
}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration reads the written form.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("duration %q is not a number and a unit (s m h d w)", s)
	if len(s) < 2 || len(s) > 10 {
		return 0, bad
	}
	var n int64
	for _, c := range []byte(s[:len(s)-1]) {
		if c < '0' || c > '9' {
			return 0, bad
		}
		n = n*10 + int64(c-'0')
	}
	for _, u := range units {
		if s[len(s)-1] == u.suffix {
			if n > int64(maxDuration/u.length) {
				return 0, fmt.Errorf("duration %q is over 400d", s)
			}
			return Duration(time.Duration(n) * u.length), nil
		}
	}
	return 0, bad
}

const maxDuration = 400 * 24 * time.Hour

// String returns the written form in the largest unit that is exact.
func (d Duration) String() string {
	for _, u := range units {
		if v := time.Duration(d); v != 0 && v%u.length == 0 {
			return fmt.Sprintf("%d%c", v/u.length, u.suffix)
		}
	}
	return "0s"
}

// MarshalText writes the written form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the written form.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// TimeOfDay is minutes after local midnight, written HH:MM.
type TimeOfDay int

// MarshalText writes HH:MM.
func (t TimeOfDay) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%02d:%02d", t/60, t%60), nil
}

// UnmarshalText reads HH:MM.
func (t *TimeOfDay) UnmarshalText(b []byte) error {
	at, err := time.Parse("15:04", string(b))
	if err != nil || len(b) != 5 {
		return fmt.Errorf("time %q is not HH:MM", b)
	}
	*t = TimeOfDay(at.Hour()*60 + at.Minute())
	return nil
}

// maxDocument bounds a document; a journey of 200 nodes needs some 100 KB.
const maxDocument = 1 << 20

// ParseDocument decodes a document. It reports syntax, unknown fields and wrong types; Validate reports the rest.
func ParseDocument(raw []byte) (Document, error) {
	var doc Document
	if len(raw) > maxDocument {
		return doc, ErrTooLarge.With("max", maxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return Document{}, undecodable(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Document{}, undecodable(fmt.Errorf("text after the document"))
	}
	return doc, nil
}

// branch of a node: its index in history, its name in statistics, where it leads and where that is written.
type edge struct {
	branch int
	name   string
	to     string
	path   string
}

// Branches with fixed meaning. Paths of a split are numbered from 0.
const (
	branchNext    = 0
	branchElse    = 1 // of a condition
	branchTimeout = 1 // of a wait for an event
)

// edges lists the ways out of a node, in branch order.
func (n *Node) edges() []edge {
	switch {
	case n.Kind == KindCondition && n.Condition != nil:
		return []edge{{branchNext, "then", n.Condition.Then, "condition.then"}, {branchElse, "else", n.Condition.Else, "condition.else"}}
	case n.Kind == KindSplit && n.Split != nil:
		out := make([]edge, len(n.Split.Paths))
		for i, p := range n.Split.Paths {
			out[i] = edge{i, p.Name, p.Next, fmt.Sprintf("split.paths[%d].next", i)}
		}
		return out
	case n.Kind == KindWait && n.Wait != nil && n.Wait.Event != nil:
		return []edge{{branchNext, "event", n.Next, "next"}, {branchTimeout, "timeout", n.Wait.TimeoutNext, "wait.timeout_next"}}
	case n.Kind == KindExit, n.Kind == KindCondition, n.Kind == KindSplit:
		return nil
	}
	return []edge{{branchNext, "next", n.Next, "next"}}
}
