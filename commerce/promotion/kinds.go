package promotion

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// pick is a unit that a rule looks at, with what it costs or would be given.
type pick struct {
	unit, line int32
	v          money.Fen
}

// measured are the lines a condition looks at.
func (w *world) measured(c *candidate, basis Basis) (quantity int64, amount money.Fen) {
	lines, all := c.lines, false
	if c.Rule.Trigger != nil {
		lines, all = c.trigger, true
	}
	for _, l := range lines {
		if !all && !w.sees(c, l) {
			continue
		}
		quantity += w.lines[l].Quantity
		if basis == BasisInitial {
			amount += w.list[l]
		} else {
			amount += w.left[l]
		}
	}
	return quantity, amount
}

func (w *world) conditions(c *candidate, e *effect) bool {
	if c.MinQuantity == 0 && c.MinAmount == 0 {
		return true
	}
	quantity, amount := w.measured(c, c.Basis)
	switch {
	case quantity < c.MinQuantity:
		e.none(CodeMinQuantity, c.MinQuantity, quantity)
	case amount < c.MinAmount:
		e.none(CodeMinAmount, int64(c.MinAmount), int64(amount))
	default:
		return true
	}
	return false
}

// times is how often the conditions are met: once, or with repeat for each full threshold.
func (w *world) times(c *candidate) int64 {
	n := int64(1)
	if c.Benefit.Repeat {
		quantity, amount := w.measured(c, c.Basis)
		n = 1 << 40
		if c.MinQuantity > 0 {
			n = min(n, quantity/c.MinQuantity)
		}
		if c.MinAmount > 0 {
			n = min(n, int64(amount/c.MinAmount))
		}
	}
	return most(n, c.Benefit.Most)
}

func most(n, limit int64) int64 {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}

func byValue(a, b pick) int { return cmp.Or(cmp.Compare(b.v, a.v), cmp.Compare(a.unit, b.unit)) }

// units lists the units that the rule sees with what they cost, the dearest first.
func (w *world) units(c *candidate, e *effect) []pick {
	e.picks = e.picks[:0]
	for _, l := range c.lines {
		if !w.sees(c, l) {
			continue
		}
		for u := w.from[l]; u < w.from[l+1]; u++ {
			e.picks = append(e.picks, pick{u, l, w.unit[u]})
		}
	}
	slices.SortFunc(e.picks, byValue)
	return e.picks
}

// perUnit gives each unit its discount, or the most valuable ones when there is a limit.
func (w *world) perUnit(c *candidate, e *effect) {
	b := &c.Benefit
	priced := c.Kind != KindMemberPrice
	if b.Most > 0 {
		e.picks = e.picks[:0]
	}
	for _, l := range c.lines {
		line := w.lines[l]
		if !w.sees(c, l) || (c.Kind == KindMemberPrice && line.MemberPrice == 0) {
			continue
		}
		priced = true
		for u := w.from[l]; u < w.from[l+1]; u++ {
			p := w.unit[u]
			var d money.Fen
			switch {
			case c.Kind == KindMemberPrice:
				d = p - line.MemberPrice
			case b.PercentBp > 0:
				d = money.Bp(p, b.PercentBp)
			case b.Amount > 0:
				d = b.Amount
			default:
				d = p - b.Price
			}
			if d = min(d, w.room(u, l)); d <= 0 {
				continue
			}
			if b.Most > 0 {
				e.picks = append(e.picks, pick{u, l, d})
			} else {
				e.take(l, u, d)
			}
		}
	}
	if !priced {
		e.none(CodeNoMemberPrice, 0, 0)
	}
	if b.Most > 0 {
		w.takeMost(e, b.Most)
	}
}

// takeMost gives the n most valuable of the picks their discount.
func (w *world) takeMost(e *effect, n int64) {
	slices.SortFunc(e.picks, byValue)
	for _, p := range e.picks[:min(n, int64(len(e.picks)))] {
		e.take(p.line, p.unit, p.v)
	}
}

