-- +goose Up
CREATE SCHEMA IF NOT EXISTS commerce;

-- What a kind of coupon is worth, when, where and to whom, and who bears its cost. bearers: [{"bearer":CODE,"bp":n}…], in
-- sum 10,000. What decides money (kind, amounts, bearers) never changes: another value is another template.
CREATE TABLE commerce.coupon_templates (
    code             text        NOT NULL,
    name             text        NOT NULL,
    kind             text        NOT NULL,
    amount_fen       bigint      NOT NULL DEFAULT 0,
    percent_bp       integer     NOT NULL DEFAULT 0,
    max_discount_fen bigint      NOT NULL DEFAULT 0,
    gift_sku         text        NOT NULL DEFAULT '',
    threshold_fen    bigint      NOT NULL DEFAULT 0,
    valid_from       timestamptz,
    valid_to         timestamptz,
    valid_days       integer     NOT NULL DEFAULT 0,
    member_limit     integer     NOT NULL DEFAULT 0,
    stack_group      text        NOT NULL DEFAULT '',
    scope            jsonb       NOT NULL DEFAULT '{}',
    bearers          jsonb       NOT NULL,
    status           text        NOT NULL DEFAULT 'active',
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT coupon_templates_pkey PRIMARY KEY (code),
    CONSTRAINT coupon_templates_kind CHECK (kind IN ('amount_off', 'percent', 'gift', 'freight')),
    CONSTRAINT coupon_templates_status CHECK (status IN ('active', 'paused', 'archived')),
    CONSTRAINT coupon_templates_amounts CHECK (amount_fen >= 0 AND max_discount_fen >= 0 AND threshold_fen >= 0
        AND percent_bp BETWEEN 0 AND 10000 AND valid_days >= 0 AND member_limit >= 0)
);
COMMENT ON TABLE commerce.coupon_templates IS 'class=reference; kinds of coupons';

-- How much of a limited template has been given out. The row is locked by whoever issues, so limits hold exactly.
CREATE TABLE commerce.coupon_counters (
    template     text   NOT NULL,
    issued       bigint NOT NULL DEFAULT 0,
    quantity     bigint,
    promised_fen bigint NOT NULL DEFAULT 0,
    budget_fen   bigint,
    CONSTRAINT coupon_counters_pkey PRIMARY KEY (template),
    CONSTRAINT coupon_counters_template FOREIGN KEY (template) REFERENCES commerce.coupon_templates (code),
    CONSTRAINT coupon_counters_quantity CHECK (issued >= 0 AND issued <= quantity),
    CONSTRAINT coupon_counters_budget CHECK (promised_fen >= 0 AND promised_fen <= budget_fen)
) WITH (fillfactor = 50);
COMMENT ON TABLE commerce.coupon_counters IS 'class=by_key; quantity and budget used per template';

-- birth 0: a bearer coupon, good for whoever presents the code. face_fen is what the coupon may cost at most, frozen.
CREATE TABLE commerce.coupons (
    birth        bigint      NOT NULL,
    code         text        NOT NULL,
    template     text        NOT NULL,
    state        text        NOT NULL,
    face_fen     bigint      NOT NULL,
    issued_at    timestamptz NOT NULL,
    starts_at    timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    order_no     text        NOT NULL DEFAULT '',
    used_at      timestamptz,
    discount_fen bigint      NOT NULL DEFAULT 0,
    uses         integer     NOT NULL DEFAULT 0,
    source       text        NOT NULL,
    CONSTRAINT coupons_pkey PRIMARY KEY (birth, code),
    CONSTRAINT coupons_state CHECK (state IN ('issued', 'locked', 'used', 'expired', 'recalled')),
    CONSTRAINT coupons_amounts CHECK (face_fen >= 0 AND discount_fen >= 0),
    CONSTRAINT coupons_used CHECK ((state = 'used') = (used_at IS NOT NULL)),
    CONSTRAINT coupons_order CHECK (state NOT IN ('locked') OR order_no <> '')
) WITH (fillfactor = 85);
CREATE INDEX coupons_birth ON commerce.coupons (birth, template);
CREATE INDEX coupons_expiry ON commerce.coupons (expires_at) WHERE state = 'issued';
CREATE INDEX coupons_order ON commerce.coupons (order_no) WHERE order_no <> '';
CREATE INDEX coupons_template ON commerce.coupons (template, state);
COMMENT ON TABLE commerce.coupons IS 'class=by_birth; coupons by the birth they were issued to';

CREATE TABLE commerce.coupon_codes (
    code     text   NOT NULL,
    birth    bigint NOT NULL,
    CONSTRAINT coupon_codes_pkey PRIMARY KEY (code)
);
COMMENT ON TABLE commerce.coupon_codes IS 'class=by_key; coupon code → birth';

-- What each request to issue came to, refusals included, so that a replay gives the same answer.
CREATE TABLE commerce.coupon_grants (
    key      uuid        NOT NULL,
    hash     bytea       NOT NULL,
    birth    bigint      NOT NULL,
    template text        NOT NULL,
    outcome  text        NOT NULL,
    code     text        NOT NULL DEFAULT '',
    at       timestamptz NOT NULL,
    CONSTRAINT coupon_grants_pkey PRIMARY KEY (key),
    CONSTRAINT coupon_grants_outcome CHECK (outcome IN ('granted', 'limit_reached', 'exhausted', 'expired_template', 'inactive'))
);
COMMENT ON TABLE commerce.coupon_grants IS 'class=by_key; requests to issue by idempotency key';
