-- +goose Up
CREATE SCHEMA IF NOT EXISTS channels;

-- One row for the whole installation: the switch that stops all sending, the frequency caps, and the data key under which
-- this schema seals what belongs to nobody in particular (account secrets, raw callbacks), wrapped by the master key.
CREATE TABLE channels.settings (
    id          smallint    NOT NULL DEFAULT 1,
    paused      boolean     NOT NULL DEFAULT false,
    caps        jsonb       NOT NULL DEFAULT '[{"max":2,"window":"24h"}]',
    wrapped_key bytea,
    updated_at  timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z',
    CONSTRAINT settings_pkey PRIMARY KEY (id),
    CONSTRAINT settings_one_row CHECK (id = 1)
);
COMMENT ON TABLE channels.settings IS 'class=reference; sending switch, caps, sealing key';
INSERT INTO channels.settings (id) VALUES (1);

CREATE TABLE channels.accounts (
    code       text        NOT NULL,
    channel    text        NOT NULL,
    name       text        NOT NULL,
    config     jsonb       NOT NULL DEFAULT '{}',
    secrets    bytea,
    settings   jsonb       NOT NULL DEFAULT '{}',
    status     text        NOT NULL DEFAULT 'active',
    health     text        NOT NULL DEFAULT '',
    hold_until timestamptz,
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (code),
    CONSTRAINT accounts_channel CHECK (channel IN ('wechat', 'miniprogram', 'sms', 'email', 'push', 'wecom')),
    CONSTRAINT accounts_status CHECK (status IN ('active', 'paused', 'disabled'))
);
COMMENT ON TABLE channels.accounts IS 'class=reference; configured accounts; secrets are sealed';

