package journeys

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Row is one feed row as journeys see it: a fact and the tick in which it takes effect.
type Row struct {
	activity.Row
	At     time.Time
	enter  *request // instead of a fact: begin a run
	parsed map[string]any
}

// request is an entry that no fact caused: by schedule or through the API.
type request struct {
	version *Version
	entry   entry
}

func (r *Row) props() map[string]any {
	if r.parsed == nil {
		r.parsed = map[string]any{}
		if len(r.Props) > 0 {
			// The log accepts only JSON objects; anything else has no properties.
			_ = json.Unmarshal(r.Props, &r.parsed)
		}
	}
	return r.parsed
}

// Limits of a run.
const (
	maxAttempts  = 5
	maxSteps     = 500 // of one run in one play; it goes on in the next
	firstBackoff = time.Minute
)

// live is a run in memory while its member is played.
type live struct {
	Run
	orig    Run // as loaded
	isNew   bool
	dirty   bool
	walking bool
	steps   int
	moves   []move
	effects []Effect
	notes   []note
	// mark is where the present walk began; a failing walk goes back to it.
	mark struct {
		run            Run
		moves, effects int
	}
	// origin is where the first walk of this play began; a failing member goes back to it.
	origin *Run
}

// move is a run coming to a node, leaving it, or both, for the figures.
type move struct {
	node    string
	at      time.Time
	arrived bool
	left    bool
	branch  int
	reason  string // of a run that ended here
}

// note is a figure that is not a move.
type note struct {
	node, metric, detail string
	at                   time.Time
}

// person is one member being played: all of its runs that matter and its new facts, in order. Members do not touch each
// other, so the order in which they are played is free.
type person struct {
	root   member.ID
	births []member.Birth
	loaded []*live   // as read
	given  []*Row    // as read, in order of time
	until  time.Time // timers up to here fire; zero: up to the stage's

	runs   []*live
	rows   []*Row
	skips  []skip
	asking *live
}

// reset puts a person back to what was read, so that it can be played again.
func (p *person) reset() {
	p.runs, p.rows, p.skips, p.asking = slices.Clone(p.loaded), p.given, nil, nil
	for _, l := range p.runs {
		*l = live{Run: l.orig, orig: l.orig}
	}
}

// skip is an entry that was refused.
type skip struct {
	version *Version
	reason  string
	at      time.Time
}

// question is a fact that a run needs. Rules are those of versions: a node of a version asks one rule.
type question struct {
	journey, version int
	node             string
	at               int64
	root             member.ID
}

// stage is what all persons of a batch share.
type stage struct {
	book  *book
	now   time.Time // for lateness; zero in simulations, which are never late
	until time.Time // timers up to here fire, of persons without a time of their own
	facts map[question]bool
	// survivors are runs that absorbed others and may belong to other members now.
	survivors map[id.UUID]Run
	// replay treats backfilled facts as live.
	replay bool
	// slice is that of all runs of the batch, or -1.
	slice int
}

// play moves a person on until nothing is left to do up to its limit, or until a fact is needed: then it returns false, and
// is called again when the stage knows the fact. Whatever the size of a batch, a member's facts and timers are taken in the
// order of their times. Within a tick come its facts, which happened in the second before it, then timers, then entries.
func (s *stage) play(p *person) (done bool) {
	for {
		if l := p.next(s.scope(p)); l != nil {
			if !s.step(p, l) {
				return false
			}
			continue
		}
		if len(p.rows) == 0 {
			return true
		}
		row := p.rows[0]
		p.rows = p.rows[1:]
		s.handle(p, row)
	}
}

// scope is which runs may walk.
type scope struct {
	until   time.Time
	before  bool // timers only before until; what facts have set in motion, at it too
	journey int  // only its runs; 0: of all journeys
}

func (s *stage) scope(p *person) scope {
	r := scope{until: s.limit(p), before: !p.until.IsZero()}
	if len(p.rows) > 0 && !p.rows[0].At.After(r.until) {
		r.until, r.before = p.rows[0].At, p.rows[0].enter == nil
		if !r.before && !p.until.IsZero() {
			r.journey = p.rows[0].enter.version.Journey.No
		}
	}
	return r
}

