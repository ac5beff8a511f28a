-- +goose Up

-- What the search index does not hold yet; whoever writes a SKU or its product marks it.
ALTER TABLE commerce.skus ADD COLUMN unindexed boolean NOT NULL DEFAULT true;
CREATE INDEX skus_unindexed ON commerce.skus (sku) WHERE unindexed;
