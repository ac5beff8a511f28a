package main

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/promotion"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// What the engine allots to units is what the order has in its units.
func TestCheckoutGivesWhatPromotionsDecide(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	now := time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC)
	s := promotion.New(tx, clock.NewVirtual(now), order.History{})
	publish := func(tx pgx.Tx, r promotion.Rule) {
		r.Name, r.Bearers = r.Promotion, []promotion.Bearer{{Bearer: "hq", Bp: 6000}, {Bearer: "performer", Bp: 4000}}
		_, err := s.Create(t.Context(), tx, "ann", r)
		require.NoError(t, err)
		_, err = s.Approve(t.Context(), tx, "ann", r.Promotion)
		require.NoError(t, err)
		_, err = s.Publish(t.Context(), tx, "ann", r.Promotion)
		require.NoError(t, err)
	}
	publish(tx, promotion.Rule{Promotion: "half", Kind: promotion.KindNthUnit, Items: promotion.Scope{Categories: []string{"bags"}}, Benefit: promotion.Benefit{N: 2, PercentBp: 5000}})
	publish(tx, promotion.Rule{Promotion: "post", Kind: promotion.KindFreight, Benefit: promotion.Benefit{Amount: 600}})
	publish(tx, promotion.Rule{Promotion: "heart", Kind: promotion.KindGift, MinAmount: 30000, Benefit: promotion.Benefit{Gifts: []promotion.GiftItem{{SKU: "heart", Worth: 2550}}}})
	publish(tx, promotion.Rule{Promotion: "limited", Kind: promotion.KindItemDiscount, Benefit: promotion.Benefit{PercentBp: 9000}, Limits: promotion.Limits{Total: 1}})
	occasion := checkout.Occasion{
		At: now, Touchpoint: "miniprogram", Freight: 1000,
		Lines: []checkout.Line{
			{LineNo: 1, SKU: "stand", Category: "cake", Quantity: 1, UnitPrice: 29900}, {LineNo: 2, SKU: "bag", Category: "bags", Quantity: 3, UnitPrice: 4901},
		},
		Coupons: []checkout.CouponFact{{Coupon: coupon.Coupon{Code: "LK1", Template: "robin-40"}, Template: coupon.Template{
			Code: "robin-40", Kind: coupon.KindAmountOff, AmountFen: 4000, ThresholdFen: 30000, Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 10000}},
		}}},
	}
	pricer := promotionsOf{s}
	deal, err := pricer.Evaluate(occasion)
	require.NoError(t, err, "nothing is in memory yet: the coupon alone")
	require.Len(t, deal.Reductions, 1)
	require.NoError(t, s.Refresh(t.Context(), tx))
	deal, err = pricer.Evaluate(occasion)
	require.NoError(t, err)
	require.Len(t, deal.Reductions, 3)
	require.Equal(t, []checkout.Gift{{Line: 1, SKU: "heart", Quantity: 1, Worth: 2550, Source: "heart"}}, deal.Gifts)
	require.Contains(t, string(deal.Trace), `"exhausted"`)

	o := order.Order{Lines: []order.Line{
		{LineNo: 1, Kind: order.LineSale, SKU: "stand", UnitPriceFen: 29900, Quantity: 1}, {LineNo: 2, Kind: order.LineSale, SKU: "bag", UnitPriceFen: 4901, Quantity: 3},
		{LineNo: checkout.FreightLine, Kind: order.LineFreight, SKU: "freight", UnitPriceFen: 1000, Quantity: 1},
	}}
	require.NoError(t, o.Allocate(deal.Reductions, 0, 0))
	require.EqualValues(t, 2451+4000+600, o.DiscountFen)
	sums := map[string]money.Fen{}
	for _, l := range o.Lines {
		for _, u := range l.Units {
			for _, d := range u.Discounts {
				sums[d.Source] += d.Fen
			}
		}
	}
	require.Equal(t, map[string]money.Fen{"half": 2451, "LK1": 4000, "post": 600}, sums)

	occasion.Lines = occasion.Lines[1:]
	_, err = pricer.Evaluate(occasion)
	require.ErrorIs(t, err, promotion.ErrCoupon)
	require.ErrorContains(t, err, "needs ¥300.00")
}
