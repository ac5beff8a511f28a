package journeys_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// t0 is a Monday, 10:00 in Shanghai.
var t0 = time.Date(2026, 11, 2, 2, 0, 0, 0, time.UTC)

// bundle is an installation of journeys on a database of its own, with a virtual clock and a recorder for the world.
type bundle struct {
	t       testing.TB
	db      *pg.Pool
	clock   *clock.Virtual
	log     *activity.Log
	engine  *journeys.Engine
	service *journeys.Service
	world   *world
	seq     int
}

func newBundle(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{t: t, db: pgtest.DB(t), clock: clock.NewVirtual(t0), world: newWorld()}
	b.log = activity.NewLog(b.db, b.clock, slog.New(slog.DiscardHandler))
	b.engine = b.newEngine("engine-1", 0)
	b.service = journeys.NewService(b.engine, catalogue{})
	return b
}

func (b *bundle) newEngine(holder string, batch int) *journeys.Engine {
	return b.engineWith(b.world.outside(), holder, batch)
}

func (b *bundle) fold() error {
	return pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) error { return journeys.FoldFigures(b.t.Context(), tx) })
}

func (b *bundle) engineWith(out journeys.Outside, holder string, batch int) *journeys.Engine {
	return journeys.NewEngine(journeys.Config{DB: b.db, Clock: b.clock, Log: slog.New(slog.DiscardHandler), Feed: b.log,
		Rules: rules{}, People: journeys.Graph{}, Holder: holder, Batch: batch, Outside: out})
}

// members creates members whose births are their roots.
func (b *bundle) members(n int) []member.Birth {
	b.t.Helper()
	rows, err := b.db.Query(b.t.Context(), `
		INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
		SELECT n, n, n, 'source', true, $2
		FROM (SELECT nextval('member.birth_seq') AS n FROM generate_series(1, $1)) s
		RETURNING birth`, n, t0)
	require.NoError(b.t, err)
	births, err := pgx.CollectRows(rows, pgx.RowTo[member.Birth])
	require.NoError(b.t, err)
	_, err = b.db.Exec(b.t.Context(), `INSERT INTO member.members (id, is_member, updated_at) SELECT b, true, $2 FROM unnest($1::bigint[]) b`, births, t0)
	require.NoError(b.t, err)
	return births
}

// join makes the births one member, as identity would, and announces it.
func (b *bundle) join(births ...member.Birth) { b.recluster(slices.Min(births), births...) }

func (b *bundle) recluster(root member.Birth, births ...member.Birth) {
	b.t.Helper()
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(b.t.Context(), `UPDATE member.births SET root = $1 WHERE birth = ANY ($2)`, root, births); err != nil {
			return err
		}
		return b.log.Touch(b.t.Context(), tx, []member.Birth{root}, activity.KeyIdentity, member.ModeLive, b.clock.Now())
	}))
}

type fact struct {
	birth member.Birth
	key   string
	at    time.Time
	props map[string]any
	mode  member.Mode
}

func (b *bundle) happen(facts ...fact) {
	b.t.Helper()
	items := make([]activity.Activity, len(facts))
	for i, f := range facts {
		b.seq++
		if f.mode == "" {
			f.mode = member.ModeLive
		}
		if f.at.IsZero() {
			f.at = b.clock.Now()
		}
		items[i] = activity.Activity{Birth: f.birth, Key: f.key, OccurredAt: f.at, Mode: f.mode, Source: "test",
			DedupeKey: fmt.Sprint(b.seq), Props: f.props}
	}
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) error {
		_, err := b.log.Append(b.t.Context(), tx, items)
		return err
	}))
}

func (b *bundle) drain() {
	b.t.Helper()
	require.NoError(b.t, b.engine.Drain(b.t.Context()))
}

// pass moves the clock and lets everything due happen.
func (b *bundle) pass(d time.Duration) {
	b.t.Helper()
	b.clock.Advance(d)
	b.drain()
}

// publish creates a journey and makes it live.
func (b *bundle) publish(code, doc string) journeys.Published {
	b.t.Helper()
	info, err := b.service.Create(b.t.Context(), code, []byte(doc))
	require.NoError(b.t, err)
	p, err := b.service.Publish(b.t.Context(), code, info.Revision, "test", journeys.Plan{})
	require.NoError(b.t, err)
	return p
}

func (b *bundle) runs(birth member.Birth) []journeys.RunView {
	b.t.Helper()
	runs, err := b.service.RunsOf(b.t.Context(), birth, 100)
	require.NoError(b.t, err)
	return runs
}

func (b *bundle) status(code string) journeys.Report {
	b.t.Helper()
	r, err := b.service.Status(b.t.Context(), code)
	require.NoError(b.t, err)
	return r
}

