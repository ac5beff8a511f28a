package promotion

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

func rules(t testing.TB, set Set) *Compiled {
	t.Helper()
	for i := range set.Rules {
		r := &set.Rules[i]
		r.Version = 1
		if r.Name == "" {
			r.Name = r.Promotion
		}
		if r.Bearers == nil {
			r.Bearers = hq
		}
	}
	c, err := Compile(set)
	require.NoError(t, err)
	return c
}

func one(t testing.TB, r Rule) *Compiled { return rules(t, Set{Rules: []Rule{r}}) }

// tea is a cart of lines with price and quantity, SKUs a, b, c…
func tea(lines ...[2]int64) Cart {
	cart := Cart{At: noon, Touchpoint: member.TouchpointMiniProgram, Member: Member{Known: true}}
	for i, l := range lines {
		sku := string(rune('a' + i))
		cart.Lines = append(cart.Lines, Line{ID: sku, SKU: sku, SPU: "p" + sku, Category: []string{"home", "home/tea"}, Brand: "robin", UnitPrice: money.Fen(l[0]), Quantity: l[1]})
	}
	return cart
}

func TestKinds(t *testing.T) {
	t.Parallel()
	tiers := []Tier{{MinAmount: 10000, Amount: 1000}, {MinAmount: 30000, Amount: 4000}}
	tests := []struct {
		name string
		rule Rule
		cart Cart
		want money.Fen   // discount of goods
		unit []money.Fen // what the units of the first line cost, if given
		code Code
	}{
		{"8.8折, half up per unit", Rule{Kind: KindItemDiscount, Benefit: Benefit{PercentBp: 1200}}, tea([2]int64{999, 2}), 240, []money.Fen{879, 879}, CodeApplied},
		{"amount off never below nothing", Rule{Kind: KindItemDiscount, Benefit: Benefit{Amount: 5000}}, tea([2]int64{3000, 1}, [2]int64{9000, 1}), 8000, nil, CodeApplied},
		{"fixed price", Rule{Kind: KindItemDiscount, Benefit: Benefit{Price: 990}}, tea([2]int64{1290, 3}), 900, nil, CodeApplied},
		{"fixed price above the price", Rule{Kind: KindItemDiscount, Benefit: Benefit{Price: 990}}, tea([2]int64{900, 3}), 0, nil, CodeNoEffect},
		{"at most two units, the dearest", Rule{Kind: KindItemDiscount, Benefit: Benefit{PercentBp: 5000, Most: 2}}, tea([2]int64{1000, 2}, [2]int64{3000, 1}), 2000, []money.Fen{500, 1000}, CodeApplied},
		{"第二件半价 of each pair the cheaper", Rule{Kind: KindNthUnit, Benefit: Benefit{N: 2, PercentBp: 5000}}, tea([2]int64{1000, 2}, [2]int64{3000, 1}), 500, []money.Fen{500, 1000}, CodeApplied},
		{"第二件半价 alone", Rule{Kind: KindNthUnit, Benefit: Benefit{N: 2, PercentBp: 5000}}, tea([2]int64{1000, 1}), 0, nil, CodeUnits},
		{"买二送一, the cheapest free", Rule{Kind: KindBuyGet, Benefit: Benefit{Buy: 2, Get: 1, PercentBp: 10000}}, tea([2]int64{1000, 2}, [2]int64{3000, 2}), 1000, nil, CodeApplied},
		{"买 a 送 b", Rule{Kind: KindBuyGet, Trigger: &Scope{SKUs: []string{"a"}}, Items: Scope{SKUs: []string{"b"}}, Benefit: Benefit{Buy: 2, Get: 1, PercentBp: 10000}}, tea([2]int64{1000, 5}, [2]int64{700, 3}), 1400, nil, CodeApplied},
		{"3 件 99 元, the dearest together", Rule{Kind: KindBundlePrice, Benefit: Benefit{N: 3, Price: 9900}}, tea([2]int64{4000, 2}, [2]int64{5000, 2}), 5000 + 5000 + 4000 - 9900, nil, CodeApplied},
		{"满 300 减 40", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: tiers}}, tea([2]int64{29900, 1}, [2]int64{4900, 2}), 4000, nil, CodeApplied},
		{"满 100 减 10", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: tiers}}, tea([2]int64{29900, 1}), 1000, nil, CodeApplied},
		{"not 满 100", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: tiers}}, tea([2]int64{9999, 1}), 0, nil, CodeMinAmount},
		{"每满 100 减 10", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: tiers[:1], Repeat: true}}, tea([2]int64{29900, 1}), 2000, nil, CodeApplied},
		{"每满, at most once", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: tiers[:1], Repeat: true, Most: 1}}, tea([2]int64{29900, 1}), 1000, nil, CodeApplied},
		{"满 2 件 9 折", Rule{Kind: KindThreshold, Benefit: Benefit{Tiers: []Tier{{MinQuantity: 2, PercentBp: 1000}}}}, tea([2]int64{1005, 1}, [2]int64{1000, 1}), 201, nil, CodeApplied},
		{"加价购", Rule{Kind: KindAddOn, MinAmount: 10000, Items: Scope{}, Benefit: Benefit{AddOns: []AddOnItem{{"b", 990}}}}, tea([2]int64{10000, 1}, [2]int64{2990, 2}), 2000, nil, CodeApplied},
		{"加价购: its goods do not count", Rule{Kind: KindAddOn, MinAmount: 10001, Benefit: Benefit{AddOns: []AddOnItem{{"b", 990}}}}, tea([2]int64{10000, 1}, [2]int64{2990, 2}), 0, nil, CodeMinAmount},
		{"加价购 without its goods", Rule{Kind: KindAddOn, Benefit: Benefit{AddOns: []AddOnItem{{"z", 990}}}}, tea([2]int64{10000, 1}), 0, nil, CodeAddOn},
		{"at most", Rule{Kind: KindItemDiscount, Benefit: Benefit{PercentBp: 5000}, MaxDiscount: 301}, tea([2]int64{1000, 2}), 301, []money.Fen{849, 850}, CodeApplied},
		{"other goods", Rule{Kind: KindItemDiscount, Items: Scope{SKUs: []string{"z"}}, Benefit: Benefit{PercentBp: 5000}}, tea([2]int64{1000, 2}), 0, nil, CodeNoGoods},
		{"except", Rule{Kind: KindItemDiscount, Items: Scope{Categories: []string{"home"}, Except: &Scope{SPUs: []string{"pa"}}}, Benefit: Benefit{PercentBp: 5000}}, tea([2]int64{1000, 2}, [2]int64{400, 1}), 200, nil, CodeApplied},
		{"category and brand", Rule{Kind: KindItemDiscount, Items: Scope{Categories: []string{"home"}, Brands: []string{"wren"}}, Benefit: Benefit{PercentBp: 5000}}, tea([2]int64{1000, 2}), 0, nil, CodeNoGoods},
	}
	for _, tt := range tests {
		tt.rule.Promotion = "p"
		res := Explain(one(t, tt.rule), tt.cart)
		require.Equal(t, tt.want, res.Totals.ItemDiscount+res.Totals.OrderDiscount, tt.name)
		require.Len(t, res.Trace, 1, tt.name)
		require.Equal(t, tt.code, res.Trace[0].Code, tt.name)
		require.Equal(t, tt.code == CodeApplied, res.Trace[0].Applied, tt.name)
		require.NotEmpty(t, res.Trace[0].Text.ZH, tt.name)
		if tt.unit != nil {
			require.ElementsMatch(t, tt.unit, res.Lines[0].Units, tt.name)
		}
		checkResult(t, tt.cart, res)
	}
}

