package sourcing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/money"
)

var (
	noon  = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC) // 12:00 in Shanghai
	towns = []Address{{"广东", "深圳", "南山"}, {"广东", "广州", "越秀"}, {"浙江", "杭州", "西湖"}, {"西藏", "拉萨", ""}}
)

func tables() []Table {
	return []Table{
		{
			Carrier: "fast", Modes: []Mode{ModeShip}, MaxG: 6000, Surcharges: []Surcharge{{[]string{"西藏"}, 1500}},
			Zones: []Zone{
				{Code: "home", From: []string{"广东"}, To: []string{"广东"}, Steps: []Step{{1000, 600}, {3000, 900}}, BeyondG: 1000, BeyondFen: 200},
				{Code: "far", Steps: []Step{{1000, 1200}}, BeyondG: 1000, BeyondFen: 500},
			},
		},
		{
			Carrier: "slow", Modes: []Mode{ModeShip}, Zones: []Zone{{Code: "all", Steps: []Step{{3000, 1000}, {20_000, 1700}}}},
			Closures: []Closure{{To: []string{"浙江"}, FromDay: "2026-11-20", ToDay: "2026-11-23"}},
		},
		{Carrier: "rider", Modes: []Mode{ModeSameCity}, Zones: []Zone{{Code: "city", PerKmFen: 30, MaxMetres: 30_000, Steps: []Step{{5000, 800}}}}},
	}
}

type generated struct {
	req   Request
	locs  []Location
	rules Rules
}

// small makes a case that brute force can list in at most so many leaves.
func small(r *rand.Rand, leaves int) generated {
	g := generated{rules: Rules{Code: "t", UnitWeightG: 400, Freight: tables()}}
	g.rules.Objective = []Objective{ObjectiveCheapest, ObjectiveNearest, ObjectiveFewest}[r.IntN(3)]
	if r.IntN(3) == 0 {
		g.rules.MaxParcels = 1 + r.IntN(3)
	}
	g.rules.StoreBuffer = int64(r.IntN(2))
	to := towns[r.IntN(len(towns))]
	g.req = Request{To: to, Position: Position{22_500_000 + r.Int64N(200_000), 114_000_000 + r.Int64N(200_000)}, At: noon}
	all := r.IntN(3) > 0
	for i := range 1 + r.IntN(8) {
		l := Location{
			Code: fmt.Sprintf("L%d", i), Kind: KindStore, Address: towns[r.IntN(len(towns))], Modes: modes, Cap: 1 + r.Int64N(4),
			Position:  Position{22_500_000 + r.Int64N(400_000), 114_000_000 + r.Int64N(400_000)},
			Available: map[string]int64{}, AgeDays: map[string]int64{},
		}
		l.Taken = r.Int64N(l.Cap)
		if r.IntN(3) == 0 {
			l.Kind = KindWarehouse
		}
		for s := range 5 {
			if r.IntN(2) == 0 {
				l.Available[fmt.Sprint("s", s)] = r.Int64N(6)
				l.AgeDays[fmt.Sprint("s", s)] = r.Int64N(200)
			}
		}
		g.locs = append(g.locs, l)
	}
	for range 1 + r.IntN(6) {
		line := Line{SKU: fmt.Sprint("s", r.IntN(5)), Quantity: 1 + r.Int64N(3), Mode: ModeShip, WeightG: r.Int64N(3000), Split: r.IntN(3) == 0}
		if !all {
			line.Mode = modes[r.IntN(3)]
		}
		if line.Mode == ModePickup && r.IntN(2) == 0 {
			line.Pickup = "L0"
		}
		ways := 1
		for _, l := range g.locs {
			if l.Available[line.SKU] > 0 {
				ways++
			}
		}
		if line.Split { // compositions, roughly
			ways = []int{1, ways, ways * (ways + 1) / 2, ways * (ways + 1) * (ways + 2) / 6}[line.Quantity]
		}
		if leaves /= ways; leaves == 0 && len(g.req.Lines) > 0 {
			break
		}
		g.req.Lines = append(g.req.Lines, line)
	}
	return g
}

