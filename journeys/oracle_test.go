package journeys_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
)

// naive interprets a document for one member, fact by fact, in the most obvious way. It shares no code with the engine
// and is what the engine is compared with.
type naive struct {
	doc     journeys.Document
	journey id.UUID
	birth   member.Birth
	runs    []*naiveRun
}

type naiveRun struct {
	node           string
	parked         bool
	entered, since time.Time
	due            time.Time
	ended          bool
	trace          []string
}

func (n *naive) node(name string) journeys.Node {
	for _, x := range n.doc.Nodes {
		if x.ID == name {
			return x
		}
	}
	panic("no node " + name)
}

func (n *naive) play(facts []fact, until time.Time) []string {
	for _, f := range facts {
		n.timers(f.at.Add(-time.Second)) // facts of a tick happened before it
		n.fact(f)
	}
	n.timers(until)
	var out []string
	for _, r := range n.runs {
		if r.parked && !r.ended {
			r.visit(r.node, r.since, -1)
		}
		out = append(out, r.trace...)
	}
	slices.Sort(out)
	return out
}

func (r *naiveRun) visit(node string, at time.Time, branch int) {
	r.trace = append(r.trace, fmt.Sprintf("%s %s %s %d", r.entered.Format(time.RFC3339), node, at.Format(time.RFC3339), branch))
}

func (n *naive) timers(upTo time.Time) {
	for {
		var next *naiveRun
		for _, r := range n.runs {
			if !r.ended && r.parked && !r.due.After(upTo) && (next == nil || r.due.Before(next.due)) {
				next = r
			}
		}
		if next == nil {
			return
		}
		w := n.node(next.node)
		if w.Wait.Event != nil {
			n.leave(next, w.Wait.TimeoutNext, 1, next.due)
		} else {
			n.leave(next, w.Next, 0, next.due)
		}
	}
}

func (n *naive) fact(f fact) {
	exit := n.doc.Settings.Exit[0].Key
	for _, r := range n.runs {
		if r.ended {
			continue
		}
		if f.key == exit {
			r.visit(r.node, r.since, 254)
			r.ended = true
			continue
		}
		if w := n.node(r.node); f.mode == member.ModeLive && w.Wait.Event != nil && w.Wait.Event.Key == f.key {
			n.leave(r, w.Next, 0, f.at)
		}
	}
	if f.key != n.doc.Settings.Trigger.Key || f.mode != member.ModeLive {
		return
	}
	active := slices.ContainsFunc(n.runs, func(r *naiveRun) bool { return !r.ended })
	switch n.doc.Settings.Reentry.Policy {
	case "never":
		if len(n.runs) > 0 {
			return
		}
	case "after_exit":
		if active {
			return
		}
	}
	if n.doc.Settings.Reentry.Max > 0 && len(n.runs) >= n.doc.Settings.Reentry.Max {
		return
	}
	if a := n.doc.Settings.Audience; len(a) > 0 && !n.matches(a) {
		return
	}
	r := &naiveRun{entered: f.at, since: f.at, node: n.doc.Start}
	n.runs = append(n.runs, r)
	if n.bucket("$holdout") < n.doc.Settings.HoldoutBP {
		r.visit(r.node, f.at, 254)
		r.ended = true
		return
	}
	n.arrive(r, f.at)
}

func (n *naive) leave(r *naiveRun, to string, branch int, at time.Time) {
	r.visit(r.node, r.since, branch)
	r.node, r.parked, r.since = to, false, at
	n.arrive(r, at)
}

func (n *naive) arrive(r *naiveRun, at time.Time) {
	x := n.node(r.node)
	switch x.Kind {
	case journeys.KindWait:
		r.parked = true
		switch {
		case x.Wait.Until != nil:
			r.due = at.Add(time.Second)
			for {
				local := r.due.In(clock.Shanghai)
				day := int(local.Weekday())
				if day == 0 {
					day = 7
				}
				if local.Hour()*60+local.Minute() == int(x.Wait.Until.Time) && local.Second() == 0 &&
					(len(x.Wait.Until.Days) == 0 || slices.Contains(x.Wait.Until.Days, day)) {
					break
				}
				r.due = r.due.Add(time.Duration(60-local.Second()) * time.Second)
			}
		case x.Wait.Event != nil:
			r.due = at.Add(time.Duration(x.Wait.Timeout))
		default:
			r.due = at.Add(time.Duration(x.Wait.For))
		}
	case journeys.KindCondition:
		if n.matches(x.Condition.Rule) {
			n.leave(r, x.Condition.Then, 0, at)
		} else {
			n.leave(r, x.Condition.Else, 1, at)
		}
	case journeys.KindSplit:
		b := n.bucket(x.ID)
		for i, p := range x.Split.Paths {
			if b < p.WeightBP {
				n.leave(r, p.Next, i, at)
				return
			}
			b -= p.WeightBP
		}
	case journeys.KindExit:
		r.visit(r.node, at, 254)
		r.ended = true
	default:
		n.leave(r, x.Next, 0, at)
	}
}

func (n *naive) matches(raw json.RawMessage) bool {
	var r rule
	if err := json.Unmarshal(raw, &r); err != nil {
		panic(err)
	}
	return int64(n.birth)%r.Mod[0] == r.Mod[1]
}

func (n *naive) bucket(node string) int {
	b := append(append(n.journey[:len(n.journey):len(n.journey)], node...), 0)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(n.birth)))
	return int(binary.BigEndian.Uint64(sum[:8]) % 10000)
}

