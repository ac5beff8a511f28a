package journeys

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// History hands out what happened in a period, member by member. activity.Log is it.
type History interface {
	// Replay calls fn with the rows of each member that has any, members in order of their id, rows in order of time.
	Replay(ctx context.Context, db pg.DB, keys []string, from, to time.Time, fn func(root member.ID, rows []activity.Row) error) error
}

// Simulator rehearses journeys: the engine's own play and Step on the times of the log, with nothing at the other end and
// nothing written. Members are independent of each other, so it takes them in chunks and needs little memory.
type Simulator struct {
	DB      pg.DB
	Rules   Rules
	People  People
	History History
}

// SimulateOptions say what to rehearse.
type SimulateOptions struct {
	From, To time.Time
	// LiveOnly treats backfilled facts as the engine does, which ignores them; otherwise the past is replayed as if live.
	LiveOnly bool
	// Costs is what one message costs, by channel; coupons and points are counted.
	Costs map[string]money.Fen
	// Trace is called for every node that every run came to.
	Trace func(TracePoint) error
}

// Simulation is the outcome of a rehearsal.
type Simulation struct {
	From     time.Time        `json:"from"`
	To       time.Time        `json:"to"`
	Members  int64            `json:"members"`
	Started  int64            `json:"started"`
	Active   int64            `json:"active"`
	Goals    int64            `json:"goals"`
	Messages map[string]int64 `json:"messages"`
	Coupons  map[string]int64 `json:"coupons"`
	Points   map[string]int64 `json:"points"`
	Tasks    int64            `json:"tasks"`
	CostFen  money.Fen        `json:"cost_fen"`
	Nodes    []NodeTotal      `json:"nodes"`
	Ended    []Count          `json:"ended"`
	Skipped  []Count          `json:"skipped"`
}

const simulationChunk = 5000

// Simulate rehearses one version over all members from From to To. Journeys triggered through the API enter their
// audience at From. Tags, attributes and the graph are today's; facts are those of the log at each instant.
func (s *Simulator) Simulate(ctx context.Context, v *Version, o SimulateOptions) (Simulation, error) {
	if !o.To.After(o.From) || o.To.Sub(o.From) > maxDuration {
		return Simulation{}, ErrPeriod
	}
	b := newBook()
	b.add(bookEntry{v.Journey, JourneyLive, v.No}, v)
	sim := &simulation{Simulator: s, v: v, o: o, book: b, figures: newFigures(),
		out: Simulation{From: o.From, To: o.To, Messages: map[string]int64{}, Coupons: map[string]int64{}, Points: map[string]int64{}}}
	entries, err := sim.entries(ctx)
	if err != nil {
		return Simulation{}, err
	}
	flushUpTo := func(root member.ID) error {
		for next, ok := entries.root(); ok && next < root; next, ok = entries.root() {
			if err := sim.add(ctx, next, nil, entries.take(v, next)); err != nil {
				return err
			}
		}
		return nil
	}
	err = s.History.Replay(ctx, s.DB, v.Keys(), o.From, o.To, func(root member.ID, rows []activity.Row) error {
		if err := flushUpTo(root); err != nil {
			return err
		}
		return sim.add(ctx, root, rows, entries.take(v, root))
	})
	if err == nil {
		err = flushUpTo(1<<63 - 1)
	}
	if err == nil {
		err = sim.flush(ctx)
	}
	if err != nil {
		return Simulation{}, fmt.Errorf("simulate: %w", err)
	}
	return sim.result(), nil
}

type simulation struct {
	*Simulator
	v       *Version
	o       SimulateOptions
	book    *book
	chunk   []*person
	figures *figures
	out     Simulation
}

// audience is who enters at one time, members in order of their id, as the differences between them: a schedule that
// repeats daily over a month would otherwise not fit into memory.
type audience struct {
	at   time.Time
	rest []byte
	next member.ID // 0: none left
}

