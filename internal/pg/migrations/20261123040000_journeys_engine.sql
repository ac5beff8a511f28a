-- +goose Up
CREATE SCHEMA IF NOT EXISTS journeys;

-- One row per journey: the draft people edit, and which immutable version is live. `no` is the short number that runs and
-- statistics carry.
CREATE TABLE journeys.journeys (
    id           uuid        NOT NULL,
    no           integer     NOT NULL GENERATED ALWAYS AS IDENTITY,
    code         text        NOT NULL,
    name         text        NOT NULL,
    status       text        NOT NULL DEFAULT 'draft',
    draft        jsonb       NOT NULL,
    revision     integer     NOT NULL DEFAULT 1,
    live_version integer,
    next_at      timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT journeys_pkey PRIMARY KEY (id),
    CONSTRAINT journeys_no UNIQUE (no),
    CONSTRAINT journeys_code UNIQUE (code),
    CONSTRAINT journeys_status CHECK (status IN ('draft', 'live', 'paused', 'archived')),
    CONSTRAINT journeys_live_has_version CHECK (status IN ('draft', 'archived') OR live_version IS NOT NULL)
);
CREATE INDEX journeys_next_at ON journeys.journeys (next_at) WHERE status = 'live' AND next_at IS NOT NULL;
COMMENT ON TABLE journeys.journeys IS 'class=reference; journeys and their drafts';

CREATE TABLE journeys.versions (
    journey      integer     NOT NULL,
    version      integer     NOT NULL,
    document     jsonb       NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text        NOT NULL,
    CONSTRAINT versions_pkey PRIMARY KEY (journey, version)
);
COMMENT ON TABLE journeys.versions IS 'class=reference; published journeys, never changed';

-- One row: what every engine must notice before its next batch. The generation grows with each publish, pause, resume
-- and archive; engines reload their book of journeys when it differs from theirs.
CREATE TABLE journeys.control (
    one        boolean NOT NULL DEFAULT true,
    generation bigint  NOT NULL DEFAULT 1,
    paused_all boolean NOT NULL DEFAULT false,
    CONSTRAINT control_pkey PRIMARY KEY (one),
    CONSTRAINT control_is_one_row CHECK (one)
);
COMMENT ON TABLE journeys.control IS 'class=reference; generation of the book and the stop switch';
INSERT INTO journeys.control DEFAULT VALUES;

-- One way through a journey, begun by one birth. seed is the birth whose hash decides splits and hold-outs: that of the
-- earliest run of the cluster, so a second run takes the same side. history is the compressed trace (run.go).
CREATE TABLE journeys.runs (
    birth          bigint      NOT NULL,
    id             uuid        NOT NULL,
    seed           bigint      NOT NULL,
    journey        integer     NOT NULL,
    version        integer     NOT NULL,
    attempts       integer     NOT NULL DEFAULT 0,
    parked         boolean     NOT NULL,
    wake           boolean     NOT NULL DEFAULT false,
    since          timestamptz NOT NULL,
    due_at         timestamptz,
    entered_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    goal_at        timestamptz,
    absorbed_by    uuid,
    absorbed_birth bigint,
    status         text        NOT NULL,
    node           text        NOT NULL,
    reason         text        NOT NULL DEFAULT '',
    error          text        NOT NULL DEFAULT '',
    history        bytea       NOT NULL DEFAULT '',
    context        jsonb,
    CONSTRAINT runs_pkey PRIMARY KEY (birth, id),
    CONSTRAINT runs_status CHECK (status IN ('waiting', 'held', 'quarantined', 'absorbed', 'ended')),
    CONSTRAINT runs_ended_has_reason CHECK (status NOT IN ('ended', 'absorbed') OR (ended_at IS NOT NULL AND reason <> ''))
) PARTITION BY HASH (birth);
COMMENT ON TABLE journeys.runs IS 'class=by_birth; journey runs; node is where the run stands or where it left';

