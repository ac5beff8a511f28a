-- +goose Up

CREATE TABLE commerce.entities (
    code          text        NOT NULL,
    name          text        NOT NULL,
    tax_no        text        NOT NULL DEFAULT '',
    taxpayer_kind text        NOT NULL DEFAULT '',
    stub          boolean     NOT NULL DEFAULT false,
    attrs         jsonb       NOT NULL DEFAULT '{}',
    version       bigint      NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT entities_pkey PRIMARY KEY (code),
    CONSTRAINT entities_taxpayer_kind CHECK (taxpayer_kind IN ('', 'general', 'small_scale', 'individual', 'overseas'))
);
COMMENT ON TABLE commerce.entities IS 'class=reference; legal and tax subjects';

-- The tree of the organisation. path holds the codes from the root down to the unit itself, so that a subtree is one
-- index look-up.
CREATE TABLE commerce.org_units (
    code        text        NOT NULL,
    parent      text,
    path        text[]      NOT NULL,
    name        text        NOT NULL,
    kind        text        NOT NULL,
    entity      text,
    province    text        NOT NULL DEFAULT '',
    city        text        NOT NULL DEFAULT '',
    district    text        NOT NULL DEFAULT '',
    address     text        NOT NULL DEFAULT '',
    longitude   numeric(9, 6),
    latitude    numeric(8, 6),
    stub        boolean     NOT NULL DEFAULT false,
    attrs       jsonb       NOT NULL DEFAULT '{}',
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT org_units_pkey PRIMARY KEY (code),
    CONSTRAINT org_units_parent FOREIGN KEY (parent) REFERENCES commerce.org_units (code) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT org_units_entity FOREIGN KEY (entity) REFERENCES commerce.entities (code),
    CONSTRAINT org_units_kind CHECK (kind IN ('hq', 'branch', 'partner', 'store', 'warehouse')),
    CONSTRAINT org_units_path_ends_with_itself CHECK (path[array_upper(path, 1)] = code)
);
CREATE INDEX org_units_path ON commerce.org_units USING gin (path);
CREATE INDEX org_units_parent ON commerce.org_units (parent);
COMMENT ON TABLE commerce.org_units IS 'class=reference; tree of the organisation';
