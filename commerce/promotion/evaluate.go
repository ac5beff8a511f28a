package promotion

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lianke/lianke/internal/money"
)

// Evaluate works out what the rules and the coupons of the cart come to: the feasible combination that gives most, allotted
// to units, with a trace of the rules that could concern the cart. It is a pure function; the cart must be valid (see
// Cart.Validate).
func Evaluate(rules *Compiled, cart Cart) Result { return evaluate(rules, cart, false) }

// Explain is Evaluate with a trace of all rules, also of those that have nothing to do with the cart.
func Explain(rules *Compiled, cart Cart) Result { return evaluate(rules, cart, true) }

func evaluate(rules *Compiled, cart Cart, all bool) Result {
	w := newWorld(&cart, rules.groups, rules.caps)
	res := Result{Adjustments: []Adjustment{}, Gifts: []Gift{}, Lines: make([]LineTotal, 0, len(cart.Lines)), Trace: []Why{}}
	var found []*candidate
	consider := func(r *rule) {
		if code := r.active(&cart); code != CodeApplied {
			res.Trace = append(res.Trace, r.why(code, 0, 0, ""))
		} else if c, ok := w.candidateOf(r); ok {
			found = append(found, c)
		} else {
			res.Trace = append(res.Trace, r.why(CodeNoGoods, 0, 0, ""))
		}
	}
	if all {
		for _, r := range rules.rules {
			consider(r)
		}
	} else {
		rules.candidates(&cart).each(func(i int) { consider(rules.rules[i]) })
	}
	claims := slices.Clone(cart.Coupons)
	slices.SortFunc(claims, func(a, b CouponClaim) int { return strings.Compare(a.Code, b.Code) })
	for _, k := range claims {
		k.Rule.coupon, k.Rule.Promotion = k.Code, cmp.Or(k.Template, k.Rule.Promotion)
		consider(rules.prepare(k.Rule))
	}
	slices.SortStableFunc(found, func(a, b *candidate) int { return compareRules(a.rule, b.rule) })
	s := newSearch(rules, w, found)
	if best := s.run(); best != nil {
		res.Gap = s.gap()
		s.replay(best, &res)
	}
	res.Nodes, res.Exact = s.nodes, !s.cut
	w.totals(&res)
	return res
}

// gap is by how much an unfinished search may have missed the best.
func (s *search) gap() money.Fen {
	if !s.cut {
		return 0
	}
	return max(0, s.bound(0)-s.most)
}

// replay works the combination out once more and writes down what each rule does, and why the others do not.
func (s *search) replay(best []bool, res *Result) {
	for _, blk := range s.blocks {
		if blk[0].bestPerLine(s.c) >= 0 {
			s.replayShared(blk, best, res)
			continue
		}
		c := blk[0]
		e := s.buf[c.id]
		by, other := s.blocked(c)
		if by == "" {
			s.w.work(c, e, false)
		}
		switch {
		case by != "":
			res.Trace = append(res.Trace, c.why(by, 0, 0, nameOf(other)))
		case !e.some():
			res.Trace = append(res.Trace, c.why(e.code, e.need, e.have, ""))
		case !best[c.id]:
			res.Trace = append(res.Trace, c.why(CodeNotBest, 0, 0, ""))
		default:
			s.active.add(c, 1)
			s.w.apply(e, c.Kind.Level(), 1)
			s.w.claim(c, e)
			s.record(c, e, res)
		}
	}
}

func nameOf(c *candidate) string {
	if c == nil {
		return ""
	}
	return cmp.Or(c.coupon, c.Promotion)
}

func (s *search) replayShared(blk []*candidate, best []bool, res *Result) {
	alone := make([]Why, len(blk))
	for i, c := range blk {
		e := s.buf[c.id]
		if by, other := s.blocked(c); by != "" && !best[c.id] {
			alone[i] = c.why(by, 0, 0, nameOf(other))
		} else if s.w.work(c, e, false); !e.some() {
			alone[i] = c.why(e.code, e.need, e.have, "")
		} else {
			alone[i] = c.why(CodeBetter, 0, 0, "")
		}
		if best[c.id] {
			s.used[c.id] = true
			s.active.add(c, 1)
		}
	}
	b := slices.IndexFunc(s.blocks, func(o []*candidate) bool { return o[0] == blk[0] })
	s.share(b, func() {
		for i, c := range blk {
			if best[c.id] {
				s.record(c, s.buf[c.id], res)
			} else {
				res.Trace = append(res.Trace, alone[i])
			}
		}
	})
	// share undid it; what was recorded is what stays.
	for _, c := range blk {
		if best[c.id] {
			e := s.buf[c.id]
			s.w.apply(e, LevelItem, 1)
			s.w.claim(c, e)
		}
	}
}

// record writes down what a rule does.
func (s *search) record(c *candidate, e *effect, res *Result) {
	if c.Kind == KindGift {
		res.Gifts = append(res.Gifts, e.gift)
		res.Trace = append(res.Trace, c.why(CodeApplied, 0, e.gift.Quantity, ""))
		return
	}
	a := Adjustment{
		Promotion: c.Promotion, Version: c.Version, Name: c.Name, Coupon: c.coupon, Level: c.Kind.Level(), Amount: e.amount, Bearers: c.Bearers,
		Lines: make([]LineShare, 0, len(e.touched)),
	}
	slices.Sort(e.touched)
	for _, l := range e.touched {
		if e.line[l] > 0 {
			a.Lines = append(a.Lines, LineShare{s.w.lines[l].ID, e.line[l], slices.Clone(e.unit[s.w.from[l]:s.w.from[l+1]])})
		}
	}
	res.Adjustments = append(res.Adjustments, a)
	res.Trace = append(res.Trace, c.why(CodeApplied, 0, int64(e.amount), ""))
}

// totals sums up lines and cart.
func (w *world) totals(res *Result) {
	at := make(map[string]int, len(w.lines))
	for i, l := range w.lines {
		at[l.ID] = i
	}
	t := &res.Totals
	for i := range w.cart.Lines {
		l := &w.cart.Lines[i]
		sum := LineTotal{Line: l.ID, List: l.UnitPrice * money.Fen(l.Quantity)}
		if k, ok := at[l.ID]; ok {
			sum.Amount, sum.Units = w.left[k], slices.Clone(w.unit[w.from[k]:w.from[k+1]])
		} else {
			sum.Amount = sum.List
			sum.Units = slices.Repeat([]money.Fen{l.UnitPrice}, int(max(l.Quantity, 0)))
		}
		sum.Discount = sum.List - sum.Amount
		t.List += sum.List
		t.Goods += sum.Amount
		res.Lines = append(res.Lines, sum)
	}
	for _, a := range res.Adjustments {
		switch a.Level {
		case LevelItem:
			t.ItemDiscount += a.Amount
		case LevelOrder:
			t.OrderDiscount += a.Amount
		case LevelFreight:
			t.FreightDiscount += a.Amount
		}
	}
	t.Freight = w.cart.Freight
	t.Payable = t.Goods + t.Freight - t.FreightDiscount
}
