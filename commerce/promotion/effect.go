package promotion

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// world is the cart while promotions are being worked out: what each unit costs by now, and what is taken. Its lines are in
// an order of their own (SKU, price, id), so that the order of the cart never matters.
type world struct {
	cart    *Cart
	lines   []*Line
	from    []int32     // lines[i] has the units from[i]…from[i+1]−1
	list    []money.Fen // of a whole line
	unit    []money.Fen // what each unit costs by now
	left    []money.Fen // what each line costs by now
	freight money.Fen
	gifts   map[string]int64 // gifts there still are; nil: all
	capLeft money.Fen        // discount the goods may still get; negative: no cap
	taken   [][]int32        // group → line → child of the group that has it, or free
	score   money.Fen        // discounts and gifts so far
	order   []int32          // scratch of sorted
	head    []money.Fen      // scratch of units
}

const free = int32(-1 << 30)

func newWorld(cart *Cart, groups []Group, caps Caps) *world {
	w := &world{cart: cart, freight: cart.Freight, capLeft: -1}
	for i := range cart.Lines {
		if l := &cart.Lines[i]; l.Kind.takesPart() && l.Quantity > 0 {
			w.lines = append(w.lines, l)
		}
	}
	slices.SortFunc(w.lines, func(a, b *Line) int {
		return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.UnitPrice, b.UnitPrice), cmp.Compare(a.ID, b.ID))
	})
	n := 0
	for _, l := range w.lines {
		n += int(l.Quantity)
	}
	w.unit, w.head = make([]money.Fen, 0, n), make([]money.Fen, n)
	var total money.Fen
	for _, l := range w.lines {
		w.from = append(w.from, int32(len(w.unit)))
		for range l.Quantity {
			w.unit = append(w.unit, l.UnitPrice)
		}
		w.list = append(w.list, l.UnitPrice*money.Fen(l.Quantity))
		total += w.list[len(w.list)-1]
	}
	w.from = append(w.from, int32(n))
	w.left = slices.Clone(w.list)
	if caps.MaxDiscountBp > 0 {
		w.capLeft = money.Bp(total, caps.MaxDiscountBp)
	}
	if cart.GiftStock != nil {
		w.gifts = make(map[string]int64, len(cart.GiftStock))
		for k, v := range cart.GiftStock {
			w.gifts[k] = v
		}
	}
	w.taken = make([][]int32, len(groups))
	for g := range groups {
		if groups[g].Scope == ScopeItem && groups[g].Mode != ModeStackable {
			w.taken[g] = make([]int32, len(w.lines))
			for i := range w.taken[g] {
				w.taken[g][i] = free
			}
		}
	}
	return w
}

// room is by how much a unit of the line may still fall.
func (w *world) room(u, line int32) money.Fen { return max(0, w.unit[u]-w.lines[line].FloorPrice) }

// lineRoom is by how much the line may still fall.
func (w *world) lineRoom(line int32) money.Fen {
	if w.lines[line].FloorPrice == 0 {
		return w.left[line]
	}
	var sum money.Fen
	for u := w.from[line]; u < w.from[line+1]; u++ {
		sum += w.room(u, line)
	}
	return sum
}

// candidate is a rule that could concern the cart.
type candidate struct {
	*rule
	id      int32   // its number among the candidates
	lines   []int32 // lines it discounts
	trigger []int32 // lines its conditions look at, if not the same
	only    []bool  // lines it may discount now, inside a group that chooses the best per line; nil: all
	must    bool    // leaving it out never gives more; see search.mustApply
}

// candidateOf returns the rule as a candidate, or false when it concerns no line.
func (w *world) candidateOf(r *rule) (*candidate, bool) {
	c := &candidate{rule: r}
	for i, l := range w.lines {
		reward := r.Kind == KindAddOn && r.isAddOn(l)
		switch {
		case reward:
		case r.trigger == nil || r.Kind != KindBuyGet:
			if r.items.has(l) {
				c.lines = append(c.lines, int32(i))
			}
			if r.trigger != nil && r.trigger.has(l) {
				c.trigger = append(c.trigger, int32(i))
			}
		case r.items.has(l): // goods that are given do not count as bought
			c.lines = append(c.lines, int32(i))
		case r.trigger.has(l):
			c.trigger = append(c.trigger, int32(i))
		}
	}
	return c, len(c.lines) > 0
}

func (r *rule) isAddOn(l *Line) bool {
	_, ok := r.addOns[l.SKU]
	return ok
}

// sees reports whether the line is not taken from the rule by another child of one of its groups.
func (w *world) sees(c *candidate, line int32) bool {
	if c.only != nil && !c.only[line] {
		return false
	}
	for _, a := range c.ancestors {
		if t := w.taken[a.group]; t != nil && t[line] != free && t[line] != c.childOf(a) {
			return false
		}
	}
	return true
}

// childOf numbers the child of the group that leads to the candidate: groups from 0 up, candidates below.
func (c *candidate) childOf(a ancestor) int32 {
	if a.child >= 0 {
		return int32(a.child)
	}
	return -1 - c.id
}