// off is the discount of a unit at a rate, within its room; a bound forgets the floor.
func (w *world) off(p pick, bp int64, bound bool) money.Fen {
	d := money.Bp(p.v, bp)
	if bound {
		return d
	}
	return min(d, w.room(p.unit, p.line))
}

// nthUnit sorts the units by price and takes something off the last of every n.
func (w *world) nthUnit(c *candidate, e *effect, bound bool) {
	units := w.units(c, e)
	n := c.Benefit.N
	sets := most(int64(len(units))/n, c.Benefit.Most)
	if sets == 0 {
		e.none(CodeUnits, n, int64(len(units)))
	}
	for s := range sets {
		p := units[(s+1)*n-1]
		e.take(p.line, p.unit, w.off(p, c.Benefit.PercentBp, bound))
	}
}

// buyGet takes something off the last `get` of every `buy`+`get` units, or, when the goods bought are others than those
// given, off the dearest of the goods given.
func (w *world) buyGet(c *candidate, e *effect, bound bool) {
	b := &c.Benefit
	if c.Rule.Trigger != nil {
		bought, _ := w.measured(c, BasisInitial)
		sets := most(bought/b.Buy, b.Most)
		if sets == 0 {
			e.none(CodeUnits, b.Buy, bought)
			return
		}
		units := w.units(c, e)
		for _, p := range units[:min(sets*b.Get, int64(len(units)))] {
			e.take(p.line, p.unit, w.off(p, b.PercentBp, bound))
		}
		return
	}
	units := w.units(c, e)
	size := b.Buy + b.Get
	sets := most(int64(len(units))/size, b.Most)
	if sets == 0 {
		e.none(CodeUnits, size, int64(len(units)))
	}
	for s := range sets {
		for _, p := range units[s*size+b.Buy : (s+1)*size] {
			e.take(p.line, p.unit, w.off(p, b.PercentBp, bound))
		}
	}
}

// bundlePrice sells every n units, the dearest first, for one price.
func (w *world) bundlePrice(c *candidate, e *effect, bound bool) {
	b := &c.Benefit
	units := w.units(c, e)
	sets := most(int64(len(units))/b.N, b.Most)
	if sets == 0 {
		e.none(CodeUnits, b.N, int64(len(units)))
		return
	}
	weights, caps := make([]int64, b.N), make([]money.Fen, b.N)
	for s := range sets {
		set := units[s*b.N : (s+1)*b.N]
		var sum, room money.Fen
		for i, p := range set {
			sum += p.v
			weights[i], caps[i] = int64(p.v), p.v
			if !bound {
				caps[i] = w.room(p.unit, p.line)
			}
			room += caps[i]
		}
		d := min(sum-b.Price, room)
		if d <= 0 {
			continue
		}
		for i, share := range Allot(d, weights, caps) {
			e.take(set[i].line, set[i].unit, share)
		}
	}
}

// addOn sells goods of its list at their price, one for each time the conditions are met, where the buyer saves most.
func (w *world) addOn(c *candidate, e *effect) {
	e.picks = e.picks[:0]
	for i, l := range w.lines {
		price, ok := c.addOns[l.SKU]
		if line := int32(i); ok && w.sees(c, line) {
			for u := w.from[line]; u < w.from[line+1]; u++ {
				if d := min(w.unit[u]-price, w.room(u, line)); d > 0 {
					e.picks = append(e.picks, pick{u, line, d})
				}
			}
		}
	}
	if len(e.picks) == 0 {
		e.none(CodeAddOn, 0, 0)
		return
	}
	w.takeMost(e, w.times(c))
}

