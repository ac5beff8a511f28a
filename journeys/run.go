package journeys

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
)

// Status of a run.
type Status string

// The states of a run. Waiting runs have a due time, or none when only an event can move them.
const (
	StatusWaiting     Status = "waiting"
	StatusHeld        Status = "held"        // came due while its journey was paused
	StatusQuarantined Status = "quarantined" // failed maxAttempts times; somebody must look
	StatusAbsorbed    Status = "absorbed"    // its member was merged into one whose earlier run goes on
	StatusEnded       Status = "ended"
)

// Reasons for which a run ends, besides "exit:REASON" (an exit node) and "criterion:WHAT" (an exit criterion).
const (
	ReasonHoldout  = "holdout"
	ReasonGoal     = "goal"
	ReasonAbsorbed = "absorbed"
	ReasonArchived = "archived"
	ReasonMigrated = "migrated"
)

// Run is one way through a journey. A run stands before Node, or, when Parked, inside it (only waits park).
type Run struct {
	Birth         member.Birth
	ID            id.UUID
	Seed          member.Birth
	Journey       int
	Version       int
	Status        Status
	Node          string
	Parked        bool
	Wake          bool // the event it waited for has come
	Since         time.Time
	Due           time.Time // zero: none
	EnteredAt     time.Time
	EndedAt       time.Time
	Reason        string
	GoalAt        time.Time
	Attempts      int
	Error         string
	AbsorbedBy    *id.UUID
	AbsorbedBirth *member.Birth
	Context       json.RawMessage
	History       []byte
}

// Active reports whether the run can still move.
func (r *Run) Active() bool {
	return r.Status == StatusWaiting || r.Status == StatusHeld || r.Status == StatusQuarantined
}

// RunID is the id of the run that an entry key begins: the same key begins the same run.
func RunID(j Journey, entryKey string) id.UUID {
	return id.Derived("journey run", j.ID.String(), entryKey)
}

// Visit is one node that a run came through or left from.
type Visit struct {
	Node   string
	At     time.Time // when the run came to the node
	Branch int       // the way out; branchLeft when the run ended there
	Marked bool      // not visited by this run: another run of the same member did it while this one was absorbed
}

// branchLeft is the branch of a visit in which the run ended.
const branchLeft = 254

// History is a sequence of visits, some ten bytes each: length and name of the node, seconds since entry, branch, flag.
// It is only ever appended to.
func appendVisit(history []byte, entered time.Time, v Visit) []byte {
	if history == nil {
		history = make([]byte, 0, 48)
	}
	history = append(history, byte(len(v.Node)))
	history = append(history, v.Node...)
	history = binary.AppendVarint(history, int64(v.At.Sub(entered)/time.Second))
	flag := byte(0)
	if v.Marked {
		flag = 1
	}
	return append(history, byte(v.Branch), flag)
}

// eachVisit calls fn for every visit of an encoded history, in order.
func eachVisit(history []byte, entered time.Time, fn func(Visit)) error {
	for i := 0; i < len(history); {
		n := int(history[i])
		if i+1+n >= len(history) {
			return fmt.Errorf("history is cut off at byte %d", i)
		}
		v := Visit{Node: string(history[i+1 : i+1+n])}
		i += 1 + n
		seconds, w := binary.Varint(history[i:])
		if w <= 0 || i+w+2 > len(history) {
			return fmt.Errorf("history is cut off at byte %d", i)
		}
		i += w
		v.At = entered.Add(time.Duration(seconds) * time.Second)
		v.Branch, v.Marked = int(history[i]), history[i+1]&1 == 1
		i += 2
		fn(v)
	}
	return nil
}

// Visits decodes the history.
func (r *Run) Visits() ([]Visit, error) {
	var out []Visit
	err := eachVisit(r.History, r.EnteredAt, func(v Visit) { out = append(out, v) })
	return out, err
}

// visitNo says the how-manieth time the run comes to the node, beginning with 1, and whether another run has acted here
// in its place. A node that is on no cycle is visited once: even a run that a new version sent back keeps number 1, so
// that its send key, and with it the message, stays the same.
func (r *Run) visitNo(n *node) (no int, marked bool, err error) {
	if len(r.History) == 0 {
		return 1, false, nil
	}
	no = 1
	err = eachVisit(r.History, r.EnteredAt, func(v Visit) {
		if v.Node == n.ID {
			no++
			marked = marked || v.Marked
		}
	})
	if n.cyclic {
		return no, false, err
	}
	return 1, marked, err
}

// TracePoint is one (member, node, time) of a run: what a simulation and the real run must agree on.
type TracePoint struct {
	Birth  member.Birth `json:"birth"`
	Run    id.UUID      `json:"run"`
	Node   string       `json:"node"`
	At     time.Time    `json:"at"`
	Branch int          `json:"branch"` // -1 while the run stands there
}

// Trace returns the nodes the run came to, with the time of each, the present one included.
func (r *Run) Trace() []TracePoint {
	var out []TracePoint
	// A history that cannot be read ends where it is broken; the step reports it.
	_ = eachVisit(r.History, r.EnteredAt, func(v Visit) {
		if !v.Marked {
			out = append(out, TracePoint{r.Birth, r.ID, v.Node, v.At, v.Branch})
		}
	})
	if r.Active() && r.Parked || r.Status == StatusAbsorbed && r.Parked {
		out = append(out, TracePoint{r.Birth, r.ID, r.Node, r.Since, -1})
	}
	return out
}
