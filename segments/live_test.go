package segments

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// stream is a world that changes, and the service that follows it.
type stream struct {
	*world
	t     *rapid.T
	tb    testing.TB
	tx    pgx.Tx
	clock *clock.Virtual
	log   *activity.Log
	s     *Service
	facts int
}

func (s *stream) exec(sql string, args ...any) {
	_, err := s.tx.Exec(s.tb.Context(), sql, args...)
	require.NoError(s.t, err)
}

func (s *stream) touch(key string, births ...member.Birth) {
	require.NoError(s.t, s.log.Touch(s.tb.Context(), s.tx, births, key, member.ModeLive, s.clock.Now()))
}

func (s *stream) person() *person {
	return &s.people[rapid.IntRange(0, len(s.people)-1).Draw(s.t, "who")]
}

// happen appends a few facts: mostly now, some late, some ahead of the clock.
func (s *stream) happen() {
	var items []activity.Activity
	for range rapid.IntRange(1, 4).Draw(s.t, "facts") {
		p := s.person()
		s.facts++
		items = append(items, activity.Activity{
			Birth:      rapid.SampledFrom(p.births).Draw(s.t, "birth"),
			Key:        rapid.SampledFrom(eventKeys).Draw(s.t, "key"),
			OccurredAt: s.clock.Now().Add(time.Duration(rapid.IntRange(-6, 3).Draw(s.t, "at")) * grid),
			Mode:       rapid.SampledFrom([]member.Mode{member.ModeLive, member.ModeBackfill}).Draw(s.t, "mode"),
			Source:     "test", DedupeKey: fmt.Sprint(s.facts), Props: values(s.t, propNames),
		})
	}
	_, err := s.log.Append(s.tb.Context(), s.tx, items)
	require.NoError(s.t, err)
}

// revise replaces or retracts an earlier fact.
func (s *stream) revise() {
	if s.facts == 0 {
		return
	}
	key := fmt.Sprint(rapid.IntRange(1, s.facts).Draw(s.t, "fact"))
	if rapid.Bool().Draw(s.t, "retract") {
		_, err := s.log.Retract(s.tb.Context(), s.tx, "test", []string{key})
		require.NoError(s.t, err)
		return
	}
	_, err := s.log.Append(s.tb.Context(), s.tx, []activity.Activity{{
		Birth: rapid.SampledFrom(s.person().births).Draw(s.t, "birth"), Key: rapid.SampledFrom(eventKeys).Draw(s.t, "key"),
		OccurredAt: s.clock.Now(), Mode: member.ModeLive, Source: "test", DedupeKey: key, Props: values(s.t, propNames),
	}})
	require.NoError(s.t, err)
}

func (s *stream) profile() {
	p := s.person()
	p.attrs, p.tags = values(s.t, attrNames), subset(s.t, tagNames, "tag")
	attrs, err := json.Marshal(p.attrs)
	require.NoError(s.t, err)
	s.exec(`UPDATE member.members SET attrs = $2, tags = $3 WHERE id = $1`, p.id, attrs, p.tags)
	s.touch(activity.KeyProfile, p.births[0])
}

// merge makes one cluster of two people, split takes the last birth out of one.
func (s *stream) merge() {
	a, b := s.person(), s.person()
	if a.id >= b.id {
		return
	}
	s.exec(`UPDATE member.births SET root = $1 WHERE root = $2`, a.id, b.id)
	s.exec(`DELETE FROM member.members WHERE id = $1`, b.id)
	s.exec(`DELETE FROM member.reach WHERE id = $1`, b.id)
	a.births = append(a.births, b.births...)
	s.touch(activity.KeyIdentity, member.Birth(a.id), member.Birth(b.id))
	var left []person
	for _, p := range s.people {
		if p.id != b.id {
			left = append(left, p)
		}
	}
	s.people = left
}

