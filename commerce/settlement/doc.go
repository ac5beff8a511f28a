// Package settlement divides the money of an order between everyone who led, sold, shipped and served, and keeps the
// performance (业绩) of the same order in a book of its own: performance drives targets, commission and rebates and may be
// counted twice; money conserves to the fen.
//
// Settle is a pure function from a sale, frozen when it was paid and net of what came back since, to a book: what comes in
// (the member's cash, others' subsidies, redeemed points) and what goes out (goods, fees, shares, carrier, payment provider,
// issued points). In equals out, always, because one party takes what is left: in buy_sell the seller, in exclusive the
// performer, in shared the roles by their shares.
//
// Corrections are target minus posted: when something comes back the whole order is settled anew on what is left and the
// difference is posted. So shares always sum, the order of returns does not matter, and an order that came back whole ends
// at zero but for freight and fees that nobody refunds, which the loss bearer has.
//
//	accrued ──▶ payable ──▶ on statement ──▶ confirmed ──▶ paid
//	               ▲             │
//	               └─ disputed ◀─┘
//
// A statement that was confirmed is never edited: later corrections are lines of the next one.
//
// Owns commerce.settlements, settlement_lines, performance_lines and statements, and book "settlement" of internal/ledger.
// Locks: the row of the order in commerce.settlements, then ledger accounts, all of which are hot.
package settlement
