package settlement_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/settlement"
	"github.com/lianke/lianke/internal/money"
)

var (
	hq    = settlement.Party{Unit: "HQ", Entity: "robin"}
	f1    = settlement.Party{Unit: "gz01", Entity: "linghe"}
	shop  = settlement.Party{Unit: "hz01", Entity: "hangzhou"}
	third = settlement.Party{Unit: "sh01", Entity: "shanghai"}
)

// common is the order of the settlement study: a cake stand, two bags, a coupon of 4,000 borne 60 : 40, 1,000 points,
// freight 1,000, allocated to units when it was placed.
func common(terms org.Terms) settlement.Sale {
	unit := func(line string, list, byHQ, own, points, cash money.Fen) settlement.Unit {
		return settlement.Unit{
			Line: line, SKU: "sku" + line, List: list, Points: points, Cash: cash, Cost: list / 2,
			Discounts: []settlement.Discount{{Bearer: settlement.BearerHQ, Fen: byHQ}, {Bearer: settlement.BearerPerformer, Fen: own}},
		}
	}
	terms.PaymentFeeBp, terms.PointsPerFen, terms.HandlingFen, terms.CommissionBp = 60, 100, 300, 200
	return settlement.Sale{
		OrderNo: "S1", PaidAt: time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC), Terms: terms,
		Parties: map[org.Role]settlement.Party{org.RoleHQ: hq, org.RoleFulfil: f1, org.RoleOrigin: shop},
		Units: []settlement.Unit{
			unit("1", 29_900, 1_808, 1_205, 753, 26_134),
			unit("2", 4_900, 296, 197, 123, 4_284),
			unit("2", 4_900, 296, 198, 124, 4_282),
		},
		Freight: 1_000, Carrier: 1_200, Parcels: 1,
		Associates: []settlement.Associate{{ID: "zhouke", Unit: "hz01", Bp: 10_000}},
	}
}

// returned is the same order after the first bag came back.
func returned(s settlement.Sale, by settlement.Party, goods org.GoodsBack) settlement.Sale {
	s.Units = append([]settlement.Unit(nil), s.Units...)
	s.Units[1].Returned = &settlement.Return{At: s.PaidAt.Add(72 * time.Hour), By: by, Goods: goods}
	return s
}

func settle(t require.TestingT, s settlement.Sale) settlement.Book {
	b, err := settlement.Settle(s)
	require.NoError(t, err)
	in, out := b.Sums()
	require.Equal(t, in, out, "in equals out")
	return b
}

var (
	buySell = org.Terms{
		Model: org.ModelBuySell, Seller: org.RoleHQ, SupplyBp: 6_500, PickPackFen: 500,
		Collectors: []org.Tender{{Tender: "wechat", Collector: org.CollectorHQ}},
	}
	exclusive = org.Terms{
		Model: org.ModelExclusive, Performer: org.RoleFulfil, PlatformBp: 500, SupplyBp: 6_500,
		Collectors: []org.Tender{{Tender: "wechat", Collector: org.CollectorSplit}},
	}
	shared = org.Terms{
		Model: org.ModelShared, Basis: org.BasisMargin,
		Shares:      []org.Share{{Role: org.RoleOrigin, Bp: 4_000}, {Role: org.RoleFulfil, Bp: 4_000}, {Role: org.RoleHQ, Bp: 2_000}},
		Performance: []org.Share{{Role: org.RoleOrigin, Bp: 7_000}, {Role: org.RoleFulfil, Bp: 3_000}},
	}
)

func TestBuySellToTheFen(t *testing.T) {
	t.Parallel()
	s := common(buySell)
	b := settle(t, s)
	require.EqualValues(t, 25_805, b.Of(settlement.KindGoods, org.RoleFulfil))
	require.EqualValues(t, 500, b.Of(settlement.KindFee, org.RoleFulfil))
	require.EqualValues(t, 35_700, b.Of(settlement.KindCash, ""))
	require.EqualValues(t, 1_000, b.Of(settlement.KindPool, ""))
	require.EqualValues(t, 214, b.Of(settlement.KindPayment, ""))
	require.EqualValues(t, 347, b.Of(settlement.KindIssued, ""))
	require.EqualValues(t, 8_634, b.Of(settlement.KindMargin, org.RoleHQ))

	after := settle(t, returned(s, f1, org.GoodsToOwner))
	require.EqualValues(t, 23_120, after.Of(settlement.KindGoods, org.RoleFulfil)+after.Of(settlement.KindFee, org.RoleFulfil))
	require.EqualValues(t, 188, after.Of(settlement.KindPayment, ""))
	require.EqualValues(t, 304, after.Of(settlement.KindIssued, ""))
	require.EqualValues(t, 31_416, after.Of(settlement.KindCash, ""))

	atThird := settle(t, returned(s, third, org.GoodsToOwner))
	require.EqualValues(t, 300, atThird.Of(settlement.KindHandling, ""))
	kept := settle(t, returned(s, third, org.GoodsToHQ))
	require.EqualValues(t, 25_805, kept.Of(settlement.KindGoods, org.RoleFulfil), "HQ keeps the goods: no credit note")

	shares := buySell
	shares.ShareDiscounts = true
	require.EqualValues(t, -1_600, settle(t, common(shares)).Of(settlement.KindDiscount, org.RoleFulfil))
}

