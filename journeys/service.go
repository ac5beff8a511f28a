package journeys

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Service is what operators do with journeys: write, publish, pause, watch.
type Service struct {
	db        *pg.Pool
	clock     clock.Clock
	log       *slog.Logger
	rules     Rules
	people    People
	catalogue Catalogue
	engine    *Engine
}

// NewService returns the use cases; engine may be nil where nothing is started through the API.
func NewService(engine *Engine, catalogue Catalogue) *Service {
	return &Service{db: engine.db, clock: engine.clock, log: engine.log, rules: engine.rules, people: engine.people, catalogue: catalogue, engine: engine}
}

// Engine returns the engine behind the service.
func (s *Service) Engine() *Engine { return s.engine }

// Get returns a journey. Errors: journey.not_found.
func (s *Service) Get(ctx context.Context, code string) (Info, error) {
	return one(ctx, s.db, code, getJourneySQL, pg.Args{"code": code})
}

// Find lists journeys by code, after the given one; an empty status lists all.
func (s *Service) Find(ctx context.Context, status JourneyStatus, after string, limit int) ([]Info, error) {
	rows, err := s.db.Query(ctx, findJourneysSQL, pg.Args{"after": after, "status": string(status), "limit": min(max(limit, 1), 500)})
	if err != nil {
		return nil, fmt.Errorf("find journeys: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Info])
	if err != nil {
		return nil, fmt.Errorf("find journeys: %w", err)
	}
	return out, nil
}

// Draft returns the document that is being edited, or the one of a version if version is positive.
func (s *Service) Draft(ctx context.Context, code string, version int) (json.RawMessage, error) {
	if version <= 0 {
		return getDraft(ctx, s.db, code)
	}
	info, err := s.Get(ctx, code)
	if err != nil {
		return nil, err
	}
	v, err := getVersion(ctx, s.db, info, version)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v.Doc)
}

// Create stores a new journey as a draft. The document must be readable; it may have faults until it is published.
func (s *Service) Create(ctx context.Context, code string, raw []byte) (Info, error) {
	if !codeForm.MatchString(code) {
		return Info{}, ErrCodeInvalid.With("code", code)
	}
	doc, err := ParseDocument(raw)
	if err != nil {
		return Info{}, err
	}
	return newJourney(ctx, s.db, code, &doc, raw, s.clock.Now())
}

// Save replaces the draft if revision is still current. Errors: journey.stale, journey.status, journey.undecodable.
func (s *Service) Save(ctx context.Context, code string, revision int, raw []byte) (info Info, err error) {
	doc, err := ParseDocument(raw)
	if err != nil {
		return Info{}, err
	}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		info, err = one(ctx, tx, code, lockJourneySQL, pg.Args{"code": code})
		if err != nil {
			return err
		}
		if info.Revision != revision {
			return ErrStale.With("current", info.Revision, "given", revision)
		}
		if info.Status == JourneyArchived {
			return ErrStatus.With("code", code, "status", info.Status)
		}
		info, err = one(ctx, tx, code, saveDraftSQL, pg.Args{"code": code, "name": doc.Name, "draft": raw, "now": s.clock.Now()})
		return err
	})
	return info, err
}

// Copy creates a new draft from another journey's draft.
func (s *Service) Copy(ctx context.Context, from, to string) (Info, error) {
	raw, err := getDraft(ctx, s.db, from)
	if err != nil {
		return Info{}, err
	}
	return s.Create(ctx, to, raw)
}

// Check returns every fault of a document, as publishing it would.
func (s *Service) Check(ctx context.Context, raw []byte) (Document, error) {
	doc, err := ParseDocument(raw)
	if err != nil {
		return Document{}, err
	}
	var fields []fault.Field
	for _, err := range []error{Validate(&doc, s.rules), CheckReferences(ctx, s.db, &doc, s.catalogue)} {
		var f *fault.Error
		switch {
		case err == nil:
		case errors.As(err, &f) && f.Code == ErrInvalid.Code:
			fields = append(fields, f.Fields...)
		default:
			return Document{}, err
		}
	}
	if len(fields) > 0 {
		return Document{}, ErrInvalid.With("n", len(fields)).WithFields(fields...)
	}
	return doc, nil
}

