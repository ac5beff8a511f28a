// Package product is the catalogue: products (SPU), the SKUs under them with tag and retail price, and barcodes. It owns
// commerce.products, commerce.skus and commerce.barcodes.
//
// Invariants: a SKU belongs to one product, a barcode to one SKU. A SKU that an order or another file names before the
// catalogue knows it becomes a stub, active and without price, which a later import fills in.
//
// SKUs are found through internal/search. The index holds no truth: writes mark their SKUs (commerce.skus.unindexed) in the
// same transaction and Catalogue.Index follows; `lianke search rebuild` makes it anew.
//
// Locks: SKUs are written in the order of their codes.
package product
