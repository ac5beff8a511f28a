package sourcing

import "slices"

// greedy takes, again and again, the parcel that supplies a unit for the least, each as full as its site can make it. It
// serves requests that are too large to list.
func (e *search) greedy() {
	n := len(e.req.Lines)
	left := make([]int, n)
	for i, r := range e.space.radix {
		left[i] = r - 1
	}
	e.used, e.tokens, e.best = make([]bool, len(e.all)), make([]int64, len(e.locs)), 0
	for {
		chosen, cost, units := -1, int64(0), int64(1)
		var what []int
		for i, s := range e.all {
			counts, c, u := e.fullest(i, s, left)
			if u > 0 && (chosen < 0 || c*units < cost*u) { // c/u < cost/units; the limits keep both sides in range
				chosen, cost, units, what = i, c, u, counts
			}
		}
		if chosen < 0 {
			break
		}
		e.enter(chosen, what)
		e.nodes++
		e.best += cost
		for i, c := range what {
			left[i] -= c
		}
	}
	if slices.ContainsFunc(left, func(c int) bool { return c > 0 }) {
		e.enter(len(e.all), left)
		for i, c := range left {
			e.best += int64(c) * e.space.units[i] * shortFen
		}
	}
	e.bestTake = slices.Clone(e.now)
}

// fullest fills a site's parcel line by line with what is left and fits.
func (e *search) fullest(i int, s *site, left []int) (counts []int, cost, units int64) {
	counts = make([]int, len(left))
	if !e.free(i, counts) {
		return nil, 0, 0
	}
	grams, freight, bonus := int64(0), int64(0), int64(0)
	for j := range left {
		for c := min(left[j], s.most[j]); c > 0; c-- {
			counts[j] = c
			heavier, price := grams+int64(c)*e.space.grams[j], int64(0)
			if s.lane != nil {
				price = e.freight(s.lane, heavier)
			}
			if price != never && e.fits(s, counts) && e.free(i, counts) {
				grams, freight = heavier, price
				units += int64(c) * e.space.units[j]
				bonus += int64(c) * e.space.units[j] * s.bonus[j]
				break
			}
			counts[j] = 0
		}
	}
	return counts, s.fixed + freight - bonus, units
}

// loose is a lower bound for requests that are too large to list: every unit pays its part of the cheapest parcel it could
// be in, as if that parcel were as full as its site can make it and as light as its lightest piece.
func (e *search) loose() (sum int64) {
	n := len(e.req.Lines)
	unit := make([]int64, n)
	for i := range unit {
		unit[i] = shortFen
	}
	for _, s := range e.all {
		full, light := int64(0), int64(never)
		for i, c := range s.most {
			if c > 0 {
				full += int64(c) * e.space.units[i]
				light = min(light, e.space.grams[i])
			}
		}
		floor := s.fixed
		if s.lane != nil {
			price := e.freight(s.lane, light)
			if price == never {
				continue
			}
			floor += price
		}
		for i, c := range s.most {
			if c > 0 {
				unit[i] = min(unit[i], floor/full-s.bonus[i])
			}
		}
	}
	for i, r := range e.space.radix {
		sum += unit[i] * e.space.units[i] * int64(r-1)
	}
	return sum
}