// brute lists every way to supply the lines and returns the units that are short and the score of the best.
type brute struct {
	generated
	w     Weights
	took  [][]int64 // by line, location
	short int64
	best  [2]int64 // short units, score
	found bool
}

func (b *brute) solve() [2]int64 {
	b.w = b.rules.weights()
	b.took = make([][]int64, len(b.req.Lines))
	for i := range b.took {
		b.took[i] = make([]int64, len(b.locs))
	}
	b.line(0)
	return b.best
}

func (b *brute) line(i int) {
	if i == len(b.req.Lines) {
		if cost, ok := b.price(); ok {
			if now := [2]int64{b.short, cost}; !b.found || slices.Compare(now[:], b.best[:]) < 0 {
				b.best, b.found = now, true
			}
		}
		return
	}
	b.units(i, 0, b.req.Lines[i].Quantity)
}

func (b *brute) units(i, l int, left int64) {
	line := b.req.Lines[i]
	if l == len(b.locs) {
		if left == 0 || line.Split || left == line.Quantity {
			b.short += left
			b.line(i + 1)
			b.short -= left
		}
		return
	}
	loc := &b.locs[l]
	distance := metres(b.req.Position, loc.Position)
	usable := loc.Available[line.SKU]
	if loc.Kind == KindStore {
		usable -= b.rules.StoreBuffer
	}
	for n := int64(0); n <= left; n++ {
		if n > 0 && (n > usable || line.Pickup != "" && line.Pickup != loc.Code || b.rules.reject(&b.req, loc, line.Mode, distance) != "" ||
			!line.Split && n != line.Quantity) {
			continue
		}
		b.took[i][l] = n
		b.units(i, l+1, left-n)
		b.took[i][l] = 0
	}
}

func (b *brute) price() (score int64, ok bool) {
	parcels := 0
	for l := range b.locs {
		loc := &b.locs[l]
		sum, mine := [5]int64{}, int64(0)
		for _, mode := range modes {
			grams, units := int64(0), int64(0)
			for i, line := range b.req.Lines {
				n := b.took[i][l]
				if n == 0 || line.Mode != mode {
					continue
				}
				weight := line.WeightG
				if weight == 0 {
					weight = b.rules.UnitWeightG
				}
				grams += n * weight
				units += n
				score -= n * (int64(b.w.AgeFen) * min(loc.AgeDays[line.SKU], b.w.AgeDays) / 30)
				k := line.SKU[1] - '0'
				sum[k] += n
				usable := loc.Available[line.SKU]
				if loc.Kind == KindStore {
					usable -= b.rules.StoreBuffer
				}
				if sum[k] > usable {
					return 0, false
				}
			}
			if units == 0 {
				continue
			}
			mine++
			parcels++
			distance := metres(b.req.Position, loc.Position)
			score += int64(b.w.PerKmFen)*distance/1000 + int64(b.w.ShadowFen)*loc.Taken*loc.Taken/(loc.Cap*loc.Cap)
			if mode != ModePickup {
				freight, goes := b.freight(mode, loc.Address, grams, distance)
				if !goes {
					return 0, false
				}
				score += freight * b.w.FreightBp / 10_000
			}
		}
		if mine > loc.Cap-loc.Taken {
			return 0, false
		}
	}
	if b.rules.MaxParcels > 0 && parcels > b.rules.MaxParcels {
		return 0, false
	}
	return score + int64(b.w.SplitFen)*int64(max(parcels-1, 0)), true
}

