-- +goose Up

-- A promotion as it is being written (spec), where it stands, and which of its versions is live.
--
--   draft ──approve──▶ approved ──publish──▶ published ──stop──▶ stopped
--     ▲──────────────── edit ──────────────────────┴────────────────┘
CREATE TABLE commerce.promotions (
    code         text        NOT NULL,
    name         text        NOT NULL,
    kind         text        NOT NULL,
    status       text        NOT NULL,
    spec         jsonb       NOT NULL,
    live_version integer,
    versions     integer     NOT NULL DEFAULT 0,
    revision     bigint      NOT NULL DEFAULT 1,
    created_by   text        NOT NULL,
    approved_by  text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT promotions_pkey PRIMARY KEY (code),
    CONSTRAINT promotions_status CHECK (status IN ('draft', 'approved', 'published', 'stopped')),
    CONSTRAINT promotions_live CHECK (live_version BETWEEN 1 AND versions),
    CONSTRAINT promotions_published CHECK (status <> 'published' OR live_version IS NOT NULL),
    CONSTRAINT promotions_stopped CHECK (status <> 'stopped' OR live_version IS NULL)
);
CREATE INDEX promotions_live ON commerce.promotions (code) WHERE live_version IS NOT NULL;
COMMENT ON TABLE commerce.promotions IS 'class=reference; promotions being written, and which version is live';

-- What was published, for ever.
CREATE TABLE commerce.promotion_versions (
    code         text        NOT NULL,
    version      integer     NOT NULL,
    spec         jsonb       NOT NULL,
    max_uses     bigint,
    max_per_day  bigint,
    budget_fen   bigint,
    published_by text        NOT NULL,
    published_at timestamptz NOT NULL,
    stopped_by   text        NOT NULL DEFAULT '',
    stopped_at   timestamptz,
    CONSTRAINT promotion_versions_pkey PRIMARY KEY (code, version),
    CONSTRAINT promotion_versions_code FOREIGN KEY (code) REFERENCES commerce.promotions (code)
);
COMMENT ON TABLE commerce.promotion_versions IS 'class=reference; published versions of promotions, immutable but for their end';

-- How promotions stack (groups) and what an order may get in all (caps). One row; revision rises with every publication,
-- stop and change here, so that processes know when to compile again.
CREATE TABLE commerce.promotion_settings (
    id       integer NOT NULL DEFAULT 1,
    groups   jsonb   NOT NULL DEFAULT '[]',
    caps     jsonb   NOT NULL DEFAULT '{}',
    revision bigint  NOT NULL DEFAULT 1,
    CONSTRAINT promotion_settings_pkey PRIMARY KEY (id),
    CONSTRAINT promotion_settings_one CHECK (id = 1)
);
INSERT INTO commerce.promotion_settings DEFAULT VALUES;
COMMENT ON TABLE commerce.promotion_settings IS 'class=reference; groups and caps of promotions, one row';

-- How often a limited promotion was used and what it cost: slot '' in all, else a day in Shanghai. The limits are those of
-- the version that counted last.
CREATE TABLE commerce.promotion_counters (
    promotion  text   NOT NULL,
    slot       text   NOT NULL,
    used       bigint NOT NULL DEFAULT 0,
    spent_fen  bigint NOT NULL DEFAULT 0,
    max_used   bigint,
    budget_fen bigint,
    CONSTRAINT promotion_counters_pkey PRIMARY KEY (promotion, slot),
    CONSTRAINT promotion_counters_not_negative CHECK (used >= 0 AND spent_fen >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE commerce.promotion_counters IS 'class=by_key; uses and cost of limited promotions';

CREATE INDEX promotion_counters_slot ON commerce.promotion_counters (slot);

-- Which promotions an order holds, and in which slots it was counted.
CREATE TABLE commerce.promotion_uses (
    order_no    text        NOT NULL,
    promotion   text        NOT NULL,
    version     integer     NOT NULL,
    birth       bigint      NOT NULL,
    amount_fen  bigint      NOT NULL,
    slots       text[]      NOT NULL,
    state       text        NOT NULL,
    claimed_at  timestamptz NOT NULL,
    released_at timestamptz,
    CONSTRAINT promotion_uses_pkey PRIMARY KEY (order_no, promotion),
    CONSTRAINT promotion_uses_state CHECK (state IN ('claimed', 'released')),
    CONSTRAINT promotion_uses_amount CHECK (amount_fen >= 0)
);
CREATE INDEX promotion_uses_birth ON commerce.promotion_uses (birth, promotion) WHERE state = 'claimed';
CREATE INDEX promotion_uses_promotion ON commerce.promotion_uses (promotion, version);
COMMENT ON TABLE commerce.promotion_uses IS 'class=by_key; promotions that orders hold';
