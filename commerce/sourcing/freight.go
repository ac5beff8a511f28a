package sourcing

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
)

// Table is what a carrier charges. Regions are names from the top: "广东", "广东/深圳", "广东/深圳/南山".
type Table struct {
	Carrier    string      `json:"carrier,omitempty"`
	Version    int64       `json:"version" doc:"the one that was read; 0 for a new one"`
	Name       string      `json:"name"`
	Modes      []Mode      `json:"modes" doc:"ship, same_city"`
	MaxG       int64       `json:"max_g" doc:"heavier parcels are not taken; 0 for no limit"`
	Zones      []Zone      `json:"zones" doc:"the first that matches counts"`
	Surcharges []Surcharge `json:"surcharges,omitempty" doc:"all that match are added"`
	Closures   []Closure   `json:"closures,omitempty"`
}

// Zone is a lane or a group of them. Empty From or To is anywhere.
type Zone struct {
	Code      string    `json:"code"`
	From      []string  `json:"from,omitempty"`
	To        []string  `json:"to,omitempty"`
	MaxMetres int64     `json:"max_metres" doc:"0 for no limit"`
	PerKmFen  money.Fen `json:"per_km_fen"`
	Steps     []Step    `json:"steps"`
	BeyondG   int64     `json:"beyond_g" doc:"above the last step, for every begun so many grams; 0: no heavier parcels"`
	BeyondFen money.Fen `json:"beyond_fen"`
}

// Step is the price up to a weight.
type Step struct {
	UpToG int64     `json:"up_to_g"`
	Fen   money.Fen `json:"fen"`
}

// Surcharge is added for remote regions.
type Surcharge struct {
	To  []string  `json:"to"`
	Fen money.Fen `json:"fen"`
}

// Closure is when a carrier does not go from or to regions: holidays, weather, quarantine. Days are included.
type Closure struct {
	From    []string `json:"from,omitempty"`
	To      []string `json:"to,omitempty"`
	FromDay string   `json:"from_day" doc:"YYYY-MM-DD"`
	ToDay   string   `json:"to_day"`
	Reason  string   `json:"reason,omitempty"`
}

// Validate fails with ErrFreight. Prices never fall with the weight, which the search relies on.
func (t Table) Validate() error {
	var p problems
	p.check(t.Carrier != "" && len(t.Carrier) <= 64, "carrier", "承运商编号须为 1 到 64 个字符", "the carrier's code has 1 to 64 characters")
	p.check(len(t.Modes) > 0, "modes", "请选择 ship 或 same_city", "name ship or same_city")
	for i, m := range t.Modes {
		p.check(m == ModeShip || m == ModeSameCity, fmt.Sprintf("modes[%d]", i), "须为 ship 或 same_city", "it is ship or same_city")
	}
	p.check(t.MaxG >= 0, "max_g", "不能为负", "it is not negative")
	p.check(len(t.Zones) > 0 && len(t.Zones) <= 1000, "zones", "须有 1 到 1000 个分区", "there are 1 to 1,000 zones")
	for i, z := range t.Zones {
		path := fmt.Sprintf("zones[%d]", i)
		p.check(len(z.Steps) > 0 && len(z.Steps) <= 100, path+".steps", "须有 1 到 100 个重量段", "there are 1 to 100 steps")
		p.check(z.MaxMetres >= 0 && z.BeyondG >= 0, path, "不能为负", "limits are not negative")
		p.check(z.PerKmFen >= 0 && z.PerKmFen <= 10_000, path+".per_km_fen", "须在 0 到 10000 之间", "it is from 0 to 10000")
		p.check(z.BeyondFen >= 0 && z.BeyondFen <= 10_000, path+".beyond_fen", "须在 0 到 10000 之间", "it is from 0 to 10000")
		p.check(z.BeyondG == 0 || z.BeyondG >= 100, path+".beyond_g", "续重单位至少 100 克", "a further step is 100 g or more")
		var before Step
		for j, s := range z.Steps {
			at := fmt.Sprintf("%s.steps[%d]", path, j)
			p.check(s.UpToG > before.UpToG, at+".up_to_g", "重量须递增", "weights rise from step to step")
			p.check(s.Fen >= before.Fen && s.Fen <= maxFen, at+".fen", "价格不能随重量下降", "prices do not fall with the weight")
			before = s
		}
	}
	for i, s := range t.Surcharges {
		p.check(s.Fen >= 0 && s.Fen <= maxFen, fmt.Sprintf("surcharges[%d].fen", i), "须在 0 到 100000000 之间", "it is from 0 to 100000000")
	}
	for i, c := range t.Closures {
		from, err1 := time.Parse(time.DateOnly, c.FromDay)
		to, err2 := time.Parse(time.DateOnly, c.ToDay)
		p.check(err1 == nil && err2 == nil && !to.Before(from), fmt.Sprintf("closures[%d]", i), "日期须为 YYYY-MM-DD 且先后有序", "days are YYYY-MM-DD, the first before the last")
	}
	return p.err(ErrFreight)
}

