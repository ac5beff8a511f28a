-- +goose Up

-- Who sells at a touchpoint (and store; '''' is any), who collects the money, where the stock lies, what delivery costs and
-- how long an order waits to be paid. The most specific row wins.
CREATE TABLE commerce.selling_terms (
    touchpoint       text    NOT NULL,
    store            text    NOT NULL DEFAULT '',
    seller_unit      text    NOT NULL,
    seller_entity    text    NOT NULL,
    collector        text    NOT NULL,
    location         text    NOT NULL,
    programme        text    NOT NULL DEFAULT '',
    merchant         text    NOT NULL DEFAULT '',
    freight_fen      bigint  NOT NULL DEFAULT 0,
    free_freight_fen bigint  NOT NULL DEFAULT 0,
    pay_minutes      integer NOT NULL DEFAULT 30,
    version          bigint  NOT NULL DEFAULT 1,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT selling_terms_pkey PRIMARY KEY (touchpoint, store),
    CONSTRAINT selling_terms_amounts CHECK (freight_fen >= 0 AND free_freight_fen >= 0 AND pay_minutes BETWEEN 1 AND 10080)
);
COMMENT ON TABLE commerce.selling_terms IS 'class=reference; who sells, collects and delivers per touchpoint and store';

-- Requests to place an order, by the caller''s key. hash is that of the input: the same key with another one is refused.
-- What the order holds besides stock stands here, so that it is released in the order of locks.
CREATE TABLE commerce.checkouts (
    caller     text        NOT NULL,
    request    text        NOT NULL,
    hash       bytea       NOT NULL,
    order_no   text        NOT NULL,
    birth      bigint      NOT NULL,
    coupons    text[]      NOT NULL,
    programme  text        NOT NULL,
    points     bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT checkouts_pkey PRIMARY KEY (caller, request),
    CONSTRAINT checkouts_order UNIQUE (order_no)
);
COMMENT ON TABLE commerce.checkouts IS 'class=by_key; requests to place an order by idempotency key';

-- A cart belongs to a birth: the visitor''s before sign-in, the member''s afterwards. At most one is open.
CREATE TABLE commerce.carts (
    id         uuid        NOT NULL,
    birth      bigint      NOT NULL,
    touchpoint text        NOT NULL,
    store      text        NOT NULL DEFAULT '',
    state      text        NOT NULL,
    version    bigint      NOT NULL DEFAULT 1,
    reminded   bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    CONSTRAINT carts_pkey PRIMARY KEY (id),
    CONSTRAINT carts_state CHECK (state IN ('open', 'merged', 'ordered'))
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX carts_open ON commerce.carts (birth) WHERE state = 'open';
CREATE INDEX carts_idle ON commerce.carts (updated_at) WHERE state = 'open' AND reminded < version;
COMMENT ON TABLE commerce.carts IS 'class=by_birth; carts by the birth that filled them. version counts changes; reminded is the one that cart_abandoned was said of';

CREATE TABLE commerce.cart_lines (
    cart     uuid        NOT NULL,
    birth    bigint      NOT NULL,
    sku      text        NOT NULL,
    quantity bigint      NOT NULL,
    added_at timestamptz NOT NULL,
    CONSTRAINT cart_lines_pkey PRIMARY KEY (cart, sku),
    CONSTRAINT cart_lines_cart FOREIGN KEY (cart) REFERENCES commerce.carts (id),
    CONSTRAINT cart_lines_quantity CHECK (quantity BETWEEN 1 AND 9999)
);
COMMENT ON TABLE commerce.cart_lines IS 'class=by_birth; lines of carts';
