package promotion

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// Compiled is a set of rules prepared for Evaluate: sorted into the order in which they are worked out, and indexed, so
// that a cart only looks at rules that could concern it. It is immutable and safe for concurrent use.
type Compiled struct {
	rules  []*rule
	groups []Group
	group  map[string]int // code → index in groups
	caps   Caps

	everything bitset // rules without a list of goods
	bySKU      map[string][]int32
	bySPU      map[string][]int32
	byCategory map[string][]int32
	byBrand    map[string][]int32
	anywhere   touchMask[member.Touchpoint]
	anyStore   touchMask[string]
}

// rule is a Rule with what evaluation needs of it worked out.
type rule struct {
	Rule
	level     int
	ancestors []ancestor // groups from the root down
	order     []place
	items     goods
	trigger   *goods
	weekdays  uint8
	hours     [][2]int
	addOns    map[string]money.Fen
	safe      bool // see search.mustApply
}

// ancestor is a group above a rule, and which of the group's children leads to the rule: another group, or -1 for the rule.
type ancestor struct {
	group int
	child int
}

// place is where a rule or group stands among its siblings.
type place struct {
	priority int
	code     string
}

var levels = []Level{LevelItem, LevelOrder, LevelGift, LevelFreight}

// Compile checks and prepares a set. It fails with ErrInvalid.
func Compile(set Set) (*Compiled, error) {
	var p problems
	checkGroups(&p, set.Groups, set.Rules)
	p.unless(set.Caps.Promotions >= 0 && set.Caps.Coupons >= 0 && set.Caps.MaxDiscountBp >= 0 && set.Caps.MaxDiscountBp <= 10000, "caps", "range",
		"上限有误", "are out of range", "不限请填 0,比例最高 10000", "write 0 for no limit; max_discount_bp is at most 10,000")
	if err := p.as(ErrInvalid); err != nil {
		return nil, err
	}
	c := &Compiled{
		groups: set.Groups, group: map[string]int{}, caps: set.Caps,
		bySKU: map[string][]int32{}, bySPU: map[string][]int32{}, byCategory: map[string][]int32{}, byBrand: map[string][]int32{},
	}
	for i, g := range set.Groups {
		c.group[g.Code] = i
	}
	for _, r := range set.Rules {
		if err := r.Validate(); err != nil {
			return nil, err
		}
		c.rules = append(c.rules, c.prepare(r))
	}
	slices.SortStableFunc(c.rules, compareRules)
	c.index()
	return c, nil
}

// Rules returns how many rules there are.
func (c *Compiled) Rules() int { return len(c.rules) }

func (c *Compiled) prepare(r Rule) *rule {
	p := &rule{Rule: r, level: slices.Index(levels, r.Kind.Level()), items: compileScope(r.Items), safe: true}
	if r.Trigger != nil {
		t := compileScope(*r.Trigger)
		p.trigger = &t
	}
	for _, d := range r.When.Weekdays {
		p.weekdays |= 1 << d
	}
	for _, h := range r.When.Hours {
		from, _ := minutes(h.From)
		to, _ := minutes(h.To)
		p.hours = append(p.hours, [2]int{from, to})
	}
	if len(r.Benefit.AddOns) > 0 {
		p.addOns = make(map[string]money.Fen, len(r.Benefit.AddOns))
		for _, a := range r.Benefit.AddOns {
			p.addOns[a.SKU] = a.Price
		}
	}
	child := -1
	for up := r.Group; up != ""; {
		i := c.group[up]
		g := c.groups[i]
		p.ancestors = append(p.ancestors, ancestor{i, child})
		p.order = append(p.order, place{g.Priority, g.Code})
		if g.Mode != ModeStackable || g.Max > 0 {
			p.safe = false
		}
		child, up = i, g.Parent
	}
	slices.Reverse(p.ancestors)
	slices.Reverse(p.order)
	p.order = append(p.order, place{r.Priority, r.Promotion})
	p.safe = p.safe && r.Exclusive == "" && r.MaxDiscount == 0 && r.Benefit.Most == 0 && (r.Basis == BasisInitial || (r.MinAmount == 0))
	switch r.Kind {
	case KindItemDiscount, KindMemberPrice, KindFreight:
	default:
		p.safe = false
	}
	return p
}

// compareRules is the order in which rules are worked out.
func compareRules(a, b *rule) int {
	if a.level != b.level {
		return cmp.Compare(a.level, b.level)
	}
	for i := 0; i < len(a.order) && i < len(b.order); i++ {
		if n := cmp.Or(cmp.Compare(a.order[i].priority, b.order[i].priority), strings.Compare(a.order[i].code, b.order[i].code)); n != 0 {
			return n
		}
	}
	return cmp.Or(cmp.Compare(len(a.order), len(b.order)), strings.Compare(a.coupon, b.coupon))
}

// goods is a Scope as sets.
type goods struct {
	all                           bool
	skus, spus, categories, brand map[string]bool
	except                        *goods
}

func (s Scope) everything() bool {
	return len(s.SKUs)+len(s.SPUs)+len(s.Categories)+len(s.Brands) == 0
}

func compileScope(s Scope) goods {
	g := goods{all: s.everything(), skus: setOf(s.SKUs), spus: setOf(s.SPUs), categories: setOf(s.Categories), brand: setOf(s.Brands)}
	if s.Except != nil {
		e := compileScope(*s.Except)
		g.except = &e
	}
	return g
}

