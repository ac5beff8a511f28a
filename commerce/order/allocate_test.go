package order_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/internal/money"
)

func bearers(parts []order.BearerPart) map[string]money.Fen {
	out := map[string]money.Fen{}
	for _, p := range parts {
		out[p.Bearer] += p.Fen
	}
	return out
}

// The common order of the settlement study, to the fen.
func TestAllocateGolden(t *testing.T) {
	t.Parallel()
	o := order.Order{Lines: []order.Line{
		{LineNo: 1, Kind: order.LineSale, SKU: "22423", UnitPriceFen: 29_900, Quantity: 1},
		{LineNo: 2, Kind: order.LineSale, SKU: "85099B", UnitPriceFen: 4_900, Quantity: 2},
		{LineNo: 3, Kind: order.LineFreight, SKU: "freight", UnitPriceFen: 1_000, Quantity: 1},
	}}
	coupon := order.Reduction{
		Kind: "coupon", Source: "full-300-less-40", Amount: 4_000,
		Bearers: []order.Share{{Bearer: "hq", Bp: 6_000}, {Bearer: "performer", Bp: 4_000}},
	}
	require.NoError(t, o.Allocate([]order.Reduction{coupon}, 1_000, 1_000))
	type row struct {
		List, Discount, HQ, Performer, Points, Cash money.Fen
	}
	unit := func(line, unit int) row {
		u := o.Line(line).Units[unit-1]
		r := row{List: u.ListFen, Discount: u.DiscountFen, Points: u.PointsFen, Cash: u.CashFen}
		for _, d := range u.Discounts {
			r.HQ += bearers(d.Bearers)["hq"]
			r.Performer += bearers(d.Bearers)["performer"]
		}
		require.EqualValues(t, u.PointsFen, u.Points)
		return r
	}
	require.Equal(t, row{29_900, 3_013, 1_808, 1_205, 753, 26_134}, unit(1, 1))
	require.Equal(t, row{4_900, 493, 296, 197, 123, 4_284}, unit(2, 1))
	require.Equal(t, row{4_900, 494, 296, 198, 124, 4_282}, unit(2, 2))
	require.Equal(t, row{List: 1_000, Cash: 1_000}, unit(3, 1))
	bags := o.Line(2)
	require.Equal(t, []money.Fen{9_800, 987, 247, 8_566}, []money.Fen{bags.ListFen, bags.DiscountFen, bags.PointsFen, bags.CashFen})
	require.Equal(t, []money.Fen{40_700, 4_000, 1_000, 35_700, 1_000}, []money.Fen{o.ListFen, o.DiscountFen, o.PointsFen, o.CashFen, o.FreightFen})
	require.EqualValues(t, 3, o.Quantity)
}

func TestAllocateIsExactOnEveryLevel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := order.Order{}
		for i := range rapid.IntRange(1, 5).Draw(t, "lines") {
			o.Lines = append(o.Lines, order.Line{
				LineNo: i + 1, Kind: rapid.SampledFrom([]order.LineKind{order.LineSale, order.LineGift, order.LineBundleComponent, order.LineFreight}).Draw(t, "kind"),
				UnitPriceFen: money.Fen(rapid.Int64Range(0, 5_000).Draw(t, "price")), Quantity: rapid.Int64Range(1, 7).Draw(t, "quantity"),
			})
		}
		var reductions []order.Reduction
		var want money.Fen
		for range rapid.IntRange(0, 4).Draw(t, "reductions") {
			r := order.Reduction{Kind: "promotion", Source: "p", Amount: money.Fen(rapid.Int64Range(0, 6_000).Draw(t, "amount"))}
			left := int64(10_000)
			for left > 0 {
				bp := rapid.Int64Range(1, left).Draw(t, "bp")
				if len(r.Bearers) == 3 {
					bp = left
				}
				r.Bearers = append(r.Bearers, order.Share{Bearer: string(rune('a' + len(r.Bearers))), Bp: bp})
				left -= bp
			}
			switch rapid.IntRange(0, 2).Draw(t, "scope") {
			case 1:
				r.Lines = []int{1}
			case 2:
				r.Targets = []order.Target{{LineNo: 1, UnitNo: rapid.IntRange(0, 1).Draw(t, "unit"), Amount: r.Amount}}
			}
			reductions = append(reductions, r)
			want += r.Amount
		}
		points := rapid.Int64Range(0, 5_000).Draw(t, "points")
		if err := o.Allocate(reductions, points, money.Fen(points)); err != nil {
			require.ErrorIs(t, err, order.ErrInvalid)
			return
		}
		var sum order.Order
		borne := map[string]money.Fen{}
		for _, l := range o.Lines {
			var line order.Line
			for _, u := range l.Units {
				require.GreaterOrEqual(t, u.CashFen, money.Fen(0))
				require.GreaterOrEqual(t, u.PointsFen, money.Fen(0))
				require.Equal(t, u.ListFen, u.DiscountFen+u.PointsFen+u.CashFen)
				var off money.Fen
				for _, d := range u.Discounts {
					var parts money.Fen
					for _, b := range d.Bearers {
						require.Positive(t, b.Fen)
						parts += b.Fen
						borne[b.Bearer] += b.Fen
					}
					require.Equal(t, d.Fen, parts)
					off += d.Fen
				}
				require.Equal(t, u.DiscountFen, off)
				line.DiscountFen, line.PointsFen, line.CashFen, line.Points = line.DiscountFen+u.DiscountFen, line.PointsFen+u.PointsFen, line.CashFen+u.CashFen, line.Points+u.Points
			}
			require.Equal(t, []money.Fen{l.DiscountFen, l.PointsFen, l.CashFen}, []money.Fen{line.DiscountFen, line.PointsFen, line.CashFen})
			require.Equal(t, l.Points, line.Points)
			sum.DiscountFen, sum.PointsFen, sum.Points = sum.DiscountFen+l.DiscountFen, sum.PointsFen+l.PointsFen, sum.Points+l.Points
		}
		require.Equal(t, want, o.DiscountFen)
		require.Equal(t, sum.DiscountFen, o.DiscountFen)
		require.Equal(t, money.Fen(points), o.PointsFen)
		require.Equal(t, points, o.Points)
		require.Equal(t, o.ListFen, o.DiscountFen+o.PointsFen+o.CashFen)
		// Every bearer bears its share of each reduction to the fen.
		whole := map[string]money.Fen{}
		for _, r := range reductions {
			weights := make([]int64, len(r.Bearers))
			for i, b := range r.Bearers {
				weights[i] = b.Bp
			}
			parts, err := money.Split(r.Amount, weights)
			require.NoError(t, err)
			for i, b := range r.Bearers {
				if parts[i] > 0 {
					whole[b.Bearer] += parts[i]
				}
			}
		}
		require.Equal(t, whole, borne)
	})
}
