-- +goose Up
CREATE SCHEMA IF NOT EXISTS commerce;

-- Spu: what customers call a product. Its SKUs are what is sold.
CREATE TABLE commerce.products (
    spu         text        NOT NULL,
    name        text        NOT NULL,
    category    text        NOT NULL DEFAULT '',
    brand       text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT products_pkey PRIMARY KEY (spu)
);
CREATE INDEX products_category ON commerce.products (category, spu);
COMMENT ON TABLE commerce.products IS 'class=reference; products (SPU)';

-- A stub is a SKU that something named before the catalogue knew it.
CREATE TABLE commerce.skus (
    sku              text        NOT NULL,
    spu              text        NOT NULL,
    name             text        NOT NULL,
    unit             text        NOT NULL DEFAULT '',
    tag_price_fen    bigint,
    retail_price_fen bigint,
    status           text        NOT NULL,
    stub             boolean     NOT NULL DEFAULT false,
    attrs            jsonb       NOT NULL DEFAULT '{}',
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT skus_pkey PRIMARY KEY (sku),
    CONSTRAINT skus_spu FOREIGN KEY (spu) REFERENCES commerce.products (spu),
    CONSTRAINT skus_status CHECK (status IN ('draft', 'active', 'inactive', 'archived')),
    CONSTRAINT skus_tag_price_not_negative CHECK (tag_price_fen >= 0),
    CONSTRAINT skus_retail_price_not_negative CHECK (retail_price_fen >= 0)
);
CREATE INDEX skus_spu ON commerce.skus (spu);
COMMENT ON TABLE commerce.skus IS 'class=reference; stock keeping units with tag and retail price in fen';

CREATE TABLE commerce.barcodes (
    barcode text NOT NULL,
    sku     text NOT NULL,
    CONSTRAINT barcodes_pkey PRIMARY KEY (barcode),
    CONSTRAINT barcodes_sku FOREIGN KEY (sku) REFERENCES commerce.skus (sku)
);
CREATE INDEX barcodes_sku ON commerce.barcodes (sku);
COMMENT ON TABLE commerce.barcodes IS 'class=reference; barcodes of SKUs, many to one';