// freight spells the tables above out.
func (b *brute) freight(mode Mode, from Address, grams, distance int64) (int64, bool) {
	to := b.req.To.Province
	if mode == ModeSameCity {
		return 800 + 30*distance/1000, grams <= 5000 && distance <= 30_000
	}
	best, ok := int64(0), false
	offer := func(fen int64) {
		if !ok || fen < best {
			best, ok = fen, true
		}
	}
	if grams <= 6000 {
		fen := int64(0)
		switch {
		case from.Province == "广东" && to == "广东" && grams <= 1000:
			fen = 600
		case from.Province == "广东" && to == "广东":
			fen = 900 + max(0, (grams-3000+999)/1000)*200
		default:
			fen = 1200 + max(0, (grams-1000+999)/1000)*500
		}
		if to == "西藏" {
			fen += 1500
		}
		offer(fen)
	}
	if to != "浙江" && grams <= 3000 {
		offer(1000)
	} else if to != "浙江" && grams <= 20_000 {
		offer(1700)
	}
	return best, ok
}

func score(p Plan) [2]int64 {
	short := int64(0)
	for _, i := range p.Short {
		short += i.Quantity
	}
	return [2]int64{short, int64(p.CostFen)}
}

func TestPlansEqualBruteForce(t *testing.T) {
	t.Parallel()
	split, partial, several := 0, 0, 0
	for seed := range uint64(10_000) {
		leaves := 1500
		if seed%250 == 0 {
			leaves = 150_000
		}
		g := small(rand.New(rand.NewPCG(seed, 16)), leaves)
		g.rules.Nodes = 1_000_000
		p, _ := Source(g.req, g.locs, g.rules)
		b := brute{generated: g}
		require.Equal(t, b.solve(), score(p), "seed %d: %+v", seed, g)
		require.True(t, p.Exact, "seed %d", seed)
		supplied := make([]int64, len(g.req.Lines))
		for _, parcel := range p.Parcels {
			for _, item := range parcel.Items {
				supplied[item.Line] += item.Quantity
				if item.Quantity < g.req.Lines[item.Line].Quantity {
					split++
				}
			}
		}
		for _, item := range p.Short {
			supplied[item.Line] += item.Quantity
		}
		for i, l := range g.req.Lines {
			require.Equal(t, l.Quantity, supplied[i], "seed %d: line %d is covered exactly", seed, i)
		}
		if len(p.Short) > 0 {
			partial++
		}
		if len(p.Parcels) > 1 {
			several++
		}
	}
	require.Greater(t, split, 500, "lines were split")
	require.Greater(t, partial, 500, "orders were short")
	require.Greater(t, several, 2000, "orders were split")
}

func TestMetamorphic(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 17))
		g := small(r, 1_000_000)
		p, _ := Source(g.req, g.locs, g.rules)

		shuffled := slices.Clone(g.locs)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		same, _ := Source(g.req, shuffled, g.rules)
		require.Equal(t, p, same, "seed %d: the order of the locations does not matter", seed)

		useless := Location{Code: "L00", Kind: KindStore, Modes: modes, Cap: 9, Available: map[string]int64{"other": 100}}
		same, why := Source(g.req, append(shuffled, useless), g.rules)
		require.Equal(t, p, same, "seed %d: a location without the goods changes nothing", seed)
		require.True(t, slices.ContainsFunc(why.Rejected, func(x Rejection) bool { return x.Location == "L00" }), "seed %d", seed)

		for _, parcel := range p.Parcels {
			less := g.req
			less.Refused = []string{parcel.Location}
			without, why := Source(less, g.locs, g.rules)
			a, b := score(p), score(without)
			require.LessOrEqual(t, slices.Compare(a[:], b[:]), 0, "seed %d: without a location chosen nothing gets better", seed)
			require.False(t, slices.ContainsFunc(without.Parcels, func(x Parcel) bool { return x.Location == parcel.Location }))
			require.True(t, slices.ContainsFunc(why.Rejected, func(x Rejection) bool {
				return x.Location == parcel.Location && x.Reason == ReasonRefused && x.Text.ZH != ""
			}))
		}
	}
}

