package promotion

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// maxNodes bounds the search; what it has not looked at by then shows as Result.Gap.
const maxNodes = 5_000

// search finds the combination of candidates that gives most. The candidates have one order; a combination says of each
// whether it is used, and is worked out in that order, each rule on what those before it left. It is feasible when
//
//   - of an exclusive category at most one is used,
//   - of a group that chooses for the order (best, first, stackable with max) no more children are used than it allows,
//   - in a first group every rule is used that gives something and is not stood in the way of,
//   - the order's caps hold,
//   - every rule used gives something where its turn comes,
//   - in a group that chooses the best per line, each line goes to the rule, of those not left out, that takes most off it
//     alone (the earlier of two that take as much), and these winners are what is used.
//
// Of the combinations that give most it returns the first it meets, "used" before "not used" from the first candidate on.
//
// Branch and bound: depth first, "used" first. Rules only ever lower prices and use up stock, and no rule gives more when
// prices are lower (see world.work), so what the remaining rules would each give now bounds what they can give together.
type search struct {
	w      *world
	c      *Compiled
	all    []*candidate
	blocks [][]*candidate
	used   []bool // now, by candidate
	best   []bool
	most   money.Fen // score of best; −1: none yet
	nodes  int
	cut    bool
	buf    []*effect // one for each candidate, and one for bounds
	active activeSet
}

// activeSet counts what is used now, for the limits.
type activeSet struct {
	exclusive map[string]*candidate
	children  [][]childUse // group → children in use
	rules     int
	coupons   int
}

type childUse struct {
	child int32
	n     int
	first *candidate
}

func newSearch(c *Compiled, w *world, all []*candidate) *search {
	s := &search{w: w, c: c, all: all, used: make([]bool, len(all)), most: -1, buf: make([]*effect, len(all)+1)}
	s.active = activeSet{map[string]*candidate{}, make([][]childUse, len(c.groups)), 0, 0}
	for i := range s.buf {
		s.buf[i] = &effect{}
	}
	for i, cand := range all {
		cand.id = int32(i)
	}
	for i := 0; i < len(all); {
		n := 1
		if g := all[i].bestPerLine(c); g >= 0 {
			for i+n < len(all) && all[i+n].bestPerLine(c) == g {
				n++
			}
		}
		s.blocks = append(s.blocks, all[i:i+n])
		i += n
	}
	s.mustApply()
	return s
}

// bestPerLine returns the group that chooses the best of its promotions for each line, if the rule is in one, else −1.
func (r *rule) bestPerLine(c *Compiled) int {
	if n := len(r.ancestors); n > 0 {
		if g := r.ancestors[n-1].group; c.groups[g].Mode == ModeBest && c.groups[g].Scope == ScopeItem {
			return g
		}
	}
	return -1
}

// mustApply marks the rules without which an order never gets more, so that the search need not try. Such a rule stands in
// no limit, and of those behind it each either touches no line of it, or is safe: what it leaves of a unit never rises when
// the unit cost less before, and it has no condition on amounts.
func (s *search) mustApply() {
	if s.c.caps.Promotions > 0 || s.c.caps.Coupons > 0 || s.c.caps.MaxDiscountBp > 0 {
		return
	}
	for i, c := range s.all {
		free := c.Exclusive == "" && (c.Kind != KindGift || s.w.gifts == nil)
		for _, a := range c.ancestors {
			g := s.c.groups[a.group]
			free = free && g.Mode == ModeStackable && g.Max == 0
		}
		c.must = free && !slices.ContainsFunc(s.all[i+1:], func(o *candidate) bool { return !o.safe && o.touches(c) })
	}
}

func (c *candidate) touches(o *candidate) bool {
	if c.Kind == KindAddOn || o.Kind == KindAddOn {
		return true
	}
	for _, l := range o.lines {
		if slices.Contains(c.lines, l) || slices.Contains(c.trigger, l) {
			return true
		}
	}
	return false
}