func TestBuySellWhenThePartnerSells(t *testing.T) {
	t.Parallel()
	terms := org.Terms{Model: org.ModelBuySell, Seller: org.RoleOrigin, SupplyBp: 6_500, PickPackFen: 500}
	s := common(terms)
	s.Parties[org.RoleFulfil] = hq
	b := settle(t, s)
	require.EqualValues(t, 25_805+500, b.Of(settlement.KindGoods, org.RoleFulfil)+b.Of(settlement.KindFee, org.RoleFulfil))
	require.EqualValues(t, 2_400, b.Of(settlement.KindSubsidy, org.RoleHQ), "HQ bears its part of the coupon")
	require.EqualValues(t, 35_700+1_000+2_400-26_305-1_200-214-347, b.Of(settlement.KindMargin, org.RoleOrigin))
}

func TestExclusiveToTheFen(t *testing.T) {
	t.Parallel()
	s := common(exclusive)
	b := settle(t, s)
	require.EqualValues(t, 38_100, b.Base)
	require.EqualValues(t, 1_905, b.Of(settlement.KindPlatform, org.RoleHQ))
	require.EqualValues(t, 35_434, b.Of(settlement.KindMargin, org.RoleFulfil))
	in, _ := b.Sums()
	require.EqualValues(t, 39_100, in)
	require.Equal(t, []settlement.Performed{{Role: org.RoleFulfil, Party: f1, Kind: "performance", Fen: 38_100}}, b.Performance)

	after := settle(t, returned(s, f1, org.GoodsToOwner))
	require.EqualValues(t, 33_397, after.Base)
	require.EqualValues(t, 1_670, after.Of(settlement.KindPlatform, org.RoleHQ))
	require.EqualValues(t, 31_035, after.Of(settlement.KindMargin, org.RoleFulfil))
	in, _ = after.Sums()
	require.EqualValues(t, 34_397, in)

	corrections := settlement.Book{Lines: settlement.Correct(after.Lines, b.Lines)}
	require.EqualValues(t, -4_399, corrections.Of(settlement.KindMargin, org.RoleFulfil))
}

func TestSharedToTheFen(t *testing.T) {
	t.Parallel()
	s := common(shared)
	b := settle(t, s)
	require.EqualValues(t, 19_850, b.Of(settlement.KindGoods, org.RoleFulfil))
	require.EqualValues(t, 17_489, b.Distributable)
	require.EqualValues(t, 6_996, b.Of(settlement.KindShare, org.RoleOrigin))
	require.EqualValues(t, 6_995, b.Of(settlement.KindShare, org.RoleFulfil))
	require.EqualValues(t, 3_498, b.Of(settlement.KindShare, org.RoleHQ))
	require.Equal(t, []settlement.Performed{
		{Role: org.RoleOrigin, Party: shop, Kind: "performance", Fen: 26_670}, {Role: org.RoleFulfil, Party: f1, Kind: "performance", Fen: 11_430},
	}, b.Performance)
	require.Equal(t, []settlement.Commission{{Associate: "zhouke", Unit: "hz01", Fen: 694}}, b.Commissions)

	after := settle(t, returned(s, f1, org.GoodsToOwner))
	require.EqualValues(t, 17_400, after.Of(settlement.KindGoods, org.RoleFulfil))
	require.EqualValues(t, 15_305, after.Distributable)
	for role, fen := range map[org.Role]money.Fen{org.RoleOrigin: 6_122, org.RoleFulfil: 6_122, org.RoleHQ: 3_061} {
		require.Equal(t, fen, after.Of(settlement.KindShare, role))
	}
	require.EqualValues(t, 608, after.Commissions[0].Fen)
	corrections := settlement.Book{Lines: settlement.Correct(after.Lines, b.Lines)}
	require.EqualValues(t, -874, corrections.Of(settlement.KindShare, org.RoleOrigin))
	require.EqualValues(t, -873, corrections.Of(settlement.KindShare, org.RoleFulfil))
	require.EqualValues(t, -437, corrections.Of(settlement.KindShare, org.RoleHQ))
}