func (s *stream) split() {
	p := s.person()
	if len(p.births) < 2 {
		return
	}
	out := p.births[len(p.births)-1]
	p.births = p.births[:len(p.births)-1]
	if out == member.Birth(p.id) {
		return
	}
	n := person{id: member.ID(out), isMember: true, registered: p.registered, firstFact: p.firstFact, births: []member.Birth{out}, attrs: map[string]any{}, tags: []string{}}
	s.exec(`UPDATE member.births SET root = $1 WHERE birth = $1`, out)
	s.exec(`INSERT INTO member.members (id, is_member, registered_at, first_fact_at, updated_at) VALUES ($1, true, $2, $3, $4)`, n.id, n.registered, n.firstFact, s.clock.Now())
	s.people = append(s.people, n)
	s.touch(activity.KeyIdentity, member.Birth(p.id), out)
}

// follow lets the engine catch up, and compares with a full evaluation.
func (s *stream) follow() {
	ctx := s.tb.Context()
	if rapid.Bool().Draw(s.t, "wheel first") {
		_, err := s.s.AdvanceTo(ctx, s.clock.Now())
		require.NoError(s.t, err)
	}
	_, err := s.s.CatchUp(ctx)
	require.NoError(s.t, err)
	_, err = s.s.AdvanceTo(ctx, s.clock.Now())
	require.NoError(s.t, err)
	// What the changes of membership themselves caused.
	_, err = s.s.CatchUp(ctx)
	require.NoError(s.t, err)

	live, err := s.s.Find(ctx, "", false, 100)
	require.NoError(s.t, err)
	ix := newIndex(0, live)
	for _, seg := range live {
		require.Equal(s.t, StatusActive, seg.Status)
		if ix.terms[seg.ID].RFM {
			// An RFM segment is right at its last refresh; here that is made now.
			require.NotNil(s.t, seg.RefreshAt)
			s.exec(`UPDATE segments.segments SET refresh_at = $2 WHERE id = $1`, seg.ID, s.clock.Now())
			_, err := s.s.AdvanceTo(ctx, s.clock.Now())
			require.NoError(s.t, err)
		}
		want, err := s.s.Members(ctx, s.tx, seg.Rule, s.clock.Now())
		require.NoError(s.t, err)
		rows, err := s.s.FindMembers(ctx, auth.Everything, seg.Code, 0, 1000)
		require.NoError(s.t, err)
		got := []member.ID{}
		for _, m := range rows {
			got = append(got, m.MemberID)
		}
		require.Equal(s.t, want, got, "%s at %s: %s", seg.Code, s.clock.Now(), seg.Rule)
		again, err := s.s.Get(ctx, seg.Code)
		require.NoError(s.t, err)
		require.EqualValues(s.t, len(want), again.Size, seg.Code)
	}
}

// After any stream of facts, corrections, profile changes, merges and splits, and any movement of the clock, the membership
// that was kept up incrementally is the one that a full evaluation gives.
func TestIncrementalEqualsFull(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	partitions(t, db)
	rapid.Check(t, func(rt *rapid.T) {
		w := genWorld(rt)
		raws := w.segments
		w.segments = nil
		undone(rt, t, db, func(tx pgx.Tx) {
			w.store(t.Context(), rt, tx)
			clk := clock.NewVirtual(origin.Add(20 * grid))
			svc := newService(tx, clk)
			s := &stream{world: w, t: rt, tb: t, tx: tx, clock: clk, log: svc.feed, s: svc}
			for code, raw := range raws {
				_, err := svc.Create(t.Context(), CreateInput{Code: code, Name: code, Rule: mustParse(rt, raw)})
				require.NoError(rt, err)
			}
			for _, code := range []string{"seg-c", "seg-d"} {
				w.segments = raws // may refer to the first two
				_, err := svc.Create(t.Context(), CreateInput{Code: code, Name: code, Rule: mustParse(rt, w.genRule(rt, 2))})
				require.NoError(rt, err)
			}
			s.follow()
			steps := []func(){s.happen, s.happen, s.happen, s.revise, s.profile, s.merge, s.split}
			for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
				for range rapid.IntRange(0, 4).Draw(rt, "steps") {
					steps[rapid.IntRange(0, len(steps)-1).Draw(rt, "step")]()
				}
				if rapid.IntRange(0, 4).Draw(rt, "new rule") == 0 {
					seg, err := svc.Get(t.Context(), "seg-a")
					require.NoError(rt, err)
					w.segments = nil
					rule := mustParse(rt, w.genRule(rt, 2))
					_, err = svc.Update(t.Context(), "seg-a", UpdateInput{Version: seg.Version, Rule: &rule})
					require.NoError(rt, err)
				}
				clk.Advance(time.Duration(rapid.IntRange(0, 8).Draw(rt, "hours")) * grid / 2)
				s.follow()
			}
		})
	})
}