func (s *stage) limit(p *person) time.Time {
	if p.until.IsZero() {
		return s.until
	}
	return p.until
}

// next returns the run with the earliest due time within scope; one in the middle of a walk comes first.
func (p *person) next(r scope) *live {
	if p.asking != nil {
		return p.asking
	}
	var best *live
	for _, l := range p.runs {
		if l.Status != StatusWaiting || l.Due.IsZero() || l.Due.After(r.until) || l.steps >= maxSteps ||
			r.before && l.Parked && !l.Wake && l.Due.Equal(r.until) || r.journey != 0 && l.Journey != r.journey {
			continue
		}
		if best == nil || l.Due.Before(best.Due) || l.Due.Equal(best.Due) && before(l, best) {
			best = l
		}
	}
	return best
}

func before(a, b *live) bool {
	if !a.EnteredAt.Equal(b.EnteredAt) {
		return a.EnteredAt.Before(b.EnteredAt)
	}
	return slices.Compare(a.ID[:], b.ID[:]) < 0
}

// step walks one run at its due time. It returns false when a fact is needed.
func (s *stage) step(p *person, l *live) bool {
	v := s.book.version(l.Journey, l.Version)
	if v == nil {
		l.begin()
		l.fail(fmt.Errorf("version %d is not in the book", l.Version), s.wall(l.Due))
		return true
	}
	if !s.book.running(l.Journey) {
		l.begin()
		l.Status, l.walking, p.asking = StatusHeld, false, nil
		return true
	}
	// A timer that fires much too late (a long stop) counts from now, so that a daily cycle does not catch up in a burst.
	if !s.now.IsZero() && !l.walking && s.now.Sub(l.Due) > v.lateness {
		l.Due = tick(s.now)
		if l.Due.After(s.limit(p)) {
			l.dirty = true
			return true
		}
	}
	at := l.Due
	l.begin()
	out, err := protectedStep(v, l.Run, func(node string) (bool, bool) {
		m, known := s.facts[question{l.Journey, l.Version, node, at.Unix(), p.root}]
		return m, known
	}, at)
	if err != nil {
		p.asking = nil
		l.fail(err, s.wall(at))
		return true
	}
	l.moved(out, at)
	l.Run = out.Run
	l.effects = append(l.effects, out.Effects...)
	l.steps++
	switch {
	case out.Asks:
		l.Due, p.asking = at, l
		return false
	case out.Rejected:
		p.skips = append(p.skips, skip{v, "audience", at})
		p.runs = slices.DeleteFunc(p.runs, func(x *live) bool { return x == l })
	}
	if !l.GoalAt.IsZero() && l.mark.run.GoalAt.IsZero() {
		l.notes = append(l.notes, note{node: "", metric: "goal", at: at})
	}
	l.walking, p.asking = false, nil
	l.Attempts, l.Error = 0, ""
	return true
}

// protectedStep turns a panic into an error of this run, so that others go on.
func protectedStep(v *Version, r Run, fact Fact, at time.Time) (out Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return Step(v, r, fact, at)
}

// wall is the time from which a failed run is tried again.
func (s *stage) wall(at time.Time) time.Time {
	if at.Before(s.now) {
		return tick(s.now)
	}
	return at
}

// moved notes what a step did, for the figures. l is still the run before the step.
func (l *live) moved(out Outcome, at time.Time) {
	parked := l.Parked
	l.moves = slices.Grow(l.moves, len(out.Visits)+1)
	for _, v := range out.Visits {
		m := move{node: v.Node, at: at, arrived: !parked, left: true, branch: v.Branch}
		if v.Branch == branchLeft {
			m.reason = out.Run.Reason
		}
		l.moves = append(l.moves, m)
		parked = false
	}
	if out.Run.Parked {
		l.moves = append(l.moves, move{node: out.Run.Node, at: at, arrived: true})
	}
}

