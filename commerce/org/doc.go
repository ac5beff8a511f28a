// Package org is the organisation: the tree of units (HQ, branches, partners, stores, warehouses), the legal entities
// behind them, and the contracts between HQ and partners, whose terms say how orders are settled. It owns
// commerce.org_units, commerce.entities, commerce.contracts and commerce.contract_versions. It also owns the matrix of
// touchpoints and services, commerce.touchpoint_services, and the matrix of returns.
//
// Invariants: the tree has no cycle; path holds the codes from the root to the unit and is derived from parent in the same
// transaction. A unit or entity that something names before it is known becomes a stub, which a later import fills in.
//
// A contract covers its partner's unit and everything below it; the nearest partner above a unit decides, and a partner has
// one contract at a time. Changing a contract makes its next version; orders keep the version they were paid under. Terms
// under which HQ would collect money that is another entity's (二清) are refused.
//
// Matrix.Offer says whether a service is done at a place. The default cells are data/services.csv; rows of the table override
// them, store before account before touchpoint, and of one place the newest that is valid. A refusal names the nearest
// touchpoint that does the service. Guards cost no statement: a process answers from memory and follows changes of others
// within five seconds, its own at once. Matrix.MayReturn answers from data/returns.csv (bought × returned), the tree and the
// contracts: own channels at HQ's stores, at partners' by contract; marketplaces goods only; partners' sales at the seller.
//
// Locks: changes of the tree take one advisory lock, so paths are never derived from two versions of it; signing locks the
// partner's unit.
package org