// The common order of the settlement study: 满300减40, HQ 60 %, performer 40 %.
func TestCommonOrder(t *testing.T) {
	t.Parallel()
	claim := CouponClaim{Code: "LK1", Template: "robin-40", Rule: CouponRule(coupon.Template{
		Code: "robin-40", Name: "满300减40", Kind: coupon.KindAmountOff, AmountFen: 4000, ThresholdFen: 30000, Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 6000}, {Bearer: "performer", Bp: 4000}},
	})}
	cart := tea([2]int64{29900, 1}, [2]int64{4900, 2})
	cart.Coupons, cart.Freight = []CouponClaim{claim}, 1000
	res := Evaluate(rules(t, Set{}), cart)
	require.Len(t, res.Adjustments, 1)
	a := res.Adjustments[0]
	require.Equal(t, "LK1", a.Coupon)
	require.Equal(t, "robin-40", a.Promotion)
	require.Equal(t, []LineShare{{"a", 3013, []money.Fen{3013}}, {"b", 987, []money.Fen{493, 494}}}, a.Lines)
	require.Equal(t, []money.Fen{1808, 1205}, Shares(3013, a.Bearers))
	require.Equal(t, []money.Fen{592, 395}, Shares(987, a.Bearers))
	require.Equal(t, []money.Fen{296, 197}, Shares(493, a.Bearers))
	require.Equal(t, Totals{List: 39700, OrderDiscount: 4000, Goods: 35700, Freight: 1000, Payable: 36700}, res.Totals)
	require.True(t, res.Exact)
}

