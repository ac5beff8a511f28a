package promotion

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/money"
)

var noon = time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC) // a Wednesday, 12:00 in Shanghai

var hq = []Bearer{{"hq", 6000}, {"performer", 4000}}

// brute works out every subset of the candidates, in the order in which search prefers them, without bounds or short cuts
// and with the rules of stacking written down a second time.
type brute struct {
	c    *Compiled
	w    *world
	all  []*candidate
	most money.Fen
	best []bool
}

func (b *brute) run() {
	b.most = -1
	for m := 1<<len(b.all) - 1; m >= 0; m-- {
		used := make([]bool, len(b.all))
		for i := range b.all {
			used[i] = m>>(len(b.all)-1-i)&1 == 1
		}
		if score, ok := b.try(used); ok && score > b.most {
			b.most, b.best = score, used
		}
	}
}

// try works one subset out; false if it is not feasible.
func (b *brute) try(used []bool) (money.Fen, bool) {
	cart := *b.w.cart
	w := newWorld(&cart, b.c.groups, b.c.caps)
	e := &effect{}
	done := make([]bool, len(b.all))
	for i := 0; i < len(b.all); i++ {
		c := b.all[i]
		if g := c.bestPerLine(b.c); g >= 0 {
			to := i
			for to < len(b.all) && b.all[to].bestPerLine(b.c) == g {
				to++
			}
			if !b.perLine(w, used, done, i, to) {
				return 0, false
			}
			i = to - 1
			continue
		}
		ok := b.allowed(done, i)
		works := false
		if ok {
			w.work(c, e, false)
			works = e.some()
		}
		if used[i] && !works {
			return 0, false
		}
		if !used[i] && works {
			for _, a := range c.ancestors {
				if b.c.groups[a.group].Mode == ModeFirst {
					return 0, false
				}
			}
		}
		if used[i] {
			w.apply(e, c.Kind.Level(), 1)
			w.claim(c, e)
			done[i] = true
		}
	}
	return w.score, true
}

// perLine shares the lines among those in the contest; the winners are done.
func (b *brute) perLine(w *world, used, done []bool, from, to int) bool {
	owner, top := make([]int, len(w.lines)), make([]money.Fen, len(w.lines))
	for i := from; i < to; i++ {
		if !used[i] || !b.allowed(done, i) {
			continue
		}
		e := &effect{}
		w.work(b.all[i], e, false)
		for _, l := range e.touched {
			if e.line[l] > top[l] && e.some() {
				owner[l], top[l] = i+1, e.line[l]
			}
		}
	}
	for i := from; i < to; i++ {
		e, c := &effect{}, *b.all[i]
		c.only = make([]bool, len(owner))
		for l := range owner {
			c.only[l] = owner[l] == i+1
		}
		if !slices.Contains(owner, i+1) {
			continue
		}
		if !b.allowed(done, i) {
			return false
		}
		done[i] = true
		if w.work(&c, e, false); !e.some() {
			return false
		}
		w.apply(e, LevelItem, 1)
		w.claim(&c, e)
	}
	return true
}

// allowed reports whether candidate i may be used beside those done.
func (b *brute) allowed(done []bool, i int) bool {
	c := b.all[i]
	rules, coupons := 0, 0
	children := make([]map[int32]bool, len(b.c.groups))
	for j, o := range b.all {
		if !done[j] {
			continue
		}
		rules++
		if o.coupon != "" {
			coupons++
		}
		if c.Exclusive != "" && o.Exclusive == c.Exclusive {
			return false
		}
		for _, a := range o.ancestors {
			if children[a.group] == nil {
				children[a.group] = map[int32]bool{}
			}
			children[a.group][o.childOf(a)] = true
		}
	}
	for _, a := range c.ancestors {
		g := b.c.groups[a.group]
		most := 1
		if g.Mode == ModeStackable {
			most = g.Max
		}
		if g.Scope == ScopeItem || most == 0 {
			continue
		}
		if in := children[a.group]; !in[c.childOf(a)] && len(in) >= most {
			return false
		}
	}
	caps := b.c.caps
	return (caps.Promotions == 0 || rules < caps.Promotions) && (caps.Coupons == 0 || c.coupon == "" || coupons < caps.Coupons)
}

