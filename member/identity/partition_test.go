package identity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

// graph draws births and evidence dense enough that every constraint bites.
func graph(t *rapid.T) ([]identity.Node, []identity.Edge) {
	kinds := []struct{ ns, scope string }{
		{"source", "pos"}, {"source", "tmall"}, {"phone", ""}, {"phone", ""}, {"wechat_unionid", "brand"}, {"phone_name", "p1"},
		{"card", ""}, {"device", ""}, {"order", ""}, {"email", ""}, {"user", ""},
	}
	n := rapid.IntRange(2, 24).Draw(t, "births")
	nodes := make([]identity.Node, n)
	for i := range nodes {
		k := rapid.SampledFrom(kinds).Draw(t, "ns")
		nodes[i] = identity.Node{Birth: member.Birth(i + 1), NS: k.ns, Scope: k.scope, Tie: int64(rand.New(rand.NewPCG(7, uint64(i))).Uint64())}
	}
	instants := rapid.SampledFrom([]int{0, 1, 50}).Draw(t, "instants") // few: equal times everywhere
	type key struct {
		a, b member.Birth
		kind string
	}
	seen := map[key]bool{}
	var edges []identity.Edge
	for range rapid.IntRange(0, 40).Draw(t, "edges") {
		a, b := rapid.IntRange(1, n).Draw(t, "a"), rapid.IntRange(1, n).Draw(t, "b")
		if a == b {
			continue
		}
		kind := rapid.SampledFrom([]string{"import", "import", "import", "otp", "track", "operator", "deny"}).Draw(t, "kind")
		k := key{member.Birth(min(a, b)), member.Birth(max(a, b)), kind}
		if seen[k] {
			continue
		}
		seen[k] = true
		first := rapid.IntRange(0, instants).Draw(t, "first")
		edges = append(edges, identity.Edge{ID: int64(len(edges) + 1), A: k.a, B: k.b, Kind: kind, Source: "s",
			Trust: rapid.IntRange(0, 3).Draw(t, "trust"), First: at(first), Last: at(first + rapid.IntRange(0, min(instants, 20)).Draw(t, "span")), N: 1})
	}
	return nodes, edges
}

func shuffled[T any](xs []T, seed uint64) []T {
	out := slices.Clone(xs)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestPartitionProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, edges := graph(t)
		p := identity.Partition(nodes, edges)

		// Order does not matter, nor does what was revoked.
		seed := rapid.Uint64().Draw(t, "seed")
		extra := slices.Clone(edges)
		for _, e := range edges {
			e.ID += 1000
			e.Source, e.Revoked = "revoked", true
			extra = append(extra, e)
		}
		q := identity.Partition(shuffled(nodes, seed), shuffled(extra, seed))
		require.Equal(t, p.Clusters, q.Clusters)
		require.ElementsMatch(t, p.Rejected, q.Rejected)

		// Every birth once; the root is the smallest; the cap, the hard limit and denials hold.
		in := map[member.Birth]member.ID{}
		for _, c := range p.Clusters {
			require.Equal(t, member.ID(slices.Min(c.Births)), c.Root)
			require.LessOrEqual(t, len(c.Births), member.MaxCluster)
			for _, b := range c.Births {
				require.NotContains(t, in, b)
				in[b] = c.Root
			}
		}
		require.Len(t, in, len(nodes))
		for _, e := range edges {
			if e.Kind == identity.KindDeny {
				require.NotEqual(t, in[e.A], in[e.B], "denied births share a member")
			}
		}
		// Evidence either holds or is rejected with a reason.
		rejected := map[int64]bool{}
		for _, r := range p.Rejected {
			require.NotEmpty(t, r.Reason)
			rejected[r.Edge.ID] = true
		}
		for _, e := range edges {
			if e.Kind != identity.KindDeny && in[e.A] != in[e.B] {
				require.True(t, rejected[e.ID], "edge %v vanished", e)
			}
		}
	})
}

// renumbered gives the births other numbers, as if they had arrived in another order.
func renumbered(nodes []identity.Node, edges []identity.Edge, seed uint64) ([]identity.Node, []identity.Edge) {
	numbers := make([]member.Birth, len(nodes))
	for i := range numbers {
		numbers[i] = member.Birth(i + 1)
	}
	numbers = shuffled(numbers, seed)
	nodes, edges = slices.Clone(nodes), slices.Clone(edges)
	for i := range nodes {
		nodes[i].Birth = numbers[nodes[i].Birth-1]
	}
	for i, e := range edges {
		a, b := numbers[e.A-1], numbers[e.B-1]
		edges[i].A, edges[i].B = min(a, b), max(a, b)
	}
	return nodes, edges
}