// Published is the outcome of Publish.
type Published struct {
	Info
	Version int   `json:"version"`
	Moved   int64 `json:"moved"` // runs of earlier versions that were moved or ended by the plan
}

// Publish makes the draft the live version, if revision is still current and the draft has no fault. Runs of earlier
// versions stay in theirs unless the plan says otherwise. Errors: journey.stale, journey.invalid, journey.plan,
// journey.status.
func (s *Service) Publish(ctx context.Context, code string, revision int, by string, plan Plan) (Published, error) {
	raw, err := getDraft(ctx, s.db, code)
	if err != nil {
		return Published{}, err
	}
	doc, err := s.Check(ctx, raw)
	if err != nil {
		return Published{}, err
	}
	var out Published
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		info, err := one(ctx, tx, code, lockJourneySQL, pg.Args{"code": code})
		if err != nil {
			return err
		}
		if info.Revision != revision {
			return ErrStale.With("current", info.Revision, "given", revision)
		}
		if info.Status == JourneyArchived {
			return ErrStatus.With("code", code, "status", info.Status)
		}
		now := s.clock.Now()
		current, err := getDraft(ctx, tx, code)
		if err != nil {
			return err
		}
		if !bytes.Equal(current, raw) {
			return pg.ErrRetry
		}
		if err := tx.QueryRow(ctx, insertVersionSQL, pg.Args{"journey": info.No, "document": raw, "now": now, "by": by}).Scan(&out.Version); err != nil {
			return fmt.Errorf("publish %s: %w", code, err)
		}
		v, err := Compile(info.journey(), out.Version, doc)
		if err != nil {
			return err
		}
		if out.Moved, err = s.migrate(ctx, tx, info, v, plan, now); err != nil {
			return err
		}
		status := JourneyLive
		if info.Status == JourneyPaused {
			status = JourneyPaused
		}
		out.Info, err = one(ctx, tx, code, setStatusSQL, pg.Args{"code": code, "status": string(status), "version": out.Version, "next": v.nextAt(now), "now": now})
		if err != nil {
			return err
		}
		_, err = touchControl(ctx, tx, nil)
		return err
	})
	return out, err
}

// nextAt is the first occurrence of a schedule after now; nil without one.
func (v *Version) nextAt(now time.Time) *time.Time {
	s := v.Doc.Settings.Trigger.Schedule
	if v.Doc.Settings.Trigger.Kind != TriggerSchedule || s == nil {
		return nil
	}
	at, ok := s.Next(now)
	if !ok {
		return nil
	}
	return &at
}

// migrate carries out the plan for runs in flight.
func (s *Service) migrate(ctx context.Context, tx pgx.Tx, info Info, v *Version, plan Plan, now time.Time) (int64, error) {
	switch plan.Mode {
	case "", PlanKeep:
		return 0, nil
	case PlanExit:
		var n int64
		err := tx.QueryRow(ctx, endRunsSQL, pg.Args{"journey": info.No, "before": v.No, "reason": ReasonMigrated, "now": now}).Scan(&n)
		if err != nil {
			return 0, fmt.Errorf("end runs in flight: %w", err)
		}
		return n, nil
	case PlanMove:
	default:
		return 0, ErrPlan
	}
	flight, err := inFlight(ctx, tx, info.No, v.No)
	if err != nil {
		return 0, err
	}
	var versions []int32
	var nodes, targets []string
	var stays []bool
	var faults []fault.Field
	for _, f := range flight {
		target := cmp.Or(plan.Nodes[f.Node], f.Node)
		n := v.nodes[target]
		if n == nil && f.Node != "" {
			faults = append(faults, fault.Field{Path: "plan.nodes." + f.Node, Code: "unmapped",
				Text: fault.Text{ZH: fmt.Sprintf("节点 %q 上有 %d 个在途成员,新版本中没有节点 %q", f.Node, f.N, target), EN: fmt.Sprintf("%d runs stand at %q and the new version has no node %q", f.N, f.Node, target)},
				Hint: fault.Text{ZH: "为其指定新版本中的节点", EN: "map it to a node of the new version"}})
			continue
		}
		versions, nodes, targets = append(versions, int32(f.Version)), append(nodes, f.Node), append(targets, target)
		stays = append(stays, n != nil && n.Kind == KindWait && target == f.Node)
	}
	if len(faults) > 0 {
		return 0, ErrPlan.WithFields(faults...)
	}
	tag, err := tx.Exec(ctx, moveRunsSQL, pg.Args{"journey": info.No, "version": v.No, "versions": versions, "nodes": nodes, "targets": targets, "stays": stays, "now": tick(now)})
	if err != nil {
		return 0, fmt.Errorf("move runs in flight: %w", err)
	}
	return tag.RowsAffected(), nil
}