// A voucher counts on what promotions left (a peer gave 40 % and 70 % off the list price: goods for nothing).
func TestVoucherCountsOnDiscountedBase(t *testing.T) {
	t.Parallel()
	cart := tea([2]int64{10000, 1})
	cart.Coupons = []CouponClaim{{Code: "C", Template: "t", Rule: CouponRule(coupon.Template{Code: "t", Kind: coupon.KindPercent, PercentBp: 7000, Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 10000}}})}}
	res := Evaluate(one(t, Rule{Promotion: "p", Kind: KindItemDiscount, Benefit: Benefit{PercentBp: 4000}}), cart)
	require.EqualValues(t, 4000, res.Totals.ItemDiscount)
	require.EqualValues(t, 4200, res.Totals.OrderDiscount)
	require.EqualValues(t, 1800, res.Totals.Payable)
}

func TestCouponKinds(t *testing.T) {
	t.Parallel()
	cart := tea([2]int64{10000, 1})
	cart.Freight = 1200
	claim := func(tp coupon.Template) Cart {
		c := cart
		tp.Code, tp.Name, tp.Bearers = "t", "t", []coupon.Bearer{{Bearer: "hq", Bp: 10000}}
		c.Coupons = []CouponClaim{{Code: "C", Template: "t", Rule: CouponRule(tp)}}
		return c
	}
	none := rules(t, Set{})
	res := Evaluate(none, claim(coupon.Template{Kind: coupon.KindPercent, PercentBp: 2000, MaxDiscountFen: 1500}))
	require.EqualValues(t, 1500, res.Totals.OrderDiscount)
	res = Evaluate(none, claim(coupon.Template{Kind: coupon.KindFreight, AmountFen: 1000}))
	require.EqualValues(t, 1000, res.Totals.FreightDiscount)
	require.Equal(t, LevelFreight, res.Adjustments[0].Level)
	res = Evaluate(none, claim(coupon.Template{Kind: coupon.KindGift, GiftSKU: "heart", AmountFen: 800}))
	require.Equal(t, "heart", res.Gifts[0].SKU)
	require.Equal(t, "C", res.Gifts[0].Coupon)
	res = Evaluate(none, claim(coupon.Template{Kind: coupon.KindAmountOff, AmountFen: 800, Scope: coupon.Scope{Stores: []string{"hz01"}}}))
	require.Equal(t, CodeStore, res.Trace[0].Code)
	res = Evaluate(none, claim(coupon.Template{Kind: coupon.KindAmountOff, AmountFen: 800, ThresholdFen: 10001}))
	require.Equal(t, CodeMinAmount, res.Trace[0].Code)
	require.Equal(t, "未满 ¥100.01,现为 ¥100.00", res.Trace[0].Text.ZH)
	// Two coupons of one stack group: the better one, and the trace says what stood in the way.
	two := claim(coupon.Template{Kind: coupon.KindAmountOff, AmountFen: 800, StackGroup: "goods"})
	two.Coupons = append(two.Coupons, CouponClaim{Code: "D", Template: "u", Rule: CouponRule(coupon.Template{Kind: coupon.KindAmountOff, AmountFen: 900, StackGroup: "goods", Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 10000}}})})
	res = Evaluate(none, two)
	require.Equal(t, "D", res.Adjustments[0].Coupon)
	require.EqualValues(t, 900, res.Totals.OrderDiscount)
	require.Equal(t, []Code{CodeNotBest, CodeApplied}, []Code{res.Trace[0].Code, res.Trace[1].Code})
}