// drawDocument makes a valid random graph: nodes lead forward, except that waits may lead back.
func drawDocument(t *rapid.T) string {
	count := rapid.IntRange(1, 9).Draw(t, "nodes")
	nodes := make([]map[string]any, 0, count+1)
	name := func(i int) string { return fmt.Sprintf("n%d", i) }
	for i := range count {
		onward := func(label string) string { return name(rapid.IntRange(i+1, count).Draw(t, label)) }
		anywhere := func(label string) string { return name(rapid.IntRange(0, count).Draw(t, label)) }
		n := map[string]any{"id": name(i), "kind": rapid.SampledFrom([]string{"wait", "wait", "wait", "condition", "split", "message", "tag"}).Draw(t, "kind")}
		// The next node in line is always reachable.
		switch n["kind"] {
		case "wait":
			n["next"] = name(i + 1)
			switch rapid.IntRange(0, 3).Draw(t, "wait") {
			case 0:
				n["wait"] = map[string]any{"for": rapid.SampledFrom([]string{"40m", "3h", "1d"}).Draw(t, "for")}
			case 1:
				n["wait"] = map[string]any{"until": map[string]any{"time": rapid.SampledFrom([]string{"09:00", "20:30"}).Draw(t, "time"),
					"days": rapid.SampledFrom([][]int{nil, {1, 3, 5}, {6}}).Draw(t, "days")}}
			default:
				n["wait"] = map[string]any{"event": map[string]any{"key": "k2"}, "timeout": rapid.SampledFrom([]string{"2h", "1d"}).Draw(t, "timeout"), "timeout_next": anywhere("back")}
			}
		case "condition":
			n["condition"] = map[string]any{"rule": map[string]any{"mod": []int{2, rapid.IntRange(0, 1).Draw(t, "mod")}}, "then": name(i + 1), "else": onward("else")}
		case "split":
			w := rapid.IntRange(0, 10000).Draw(t, "weight")
			n["split"] = map[string]any{"paths": []any{map[string]any{"name": "a", "weight_bp": w, "next": name(i + 1)}, map[string]any{"name": "b", "weight_bp": 10000 - w, "next": onward("b")}}}
		case "message":
			n["message"], n["next"] = map[string]any{"channel": "sms", "template": "x"}, name(i+1)
		case "tag":
			n["tag"], n["next"] = map[string]any{"add": []string{"x"}}, name(i+1)
		}
		nodes = append(nodes, n)
	}
	nodes = append(nodes, map[string]any{"id": name(count), "kind": "exit"})
	settings := map[string]any{"trigger": map[string]any{"kind": "activity", "key": "k1"}, "exit": []any{map[string]any{"key": "k3"}},
		"reentry":    map[string]any{"policy": rapid.SampledFrom([]string{"never", "after_exit", "always"}).Draw(t, "policy"), "max": rapid.IntRange(0, 3).Draw(t, "max")},
		"holdout_bp": rapid.SampledFrom([]int{0, 2000}).Draw(t, "holdout")}
	if rapid.Bool().Draw(t, "audience") {
		settings["audience"] = map[string]any{"mod": []int{3, 1}}
	}
	raw, err := json.Marshal(map[string]any{"name": "random", "settings": settings, "start": "n0", "nodes": nodes})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestEngineEqualsNaiveInterpreter(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.engine = b.newEngine("engine-1", 3)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		code, raw := fmt.Sprintf("j%d", n), drawDocument(rt)
		start := b.clock.Now()
		end := start.Add(4 * 24 * time.Hour)
		m := b.members(6)
		p := b.publish(code, raw)
		var facts []fact
		for range rapid.IntRange(1, 25).Draw(rt, "facts") {
			facts = append(facts, fact{birth: rapid.SampledFrom(m).Draw(rt, "who"), key: rapid.SampledFrom([]string{"k1", "k1", "k2", "k2", "k3"}).Draw(rt, "key"),
				at:   start.Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "hour"))*time.Hour + time.Duration(rapid.IntRange(0, 3599).Draw(rt, "second"))*time.Second),
				mode: rapid.SampledFrom([]member.Mode{member.ModeLive, member.ModeLive, member.ModeLive, member.ModeBackfill}).Draw(rt, "mode")})
		}
		slices.SortStableFunc(facts, func(a, b fact) int { return a.at.Compare(b.at) })
		left := facts
		for b.clock.Now().Before(end) {
			b.clock.Advance(time.Duration(rapid.IntRange(1, 20).Draw(rt, "pace")) * time.Hour)
			if b.clock.Now().After(end) {
				b.clock.Set(end)
			}
			for len(left) > 0 && !left[0].at.After(b.clock.Now()) {
				b.happen(left[0])
				left = left[1:]
			}
			b.drain()
		}
		got := map[member.Birth][]string{}
		entered := map[id.UUID]time.Time{}
		for _, birth := range m {
			for _, r := range b.runs(birth) {
				runID, err := id.Parse(r.ID)
				require.NoError(rt, err)
				entered[runID] = r.EnteredAt
			}
		}
		require.NoError(rt, b.service.Traces(t.Context(), code, func(p journeys.TracePoint) error {
			got[p.Birth] = append(got[p.Birth], fmt.Sprintf("%s %s %s %d", entered[p.Run].Format(time.RFC3339), p.Node, p.At.Format(time.RFC3339), p.Branch))
			return nil
		}))
		d, err := journeys.ParseDocument([]byte(raw))
		require.NoError(rt, err)
		for _, birth := range m {
			var own []fact
			for _, f := range facts {
				if f.birth == birth {
					own = append(own, f)
				}
			}
			want := (&naive{doc: d, journey: p.ID, birth: birth}).play(own, end)
			slices.Sort(got[birth])
			require.Equal(rt, want, got[birth], "member %d of %s", birth, raw)
		}
		_, err = b.service.Archive(t.Context(), code)
		require.NoError(rt, err)
	})
}