func newAudience(at time.Time, members []member.ID) *audience {
	slices.Sort(members)
	a := &audience{at: at, rest: make([]byte, 0, len(members)+len(members)/4)}
	last := member.ID(0)
	for _, m := range members {
		a.rest = binary.AppendUvarint(a.rest, uint64(m-last))
		last = m
	}
	a.advance()
	return a
}

func (a *audience) advance() {
	if len(a.rest) == 0 {
		a.next = 0
		return
	}
	d, n := binary.Uvarint(a.rest)
	a.next, a.rest = a.next+member.ID(d), a.rest[n:]
}

// audiences are those of a period, in order of time.
type audiences []*audience

// root returns the first member that has yet to enter anywhere.
func (as audiences) root() (first member.ID, ok bool) {
	for _, a := range as {
		if a.next != 0 && (!ok || a.next < first) {
			first, ok = a.next, true
		}
	}
	return first, ok
}

// take returns the entries of a member who comes next.
func (as audiences) take(v *Version, root member.ID) (rows []*Row) {
	for _, a := range as {
		if a.next == root {
			rows = append(rows, scheduled(v, root, a.at))
			a.advance()
		}
	}
	return rows
}

// entries finds the audiences of the period.
func (s *simulation) entries(ctx context.Context) (audiences, error) {
	settings := s.v.Doc.Settings
	var times []time.Time
	switch settings.Trigger.Kind {
	case TriggerSchedule:
		for at := s.o.From.Add(-time.Second); ; {
			next, ok := settings.Trigger.Schedule.Next(at)
			if !ok || !next.Before(s.o.To) {
				break
			}
			times = append(times, next)
			at = next
		}
	case TriggerAPI:
		if len(settings.Audience) > 0 {
			times = []time.Time{tick(s.o.From)}
		}
	}
	var out audiences
	for _, at := range times {
		members, err := s.Rules.Members(ctx, s.DB, settings.Audience, at)
		if err != nil {
			return nil, fmt.Errorf("find audience: %w", err)
		}
		out = append(out, newAudience(at, members))
	}
	return out, nil
}

func (s *simulation) add(ctx context.Context, root member.ID, facts []activity.Row, entries []*Row) error {
	p := &person{root: root, given: entries}
	for i := range facts {
		p.given = append(p.given, &Row{Row: facts[i], At: tick(facts[i].OccurredAt)})
	}
	p.given = sortRows(p.given)
	s.chunk = append(s.chunk, p)
	if len(s.chunk) < simulationChunk {
		return nil
	}
	return s.flush(ctx)
}

// flush plays the members of the chunk through the whole period.
func (s *simulation) flush(ctx context.Context) error {
	if len(s.chunk) == 0 {
		return nil
	}
	st := &stage{book: s.book, until: s.o.To, facts: map[question]bool{}, replay: !s.o.LiveOnly}
	for _, p := range s.chunk {
		p.reset()
	}
	if err := playAll(ctx, s.DB, s.Rules, st, s.chunk); err != nil {
		return err
	}
	for _, p := range s.chunk {
		if len(p.runs) > 0 {
			s.out.Members++
		}
		for _, sk := range p.skips {
			s.figures.add(figure{node: "", metric: "skipped", detail: sk.reason}, 1)
		}
		for _, l := range p.runs {
			s.count(l)
			if s.o.Trace == nil {
				continue
			}
			for _, t := range l.Trace() {
				if err := s.o.Trace(t); err != nil {
					return err
				}
			}
		}
	}
	s.chunk = s.chunk[:0]
	return nil
}

func (s *simulation) count(l *live) {
	s.figures.run(s.v, l)
	for i := range l.effects {
		switch n := l.effects[i].Node; n.Kind {
		case KindMessage:
			s.out.Messages[n.Message.Channel]++
			s.out.CostFen += s.o.Costs[n.Message.Channel]
		case KindCoupon:
			s.out.Coupons[n.Coupon.Template]++
			s.figures.add(figure{node: n.ID, metric: "coupon"}, 1)
		case KindPoints:
			s.out.Points[n.Points.Programme] += n.Points.Points
		case KindTask:
			s.out.Tasks++
		}
	}
}

