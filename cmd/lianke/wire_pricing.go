package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/price"
	"github.com/lianke/lianke/commerce/promotion"
	"github.com/lianke/lianke/internal/money"
)

// pricing are the modules that say what goods cost.
type pricing struct {
	prices     *price.Service
	promotions *promotion.Service
}

// wirePricing constructs them; whoever sells asks them.
func (a *app) wirePricing() {
	a.prices = price.New(a.db, a.clock)
	a.promotions = promotion.New(a.db, a.clock, order.History{})
	price.Routes(a.api, a.prices, a.auth)
	promotion.Routes(a.api, a.promotions, a.auth)
	a.loop("", "promotions", a.promotions.Follow)
}

// promotionsOf works checkout's baskets out with the rules in memory. Checkout claims nothing, so it gives no promotions
// with limits.
type promotionsOf struct{ promotions *promotion.Service }

// Evaluate refuses a coupon that would take nothing off.
func (p promotionsOf) Evaluate(o checkout.Occasion) (checkout.Deal, error) {
	live := p.promotions.Memory()
	cart := promotion.Cart{
		At: o.At, Touchpoint: o.Touchpoint, Store: o.Store, Member: promotion.Member{Known: len(o.Births) > 0}, Freight: o.Freight, Exhausted: live.Exhausted,
	}
	for _, l := range o.Lines {
		line := promotion.Line{ID: strconv.Itoa(l.LineNo), SKU: l.SKU, SPU: l.SPU, Brand: l.Brand, Quantity: l.Quantity, UnitPrice: l.UnitPrice}
		if l.Category != "" {
			line.Category = []string{l.Category}
		}
		cart.Lines = append(cart.Lines, line)
	}
	for _, c := range o.Coupons {
		cart.Coupons = append(cart.Coupons, promotion.CouponClaim{Code: c.Coupon.Code, Template: c.Template.Code, Rule: promotion.CouponRule(c.Template)})
	}
	if err := cart.Validate(); err != nil {
		return checkout.Deal{}, err
	}
	res := promotion.Evaluate(live.Rules, cart)
	for _, w := range res.Trace {
		if w.Coupon != "" && !w.Applied {
			return checkout.Deal{}, w.Refuse()
		}
	}
	return dealOf(res)
}

// dealOf is a result in checkout's words.
func dealOf(res promotion.Result) (d checkout.Deal, err error) {
	for _, a := range res.Adjustments {
		r := order.Reduction{Kind: "promotion", Source: a.Promotion, Amount: a.Amount}
		if a.Coupon != "" {
			r.Kind, r.Source = "coupon", a.Coupon
		}
		for _, b := range a.Bearers {
			r.Bearers = append(r.Bearers, order.Share(b))
		}
		if a.Level == promotion.LevelFreight {
			r.Lines = []int{checkout.FreightLine}
		}
		for _, l := range a.Lines {
			no, err := strconv.Atoi(l.Line)
			if err != nil {
				return d, fmt.Errorf("line %q: %w", l.Line, err)
			}
			for i, u := range l.Units {
				if u > 0 {
					r.Targets = append(r.Targets, order.Target{LineNo: no, UnitNo: i + 1, Amount: u})
				}
			}
		}
		d.Reductions = append(d.Reductions, r)
	}
	for _, g := range res.Gifts {
		no, err := strconv.Atoi(g.Line)
		if err != nil {
			return d, fmt.Errorf("line %q: %w", g.Line, err)
		}
		source := g.Promotion
		if g.Coupon != "" {
			source = g.Coupon
		}
		d.Gifts = append(d.Gifts, checkout.Gift{Line: no, SKU: g.SKU, Quantity: g.Quantity, Worth: g.Worth / money.Fen(g.Quantity), Source: source})
	}
	if len(res.Trace) > 0 {
		if d.Trace, err = json.Marshal(res.Trace); err != nil {
			return d, fmt.Errorf("encode the trace of promotions: %w", err)
		}
	}
	return d, nil
}
