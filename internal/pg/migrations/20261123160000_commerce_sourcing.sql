-- +goose Up

CREATE TABLE commerce.sourcing_rules (
    code       text        NOT NULL,
    version    bigint      NOT NULL,
    rules      jsonb       NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT sourcing_rules_pkey PRIMARY KEY (code)
);
COMMENT ON TABLE commerce.sourcing_rules IS 'class=reference; how orders are sourced';

CREATE TABLE commerce.sourcing_freight (
    carrier    text        NOT NULL,
    version    bigint      NOT NULL,
    freight    jsonb       NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT sourcing_freight_pkey PRIMARY KEY (carrier)
);
COMMENT ON TABLE commerce.sourcing_freight IS 'class=reference; what carriers charge, where and when they go';

CREATE TABLE commerce.sourcing_versions (
    kind       text        NOT NULL,
    code       text        NOT NULL,
    version    bigint      NOT NULL,
    content    jsonb       NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT sourcing_versions_pkey PRIMARY KEY (kind, code, version),
    CONSTRAINT sourcing_versions_kind CHECK (kind IN ('rules', 'freight', 'location'))
);
COMMENT ON TABLE commerce.sourcing_versions IS 'class=reference; every version of rules, freight tables and settings of locations';

-- What a location offers. A store or warehouse without a row offers every mode at any hour, without limit.
CREATE TABLE commerce.sourcing_locations (
    location   text        NOT NULL,
    version    bigint      NOT NULL,
    settings   jsonb       NOT NULL,
    daily_cap  integer     NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT sourcing_locations_pkey PRIMARY KEY (location),
    CONSTRAINT sourcing_locations_daily_cap CHECK (daily_cap >= 0)
);
COMMENT ON TABLE commerce.sourcing_locations IS 'class=reference; what locations offer to orders from elsewhere';

-- taken is the sum of the tokens held or confirmed.
CREATE TABLE commerce.sourcing_capacity (
    location   text        NOT NULL,
    day        date        NOT NULL,
    cap        integer     NOT NULL,
    taken      integer     NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    CONSTRAINT sourcing_capacity_pkey PRIMARY KEY (location, day),
    CONSTRAINT sourcing_capacity_not_negative CHECK (taken >= 0),
    CONSTRAINT sourcing_capacity_within_cap CHECK (taken <= cap)
) WITH (fillfactor = 50);
COMMENT ON TABLE commerce.sourcing_capacity IS 'class=by_key; parcels that locations can send a day, and how many are taken';

CREATE TABLE commerce.sourcing_tokens (
    ref        text        NOT NULL,
    location   text        NOT NULL,
    day        date        NOT NULL,
    parcels    integer     NOT NULL,
    state      text        NOT NULL,
    expires_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT sourcing_tokens_pkey PRIMARY KEY (ref),
    CONSTRAINT sourcing_tokens_parcels CHECK (parcels > 0),
    CONSTRAINT sourcing_tokens_state CHECK (state IN ('held', 'confirmed', 'released')),
    CONSTRAINT sourcing_tokens_held_expires CHECK ((state = 'held') = (expires_at IS NOT NULL))
) WITH (fillfactor = 85);
CREATE INDEX sourcing_tokens_expiry ON commerce.sourcing_tokens (expires_at, ref) WHERE state = 'held';
CREATE INDEX sourcing_tokens_day ON commerce.sourcing_tokens (location, day);
COMMENT ON TABLE commerce.sourcing_tokens IS 'class=by_key; capacity held or taken by parcels, by what they are for';