func live(t testing.TB, rules map[string]string) (*Service, *clock.Virtual, pg.DB) {
	db := pgtest.Tx(t)
	partitions(t, db)
	clk := clock.NewVirtual(origin)
	s := newService(db, clk)
	for i := range 4 {
		b := i*10 + 1
		_, err := db.Exec(t.Context(), `INSERT INTO member.members (id, is_member, registered_at, updated_at) VALUES ($1, true, $2, $2)`, b, origin)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), `INSERT INTO member.births (birth, root, raw_root, ns, person, created_at) VALUES ($1, $1, $1, 'source', true, $2)`, b, origin)
		require.NoError(t, err)
	}
	for code, rule := range rules {
		r, err := Parse([]byte(rule))
		require.NoError(t, err)
		_, err = s.Create(t.Context(), CreateInput{Code: code, Name: code, Rule: r})
		require.NoError(t, err)
	}
	return s, clk, db
}

type said struct {
	Birth   member.Birth
	Key     string
	Mode    member.Mode
	Segment string
}

func announced(t testing.TB, db pg.DB) []said {
	rows, err := db.Query(t.Context(), `SELECT birth, key, mode, props ->> 'segment' AS segment FROM member.activities WHERE source = 'segments' ORDER BY id`)
	require.NoError(t, err)
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[said])
	require.NoError(t, err)
	return out
}

func (s *Service) say(t testing.TB, db pg.DB, birth member.Birth, mode member.Mode, key, dedupe string, at time.Time) {
	require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
		_, err := s.feed.Append(t.Context(), tx, []activity.Activity{{Birth: birth, Key: key, OccurredAt: at, Mode: mode, Source: "test", DedupeKey: dedupe}})
		return err
	}))
}

// Entered and left carry the mode of what caused them; windows expire; the first build is backfill.
func TestMembershipIsAnnounced(t *testing.T) {
	t.Parallel()
	s, clk, db := live(t, map[string]string{"buyers": `{"event":"order_paid","within":"30d"}`, "everybody": `{"not":{"tag":"never"}}`})
	ctx := t.Context()
	require.Equal(t, 4, len(announced(t, db)))
	for _, a := range announced(t, db) {
		require.Equal(t, said{a.Birth, "segment_entered", member.ModeBackfill, "everybody"}, a)
	}

	s.say(t, db, 1, member.ModeLive, "order_paid", "1", clk.Now())
	s.say(t, db, 11, member.ModeBackfill, "order_paid", "2", clk.Now().Add(-29*24*time.Hour))
	_, err := s.CatchUp(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []said{{1, "segment_entered", member.ModeLive, "buyers"}, {11, "segment_entered", member.ModeBackfill, "buyers"}}, announced(t, db)[4:])

	clk.Advance(24 * time.Hour)
	_, err = s.AdvanceTo(ctx, clk.Now())
	require.NoError(t, err)
	require.Equal(t, []said{{11, "segment_left", member.ModeLive, "buyers"}}, announced(t, db)[6:])
	clk.Advance(29*24*time.Hour - time.Microsecond)
	_, err = s.AdvanceTo(ctx, clk.Now())
	require.NoError(t, err)
	require.Len(t, announced(t, db), 7)
	clk.Advance(time.Microsecond)
	_, err = s.AdvanceTo(ctx, clk.Now())
	require.NoError(t, err)
	require.Equal(t, []said{{1, "segment_left", member.ModeLive, "buyers"}}, announced(t, db)[7:])
	n, err := s.CatchUp(ctx)
	require.NoError(t, err)
	require.Positive(t, n, "its own announcements")
	require.Len(t, announced(t, db), 8)
}

