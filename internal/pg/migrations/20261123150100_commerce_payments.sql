-- +goose Up

-- One attempt to have a provider collect a tender of an order. out_trade_no is our name for it at the provider,
-- transaction_id the provider''s. mismatched: something else than the amount asked for was paid; it goes back.
CREATE TABLE commerce.payments (
    id             uuid        NOT NULL,
    order_no       text        NOT NULL,
    tender_no      integer     NOT NULL,
    provider       text        NOT NULL,
    account        text        NOT NULL,
    out_trade_no   text        NOT NULL,
    amount_fen     bigint      NOT NULL,
    received_fen   bigint      NOT NULL DEFAULT 0,
    refunded_fen   bigint      NOT NULL DEFAULT 0,
    state          text        NOT NULL,
    prepay_id      text        NOT NULL DEFAULT '',
    transaction_id text,
    expires_at     timestamptz NOT NULL,
    paid_at        timestamptz,
    checked_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (id),
    CONSTRAINT payments_out_trade_no UNIQUE (provider, out_trade_no),
    CONSTRAINT payments_transaction UNIQUE (provider, transaction_id),
    CONSTRAINT payments_state CHECK (state IN ('created', 'prepared', 'paid', 'mismatched', 'closing', 'closed')),
    CONSTRAINT payments_amounts CHECK (amount_fen > 0 AND received_fen >= 0 AND refunded_fen BETWEEN 0 AND received_fen),
    CONSTRAINT payments_paid CHECK ((state IN ('paid', 'mismatched')) = (paid_at IS NOT NULL AND transaction_id IS NOT NULL))
) WITH (fillfactor = 85);
CREATE INDEX payments_order ON commerce.payments (order_no);
CREATE INDEX payments_open ON commerce.payments (checked_at) WHERE state IN ('prepared', 'closing');
COMMENT ON TABLE commerce.payments IS 'class=by_key; attempts to collect money through a provider';

-- Money that has to go back, from the moment it is known: the task and its outcome. key is the caller''s.
CREATE TABLE commerce.payment_refunds (
    id           uuid        NOT NULL,
    payment      uuid        NOT NULL,
    order_no     text        NOT NULL,
    amount_fen   bigint      NOT NULL,
    reason       text        NOT NULL,
    state        text        NOT NULL,
    provider_id  text        NOT NULL DEFAULT '',
    attempts     integer     NOT NULL DEFAULT 0,
    last_error   text        NOT NULL DEFAULT '',
    next_at      timestamptz NOT NULL,
    done_at      timestamptz,
    created_at   timestamptz NOT NULL,
    CONSTRAINT payment_refunds_pkey PRIMARY KEY (id),
    CONSTRAINT payment_refunds_payment FOREIGN KEY (payment) REFERENCES commerce.payments (id),
    CONSTRAINT payment_refunds_state CHECK (state IN ('due', 'asked', 'done', 'failed')),
    CONSTRAINT payment_refunds_amount CHECK (amount_fen > 0),
    CONSTRAINT payment_refunds_done CHECK ((state = 'done') = (done_at IS NOT NULL))
) WITH (fillfactor = 85);
CREATE INDEX payment_refunds_due ON commerce.payment_refunds (next_at) WHERE state IN ('due', 'asked');
CREATE INDEX payment_refunds_order ON commerce.payment_refunds (order_no);
COMMENT ON TABLE commerce.payment_refunds IS 'class=by_key; refunds through a provider, due until done';

-- Every authentic message of a provider, once, and what it came to.
CREATE TABLE commerce.payment_notices (
    provider     text        NOT NULL,
    notice_id    text        NOT NULL,
    kind         text        NOT NULL,
    out_trade_no text        NOT NULL,
    outcome      text        NOT NULL,
    amount_fen   bigint      NOT NULL,
    received_at  timestamptz NOT NULL,
    CONSTRAINT payment_notices_pkey PRIMARY KEY (provider, notice_id)
);
CREATE INDEX payment_notices_received ON commerce.payment_notices (received_at);
COMMENT ON TABLE commerce.payment_notices IS 'class=by_key; messages of payment providers and what they came to';

-- A stored-value card. Its money lies in the ledger, book stored_value: <card>:principal and <card>:bonus.
CREATE TABLE commerce.cards (
    card       text        NOT NULL,
    birth      bigint      NOT NULL,
    issuer     text        NOT NULL,
    status     text        NOT NULL,
    opened_at  timestamptz NOT NULL,
    CONSTRAINT cards_pkey PRIMARY KEY (card),
    CONSTRAINT cards_status CHECK (status IN ('active', 'frozen', 'closed'))
);
CREATE INDEX cards_birth ON commerce.cards (birth);
COMMENT ON TABLE commerce.cards IS 'class=by_key; stored-value cards';

-- What an order holds of a card. The hold is in the ledger under the same key.
CREATE TABLE commerce.card_holds (
    order_no      text        NOT NULL,
    card          text        NOT NULL,
    principal_fen bigint      NOT NULL,
    bonus_fen     bigint      NOT NULL,
    state         text        NOT NULL,
    at            timestamptz NOT NULL,
    CONSTRAINT card_holds_pkey PRIMARY KEY (order_no, card),
    CONSTRAINT card_holds_amounts CHECK (principal_fen >= 0 AND bonus_fen >= 0 AND principal_fen + bonus_fen > 0),
    CONSTRAINT card_holds_state CHECK (state IN ('held', 'captured', 'released'))
);
COMMENT ON TABLE commerce.card_holds IS 'class=by_key; what orders hold of stored-value cards';