func (s *simulation) result() Simulation {
	sums := map[figure]int64{}
	for k, n := range s.figures.counts {
		sums[figure{node: k.node, metric: k.metric, detail: k.detail}] += n
	}
	counts := make([]Count, 0, len(sums))
	for k, n := range sums {
		counts = append(counts, Count{Node: k.node, Metric: k.metric, Detail: k.detail, N: n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Detail, b.Detail))
	})
	r := summarise(counts)
	s.out.Started, s.out.Active, s.out.Goals, s.out.Nodes, s.out.Ended, s.out.Skipped = r.Started, r.Active, r.Goals, r.Nodes, r.Ended, r.Skipped
	return s.out
}

// ParseCosts reads "sms=5,email=1" (fen per message).
func ParseCosts(pairs map[string]string) (map[string]money.Fen, error) {
	out := map[string]money.Fen{}
	for channel, text := range pairs {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("cost of %s: %q is not a number of fen", channel, text)
		}
		out[channel] = money.Fen(n)
	}
	return out, nil
}

// Simulate rehearses the live version of a journey, or its draft if it has none. See Simulator.
func (s *Service) Simulate(ctx context.Context, code string, o SimulateOptions) (Simulation, error) {
	info, err := s.Get(ctx, code)
	if err != nil {
		return Simulation{}, err
	}
	var v *Version
	if info.LiveVersion != nil {
		v, err = getVersion(ctx, s.db, info, *info.LiveVersion)
	} else {
		v, err = s.draftVersion(ctx, info)
	}
	if err != nil {
		return Simulation{}, err
	}
	return s.simulator().Simulate(ctx, v, o)
}

// SimulateDocument rehearses a document that need not be stored.
func (s *Service) SimulateDocument(ctx context.Context, raw []byte, o SimulateOptions) (Simulation, error) {
	doc, err := ParseDocument(raw)
	if err != nil {
		return Simulation{}, err
	}
	if err := Validate(&doc, s.rules); err != nil {
		return Simulation{}, err
	}
	v, err := Compile(Journey{Code: "draft", No: 1}, 1, doc)
	if err != nil {
		return Simulation{}, err
	}
	return s.simulator().Simulate(ctx, v, o)
}

func (s *Service) draftVersion(ctx context.Context, info Info) (*Version, error) {
	raw, err := getDraft(ctx, s.db, info.Code)
	if err != nil {
		return nil, err
	}
	doc, err := ParseDocument(raw)
	if err != nil {
		return nil, err
	}
	if err := Validate(&doc, s.rules); err != nil {
		return nil, err
	}
	return Compile(info.journey(), 1, doc)
}

func (s *Service) simulator() *Simulator {
	return &Simulator{DB: s.db, Rules: s.rules, People: s.people, History: s.engine.feed}
}

// Traces calls fn for every node that every run of a journey came to, to be compared with a rehearsal.
func (s *Service) Traces(ctx context.Context, code string, fn func(TracePoint) error) error {
	info, err := s.Get(ctx, code)
	if err != nil {
		return err
	}
	args := pg.Args{"journey": info.No, "birth": int64(0), "id": id.UUID{}, "limit": simulationChunk}
	for {
		runs, err := queryRuns(ctx, s.db, journeyRunsSQL, args)
		if err != nil || len(runs) == 0 {
			return err
		}
		for _, r := range runs {
			for _, t := range r.Trace() {
				if err := fn(t); err != nil {
					return err
				}
			}
		}
		last := runs[len(runs)-1]
		args["birth"], args["id"] = int64(last.Birth), last.ID
	}
}
