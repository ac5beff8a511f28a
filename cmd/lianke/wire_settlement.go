package main

import (
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/settlement"
)

// settling are the modules that divide the money of orders.
type settling struct {
	contracts  *org.Contracts
	settlement *settlement.Service
}

// wireSettlement constructs them after the ledger.
func (a *app) wireSettlement() {
	a.contracts = org.NewContracts(a.db, a.clock)
	a.settlement = settlement.New(a.db, a.clock, a.ledger)
	org.Routes(a.api, a.contracts, a.auth)
	settlement.Routes(a.api, a.settlement, a.auth)
}
