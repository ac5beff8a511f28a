package promotion

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// checkResult checks what holds for every result: sums are exact, nothing is negative, no floor is broken.
func checkResult(t testing.TB, cart Cart, res Result) {
	t.Helper()
	lines := map[string]money.Fen{}
	var goods, freight money.Fen
	for _, a := range res.Adjustments {
		require.Positive(t, a.Amount)
		var sum money.Fen
		for _, l := range a.Lines {
			var units money.Fen
			for _, u := range l.Units {
				require.GreaterOrEqual(t, u, money.Fen(0))
				units += u
			}
			require.Equal(t, l.Amount, units)
			sum += l.Amount
			lines[l.Line] += l.Amount
		}
		if a.Level == LevelFreight {
			freight += a.Amount
			require.Empty(t, a.Lines)
		} else {
			require.Equal(t, a.Amount, sum)
			goods += a.Amount
		}
		var bp int64
		for _, b := range a.Bearers {
			bp += b.Bp
		}
		require.EqualValues(t, 10000, bp)
	}
	require.Len(t, res.Lines, len(cart.Lines))
	var list, amount money.Fen
	for i, l := range res.Lines {
		in := cart.Lines[i]
		require.Equal(t, in.ID, l.Line)
		require.Equal(t, lines[in.ID], l.Discount)
		var units money.Fen
		require.Len(t, l.Units, int(in.Quantity))
		for _, u := range l.Units {
			require.GreaterOrEqual(t, u, min(in.FloorPrice, in.UnitPrice))
			units += u
		}
		require.Equal(t, l.Amount, units)
		list += l.List
		amount += l.Amount
	}
	require.Equal(t, res.Totals.List, list)
	require.Equal(t, res.Totals.Goods, amount)
	require.Equal(t, goods, res.Totals.ItemDiscount+res.Totals.OrderDiscount)
	require.Equal(t, freight, res.Totals.FreightDiscount)
	require.LessOrEqual(t, goods, list)
	require.LessOrEqual(t, freight, cart.Freight)
	require.GreaterOrEqual(t, res.Totals.Payable, money.Fen(0))
	require.Equal(t, list-goods+cart.Freight-freight, res.Totals.Payable)
}

func TestResultsHold(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		c, cart := randomCase(seed, 12)
		res := Evaluate(c, cart)
		checkResult(t, cart, res)
		require.Equal(t, res, Evaluate(c, cart), "the same input gives the same result")
		full := Explain(c, cart)
		require.Len(t, full.Trace, c.Rules()+len(cart.Coupons))
		full.Trace, res.Trace = nil, nil
		require.Equal(t, res, full)
	}
}

// The order of lines and rules is of no consequence.
func TestOrderIsIrrelevant(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, cart := randomCase(seed, 10)
		want := Evaluate(c, cart)
		set := Set{Groups: c.groups, Caps: c.caps}
		for _, p := range c.rules {
			set.Rules = append(set.Rules, p.Rule)
		}
		r.Shuffle(len(set.Rules), func(i, j int) { set.Rules[i], set.Rules[j] = set.Rules[j], set.Rules[i] })
		shuffled, err := Compile(set)
		require.NoError(t, err)
		other := cart
		other.Lines, other.Coupons = slices.Clone(cart.Lines), slices.Clone(cart.Coupons)
		r.Shuffle(len(other.Lines), func(i, j int) { other.Lines[i], other.Lines[j] = other.Lines[j], other.Lines[i] })
		r.Shuffle(len(other.Coupons), func(i, j int) { other.Coupons[i], other.Coupons[j] = other.Coupons[j], other.Coupons[i] })
		got := Evaluate(shuffled, other)
		require.ElementsMatch(t, want.Lines, got.Lines)
		want.Lines, got.Lines = nil, nil
		require.Equal(t, want, got, "seed %d", seed)
	}
}