// end ends the run where it stands, but not before it came there.
func (l *live) end(reason string, at time.Time) {
	parked := l.Parked
	if at.Before(l.Since) {
		at = l.Since
	}
	endRun(&l.Run, new([]Visit), reason, at)
	l.moves = append(l.moves, move{node: l.Node, at: at, arrived: !parked, left: true, branch: branchLeft, reason: reason})
	l.dirty = true
}

// begin remembers where a walk starts.
func (l *live) begin() {
	l.dirty = true
	if l.walking {
		return
	}
	l.walking = true
	l.mark.run, l.mark.moves, l.mark.effects = l.Run, len(l.moves), len(l.effects)
	if l.origin == nil {
		r := l.Run
		l.origin = &r
	}
}

// fail takes the present walk back and plans another attempt, or quarantines the run.
func (l *live) fail(err error, at time.Time) {
	l.Run = l.mark.run
	l.moves, l.effects = l.moves[:l.mark.moves], l.effects[:l.mark.effects]
	l.walking, l.dirty = false, true
	l.Attempts++
	l.Error = truncate(err.Error(), 500)
	if l.Attempts >= maxAttempts {
		l.Status, l.Due = StatusQuarantined, time.Time{}
		l.notes = append(l.notes, note{node: l.Node, metric: "quarantined", at: at})
		return
	}
	l.Due = at.Add(firstBackoff << (2 * (l.Attempts - 1))) // 1, 4, 16, 64 minutes
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}

// handle applies one fact to the person: goals and exits of its runs, then waits, then triggers.
func (s *stage) handle(p *person, row *Row) {
	if row.enter != nil {
		s.enter(p, row.enter.version, row.enter.entry)
		return
	}
	if row.Key == keyIdentity {
		s.settle(p, row.At)
		return
	}
	acts := row.Mode == member.ModeLive || s.replay
	for _, l := range p.runs {
		v := s.book.version(l.Journey, l.Version)
		if v == nil || row.At.Before(l.EnteredAt) || l.Status == StatusAbsorbed {
			continue
		}
		if l.GoalAt.IsZero() && v.goal.matches(row) && !row.At.After(l.EnteredAt.Add(v.within)) && (l.Active() || l.Status == StatusEnded) {
			l.GoalAt, l.dirty = row.At, true
			l.notes = append(l.notes, note{metric: "goal", detail: held(l), at: row.At})
			if v.Doc.Settings.Goal.Exit && l.Active() {
				l.end(ReasonGoal, row.At)
			}
		}
		if !l.Active() {
			continue
		}
		if e := v.exitFor(row); e != nil {
			l.end(e.reason, row.At)
			continue
		}
		if n := v.nodes[l.Node]; acts && l.Parked && n != nil && n.event.matches(row) && !row.At.Before(l.Since) &&
			!s.late(v, row) && l.Status != StatusQuarantined {
			l.Wake, l.dirty = true, true
			if l.Status == StatusWaiting {
				l.Due = row.At
			}
		}
	}
	if !acts {
		return
	}
	for _, v := range s.book.triggered(row.Key) {
		if v.trigger.matches(row) {
			s.enter(p, v, entry{birth: row.Birth, key: "a:" + strconv.FormatInt(row.ActivityID, 10), at: row.At, late: s.late(v, row), context: row.Props})
		}
	}
}

func held(l *live) string {
	if l.Reason == ReasonHoldout {
		return ReasonHoldout
	}
	return ""
}

func (s *stage) late(v *Version, row *Row) bool {
	return !s.now.IsZero() && s.now.Sub(row.OccurredAt) > v.lateness
}

func (v *Version) exitFor(row *Row) *exitMatcher {
	for i := range v.exits {
		if v.exits[i].matches(row) {
			return &v.exits[i]
		}
	}
	return nil
}

// entry is a request to begin a run.
type entry struct {
	birth   member.Birth
	key     string // idempotent per journey
	at      time.Time
	late    bool
	chosen  bool // the audience was evaluated by whoever enters
	context json.RawMessage
}