// Every location is in the plan or in the explanation, and what the explanation says it would cost more is so.
func TestWhyNamesEverybody(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		g := small(rand.New(rand.NewPCG(seed, 18)), 1_000_000)
		p, why := Source(g.req, g.locs, g.rules)
		for _, mode := range modes {
			if !slices.ContainsFunc(g.req.Lines, func(l Line) bool { return l.Mode == mode }) {
				continue
			}
			for _, l := range g.locs {
				chosen := slices.ContainsFunc(p.Parcels, func(x Parcel) bool { return x.Location == l.Code && x.Mode == mode })
				i := slices.IndexFunc(why.Rejected, func(x Rejection) bool { return x.Location == l.Code && x.Mode == mode })
				require.Equal(t, chosen, i < 0, "seed %d: %s %s", seed, l.Code, mode)
				if i >= 0 {
					require.NotEmpty(t, why.Rejected[i].Text.EN)
				}
			}
		}
	}
}

func TestObjectivesDiffer(t *testing.T) {
	t.Parallel()
	near := Location{Code: "near", Kind: KindStore, Address: towns[2], Position: Position{22_510_000, 114_010_000}, Modes: modes, Cap: 10, Available: map[string]int64{"a": 5}}
	cheap := Location{Code: "cheap", Kind: KindWarehouse, Address: towns[1], Position: Position{23_100_000, 113_300_000}, Modes: modes, Cap: 10, Available: map[string]int64{"a": 5}}
	other := Location{Code: "other", Kind: KindStore, Address: towns[0], Position: Position{22_512_000, 114_012_000}, Modes: modes, Cap: 10, Available: map[string]int64{"b": 5}}
	both := Location{Code: "both", Kind: KindWarehouse, Address: towns[3], Position: Position{29_600_000, 91_100_000}, Modes: modes, Cap: 10, Available: map[string]int64{"a": 5, "b": 5}}
	req := Request{
		Lines: []Line{{SKU: "a", Quantity: 1, Mode: ModeShip}, {SKU: "b", Quantity: 1, Mode: ModeShip}},
		To:    towns[0], Position: Position{22_500_000, 114_000_000}, At: noon,
	}
	for objective, want := range map[Objective][]string{
		ObjectiveNearest: {"near", "other"}, ObjectiveCheapest: {"cheap", "other"}, ObjectiveFewest: {"both"},
	} {
		p, why := Source(req, []Location{near, cheap, other, both}, Rules{Code: "t", Objective: objective, UnitWeightG: 500, Freight: tables()})
		var got []string
		for _, x := range p.Parcels {
			got = append(got, x.Location)
		}
		require.Equal(t, want, got, "%s: %+v", objective, why)
	}
}

