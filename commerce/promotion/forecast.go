package promotion

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Past is an order that was placed, as the cart it was, and what its goods really cost.
type Past struct {
	OrderNo string
	Cart    Cart
	Paid    money.Fen
}

// History gives forecasts past orders: those placed in [from, to), at most limit of them, a random but repeatable choice when
// there are more.
type History interface {
	Past(ctx context.Context, db pg.DB, from, to time.Time, limit int) ([]Past, error)
}

// Range is an estimate with its 90 % interval.
type Range struct {
	Value money.Fen `json:"value"`
	Low   money.Fen `json:"low"`
	High  money.Fen `json:"high"`
}

// Forecast says what a draft would have done to past orders. Nobody buys more or differently in it: Extra is the price of the
// promotion, and BreakEvenBp by how much the affected orders would have to grow to pay for it.
type Forecast struct {
	Orders       int       `json:"orders" doc:"past orders replayed"`
	ListFen      money.Fen `json:"list_fen" doc:"their goods before discounts"`
	PaidFen      money.Fen `json:"paid_fen" doc:"what they really paid for goods"`
	BaselineFen  money.Fen `json:"baseline_fen" doc:"what they would pay with today's promotions"`
	ForecastFen  money.Fen `json:"forecast_fen" doc:"with the draft beside them"`
	Extra        Range     `json:"extra_discount_fen" doc:"additional discount on goods and freight, with a 90 % interval from resampling the orders"`
	PerOrder     Range     `json:"per_order_fen" doc:"the same for each affected order"`
	Affected     int       `json:"affected" doc:"orders whose price changes"`
	AffectedLow  int       `json:"affected_low"`
	AffectedHigh int       `json:"affected_high"`
	Applied      int       `json:"applied" doc:"orders in which the draft applies"`
	Gifts        int64     `json:"gifts" doc:"additional gifts"`
	NearMisses   int       `json:"near_misses" doc:"orders that miss its amount by a fifth or less"`
	BreakEvenBp  int64     `json:"break_even_bp" doc:"growth of the affected orders that would pay for it"`
	Bearers      []Borne   `json:"bearers" doc:"who bears what the draft gives"`
}

// Borne is what a bearer carries of a promotion.
type Borne struct {
	Bearer string    `json:"bearer"`
	Fen    money.Fen `json:"fen"`
}

const resamples = 200

// Replay works past orders out with the rules there are and with a draft among them. It is a pure function; the interval
// comes from resampling the orders with a fixed seed.
func Replay(base, with *Compiled, draft string, orders iter.Seq[Past]) Forecast {
	var f Forecast
	var extras []money.Fen // per order
	var affectedFen money.Fen
	borne := map[string]money.Fen{}
	for o := range orders {
		before, after := Evaluate(base, o.Cart), Evaluate(with, o.Cart)
		f.Orders++
		f.ListFen += before.Totals.List
		f.PaidFen += o.Paid
		f.BaselineFen += before.Totals.Goods
		f.ForecastFen += after.Totals.Goods
		extra := before.Totals.Payable - after.Totals.Payable
		extras = append(extras, extra)
		if extra != 0 {
			affectedFen += after.Totals.Goods
		}
		for _, g := range after.Gifts {
			f.Gifts += g.Quantity
		}
		for _, g := range before.Gifts {
			f.Gifts -= g.Quantity
		}
		for _, a := range after.Adjustments {
			if a.Promotion == draft && a.Coupon == "" {
				for i, part := range Shares(a.Amount, a.Bearers) {
					borne[a.Bearers[i].Bearer] += part
				}
			}
		}
		for _, w := range after.Trace {
			if w.Promotion == draft && w.Coupon == "" {
				if w.Applied {
					f.Applied++
				} else if w.Code == CodeMinAmount && w.Have*5 >= w.Need*4 {
					f.NearMisses++
				}
			}
		}
	}
	f.resample(extras)
	if affectedFen > 0 && f.Extra.Value > 0 {
		f.BreakEvenBp = int64(f.Extra.Value) * 10000 / int64(affectedFen)
	}
	f.Bearers = make([]Borne, 0, len(borne))
	for bearer, fen := range borne {
		f.Bearers = append(f.Bearers, Borne{bearer, fen})
	}
	slices.SortFunc(f.Bearers, func(a, b Borne) int { return strings.Compare(a.Bearer, b.Bearer) })
	return f
}

// resample fills in what changes and how sure that is: the 5th and 95th percentile over samples of the orders, drawn with
// replacement.
func (f *Forecast) resample(extras []money.Fen) {
	sum := func(at func(i int) money.Fen) (total money.Fen, n int) {
		for i := range extras {
			if e := at(i); e != 0 {
				total += e
				n++
			}
		}
		return total, n
	}
	f.Extra.Value, f.Affected = sum(func(i int) money.Fen { return extras[i] })
	each := func(total money.Fen, n int) money.Fen { return total / money.Fen(max(n, 1)) }
	f.PerOrder.Value = each(f.Extra.Value, f.Affected)
	totals, counts, means := make([]money.Fen, resamples), make([]int, resamples), make([]money.Fen, resamples)
	r := rand.New(rand.NewPCG(uint64(len(extras)), 20261123))
	for k := range resamples {
		totals[k], counts[k] = sum(func(int) money.Fen { return extras[r.IntN(len(extras))] })
		means[k] = each(totals[k], counts[k])
	}
	slices.Sort(totals)
	slices.Sort(counts)
	slices.Sort(means)
	const low, high = resamples / 20, resamples - 1 - resamples/20
	f.Extra.Low, f.Extra.High = totals[low], totals[high]
	f.PerOrder.Low, f.PerOrder.High = means[low], means[high]
	f.AffectedLow, f.AffectedHigh = counts[low], counts[high]
}

// ForecastInput asks what a draft would have done.
type ForecastInput struct {
	Draft Rule
	From  time.Time
	To    time.Time
	// Assume treats conditions that history does not know (tiers, segments, tags) and the draft's own dates as met.
	Assume bool
	Limit  int
}

// maxReplay bounds the orders of a forecast; more are sampled.
const maxReplay = 20_000

// Forecast replays past orders with the draft: ErrInvalid.
func (s *Service) Forecast(ctx context.Context, db pg.DB, in ForecastInput) (Forecast, error) {
	var p problems
	p.unless(in.To.After(in.From), "to", "order", "须晚于 from", "does not lie after from", "请更正时间", "correct one of the two")
	p.unless(in.Limit >= 0 && in.Limit <= maxReplay, "limit", "range", "须为 0 到 20000", "is not 0 to 20,000", "0 表示 20000", "0 means 20,000")
	if err := p.as(ErrInvalid); err != nil {
		return Forecast{}, err
	}
	if in.Draft.Name == "" {
		in.Draft.Name = in.Draft.Promotion
	}
	if err := in.Draft.Validate(); err != nil {
		return Forecast{}, err
	}
	if in.Assume {
		w := &in.Draft.When
		w.From, w.To, w.Tiers, w.Segments, w.Tags = nil, nil, nil, nil, nil
	}
	base, with, err := compileWith(ctx, db, in.Draft)
	if err != nil {
		return Forecast{}, err
	}
	if in.Limit == 0 {
		in.Limit = maxReplay
	}
	past, err := s.history.Past(ctx, db, in.From, in.To, in.Limit)
	if err != nil {
		return Forecast{}, fmt.Errorf("read past orders: %w", err)
	}
	return Replay(base, with, in.Draft.Promotion, slices.Values(past)), nil
}
