package journeys_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
)

func TestWalksThroughTheGraph(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(2)
	b.publish("welcome", doc(`{"trigger":{"kind":"activity","key":"order_paid","where":[{"prop":"amount_fen","op":"gte","value":10000}]},"reentry":{}}`,
		`{"id":"w1","kind":"wait","wait":{"for":"2h"},"next":"c1"}`,
		`{"id":"c1","kind":"condition","condition":{"rule":{"seen":"cart_added"},"then":"m1","else":"p1"}}`,
		message,
		`{"id":"p1","kind":"grant_points","grant_points":{"programme":"main","points":50},"next":"g1"}`,
		`{"id":"g1","kind":"grant_coupon","grant_coupon":{"template":"sold-out"},"next":"end"}`, end))

	b.happen(fact{birth: m[0], key: "order_paid", props: map[string]any{"amount_fen": 10000}},
		fact{birth: m[1], key: "order_paid", props: map[string]any{"amount_fen": 9999}})
	b.drain()
	require.Len(t, b.runs(m[0]), 1)
	require.Empty(t, b.runs(m[1]), "the trigger's filter holds")
	require.Equal(t, "w1", b.runs(m[0])[0].Node)

	b.happen(fact{birth: m[1], key: "order_paid", props: map[string]any{"amount_fen": 20000}},
		fact{birth: m[1], key: "cart_added"})
	b.pass(2 * time.Hour)
	require.Empty(t, b.world.sentTo(m[0]))
	require.Len(t, b.world.points, 1)
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[1]))

	run := b.runs(m[0])[0]
	require.Equal(t, journeys.StatusEnded, run.Status)
	require.Equal(t, "exit", run.Reason)
	require.Equal(t, "end", run.Node)
	var way []string
	for _, v := range run.Visits {
		way = append(way, v.Node)
	}
	require.Equal(t, []string{"w1", "c1", "p1", "g1", "end"}, way)

	r := b.status("welcome")
	require.EqualValues(t, 2, r.Started)
	require.EqualValues(t, 0, r.Active)
	for _, n := range r.Nodes {
		require.EqualValues(t, 0, n.Waiting, n.Node)
		switch n.Node {
		case "w1":
			require.EqualValues(t, 2, n.Entered)
		case "g1":
			require.EqualValues(t, 1, n.By["coupon_refused:limit"])
		case "m1":
			require.EqualValues(t, 1, n.Sent)
		}
	}
}

func TestBackfillAndLateFactsStartNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(3)
	b.publish("j", doc(onPaid, message, end))
	b.happen(fact{birth: m[0], key: "order_paid", mode: member.ModeBackfill},
		fact{birth: m[1], key: "order_paid", at: t0.Add(-25 * time.Hour)},
		fact{birth: m[2], key: "order_paid", at: t0.Add(-23 * time.Hour)})
	b.drain()
	require.Empty(t, b.runs(m[0]))
	require.Empty(t, b.runs(m[1]))
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[2]))
	require.Equal(t, []journeys.Count{{Metric: "skipped", Detail: "late", N: 1}}, b.status("j").Skipped)
}

func TestEventWaitAndItsTimeout(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(3)
	b.publish("j", doc(onPaid,
		`{"id":"w1","kind":"wait","wait":{"event":{"key":"message_clicked","where":[{"prop":"node","op":"eq","value":"m0"}]},"timeout":"1d","timeout_next":"t1"},"next":"m1"}`,
		message, `{"id":"t1","kind":"tag","tag":{"add":["cold"]},"next":"end"}`, end))
	for _, birth := range m {
		b.happen(fact{birth: birth, key: "order_paid"})
	}
	b.pass(time.Hour)
	b.happen(fact{birth: m[0], key: "message_clicked", props: map[string]any{"node": "m0"}},
		fact{birth: m[1], key: "message_clicked", props: map[string]any{"node": "other"}},
		fact{birth: m[2], key: "message_clicked", props: map[string]any{"node": "m0"}, mode: member.ModeBackfill})
	b.drain()
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[0]))
	require.Empty(t, b.world.sentTo(m[1]))
	b.pass(24 * time.Hour)
	require.Len(t, b.world.profiles, 2)
	require.Equal(t, t0.Add(24*time.Hour), b.world.profiles[0].At, "a timer's time is its own, not that of the engine")
}

func TestExitCriteriaActAtOnceAndGoalsCount(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(2)
	b.publish("j", doc(`{"trigger":{"kind":"activity","key":"cart_abandoned"},"reentry":{"policy":"always"},
		"exit":[{"key":"order_paid"}],"goal":{"key":"order_paid","within":"3d"}}`,
		`{"id":"w1","kind":"wait","wait":{"for":"1d"},"next":"m1"}`, message, end))
	b.happen(fact{birth: m[0], key: "cart_abandoned"}, fact{birth: m[1], key: "cart_abandoned"})
	b.pass(time.Hour)
	b.happen(fact{birth: m[0], key: "order_paid", mode: member.ModeBackfill})
	b.drain()
	run := b.runs(m[0])[0]
	require.Equal(t, "criterion:order_paid", run.Reason)
	require.Equal(t, "w1", run.Node)
	require.NotNil(t, run.GoalAt)

	b.pass(48 * time.Hour)
	require.Empty(t, b.world.sentTo(m[0]))
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[1]))
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.drain()
	require.NotNil(t, b.runs(m[1])[0].GoalAt, "a run that has ended still reaches its goal within the time")
	require.EqualValues(t, 2, b.status("j").Goals)
}

func TestReentryCountsOverTheCluster(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(4)
	b.join(m[0], m[1])
	b.publish("never", doc(`{"trigger":{"kind":"activity","key":"a"},"reentry":{"policy":"never"}}`, message, end))
	b.publish("after", doc(`{"trigger":{"kind":"activity","key":"b"},"reentry":{"policy":"after_exit","max":2}}`,
		`{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"end"}`, end))
	b.happen(fact{birth: m[0], key: "a"}, fact{birth: m[1], key: "a"}, fact{birth: m[0], key: "b"}, fact{birth: m[1], key: "b"})
	b.drain()
	require.Len(t, b.runs(m[0]), 2)
	for range 3 {
		b.pass(2 * time.Hour)
		b.happen(fact{birth: m[1], key: "b"})
		b.drain()
	}
	require.Len(t, b.runs(m[0]), 3)
}

func TestScheduleEntersItsAudienceOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(30)
	b.engine = b.newEngine("engine-1", 7)
	b.publish("daily", doc(`{"trigger":{"kind":"schedule","schedule":{"every":"day","time":"09:00"}},"audience":{"mod":[2,0]},"reentry":{"policy":"always"}}`, message, end))
	b.pass(22 * time.Hour)
	require.Empty(t, b.world.messages)
	b.pass(time.Hour)
	require.Len(t, b.world.messages, 15)
	b.drain()
	b.pass(24 * time.Hour)
	require.Len(t, b.world.messages, 30)
	even := m[0]
	if even%2 == 1 {
		even = m[1]
	}
	require.Len(t, b.runs(even), 2)
	require.Equal(t, t0.Add(23*time.Hour), b.runs(even)[1].EnteredAt)
}

func TestAPITriggerIsIdempotent(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(2)
	b.publish("api", doc(`{"trigger":{"kind":"api"},"reentry":{"policy":"always"}}`,
		`{"id":"m1","kind":"message","message":{"channel":"sms","template":"x","vars":{"no":"{trigger.order_no}","text":"订单 {trigger.order_no} 共 {trigger.n} 件"}},"next":"end"}`, end))
	for _, want := range []int{2, 0} {
		n, err := b.engine.Start(t.Context(), "api", "call-1", m, []byte(`{"order_no":"A1","n":3}`))
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.Len(t, b.world.messages, 2)
	for _, msg := range b.world.messages {
		require.Equal(t, map[string]any{"no": "A1", "text": "订单 A1 共 3 件"}, msg.Vars)
	}
	_, err := b.engine.Start(t.Context(), "api", "call-2", []member.Birth{999999}, nil)
	require.ErrorIs(t, err, journeys.ErrNoMember)
}

func TestPauseHoldsAndResumeReleases(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(2)
	b.publish("j", doc(onPaid, `{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"m1"}`, message, end))
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()
	_, err := b.service.Pause(t.Context(), "j")
	require.NoError(t, err)
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.pass(2 * time.Hour)
	require.Empty(t, b.world.messages)
	require.Equal(t, journeys.StatusHeld, b.runs(m[0])[0].Status)
	_, err = b.service.Resume(t.Context(), "j")
	require.NoError(t, err)
	b.drain()
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[0]))
	require.Empty(t, b.runs(m[1]), "nobody enters a paused journey")

	require.NoError(t, b.service.PauseAll(t.Context(), true))
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.drain()
	require.Empty(t, b.runs(m[1]))
	require.NoError(t, b.service.PauseAll(t.Context(), false))
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.pass(time.Hour)
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[1]))

	_, err = b.service.Archive(t.Context(), "j")
	require.NoError(t, err)
	_, err = b.service.Resume(t.Context(), "j")
	require.ErrorIs(t, err, journeys.ErrStatus)
}

func TestMergeAndSplitInFlight(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(2)
	b.publish("j", doc(`{"trigger":{"kind":"activity","key":"order_paid"},"reentry":{"policy":"never"}}`,
		message2("m1", "w1"), `{"id":"w1","kind":"wait","wait":{"for":"1d"},"next":"m2"}`,
		message2("m2", "w2"), `{"id":"w2","kind":"wait","wait":{"for":"1d"},"next":"m3"}`, message2("m3", "end"), end))
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()
	b.pass(time.Hour)
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.drain()
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[1]))

	b.join(m[0], m[1])
	b.drain()
	runs := b.runs(m[0])
	require.Len(t, runs, 2)
	require.Equal(t, journeys.StatusAbsorbed, runs[0].Status)
	require.Equal(t, journeys.StatusWaiting, runs[1].Status)
	b.pass(24 * time.Hour)
	require.Equal(t, []string{"m1", "m2"}, b.world.sentTo(m[0]))
	require.Equal(t, []string{"m1"}, b.world.sentTo(m[1]), "the merged member gets each message once more at most")

	b.recluster(m[1], m[1])
	b.drain()
	require.NotEqual(t, journeys.StatusAbsorbed, b.runs(m[1])[0].Status)
	b.pass(72 * time.Hour)
	require.Equal(t, []string{"m1", "m2", "m3"}, b.world.sentTo(m[0]))
	require.Equal(t, []string{"m1", "m3"}, b.world.sentTo(m[1]), "what the survivor sent is not sent again")
}

func message2(node, next string) string {
	return `{"id":"` + node + `","kind":"message","message":{"channel":"sms","template":"` + node + `"},"next":"` + next + `"}`
}

func TestPoisonRunIsQuarantinedAlone(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(20)
	b.publish("j", doc(onPaid,
		`{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"m1"}`,
		`{"id":"m1","kind":"message","message":{"channel":"sms","template":"x","vars":{"no":"{trigger.order_no}"}},"next":"end"}`, end))
	for i, birth := range m {
		props := map[string]any{"order_no": "A"}
		if i == 3 {
			props = nil // faulty vars: an error in the step
		}
		b.happen(fact{birth: birth, key: "order_paid", props: props})
	}
	b.drain()
	b.world.refuse[m[7]] = true // an error in the adapter
	b.pass(time.Hour)
	require.Len(t, b.world.messages, 18, "all others go on")
	for range 4 {
		b.pass(2 * time.Hour)
	}
	r := b.status("j")
	require.Len(t, r.Quarantined, 2)
	require.EqualValues(t, 2, r.Active)
	for _, q := range r.Quarantined {
		require.Equal(t, 5, q.Attempts)
		require.NotEmpty(t, q.Error)
	}
	b.world.refuse = map[member.Birth]bool{}
	n, err := b.service.Retry(t.Context(), "j")
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	b.drain()
	require.Len(t, b.world.messages, 19)
}