func TestShareOfSalesBelowAForeignOwnersCostIsRefused(t *testing.T) {
	t.Parallel()
	terms := org.Terms{Model: org.ModelShared, Basis: org.BasisSales, Shares: []org.Share{{Role: org.RoleFulfil, Bp: 4_000}}}
	_, err := settlement.Settle(common(terms))
	require.ErrorIs(t, err, settlement.ErrShareBelowCost)
	s := common(terms)
	s.Parties[org.RoleFulfil] = settlement.Party{Unit: "hz02", Entity: hq.Entity}
	require.EqualValues(t, 15_240, settle(t, s).Of(settlement.KindShare, org.RoleFulfil))
}

func TestGoodsThatOthersKeepArePaidForOnce(t *testing.T) {
	t.Parallel()
	partnerSells := org.Terms{Model: org.ModelBuySell, Seller: org.RoleOrigin, SupplyBp: 6_500}
	// HQ owned and shipped: goods that come back to HQ are back with their owner.
	s := common(partnerSells)
	s.Parties[org.RoleFulfil] = hq
	require.EqualValues(t, 25_805-3_185, settle(t, returned(s, shop, org.GoodsToHQ)).Of(settlement.KindGoods, org.RoleFulfil))
	// A third party owned them: HQ, who has them now, pays the seller what the seller pays the owner.
	b := settle(t, returned(common(partnerSells), shop, org.GoodsToHQ))
	require.EqualValues(t, 25_805, b.Of(settlement.KindGoods, org.RoleFulfil))
	require.EqualValues(t, 3_185, b.Of(settlement.KindBought, ""))
	// The partner that would ship sells itself, so HQ ships: what the seller keeps stays paid, what HQ gets back does not.
	self := org.Terms{Model: org.ModelBuySell, Seller: org.RoleFulfil, SupplyBp: 6_500}
	require.EqualValues(t, 25_805, settle(t, returned(common(self), f1, org.GoodsToReceiver)).Of(settlement.KindGoods, org.RoleHQ))
	require.EqualValues(t, 25_805-3_185, settle(t, returned(common(self), f1, org.GoodsToHQ)).Of(settlement.KindGoods, org.RoleHQ))
	// In shares of sales the owner is paid by whoever kept its goods.
	sales := common(org.Terms{Model: org.ModelShared, Basis: org.BasisSales, Shares: []org.Share{{Role: org.RoleOrigin, Bp: 4_000}}})
	sales.Parties[org.RoleFulfil] = hq
	b = settle(t, returned(sales, third, org.GoodsToReceiver))
	require.EqualValues(t, 2_450, b.Of(settlement.KindBought, ""))
	require.EqualValues(t, 2_450, b.Of(settlement.KindGoods, org.RoleFulfil))
}

func TestLossesAndForeignDiscountsHaveBearers(t *testing.T) {
	t.Parallel()
	whole := func(terms org.Terms, quality bool) settlement.Book {
		terms.LossBearer = org.RoleOrigin
		s := common(terms)
		for i := range s.Units {
			s.Units[i].Returned = &settlement.Return{By: f1, Quality: quality}
		}
		return settle(t, s)
	}
	sales := org.Terms{Model: org.ModelShared, Basis: org.BasisSales}
	for _, terms := range []org.Terms{buySell, exclusive, shared, sales} {
		b := whole(terms, false)
		require.Positive(t, b.Of(settlement.KindLoss, org.RoleOrigin), terms.Model)
		require.Zero(t, b.Of(settlement.KindMargin, "")+b.Of(settlement.KindShare, ""), terms.Model)
		require.Positive(t, whole(terms, true).Of(settlement.KindLoss, org.RoleFulfil), terms.Model)
	}
	s := common(buySell)
	s.Units[0].Discounts[0].Bearer = "mall"
	require.EqualValues(t, 1_808, settle(t, s).Of(settlement.KindSubsidy, ""), "the mall owes HQ, who sells, its part")
}

func TestASaleThatCannotBeSettledSaysWhy(t *testing.T) {
	t.Parallel()
	s := common(shared)
	delete(s.Parties, org.RoleOrigin)
	s.Terms.LossBearer = org.RoleService
	s.Units[0].Cash++
	_, err := settlement.Settle(s)
	require.ErrorIs(t, err, settlement.ErrSale)
	require.ErrorContains(t, err, "parties.origin")
	require.ErrorContains(t, err, "parties.service")
	require.ErrorContains(t, err, "units[0]")
}

