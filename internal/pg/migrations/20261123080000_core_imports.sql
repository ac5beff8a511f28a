-- +goose Up

-- One row per run over one file. The counters are the checkpoint: they are written in the transaction of the rows they
-- count, so a run that was killed resumes at the row behind the last committed batch.
CREATE TABLE core.import_jobs (
    id            uuid        NOT NULL,
    kind          text        NOT NULL,
    mode          text        NOT NULL,
    content_hash  bytea       NOT NULL,
    file_name     text        NOT NULL,
    file_bytes    bigint      NOT NULL,
    status        text        NOT NULL,
    rows          bigint      NOT NULL DEFAULT 0,
    accepted      bigint      NOT NULL DEFAULT 0,
    rejected      bigint      NOT NULL DEFAULT 0,
    duplicates    bigint      NOT NULL DEFAULT 0,
    net_fen       bigint      NOT NULL DEFAULT 0,
    warnings      jsonb       NOT NULL DEFAULT '{}',
    rejects_bytes bigint      NOT NULL DEFAULT 0,
    started_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    CONSTRAINT import_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT import_jobs_mode CHECK (mode IN ('live', 'backfill')),
    CONSTRAINT import_jobs_status CHECK (status IN ('running', 'done')),
    CONSTRAINT import_jobs_add_up CHECK (rows = accepted + rejected + duplicates)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX import_jobs_running ON core.import_jobs (kind, mode, content_hash) WHERE status = 'running';
COMMENT ON TABLE core.import_jobs IS 'class=reference; import runs and their checkpoints';

-- What has been imported already: the row''s own key and a hash of its content, so that a replay is a duplicate and
-- changed content under the same key is an update. Kept as long as imports may be replayed.
CREATE TABLE core.import_rows (
    kind         text  NOT NULL,
    key_hash     bytea NOT NULL,
    content_hash bytea NOT NULL,
    CONSTRAINT import_rows_pkey PRIMARY KEY (kind, key_hash)
);
COMMENT ON TABLE core.import_rows IS 'class=by_key; idempotency of imports';
