package promotion

import (
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// maxNodes bounds the search; what it has not looked at by then shows as Result.Gap.
const maxNodes = 20_000

// search finds the combination of candidates that gives most. The candidates have one order; a combination says of each
// whether it is used, and is worked out in that order, each rule on what those before it left. It is feasible when
//
//   - of an exclusive category at most one is used,
//   - of a group that chooses for the order (best, first, stackable with max) no more children are used than it allows,
//   - in a first group every rule is used that gives something and is not stood in the way of,
//   - the order's caps hold,
//   - every rule used gives something where its turn comes.
//
// Of the combinations that give most it returns the first, counting "used" before "not used" from the first candidate on.
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
		s.pick(b, 0)
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

// pick branches on the candidates of a group that chooses the best per line, from the i-th on; when all are decided, the
// lines are shared out and their rules work.
func (s *search) pick(b, i int) {
	blk := s.blocks[b]
	if i == len(blk) {
		s.share(b, func() { s.block(b + 1) })
		return
	}
	c := blk[i]
	if by, _ := s.blocked(c); by == "" {
		s.used[c.id] = true
		s.active.add(c, 1)
		s.pick(b, i+1)
		s.active.add(c, -1)
		s.used[c.id] = false
	}
	s.pick(b, i+1)
}

// share gives each line to the rule in use, of the block, that takes most off it when it works alone, and lets the rules
// work on their lines. A rule that ends up with nothing makes the combination the same as one without it, which the search
// sees too.
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
	for _, blk := range s.blocks[b:] {
		for _, c := range blk {
			if by, _ := s.blocked(c); by != "" {
				continue
			}
			s.w.work(c, e, true)
			if !e.some() {
				continue
			}
			gain := e.amount + e.worth
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