// run returns which candidates the best combination uses.
func (s *search) run() []bool {
	s.block(0)
	return s.best
}

func (s *search) block(b int) {
	if b == len(s.blocks) {
		if s.w.score > s.most {
			s.most, s.best = s.w.score, slices.Clone(s.used)
		}
		return
	}
	if s.most >= 0 {
		if s.nodes >= maxNodes {
			s.cut = true
			return
		}
		if s.w.score+s.bound(b) <= s.most {
			return
		}
	}
	s.nodes++
	if blk := s.blocks[b]; blk[0].bestPerLine(s.c) >= 0 {
		t := s.newContest(b)
		t.later = s.bound(b + 1)
		s.pick(t)
	} else {
		s.single(b, blk[0])
	}
}

// single branches on one candidate.
func (s *search) single(b int, c *candidate) {
	if by, _ := s.blocked(c); by == "" {
		e := s.buf[c.id]
		if s.w.work(c, e, false); e.some() {
			s.use(c, e, func() { s.block(b + 1) })
			if c.must || s.forced(c) {
				return
			}
		}
	}
	s.block(b + 1)
}

// use does what the effect says, goes on, and undoes it.
func (s *search) use(c *candidate, e *effect, on func()) {
	s.used[c.id] = true
	s.active.add(c, 1)
	s.w.apply(e, c.Kind.Level(), 1)
	release := s.w.claim(c, e)
	on()
	release()
	s.w.apply(e, c.Kind.Level(), -1)
	s.active.add(c, -1)
	s.used[c.id] = false
}

// contest is a group that chooses the best per line, where its turn has come. Every rule of it competes unless the search
// leaves it out; a line goes to the rule that takes most off it when it works alone.
type contest struct {
	b      int
	offers [][]offer // line → the most first
	caps   [][]offer // line → at most so much may the rule take off it, whatever lines it gets; the most first
	out    []bool    // by candidate: left out, or stood in the way of
	kept   []bool
	later  money.Fen // bound of the blocks behind
}

type offer struct {
	c *candidate
	v money.Fen
}

func (s *search) newContest(b int) *contest {
	t := &contest{b: b, offers: make([][]offer, len(s.w.lines)), caps: make([][]offer, len(s.w.lines)), out: make([]bool, len(s.all)), kept: make([]bool, len(s.all))}
	e := s.buf[len(s.all)]
	for _, c := range s.blocks[b] {
		if by, _ := s.blocked(c); by != "" {
			t.out[c.id] = true
			continue
		}
		if s.w.work(c, e, false); !e.some() {
			t.out[c.id] = true
			continue
		}
		for _, l := range e.touched {
			if e.line[l] > 0 {
				t.offers[l] = append(t.offers[l], offer{c, e.line[l]})
			}
		}
		s.w.work(c, e, true)
		for _, l := range c.touchable(s.w) {
			t.caps[l] = append(t.caps[l], offer{c, s.lineCap(c, e, l)})
		}
	}
	for l := range t.offers {
		slices.SortStableFunc(t.offers[l], func(a, b offer) int { return cmp.Compare(b.v, a.v) })
		slices.SortStableFunc(t.caps[l], func(a, b offer) int { return cmp.Compare(b.v, a.v) })
	}
	return t
}

