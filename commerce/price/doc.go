// Package price knows what a SKU costs: tag, retail, member and cost price, and the floor price that no discount breaks, for
// whom and from when. It owns commerce.prices (the plan) and commerce.price_changes (who changed it).
//
// A price stands at a level: for everybody, or for a partner level, a member tier, a store or a touchpoint. Of the levels that
// fit a buyer the most special one holds:
//
//	partner:A ▷ tier:gold ▷ store:hz01 ▷ touchpoint:tmall ▷ everybody ▷ the catalogue (tag and retail only)
//
// Each level has its own line in time: a price holds from its effective time until the next one of the same level, or until
// one that ends it, and then the next more general level holds. A scheduled change needs nobody to switch it on: prices are
// read as of an instant. A change in the past is refused, except by import, which brings the history of another system.
//
// The retail price of a partner level is what the partner pays; tiers have member prices only.
//
// Locks: prices are written in the order of (sku, kind, level, effective_at).
package price