// A member who merges into another takes the membership along: nobody leaves or enters who was in before and is in after.
func TestMergeMovesMembership(t *testing.T) {
	t.Parallel()
	s, clk, db := live(t, map[string]string{"buyers": `{"event":"order_paid"}`})
	s.say(t, db, 11, member.ModeLive, "order_paid", "1", clk.Now())
	_, err := s.CatchUp(t.Context())
	require.NoError(t, err)
	before := announced(t, db)
	require.Len(t, before, 1)

	for _, sql := range []string{`UPDATE member.births SET root = 1 WHERE birth = 11`, `DELETE FROM member.members WHERE id = 11`} {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
		return s.feed.Touch(t.Context(), tx, []member.Birth{1, 11}, activity.KeyIdentity, member.ModeLive, clk.Now())
	}))
	_, err = s.CatchUp(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, announced(t, db))
	members, err := s.FindMembers(t.Context(), auth.Everything, "buyers", 0, 10)
	require.NoError(t, err)
	require.Len(t, members, 1)
	require.EqualValues(t, 1, members[0].MemberID)
	seg, err := s.Get(t.Context(), "buyers")
	require.NoError(t, err)
	require.EqualValues(t, 1, seg.Size)
}

func TestChangesOfSegments(t *testing.T) {
	t.Parallel()
	s, _, db := live(t, map[string]string{"a": `{"tag":"x"}`})
	ctx := t.Context()
	rule := func(text string) *Rule {
		r, err := Parse([]byte(text))
		require.NoError(t, err)
		return &r
	}
	_, err := s.Create(ctx, CreateInput{Code: "a", Name: "again", Rule: *rule(`{"tag":"y"}`)})
	require.ErrorIs(t, err, ErrCodeTaken)
	_, err = s.Create(ctx, CreateInput{Code: "A b", Name: "x", Rule: *rule(`{"tag":"y"}`)})
	require.ErrorIs(t, err, ErrCode)
	_, err = s.Create(ctx, CreateInput{Code: "self", Name: "x", Rule: *rule(`{"segment":"self"}`)})
	require.ErrorIs(t, err, ErrCycle)
	b, err := s.Create(ctx, CreateInput{Code: "b", Name: "b", Rule: *rule(`{"not":{"segment":"a"}}`)})
	require.NoError(t, err)
	require.EqualValues(t, 4, b.Size)

	_, err = s.Update(ctx, "a", UpdateInput{Version: 1, Rule: rule(`{"segment":"b"}`)})
	require.ErrorIs(t, err, ErrCycle)
	_, err = s.Update(ctx, "a", UpdateInput{Version: 7})
	require.ErrorIs(t, err, ErrStale)
	_, err = s.Archive(ctx, "a", 1)
	require.ErrorIs(t, err, ErrReferenced)
	_, err = s.Update(ctx, "nobody", UpdateInput{Version: 1})
	require.ErrorIs(t, err, ErrNotFound)

	a, err := s.Update(ctx, "a", UpdateInput{Version: 1, Rule: rule(`{"not":{"tag":"x"}}`)})
	require.NoError(t, err)
	require.EqualValues(t, 4, a.Size)
	require.EqualValues(t, 2, a.Version)
	b, err = s.Get(ctx, "b")
	require.NoError(t, err)
	require.Zero(t, b.Size, "a segment that refers to a changed one follows")

	b, err = s.Archive(ctx, "b", b.Version)
	require.NoError(t, err)
	require.Equal(t, StatusArchived, b.Status)
	_, err = s.Archive(ctx, "b", b.Version)
	require.ErrorIs(t, err, ErrArchived)
	codes, err := s.Of(ctx, db, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, codes)
}

