-- +goose Up

-- One row per order of any touchpoint. Amounts are sums over the lines (freight and fees are lines):
-- list = discount + points + cash. cash is what money tenders pay, points what points pay. lead_*: who led the sale.
-- receiver is a platform''s token or a masked text; receiver_sealed holds the clear one under the data key of the birth.
-- terms: contract version, roles and rates, frozen at payment. events is the seq of the last event.
CREATE TABLE commerce.orders (
    order_no        text        NOT NULL,
    touchpoint      text        NOT NULL,
    store           text        NOT NULL DEFAULT '',
    seller_unit     text        NOT NULL DEFAULT '',
    seller_entity   text        NOT NULL DEFAULT '',
    lead_unit       text        NOT NULL DEFAULT '',
    lead_associate  text        NOT NULL DEFAULT '',
    birth           bigint      NOT NULL,
    guest           boolean     NOT NULL DEFAULT false,
    status          text        NOT NULL,
    asked_from      text        NOT NULL DEFAULT '',
    quantity        bigint      NOT NULL,
    list_fen        bigint      NOT NULL,
    discount_fen    bigint      NOT NULL,
    points          bigint      NOT NULL DEFAULT 0,
    points_fen      bigint      NOT NULL DEFAULT 0,
    cash_fen        bigint      NOT NULL,
    freight_fen     bigint      NOT NULL DEFAULT 0,
    paid_fen        bigint      NOT NULL DEFAULT 0,
    refunded_fen    bigint      NOT NULL DEFAULT 0,
    receiver        jsonb       NOT NULL DEFAULT '{}',
    receiver_sealed bytea,
    invoice         jsonb,
    terms           jsonb,
    source          text        NOT NULL,
    placed_at       timestamptz NOT NULL,
    pay_by          timestamptz,
    paid_at         timestamptz,
    shipped_at      timestamptz,
    delivered_at    timestamptz,
    ended_at        timestamptz,
    events          integer     NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (order_no),
    CONSTRAINT orders_status CHECK (status IN ('draft', 'placed', 'paid', 'sourcing', 'allocated', 'partially_shipped', 'shipped',
        'delivered', 'completed', 'cancel_requested', 'cancelled', 'closed_unpaid')),
    CONSTRAINT orders_asked_from CHECK ((status = 'cancel_requested') = (asked_from <> '')),
    CONSTRAINT orders_amounts CHECK (quantity >= 0 AND list_fen >= 0 AND discount_fen >= 0 AND points >= 0 AND points_fen >= 0 AND cash_fen >= 0
        AND freight_fen >= 0 AND list_fen = discount_fen + points_fen + cash_fen),
    CONSTRAINT orders_paid CHECK (paid_fen >= 0 AND refunded_fen BETWEEN 0 AND paid_fen),
    CONSTRAINT orders_paid_at CHECK (status IN ('draft', 'placed', 'cancelled', 'closed_unpaid') OR paid_at IS NOT NULL)
) WITH (fillfactor = 85);
CREATE INDEX orders_birth ON commerce.orders (birth, placed_at DESC, order_no DESC);
CREATE INDEX orders_placed_at ON commerce.orders (placed_at DESC, order_no DESC);
CREATE INDEX orders_store ON commerce.orders (store, placed_at DESC, order_no DESC);
CREATE INDEX orders_unpaid ON commerce.orders (pay_by) WHERE status = 'placed';
COMMENT ON TABLE commerce.orders IS 'class=by_key; orders of all touchpoints';

-- The counters of a line run down a chain: what came back was delivered or refused, that was shipped, that was allocated, and
-- that was ordered and not cancelled.
-- list_fen is quantity × unit_price_fen. bundle and bundle_no: the bundle and which of the order''s it came out of.
-- trigger_line: the line that a gift belongs to.
CREATE TABLE commerce.order_lines (
    order_no         text    NOT NULL,
    line_no          integer NOT NULL,
    kind             text    NOT NULL,
    sku              text    NOT NULL,
    name             text    NOT NULL DEFAULT '',
    category         text    NOT NULL DEFAULT '',
    brand            text    NOT NULL DEFAULT '',
    tax_code         text    NOT NULL DEFAULT '',
    bundle           text    NOT NULL DEFAULT '',
    bundle_no        integer NOT NULL DEFAULT 0,
    trigger_line     integer,
    location         text    NOT NULL DEFAULT '',
    owner            text    NOT NULL DEFAULT '',
    tag_price_fen    bigint,
    retail_price_fen bigint,
    member_price_fen bigint,
    cost_price_fen   bigint,
    unit_price_fen   bigint  NOT NULL,
    quantity         bigint  NOT NULL,
    list_fen         bigint  NOT NULL,
    discount_fen     bigint  NOT NULL DEFAULT 0,
    points           bigint  NOT NULL DEFAULT 0,
    points_fen       bigint  NOT NULL DEFAULT 0,
    cash_fen         bigint  NOT NULL,
    allocated        bigint  NOT NULL DEFAULT 0,
    shipped          bigint  NOT NULL DEFAULT 0,
    delivered        bigint  NOT NULL DEFAULT 0,
    refused          bigint  NOT NULL DEFAULT 0,
    returned         bigint  NOT NULL DEFAULT 0,
    cancelled        bigint  NOT NULL DEFAULT 0,
    CONSTRAINT order_lines_pkey PRIMARY KEY (order_no, line_no),
    CONSTRAINT order_lines_order FOREIGN KEY (order_no) REFERENCES commerce.orders (order_no),
    CONSTRAINT order_lines_kind CHECK (kind IN ('sale', 'gift', 'bundle_component', 'fee', 'freight')),
    CONSTRAINT order_lines_bundle CHECK ((kind = 'bundle_component') = (bundle <> '')),
    CONSTRAINT order_lines_amounts CHECK (unit_price_fen >= 0 AND discount_fen >= 0 AND points >= 0 AND points_fen >= 0 AND cash_fen >= 0
        AND list_fen = quantity * unit_price_fen AND list_fen = discount_fen + points_fen + cash_fen),
    CONSTRAINT order_lines_counters CHECK (quantity > 0 AND 0 <= returned AND returned <= delivered + refused AND 0 <= delivered AND 0 <= refused
        AND delivered + refused <= shipped AND shipped <= allocated AND allocated <= quantity - cancelled AND 0 <= cancelled)
) WITH (fillfactor = 85);
CREATE INDEX order_lines_sku ON commerce.order_lines (sku, order_no);
COMMENT ON TABLE commerce.order_lines IS 'class=by_key; lines of orders with their counters';