// Flight counts the runs that stand at a node.
type Flight struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	N       int64  `json:"n"`
}

// InFlight counts runs of versions other than the given one (0: all), by node: what a plan has to deal with.
func (s *Service) InFlight(ctx context.Context, code string, version int) ([]Flight, error) {
	info, err := s.Get(ctx, code)
	if err != nil {
		return nil, err
	}
	return inFlight(ctx, s.db, info.No, version)
}

func inFlight(ctx context.Context, db pg.DB, journey, version int) ([]Flight, error) {
	rows, err := db.Query(ctx, inFlightSQL, pg.Args{"journey": journey, "version": version})
	if err != nil {
		return nil, fmt.Errorf("count runs in flight: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Flight])
	if err != nil {
		return nil, fmt.Errorf("count runs in flight: %w", err)
	}
	return out, nil
}

func touchControl(ctx context.Context, tx pgx.Tx, pausedAll *bool) (paused bool, err error) {
	if err := tx.QueryRow(ctx, touchControlSQL, pg.Args{"paused": pausedAll}).Scan(&paused); err != nil {
		return false, fmt.Errorf("announce journeys: %w", err)
	}
	return paused, nil
}

// Pause stops a live journey: nobody enters, timers that fire wait for Resume. Exit criteria still act.
func (s *Service) Pause(ctx context.Context, code string) (Info, error) {
	return s.turn(ctx, code, JourneyLive, JourneyPaused)
}

// Resume lets a paused journey go on. Timers that came due meanwhile fire now.
func (s *Service) Resume(ctx context.Context, code string) (Info, error) {
	return s.turn(ctx, code, JourneyPaused, JourneyLive)
}

// Archive ends a journey for good: its runs end with reason "archived".
func (s *Service) Archive(ctx context.Context, code string) (Info, error) {
	return s.turn(ctx, code, "", JourneyArchived)
}

func (s *Service) turn(ctx context.Context, code string, from, to JourneyStatus) (info Info, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		info, err = one(ctx, tx, code, lockJourneySQL, pg.Args{"code": code})
		if err != nil {
			return err
		}
		if from != "" && info.Status != from || info.Status == JourneyArchived {
			return ErrStatus.With("code", code, "status", info.Status)
		}
		now := s.clock.Now()
		next := info.NextAt
		switch to {
		case JourneyArchived:
			next = nil
			if _, err := tx.Exec(ctx, endRunsSQL, pg.Args{"journey": info.No, "before": math.MaxInt32, "reason": ReasonArchived, "now": now}); err != nil {
				return fmt.Errorf("end runs: %w", err)
			}
		case JourneyLive:
			v, err := getVersion(ctx, tx, info, *info.LiveVersion)
			if err != nil {
				return err
			}
			next = v.nextAt(now)
		}
		if info, err = one(ctx, tx, code, setStatusSQL, pg.Args{"code": code, "status": string(to), "version": nil, "next": next, "now": now}); err != nil {
			return err
		}
		stopped, err := touchControl(ctx, tx, nil)
		if err != nil || to != JourneyLive || stopped {
			return err
		}
		return release(ctx, tx, []int{info.No}, now)
	})
	return info, err
}