// worlds draws sales of any model with any terms that pass validation.
func worlds(t *rapid.T) settlement.Sale {
	terms := rapid.SampledFrom([]org.Terms{buySell, exclusive, shared}).Draw(t, "terms")
	terms.SupplyBp = rapid.Int64Range(1, 9_000).Draw(t, "supply")
	terms.PickPackFen = money.Fen(rapid.Int64Range(0, 900).Draw(t, "fee"))
	terms.PlatformBp = rapid.Int64Range(0, 2_000).Draw(t, "platform")
	terms.ShareDiscounts = rapid.Bool().Draw(t, "share discounts")
	if terms.Model == org.ModelExclusive {
		terms.Performer = rapid.SampledFrom([]org.Role{org.RoleFulfil, org.RoleOrigin}).Draw(t, "performer")
	}
	if terms.Model == org.ModelBuySell {
		terms.CarrierPayer = rapid.SampledFrom([]org.Role{"", org.RoleHQ, org.RoleFulfil}).Draw(t, "carrier payer")
	}
	s := common(terms)
	s.Units = nil
	for range rapid.IntRange(1, 6).Draw(t, "units") {
		list := rapid.Int64Range(0, 50_000).Draw(t, "list")
		parts := rapid.SliceOfN(rapid.Int64Range(0, 10), 4, 4).Draw(t, "parts")
		parts[3]++
		split, err := money.Split(money.Fen(list), parts)
		if err != nil {
			t.Fatal(err)
		}
		s.Units = append(s.Units, settlement.Unit{
			Line: "1", List: money.Fen(list), Points: split[2], Cash: split[3], Cost: money.Fen(rapid.Int64Range(0, list).Draw(t, "cost")),
			Discounts: []settlement.Discount{{Bearer: settlement.BearerHQ, Fen: split[0]}, {Bearer: settlement.BearerPerformer, Fen: split[1]}},
		})
	}
	s.Freight = money.Fen(rapid.Int64Range(0, 3_000).Draw(t, "freight"))
	s.Carrier = money.Fen(rapid.Int64Range(0, 3_000).Draw(t, "carrier"))
	return s
}

func TestMoneyConservesThroughAnyReturns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := worlds(t)
		posted := settle(t, s).Lines
		total := func(lines []settlement.Line) map[settlement.Party]money.Fen {
			sums := map[settlement.Party]money.Fen{}
			for _, l := range lines {
				if l.In {
					sums[l.Party] -= l.Fen
				} else {
					sums[l.Party] += l.Fen
				}
			}
			for p, fen := range sums {
				if fen == 0 {
					delete(sums, p)
				}
			}
			return sums
		}
		// Given units that come back in any order, in steps, each corrected by itself.
		for _, i := range rapid.Permutation(seq(len(s.Units))).Draw(t, "order") {
			s.Units[i].Returned = &settlement.Return{
				By:    rapid.SampledFrom([]settlement.Party{f1, third, shop, {}}).Draw(t, "by"),
				Goods: rapid.SampledFrom([]org.GoodsBack{org.GoodsToOwner, org.GoodsToHQ, org.GoodsToReceiver}).Draw(t, "goods"),
			}
			target := settle(t, s)
			corrections := settlement.Correct(target.Lines, posted)
			in, out := settlement.Book{Lines: corrections}.Sums()
			require.Equal(t, in, out, "a correction balances")
			posted = append(posted, corrections...)
			require.Equal(t, total(target.Lines), total(posted), "posted is the target")
			require.Empty(t, settlement.Correct(target.Lines, posted))
		}
		// Then an order that came back whole leaves the performer and the sharers with nothing.
		book := settlement.Book{Lines: posted}
		require.Zero(t, book.Of(settlement.KindPool, ""))
		require.Zero(t, book.Of(settlement.KindIssued, ""))
		require.Zero(t, book.Of(settlement.KindPlatform, ""))
		require.Zero(t, book.Of(settlement.KindSubsidy, ""))
		require.Equal(t, s.Freight, book.Of(settlement.KindCash, ""))
	})
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestTermsAreValidated(t *testing.T) {
	t.Parallel()
	require.NoError(t, buySell.Validate(false))
	require.NoError(t, exclusive.Validate(false))
	require.NoError(t, shared.Validate(false))

	clearing := exclusive
	clearing.Collectors = []org.Tender{{Tender: "wechat", Collector: org.CollectorHQ}}
	require.ErrorIs(t, clearing.Validate(false), org.ErrTerms)
	require.ErrorContains(t, clearing.Validate(false), "terms.collectors[0].collector")
	require.NoError(t, clearing.Validate(true), "one legal entity clears nothing for others")

	odd := shared
	odd.Shares = []org.Share{{Role: org.RoleOrigin, Bp: 4_000}, {Role: org.RoleOrigin, Bp: 4_000}, {Role: "nobody", Bp: 1}}
	err := odd.Validate(false)
	require.ErrorContains(t, err, "terms.shares")
	require.ErrorContains(t, err, "terms.shares[1].role")
	require.ErrorContains(t, err, "terms.shares[2].role")
}
