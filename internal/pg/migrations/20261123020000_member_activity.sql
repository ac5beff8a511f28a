-- +goose Up

-- The log of what members did and what happened to them. Partitioned by month of occurred_at; partitions are made by
-- member.ensure_activity_partitions.
CREATE SEQUENCE member.activity_seq AS bigint CACHE 32;

CREATE TABLE member.activities (
    id          bigint      NOT NULL,
    birth       bigint      NOT NULL,
    key         text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    mode        text        NOT NULL,
    touchpoint  text        NOT NULL DEFAULT '',
    source      text        NOT NULL,
    props       jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT activities_pkey PRIMARY KEY (occurred_at, id),
    CONSTRAINT activities_mode CHECK (mode IN ('live', 'backfill'))
) PARTITION BY RANGE (occurred_at);
-- Rules ask about one key of one member; a timeline reads and sorts the few hundred rows of a member.
CREATE INDEX activities_birth ON member.activities (birth, key, occurred_at);
CREATE INDEX activities_key ON member.activities (key, occurred_at) INCLUDE (birth);
COMMENT ON TABLE member.activities IS 'class=by_birth; the activity log';

-- What has been logged already: (source, hash of the source''s own key) → the activity, so that a replay changes nothing
-- and the same key with other content is an update.
CREATE TABLE member.activity_keys (
    source       text        NOT NULL,
    key_hash     bytea       NOT NULL,
    content_hash bytea       NOT NULL,
    occurred_at  timestamptz NOT NULL,
    activity_id  bigint      NOT NULL,
    CONSTRAINT activity_keys_pkey PRIMARY KEY (source, key_hash)
) PARTITION BY HASH (source, key_hash);
COMMENT ON TABLE member.activity_keys IS 'class=by_key; idempotency of the log';

-- +goose StatementBegin
DO $$
BEGIN
    FOR i IN 0..7 LOOP
        EXECUTE format('CREATE TABLE member.activity_keys_%s PARTITION OF member.activity_keys FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    END LOOP;
END $$;
-- +goose StatementEnd

-- The feed, in two steps. Writers add rows to feed_inbox in the transaction of the fact; the inbox id only keeps the order
-- of one writer. The sequencer moves committed rows into feed, into the shard of the present root, and numbers them under the lock of the feed_shards
-- rows: a number is visible only after all smaller ones of its shard, and an open transaction elsewhere delays only its own
-- rows.
CREATE TABLE member.feed_inbox (
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    birth       bigint      NOT NULL,
    key         text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    activity_id bigint,
    mode        text        NOT NULL,
    CONSTRAINT feed_inbox_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
COMMENT ON TABLE member.feed_inbox IS 'class=by_birth; feed rows not yet numbered';

CREATE TABLE member.feed (
    shard       smallint    NOT NULL,
    seq         bigint      NOT NULL,
    birth       bigint      NOT NULL,
    key         text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    activity_id bigint,
    mode        text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT feed_pkey PRIMARY KEY (shard, seq)
);
COMMENT ON TABLE member.feed IS 'class=by_birth; numbered rows for consumers, trimmed behind the slowest one after 72 h';

CREATE TABLE member.feed_shards (
    shard    smallint NOT NULL,
    last_seq bigint   NOT NULL DEFAULT 0,
    CONSTRAINT feed_shards_pkey PRIMARY KEY (shard)
) WITH (fillfactor = 20);
COMMENT ON TABLE member.feed_shards IS 'class=reference; last number given per shard';
INSERT INTO member.feed_shards (shard) SELECT generate_series(0, 7);

-- Births whose root has changed to one of another shard, noted by whoever changes it. sealed holds the last number of each shard (in order of the
-- shards) when the sequencer first saw the change: rows of the member with greater numbers are read after all those.
CREATE TABLE member.feed_moves (
    birth      bigint   NOT NULL,
    id         bigint   NOT NULL GENERATED ALWAYS AS IDENTITY,
    from_shard smallint NOT NULL,
    sealed     bigint[],
    CONSTRAINT feed_moves_pkey PRIMARY KEY (birth, id)
);
CREATE INDEX feed_moves_unsealed ON member.feed_moves (id) WHERE sealed IS NULL;
COMMENT ON TABLE member.feed_moves IS 'class=by_birth; births on their way between shards, until every consumer has followed';

CREATE TABLE member.feed_cursors (
    consumer text     NOT NULL,
    shard    smallint NOT NULL,
    seq      bigint   NOT NULL,
    CONSTRAINT feed_cursors_pkey PRIMARY KEY (consumer, shard)
) WITH (fillfactor = 20);
COMMENT ON TABLE member.feed_cursors IS 'class=reference; how far each consumer has read';

-- +goose StatementBegin
CREATE FUNCTION member.ensure_activity_partitions(from_at timestamptz, to_at timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    m    date := date_trunc('month', from_at AT TIME ZONE 'UTC')::date;
    made integer := 0;
    name text;
BEGIN
    IF to_at - from_at > interval '200 years' THEN
        RAISE EXCEPTION 'activity partitions over % years are refused', 200;
    END IF;
    WHILE m <= (to_at AT TIME ZONE 'UTC')::date LOOP
        name := 'activities_' || to_char(m, 'YYYYMM');
        IF to_regclass('member.' || name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('member.activities partition'));
            IF to_regclass('member.' || name) IS NULL THEN
                -- Attaching, unlike CREATE … PARTITION OF, does not stop readers and writers of the log.
                EXECUTE format('CREATE TABLE member.%I (LIKE member.activities INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
                EXECUTE format('ALTER TABLE member.activities ATTACH PARTITION member.%I FOR VALUES FROM (%L) TO (%L)',
                    name, m::timestamp AT TIME ZONE 'UTC', (m + interval '1 month')::timestamp AT TIME ZONE 'UTC');
                made := made + 1;
            END IF;
        END IF;
        m := (m + interval '1 month')::date;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd
