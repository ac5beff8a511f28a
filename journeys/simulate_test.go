package journeys_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
)

const winback = `{"name":"sim","settings":{"trigger":{"kind":"activity","key":"order_paid"},"reentry":{"policy":"after_exit","max":3},
	"holdout_bp":1000,"exit":[{"key":"account_unfollowed"}],"goal":{"key":"message_clicked","within":"5d"}},
	"start":"s1","nodes":[
	{"id":"s1","kind":"split","split":{"paths":[{"name":"a","weight_bp":3000,"next":"m1"},{"name":"b","weight_bp":7000,"next":"w1"}]}},
	{"id":"m1","kind":"message","message":{"channel":"sms","template":"x"},"next":"w2"},
	{"id":"w1","kind":"wait","wait":{"until":{"time":"20:00"}},"next":"c1"},
	{"id":"c1","kind":"condition","condition":{"rule":{"seen":"cart_added"},"then":"m2","else":"w2"}},
	{"id":"m2","kind":"message","message":{"channel":"wechat","template":"y"},"next":"w2"},
	{"id":"w2","kind":"wait","wait":{"event":{"key":"cart_added"},"timeout":"2d","timeout_next":"end"},"next":"g1"},
	{"id":"g1","kind":"grant_coupon","grant_coupon":{"template":"c"},"next":"end"},
	{"id":"end","kind":"exit"}]}`

// The real run and the rehearsal of the same log agree on every (member, run, node, time, branch), however coarse the
// steps of the real clock were.
func TestSimulationEqualsTheRealRun(t *testing.T) {
	t.Parallel()
	for _, pace := range []time.Duration{time.Hour, 7 * time.Hour} {
		t.Run(pace.String(), func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			m := b.members(40)
			b.join(m[0], m[1])
			b.drain()
			b.engine = b.newEngine("engine-1", 9)
			b.publish("j", winback)
			end := t0.Add(10 * 24 * time.Hour)
			events := stream(m, end)
			for at := t0; at.Before(end); {
				at = at.Add(pace)
				if at.After(end) {
					at = end
				}
				b.clock.Set(at)
				for len(events) > 0 && !events[0].at.After(at) {
					b.happen(events[0])
					events = events[1:]
				}
				b.drain()
			}
			var real, rehearsed []journeys.TracePoint
			require.NoError(t, b.service.Traces(t.Context(), "j", func(p journeys.TracePoint) error { real = append(real, p); return nil }))
			sim, err := b.service.Simulate(t.Context(), "j", journeys.SimulateOptions{From: t0, To: end, LiveOnly: true,
				Costs: map[string]money.Fen{"sms": 5}, Trace: func(p journeys.TracePoint) error { rehearsed = append(rehearsed, p); return nil }})
			require.NoError(t, err)
			sortTrace(real)
			sortTrace(rehearsed)
			require.Greater(t, len(real), 100)
			require.Equal(t, real, rehearsed)

			r := b.status("j")
			require.Equal(t, r.Nodes, withKinds(sim.Nodes, r.Nodes))
			require.Equal(t, r.Started, sim.Started)
			require.Equal(t, r.Goals, sim.Goals)
			require.EqualValues(t, b.world.plans, sim.Messages["sms"]+sim.Messages["wechat"])
			require.EqualValues(t, 5*sim.Messages["sms"], sim.CostFen)
			require.EqualValues(t, len(b.world.coupons), sim.Coupons["c"])
		})
	}
}

// Members enter a scheduled journey in the rehearsal, too, if the log knows nothing of them.
func TestSimulationOfAScheduleWithoutHistory(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.members(3)
	b.publish("daily", doc(`{"trigger":{"kind":"schedule","schedule":{"every":"day","time":"09:00"}},"audience":{"mod":[1,0]},"reentry":{"policy":"always"}}`, message, end))
	sim, err := b.service.Simulate(t.Context(), "daily", journeys.SimulateOptions{From: t0, To: t0.Add(24 * time.Hour)})
	require.NoError(t, err)
	require.EqualValues(t, 3, sim.Started)
	require.EqualValues(t, 3, sim.Messages["sms"])
}

// stream makes a repeatable history. Each member's births lie in one shard of the feed or are far apart in time.
func stream(m []member.Birth, end time.Time) []fact {
	var out []fact
	keys := []string{"order_paid", "cart_added", "message_clicked", "cart_added", "order_paid", "account_unfollowed"}
	x := uint64(42)
	next := func(n uint64) uint64 { x = x*6364136223846793005 + 1442695040888963407; return x >> 33 % n }
	for i := range 500 {
		birth := m[2+next(uint64(len(m)-2))]
		if i%50 == 0 {
			birth = m[next(2)]
		}
		at := t0.Add(time.Duration(next(uint64(end.Sub(t0)/time.Second))) * time.Second)
		out = append(out, fact{birth: birth, key: keys[next(uint64(len(keys)))], at: at})
	}
	slices.SortStableFunc(out, func(a, b fact) int { return a.at.Compare(b.at) })
	return out
}

func sortTrace(list []journeys.TracePoint) {
	slices.SortFunc(list, func(a, b journeys.TracePoint) int {
		return cmp.Or(cmp.Compare(a.Birth, b.Birth), slices.Compare(a.Run[:], b.Run[:]), a.At.Compare(b.At), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Branch, b.Branch))
	})
}

func withKinds(nodes, from []journeys.NodeTotal) []journeys.NodeTotal {
	for i := range nodes {
		for _, n := range from {
			if n.Node == nodes[i].Node {
				nodes[i].Kind = n.Kind
			}
		}
	}
	return nodes
}

func TestSplitsAreEvenAndStable(t *testing.T) {
	t.Parallel()
	raw := doc(onPaid, `{"id":"s","kind":"split","split":{"paths":[{"name":"a","weight_bp":2000,"next":"end"},{"name":"b","weight_bp":3000,"next":"end"},{"name":"c","weight_bp":5000,"next":"end"}]}}`, end)
	d, err := journeys.ParseDocument([]byte(raw))
	require.NoError(t, err)
	v, err := journeys.Compile(journeys.Journey{Code: "chi"}, 1, d)
	require.NoError(t, err)
	const n = 200_000
	var got [3]float64
	for birth := range member.Birth(n) {
		out, err := journeys.Step(v, journeys.Run{Birth: birth, Seed: birth, Status: journeys.StatusWaiting, EnteredAt: t0}, nil, t0)
		require.NoError(t, err)
		got[out.Visits[0].Branch]++
	}
	chi := 0.0
	for i, share := range []float64{0.2, 0.3, 0.5} {
		d := got[i] - share*n
		chi += d * d / (share * n)
	}
	require.Less(t, chi, 13.8, "chi-square with two degrees of freedom, p > 0.001: %v", got)
}

func TestHistoryRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, err := journeys.ParseDuration(rapid.SampledFrom([]string{"1s", "90s", "2h", "3d", "1w", "400d"}).Draw(t, "d"))
		require.NoError(t, err)
		again, err := journeys.ParseDuration(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again, fmt.Sprint(d))
	})
}
