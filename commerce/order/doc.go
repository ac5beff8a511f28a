// Package order knows orders. For now it imports them: the lines of a file, from whatever system sold them, become what
// live orders become, activities of the member who ordered. The order centre will adopt them: it finds every line in
// commerce.order_import_lines, and the activities under the names that PaidKey, ReturnedKey and PurchasedKey give, with
// Source as their source, so that an order which gets its row there does not get a second activity.
//
// Owns commerce.order_imports and commerce.order_import_lines.
//
// Invariants.
//   - The activities of an order are a function of its lines, however these were spread over batches, files and runs: one
//     order_paid at paid_at over the positive lines (none without paid_at), one product_purchased per positive line of a
//     paid order, one order_returned over the negative lines, at paid_at, else placed_at, with negative amounts.
//   - The amount of a line is quantity × unit price − discount, in fen.
//   - A line names its buyer by (source, source_id). An order whose lines name nobody is a guest's and an identifier of its
//     own (identity namespace "order"); when a later version of a line names a person, that is evidence that the guest was
//     this person, and the activities follow.
//   - Unknown SKUs and stores become stubs with a warning.
//
// Locks: order_imports in order of order_no, after the import's own lock and before the locks of the activity log.
package order
