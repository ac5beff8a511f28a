// Package org is the organisation: the tree of units (HQ, branches, partners, stores, warehouses), the legal entities
// behind them, and the contracts between HQ and partners, whose terms say how orders are settled. It owns
// commerce.org_units, commerce.entities, commerce.contracts and commerce.contract_versions.
//
// Invariants: the tree has no cycle; path holds the codes from the root to the unit and is derived from parent in the same
// transaction. A unit or entity that something names before it is known becomes a stub, which a later import fills in.
//
// A contract covers its partner's unit and everything below it; the nearest partner above a unit decides, and a partner has
// one contract at a time. Changing a contract makes its next version; orders keep the version they were paid under. Terms
// under which HQ would collect money that is another entity's (二清) are refused.
//
// Locks: changes of the tree take one advisory lock, so paths are never derived from two versions of it; signing locks the
// partner's unit.
package org