// effect is what a rule would do now. Buffers are kept between uses.
type effect struct {
	amount  money.Fen
	worth   money.Fen // of gifts
	touched []int32   // lines
	line    []money.Fen
	unit    []money.Fen // discount of each unit of the touched lines
	gift    Gift
	code    Code
	need    int64
	have    int64
	picks   []pick
}

func (e *effect) reset(w *world) {
	if e.unit == nil {
		e.unit, e.line = make([]money.Fen, len(w.unit)), make([]money.Fen, len(w.lines))
	}
	for _, l := range e.touched {
		e.line[l] = 0
		clear(e.unit[w.from[l]:w.from[l+1]])
	}
	e.amount, e.worth, e.touched, e.gift, e.code, e.need, e.have = 0, 0, e.touched[:0], Gift{}, CodeApplied, 0, 0
}

func (e *effect) some() bool { return e.code == CodeApplied }

func (e *effect) none(code Code, need, have int64) { e.code, e.need, e.have = code, need, have }

// take gives a unit of a line a discount.
func (e *effect) take(line, unit int32, d money.Fen) {
	if d <= 0 {
		return
	}
	if e.line[line] == 0 {
		e.touched = append(e.touched, line)
	}
	e.unit[unit] += d
	e.line[line] += d
	e.amount += d
}

// work finds out what the rule would do now. With bound it returns at least what the rule could give in any state that
// follows, where units cost less, lines are taken and stock is used: rules that sort units forget the floors then, because
// only without them their discount never rises when prices fall.
func (w *world) work(c *candidate, e *effect, bound bool) {
	e.reset(w)
	if !w.conditions(c, e) {
		return
	}
	switch c.Kind {
	case KindItemDiscount, KindMemberPrice:
		w.perUnit(c, e)
	case KindNthUnit:
		w.nthUnit(c, e, bound)
	case KindBuyGet:
		w.buyGet(c, e, bound)
	case KindBundlePrice:
		w.bundlePrice(c, e, bound)
	case KindAddOn:
		w.addOn(c, e)
	case KindThreshold:
		w.threshold(c, e)
	case KindGift:
		w.giveGift(c, e, bound)
		return
	case KindFreight:
		w.freightOff(c, e)
		return
	}
	w.clamp(c, e)
}

// clamp holds a discount to the rule's maximum and to the order's cap, and says so when nothing is left.
func (w *world) clamp(c *candidate, e *effect) {
	if e.code != CodeApplied {
		return
	}
	limit := e.amount
	if c.MaxDiscount > 0 {
		limit = min(limit, c.MaxDiscount)
	}
	if w.capLeft >= 0 && limit > w.capLeft {
		limit = w.capLeft
		if limit == 0 {
			e.none(CodeCapDiscount, 0, 0)
			e.amount = 0
			return
		}
	}
	if e.amount == 0 {
		e.none(CodeNoEffect, 0, 0)
		return
	}
	if limit == e.amount {
		return
	}
	// In proportion to what each unit would have got.
	weights := make([]int64, 0, len(e.unit))
	for _, l := range e.touched {
		for _, d := range e.unit[w.from[l]:w.from[l+1]] {
			weights = append(weights, int64(d))
		}
	}
	shares, err := money.Split(limit, weights)
	if err != nil {
		return // amount > 0, so one weight is positive
	}
	k := 0
	for _, l := range e.touched {
		e.line[l] = 0
		for u := w.from[l]; u < w.from[l+1]; u++ {
			e.unit[u] = shares[k]
			e.line[l] += shares[k]
			k++
		}
	}
	e.amount = limit
}

// apply does what the effect says; sign −1 undoes it. Lines of groups that choose per line are taken by claim.
func (w *world) apply(e *effect, level Level, sign money.Fen) {
	w.score += sign * (e.amount + e.worth)
	switch level {
	case LevelFreight:
		w.freight -= sign * e.amount
		return
	case LevelGift:
		if w.gifts != nil {
			w.gifts[e.gift.SKU] -= int64(sign) * e.gift.Quantity
		}
		return
	}
	if w.capLeft >= 0 {
		w.capLeft -= sign * e.amount
	}
	for _, l := range e.touched {
		w.left[l] -= sign * e.line[l]
		for u := w.from[l]; u < w.from[l+1]; u++ {
			w.unit[u] -= sign * e.unit[u]
		}
	}
}

// claim takes the lines of the effect for the rule's child of each group that chooses per line, and returns how to let go.
func (w *world) claim(c *candidate, e *effect) (release func()) {
	type mark struct{ group, line int32 }
	var marks []mark
	for _, a := range c.ancestors {
		t := w.taken[a.group]
		if t == nil {
			continue
		}
		for _, l := range e.touched {
			if e.line[l] > 0 && t[l] == free {
				t[l] = c.childOf(a)
				marks = append(marks, mark{int32(a.group), l})
			}
		}
	}
	if marks == nil {
		return func() {}
	}
	return func() {
		for _, m := range marks {
			w.taken[m.group][m.line] = free
		}
	}
}