// doc builds a document from trigger settings and nodes.
func doc(settings string, nodes ...string) string {
	var first struct{ ID string }
	if err := json.Unmarshal([]byte(nodes[0]), &first); err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"name":"test","settings":%s,"start":%q,"nodes":[%s]}`, settings, first.ID, strings.Join(nodes, ","))
}

const (
	onPaid  = `{"trigger":{"kind":"activity","key":"order_paid"},"reentry":{"policy":"always"}}`
	message = `{"id":"m1","kind":"message","message":{"channel":"sms","template":"hello"},"next":"end"}`
	end     = `{"id":"end","kind":"exit"}`
)

// world records what journeys do to it. refuse makes the messenger fail for members, as a broken adapter would.
type world struct {
	mu       sync.Mutex
	messages map[id.UUID]journeys.Message
	plans    int
	coupons  []journeys.CouponGrant
	points   []journeys.PointsGrant
	profiles []journeys.ProfileChange
	refuse   map[member.Birth]bool
}

func newWorld() *world {
	return &world{messages: map[id.UUID]journeys.Message{}, refuse: map[member.Birth]bool{}}
}

func (w *world) outside() journeys.Outside {
	return journeys.Outside{Messenger: w, Coupons: coupons{w}, Points: points{w}, Profiles: w, Tasks: journeys.TaskBook{}, Webhooks: calls{}}
}

type refusal struct{}

func (refusal) Error() string { return "the template cannot be rendered" }

func (w *world) Plan(_ context.Context, _ pgx.Tx, messages []journeys.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range messages {
		if w.refuse[m.Birth] {
			return refusal{}
		}
	}
	for _, m := range messages {
		if _, known := w.messages[m.SendKey]; !known {
			w.plans++
			w.messages[m.SendKey] = m
		}
	}
	return nil
}

func (w *world) Apply(_ context.Context, _ pgx.Tx, changes []journeys.ProfileChange) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiles = append(w.profiles, changes...)
	return nil
}

func (w *world) sentTo(birth member.Birth) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []journeys.Message
	for _, m := range w.messages {
		if m.Birth == birth {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b journeys.Message) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Node, b.Node))
	})
	out := []string{}
	for _, m := range list {
		out = append(out, m.Node)
	}
	return out
}

type coupons struct{ *world }

func (w coupons) Grant(_ context.Context, _ pgx.Tx, grants []journeys.CouponGrant) ([]journeys.GrantResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coupons = append(w.coupons, grants...)
	out := make([]journeys.GrantResult, len(grants))
	for i := range out {
		out[i] = journeys.GrantResult{Granted: grants[i].Template != "sold-out", Reason: "limit"}
	}
	return out, nil
}

type points struct{ *world }

func (w points) Grant(_ context.Context, _ pgx.Tx, grants []journeys.PointsGrant) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.points = append(w.points, grants...)
	return nil
}

type calls struct{}

func (calls) Queue(context.Context, pgx.Tx, []journeys.Webhook) error { return nil }

// rules is a rule language of one form: {"mod":[m,r]} matches members whose id is r modulo m, and {"seen":"key"} members
// with an activity of that key up to the instant.
type rules struct{}

type rule struct {
	Mod  []int64 `json:"mod"`
	Seen string  `json:"seen"`
}

var errRule = fault.New(fault.Invalid, "rule", "规则无效", "the rule is not valid").WithFields(fault.Field{Path: "all[0].op", Code: "op"})

func (rules) Check(raw json.RawMessage) error {
	var r rule
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if dec.Decode(&r) != nil {
		return errRule
	}
	return nil
}

func (rules) Evaluate(ctx context.Context, db pg.DB, raw json.RawMessage, at time.Time, ids []member.ID) (map[member.ID]bool, error) {
	var r rule
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	out := map[member.ID]bool{}
	if r.Seen != "" {
		rows, err := db.Query(ctx, `
			SELECT DISTINCT b.root
			FROM member.activities a
			JOIN member.births b USING (birth)
			WHERE b.root = ANY ($1) AND a.key = $2 AND a.occurred_at <= $3`, ids, r.Seen, at)
		if err != nil {
			return nil, err
		}
		seen, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
		for _, m := range seen {
			out[m] = true
		}
		return out, err
	}
	for _, m := range ids {
		out[m] = int64(m)%r.Mod[0] == r.Mod[1]
	}
	return out, nil
}

func (r rules) Members(ctx context.Context, db pg.DB, raw json.RawMessage, at time.Time) ([]member.ID, error) {
	rows, err := db.Query(ctx, `SELECT id FROM member.members ORDER BY id`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
	if err != nil {
		return nil, err
	}
	in, err := r.Evaluate(ctx, db, raw, at, all)
	return slices.DeleteFunc(all, func(m member.ID) bool { return !in[m] }), err
}

// catalogue knows everything but what is called missing.
type catalogue struct{}

func (catalogue) Missing(_ context.Context, _ pg.DB, refs []journeys.Ref) ([]journeys.Ref, error) {
	return slices.DeleteFunc(refs, func(r journeys.Ref) bool { return r.Code != "missing" }), nil
}
