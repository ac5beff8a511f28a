package checkout

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/money"
)

// priced is a basket with everything decided: the order in all but its number, and the discount of each coupon.
type priced struct {
	order   order.Order
	coupons map[string]money.Fen
	trace   json.RawMessage
}

// price works a basket out. It is a pure function of basket and facts, so that the same facts give the same hash when the
// order is placed.
func price(b Basket, f facts, promotions Promotions) (priced, error) {
	if f.terms == nil {
		return priced{}, ErrNoTerms.With("touchpoint", b.Touchpoint)
	}
	t := f.terms
	o := order.Order{
		Touchpoint: b.Touchpoint, Store: b.Store, SellerUnit: t.SellerUnit, SellerEntity: t.SellerEntity, Birth: b.Birth, Guest: b.Birth == 0,
		PlacedAt: f.at,
	}
	occasion := Occasion{At: f.at, Touchpoint: b.Touchpoint, Store: b.Store, Births: f.births, Coupons: f.coupons}
	var goods money.Fen
	for i, it := range b.Items {
		offer, ok := f.offers[it.SKU]
		if !ok || offer.Status != product.StatusActive || offer.RetailPrice == nil {
			return priced{}, ErrNotSold.With("sku", it.SKU)
		}
		l := goodsLine(i+1, order.LineSale, offer, it.Quantity, *offer.RetailPrice, t.Location)
		o.Lines = append(o.Lines, l)
		occasion.Lines = append(occasion.Lines, Line{
			LineNo: l.LineNo, SKU: l.SKU, SPU: offer.SPU, Category: l.Category, Brand: l.Brand, Quantity: l.Quantity, UnitPrice: l.UnitPriceFen,
		})
		goods += l.UnitPriceFen * money.Fen(l.Quantity)
	}
	if b.Pickup == "" && t.FreightFen > 0 && (t.FreeFreightFen == 0 || goods < t.FreeFreightFen) {
		occasion.Freight = t.FreightFen
	}
	for _, c := range f.coupons {
		if err := coupon.Usable(c.Coupon, c.Template, f.births, b.Touchpoint, b.Store, f.at); err != nil {
			return priced{}, err
		}
	}
	deal, err := promotions.Evaluate(occasion)
	if err != nil {
		return priced{}, err
	}
	for _, g := range deal.Gifts {
		trigger := g.Line
		worth := g.Worth
		offer := f.offers[g.SKU]
		offer.SKU = g.SKU
		l := goodsLine(len(o.Lines)+1, order.LineGift, offer, g.Quantity, 0, t.Location)
		l.TriggerLine = &trigger
		if l.RetailPriceFen == nil {
			l.RetailPriceFen = &worth
		}
		o.Lines = append(o.Lines, l)
	}
	if occasion.Freight > 0 {
		o.Lines = append(o.Lines, order.Line{LineNo: FreightLine, Kind: order.LineFreight, SKU: "freight", UnitPriceFen: occasion.Freight, Quantity: 1})
	}
	var worth money.Fen
	if b.Points > 0 {
		if f.programme == nil {
			return priced{}, invalid("points", "此渠道不能使用积分", "points do not pay at this touchpoint")
		}
		if worth = f.programme.Worth(b.Points); worth == 0 {
			return priced{}, invalid("points", "积分不足以抵扣 1 分", "these points are worth less than one fen")
		}
	}
	if err := o.Allocate(deal.Reductions, b.Points, worth); err != nil {
		return priced{}, err
	}
	out := priced{order: o, coupons: map[string]money.Fen{}, trace: deal.Trace}
	for _, c := range f.coupons {
		out.coupons[c.Coupon.Code] = 0
	}
	for _, r := range deal.Reductions {
		if r.Kind == "coupon" {
			out.coupons[r.Source] += r.Amount
		}
	}
	if b.CardFen > o.CashFen {
		return priced{}, invalid("card_fen", "储值卡支付超过应付金额", "the card would pay more than the order costs")
	}
	return out, nil
}

func goodsLine(no int, kind order.LineKind, offer product.Offer, quantity int64, unit money.Fen, location string) order.Line {
	return order.Line{
		LineNo: no, Kind: kind, SKU: offer.SKU, Name: offer.Name, Category: offer.Category, Brand: offer.Brand, Location: location,
		TagPriceFen: offer.TagPrice, RetailPriceFen: offer.RetailPrice, UnitPriceFen: unit, Quantity: quantity,
	}
}

// tenders says how the order is paid: points, card, and the rest by the kind given.
func (p *priced) tenders(b Basket, t *SellingTerms, c CardFact, rest order.TenderKind, captured bool) {
	o := &p.order
	add := func(x order.Tender) {
		x.TenderNo = len(o.Tenders) + 1
		o.Tenders = append(o.Tenders, x)
	}
	if o.PointsFen > 0 {
		add(order.Tender{Kind: order.TenderPoints, Collector: t.SellerEntity, Account: t.Programme, AmountFen: o.PointsFen, Points: o.Points, State: order.TenderHeld})
	}
	if c.Principal > 0 {
		add(order.Tender{Kind: order.TenderStoredPrincipal, Collector: c.Issuer, Account: b.Card, AmountFen: c.Principal, State: order.TenderHeld})
	}
	if c.Bonus > 0 {
		add(order.Tender{Kind: order.TenderStoredBonus, Collector: c.Issuer, Account: b.Card, AmountFen: c.Bonus, State: order.TenderHeld})
	}
	left := o.CashFen - c.Principal - c.Bonus
	if left == 0 {
		return
	}
	x := order.Tender{Kind: rest, Collector: t.Collector, AmountFen: left, State: order.TenderPlanned}
	if rest == order.TenderWeChat {
		x.Account = t.Merchant
	}
	if captured {
		x.State = order.TenderCaptured
	}
	add(x)
}

// hash names what the member agreed to: every line with its prices and discounts, coupons, points and sums.
func (p *priced) hash() [16]byte {
	h := sha256.New()
	write := func(parts ...any) {
		for _, v := range parts {
			fmt.Fprint(h, v, "\n")
		}
	}
	o := &p.order
	write(o.Touchpoint, o.Store, int64(o.ListFen), int64(o.DiscountFen), o.Points, int64(o.PointsFen), int64(o.CashFen), len(o.Lines))
	for _, l := range o.Lines {
		write(l.LineNo, l.Kind, strconv.Quote(l.SKU), l.Quantity, int64(l.UnitPriceFen), int64(l.DiscountFen), int64(l.PointsFen))
		for _, u := range l.Units {
			for _, d := range u.Discounts {
				write(u.UnitNo, d.Kind, strconv.Quote(d.Source), int64(d.Fen))
			}
		}
	}
	return [16]byte(h.Sum(nil)[:16])
}