func pickOne[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func randomScope(r *rand.Rand) Scope {
	switch r.IntN(6) {
	case 0:
		return Scope{SKUs: []string{"s" + strconv.Itoa(r.IntN(5)), "s" + strconv.Itoa(r.IntN(5))}}
	case 1:
		return Scope{Categories: []string{pickOne(r, "home", "tea", "cups")}}
	case 2:
		return Scope{Brands: []string{pickOne(r, "robin", "wren")}, Except: &Scope{SKUs: []string{"s1"}}}
	case 3:
		return Scope{SPUs: []string{"p" + strconv.Itoa(r.IntN(3))}, Brands: []string{"robin"}, Categories: []string{"tea"}}
	default:
		return Scope{}
	}
}

func randomRule(r *rand.Rand, i int, groups []Group) Rule {
	p := Rule{Promotion: fmt.Sprintf("r%02d", i), Version: 1, Name: "r", Bearers: hq, Items: randomScope(r), Priority: r.IntN(3)}
	if len(groups) > 0 && chance(r, 60) {
		p.Group = groups[r.IntN(len(groups))].Code
	}
	if chance(r, 15) {
		p.Exclusive = pickOne(r, "x", "y")
	}
	if chance(r, 20) {
		p.MinAmount = money.Fen(r.IntN(30000))
	}
	if chance(r, 15) {
		p.MinQuantity = int64(r.IntN(5))
	}
	if chance(r, 25) {
		p.Basis = BasisInitial
	}
	if chance(r, 15) {
		p.MaxDiscount = money.Fen(1 + r.IntN(3000))
	}
	b := &p.Benefit
	if chance(r, 20) {
		b.Most = int64(1 + r.IntN(2))
	}
	p.Kind = pickOne(r, KindItemDiscount, KindItemDiscount, KindMemberPrice, KindNthUnit, KindBuyGet, KindBundlePrice, KindAddOn, KindThreshold, KindThreshold, KindThreshold, KindGift, KindFreight)
	switch p.Kind {
	case KindItemDiscount:
		switch r.IntN(3) {
		case 0:
			b.PercentBp = int64(500 * (1 + r.IntN(12)))
		case 1:
			b.Amount = money.Fen(1 + r.IntN(3000))
		default:
			b.Price = money.Fen(1 + r.IntN(6000))
		}
	case KindNthUnit:
		b.N, b.PercentBp = int64(2+r.IntN(2)), pickOne[int64](r, 5000, 10000, 3333)
	case KindBuyGet:
		b.Buy, b.Get, b.PercentBp = int64(1+r.IntN(3)), int64(1+r.IntN(2)), pickOne[int64](r, 10000, 5000)
		if chance(r, 50) {
			t := randomScope(r)
			p.Trigger = &t
		}
	case KindBundlePrice:
		b.N, b.Price = int64(2+r.IntN(2)), money.Fen(r.IntN(9000))
	case KindAddOn:
		for _, k := range r.Perm(5)[:1+r.IntN(2)] {
			b.AddOns = append(b.AddOns, AddOnItem{"s" + strconv.Itoa(k), money.Fen(r.IntN(3000))})
		}
	case KindThreshold:
		percent, quantity := chance(r, 40), chance(r, 20)
		var t Tier
		for range 1 + r.IntN(3) {
			if quantity {
				t.MinQuantity += int64(1 + r.IntN(3))
			} else {
				t.MinAmount += money.Fen(1000 + r.IntN(15000))
			}
			if percent {
				t.PercentBp += int64(500 * (1 + r.IntN(5)))
			} else {
				t.Amount += money.Fen(100 + r.IntN(5000))
			}
			b.Tiers = append(b.Tiers, t)
		}
		b.Repeat = !percent && len(b.Tiers) == 1 && chance(r, 60)
		p.MinAmount, p.MinQuantity = 0, 0
	case KindGift:
		b.Gifts = []GiftItem{{SKU: pickOne(r, "g1", "g2"), Quantity: int64(r.IntN(3)), Worth: money.Fen(r.IntN(2000))}, {SKU: "g3", Worth: money.Fen(r.IntN(2000))}}
		b.Repeat = p.MinAmount > 0 || p.MinQuantity > 0
	case KindFreight:
		switch r.IntN(3) {
		case 0:
			b.Free = true
		case 1:
			b.Amount = money.Fen(1 + r.IntN(1200))
		default:
			b.PercentBp = 5000
		}
	}
	return p
}

func randomSet(r *rand.Rand, n int) Set {
	var s Set
	for i := range r.IntN(4) {
		g := Group{Code: "g" + strconv.Itoa(i), Mode: pickOne(r, ModeStackable, ModeFirst, ModeBest, ModeBest), Scope: pickOne(r, ScopeOrder, ScopeOrder, ScopeItem), Priority: r.IntN(3)}
		if g.Mode == ModeStackable && g.Scope == ScopeOrder && chance(r, 50) {
			g.Max = 1 + r.IntN(2)
		}
		if i > 0 && chance(r, 40) {
			g.Parent = "g" + strconv.Itoa(r.IntN(i))
		}
		s.Groups = append(s.Groups, g)
	}
	if chance(r, 20) {
		s.Caps.Promotions = 1 + r.IntN(4)
	}
	if chance(r, 20) {
		s.Caps.MaxDiscountBp = int64(1000 * (1 + r.IntN(8)))
	}
	if chance(r, 20) {
		s.Caps.Coupons = 1
	}
	for i := range n {
		s.Rules = append(s.Rules, randomRule(r, i, s.Groups))
	}
	return s
}

func randomCart(r *rand.Rand) Cart {
	cart := Cart{At: noon, Touchpoint: "app", Freight: money.Fen(pickOne(r, 0, 600, 1000)), Member: Member{Known: chance(r, 80)}}
	for i := range 1 + r.IntN(5) {
		k := r.IntN(5)
		l := Line{
			ID: strconv.Itoa(i), SKU: "s" + strconv.Itoa(k), SPU: "p" + strconv.Itoa(k/2), Brand: pickOne(r, "robin", "wren"),
			Category: pickOne(r, []string{"home", "tea"}, []string{"home", "tea", "cups"}, []string{"other"}), Quantity: int64(1 + r.IntN(4)), UnitPrice: money.Fen(r.IntN(8000)),
		}
		if chance(r, 40) {
			l.MemberPrice = l.UnitPrice * 9 / 10
		}
		if chance(r, 30) {
			l.FloorPrice = l.UnitPrice * money.Fen(r.IntN(12)) / 10
		}
		if chance(r, 5) {
			l.Kind = LineFee
		}
		cart.Lines = append(cart.Lines, l)
	}
	if chance(r, 40) {
		cart.GiftStock = map[string]int64{"g1": int64(r.IntN(4)), "g2": int64(r.IntN(3)), "g3": int64(r.IntN(5))}
	}
	return cart
}

// randomCase returns a set that compiles, with at most n rules and coupons.
func randomCase(seed uint64, n int) (*Compiled, Cart) {
	r := rand.New(rand.NewPCG(seed, 7))
	for {
		cart := randomCart(r)
		count := 1 + min(r.IntN(n), r.IntN(n))
		set := randomSet(r, count)
		claims := r.IntN(min(3, count))
		for _, rule := range set.Rules[:claims] {
			rule.Group, rule.Limits = "", Limits{}
			if chance(r, 30) {
				rule.Exclusive = "coupon:a"
			}
			cart.Coupons = append(cart.Coupons, CouponClaim{Code: "C-" + rule.Promotion, Template: "t-" + rule.Promotion, Rule: rule})
		}
		set.Rules = set.Rules[claims:]
		if c, err := Compile(set); err == nil {
			return c, cart
		}
	}
}

// found returns the candidates of a cart as Evaluate sees them.
func found(c *Compiled, cart *Cart) (*world, []*candidate) {
	w := newWorld(cart, c.groups, c.caps)
	var all []*candidate
	add := func(r *rule) {
		if cand, ok := w.candidateOf(r); ok && r.active(cart) == CodeApplied {
			all = append(all, cand)
		}
	}
	for _, r := range c.rules {
		add(r)
	}
	for _, k := range cart.Coupons {
		k.Rule.coupon, k.Rule.Promotion = k.Code, k.Template
		add(c.prepare(k.Rule))
	}
	slices.SortStableFunc(all, func(a, b *candidate) int { return compareRules(a.rule, b.rule) })
	return w, all
}

// On 10,000 random carts with up to 12 promotions the search finds the very combination that trying all of them finds.
func TestSearchEqualsBruteForce(t *testing.T) {
	t.Parallel()
	const cases = 10_000
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	fails := make(chan string, cases)
	for k := range workers {
		wg.Go(func() {
			for seed := k; seed < cases; seed += workers {
				c, cart := randomCase(uint64(seed), 12)
				w, all := found(c, &cart)
				s := newSearch(c, w, all)
				best := slices.Clone(s.run())
				b := brute{c: c, w: newWorld(&cart, c.groups, c.caps), all: all}
				b.run()
				// Where lines choose, different contests may have the same winners.
				perLine := slices.ContainsFunc(all, func(o *candidate) bool { return o.bestPerLine(c) >= 0 })
				if s.cut || s.most != b.most || (!perLine && !slices.Equal(best, b.best)) {
					fails <- fmt.Sprintf("seed %d: search %d %v, brute force %d %v", seed, s.most, best, b.most, b.best)
				}
			}
		})
	}
	wg.Wait()
	close(fails)
	for f := range fails {
		require.Fail(t, f)
	}
}
