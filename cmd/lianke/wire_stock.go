package main

import (
	"github.com/lianke/lianke/commerce/inventory"
)

// wireStock constructs inventory. Other modules of commerce reserve through it.
func (a *app) wireStock() {
	a.stock = inventory.New(a.db, a.clock, a.bus, inventory.NewGate(a.redis, a.clock))
	inventory.Routes(a.api, a.stock, a.auth)
	a.loop("jobs", "stock holds", a.stock.RunExpiry)
}
