-- +goose Up

-- "These two births were seen together", one live row per pair, kind and source. Rows are revoked, never deleted; kind
-- 'deny' says that the two must never be one member.
CREATE TABLE member.evidence (
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    a_birth     bigint      NOT NULL,
    b_birth     bigint      NOT NULL,
    kind        text        NOT NULL,
    source      text        NOT NULL,
    trust       smallint    NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    n           integer     NOT NULL DEFAULT 1,
    revoked_at  timestamptz,
    revoked_by  text,
    reason      text        NOT NULL DEFAULT '',
    CONSTRAINT evidence_pkey PRIMARY KEY (id),
    CONSTRAINT evidence_is_ordered CHECK (a_birth < b_birth),
    CONSTRAINT evidence_times CHECK (first_at <= last_at)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX evidence_live ON member.evidence (a_birth, b_birth, kind, source) WHERE revoked_at IS NULL;
CREATE INDEX evidence_revoked ON member.evidence (a_birth) WHERE revoked_at IS NOT NULL;
CREATE INDEX evidence_deny ON member.evidence (a_birth, b_birth) WHERE kind = 'deny' AND revoked_at IS NULL;
COMMENT ON TABLE member.evidence IS 'class=by_birth; which births were seen together, revocable, never deleted';

-- When a birth was last seen with another birth of its member: the newest live evidence between the two. Of several phones
-- of one member, this is the one in use.
-- +goose StatementBegin
CREATE FUNCTION member.seen_at(of_birth bigint, of_root bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT max(e.last_at)
    FROM member.births o
    JOIN member.evidence e ON e.a_birth = o.birth
    WHERE o.root = of_root AND (e.a_birth = of_birth OR e.b_birth = of_birth) AND e.kind <> 'deny' AND e.revoked_at IS NULL
$$;
-- +goose StatementEnd

-- Observations already counted, by hash of source, key and identifiers: a replay changes nothing.
CREATE TABLE member.evidence_events (
    hash  bytea       NOT NULL,
    at    timestamptz NOT NULL,
    CONSTRAINT evidence_events_pkey PRIMARY KEY (hash)
);
COMMENT ON TABLE member.evidence_events IS 'class=by_key; observations already counted';

-- Every change of a birth from one cluster to another. The cluster of a birth at time T is old_root of its first change
-- after T, else its root of today.
CREATE TABLE member.cluster_history (
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    birth     bigint      NOT NULL,
    at        timestamptz NOT NULL,
    old_root  bigint      NOT NULL,
    new_root  bigint      NOT NULL,
    cause     text        NOT NULL,
    actor     text        NOT NULL DEFAULT '',
    CONSTRAINT cluster_history_pkey PRIMARY KEY (id)
);
CREATE INDEX cluster_history_birth ON member.cluster_history (birth, at);
COMMENT ON TABLE member.cluster_history IS 'class=by_birth; moves of births between clusters, append-only';

-- Identifiers of erased people: facts about them up to that time are dropped at the door.
CREATE TABLE member.suppressed (
    ns         text        NOT NULL,
    scope      text        NOT NULL,
    vh         bytea       NOT NULL,
    erased_at  timestamptz NOT NULL,
    CONSTRAINT suppressed_pkey PRIMARY KEY (ns, scope, vh)
);
COMMENT ON TABLE member.suppressed IS 'class=by_key; identifiers of erased people';

CREATE INDEX identifiers_birth ON member.identifiers (birth);
