package journeys

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
)

// Effect is something a run does to the world: a message, a grant, a change of profile, a task, a call. Key is derived
// from run, node and visit, not from the version, so the same effect is the same whoever computes it and how often.
type Effect struct {
	Node *Node
	Key  id.UUID
	At   time.Time
	Vars map[string]any
}

// Outcome is what a step made of a run.
type Outcome struct {
	Run     Run
	Visits  []Visit
	Effects []Effect
	// Asks says that the run stands at a condition (or, with Node "", at the door of the journey) and cannot go on before
	// it is known whether the member matches. The caller finds out and steps again from Outcome.Run.
	Asks bool
	// Rejected says that the member does not match the audience: the run never began.
	Rejected bool
}

// Fact answers the question of the node the run stands at; known is false when nobody has asked yet.
type Fact func(node string) (matches, known bool)

// Step walks a run from where it stands, at the instant at, until it waits, ends or needs a fact. It is a pure function:
// the engine and the simulator call it and nothing else moves a run along the graph. A parked run whose time has come or
// whose event has happened (Wake) leaves its wait first. Splits and hold-outs hash (journey, node, seed birth).
func Step(v *Version, r Run, fact Fact, at time.Time) (Outcome, error) {
	w := walk{v: v, at: at, out: Outcome{Run: r}}
	run := &w.out.Run
	run.Since = at
	if run.Parked {
		n := v.nodes[run.Node]
		if n == nil {
			return w.out, fmt.Errorf("node %q is not in version %d", run.Node, v.No)
		}
		run.Since = r.Since
		branch := branchNext
		if n.event != nil && !run.Wake {
			branch = branchTimeout
		}
		if err := w.pass(n, branch); err != nil {
			return w.out, err
		}
	}
	run.Wake = false
	if run.Node == "" {
		if done := w.enter(fact); done {
			return w.out, nil
		}
	}
	for range len(v.nodes) + 1 {
		n := v.nodes[run.Node]
		if n == nil {
			return w.out, fmt.Errorf("node %q is not in version %d", run.Node, v.No)
		}
		done, err := w.visit(n, fact)
		if err != nil {
			return w.out, fmt.Errorf("node %s: %w", n.ID, err)
		}
		if done {
			return w.out, nil
		}
	}
	return w.out, fmt.Errorf("walk of more than %d nodes without a wait", len(v.nodes))
}

type walk struct {
	v   *Version
	at  time.Time
	out Outcome
}

// enter opens the door: audience, then hold-out.
func (w *walk) enter(fact Fact) (done bool) {
	run := &w.out.Run
	if len(w.v.Doc.Settings.Audience) > 0 {
		matches, known := fact("")
		if !known {
			w.out.Asks = true
			return true
		}
		if !matches {
			w.out.Rejected = true
			return true
		}
	}
	run.Node = w.v.Doc.Start
	if bp := w.v.Doc.Settings.HoldoutBP; bp > 0 && bucket(w.v.Journey, "$holdout", run.Seed) < bp {
		w.end(ReasonHoldout)
		return true
	}
	return false
}

// visit does what the node does and goes on, or stops.
func (w *walk) visit(n *node, fact Fact) (done bool, err error) {
	run := &w.out.Run
	switch n.Kind {
	case KindWait:
		run.Parked, run.Since, run.Due, run.Status = true, w.at, w.dueAt(n), StatusWaiting
		return true, nil
	case KindCondition:
		matches, known := fact(n.ID)
		if !known {
			w.out.Asks = true
			return true, nil
		}
		if matches {
			return false, w.pass(n, branchNext)
		}
		return false, w.pass(n, branchElse)
	case KindSplit:
		b := bucket(w.v.Journey, n.ID, run.Seed)
		for i, p := range n.Split.Paths {
			if b -= p.WeightBP; b < 0 {
				return false, w.pass(n, i)
			}
		}
		return false, fmt.Errorf("the weights do not sum to 10,000")
	case KindMessage, KindCoupon, KindPoints, KindTag, KindAttribute, KindTask, KindWebhook:
		if err := w.act(n); err != nil {
			return false, err
		}
		return false, w.pass(n, branchNext)
	case KindGoal:
		if run.GoalAt.IsZero() {
			run.GoalAt = w.at
		}
		return false, w.pass(n, branchNext)
	case KindExit:
		reason := "exit"
		if n.Exit != nil && n.Exit.Reason != "" {
			reason += ":" + n.Exit.Reason
		}
		w.end(reason)
		return true, nil
	}
	return false, fmt.Errorf("kind %q is unknown", n.Kind)
}