// A rule that does not apply changes nothing.
func TestInapplicableRuleChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		c, cart := randomCase(seed, 10)
		want := Evaluate(c, cart)
		set := Set{Groups: c.groups, Caps: c.caps}
		for _, p := range c.rules {
			set.Rules = append(set.Rules, p.Rule)
		}
		extra := randomRule(r, 99, nil)
		switch r.IntN(4) {
		case 0:
			extra.When.Touchpoints = []member.Touchpoint{"pos"}
		case 1:
			extra.Items = Scope{SKUs: []string{"elsewhere"}}
		case 2:
			extra.When.To = &noon
		default:
			extra.MinQuantity = 1000
			if extra.Kind == KindThreshold {
				extra.When.Tiers = []string{"none"}
			}
		}
		set.Rules = append(set.Rules, extra)
		more, err := Compile(set)
		require.NoError(t, err)
		got := Evaluate(more, cart)
		got.Trace = slices.DeleteFunc(got.Trace, func(w Why) bool { return w.Promotion == extra.Promotion })
		got.Nodes, want.Nodes = 0, 0
		require.Equal(t, want, got, "seed %d", seed)
	}
}

// Splitting a line in two gives the same totals with rules that look at each unit alone, or at all units together.
func TestSplittingALineChangesNothing(t *testing.T) {
	t.Parallel()
	n := 0
	for seed := uint64(0); n < 1000; seed++ {
		c, cart := randomCase(seed, 8)
		whole := slices.IndexFunc(cart.Lines, func(l Line) bool { return l.Quantity > 1 && l.Kind == "" })
		if whole < 0 || slices.ContainsFunc(c.groups, func(g Group) bool { return g.Scope == ScopeItem && g.Mode != ModeStackable }) {
			continue
		}
		allowed := []Kind{KindItemDiscount, KindMemberPrice, KindNthUnit, KindBuyGet, KindBundlePrice, KindAddOn}
		other := func(r Rule) bool { return !slices.Contains(allowed, r.Kind) }
		if slices.ContainsFunc(c.rules, func(r *rule) bool { return other(r.Rule) }) || slices.ContainsFunc(cart.Coupons, func(k CouponClaim) bool { return other(k.Rule) }) {
			continue
		}
		n++
		split := cart
		split.Lines = slices.Clone(cart.Lines)
		part := split.Lines[whole]
		part.ID, part.Quantity = part.ID+"/2", 1
		split.Lines[whole].Quantity--
		split.Lines = append(split.Lines, part)
		require.Equal(t, Evaluate(c, cart).Totals, Evaluate(c, split).Totals, "seed %d", seed)
	}
}

// More promotions in a set where everything stacks freely never give less.
func TestMoreRulesNeverGiveLess(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 3))
		cart := randomCart(r)
		var set Set
		last := money.Fen(-1)
		for i := range 8 {
			rule := randomRule(r, i, nil)
			rule.Exclusive = ""
			if rule.Kind == KindGift {
				continue // gifts have a worth that the totals do not show
			}
			set.Rules = append(set.Rules, rule)
			c, err := Compile(set)
			require.NoError(t, err)
			res := Evaluate(c, cart)
			off := res.Totals.ItemDiscount + res.Totals.OrderDiscount + res.Totals.FreightDiscount
			require.GreaterOrEqual(t, off, last, "seed %d", seed)
			last = off
		}
	}
}

func TestSearchEndsEarlyWithAGap(t *testing.T) {
	t.Parallel()
	var set Set
	for i := range 40 {
		set.Rules = append(set.Rules, Rule{
			Promotion: fmt.Sprintf("r%02d", i), Version: 1, Name: "r", Bearers: hq, Kind: KindThreshold,
			Benefit: Benefit{Tiers: []Tier{{MinAmount: money.Fen(60000 + 997*i), Amount: money.Fen(1000 + 613*(i*7%40))}}},
		})
	}
	c, err := Compile(set)
	require.NoError(t, err)
	cart := tea([2]int64{50000, 2})
	res := Evaluate(c, cart)
	checkResult(t, cart, res)
	require.LessOrEqual(t, res.Nodes, maxNodes+1)
	if !res.Exact {
		require.Positive(t, res.Gap)
	}
}
