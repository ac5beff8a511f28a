package main

import (
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/settlement"
)

// settling are the modules that divide the money of orders.
type settling struct {
	matrix     *org.Matrix
	contracts  *org.Contracts
	settlement *settlement.Service
}

// wireSettlement constructs them after the ledger and the coupons.
func (a *app) wireSettlement() error {
	var err error
	if a.matrix, err = org.NewMatrix(a.db, a.clock); err != nil {
		return err
	}
	a.coupons.Guard(a.matrix)
	org.MatrixRoutes(a.api, a.matrix, a.auth)
	a.contracts = org.NewContracts(a.db, a.clock)
	a.settlement = settlement.New(a.db, a.clock, a.ledger)
	org.Routes(a.api, a.contracts, a.auth)
	settlement.Routes(a.api, a.settlement, a.auth)
	return nil
}