// byIdentifier is what a partition says, whatever the numbers of births: clusters as sets of ties, and rejections.
func byIdentifier(nodes []identity.Node, p identity.Partitioned) (clusters, rejected []string) {
	tie := map[member.Birth]int64{}
	for _, n := range nodes {
		tie[n.Birth] = n.Tie
	}
	for _, c := range p.Clusters {
		var ties []int64
		for _, b := range c.Births {
			ties = append(ties, tie[b])
		}
		slices.Sort(ties)
		clusters = append(clusters, fmt.Sprint(ties))
	}
	for _, r := range p.Rejected {
		rejected = append(rejected, fmt.Sprint(r.Edge.ID, r.Reason, r.NS))
	}
	slices.Sort(clusters)
	slices.Sort(rejected)
	return clusters, rejected
}

func TestPartitionDoesNotKnowWhoCameFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, edges := graph(t)
		clusters, rejected := byIdentifier(nodes, identity.Partition(nodes, edges))
		for range 4 {
			other, theirs := renumbered(nodes, edges, rapid.Uint64().Draw(t, "seed"))
			p := identity.Partition(other, theirs)
			c, r := byIdentifier(other, p)
			require.Equal(t, clusters, c)
			require.Equal(t, rejected, r)
		}
	})
}

func TestPartitionKeepsLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, edges := graph(t)
		edges = slices.DeleteFunc(edges, func(e identity.Edge) bool { return e.Kind == identity.KindOperator })
		ns := map[member.Birth]identity.Node{}
		for i, n := range nodes {
			if n.NS == "phone_name" { // strong evidence may pass soft limits; here nothing may
				nodes[i].NS, n.NS = "card", "card"
				nodes[i].Scope = ""
			}
			ns[n.Birth] = nodes[i]
		}
		for _, c := range identity.Partition(nodes, edges).Clusters {
			accounts := map[string]int{}
			for _, b := range c.Births {
				policy, _ := identity.NamespaceOf(ns[b].NS)
				if policy.Class == identity.ClassAccount {
					accounts[ns[b].NS+ns[b].Scope]++
				}
			}
			for k, n := range accounts {
				require.LessOrEqual(t, n, 1, k)
			}
		}
	})
}

func TestScenarioOfRules(t *testing.T) {
	t.Parallel()
	node := func(b int, ns, scope string) identity.Node {
		return identity.Node{Birth: member.Birth(b), NS: ns, Scope: scope}
	}
	edge := func(a, b, first, last int) identity.Edge {
		return identity.Edge{ID: int64(a*100 + b), A: member.Birth(a), B: member.Birth(b), Kind: "import", Source: "s", Trust: 2, First: at(first), Last: at(last), N: 1}
	}
	for _, tc := range []struct {
		name  string
		nodes []identity.Node
		edges []identity.Edge
		want  [][]member.Birth
	}{
		{"two records of one system cannot be one person by a phone alone; the phone is the newest user's",
			[]identity.Node{node(1, "source", "pos"), node(2, "source", "pos"), node(3, "phone", ""), node(4, "source", "tmall")},
			[]identity.Edge{edge(1, 3, 1, 1), edge(2, 3, 5, 5), edge(3, 4, 3, 3)},
			[][]member.Birth{{1}, {2, 3}, {4}}},
		{"a name on the phone tells them apart and together",
			[]identity.Node{node(1, "source", "pos"), node(2, "source", "pos"), node(3, "phone", ""), node(4, "source", "tmall"), node(5, "phone_name", "p"), node(6, "phone_name", "p")},
			[]identity.Edge{edge(1, 3, 1, 1), edge(2, 3, 5, 5), edge(3, 4, 3, 3), edge(1, 5, 1, 1), edge(4, 5, 3, 3), edge(2, 6, 5, 5)},
			[][]member.Birth{{1, 4, 5}, {2, 3, 6}}},
		{"an account that binds another WeChat keeps the old one",
			[]identity.Node{node(1, "source", "pos"), node(2, "wechat_unionid", "b"), node(3, "wechat_unionid", "b")},
			[]identity.Edge{edge(1, 2, 1, 1), edge(1, 3, 5, 5)},
			[][]member.Birth{{1, 2, 3}}},
		{"a WeChat that others took up after its account had left it is theirs",
			[]identity.Node{node(1, "source", "pos"), node(2, "wechat_unionid", "b"), node(3, "wechat_unionid", "b"), node(4, "source", "tmall")},
			[]identity.Edge{edge(1, 2, 1, 1), edge(1, 3, 5, 5), edge(2, 4, 7, 7)},
			[][]member.Birth{{1, 3}, {2, 4}}},
		{"a tablet in the store joins nobody and hangs on its newest user",
			[]identity.Node{node(1, "device", ""), node(2, "user", ""), node(3, "user", ""), node(4, "source", "pos")},
			[]identity.Edge{edge(1, 2, 1, 1), edge(1, 3, 9, 9), edge(1, 4, 3, 3)},
			[][]member.Birth{{1, 3}, {2}, {4}}},
	} {
		var got [][]member.Birth
		for _, c := range identity.Partition(tc.nodes, tc.edges).Clusters {
			got = append(got, c.Births)
		}
		require.Equal(t, tc.want, got, tc.name)
	}
}

