-- +goose Up

-- Keys of programs: write keys send tracking data (basic auth user name), api keys call the API (bearer). Only the hash of
-- a key is kept; the prefix helps people to recognise it.
CREATE TABLE core.keys (
    id           uuid        NOT NULL,
    kind         text        NOT NULL,
    name         text        NOT NULL,
    source       text        NOT NULL,
    prefix       text        NOT NULL,
    key_hash     bytea       NOT NULL,
    roles        text[]      NOT NULL DEFAULT '{}',
    org          text        NOT NULL DEFAULT '',
    per_second   integer     NOT NULL DEFAULT 1000,
    created_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    CONSTRAINT keys_pkey PRIMARY KEY (id),
    CONSTRAINT keys_key_hash_key UNIQUE (key_hash),
    CONSTRAINT keys_kind CHECK (kind IN ('write', 'api')),
    CONSTRAINT keys_rate CHECK (per_second BETWEEN 1 AND 1000000),
    CONSTRAINT keys_api_has_roles CHECK (kind = 'write' OR cardinality(roles) > 0)
);
COMMENT ON TABLE core.keys IS 'class=reference; write keys and API keys';
