-- +goose Up
CREATE SCHEMA IF NOT EXISTS member;

CREATE SEQUENCE member.birth_seq AS bigint;

-- One row per identifier and epoch: (namespace, scope, value) is known only by its keyed hash. A re-issued phone opens a
-- new epoch and so a new birth; earlier epochs keep theirs.
CREATE TABLE member.identifiers (
    ns          text        NOT NULL,
    scope       text        NOT NULL,
    vh          bytea       NOT NULL,
    epoch       integer     NOT NULL DEFAULT 0,
    birth       bigint      NOT NULL DEFAULT nextval('member.birth_seq'),
    first_seen  timestamptz NOT NULL,
    CONSTRAINT identifiers_pkey PRIMARY KEY (ns, scope, vh, epoch),
    CONSTRAINT identifiers_vh_is_128_bit CHECK (octet_length(vh) = 16)
);
COMMENT ON TABLE member.identifiers IS 'class=by_key; identifier → birth';

-- One row per birth: which cluster it is in now (root = smallest birth of the cluster), which it would be in without
-- limits and denials (raw_root), and what the cluster derives from it. The row in identifiers of the birth that is a
-- raw_root is the lock of that raw component: whoever changes evidence or clusters inside it holds it. A quarantined birth was seen with so
-- many accounts that it says nothing about who somebody is; it stands alone. tie comes from the hash of the identifier: it
-- decides where evidence is otherwise equal, because the numbers of births depend on who arrived first.
CREATE TABLE member.births (
    birth         bigint      NOT NULL,
    root          bigint      NOT NULL,
    raw_root      bigint      NOT NULL,
    ns            text        NOT NULL,
    scope         text        NOT NULL DEFAULT '',
    person        boolean     NOT NULL,
    quarantined   boolean     NOT NULL DEFAULT false,
    tie           bigint      NOT NULL DEFAULT 0,
    registered_at timestamptz,
    first_fact_at timestamptz,
    created_at    timestamptz NOT NULL,
    erased_at     timestamptz,
    CONSTRAINT births_pkey PRIMARY KEY (birth),
    CONSTRAINT births_root_is_smallest CHECK (root <= birth)
) WITH (fillfactor = 80);
CREATE INDEX births_root ON member.births (root);
CREATE INDEX births_raw_root ON member.births (raw_root) WHERE raw_root <> birth;
COMMENT ON TABLE member.births IS 'class=by_birth; birth → root';

-- One row per cluster, derived from its births and rebuilt whenever the cluster or a fact it folds changes. It is the row
-- that every member-scoped change locks first.
CREATE TABLE member.members (
    id            bigint      NOT NULL,
    is_member     boolean     NOT NULL,
    registered_at timestamptz,
    first_fact_at timestamptz,
    home_store    text,
    attrs         jsonb       NOT NULL DEFAULT '{}',
    tags          text[]      NOT NULL DEFAULT '{}',
    version       bigint      NOT NULL DEFAULT 1,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (id)
) WITH (fillfactor = 80);
CREATE INDEX members_home_store ON member.members (home_store, id) WHERE is_member;
COMMENT ON TABLE member.members IS 'class=by_birth; id is the root birth; effective profile of a cluster';

-- Attributes that are not personal data in clear: gender, birthday, province, city, home_store, attr.*. The newest
-- statement in the cluster wins (ties: births.tie).
CREATE TABLE member.attributes (
    birth   bigint      NOT NULL,
    name    text        NOT NULL,
    value   jsonb       NOT NULL,
    source  text        NOT NULL,
    at      timestamptz NOT NULL,
    CONSTRAINT attributes_pkey PRIMARY KEY (birth, name)
);
COMMENT ON TABLE member.attributes IS 'class=by_birth; attribute statements';

CREATE TABLE member.tags (
    birth   bigint      NOT NULL,
    tag     text        NOT NULL,
    source  text        NOT NULL,
    at      timestamptz NOT NULL,
    CONSTRAINT tags_pkey PRIMARY KEY (birth, tag)
);
COMMENT ON TABLE member.tags IS 'class=by_birth; tags';

-- Consent statements, append-only. Absence is refusal.
CREATE TABLE member.consents (
    birth    bigint      NOT NULL,
    channel  text        NOT NULL,
    at       timestamptz NOT NULL,
    granted  boolean     NOT NULL,
    source   text        NOT NULL,
    proof    text        NOT NULL DEFAULT '',
    CONSTRAINT consents_pkey PRIMARY KEY (birth, channel, at)
);
COMMENT ON TABLE member.consents IS 'class=by_birth; consent statements';

-- Where a member can be reached: per cluster and channel the birth of the channel identity (the newest by member.seen_at) and whether the
-- cluster''s effective consent stands. Derived, rebuilt with members.
CREATE TABLE member.reach (
    id       bigint  NOT NULL,
    channel  text    NOT NULL,
    birth    bigint  NOT NULL,
    granted  boolean NOT NULL,
    CONSTRAINT reach_pkey PRIMARY KEY (id, channel)
);
CREATE INDEX reach_channel ON member.reach (channel, id) WHERE granted;
COMMENT ON TABLE member.reach IS 'class=by_birth; id is the root birth; channel identity and effective consent';
