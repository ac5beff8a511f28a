package promotion

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// manyRules is what a big brand has running: n promotions over 2,000 SKUs, by category, brand and store, and a few for all.
func manyRules(n int) Set {
	set := Set{Groups: []Group{{Code: "item", Mode: ModeBest, Scope: ScopeItem}, {Code: "full", Mode: ModeBest, Scope: ScopeOrder}}}
	for i := range n {
		r := Rule{Promotion: fmt.Sprintf("p%04d", i), Version: 1, Name: "p", Bearers: hq}
		switch i % 10 {
		case 0, 1, 2, 3:
			r.Group, r.Kind, r.Benefit = "item", KindItemDiscount, Benefit{PercentBp: int64(500 + i%2000)}
			for k := range 10 {
				r.Items.SKUs = append(r.Items.SKUs, fmt.Sprintf("s%d", (i*37+k*11)%2000))
			}
		case 4, 5:
			r.Group, r.Kind, r.Benefit = "item", KindNthUnit, Benefit{N: 2, PercentBp: 5000}
			r.Items.Categories = []string{fmt.Sprintf("c%d", i%80)}
		case 6:
			r.Kind, r.Benefit = KindItemDiscount, Benefit{Amount: 300}
			r.When.Stores = []string{fmt.Sprintf("store%d", i)}
		case 7:
			r.Group, r.Kind = "full", KindThreshold
			r.Items.Brands = []string{fmt.Sprintf("b%d", i%50)}
			r.Benefit.Tiers = []Tier{{MinAmount: 20000, Amount: 2000}, {MinAmount: 40000, Amount: 5000}}
		case 8:
			r.Kind, r.MinAmount, r.Benefit = KindGift, 30000, Benefit{Gifts: []GiftItem{{SKU: "g"}}}
			r.Items.Categories = []string{fmt.Sprintf("c%d", i%80)}
		default:
			r.When.Touchpoints = []member.Touchpoint{member.TouchpointPOS}
			r.Kind, r.Benefit = KindItemDiscount, Benefit{PercentBp: 1000}
		}
		set.Rules = append(set.Rules, r)
	}
	set.Rules = append(set.Rules,
		Rule{Promotion: "all-full", Version: 1, Name: "满300减40", Group: "full", Kind: KindThreshold, Bearers: hq, Benefit: Benefit{Tiers: []Tier{{MinAmount: 30000, Amount: 4000}}}},
		Rule{Promotion: "all-post", Version: 1, Name: "满99包邮", Kind: KindFreight, MinAmount: 9900, Bearers: hq, Benefit: Benefit{Free: true}},
		Rule{Promotion: "all-member", Version: 1, Name: "会员价", Kind: KindMemberPrice, Bearers: hq})
	return set
}

func liveCart(i int) Cart {
	cart := Cart{At: noon, Touchpoint: member.TouchpointApp, Freight: 1000, Member: Member{Known: true}}
	for k := range 8 {
		n := (i*131 + k*257) % 2000
		cart.Lines = append(cart.Lines, Line{
			ID: fmt.Sprint(k), SKU: fmt.Sprintf("s%d", n), SPU: fmt.Sprintf("p%d", n/4), Category: []string{"all", fmt.Sprintf("c%d", n%80)},
			Brand: fmt.Sprintf("b%d", n%50), Quantity: int64(1 + k%3), UnitPrice: money.Fen(1990 + 100*(n%90)), MemberPrice: money.Fen(1890 + 100*(n%90)),
		})
	}
	return cart
}

// BenchmarkEvaluate prices carts of 8 lines and 15 units with so many live rules.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			c, err := Compile(manyRules(n))
			require.NoError(b, err)
			carts := make([]Cart, 256)
			for i := range carts {
				carts[i] = liveCart(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			traces, i := 0, 0
			for b.Loop() {
				res := Evaluate(c, carts[i%len(carts)])
				traces += len(res.Trace)
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "carts/s")
			b.ReportMetric(float64(traces)/float64(i), "candidates/cart")
		})
	}
}

func TestLiveCartsAreExact(t *testing.T) {
	t.Parallel()
	c, err := Compile(manyRules(1000))
	require.NoError(t, err)
	for i := range 256 {
		res := Evaluate(c, liveCart(i))
		require.True(t, res.Exact)
		checkResult(t, liveCart(i), res)
	}
}
