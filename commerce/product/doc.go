// Package product is the catalogue: products (SPU), the SKUs under them with tag and retail price, barcodes, the tree
// of categories with their typed attributes, virtual bundles, and what touchpoints show. It owns commerce.products,
// commerce.skus, commerce.barcodes, commerce.categories, commerce.bundle_components and commerce.product_contents.
//
// Invariants: a SKU belongs to one product, a barcode to one SKU. A SKU that an order or another file names before the
// catalogue knows it becomes a stub, active and without price, which a later import fills in.
//
// Editor is for people: optimistic by version, a new SKU is a draft and goes draft → in_review → active → delisting →
// archived by Move only (active ↔ inactive is a pause). Files are the truth of another system and set any status. Values of
// attributes that a category or one above it defines are checked by both; those that are required, before a SKU is sold.
// SKUs of one product that are not archived differ in the axes (colour, size) their category defines.
//
// A virtual bundle is sold as its components: Explode divides its price by weight, exactly. It has no stock of its own; a
// bundle that is packed ahead is a single SKU.
//
// SKUs are found through internal/search. The index holds no truth: writes mark their SKUs (commerce.skus.unindexed) in the
// same transaction and Catalogue.Index follows; `lianke search rebuild` makes it anew.
//
// Locks: the category tree by one advisory lock; then products, then SKUs in the order of their codes.
package product