-- +goose StatementBegin
DO $$
BEGIN
    FOR i IN 0..3 LOOP
        EXECUTE format('CREATE TABLE journeys.runs_%s PARTITION OF journeys.runs FOR VALUES WITH (MODULUS 4, REMAINDER %s)
            WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05)', i, i);
    END LOOP;
END $$;
-- +goose StatementEnd
CREATE INDEX runs_due ON journeys.runs (due_at) WHERE status = 'waiting';
CREATE INDEX runs_aside ON journeys.runs (journey) WHERE status IN ('held', 'quarantined');

-- Figures per node, as deltas appended by each batch (no counter row that all batches fight for), folded into
-- node_stats by a periodic job. cohort is the Shanghai day of entry, hour the hour in which it happened.
CREATE TABLE journeys.node_deltas (
    id      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    journey integer     NOT NULL,
    version integer     NOT NULL,
    node    text        NOT NULL,
    metric  text        NOT NULL,
    detail  text        NOT NULL,
    cohort  date        NOT NULL,
    hour    timestamptz NOT NULL,
    n       bigint      NOT NULL,
    CONSTRAINT node_deltas_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE journeys.node_deltas IS 'class=reference; figures not yet folded into node_stats';

CREATE TABLE journeys.node_stats (
    journey integer     NOT NULL,
    version integer     NOT NULL,
    node    text        NOT NULL,
    metric  text        NOT NULL,
    detail  text        NOT NULL,
    cohort  date        NOT NULL,
    hour    timestamptz NOT NULL,
    n       bigint      NOT NULL,
    CONSTRAINT node_stats_pkey PRIMARY KEY (journey, version, node, metric, detail, cohort, hour)
);
COMMENT ON TABLE journeys.node_stats IS 'class=reference; figures per node, entry cohort and hour';

-- Progress of one scheduled entry over its audience: members up to cursor have been entered.
CREATE TABLE journeys.occurrences (
    journey  integer     NOT NULL,
    at       timestamptz NOT NULL,
    version  integer     NOT NULL,
    cursor   bigint      NOT NULL DEFAULT 0,
    entered  bigint      NOT NULL DEFAULT 0,
    done_at  timestamptz,
    CONSTRAINT occurrences_pkey PRIMARY KEY (journey, at)
);
CREATE INDEX occurrences_open ON journeys.occurrences (at) WHERE done_at IS NULL;
COMMENT ON TABLE journeys.occurrences IS 'class=reference; scheduled entries and how far they are';

-- Calls to other systems, made after the commit with the key as idempotency key, retried with growing pauses.
CREATE TABLE journeys.webhooks (
    key       uuid        NOT NULL,
    birth     bigint      NOT NULL,
    journey   integer     NOT NULL,
    node      text        NOT NULL,
    url       text        NOT NULL,
    payload   jsonb       NOT NULL,
    status    text        NOT NULL DEFAULT 'pending',
    attempts  integer     NOT NULL DEFAULT 0,
    due_at    timestamptz NOT NULL,
    error     text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    CONSTRAINT webhooks_pkey PRIMARY KEY (key),
    CONSTRAINT webhooks_status CHECK (status IN ('pending', 'delivered', 'failed'))
);
CREATE INDEX webhooks_due ON journeys.webhooks (due_at) WHERE status = 'pending';
COMMENT ON TABLE journeys.webhooks IS 'class=by_key; calls to other systems';

-- What a journey asks an associate to do for a member.
CREATE TABLE journeys.tasks (
    key        uuid        NOT NULL,
    birth      bigint      NOT NULL,
    journey    integer     NOT NULL,
    node       text        NOT NULL,
    kind       text        NOT NULL,
    title      text        NOT NULL,
    body       text        NOT NULL,
    status     text        NOT NULL DEFAULT 'open',
    due_at     timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT tasks_pkey PRIMARY KEY (birth, key),
    CONSTRAINT tasks_status CHECK (status IN ('open', 'done', 'cancelled'))
);
CREATE INDEX tasks_open ON journeys.tasks (due_at, key) WHERE status = 'open';
COMMENT ON TABLE journeys.tasks IS 'class=by_birth; associate tasks given by journeys';