// touchable are the lines that the rule may discount now.
func (c *candidate) touchable(w *world) []int32 {
	lines := make([]int32, 0, len(c.lines))
	for i, l := range w.lines {
		line := int32(i)
		if in := slices.Contains(c.lines, line); (c.Kind == KindAddOn && c.isAddOn(l) || c.Kind != KindAddOn && in) && w.sees(c, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// lineCap is at least what the rule can take off the line when it gets any of the lines it sees; e is its bound.
func (s *search) lineCap(c *candidate, e *effect, line int32) money.Fen {
	alone := c.Benefit.Most == 0 && c.MaxDiscount == 0 && s.w.capLeft < 0 && (c.Kind == KindItemDiscount || c.Kind == KindMemberPrice)
	if alone {
		return e.line[line]
	}
	most := min(e.amount, s.w.left[line])
	if c.Kind == KindNthUnit || c.Kind == KindBuyGet {
		var off money.Fen
		for u := s.w.from[line]; u < s.w.from[line+1]; u++ {
			off += money.Bp(s.w.unit[u], c.Benefit.PercentBp)
		}
		most = min(most, off)
	}
	return most
}

// bound is at least what the rules of the contest can give together.
func (t *contest) bound() money.Fen {
	var sum money.Fen
	for _, caps := range t.caps {
		if i := slices.IndexFunc(caps, func(o offer) bool { return !t.out[o.c.id] }); i >= 0 {
			sum += caps[i].v
		}
	}
	return sum
}

// next is the first winner of a line that is not kept yet.
func (t *contest) next() *candidate {
	var next *candidate
	for _, offers := range t.offers {
		if i := slices.IndexFunc(offers, func(o offer) bool { return !t.out[o.c.id] }); i >= 0 {
			if c := offers[i].c; !t.kept[c.id] && (next == nil || c.id < next.id) {
				next = c
			}
		}
	}
	return next
}

// pick branches on one winner after the other: it is kept, or left out, so that its lines go to others. When all winners
// are kept, their rules work.
func (s *search) pick(t *contest) {
	if s.most >= 0 {
		if s.nodes >= maxNodes {
			s.cut = true
			return
		}
		if s.w.score+t.bound()+t.later <= s.most {
			return
		}
	}
	s.nodes++
	c := t.next()
	if c == nil {
		s.share(t.b, func() { s.block(t.b + 1) })
		return
	}
	if by, _ := s.blocked(c); by == "" {
		s.used[c.id], t.kept[c.id] = true, true
		s.active.add(c, 1)
		s.pick(t)
		s.active.add(c, -1)
		s.used[c.id], t.kept[c.id] = false, false
	}
	t.out[c.id] = true
	s.pick(t)
	t.out[c.id] = false
}

// share gives each line to the rule in use, of the block, that takes most off it when it works alone, and lets the rules
// work on their lines. If one of them then gives nothing (its bundle is broken) the combination is not feasible; the search
// sees those without it too.
func (s *search) share(b int, on func()) {
	blk := s.blocks[b]
	owner := make([]int, len(s.w.lines))
	top := make([]money.Fen, len(s.w.lines))
	for i, c := range blk {
		if !s.used[c.id] {
			continue
		}
		e := s.buf[c.id]
		s.w.work(c, e, false)
		if !e.some() {
			return
		}
		for _, l := range e.touched {
			if e.line[l] > top[l] {
				top[l], owner[l] = e.line[l], i+1
			}
		}
	}
	var undo []func()
	defer func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
		for _, c := range blk {
			c.only = nil
		}
	}()
	for i, c := range blk {
		if !s.used[c.id] {
			continue
		}
		c.only = make([]bool, len(owner))
		for l, o := range owner {
			c.only[l] = o == i+1
		}
		e := s.buf[c.id]
		if s.w.work(c, e, false); !e.some() {
			return
		}
		s.w.apply(e, LevelItem, 1)
		release := s.w.claim(c, e)
		undo = append(undo, func() {
			release()
			s.w.apply(e, LevelItem, -1)
		})
	}
	on()
}

// forced reports whether the rule must be used when it can be: it is in a group that takes the first of its list.
func (s *search) forced(c *candidate) bool {
	return slices.ContainsFunc(c.ancestors, func(a ancestor) bool { return s.c.groups[a.group].Mode == ModeFirst })
}

// limit is how many children of the group an order may use; 0: any number.
func limit(g Group) int {
	switch {
	case g.Scope == ScopeItem:
		return 0
	case g.Mode == ModeStackable:
		return g.Max
	default:
		return 1
	}
}

// blocked says what keeps the candidate from being used now, and which other one stands for it; "" if nothing does.
func (s *search) blocked(c *candidate) (Code, *candidate) {
	if c.Exclusive != "" {
		if by := s.active.exclusive[c.Exclusive]; by != nil {
			return CodeExclusive, by
		}
	}
	for _, a := range c.ancestors {
		most := limit(s.c.groups[a.group])
		if most == 0 {
			continue
		}
		uses := s.active.children[a.group]
		child := c.childOf(a)
		if len(uses) >= most && !slices.ContainsFunc(uses, func(u childUse) bool { return u.child == child }) {
			return CodeGroup, uses[0].first
		}
	}
	switch caps := s.c.caps; {
	case caps.Promotions > 0 && s.active.rules >= caps.Promotions:
		return CodeCapPromotions, nil
	case caps.Coupons > 0 && c.coupon != "" && s.active.coupons >= caps.Coupons:
		return CodeCapCoupons, nil
	}
	return "", nil
}

func (a *activeSet) add(c *candidate, sign int) {
	a.rules += sign
	if c.coupon != "" {
		a.coupons += sign
	}
	if c.Exclusive != "" {
		if sign > 0 {
			a.exclusive[c.Exclusive] = c
		} else {
			delete(a.exclusive, c.Exclusive)
		}
	}
	for _, at := range c.ancestors {
		uses, child := a.children[at.group], c.childOf(at)
		i := slices.IndexFunc(uses, func(u childUse) bool { return u.child == child })
		switch {
		case i < 0:
			uses = append(uses, childUse{child, 1, c})
		case uses[i].n+sign == 0:
			uses = slices.Delete(uses, i, i+1)
		default:
			uses[i].n += sign
		}
		a.children[at.group] = uses
	}
}

// bound is at least what the candidates from block b on can give together.
func (s *search) bound(b int) money.Fen {
	type pool struct {
		group, child int32
		sum          money.Fen
	}
	var goods, other money.Fen
	var pools []pool
	e := s.buf[len(s.all)]
	add := func(c *candidate, gain money.Fen) {
		// In the outermost group with a limit, only the best children count.
		if i := slices.IndexFunc(c.ancestors, func(a ancestor) bool { return limit(s.c.groups[a.group]) > 0 }); i >= 0 {
			a := c.ancestors[i]
			child := c.childOf(a)
			k := slices.IndexFunc(pools, func(p pool) bool { return p.group == int32(a.group) && p.child == child })
			if k < 0 {
				pools = append(pools, pool{int32(a.group), child, gain})
			} else {
				pools[k].sum += gain
			}
		} else if c.level <= 1 {
			goods += gain
		} else {
			other += gain
		}
	}
	for i, blk := range s.blocks[b:] {
		if blk[0].bestPerLine(s.c) >= 0 {
			if gain := s.newContest(b + i).bound(); gain > 0 {
				add(blk[0], gain)
			}
			continue
		}
		if by, _ := s.blocked(blk[0]); by != "" {
			continue
		}
		if s.w.work(blk[0], e, true); e.some() {
			add(blk[0], e.amount+e.worth)
		}
	}
	if len(pools) > 0 {
		slices.SortFunc(pools, func(a, b pool) int { return int(a.group) - int(b.group) })
		for from := 0; from < len(pools); {
			to := from
			for to < len(pools) && pools[to].group == pools[from].group {
				to++
			}
			g := pools[from].group
			uses := s.active.children[g]
			room := limit(s.c.groups[g]) - len(uses)
			sums := make([]money.Fen, 0, to-from)
			for _, p := range pools[from:to] {
				if slices.ContainsFunc(uses, func(u childUse) bool { return u.child == p.child }) {
					other += p.sum
				} else {
					sums = append(sums, p.sum)
				}
			}
			slices.Sort(sums)
			for i := 0; i < room && i < len(sums); i++ {
				other += sums[len(sums)-1-i]
			}
			from = to
		}
	}
	if s.w.capLeft >= 0 {
		goods = min(goods, s.w.capLeft)
	}
	return goods + other
}
