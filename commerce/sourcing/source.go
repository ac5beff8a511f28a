package sourcing

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

type fen = money.Fen

// Source plans who supplies the request, and says why. The request and the rules have been validated; the order of the
// locations does not matter.
func Source(req Request, locs []Location, rules Rules) (Plan, Why) {
	e := &search{req: &req, rules: &rules, w: rules.weights(), locs: slices.Clone(locs)}
	slices.SortFunc(e.locs, func(a, b Location) int { return cmp.Compare(a.Code, b.Code) })
	skus := map[string]bool{}
	for _, l := range req.Lines {
		e.twice = e.twice || skus[l.SKU]
		skus[l.SKU] = true
	}
	why := Why{Rejected: append([]Rejection{}, e.sites()...)} // never null
	e.space = newSpace(req.Lines, rules.UnitWeightG, e.all)
	lower := int64(0)
	if e.space.pairs > 0 && e.space.size*(len(e.all)+1) <= maxCells {
		e.exact()
		lower = e.lower[e.space.size-1]
	} else {
		e.greedy()
		e.stopped, lower = true, e.loose()
	}
	p := e.plan(lower)
	e.explain(&why, p)
	return p, why
}

// plan writes the best takes down.
func (e *search) plan(lower int64) Plan {
	p := Plan{Parcels: []Parcel{}, Short: []Item{}, Exact: !e.stopped || e.best == lower, Nodes: e.nodes}
	short := slices.Clone(e.space.gone)
	for _, t := range e.bestTake {
		if t.site == len(e.all) {
			for i, c := range t.counts {
				short[i] += int64(c) * e.space.units[i]
			}
			continue
		}
		parcel := e.parcel(t)
		p.CostFen += parcel.Cost.total()
		p.Parcels = append(p.Parcels, parcel)
	}
	for i, q := range short {
		if q > 0 {
			p.Short = append(p.Short, Item{Line: i, SKU: e.req.Lines[i].SKU, Quantity: q})
		}
	}
	if n := len(p.Parcels); n > 1 {
		p.SplitFen = e.w.SplitFen * fen(n-1)
		p.CostFen += p.SplitFen
	}
	slices.SortFunc(p.Parcels, func(a, b Parcel) int { return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Mode, b.Mode)) })
	if !p.Exact {
		p.GapBp = e.gap(lower)
	}
	return p
}

// gap is how far above the bound the score is, in parts of ten thousand of the bound; without the penalty that every plan
// has in excess, as it is scored.
func (e *search) gap(lower int64) int64 {
	split := int64(e.w.SplitFen)
	over, under := e.best-lower, lower-split
	if under <= 0 || over > under || over > never/10_000 {
		return 10_000
	}
	return (over*10_000 + under - 1) / under
}

func (e *search) parcel(t take) Parcel {
	s := e.all[t.site]
	p := Parcel{
		Location: s.at.Code, Kind: s.at.Kind, Entity: s.at.Entity, Mode: s.mode, Metres: s.metres, Cost: s.parts, Items: []Item{},
	}
	for i, c := range t.counts {
		if c > 0 {
			units := int64(c) * e.space.units[i]
			p.Items = append(p.Items, Item{Line: i, SKU: e.req.Lines[i].SKU, Quantity: units})
			p.WeightG += int64(c) * e.space.grams[i]
			p.Cost.AgeingFen -= fen(units * s.bonus[i])
		}
	}
	if s.lane != nil {
		p.Carrier, p.FreightFen, _ = cheapest(s.lane.ways, p.WeightG)
		p.Cost.FreightFen = p.FreightFen * fen(e.w.FreightBp) / 10_000
	}
	return p
}

// explain says of every site that is not in the plan what it would have cost more at least.
func (e *search) explain(why *Why, p Plan) {
	for _, s := range e.all {
		if slices.ContainsFunc(p.Parcels, func(x Parcel) bool { return x.Location == s.at.Code && x.Mode == s.mode }) {
			continue
		}
		r := Rejection{Location: s.at.Code, Mode: s.mode, Reason: ReasonShared}
		if extra, ok := e.extra(s); !ok {
			r.Reason = ReasonCarrier
		} else if extra > 0 {
			r.Reason, r.ExtraFen = ReasonCostlier, fen(extra)
		}
		r.Text = r.Reason.Text()
		why.Rejected = append(why.Rejected, r)
	}
	slices.SortFunc(why.Rejected, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Mode, b.Mode))
	})
}

// extra is how much more than the best every plan with the site costs at least; ok is false where no carrier takes anything
// from it. Without a list of states nothing is known but that the greedy choice left it out.
func (e *search) extra(s *site) (_ int64, ok bool) {
	if s.costs == nil {
		return 0, true
	}
	least, all := int64(never), e.space.size-1
	for part, c := range s.costs {
		if c != never {
			least = min(least, c+e.lower[all-part])
		}
	}
	if least == never {
		return 0, false
	}
	return max(least-e.best, 0), true
}
