-- +goose Up

-- The tree of categories. A category defines attributes for itself and everything below it. Products name their category by
-- its code; a category that no row defines has no attributes of its own.
CREATE TABLE commerce.categories (
    code       text        NOT NULL,
    parent     text,
    path       text[]      NOT NULL,
    name       text        NOT NULL,
    attributes jsonb       NOT NULL DEFAULT '[]',
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT categories_pkey PRIMARY KEY (code),
    CONSTRAINT categories_parent FOREIGN KEY (parent) REFERENCES commerce.categories (code),
    CONSTRAINT categories_attributes_is_array CHECK (jsonb_typeof(attributes) = 'array'),
    CONSTRAINT categories_path_ends_with_itself CHECK (path[array_upper(path, 1)] = code)
);
CREATE INDEX categories_path ON commerce.categories USING gin (path);
COMMENT ON TABLE commerce.categories IS 'class=reference; tree of product categories with their typed attributes';

ALTER TABLE commerce.products ADD COLUMN version bigint NOT NULL DEFAULT 1;

ALTER TABLE commerce.skus
    ADD COLUMN kind     text    NOT NULL DEFAULT 'single',
    ADD COLUMN gift     boolean NOT NULL DEFAULT false,
    ADD COLUMN tax_code text    NOT NULL DEFAULT '',
    ADD CONSTRAINT skus_kind CHECK (kind IN ('single', 'bundle')),
    ADD CONSTRAINT skus_tax_code CHECK (tax_code = '' OR tax_code ~ '^[0-9]{19}$'),
    DROP CONSTRAINT skus_status,
    ADD CONSTRAINT skus_status CHECK (status IN ('draft', 'in_review', 'active', 'inactive', 'delisting', 'archived'));

-- What a virtual bundle is made of. Its price is divided among the components by weight; a bundle that is packed ahead is a
-- SKU of its own and has no rows here.
CREATE TABLE commerce.bundle_components (
    bundle   text    NOT NULL,
    sku      text    NOT NULL,
    position integer NOT NULL,
    quantity bigint  NOT NULL,
    weight   bigint  NOT NULL,
    CONSTRAINT bundle_components_pkey PRIMARY KEY (bundle, sku),
    CONSTRAINT bundle_components_bundle FOREIGN KEY (bundle) REFERENCES commerce.skus (sku),
    CONSTRAINT bundle_components_sku FOREIGN KEY (sku) REFERENCES commerce.skus (sku),
    CONSTRAINT bundle_components_not_itself CHECK (bundle <> sku),
    CONSTRAINT bundle_components_quantity CHECK (quantity > 0),
    CONSTRAINT bundle_components_weight CHECK (weight >= 0)
);
CREATE INDEX bundle_components_sku ON commerce.bundle_components (sku);
COMMENT ON TABLE commerce.bundle_components IS 'class=reference; components of virtual bundles';

-- What a touchpoint shows of a product; touchpoint '' is what the others show.
CREATE TABLE commerce.product_contents (
    spu        text   NOT NULL,
    touchpoint text   NOT NULL,
    title      text   NOT NULL,
    body       text   NOT NULL DEFAULT '',
    images     text[] NOT NULL DEFAULT '{}',
    CONSTRAINT product_contents_pkey PRIMARY KEY (spu, touchpoint),
    CONSTRAINT product_contents_spu FOREIGN KEY (spu) REFERENCES commerce.products (spu)
);
COMMENT ON TABLE commerce.product_contents IS 'class=reference; titles, texts and images of products by touchpoint; images are keys of the blob store';