// A process that was stopped past its lease comes back: it must not act beside its successor.
func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(50)
	b.publish("j", doc(onPaid, `{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"m1"}`, message, end))
	for _, birth := range m {
		b.happen(fact{birth: birth, key: "order_paid"})
	}
	b.drain()
	b.clock.Advance(time.Hour)
	ctx := t.Context()
	zombie := map[int]lease.Lease{}
	for s := range journeys.Slices {
		l, ok, err := lease.Acquire(ctx, b.db, sliceName(s), "zombie", time.Hour)
		require.NoError(t, err)
		require.True(t, ok)
		zombie[s] = l
	}
	_, err := b.db.Exec(ctx, `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 second' WHERE holder = 'zombie'`)
	require.NoError(t, err)
	second := b.newEngine("engine-2", 10)
	require.NoError(t, second.Drain(ctx))
	for s, l := range zombie {
		_, err := b.engine.Fire(context.WithoutCancel(ctx), l, s)
		require.ErrorIs(t, err, lease.ErrLost)
	}
	require.Equal(t, 50, b.world.plans)
}

func sliceName(s int) string { return "journeys/slice/" + string(rune('0'+s)) }

func TestEditDuringRun(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(3)
	v1 := doc(onPaid, message2("m1", "w1"), `{"id":"w1","kind":"wait","wait":{"for":"1d"},"next":"m2"}`, message2("m2", "end"), end)
	v2 := doc(onPaid, message2("m0", "m1"), message2("m1", "w9"), `{"id":"w9","kind":"wait","wait":{"for":"2d"},"next":"m3"}`, message2("m3", "end"), end)
	b.publish("j", v1)
	save := func(raw string) int {
		info, err := b.service.Get(t.Context(), "j")
		require.NoError(t, err)
		info, err = b.service.Save(t.Context(), "j", info.Revision, []byte(raw))
		require.NoError(t, err)
		return info.Revision
	}
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()

	rev := save(v2)
	_, err := b.service.Publish(t.Context(), "j", rev-1, "test", journeys.Plan{})
	require.ErrorIs(t, err, journeys.ErrStale)
	_, err = b.service.Publish(t.Context(), "j", rev, "test", journeys.Plan{})
	require.NoError(t, err)
	b.happen(fact{birth: m[1], key: "order_paid"})
	b.pass(24 * time.Hour)
	require.Equal(t, []string{"m1", "m2"}, b.world.sentTo(m[0]), "a run finishes in its version")
	b.pass(24 * time.Hour)
	require.Equal(t, []string{"m0", "m1", "m3"}, b.world.sentTo(m[1]))

	b.happen(fact{birth: m[2], key: "order_paid"})
	b.drain()
	rev = save(v1)
	_, err = b.service.Publish(t.Context(), "j", rev, "test", journeys.Plan{Mode: journeys.PlanMove})
	require.ErrorIs(t, err, journeys.ErrPlan, "a node that is gone must be mapped")
	p, err := b.service.Publish(t.Context(), "j", rev, "test", journeys.Plan{Mode: journeys.PlanMove, Nodes: map[string]string{"w9": "m1"}})
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Moved)
	sent := b.world.plans
	b.drain()
	require.Equal(t, sent, b.world.plans, "m1 has the same send key in every version")
	b.pass(24 * time.Hour)
	require.Equal(t, []string{"m0", "m1", "m2"}, b.world.sentTo(m[2]))
}