func release(ctx context.Context, tx pgx.Tx, journeys []int, now time.Time) error {
	if _, err := tx.Exec(ctx, releaseHeldSQL, pg.Args{"journeys": journeys, "now": tick(now)}); err != nil {
		return fmt.Errorf("release held runs: %w", err)
	}
	return nil
}

// PauseAll is the stop switch: nothing moves in any journey until it is called with false.
func (s *Service) PauseAll(ctx context.Context, stop bool) error {
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := touchControl(ctx, tx, &stop); err != nil || stop {
			return err
		}
		b, err := loadBook(ctx, tx, nil)
		if err != nil {
			return err
		}
		var live []int
		for no, e := range b.entries {
			if e.status == JourneyLive {
				live = append(live, no)
			}
		}
		return release(ctx, tx, live, s.clock.Now())
	})
}

// Retry gives quarantined runs of a journey another set of attempts and returns how many there are.
func (s *Service) Retry(ctx context.Context, code string) (int64, error) {
	info, err := s.Get(ctx, code)
	if err != nil {
		return 0, err
	}
	tag, err := s.db.Exec(ctx, retrySQL, pg.Args{"journey": info.No, "now": tick(s.clock.Now())})
	if err != nil {
		return 0, fmt.Errorf("retry runs of %s: %w", code, err)
	}
	return tag.RowsAffected(), nil
}

// Report is the statistics of a journey.
type Report struct {
	Info
	PausedAll   bool        `json:"paused_all"`
	Nodes       []NodeTotal `json:"nodes"`
	Started     int64       `json:"started"`
	Ended       []Count     `json:"ended"`
	Skipped     []Count     `json:"skipped"`
	Goals       int64       `json:"goals"`
	GoalsHeld   int64       `json:"goals_holdout"`
	Active      int64       `json:"active"`
	Quarantined []RunView   `json:"quarantined"`
}

// NodeTotal sums one node over versions and times.
type NodeTotal struct {
	Node    string           `json:"node"`
	Kind    NodeKind         `json:"kind,omitempty"`
	Entered int64            `json:"entered"`
	Passed  int64            `json:"passed"`
	Waiting int64            `json:"waiting"`
	Sent    int64            `json:"sent"`
	By      map[string]int64 `json:"by"` // metric or metric:detail
}

// Status returns a journey with its figures.
func (s *Service) Status(ctx context.Context, code string) (Report, error) {
	info, err := s.Get(ctx, code)
	if err != nil {
		return Report{}, err
	}
	counts, err := queryFigures(ctx, s.db, info.No, FiguresQuery{})
	if err != nil {
		return Report{}, err
	}
	r := summarise(counts)
	r.Info = info
	if err := s.db.QueryRow(ctx, readControlSQL).Scan(&r.PausedAll); err != nil {
		return Report{}, fmt.Errorf("read journey control: %w", err)
	}
	raw, err := getDraft(ctx, s.db, code)
	if err != nil {
		return Report{}, err
	}
	var doc Document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return Report{}, fmt.Errorf("read draft of %s: %w", code, err)
	}
	for i := range r.Nodes {
		for _, n := range doc.Nodes {
			if n.ID == r.Nodes[i].Node {
				r.Nodes[i].Kind = n.Kind
			}
		}
	}
	aside, err := queryRuns(ctx, s.db, asideRunsSQL, pg.Args{"journey": info.No, "limit": 20})
	if err != nil {
		return Report{}, err
	}
	r.Quarantined = []RunView{}
	for _, l := range aside {
		r.Quarantined = append(r.Quarantined, view(&l.Run, code))
	}
	return r, nil
}