// threshold takes an amount or a part off the sum of the goods, shared by their list amounts.
func (w *world) threshold(c *candidate, e *effect) {
	quantity, amount := w.measured(c, c.Basis)
	var tier *Tier
	for i := range c.Benefit.Tiers {
		if t := &c.Benefit.Tiers[i]; quantity >= t.MinQuantity && amount >= t.MinAmount {
			tier = t
		}
	}
	if tier == nil {
		if t := c.Benefit.Tiers[0]; t.MinQuantity > 0 {
			e.none(CodeMinQuantity, t.MinQuantity, quantity)
		} else {
			e.none(CodeMinAmount, int64(t.MinAmount), int64(amount))
		}
		return
	}
	lines := make([]int32, 0, len(c.lines))
	weights, caps := make([]int64, 0, len(c.lines)), make([]money.Fen, 0, len(c.lines))
	var base, room money.Fen
	for _, l := range c.lines {
		if w.sees(c, l) {
			lines, weights, caps = append(lines, l), append(weights, int64(w.list[l])), append(caps, w.lineRoom(l))
			base += w.left[l]
			room += caps[len(caps)-1]
		}
	}
	d := tier.Amount
	if tier.PercentBp > 0 {
		d = money.Bp(base, tier.PercentBp)
	} else if c.Benefit.Repeat {
		n := int64(1)
		if tier.MinQuantity > 0 {
			n = quantity / tier.MinQuantity
		} else if tier.MinAmount > 0 {
			n = int64(amount / tier.MinAmount)
		}
		if n = most(n, c.Benefit.Most); n > 1 {
			d = min(d*money.Fen(min(n, maxUnits)), maxFen)
		}
	}
	if c.MaxDiscount > 0 {
		d = min(d, c.MaxDiscount)
	}
	if w.capLeft >= 0 {
		if d = min(d, w.capLeft); d == 0 {
			e.none(CodeCapDiscount, 0, 0)
			return
		}
	}
	w.share(e, min(d, room), lines, weights, caps)
}

// share spreads a discount over lines, and over the units of each.
func (w *world) share(e *effect, d money.Fen, lines []int32, weights []int64, caps []money.Fen) {
	for i, part := range Allot(d, weights, caps) {
		if part == 0 {
			continue
		}
		l := lines[i]
		from, to := w.from[l], w.from[l+1]
		head := w.head[from:to]
		for u := from; u < to; u++ {
			head[u-from] = w.room(u, l)
		}
		spread(part, head, e.unit[from:to])
		e.touched = append(e.touched, l)
		e.line[l] = part
		e.amount += part
	}
}

// giveGift gives the first of its gifts that is in stock. A bound takes the worthiest.
func (w *world) giveGift(c *candidate, e *effect, bound bool) {
	n := w.times(c)
	line := int32(-1)
	for _, l := range c.lines {
		if w.sees(c, l) && (line < 0 || w.left[l] > w.left[line]) {
			line = l
		}
	}
	if line < 0 || n == 0 {
		e.none(CodeNoGoods, 0, 0)
		return
	}
	e.none(CodeGiftStock, 0, 0)
	for i, g := range c.Benefit.Gifts {
		quantity := max(g.Quantity, 1) * n
		if w.gifts != nil {
			quantity = min(quantity, w.gifts[g.SKU]) // what there is
		}
		if quantity <= 0 {
			continue
		}
		worth := g.Worth * money.Fen(quantity)
		if e.some() && worth <= e.worth {
			continue
		}
		e.code, e.worth = CodeApplied, worth
		e.gift = Gift{
			Promotion: c.Promotion, Version: c.Version, Name: c.Name, Coupon: c.coupon, Line: w.lines[line].ID, SKU: g.SKU, Quantity: quantity,
			Stock: g.Stock, Worth: worth, Fallback: i > 0, Bearers: c.Bearers,
		}
		if !bound {
			return
		}
	}
}

func (w *world) freightOff(c *candidate, e *effect) {
	b := &c.Benefit
	d := b.Amount
	switch {
	case b.Free:
		d = w.freight
	case b.PercentBp > 0:
		d = money.Bp(w.freight, b.PercentBp)
	}
	if c.MaxDiscount > 0 {
		d = min(d, c.MaxDiscount)
	}
	if e.amount = min(d, w.freight); e.amount <= 0 {
		e.none(CodeNoFreight, 0, 0)
	}
}
