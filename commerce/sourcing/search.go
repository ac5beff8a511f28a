package sourcing

import (
	"cmp"
	"math"
	"slices"
)

const (
	// shortFen is the price of a unit that nobody supplies. It exceeds what the limits of Validate let all else come to, and
	// maxLines*maxQuantity of it stay within int64.
	shortFen = 15_000_000_000_000
	never    = math.MaxInt64
	// What is not larger is searched exactly: cells of the cost matrix and pairs of a state and a part of it.
	maxCells = 2_000_000
	maxPairs = 1_000_000
)

// space numbers how much of the request is still to be supplied. A line whose units stay together counts 0 or 1, another
// 0 to its quantity; a state is the sum of count × stride. Parts of a state subtract without borrowing.
type space struct {
	radix, stride []int
	units         []int64 // of one count
	grams         []int64
	gone          []int64 // units that are short whatever is done
	size, pairs   int     // pairs is 0 if the space is too large to list
}

// newSpace leaves out what all sites together cannot supply: it is short in every plan.
func newSpace(lines []Line, unitWeight int64, sites []*site) space {
	s := space{size: 1, pairs: 1}
	for i, l := range lines {
		radix, units, supply := 2, l.Quantity, 0
		if l.Split {
			radix, units = int(l.Quantity)+1, 1
		}
		for _, at := range sites {
			supply += at.most[i]
		}
		s.gone = append(s.gone, int64(max(radix-1-supply, 0))*units)
		radix = min(radix, supply+1)
		weight := l.WeightG
		if weight == 0 {
			weight = unitWeight
		}
		s.radix, s.stride = append(s.radix, radix), append(s.stride, s.size)
		s.units, s.grams = append(s.units, units), append(s.grams, weight*units)
		if s.pairs > 0 {
			s.size *= radix
			s.pairs *= radix * (radix + 1) / 2
			if s.pairs > maxPairs {
				s.pairs = 0
			}
		}
	}
	return s
}

// counts returns the digits of a state.
func (s *space) counts(state int, into []int) {
	for i, r := range s.radix {
		into[i] = state % r
		state /= r
	}
}

// take is a parcel in a plan being made: counts of each line. site is the number of sites for what is short.
type take struct {
	site   int
	counts []int
}

type search struct {
	req   *Request
	rules *Rules
	w     Weights
	locs  []Location
	all   []*site
	space space
	twice bool // several lines want the same SKU

	least []int64 // least cost of one parcel by state, shortage included
	lower []int64 // lower bound of covering a state

	// of the branch and bound
	nodes    int
	stopped  bool
	best     int64
	bestTake []take
	now      []take
	used     []bool
	tokens   []int64 // by location
	parcels  int
}

// fill lists what a site charges for every part of the request that it can supply.
func (e *search) fill(s *site) {
	n := e.space.size
	s.costs = make([]int64, n)
	for i := range s.costs {
		s.costs[i] = never
	}
	if s.lane != nil && s.lane.memo == nil {
		s.lane.memo = make([]int64, n)
		for i := range s.lane.memo {
			s.lane.memo[i] = -1
		}
	}
	d := make([]int, len(s.most))
	state, grams, bonus := 0, int64(0), int64(0)
	for {
		i := 0
		for i < len(d) && d[i] == s.most[i] { // carry
			state -= d[i] * e.space.stride[i]
			grams -= int64(d[i]) * e.space.grams[i]
			bonus -= int64(d[i]) * e.space.units[i] * s.bonus[i]
			d[i] = 0
			i++
		}
		if i == len(d) {
			return
		}
		d[i]++
		state += e.space.stride[i]
		grams += e.space.grams[i]
		bonus += e.space.units[i] * s.bonus[i]
		if e.twice && !e.fits(s, d) {
			continue
		}
		freight := int64(0)
		if s.lane != nil {
			if freight = s.lane.memo[state]; freight < 0 {
				freight = e.freight(s.lane, grams)
				s.lane.memo[state] = freight
			}
			if freight == never {
				continue
			}
		}
		s.costs[state] = s.fixed + freight - bonus
		e.least[state] = min(e.least[state], s.costs[state])
	}
}

// freight is the price of the way, weighted; never if no carrier takes it.
func (e *search) freight(l *lane, grams int64) int64 {
	_, price, ok := cheapest(l.ways, grams)
	if !ok {
		return never
	}
	return int64(price) * e.w.FreightBp / 10_000
}

// fits says that lines of one SKU do not take more of it together than the site has.
func (e *search) fits(s *site, d []int) bool {
	for i := range d {
		if d[i] == 0 {
			continue
		}
		sum := int64(0)
		for j := range d {
			if e.req.Lines[j].SKU == e.req.Lines[i].SKU {
				sum += int64(d[j]) * e.space.units[j]
			}
		}
		if sum > s.stock[i] {
			return false
		}
	}
	return true
}

// parts calls fn with every part of a state that holds at least one count of its first line, and the counts of the part,
// which fn does not keep.
func (e *search) parts(counts, d []int, fn func(part int)) {
	first := slices.IndexFunc(counts, func(c int) bool { return c > 0 })
	clear(d)
	d[first] = 1
	part := e.space.stride[first]
	for {
		fn(part)
		i := first
		for i < len(d) && d[i] == counts[i] {
			low := 0
			if i == first {
				low = 1
			}
			part -= (d[i] - low) * e.space.stride[i]
			d[i] = low
			i++
		}
		if i == len(d) {
			return
		}
		d[i]++
		part += e.space.stride[i]
	}
}

