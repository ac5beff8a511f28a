package main

import (
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/price"
	"github.com/lianke/lianke/commerce/promotion"
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
}