func setOf(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

func (g *goods) has(l *Line) bool {
	if !g.all && !g.skus[l.SKU] && !g.spus[l.SPU] {
		if g.categories == nil && g.brand == nil {
			return false
		}
		if g.brand != nil && !g.brand[l.Brand] {
			return false
		}
		if g.categories != nil && !slices.ContainsFunc(l.Category, func(c string) bool { return g.categories[c] }) {
			return false
		}
	}
	return g.except == nil || !g.except.has(l)
}

// active tells why a rule is not on for this cart, whatever its goods; CodeApplied if it is.
func (r *rule) active(cart *Cart) Code {
	w := &r.When
	switch {
	case w.From != nil && cart.At.Before(*w.From):
		return CodeNotStarted
	case w.To != nil && !cart.At.Before(*w.To):
		return CodeEnded
	}
	if r.weekdays != 0 || len(r.hours) > 0 {
		local := cart.At.In(clock.Shanghai)
		if r.weekdays != 0 && r.weekdays&(1<<isoWeekday(local)) == 0 {
			return CodeWeekday
		}
		if len(r.hours) > 0 && !slices.ContainsFunc(r.hours, func(h [2]int) bool { return within(h, local.Hour()*60+local.Minute()) }) {
			return CodeHours
		}
	}
	m := &cart.Member
	switch {
	case len(w.Touchpoints) > 0 && !slices.Contains(w.Touchpoints, cart.Touchpoint):
		return CodeTouchpoint
	case len(w.Stores) > 0 && !slices.Contains(w.Stores, cart.Store):
		return CodeStore
	case !m.Known && (w.Members || w.FirstOrder || len(w.Tiers)+len(w.Segments)+len(w.Tags) > 0 || r.Limits.PerMember > 0 || r.Kind == KindMemberPrice):
		return CodeMember
	case w.FirstOrder && !m.FirstOrder:
		return CodeFirstOrder
	case len(w.Tiers) > 0 && !slices.Contains(w.Tiers, m.Tier):
		return CodeTier
	case len(w.Segments) > 0 && !slices.ContainsFunc(w.Segments, func(s string) bool { return slices.Contains(m.Segments, s) }):
		return CodeSegment
	case len(w.Tags) > 0 && !slices.ContainsFunc(w.Tags, func(s string) bool { return slices.Contains(m.Tags, s) }):
		return CodeTag
	case r.coupon == "" && cart.Exhausted[r.Promotion]:
		return CodeExhausted
	}
	return CodeApplied
}

func isoWeekday(t time.Time) int { return (int(t.Weekday())+6)%7 + 1 }

func within(h [2]int, minute int) bool {
	if h[0] < h[1] {
		return h[0] <= minute && minute < h[1]
	}
	return minute >= h[0] || minute < h[1]
}

type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }
func (b bitset) set(i int32) { b[i/64] |= 1 << (i % 64) }
func (b bitset) or(o bitset) {
	for i := range o {
		b[i] |= o[i]
	}
}
func (b bitset) and(o bitset) {
	for i := range o {
		b[i] &= o[i]
	}
}
func (b bitset) each(f func(int)) {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			f(i*64 + bits.TrailingZeros64(w))
		}
	}
}

// touchMask says which rules are on at a key: those that name it, and those that name none.
type touchMask[K comparable] struct {
	none bitset
	at   map[K]bitset
}

func (m touchMask[K]) of(key K) bitset {
	if b, ok := m.at[key]; ok {
		return b
	}
	return m.none
}

func maskOf[K comparable](rules []*rule, keys func(*rule) []K) touchMask[K] {
	m := touchMask[K]{newBitset(len(rules)), map[K]bitset{}}
	for i, r := range rules {
		if len(keys(r)) == 0 {
			m.none.set(int32(i))
		}
		for _, k := range keys(r) {
			if m.at[k] == nil {
				m.at[k] = newBitset(len(rules))
			}
			m.at[k].set(int32(i))
		}
	}
	for _, b := range m.at {
		b.or(m.none)
	}
	return m
}

func (c *Compiled) index() {
	c.everything = newBitset(len(c.rules))
	post := func(m map[string][]int32, keys []string, i int) {
		for _, k := range keys {
			m[k] = append(m[k], int32(i))
		}
	}
	for i, r := range c.rules {
		s := r.Items
		if s.everything() {
			c.everything.set(int32(i))
			continue
		}
		post(c.bySKU, s.SKUs, i)
		post(c.bySPU, s.SPUs, i)
		if len(s.Categories) > 0 { // with brands both must match, and categories are the finer lists
			post(c.byCategory, s.Categories, i)
		} else {
			post(c.byBrand, s.Brands, i)
		}
	}
	c.anywhere = maskOf(c.rules, func(r *rule) []member.Touchpoint { return r.When.Touchpoints })
	c.anyStore = maskOf(c.rules, func(r *rule) []string { return r.When.Stores })
}

// candidates are the rules that could concern the cart, by position.
func (c *Compiled) candidates(cart *Cart) bitset {
	b := newBitset(len(c.rules))
	b.or(c.everything)
	post := func(list []int32) {
		for _, i := range list {
			b.set(i)
		}
	}
	for i := range cart.Lines {
		l := &cart.Lines[i]
		if !l.Kind.takesPart() {
			continue
		}
		post(c.bySKU[l.SKU])
		if l.SPU != "" {
			post(c.bySPU[l.SPU])
		}
		if l.Brand != "" {
			post(c.byBrand[l.Brand])
		}
		for _, k := range l.Category {
			post(c.byCategory[k])
		}
	}
	b.and(c.anywhere.of(cart.Touchpoint))
	b.and(c.anyStore.of(cart.Store))
	return b
}
