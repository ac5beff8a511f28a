// Package checkout is the one orchestrator of buying: it quotes a basket, places the order with everything it holds, pays it
// when the money comes, and ends it when it does not.
//
// # Transactions
//
// Place is one transaction of six round trips, with no network inside:
//
//	begin
//	read     take the request's key ▸ lock member, coupons, lots, card ▸ read goods and prices
//	write    coupon locked ▸ points drawn ▸ card drawn ▸ order, lines, units, tenders, event ▸ payment ▸ commerce.order.placed
//	reserve  stock, last, so that its locks live for one flush: lock and read ▸ write what was decided
//	commit
//
// Between read and write the basket is priced again, purely, and compared with the hash in the quote's token: nobody is sold
// anything at another price than they saw. The token is signed and carries its end; quotes are not stored.
//
// The member's payment lies between Place and Arrived, which payment calls in the transaction that records the money: order
// paid, terms frozen, coupons committed, points and cards captured, money booked, activities, event, and last the stock
// confirmed. A hold that ran out is taken again if the goods are there; if not, the order ends and the money goes back.
//
// # Who wins
//
// Paying and ending both begin by locking the order's payments, so an order is paid or ended, never both. Money for an order
// that ended is a refund that is due. The same request again is the same order; with another content it is refused.
//
// Locks: payments, member, coupons, points, card and ledger accounts, order, stock levels.
//
// The book "trade" of internal/ledger takes every paid order: tenders by kind and collector and discounts by bearer on one
// side, sales, fees and freight by the entity that sells on the other. Cancelling takes it back.
//
// Owns commerce.selling_terms and checkouts. Publishes commerce.order.placed; the other events of orders are order's.
package checkout
