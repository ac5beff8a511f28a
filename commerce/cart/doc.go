// Package cart keeps what people mean to buy. A cart belongs to a birth: that of a visitor (an openid, a device) before
// sign-in, that of the member afterwards; at most one is open per birth (carts_open). Reading shows the lines of the whole
// member; Merge moves what a guest has put in to the member who signed in, adding quantities up to 9,999.
//
// A cart is no promise: it holds no stock and no price. Prices come from checkout's quote.
//
// version counts changes. A cart that has not changed for an hour is said to be abandoned, once per version.
//
// Locks: carts in the order of births. Owns commerce.carts and cart_lines. Appends cart_added and cart_abandoned.
package cart