// pass leaves a node by a branch and stands before the next.
func (w *walk) pass(n *node, branch int) error {
	if branch >= len(n.out) {
		return fmt.Errorf("node %s has no branch %d", n.ID, branch)
	}
	run := &w.out.Run
	visit := Visit{Node: n.ID, At: run.Since, Branch: branch}
	w.out.Visits = append(w.out.Visits, visit)
	run.History = appendVisit(run.History, run.EnteredAt, visit)
	run.Node, run.Parked, run.Since = n.out[branch].to, false, w.at
	return nil
}

func (w *walk) end(reason string) { endRun(&w.out.Run, &w.out.Visits, reason, w.at) }

// endRun ends a run where it stands.
func endRun(run *Run, visits *[]Visit, reason string, at time.Time) {
	visit := Visit{Node: run.Node, At: run.Since, Branch: branchLeft}
	*visits = append(*visits, visit)
	run.History = appendVisit(run.History, run.EnteredAt, visit)
	run.Status, run.Reason, run.EndedAt = StatusEnded, reason, at
	run.Due, run.Parked, run.Wake = time.Time{}, false, false
}

func (w *walk) dueAt(n *node) time.Time {
	switch {
	case n.Wait.Until != nil:
		return nextLocal(w.at, *n.Wait.Until)
	case n.Wait.Event != nil:
		return w.at.Add(time.Duration(n.Wait.Timeout))
	}
	return w.at.Add(time.Duration(n.Wait.For))
}

// act makes the effect of a node.
func (w *walk) act(n *node) error {
	run := &w.out.Run
	no, marked, err := run.visitNo(n)
	if err != nil {
		return err
	}
	if marked {
		return nil
	}
	e := Effect{Node: n.Node, At: w.at, Key: EffectKey(run.ID, n.ID, no)}
	switch n.Kind {
	case KindMessage:
		e.Vars, err = fill(n.Message.Vars, run.Context)
	case KindWebhook:
		e.Vars, err = fill(n.Webhook.Body, run.Context)
	}
	if err != nil {
		return err
	}
	w.out.Effects = append(w.out.Effects, e)
	return nil
}

// EffectKey is the send key of a node's visit.
func EffectKey(run id.UUID, nodeID string, visit int) id.UUID {
	return id.Derived("journey effect", run.String(), nodeID, strconv.Itoa(visit))
}

// bucket gives each (journey, node, birth) a number from 0 to 9,999, evenly and for ever.
func bucket(j Journey, nodeID string, birth member.Birth) int {
	var b [96]byte
	buf := append(b[:0], j.ID[:]...)
	buf = append(buf, nodeID...)
	buf = append(buf, 0)
	buf = binary.BigEndian.AppendUint64(buf, uint64(birth))
	sum := sha256.Sum256(buf)
	return int(binary.BigEndian.Uint64(sum[:8]) % 10000)
}

// fill replaces {trigger.PROP} in string values by properties of the triggering activity.
func fill(vars map[string]any, context json.RawMessage) (map[string]any, error) {
	var props map[string]any
	out := vars
	for name, value := range vars {
		s, ok := value.(string)
		if !ok || !strings.Contains(s, "{trigger.") {
			continue
		}
		if props == nil {
			props = map[string]any{}
			if len(context) > 0 {
				if err := json.Unmarshal(context, &props); err != nil {
					return nil, fmt.Errorf("read trigger: %w", err)
				}
			}
			out = make(map[string]any, len(vars))
			for k, v := range vars {
				out[k] = v
			}
		}
		filled, err := fillText(s, props)
		if err != nil {
			return nil, fmt.Errorf("var %s: %w", name, err)
		}
		out[name] = filled
	}
	return out, nil
}

func fillText(s string, props map[string]any) (any, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{trigger.")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("{trigger.%s is not closed", rest)
		}
		value, ok := props[name]
		if !ok || value == nil {
			return nil, fmt.Errorf("the triggering activity has no %q", name)
		}
		if before == "" && after == "" && b.Len() == 0 {
			return value, nil
		}
		if n, ok := value.(float64); ok {
			b.WriteString(strconv.FormatFloat(n, 'f', -1, 64))
		} else {
			fmt.Fprint(&b, value)
		}
		s = after
	}
}

// usesTrigger reports whether runs of the version must remember the properties of their trigger.
func (d *Document) usesTrigger() bool {
	for _, n := range d.Nodes {
		vars := map[string]any{}
		switch {
		case n.Message != nil:
			vars = n.Message.Vars
		case n.Webhook != nil:
			vars = n.Webhook.Body
		}
		for _, v := range vars {
			if s, ok := v.(string); ok && strings.Contains(s, "{trigger.") {
				return true
			}
		}
	}
	return false
}
