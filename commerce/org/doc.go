// Package org is the organisation: the tree of units (HQ, branches, partners, stores, warehouses) and the legal entities
// behind them. It owns commerce.org_units and commerce.entities.
//
// Invariants: the tree has no cycle; path holds the codes from the root to the unit and is derived from parent in the same
// transaction. A unit or entity that something names before it is known becomes a stub, which a later import fills in.
//
// Locks: changes of the tree take one advisory lock, so paths are never derived from two versions of it.
package org