func TestFilterReasons(t *testing.T) {
	t.Parallel()
	good := Location{Code: "S", Kind: KindStore, Entity: "E1", Address: towns[0], Modes: modes, Cap: 2, Available: map[string]int64{"a": 3}}
	for name, c := range map[string]struct {
		mode   Mode
		change func(*Location, *Request, *Rules)
		want   Reason
	}{
		"served":   {ModeShip, func(*Location, *Request, *Rules) {}, ""},
		"excluded": {ModeShip, func(_ *Location, r *Request, _ *Rules) { r.Excluded = []string{"S"} }, ReasonExcluded},
		"refused":  {ModeShip, func(_ *Location, r *Request, _ *Rules) { r.Refused = []string{"S"} }, ReasonRefused},
		"hops":     {ModeShip, func(_ *Location, r *Request, u *Rules) { r.Refused, u.MaxHops = []string{"X", "Y"}, 2 }, ReasonHops},
		"warehouse": {ModeShip, func(l *Location, r *Request, u *Rules) {
			l.Kind, r.Refused, u.MaxHops = KindWarehouse, []string{"X", "Y"}, 2
		}, ""},
		"kind":          {ModeShip, func(_ *Location, _ *Request, u *Rules) { u.Kinds = []Kind{KindWarehouse} }, ReasonKind},
		"entity":        {ModeShip, func(_ *Location, _ *Request, u *Rules) { u.Entities = []string{"E2"} }, ReasonEntity},
		"touchpoint":    {ModeShip, func(l *Location, _ *Request, _ *Rules) { l.Touchpoints = []string{"pos"} }, ReasonTouchpoint},
		"mode":          {ModePickup, func(l *Location, _ *Request, _ *Rules) { l.Modes = []Mode{ModeShip} }, ReasonMode},
		"other pick-up": {ModePickup, func(_ *Location, r *Request, _ *Rules) { r.Lines[0].Pickup = "T" }, ReasonPickup},
		"closed":        {ModeSameCity, func(l *Location, _ *Request, _ *Rules) { l.Opens, l.Closes = 13*60, 22*60 }, ReasonOpening},
		"open at night": {ModeSameCity, func(l *Location, _ *Request, _ *Rules) { l.Opens, l.Closes = 11*60, 2*60 }, ""},
		"cut-off":       {ModeShip, func(l *Location, _ *Request, u *Rules) { l.CutOff, u.SameDay = 12*60, true }, ReasonCutOff},
		"tomorrow":      {ModeShip, func(l *Location, _ *Request, _ *Rules) { l.CutOff = 12 * 60 }, ""},
		"capacity":      {ModeShip, func(l *Location, _ *Request, _ *Rules) { l.Taken = 2 }, ReasonCapacity},
		"buffer":        {ModeShip, func(_ *Location, _ *Request, u *Rules) { u.StoreBuffer = 2 }, ReasonStock},
		"confidence":    {ModeShip, func(_ *Location, _ *Request, u *Rules) { u.StoreConfidenceBp = 5000 }, ReasonStock},
		"other city":    {ModeSameCity, func(l *Location, _ *Request, _ *Rules) { l.Address = towns[1] }, ReasonFar},
		"too far": {ModeSameCity, func(l *Location, _ *Request, u *Rules) {
			l.Position = Position{23_000_000, 114_000_000}
			u.SameCityMetres = 20_000
		}, ReasonFar},
		"stopped": {ModeShip, func(_ *Location, r *Request, u *Rules) { r.To = towns[2]; u.Freight = u.Freight[1:] }, ReasonCarrier},
		"open again": {ModeShip, func(_ *Location, r *Request, u *Rules) {
			r.To, r.At = towns[2], noon.AddDate(0, 0, 1)
			u.Freight = u.Freight[1:]
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := good
			req := Request{Lines: []Line{{SKU: "a", Quantity: 2, Mode: c.mode}}, To: towns[0], Position: Position{22_500_000, 114_000_000}, At: noon, Touchpoint: "web"}
			l.Position = Position{22_510_000, 114_000_000}
			rules := Rules{Code: "t", Objective: ObjectiveCheapest, UnitWeightG: 500, Freight: tables()}
			c.change(&l, &req, &rules)
			p, why := Source(req, []Location{l}, rules)
			if c.want == "" {
				require.Len(t, p.Parcels, 1, why)
				require.Empty(t, why.Rejected)
				return
			}
			require.Empty(t, p.Parcels)
			require.Equal(t, []Item{{0, "a", 2}}, p.Short)
			require.Len(t, why.Rejected, 1)
			require.Equal(t, c.want, why.Rejected[0].Reason)
			require.NotEmpty(t, why.Rejected[0].Text.ZH)
		})
	}
}

