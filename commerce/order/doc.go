// Package order knows orders: the one model for every touchpoint, and the import of what was sold before.
//
// # Live orders
//
// An order has lines (sale, gift, bundle component, fee, freight), lines have units, and Allocate says for every unit what
// it costs whom: each discount with the shares of its bearers, points, and the cash that remains. Sums are exact on every
// level and kept so by the database (order_units_amounts, order_lines_amounts, orders_amounts). Nothing computes an
// allocation later: a refund reads the units that come back. Several tenders pay an order, each with the entity that
// collects it; terms (contract, roles, rates) are frozen when it is paid.
//
// The statuses and what may follow which are the table in state.go. A transition is UPDATE … WHERE status = from together
// with its row of order_events, whose seq has no gaps; whoever lost a race gets ErrTransition. Between paid and delivered
// the status is derived: Advance moves the counters of lines (CHECK order_lines_counters holds their chain) and takes the
// order to where they say it is.
//
//	draft ─▶ placed ─▶ paid ─▶ sourcing ─▶ allocated ─▶ partially_shipped ─▶ shipped ─▶ delivered ─▶ completed
//	           │ ╲        ╲───────┴───────────┴─▶ cancel_requested ─▶ (back) | cancelled
//	           │  ╲─▶ cancelled
//	           ╰────▶ closed_unpaid
//
// The receiver is a platform's token or masked text; the clear text is sealed under the data key of the order's birth, so
// erasing the person shreds it.
//
// Package checkout places, pays and ends orders; fulfilment advances them; aftersale marks units and refunds tenders.
//
// # Imported orders
//
// The lines of a file, from whatever system sold them, become what live orders become: activities of the member who
// ordered. They stay in order_imports and order_import_lines and never become orders; both log under the names that
// PaidKey, ReturnedKey and PurchasedKey give, with Source as their source, so that an order which is both imported and live
// has its activities once.
//
//   - The activities of an order are a function of its lines, however these were spread over batches, files and runs: one
//     order_paid at paid_at over the positive lines (none without paid_at), one product_purchased per positive line of a
//     paid order, one order_returned over the negative lines, at paid_at, else placed_at, with negative amounts.
//   - The amount of a line is quantity × unit price − discount, in fen.
//   - A line names its buyer by (source, source_id). An order whose lines name nobody is a guest's and an identifier of its
//     own (identity namespace "order"); when a later version of a line names a person, that is evidence that the guest was
//     this person, and the activities follow.
//   - Unknown SKUs and stores become stubs with a warning.
//
// # Locks
//
// Whoever changes a live order locks its row first (Lock), after the member's row and coupon rows and before stock.
// Imports take order_imports in order of order_no, after the import's own lock and before the locks of the activity log.
//
// Owns commerce.orders, order_lines, order_units, order_tenders, order_events, order_imports and order_import_lines. Appends
// order_paid, product_purchased, order_shipped, order_received and order_returned. Publishes commerce.order.placed, paid,
// moved and ended.
package order
