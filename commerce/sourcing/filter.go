package sourcing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lianke/lianke/internal/clock"
)

// site is a location in a mode: what may send one parcel.
type site struct {
	at     *Location
	place  int // index of the location
	mode   Mode
	metres int64
	lane   *lane   // nil for pick-up
	parts  Cost    // but for freight and ageing
	fixed  int64   // of a parcel: parts, and the penalty of a split
	most   []int   // steps of each line that it can supply (see space)
	stock  []int64 // units of each line's SKU
	bonus  []int64 // for a unit of each line
	costs  []int64 // by state; nil until filled, and in the greedy search
}

// lane is a way that several sites share, as carriers price it.
type lane struct {
	ways []tariff
	memo []int64 // weighted freight by state; unset below 0
}

func (l *lane) key() string {
	var b strings.Builder
	for _, t := range l.ways {
		fmt.Fprintf(&b, "%s/%d/%d;", t.table.Carrier, t.zone, t.extra)
	}
	return b.String()
}

// usable is what of a location's stock is believed to be there and may be sold.
func (r Rules) usable(l *Location, sku string) int64 {
	n := l.Available[sku]
	if l.Kind != KindStore {
		return max(n, 0)
	}
	if r.StoreConfidenceBp > 0 {
		n = n * r.StoreConfidenceBp / 10_000
	}
	return max(n-r.StoreBuffer, 0)
}

// reject returns why a location cannot serve the request in the mode, or "".
func (r Rules) reject(req *Request, l *Location, mode Mode, distance int64) Reason {
	local := req.At.In(clock.Shanghai)
	minute := local.Hour()*60 + local.Minute()
	open := l.Opens == l.Closes || l.Opens <= minute && minute < l.Closes || l.Opens > l.Closes && (minute >= l.Opens || minute < l.Closes)
	switch {
	case slices.Contains(req.Excluded, l.Code):
		return ReasonExcluded
	case slices.Contains(req.Refused, l.Code):
		return ReasonRefused
	case r.MaxHops > 0 && len(req.Refused) >= r.MaxHops && l.Kind != KindWarehouse:
		return ReasonHops
	case len(r.Kinds) > 0 && !slices.Contains(r.Kinds, l.Kind):
		return ReasonKind
	case len(r.Entities) > 0 && !slices.Contains(r.Entities, l.Entity):
		return ReasonEntity
	case len(l.Touchpoints) > 0 && !slices.Contains(l.Touchpoints, req.Touchpoint):
		return ReasonTouchpoint
	case !slices.Contains(l.Modes, mode):
		return ReasonMode
	case mode == ModeSameCity && (l.Address.City == "" || l.Address.City != req.To.City || r.SameCityMetres > 0 && distance > r.SameCityMetres):
		return ReasonFar
	case l.Taken >= l.Cap:
		return ReasonCapacity
	case mode == ModeSameCity && !open:
		return ReasonOpening
	case mode != ModePickup && l.CutOff > 0 && minute >= l.CutOff && (r.SameDay || mode == ModeSameCity):
		return ReasonCutOff
	}
	return ""
}

// sites filters the locations for every mode that the request asks for.
func (e *search) sites() (rejected []Rejection) {
	lanes := map[string]*lane{}
	for i := range e.locs {
		l := &e.locs[i]
		distance := metres(e.req.Position, l.Position)
		for _, mode := range modes {
			if !slices.ContainsFunc(e.req.Lines, func(line Line) bool { return line.Mode == mode }) {
				continue
			}
			s, why := e.site(i, mode, distance, lanes)
			if why != "" {
				rejected = append(rejected, Rejection{Location: l.Code, Mode: mode, Reason: why, Text: why.Text()})
				continue
			}
			e.all = append(e.all, s)
		}
	}
	return rejected
}

func (e *search) site(place int, mode Mode, distance int64, lanes map[string]*lane) (*site, Reason) {
	l := &e.locs[place]
	if why := e.rules.reject(e.req, l, mode, distance); why != "" {
		return nil, why
	}
	n := len(e.req.Lines)
	s := &site{at: l, place: place, mode: mode, metres: distance, most: make([]int, n), stock: make([]int64, n), bonus: make([]int64, n)}
	supplies, elsewhere := false, false
	for i, line := range e.req.Lines {
		if line.Mode != mode {
			continue
		}
		s.stock[i] = e.rules.usable(l, line.SKU)
		if line.Pickup != "" && line.Pickup != l.Code {
			elsewhere = true
			continue
		}
		s.bonus[i] = int64(e.w.AgeFen) * min(max(l.AgeDays[line.SKU], 0), e.w.AgeDays) / 30
		if line.Split {
			s.most[i] = int(min(s.stock[i], line.Quantity))
		} else if s.stock[i] >= line.Quantity {
			s.most[i] = 1
		}
		supplies = supplies || s.most[i] > 0
	}
	switch {
	case !supplies && elsewhere:
		return nil, ReasonPickup
	case !supplies:
		return nil, ReasonStock
	}
	if mode != ModePickup {
		ways := &lane{ways: tariffs(e.rules.Freight, mode, l.Address, e.req.To, distance, e.req.At)}
		if len(ways.ways) == 0 {
			return nil, ReasonCarrier
		}
		key := ways.key()
		if lanes[key] == nil {
			lanes[key] = ways
		}
		s.lane = lanes[key]
	}
	s.parts.DistanceFen = e.w.PerKmFen * fen(distance) / 1000
	s.parts.CapacityFen = e.w.ShadowFen * fen(l.Taken) * fen(l.Taken) / (fen(l.Cap) * fen(l.Cap))
	s.fixed = int64(s.parts.DistanceFen + s.parts.CapacityFen + e.w.SplitFen)
	return s, ""
}
