-- +goose Up

-- What moved stock by hand: receipts, adjustments, changes of status. Their lines are the moves that refer to them.
CREATE TABLE commerce.stock_papers (
    id         uuid        NOT NULL,
    kind       text        NOT NULL,
    location   text        NOT NULL,
    reason     text        NOT NULL DEFAULT '',
    reference  text        NOT NULL DEFAULT '',
    note       text        NOT NULL DEFAULT '',
    actor      text        NOT NULL,
    units      bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT stock_papers_pkey PRIMARY KEY (id),
    CONSTRAINT stock_papers_kind CHECK (kind IN ('receipt', 'adjustment', 'status_change', 'revaluation'))
);
CREATE INDEX stock_papers_location ON commerce.stock_papers (location, id);
COMMENT ON TABLE commerce.stock_papers IS 'class=by_key; receipts, adjustments and changes of status';

-- A blind count: expected is noted when a line is counted and shown when all of it is.
CREATE TABLE commerce.stock_counts (
    id         uuid        NOT NULL,
    location   text        NOT NULL,
    owner      text        NOT NULL,
    status     text        NOT NULL,
    state      text        NOT NULL,
    note       text        NOT NULL DEFAULT '',
    actor      text        NOT NULL,
    posted_by  text        NOT NULL DEFAULT '',
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_counts_pkey PRIMARY KEY (id),
    CONSTRAINT stock_counts_status CHECK (status IN ('good', 'damaged', 'inspecting', 'frozen')),
    CONSTRAINT stock_counts_state CHECK (state IN ('open', 'counted', 'posted', 'cancelled'))
);
CREATE INDEX stock_counts_location ON commerce.stock_counts (location, id);
COMMENT ON TABLE commerce.stock_counts IS 'class=by_key; stock counts';

CREATE TABLE commerce.stock_count_lines (
    count      uuid        NOT NULL,
    sku        text        NOT NULL,
    expected   bigint,
    counted    bigint,
    counted_by text        NOT NULL DEFAULT '',
    counted_at timestamptz,
    reason     text        NOT NULL DEFAULT '',
    CONSTRAINT stock_count_lines_pkey PRIMARY KEY (count, sku),
    CONSTRAINT stock_count_lines_count FOREIGN KEY (count) REFERENCES commerce.stock_counts (id),
    CONSTRAINT stock_count_lines_not_negative CHECK (counted >= 0),
    CONSTRAINT stock_count_lines_counted CHECK ((counted IS NULL) = (expected IS NULL) AND (counted IS NULL) = (counted_at IS NULL))
);
COMMENT ON TABLE commerce.stock_count_lines IS 'class=by_key; lines of stock counts';

-- Goods on their way from one location to another. What was shipped and not received yet is in transit and still the
-- sender''s. Between entities the goods go back to the principal and are sold by it: return and sale price per unit.
CREATE TABLE commerce.stock_transfers (
    id            uuid        NOT NULL,
    from_location text        NOT NULL,
    from_owner    text        NOT NULL,
    to_location   text        NOT NULL,
    to_owner      text        NOT NULL,
    principal     text        NOT NULL DEFAULT '',
    state         text        NOT NULL,
    note          text        NOT NULL DEFAULT '',
    carrier       text        NOT NULL DEFAULT '',
    tracking_no   text        NOT NULL DEFAULT '',
    difference    text        NOT NULL DEFAULT '',
    requested_by  text        NOT NULL,
    approved_by   text        NOT NULL DEFAULT '',
    shipped_by    text        NOT NULL DEFAULT '',
    received_by   text        NOT NULL DEFAULT '',
    requested_at  timestamptz NOT NULL,
    approved_at   timestamptz,
    shipped_at    timestamptz,
    received_at   timestamptz,
    version       bigint      NOT NULL DEFAULT 1,
    CONSTRAINT stock_transfers_pkey PRIMARY KEY (id),
    CONSTRAINT stock_transfers_state CHECK (state IN ('requested', 'approved', 'shipped', 'received', 'rejected', 'cancelled')),
    CONSTRAINT stock_transfers_go_somewhere CHECK (from_location <> to_location OR from_owner <> to_owner)
);
CREATE INDEX stock_transfers_from ON commerce.stock_transfers (from_location, id);
CREATE INDEX stock_transfers_to ON commerce.stock_transfers (to_location, id);
CREATE INDEX stock_transfers_in_transit ON commerce.stock_transfers (to_location) WHERE state = 'shipped';
COMMENT ON TABLE commerce.stock_transfers IS 'class=by_key; transfers between locations';

CREATE TABLE commerce.stock_transfer_lines (
    transfer         uuid   NOT NULL,
    line             integer NOT NULL,
    sku              text   NOT NULL,
    requested        bigint NOT NULL,
    approved         bigint NOT NULL DEFAULT 0,
    shipped          bigint NOT NULL DEFAULT 0,
    received         bigint NOT NULL DEFAULT 0,
    damaged          bigint NOT NULL DEFAULT 0,
    return_price_fen bigint NOT NULL DEFAULT 0,
    sale_price_fen   bigint NOT NULL DEFAULT 0,
    cost_fen         bigint NOT NULL DEFAULT 0,
    CONSTRAINT stock_transfer_lines_pkey PRIMARY KEY (transfer, line),
    CONSTRAINT stock_transfer_lines_transfer FOREIGN KEY (transfer) REFERENCES commerce.stock_transfers (id),
    CONSTRAINT stock_transfer_lines_chain CHECK (requested > 0 AND approved BETWEEN 0 AND requested AND shipped BETWEEN 0 AND approved
        AND received >= 0 AND damaged >= 0 AND received + damaged <= shipped),
    CONSTRAINT stock_transfer_lines_prices CHECK (return_price_fen >= 0 AND sale_price_fen >= 0 AND cost_fen >= 0)
);
COMMENT ON TABLE commerce.stock_transfer_lines IS 'class=by_key; lines of transfers';