// A request too large to list is served greedily, with an honest bound.
func TestLargeRequestsReportTheirGap(t *testing.T) {
	t.Parallel()
	req, locs, rules := stores(rand.New(rand.NewPCG(1, 19)), 40, 30)
	p, _ := Source(req, locs, rules)
	require.NotEmpty(t, p.Parcels)
	require.True(t, p.Complete())
	require.Positive(t, p.GapBp)
	require.False(t, p.Exact)

	// Where both can be computed, the greedy plan is within its gap and the loose bound below the exact answer.
	for seed := range uint64(300) {
		g := small(rand.New(rand.NewPCG(seed, 20)), 1_000_000)
		e := &search{req: &g.req, rules: &g.rules, w: g.rules.weights(), locs: g.locs, twice: true}
		e.sites()
		e.space = newSpace(g.req.Lines, g.rules.UnitWeightG, e.all)
		e.greedy()
		greedy, loose := e.best, e.loose()
		e.now, e.parcels = nil, 0
		e.exact()
		require.LessOrEqual(t, loose, e.best, "seed %d", seed)
		require.GreaterOrEqual(t, greedy, e.best, "seed %d", seed)
	}
}

// stores makes a brand with many stores and an order of so many lines.
func stores(r *rand.Rand, shops, lines int) (Request, []Location, Rules) {
	req := Request{To: towns[r.IntN(3)], Position: Position{22_500_000, 114_000_000}, At: noon}
	for i := range lines {
		req.Lines = append(req.Lines, Line{SKU: fmt.Sprint("s", i), Quantity: 1 + r.Int64N(2), Mode: ModeShip, WeightG: 100 + r.Int64N(900)})
	}
	var locs []Location
	for i := range shops {
		l := Location{
			Code: fmt.Sprintf("L%03d", i), Kind: KindStore, Address: towns[r.IntN(len(towns))], Modes: modes, Cap: 50, Taken: r.Int64N(50),
			Position:  Position{20_000_000 + r.Int64N(10_000_000), 105_000_000 + r.Int64N(15_000_000)},
			Available: map[string]int64{}, AgeDays: map[string]int64{},
		}
		for j := range lines {
			if r.IntN(10) < 4 {
				l.Available[fmt.Sprint("s", j)] = r.Int64N(4)
				l.AgeDays[fmt.Sprint("s", j)] = r.Int64N(200)
			}
		}
		locs = append(locs, l)
	}
	locs[0].Kind, locs[0].Cap = KindWarehouse, 5000
	for j := range lines {
		locs[0].Available[fmt.Sprint("s", j)] = 10
	}
	return req, locs, Rules{Code: "t", Objective: ObjectiveCheapest, UnitWeightG: 500, Freight: tables()}
}

func TestTablesAreChecked(t *testing.T) {
	t.Parallel()
	for _, table := range tables() {
		require.NoError(t, table.Validate())
	}
	falling := tables()[0]
	falling.Zones = []Zone{{Steps: []Step{{1000, 900}, {2000, money.Fen(800)}}}}
	require.ErrorIs(t, falling.Validate(), ErrFreight)
	require.ErrorIs(t, Rules{Code: "x", Objective: "best"}.Validate(), ErrRules)
	require.NoError(t, defaultRules.Validate())
	require.ErrorIs(t, Request{}.Validate(), ErrRequest)
	require.ErrorIs(t, Settings{Opens: "9"}.Validate(), ErrLocation)
}

// 200 stores × 10 lines: latency in the middle and at the end, and how far from the best.
func BenchmarkSource(b *testing.B) {
	type sample struct {
		took time.Duration
		gap  int64
	}
	r := rand.New(rand.NewPCG(1, 21))
	var all []sample
	for b.Loop() {
		b.StopTimer()
		req, locs, rules := stores(r, 200, 10)
		b.StartTimer()
		begin := time.Now()
		p, _ := Source(req, locs, rules)
		all = append(all, sample{time.Since(begin), p.GapBp})
	}
	slices.SortFunc(all, func(a, b sample) int { return int(a.took - b.took) })
	worst := int64(0)
	for _, s := range all {
		worst = max(worst, s.gap)
	}
	b.ReportMetric(float64(all[len(all)/2].took.Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].took.Microseconds()), "p99-µs")
	b.ReportMetric(float64(worst), "worst-gap-bp")
}
