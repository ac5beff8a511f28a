// Package inventory is stock: what lies where, whose it is, in which state, and what of it is promised to whom.
//
// Levels by (SKU, location, owner, status) are sums of append-only moves; what a level has reserved is the sum of the open
// reservations on it; what an owner's goods cost is a moving average over all places. Check proves all three. The schema
// refuses negative stock, negative reservations, and promises of more than there is.
//
//	Reserve ──▶ held ──Confirm──▶ confirmed ──Consume──▶ consumed
//	              │ └───Consume───────│─────────────────▶
//	              ├──Release──────────┴──Release──▶ released
//	              └──its time is over──▶ expired
//
// A reservation is known by what it is for: (kind, id, line, SKU, location, owner). Asking again for the same is the same
// reservation; what was released or expired can be taken again under its key. Paying and expiring meet at the state of the
// reservation, and one of them finds it changed: Confirm either confirms all of a ref or says ErrExpired.
//
// Normal lane. Reserve locks and reads in one round trip, decides in memory (decide.go, pure) and writes in a second one: all
// lines or none, with equal SKUs summed. It comes last in its transaction, because the levels are locked until that is durable.
//
// Hot lane. When buyers wait for each other's locks, the SKU is promoted (heat.go): Ahead and ReserveNow commit up to 256
// buyers together (hotlane.go), each answered when its own reservation is durable. The locks and statements are the same, so
// both lanes may serve one SKU at once, in any number of processes. A basket reserves its hot lines ahead with a short hold;
// its transaction takes them over, or Release gives them back, or they expire.
//
// Gate. In Redis, a bit per sold-out SKU and a cap of attempts per member keep buyers away from the hot lane. Losing them
// costs time, never stock.
//
// Quotas. A touchpoint may have so many units of a pool for itself (exclusive) or may sell at most so many of what all share
// (shared). SKUs with quotas are served by the normal lane.
//
// Owners. Who does not name one takes any owner's goods in the order of their codes; name the owner where it matters who
// is paid.
//
// Locks: paper, count or transfer; reservations by key; quotas by (pool, SKU, touchpoint); levels by (SKU, location, owner,
// status); costs by (SKU, owner). In the order of the house all of them come after everything else.
//
// Owns commerce.stock_levels, stock_moves, stock_reservations, stock_costs, stock_pools, stock_pool_locations, stock_quotas,
// stock_papers, stock_counts, stock_count_lines, stock_transfers, stock_transfer_lines. Publishes commerce.stock.sold_out,
// back_in_stock, hold_expired and transferred.
package inventory
