// Package promotion decides what a cart costs: which promotions and coupons apply together, what each takes off, from which
// units, and why the others do not.
//
// The engine is a pure integer function: Evaluate(rules, cart) knows no database, clock or chance. Rules are compiled when
// they are published (Compile): sorted, and indexed by goods, touchpoint and store, so that a thousand live ones cost a cart
// only those that could concern it.
//
// # How a cart is worked out
//
// In four levels, each on what those before it left: item, order, gift, freight. Inside a level by the priorities of groups
// and promotions, then by code; coupons behind the promotions of their level. Of the combinations that the rules of stacking
// allow, the one that gives most is taken (search.go: branch and bound, equal to trying all of them).
//
//	root, stackable
//	├── member price                           item
//	├── group "season", best, per line         each line takes what gives it most
//	│   ├── 20 % off tea sets
//	│   └── second half price
//	├── group "full", best, per order          the order takes one
//	│   ├── 满300减40
//	│   └── 满2件9折
//	└── coupons, of one stack group at most one
//
// Groups are stackable (all, or at most max), first (the first of the list that gives something) or best, for the order or
// for each line, and nest. Promotions with the same exclusive category never meet. Caps bound an order's promotions, coupons
// and discount in all.
//
// # Invariants
//
//   - A unit never costs less than its floor price, nor less than nothing, unless it did before; freight likewise.
//   - What is discounted is what is left: a percentage never counts on what another discount has taken already.
//   - The units of a line sum to its share, the lines to the adjustment, the adjustments to the totals. An order discount goes
//     to lines by their list amounts (largest remainder; what a floor cuts off goes to the others), and to units by prefix floor.
//   - The order of the lines in the cart does not matter.
//   - Bearers of a promotion sum to 10,000 basis points.
package promotion
