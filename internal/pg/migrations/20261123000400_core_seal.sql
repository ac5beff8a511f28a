-- +goose Up

-- A blind token of a fixed word under the master key: another key would open nothing here and find nobody, and what it
-- sealed could not be read with the right one.
CREATE TABLE core.seal (
    one       boolean     NOT NULL DEFAULT true,
    token     bytea       NOT NULL,
    made_at   timestamptz NOT NULL,
    CONSTRAINT seal_pkey PRIMARY KEY (one),
    CONSTRAINT seal_one CHECK (one)
);
COMMENT ON TABLE core.seal IS 'class=reference; which master key the data is sealed with';