func TestConditions(t *testing.T) {
	t.Parallel()
	later, earlier := noon.Add(time.Hour), noon.Add(-time.Hour)
	tests := []struct {
		when   Conditions
		limits Limits
		change func(*Cart)
		code   Code
	}{
		{code: CodeApplied},
		{when: Conditions{From: &later}, code: CodeNotStarted},
		{when: Conditions{From: &earlier, To: &noon}, code: CodeEnded},
		{when: Conditions{Weekdays: []int{1, 2}}, code: CodeWeekday},
		{when: Conditions{Weekdays: []int{3}}, code: CodeApplied},
		{when: Conditions{Hours: []Hours{{"20:00", "24:00"}, {"08:00", "12:00"}}}, code: CodeHours},
		{when: Conditions{Hours: []Hours{{"22:00", "12:01"}}}, code: CodeApplied},
		{when: Conditions{Touchpoints: []member.Touchpoint{"pos"}}, code: CodeTouchpoint},
		{when: Conditions{Stores: []string{"x"}}, code: CodeStore},
		{when: Conditions{Members: true}, change: func(c *Cart) { c.Member.Known = false }, code: CodeMember},
		{limits: Limits{PerMember: 1}, change: func(c *Cart) { c.Member.Known = false }, code: CodeMember},
		{when: Conditions{FirstOrder: true}, code: CodeFirstOrder},
		{when: Conditions{Tiers: []string{"gold"}}, code: CodeTier},
		{when: Conditions{Segments: []string{"s", "t"}}, code: CodeSegment},
		{when: Conditions{Segments: []string{"s", "t"}}, change: func(c *Cart) { c.Member.Segments = []string{"t"} }, code: CodeApplied},
		{when: Conditions{Tags: []string{"vip"}}, code: CodeTag},
		{change: func(c *Cart) { c.Exhausted = map[string]bool{"p": true} }, code: CodeExhausted},
	}
	for i, tt := range tests {
		cart := tea([2]int64{1000, 1})
		if tt.change != nil {
			tt.change(&cart)
		}
		res := Explain(one(t, Rule{Promotion: "p", Kind: KindItemDiscount, Benefit: Benefit{PercentBp: 5000}, When: tt.when, Limits: tt.limits}), cart)
		require.Equal(t, tt.code, res.Trace[0].Code, "case %d", i)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	off := func(code, group string, bp int64, skus ...string) Rule {
		return Rule{Promotion: code, Group: group, Kind: KindItemDiscount, Items: Scope{SKUs: skus}, Benefit: Benefit{PercentBp: bp}}
	}
	cart := tea([2]int64{10000, 1}, [2]int64{20000, 1})
	set := func(mode Mode, scope GroupScope) *Compiled {
		return rules(t, Set{Groups: []Group{{Code: "g", Mode: mode, Scope: scope}},
			Rules: []Rule{off("r1", "g", 1000, "a"), off("r2", "g", 3000, "a", "b"), off("r3", "g", 5000, "b")}})
	}
	discounts := func(c *Compiled) []money.Fen {
		res := Evaluate(c, cart)
		checkResult(t, cart, res)
		return []money.Fen{res.Lines[0].Discount, res.Lines[1].Discount}
	}
	require.Equal(t, []money.Fen{1000 + 2700, 6000 + 7000}, discounts(set(ModeStackable, ScopeOrder)))
	require.Equal(t, []money.Fen{1000, 0}, discounts(set(ModeFirst, ScopeOrder)))
	require.Equal(t, []money.Fen{1000, 6000}, discounts(set(ModeFirst, ScopeItem)))
	require.Equal(t, []money.Fen{0, 10000}, discounts(set(ModeBest, ScopeOrder)))
	require.Equal(t, []money.Fen{3000, 10000}, discounts(set(ModeBest, ScopeItem)))
	// Of two in a stackable group with max 1, and of an exclusive category, one.
	require.Equal(t, []money.Fen{0, 10000}, discounts(rules(t, Set{Groups: []Group{{Code: "g", Mode: ModeStackable, Scope: ScopeOrder, Max: 1}},
		Rules: []Rule{off("r1", "g", 1000, "a"), off("r3", "g", 5000, "b")}})))
	x, y := off("r1", "", 1000, "a"), off("r3", "", 5000, "b")
	x.Exclusive, y.Exclusive = "season", "season"
	require.Equal(t, []money.Fen{0, 10000}, discounts(rules(t, Set{Rules: []Rule{x, y}})))
	// Nested: the better of two groups.
	require.Equal(t, []money.Fen{3700, 0}, discounts(rules(t, Set{
		Groups: []Group{{Code: "g", Mode: ModeBest, Scope: ScopeOrder}, {Code: "g1", Parent: "g", Mode: ModeStackable, Scope: ScopeOrder}},
		Rules:  []Rule{off("r1", "g1", 1000, "a"), off("r2", "g1", 3000, "a"), off("r3", "g", 1000, "b")}})))
	// Leaving a discount out may give more: 9 折 would miss 满300.
	res := Evaluate(rules(t, Set{Rules: []Rule{off("r1", "", 1000), {Promotion: "full", Kind: KindThreshold, Benefit: Benefit{Tiers: []Tier{{MinAmount: 30000, Amount: 8000}}}}}}), cart)
	require.EqualValues(t, 8000, res.Totals.OrderDiscount)
	require.Equal(t, CodeNotBest, res.Trace[0].Code)
	// The order's cap.
	capped := Evaluate(rules(t, Set{Rules: []Rule{off("r1", "", 5000)}, Caps: Caps{MaxDiscountBp: 2000}}), cart)
	require.EqualValues(t, 6000, capped.Totals.ItemDiscount)
}

func TestGifts(t *testing.T) {
	t.Parallel()
	rule := Rule{Promotion: "p", Kind: KindGift, MinAmount: 5000, Benefit: Benefit{Repeat: true, Gifts: []GiftItem{{SKU: "heart", Stock: "gifts", Worth: 900}, {SKU: "bird"}}}}
	cart := tea([2]int64{3000, 1}, [2]int64{4000, 2})
	res := Evaluate(one(t, rule), cart)
	require.Len(t, res.Gifts, 1)
	g := res.Gifts[0]
	require.Equal(t, []any{"heart", "b", int64(2), "gifts", false}, []any{g.SKU, g.Line, g.Quantity, g.Stock, g.Fallback})
	require.EqualValues(t, 11000, res.Totals.Payable)
	cart.GiftStock = map[string]int64{"bird": 9}
	g = Evaluate(one(t, rule), cart).Gifts[0]
	require.Equal(t, []any{"bird", true}, []any{g.SKU, g.Fallback})
	cart.GiftStock = map[string]int64{}
	require.Equal(t, CodeGiftStock, Evaluate(one(t, rule), cart).Trace[0].Code)
}

func TestMemberPriceAndFreight(t *testing.T) {
	t.Parallel()
	cart := tea([2]int64{10000, 1})
	cart.Freight = 1500
	c := rules(t, Set{Rules: []Rule{
		{Promotion: "member", Kind: KindMemberPrice}, {Promotion: "post", Kind: KindFreight, MinAmount: 9000, Benefit: Benefit{Free: true}},
	}})
	res := Evaluate(c, cart)
	require.Equal(t, []Code{CodeNoMemberPrice, CodeApplied}, []Code{res.Trace[0].Code, res.Trace[1].Code})
	cart.Lines[0].MemberPrice = 9500
	res = Evaluate(c, cart)
	require.EqualValues(t, 9500, res.Totals.Payable)
	cart.Lines[0].MemberPrice = 8600 // it would take the order below the threshold of the free freight
	res = Evaluate(c, cart)
	require.EqualValues(t, 10000, res.Totals.Payable)
	require.Equal(t, []Code{CodeNotBest, CodeApplied}, []Code{res.Trace[0].Code, res.Trace[1].Code})
	cart.Member.Known = false
	require.Equal(t, CodeMember, Evaluate(c, cart).Trace[0].Code)
}

func TestFloor(t *testing.T) {
	t.Parallel()
	cart := tea([2]int64{10000, 2}, [2]int64{5000, 1})
	cart.Lines[0].FloorPrice = 9000
	res := Evaluate(rules(t, Set{Rules: []Rule{
		{Promotion: "half", Kind: KindItemDiscount, Items: Scope{SKUs: []string{"a"}}, Benefit: Benefit{PercentBp: 800}},
		{Promotion: "off", Kind: KindThreshold, Benefit: Benefit{Tiers: []Tier{{MinAmount: 1, Amount: 3000}}}},
	}}), cart)
	require.Equal(t, []money.Fen{9000, 9000}, res.Lines[0].Units)
	require.EqualValues(t, 2600, res.Lines[1].Discount) // what the floor of the other line cut off came here
	checkResult(t, cart, res)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := func() Rule {
		return Rule{Promotion: "p", Name: "p", Kind: KindThreshold, Bearers: hq, Benefit: Benefit{Tiers: []Tier{{MinAmount: 100, Amount: 10}}}}
	}
	require.NoError(t, good().Validate())
	tests := map[string]func(*Rule){
		"code":                        func(r *Rule) { r.Promotion = "No!" },
		"kind":                        func(r *Rule) { r.Kind = "x" },
		"bearers":                     func(r *Rule) { r.Bearers = []Bearer{{"hq", 9999}} },
		"bearers[1].bearer":           func(r *Rule) { r.Bearers = []Bearer{{"hq", 5000}, {"hq", 5000}} },
		"when.weekdays[0]":            func(r *Rule) { r.When.Weekdays = []int{0} },
		"when.hours[0].to":            func(r *Rule) { r.When.Hours = []Hours{{"08:00", "25:00"}} },
		"when.to":                     func(r *Rule) { r.When.From, r.When.To = &noon, &noon },
		"items.except":                func(r *Rule) { r.Items.Except = &Scope{} },
		"items.skus[0]":               func(r *Rule) { r.Items.SKUs = []string{""} },
		"benefit.tiers":               func(r *Rule) { r.Benefit.Tiers = nil },
		"benefit.tiers[1]":            func(r *Rule) { r.Benefit.Tiers = []Tier{{MinAmount: 100, Amount: 10}, {MinAmount: 100, Amount: 20}} },
		"benefit.tiers[0].amount_fen": func(r *Rule) { r.Benefit.Tiers[0].Amount = -1 },
		"benefit":                     func(r *Rule) { r.Kind = KindItemDiscount },
		"benefit.n":                   func(r *Rule) { r.Kind, r.Benefit = KindNthUnit, Benefit{N: 1, PercentBp: 1} },
		"benefit.percent_bp":          func(r *Rule) { r.Kind, r.Benefit = KindBuyGet, Benefit{Buy: 1, Get: 1, PercentBp: 10001} },
		"benefit.gifts":               func(r *Rule) { r.Kind = KindGift },
		"trigger":                     func(r *Rule) { r.Kind, r.Benefit, r.Trigger = KindFreight, Benefit{Free: true}, &Scope{} },
		"benefit.add_ons[1].sku":      func(r *Rule) { r.Kind, r.Benefit = KindAddOn, Benefit{AddOns: []AddOnItem{{"a", 1}, {"a", 2}}} },
	}
	for path, spoil := range tests {
		r := good()
		spoil(&r)
		fields := fault.From(r.Validate()).Fields
		at := slices.IndexFunc(fields, func(f fault.Field) bool { return f.Path == path })
		require.GreaterOrEqual(t, at, 0, "%s: %+v", path, fields)
		require.NotEmpty(t, fields[at].Hint.ZH, path)
		require.NotEmpty(t, fields[at].Hint.EN, path)
	}
	groups := []Group{{Code: "g", Mode: ModeBest, Scope: ScopeItem}, {Code: "h", Parent: "h", Mode: ModeStackable, Scope: ScopeOrder}}
	r := good()
	r.Group = "g"
	_, err := Compile(Set{Groups: groups, Rules: []Rule{r}})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "promotions.p.group")
	require.ErrorContains(t, err, "groups[1].parent")
	cart := tea([2]int64{1, 0}, [2]int64{-1, 1})
	cart.Lines[1].ID = "a"
	err = cart.Validate()
	for _, path := range []string{"lines[0].quantity", "lines[1].unit_price_fen", "lines[1].id"} {
		require.ErrorContains(t, err, path)
	}
}