-- What each unit costs whom, decided when the order is placed and only read afterwards. discounts: [{"kind","source","fen",
-- "bearers":[{"bearer","fen"}…]}…]. of_state: open, cancelled before it was sent, or returned.
CREATE TABLE commerce.order_units (
    order_no     text    NOT NULL,
    line_no      integer NOT NULL,
    unit_no      integer NOT NULL,
    list_fen     bigint  NOT NULL,
    discount_fen bigint  NOT NULL,
    discounts    jsonb   NOT NULL DEFAULT '[]',
    points       bigint  NOT NULL DEFAULT 0,
    points_fen   bigint  NOT NULL DEFAULT 0,
    cash_fen     bigint  NOT NULL,
    state        text    NOT NULL DEFAULT 'open',
    CONSTRAINT order_units_pkey PRIMARY KEY (order_no, line_no, unit_no),
    CONSTRAINT order_units_line FOREIGN KEY (order_no, line_no) REFERENCES commerce.order_lines (order_no, line_no),
    CONSTRAINT order_units_state CHECK (state IN ('open', 'cancelled', 'returned')),
    CONSTRAINT order_units_amounts CHECK (unit_no > 0 AND list_fen >= 0 AND discount_fen >= 0 AND points >= 0 AND points_fen >= 0
        AND cash_fen >= 0 AND list_fen = discount_fen + points_fen + cash_fen)
) WITH (fillfactor = 85);
COMMENT ON TABLE commerce.order_units IS 'class=by_key; allocation of list price, discounts, points and cash to each unit';

-- How an order is paid, and who collects it: the entity that receives the money. points are those of a points tender.
CREATE TABLE commerce.order_tenders (
    order_no     text    NOT NULL,
    tender_no    integer NOT NULL,
    kind         text    NOT NULL,
    collector    text    NOT NULL,
    account      text    NOT NULL DEFAULT '',
    amount_fen   bigint  NOT NULL,
    points       bigint  NOT NULL DEFAULT 0,
    state        text    NOT NULL,
    reference    text    NOT NULL DEFAULT '',
    refunded_fen bigint  NOT NULL DEFAULT 0,
    refunded_points bigint NOT NULL DEFAULT 0,
    CONSTRAINT order_tenders_pkey PRIMARY KEY (order_no, tender_no),
    CONSTRAINT order_tenders_order FOREIGN KEY (order_no) REFERENCES commerce.orders (order_no),
    CONSTRAINT order_tenders_kind CHECK (kind IN ('wechat', 'points', 'coupon', 'stored_principal', 'stored_bonus', 'cash', 'mall', 'credit',
        'platform', 'subsidy')),
    CONSTRAINT order_tenders_state CHECK (state IN ('planned', 'held', 'captured', 'released')),
    CONSTRAINT order_tenders_amounts CHECK (amount_fen >= 0 AND points >= 0 AND refunded_fen BETWEEN 0 AND amount_fen
        AND refunded_points BETWEEN 0 AND points)
) WITH (fillfactor = 85);
COMMENT ON TABLE commerce.order_tenders IS 'class=by_key; tenders of orders with their collectors';

-- What happened to an order, append-only. from_status and to_status are empty for what changes no status.
CREATE TABLE commerce.order_events (
    order_no    text        NOT NULL,
    seq         integer     NOT NULL,
    kind        text        NOT NULL,
    from_status text        NOT NULL DEFAULT '',
    to_status   text        NOT NULL DEFAULT '',
    actor       text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    at          timestamptz NOT NULL,
    CONSTRAINT order_events_pkey PRIMARY KEY (order_no, seq),
    CONSTRAINT order_events_order FOREIGN KEY (order_no) REFERENCES commerce.orders (order_no)
);
COMMENT ON TABLE commerce.order_events IS 'class=by_key; history of orders, append-only';

-- +goose StatementBegin
CREATE FUNCTION commerce.order_events_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'commerce.order_events is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'order_events_append_only', SCHEMA = 'commerce', TABLE = 'order_events';
END $$;
-- +goose StatementEnd
CREATE TRIGGER order_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON commerce.order_events
    FOR EACH STATEMENT EXECUTE FUNCTION commerce.order_events_append_only();
