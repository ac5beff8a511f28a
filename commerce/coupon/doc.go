// Package coupon owns coupon templates and codes.
//
//	issue ──▶ issued ──lock──▶ locked ──commit──▶ used
//	            │ ▲──────reverse───┘ ◀──reverse─────┘
//	            ├──use──▶ used
//	            ├──expire──▶ expired
//	            └──recall──▶ recalled
//
// Issue is bulk and idempotent by key; each request has an outcome of its own (granted, limit_reached, exhausted,
// expired_template, inactive), and refusals are remembered too. The limit per member counts over all births of the
// member, whose row is locked meanwhile; quantity and budget are counted in one row per template, locked by whoever
// issues, and only for templates that have them. Coupons stay under the birth they were issued to: merge and split move
// nothing, and after a split each side has what its births were given.
//
// Codes of our own are LK, two characters for the week, ten random ones and a check character (all single errors and
// transpositions are caught). A till that looks up a code asks Filter first: a wrong check character, or a closed week's
// code that is not in the Bloom filter, is a definite no without a round trip. Imported codes keep their form and are
// always looked up.
//
// Money. A template's cost bearers share it in basis points that sum to 10,000. Book "coupon" of internal/ledger holds per
// template and bearer what is promised (face value of coupons that can still be used) and what was really given:
//
//	issue:           −promised   +<bearer>:liability
//	use:             +promised   −<bearer>:liability   −discounts   +<bearer>:cost
//	expire, recall:  +promised   −<bearer>:liability
//
// Locks: member rows, then counters in the order of template codes, then coupon rows, then ledger accounts, all of which
// are hot. Expire skips coupons that are locked.
//
// Owns commerce.coupon_templates, coupon_counters, coupons, coupon_codes, coupon_grants. Appends coupon_issued, coupon_used
// and coupon_expired to the activity log; bearer coupons have no member and are not logged.
package coupon