// bound computes the lower bound of every state: the best cover whose parcels ignore each other.
func (e *search) bound() {
	e.lower = make([]int64, e.space.size)
	counts, d := make([]int, len(e.space.radix)), make([]int, len(e.space.radix))
	for state := 1; state < e.space.size; state++ {
		e.space.counts(state, counts)
		best := int64(never)
		e.parts(counts, d, func(part int) {
			if c := e.least[part]; c != never {
				best = min(best, c+e.lower[state-part])
			}
		})
		e.lower[state] = best
	}
}

// exact searches by branch and bound. It stops early when the best plan found meets the bound.
func (e *search) exact() {
	n := len(e.space.radix)
	e.least = make([]int64, e.space.size)
	counts := make([]int, n)
	for state := 1; state < e.space.size; state++ {
		e.space.counts(state, counts)
		units := int64(0)
		for i, c := range counts {
			units += int64(c) * e.space.units[i]
		}
		e.least[state] = units * shortFen
	}
	for _, s := range e.all {
		e.fill(s)
	}
	e.bound()
	e.best, e.used, e.tokens = never, make([]bool, len(e.all)), make([]int64, len(e.locs))
	e.branch(e.space.size-1, 0, -1, -1)
}

type child struct {
	part, site  int
	cost, bound int64
}

// branch supplies the rest of a request. Parcels with the same first line are taken in the order of their sites, and what of
// a line is short comes after its parcels, so that no plan is met twice: line and site are the last first line and its site.
func (e *search) branch(state int, cost int64, line, site int) {
	if state == 0 {
		if cost < e.best {
			e.best, e.bestTake = cost, slices.Clone(e.now)
		}
		return
	}
	e.nodes++
	n := len(e.space.radix)
	counts, d := make([]int, n), make([]int, n)
	e.space.counts(state, counts)
	first := slices.IndexFunc(counts, func(c int) bool { return c > 0 })
	if first != line {
		site = -1
	}
	rest := counts[first] * e.space.stride[first]
	var children []child // first by part alone
	e.parts(counts, d, func(part int) {
		if c := e.least[part]; c != never && cost+c+e.lower[state-part] < e.best {
			children = append(children, child{part: part, bound: cost + c + e.lower[state-part]})
		}
	})
	slices.SortFunc(children, order)
	var here []child
	for _, p := range children {
		if p.bound >= e.best {
			return
		}
		after := e.lower[state-p.part]
		here = here[:0]
		e.space.counts(p.part, counts)
		if p.part == rest {
			short := int64(counts[first]) * e.space.units[first] * shortFen
			here = append(here, child{p.part, len(e.all), short, cost + short + after})
		}
		for i := site + 1; i < len(e.all); i++ {
			if c := e.all[i].costs[p.part]; c != never && cost+c+after < e.best && e.free(i, counts) {
				here = append(here, child{p.part, i, c, cost + c + after})
			}
		}
		slices.SortFunc(here, order)
		for _, c := range here {
			if c.bound >= e.best || e.stopped && e.best != never {
				break
			}
			e.space.counts(p.part, counts)
			e.enter(c.site, counts)
			e.branch(state-p.part, cost+c.cost, first, c.site)
			e.leave(c.site)
			if e.best == e.lower[e.space.size-1] {
				return
			}
			e.stopped = e.stopped || e.nodes >= e.rules.nodes()
		}
		if e.stopped && e.best != never {
			return
		}
	}
}

func order(a, b child) int {
	return cmp.Or(cmp.Compare(a.bound, b.bound), cmp.Compare(b.part, a.part), cmp.Compare(a.site, b.site))
}

// free says that a site can still take the counts beside what is taken: it has no parcel, its location a token, and what
// the location sends in other modes leaves enough.
func (e *search) free(i int, counts []int) bool {
	s := e.all[i]
	if e.used[i] || e.tokens[s.place] >= s.at.Cap-s.at.Taken || e.rules.MaxParcels > 0 && e.parcels >= e.rules.MaxParcels {
		return false
	}
	if !e.twice || e.tokens[s.place] == 0 {
		return true
	}
	sum := slices.Clone(counts)
	for _, t := range e.now {
		if t.site < len(e.all) && e.all[t.site].place == s.place {
			for j, c := range t.counts {
				sum[j] += c
			}
		}
	}
	stock := slices.Clone(s.stock)
	for j, l := range e.req.Lines {
		stock[j] = e.rules.usable(s.at, l.SKU)
	}
	return e.fits(&site{stock: stock}, sum)
}

func (e *search) enter(i int, counts []int) {
	e.now = append(e.now, take{i, slices.Clone(counts)})
	if i < len(e.all) {
		e.used[i] = true
		e.tokens[e.all[i].place]++
		e.parcels++
	}
}

func (e *search) leave(i int) {
	e.now = e.now[:len(e.now)-1]
	if i < len(e.all) {
		e.used[i] = false
		e.tokens[e.all[i].place]--
		e.parcels--
	}
}