func TestHotIdentifierJoinsNobody(t *testing.T) {
	t.Parallel()
	nodes := []identity.Node{{Birth: 1, NS: "card"}}
	var edges []identity.Edge
	for i := 2; i <= 60; i++ {
		nodes = append(nodes, identity.Node{Birth: member.Birth(i), NS: "source", Scope: fmt.Sprint(i)})
		edges = append(edges, identity.Edge{ID: int64(i), A: 1, B: member.Birth(i), Kind: "import", First: t0, Last: t0.Add(time.Duration(i)), N: 1})
	}
	p := identity.Partition(nodes, edges)
	require.Equal(t, []member.Birth{1}, p.Hot)
	require.Len(t, p.Clusters, len(nodes))
	require.Equal(t, identity.ReasonQuarantined, p.Rejected[0].Reason)
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"13800138000", "+852 9123 4567", "0086-13800138000", "A@b.co", "null", "\"x\"", "0912345678", "８６１３８００１３８０００", "[object Object]"} {
		f.Add("phone", s)
		f.Add("email", s)
		f.Add("wechat_openid", s)
	}
	f.Fuzz(func(t *testing.T, ns, v string) {
		k, err := identity.Key{NS: ns, Scope: "s", Value: v}.Normalise()
		if err != nil {
			return
		}
		again, err := k.Normalise()
		if err != nil || again != k {
			t.Fatalf("normalising is not idempotent: %q → %q → %q (%v)", v, k.Value, again.Value, err)
		}
	})
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ ns, in, want string }{
		{"phone", "138 0013 8000", "+8613800138000"}, {"phone", "(+86)13800138000", ""}, {"phone", "+86 138-0013-8000", "+8613800138000"},
		{"phone", "008613800138000", "+8613800138000"}, {"phone", "８６１３８００１３８０００", "+8613800138000"},
		{"phone", "+852 9123 4567", "+85291234567"}, {"phone", "+853 6612 3456", "+85366123456"}, {"phone", "+886 0912 345 678", "+886912345678"},
		{"phone", "+44 7911 123456", "+447911123456"}, {"phone", "12345", ""}, {"phone", "11111111111", ""}, {"phone", "010-12345678", ""}, {"phone", "138****8000", ""},
		{"email", " Shen@Example.COM ", "shen@example.com"}, {"email", "a@b", ""}, {"email", "a@@b.com", ""},
		{"wechat_openid", "oAbC", "oAbC"}, {"wechat_openid", "o***C", ""}, {"source", "undefined", ""}, {"source", "0", "0"}, {"source", "1111", "1111"}, {"user", "0", ""}, {"source", "'42'", "42"}, {"card", "vip-0042", "VIP-0042"},
	} {
		k, err := identity.Key{NS: tc.ns, Scope: "s", Value: tc.in}.Normalise()
		if tc.want == "" {
			require.Error(t, err, "%s %q", tc.ns, tc.in)
			continue
		}
		require.NoError(t, err, "%s %q", tc.ns, tc.in)
		require.Equal(t, tc.want, k.Value)
	}
}
