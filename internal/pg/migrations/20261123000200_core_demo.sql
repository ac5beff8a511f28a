-- +goose Up

-- A row here says that the data in this database is the demo brand's and may be replaced by another demo.
CREATE TABLE core.demo (
    seed      bigint      NOT NULL,
    loaded_at timestamptz NOT NULL,
    CONSTRAINT demo_pkey PRIMARY KEY (loaded_at)
);
COMMENT ON TABLE core.demo IS 'class=reference; marks a demo database';
