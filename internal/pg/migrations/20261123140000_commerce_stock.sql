-- +goose Up

-- What lies where, whose it is and in which state. Rows are the sums of commerce.stock_moves. on_hand is what is physically
-- there, reserved what of it is promised, safety what is kept back from sale.
CREATE TABLE commerce.stock_levels (
    sku        text        NOT NULL,
    location   text        NOT NULL,
    owner      text        NOT NULL,
    status     text        NOT NULL,
    on_hand    bigint      NOT NULL DEFAULT 0,
    reserved   bigint      NOT NULL DEFAULT 0,
    safety     bigint      NOT NULL DEFAULT 0,
    counted_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_levels_pkey PRIMARY KEY (sku, location, owner, status),
    CONSTRAINT stock_levels_status CHECK (status IN ('good', 'damaged', 'inspecting', 'frozen')),
    CONSTRAINT stock_levels_on_hand_not_negative CHECK (on_hand >= 0),
    CONSTRAINT stock_levels_reserved_not_negative CHECK (reserved >= 0),
    CONSTRAINT stock_levels_reserved_is_there CHECK (reserved <= on_hand),
    CONSTRAINT stock_levels_only_good_is_promised CHECK (status = 'good' OR (reserved = 0 AND safety = 0)),
    CONSTRAINT stock_levels_safety_not_negative CHECK (safety >= 0)
) WITH (fillfactor = 50);
CREATE INDEX stock_levels_location ON commerce.stock_levels (location, sku, owner, status);
COMMENT ON TABLE commerce.stock_levels IS 'class=by_key; stock by SKU, location, owner and status';

-- Append-only. at is when it happened, which an import may set in the past; ids grow with the time of recording.
CREATE TABLE commerce.stock_moves (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    sku        text        NOT NULL,
    location   text        NOT NULL,
    owner      text        NOT NULL,
    status     text        NOT NULL,
    reason     text        NOT NULL,
    ref_kind   text        NOT NULL,
    ref_id     text        NOT NULL,
    line       integer     NOT NULL DEFAULT 0,
    d_on_hand  bigint      NOT NULL,
    d_reserved bigint      NOT NULL,
    d_cost_fen bigint      NOT NULL DEFAULT 0,
    actor      text        NOT NULL DEFAULT '',
    at         timestamptz NOT NULL,
    CONSTRAINT stock_moves_pkey PRIMARY KEY (id),
    CONSTRAINT stock_moves_move_something CHECK (d_on_hand <> 0 OR d_reserved <> 0 OR d_cost_fen <> 0)
);
CREATE INDEX stock_moves_level ON commerce.stock_moves (sku, location, id);
CREATE INDEX stock_moves_ref ON commerce.stock_moves (ref_kind, ref_id);
CREATE INDEX stock_moves_location ON commerce.stock_moves (location, id) WHERE d_on_hand <> 0;
COMMENT ON TABLE commerce.stock_moves IS 'class=by_key; every change of stock, append-only';

-- A promise of stock to (kind, id, line). What is still promised is quantity − consumed − released. quota is how much of it
-- was drawn on the quota of (pool, sku, touchpoint).
CREATE TABLE commerce.stock_reservations (
    kind       text        NOT NULL,
    id         text        NOT NULL,
    line       integer     NOT NULL,
    sku        text        NOT NULL,
    location   text        NOT NULL,
    owner      text        NOT NULL,
    quantity   bigint      NOT NULL,
    consumed   bigint      NOT NULL DEFAULT 0,
    released   bigint      NOT NULL DEFAULT 0,
    state      text        NOT NULL,
    touchpoint text        NOT NULL DEFAULT '',
    quota      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_reservations_pkey PRIMARY KEY (kind, id, line, sku, location, owner),
    CONSTRAINT stock_reservations_state CHECK (state IN ('held', 'confirmed', 'consumed', 'released', 'expired')),
    CONSTRAINT stock_reservations_quantities CHECK (quantity > 0 AND consumed >= 0 AND released >= 0 AND consumed + released <= quantity
        AND quota >= 0),
    CONSTRAINT stock_reservations_open_while_promised CHECK ((state IN ('held', 'confirmed')) = (consumed + released < quantity)),
    CONSTRAINT stock_reservations_only_held_expires CHECK (expires_at IS NULL OR state <> 'confirmed')
) WITH (fillfactor = 85);
CREATE INDEX stock_reservations_expiry ON commerce.stock_reservations (expires_at, kind, id) WHERE state = 'held';
CREATE INDEX stock_reservations_level ON commerce.stock_reservations (sku, location, owner) WHERE state IN ('held', 'confirmed');
COMMENT ON TABLE commerce.stock_reservations IS 'class=by_key; promises of stock by what they are for';

-- Moving-average cost: what an owner''s units of a SKU cost together, wherever they are, those in transit included.
CREATE TABLE commerce.stock_costs (
    sku        text        NOT NULL,
    owner      text        NOT NULL,
    quantity   bigint      NOT NULL,
    value_fen  bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_costs_pkey PRIMARY KEY (sku, owner),
    CONSTRAINT stock_costs_not_negative CHECK (quantity >= 0 AND value_fen >= 0 AND (quantity > 0 OR value_fen = 0))
) WITH (fillfactor = 70);
COMMENT ON TABLE commerce.stock_costs IS 'class=by_key; moving-average cost by SKU and owner';

-- A pool is a group of locations whose stock several touchpoints sell. A location is in one pool at most.
CREATE TABLE commerce.stock_pools (
    code       text        NOT NULL,
    name       text        NOT NULL,
    version    bigint      NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_pools_pkey PRIMARY KEY (code)
);
COMMENT ON TABLE commerce.stock_pools IS 'class=reference; groups of locations that are sold from together';

CREATE TABLE commerce.stock_pool_locations (
    location text NOT NULL,
    pool     text NOT NULL,
    CONSTRAINT stock_pool_locations_pkey PRIMARY KEY (location),
    CONSTRAINT stock_pool_locations_pool FOREIGN KEY (pool) REFERENCES commerce.stock_pools (code)
);
CREATE INDEX stock_pool_locations_pool ON commerce.stock_pool_locations (pool);
COMMENT ON TABLE commerce.stock_pool_locations IS 'class=reference; which pool a location belongs to';

-- exclusive: so many units of the pool are kept for the touchpoint. shared: the touchpoint sells from what all share, but no
-- more than this. used counts what is reserved or sold under the quota.
CREATE TABLE commerce.stock_quotas (
    pool       text        NOT NULL,
    sku        text        NOT NULL,
    touchpoint text        NOT NULL,
    kind       text        NOT NULL,
    quantity   bigint      NOT NULL,
    used       bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stock_quotas_pkey PRIMARY KEY (pool, sku, touchpoint),
    CONSTRAINT stock_quotas_pool FOREIGN KEY (pool) REFERENCES commerce.stock_pools (code),
    CONSTRAINT stock_quotas_kind CHECK (kind IN ('exclusive', 'shared')),
    CONSTRAINT stock_quotas_used CHECK (used >= 0 AND used <= quantity)
) WITH (fillfactor = 50);
CREATE INDEX stock_quotas_sku ON commerce.stock_quotas (sku);
COMMENT ON TABLE commerce.stock_quotas IS 'class=by_key; what of a pool a touchpoint may sell';
