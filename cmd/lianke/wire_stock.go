package main

import (
	"time"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/sourcing"
)

// wireStock constructs inventory, through which other modules of commerce reserve, and sourcing, which decides where.
func (a *app) wireStock() {
	a.stock = inventory.New(a.db, a.clock, a.bus, inventory.NewGate(a.redis, a.clock))
	inventory.Routes(a.api, a.stock, a.auth)
	a.loop("jobs", "stock holds", a.stock.RunExpiry)
	a.sourcing = sourcing.New(a.db, a.clock, a.stock)
	sourcing.Routes(a.api, a.sourcing, a.auth)
	a.jobs.Every("capacity holds", time.Minute, a.sourcing.Expire)
}
