// Package sourcing decides which locations send, or hand over, what was ordered, and says why: why this store, why not
// that one. It owns commerce.sourcing_rules, sourcing_freight, sourcing_versions, sourcing_locations, sourcing_capacity and
// sourcing_tokens; of commerce.org_units it reads where a location is.
//
// Source is pure. It filters the locations (touchpoint, mode, opening, cut-off, capacity, refusals, stock above the
// buffer), prices every set of lines at every place (freight, distance, scarcity of capacity, less a bonus for old stock),
// and looks for the cheapest exact cover of the order by branch and bound:
//
//	lower(rest) = least cost of covering rest by parcels, each from whichever place is best for it alone
//
// which never exceeds what a plan costs, because a plan is such a cover that also respects what places share: one parcel
// per place and mode, tokens of capacity, stock that several lines want. Mostly the cover that gives the bound respects
// them too, and is the answer at once. Where an order is too large to list its parts, or the search runs out of its nodes,
// the answer is the best one found, with how far from the best possible it may be (GapBp).
//
// All arithmetic after the distance is in whole fen. The weights of the score are data (Rules); what cannot be supplied
// costs more than everything else together, so a plan supplies as much as there is.
//
// A parcel takes a token of its location's capacity of the day: Hold, then Confirm or Release; what is only held expires.
// CHECK (taken <= cap) holds whatever happens; a shop at its limit answers ErrNoCapacity. Holding under the same reference
// again is the same token. Lock order: tokens, by reference, then days of capacity, by location and day.
//
// Rules and freight tables are kept in all their versions; a plan names those it was made with.
package sourcing
