package main

import (
	"github.com/lianke/lianke/commerce/order"
)

// selling are the modules that sell: carts, checkout, orders and payment.
type selling struct {
	orders *order.Service
}

// wireSelling constructs them after members and loyalty.
func (a *app) wireSelling() {
	a.orders = order.New(a.db, a.clock, a.activity, a.bus, a.secrets)
	order.Routes(a.api, a.orders, a.auth)
}
