// Package payment collects money and gives it back: payments through a provider, refunds that are due until they are done,
// and stored-value cards.
//
// A payment comes into being in the transaction that places its order (QueueCreate), so there is no order that waits for
// money nobody can collect. Prepare makes it payable; the provider's call is outside of every transaction. What the
// provider says was paid goes through Receive, whoever asked: the signed callback, Reconcile for callbacks that were lost,
// once or ten times. The row of the payment is the first lock that paying and ending an order both take, so either the
// order is paid, or the money that came too late becomes a refund in the same transaction; it is never silent:
//
//	receive ─▶ order waits, stock is there  ─▶ paid
//	        ├▶ order ended, or stock lost   ─▶ late: refund due
//	        ├▶ another amount came          ─▶ mismatched: refund due of what came
//	        ├▶ seen before                  ─▶ duplicate
//	        ╰▶ no such payment              ─▶ unknown: kept in payment_notices and logged as an error
//
// Refunds are rows in state due. RunRefunds leases them, asks the provider under the refund's own name (so asking again
// is harmless) and tries again later, for ever, when that fails; failed is only what the provider finally refused.
//
// WeChat Pay speaks v3: requests signed with the merchant's key, answers and callbacks verified with the platform's, resources
// opened with the APIv3 key. Callbacks with a wrong signature, an unknown serial or an old timestamp are refused before
// anything is read from them.
//
// Cards. A stored-value card has two accounts in the book stored_value of internal/ledger, principal (paid for) and bonus
// (given), neither of which is ever negative. A hold takes both pro rata, so that a refund gives both back.
//
//	load:    −funded −granted  +<card>:principal +<card>:bonus
//	hold:    −<card>:principal −<card>:bonus  +held       release: the reverse
//	capture: −held  +spent                                refund:  −spent +<card>:principal +<card>:bonus
//
// Locks: payments of an order, then member, coupons, ledger accounts, order, stock. Owns commerce.payments, payment_refunds,
// payment_notices, cards and card_holds.
package payment
