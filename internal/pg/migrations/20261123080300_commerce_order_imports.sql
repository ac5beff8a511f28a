-- +goose Up

-- Imported orders until the order centre adopts them: who ordered, and which activities they have. guest_birth is the birth
-- of the order''s own identifier, if it was ever a guest''s; birth is whose activities they are now.
CREATE TABLE commerce.order_imports (
    order_no    text        NOT NULL,
    birth       bigint      NOT NULL,
    guest_birth bigint,
    paid        boolean     NOT NULL,
    returned    boolean     NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT order_imports_pkey PRIMARY KEY (order_no)
);
CREATE INDEX order_imports_birth ON commerce.order_imports (birth);
COMMENT ON TABLE commerce.order_imports IS 'class=by_key; imported orders';

-- birth is the person that the line names; null on a guest''s line. quantity is negative on a returned line.
CREATE TABLE commerce.order_import_lines (
    order_no       text        NOT NULL,
    line_no        text        NOT NULL,
    birth          bigint,
    touchpoint     text        NOT NULL,
    store          text        NOT NULL,
    associate      text        NOT NULL,
    placed_at      timestamptz NOT NULL,
    paid_at        timestamptz,
    sku            text        NOT NULL,
    quantity       bigint      NOT NULL,
    unit_price_fen bigint      NOT NULL,
    discount_fen   bigint      NOT NULL,
    amount_fen     bigint      NOT NULL GENERATED ALWAYS AS (quantity * unit_price_fen - discount_fen) STORED,
    coupon_code    text        NOT NULL,
    return_of      text        NOT NULL,
    kind           text        NOT NULL,
    CONSTRAINT order_import_lines_pkey PRIMARY KEY (order_no, line_no),
    CONSTRAINT order_import_lines_unit_price_not_negative CHECK (unit_price_fen >= 0),
    CONSTRAINT order_import_lines_quantity_not_zero CHECK (quantity <> 0)
);
COMMENT ON TABLE commerce.order_import_lines IS 'class=by_key; lines of imported orders';