func summarise(counts []Count) Report {
	r := Report{Nodes: []NodeTotal{}, Ended: []Count{}, Skipped: []Count{}}
	index := map[string]int{}
	var ended int64
	for _, c := range counts {
		if c.Node == "" {
			switch c.Metric {
			case "started":
				r.Started += c.N
			case "ended":
				ended += c.N
				r.Ended = append(r.Ended, c)
			case "skipped":
				r.Skipped = append(r.Skipped, c)
			case "goal":
				if c.Detail == ReasonHoldout {
					r.GoalsHeld += c.N
				} else {
					r.Goals += c.N
				}
			}
			continue
		}
		i, ok := index[c.Node]
		if !ok {
			i = len(r.Nodes)
			index[c.Node] = i
			r.Nodes = append(r.Nodes, NodeTotal{Node: c.Node, By: map[string]int64{}})
		}
		t := &r.Nodes[i]
		switch c.Metric {
		case "entered":
			t.Entered += c.N
			t.Waiting += c.N
		case "passed":
			t.Passed += c.N
			t.Waiting -= c.N
		case "left":
			t.Waiting -= c.N
		case "sent":
			t.Sent += c.N
		}
		t.By[strings.TrimSuffix(c.Metric+":"+c.Detail, ":")] += c.N
	}
	r.Active = r.Started - ended
	return r
}

// Figures returns the raw figures of a journey, grouped as asked.
func (s *Service) Figures(ctx context.Context, code string, q FiguresQuery) ([]Count, error) {
	info, err := s.Get(ctx, code)
	if err != nil {
		return nil, err
	}
	return queryFigures(ctx, s.db, info.No, q)
}

// RunView is a run as people see it.
type RunView struct {
	ID        string      `json:"id"`
	Journey   string      `json:"journey"`
	Version   int         `json:"version"`
	Birth     string      `json:"birth"`
	Status    Status      `json:"status"`
	Node      string      `json:"node"`
	Reason    string      `json:"reason,omitempty"`
	EnteredAt time.Time   `json:"entered_at"`
	DueAt     *time.Time  `json:"due_at,omitempty"`
	EndedAt   *time.Time  `json:"ended_at,omitempty"`
	GoalAt    *time.Time  `json:"goal_at,omitempty"`
	Attempts  int         `json:"attempts,omitempty"`
	Error     string      `json:"error,omitempty"`
	Visits    []VisitView `json:"visits,omitempty"`
}

// VisitView is one step of a run.
type VisitView struct {
	Node string    `json:"node"`
	At   time.Time `json:"at"`
}

func view(r *Run, code string) RunView {
	out := RunView{ID: r.ID.String(), Journey: code, Version: r.Version, Birth: r.Birth.String(), Status: r.Status, Node: r.Node,
		Reason: r.Reason, EnteredAt: r.EnteredAt, DueAt: orNil(r.Due), EndedAt: orNil(r.EndedAt), GoalAt: orNil(r.GoalAt),
		Attempts: r.Attempts, Error: r.Error}
	for _, t := range r.Trace() {
		out.Visits = append(out.Visits, VisitView{t.Node, t.At})
	}
	return out
}

// RunsOf returns the newest runs of a member, over all births, with the way each took.
func (s *Service) RunsOf(ctx context.Context, birth member.Birth, limit int) ([]RunView, error) {
	roots, err := s.people.Roots(ctx, s.db, []member.Birth{birth})
	if err != nil {
		return nil, err
	}
	root, ok := roots[birth]
	if !ok {
		return nil, ErrNoMember
	}
	births, err := s.people.Births(ctx, s.db, []member.ID{root})
	if err != nil {
		return nil, err
	}
	runs, err := queryRuns(ctx, s.db, memberRunsSQL, pg.Args{"births": births[root], "limit": min(max(limit, 1), 200)})
	if err != nil {
		return nil, err
	}
	codes, err := s.codes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]RunView, len(runs))
	for i, l := range runs {
		out[i] = view(&l.Run, codes[l.Journey])
	}
	return out, nil
}

const codesSQL = `
SELECT no, code
FROM journeys.journeys`

func (s *Service) codes(ctx context.Context) (map[int]string, error) {
	rows, err := s.db.Query(ctx, codesSQL)
	if err != nil {
		return nil, fmt.Errorf("read journey codes: %w", err)
	}
	out := map[int]string{}
	var no int
	var code string
	if _, err := pgx.ForEachRow(rows, []any{&no, &code}, func() error { out[no] = code; return nil }); err != nil {
		return nil, fmt.Errorf("read journey codes: %w", err)
	}
	return out, nil
}