// enter begins a run if re-entry allows it. The run walks when play comes to it, at once.
func (s *stage) enter(p *person, v *Version, e entry) {
	runID := RunID(v.Journey, e.key)
	refuse := func(reason string) { p.skips = append(p.skips, skip{v, reason, e.at}) }
	switch {
	case !s.book.running(v.Journey.No):
		refuse("paused")
		return
	case e.late:
		refuse("late")
		return
	}
	seed, past, active := e.birth, 0, false
	var first *live
	for _, l := range p.runs {
		if l.Journey != v.Journey.No {
			continue
		}
		if l.ID == runID {
			refuse("repeated")
			return
		}
		if l.Status == StatusAbsorbed {
			continue
		}
		past++
		active = active || l.Active()
		if first == nil || before(l, first) {
			first = l
		}
	}
	if first != nil {
		seed = first.Seed
	}
	re := v.reentry
	if re.Policy == ReentryNever && past > 0 || re.Policy == ReentryAfterExit && active || re.Max > 0 && past >= re.Max {
		refuse("reentry")
		return
	}
	l := &live{isNew: true, dirty: true}
	l.Run = Run{Birth: e.birth, ID: runID, Seed: seed, Journey: v.Journey.No, Version: v.No, Status: StatusWaiting,
		Since: e.at, Due: e.at, EnteredAt: e.at}
	if e.chosen {
		s.facts[question{v.Journey.No, v.No, "", e.at.Unix(), p.root}] = true
	}
	if v.Doc.usesTrigger() {
		l.Context = e.context
	}
	p.runs = append(p.runs, l)
}

// settle brings the runs of a member in order after its cluster changed. Of several active runs of one journey that
// allows only one, the earliest goes on and the others are absorbed. An absorbed run whose survivor belongs to another
// member now is reopened; what the survivor did meanwhile is marked in it, so that it is not done again.
func (s *stage) settle(p *person, at time.Time) {
	for _, l := range p.runs {
		if l.Status != StatusAbsorbed || l.AbsorbedBirth == nil || slices.Contains(p.births, *l.AbsorbedBirth) {
			continue
		}
		s.reopen(l, at)
	}
	firsts := map[int]*live{}
	for _, l := range p.runs {
		if v := s.book.version(l.Journey, l.Version); !l.Active() || v == nil || v.reentry.Policy == ReentryAlways {
			continue
		}
		if f := firsts[l.Journey]; f == nil || before(l, f) {
			firsts[l.Journey] = l
		}
	}
	for _, l := range p.runs {
		f := firsts[l.Journey]
		if f == nil || f == l || !l.Active() {
			continue
		}
		v := s.book.version(l.Journey, l.Version)
		if v == nil || v.reentry.Policy == ReentryAlways {
			continue
		}
		l.dirty = true
		l.Status, l.Reason, l.EndedAt = StatusAbsorbed, ReasonAbsorbed, at
		l.AbsorbedBy, l.AbsorbedBirth = &f.ID, &f.Birth
		l.notes = append(l.notes, note{node: l.Node, metric: "absorbed", at: at})
		f.markVisits(l.Run, time.Time{})
	}
}

// markVisits notes in l what another run of the same member did from the instant on, so that l does not do it again.
func (l *live) markVisits(other Run, from time.Time) {
	// A history that cannot be read is reported by the step that needs it.
	_ = eachVisit(other.History, other.EnteredAt, func(v Visit) {
		if !v.At.Before(from) && !v.Marked && v.Branch != branchLeft {
			l.History = appendVisit(l.History, l.EnteredAt, Visit{Node: v.Node, At: v.At, Branch: v.Branch, Marked: true})
		}
	})
	l.dirty = true
}

// reopen lets an absorbed run go on where it stood.
func (s *stage) reopen(l *live, at time.Time) {
	l.markVisits(s.survivors[*l.AbsorbedBy], l.EndedAt)
	l.Status, l.Reason, l.EndedAt = StatusWaiting, "", time.Time{}
	l.AbsorbedBy, l.AbsorbedBirth = nil, nil
	if !l.Due.IsZero() && l.Due.Before(at) {
		l.Due = at
	}
	l.dirty = true
	l.notes = append(l.notes, note{node: l.Node, metric: "reopened", at: at})
}