func TestExplainAndEstimate(t *testing.T) {
	t.Parallel()
	s, clk, db := live(t, map[string]string{"a": `{"event":"order_paid"}`})
	ctx := t.Context()
	s.say(t, db, 1, member.ModeLive, "order_paid", "1", clk.Now())
	for _, sql := range []string{
		`INSERT INTO member.reach (id, channel, birth, granted) VALUES (1, 'sms', 1, true), (11, 'sms', 11, false), (21, 'sms', 21, true), (1, 'wechat', 1, true)`,
		`UPDATE member.members SET home_store = 'SH001' WHERE id = 1`,
	} {
		_, err := db.Exec(ctx, sql)
		require.NoError(t, err)
	}
	rule, err := Parse([]byte(`{"any":[{"all":[{"segment":"a"},{"not":{"tag":"x"}}]},{"list":"vips"}]}`))
	require.NoError(t, err)
	_, err = s.Explain(ctx, auth.Everything, rule, clk.Now(), 1)
	require.ErrorIs(t, err, ErrRule)
	require.NoError(t, s.PutList(ctx, "vips", "VIPs"))

	e, err := s.Explain(ctx, auth.Everything, rule, clk.Now(), 1)
	require.NoError(t, err)
	b, err := json.Marshal(e.Rule)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"any","holds":true,"children":[
		{"kind":"all","holds":true,"children":[
			{"kind":"segment","holds":true,"leaf":{"segment":"a"},"children":[{"kind":"event","holds":true,"leaf":{"event":"order_paid"}}]},
			{"kind":"not","holds":true,"children":[{"kind":"tag","holds":false,"leaf":{"tag":"x"}}]}]},
		{"kind":"list","holds":false,"leaf":{"list":"vips"}}]}`, string(b))
	require.True(t, e.Holds && e.Exists)

	_, err = s.Explain(ctx, auth.Scope{Stores: []string{"HZ002"}}, rule, clk.Now(), 1)
	require.ErrorIs(t, err, ErrMember)
	_, err = s.Explain(ctx, auth.Scope{Stores: []string{"SH001"}}, rule, clk.Now(), 1)
	require.NoError(t, err)

	all, err := Parse([]byte(`{"not":{"tag":"x"}}`))
	require.NoError(t, err)
	est, err := s.Estimate(ctx, db, auth.Everything, all, clk.Now())
	require.NoError(t, err)
	require.Equal(t, Estimate{Count: 4, Any: 2, Reach: []Reach{{"sms", 3, 2}, {"wechat", 1, 1}}}, est)

	_, err = s.Create(ctx, CreateInput{Code: "listed", Name: "listed", Rule: mustParse(t, map[string]any{"list": "vips"})})
	require.NoError(t, err)
	n, err := s.AddToList(ctx, "vips", []member.Birth{11, 21, 9999}, member.ModeLive)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	_, err = s.DropFromList(ctx, "vips", []member.Birth{21}, member.ModeLive)
	require.NoError(t, err)
	_, err = s.AddToList(ctx, "nolist", []member.Birth{1}, member.ModeLive)
	require.ErrorIs(t, err, ErrListNotFound)
	_, err = s.CatchUp(ctx)
	require.NoError(t, err)
	got, err := s.FindMembers(ctx, auth.Everything, "listed", 0, 10)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.EqualValues(t, 11, got[0].MemberID)
}