func (a Address) within(regions []string) bool {
	if len(regions) == 0 {
		return true
	}
	path := a.Province + "/" + a.City + "/" + a.District
	return slices.ContainsFunc(regions, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

func (t *Table) closed(from, to Address, day string) bool {
	return slices.ContainsFunc(t.Closures, func(c Closure) bool {
		return c.FromDay <= day && day <= c.ToDay && from.within(c.From) && to.within(c.To)
	})
}

// tariff is a carrier on one way: a zone of its table and what is added.
type tariff struct {
	table *Table
	zone  int
	extra money.Fen
}

// maxParcelG is what no carrier takes in one parcel, whatever its table says.
const maxParcelG = 50_000_000

// quote returns the price of a weight; ok is false where the carrier does not take it.
func (t tariff) quote(grams int64) (_ money.Fen, ok bool) {
	if grams > maxParcelG || t.table.MaxG > 0 && grams > t.table.MaxG {
		return 0, false
	}
	z := &t.table.Zones[t.zone]
	for _, s := range z.Steps {
		if grams <= s.UpToG {
			return s.Fen + t.extra, true
		}
	}
	last := z.Steps[len(z.Steps)-1]
	if z.BeyondG == 0 {
		return 0, false
	}
	begun := (grams - last.UpToG + z.BeyondG - 1) / z.BeyondG
	return last.Fen + money.Fen(begun)*z.BeyondFen + t.extra, true
}

// tariffs returns the carriers that go this way on the day.
func tariffs(tables []Table, mode Mode, from, to Address, metres int64, at time.Time) (out []tariff) {
	day := clock.DayOf(at).String()
	for i := range tables {
		t := &tables[i]
		if !slices.Contains(t.Modes, mode) || t.closed(from, to, day) {
			continue
		}
		z := slices.IndexFunc(t.Zones, func(z Zone) bool {
			return from.within(z.From) && to.within(z.To) && (z.MaxMetres == 0 || metres <= z.MaxMetres)
		})
		if z < 0 {
			continue
		}
		extra := t.Zones[z].PerKmFen * money.Fen(metres) / 1000
		for _, s := range t.Surcharges {
			if to.within(s.To) {
				extra += s.Fen
			}
		}
		out = append(out, tariff{t, z, extra})
	}
	return out
}

// cheapest chooses the carrier of a parcel; of equal ones the first by code.
func cheapest(ways []tariff, grams int64) (carrier string, _ money.Fen, ok bool) {
	var best money.Fen
	for _, t := range ways {
		fen, takes := t.quote(grams)
		if takes && (!ok || fen < best || fen == best && t.table.Carrier < carrier) {
			carrier, best, ok = t.table.Carrier, fen, true
		}
	}
	return carrier, best, ok
}

// unknownMetres is the distance of a location that nobody has put on the map.
const unknownMetres = 1_000_000

// metres is the great-circle distance, the only place with floating point; it is rounded to whole metres.
func metres(a, b Position) int64 {
	if a == (Position{}) {
		return 0
	}
	if b == (Position{}) {
		return unknownMetres
	}
	const earth, rad = 6_371_000, math.Pi / 180e6
	la, lb := float64(a.LatE6)*rad, float64(b.LatE6)*rad
	x, y := math.Sin((lb-la)/2), math.Sin(float64(b.LonE6-a.LonE6)*rad/2)
	return int64(math.Round(2 * earth * math.Asin(math.Sqrt(min(1, x*x+math.Cos(la)*math.Cos(lb)*y*y)))))
}