-- The ledger: one row per message from intent to receipt. id is made from the send key, so (birth, id) is the send key's
-- uniqueness. due_at is set exactly while the message waits; it, and not the state, is what the claim index hangs on, so
-- that the later changes of state stay within the page (HOT). address is the birth whose channel identity was used; sealed holds, under that birth's key, the member's fields
-- that the text was rendered with.
CREATE TABLE channels.messages (
    birth            bigint      NOT NULL,
    id               bigint      NOT NULL,
    send_key         uuid        NOT NULL,
    account          text        NOT NULL,
    channel          text        NOT NULL,
    template         text        NOT NULL,
    template_version integer     NOT NULL,
    locale           text        NOT NULL DEFAULT 'zh',
    lane             text        NOT NULL,
    priority         smallint    NOT NULL GENERATED ALWAYS AS
                     (CASE lane WHEN 'transaction' THEN 1 WHEN 'service' THEN 2 ELSE 3 END) STORED,
    campaign         text        NOT NULL DEFAULT '',
    vars             jsonb       NOT NULL DEFAULT '{}',
    journey          text        NOT NULL DEFAULT '',
    journey_version  integer     NOT NULL DEFAULT 0,
    node             text        NOT NULL DEFAULT '',
    run              text        NOT NULL DEFAULT '',
    planned_at       timestamptz NOT NULL,
    due_at           timestamptz,
    expires_at       timestamptz NOT NULL,
    state            text        NOT NULL,
    state_at         timestamptz NOT NULL,
    reason           text        NOT NULL DEFAULT '',
    code             text        NOT NULL DEFAULT '',
    attempts         smallint    NOT NULL DEFAULT 0,
    epoch            bigint      NOT NULL DEFAULT 0,
    handed_at        timestamptz,
    address          bigint      NOT NULL DEFAULT 0,
    provider_id      text        NOT NULL DEFAULT '',
    sealed           bytea,
    sealed_until     timestamptz,
    CONSTRAINT messages_pkey PRIMARY KEY (birth, id),
    CONSTRAINT messages_lane CHECK (lane IN ('transaction', 'service', 'marketing')),
    CONSTRAINT messages_state CHECK (state IN ('planned', 'handed_over', 'accepted', 'delivered', 'read', 'clicked',
        'failed', 'suppressed', 'unknown')),
    CONSTRAINT messages_due_while_planned CHECK ((state = 'planned') = (due_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX messages_claim ON channels.messages (account, priority, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_history ON channels.messages (birth, handed_at) WHERE handed_at IS NOT NULL;
CREATE INDEX messages_recent ON channels.messages (planned_at, birth, id);
COMMENT ON TABLE channels.messages IS 'class=by_birth; the message ledger';

-- What is between "handed over" and its result, one row per batch. After a crash the successor finds here exactly the
-- messages whose outcome nobody recorded.
CREATE TABLE channels.handovers (
    id       uuid        NOT NULL,
    account  text        NOT NULL,
    shard    smallint    NOT NULL,
    epoch    bigint      NOT NULL,
    births   bigint[]    NOT NULL,
    ids      bigint[]    NOT NULL,
    at       timestamptz NOT NULL,
    CONSTRAINT handovers_pkey PRIMARY KEY (id)
);
CREATE INDEX handovers_account ON channels.handovers (account, shard);
COMMENT ON TABLE channels.handovers IS 'class=reference; batches in flight';

-- Messages with an unknown outcome, to be asked about at providers that can be asked. Rows of messages that have been
-- settled since are dropped on the way.
CREATE TABLE channels.unknowns (
    birth    bigint      NOT NULL,
    id       bigint      NOT NULL,
    account  text        NOT NULL,
    attempts smallint    NOT NULL DEFAULT 0,
    next_at  timestamptz NOT NULL,
    CONSTRAINT unknowns_pkey PRIMARY KEY (birth, id)
);
CREATE INDEX unknowns_next ON channels.unknowns (account, next_at);
COMMENT ON TABLE channels.unknowns IS 'class=by_birth; unknown outcomes to reconcile';

-- The provider''s own ids, for receipts that do not echo ours.
CREATE TABLE channels.provider_refs (
    account     text        NOT NULL,
    provider_id text        NOT NULL,
    birth       bigint      NOT NULL,
    id          bigint      NOT NULL,
    at          timestamptz NOT NULL,
    CONSTRAINT provider_refs_pkey PRIMARY KEY (account, provider_id, birth, id)
);
COMMENT ON TABLE channels.provider_refs IS 'class=by_key; provider message id → message, kept 90 days';

-- Channel identities that do not work (any more): a dead mailbox, a blocked account. Lifted by a new sign of life.
CREATE TABLE channels.blocks (
    birth   bigint      NOT NULL,
    channel text        NOT NULL,
    reason  text        NOT NULL,
    at      timestamptz NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (birth, channel)
);
COMMENT ON TABLE channels.blocks IS 'class=by_birth; channel identities not to use';

-- One-time subscriptions of mini-program users: each grant is one message.
CREATE TABLE channels.grants (
    birth    bigint      NOT NULL,
    account  text        NOT NULL,
    template text        NOT NULL,
    left_n   integer     NOT NULL,
    at       timestamptz NOT NULL,
    CONSTRAINT grants_pkey PRIMARY KEY (birth, account, template),
    CONSTRAINT grants_not_negative CHECK (left_n >= 0)
);
COMMENT ON TABLE channels.grants IS 'class=by_birth; one-time subscribe grants';

-- Addresses that links may lead to: only what a rendered message contained.
CREATE TABLE channels.links (
    id   bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    hash bytea  NOT NULL,
    url  text   NOT NULL,
    CONSTRAINT links_pkey PRIMARY KEY (hash)
);
CREATE UNIQUE INDEX links_id ON channels.links (id);
COMMENT ON TABLE channels.links IS 'class=by_key; targets of tracked links';

-- What providers and readers reported, durable before the acknowledgement and sealed, until applied; then the payload
-- goes and the key stays so that a replay is recognised.
CREATE TABLE channels.inbound (
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    account     text        NOT NULL,
    dedupe      bytea       NOT NULL,
    kind        text        NOT NULL,
    payload     bytea,
    state       text        NOT NULL DEFAULT 'pending',
    attempts    smallint    NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    error       text        NOT NULL DEFAULT '',
    CONSTRAINT inbound_pkey PRIMARY KEY (account, dedupe),
    CONSTRAINT inbound_kind CHECK (kind IN ('receipt', 'inbound')),
    CONSTRAINT inbound_state CHECK (state IN ('pending', 'applied', 'dead'))
);
CREATE INDEX inbound_pending ON channels.inbound (next_at, id) WHERE state = 'pending';
COMMENT ON TABLE channels.inbound IS 'class=by_key; callbacks received, kept 30 days';
