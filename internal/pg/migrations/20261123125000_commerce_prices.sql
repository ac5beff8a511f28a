-- +goose Up

-- What a SKU costs from an instant on: tag, retail, member and cost price, and the floor that no discount breaks, at a level
-- ('' for everybody, else touchpoint:…, store:…, tier:… or partner:…). price_fen null ends the price of that level. Tag and
-- retail prices without a row are those of commerce.skus.
CREATE TABLE commerce.prices (
    sku          text        NOT NULL,
    kind         text        NOT NULL,
    level        text        NOT NULL DEFAULT '',
    effective_at timestamptz NOT NULL,
    price_fen    bigint,
    changed_by   text        NOT NULL,
    changed_at   timestamptz NOT NULL,
    CONSTRAINT prices_pkey PRIMARY KEY (sku, kind, level, effective_at),
    CONSTRAINT prices_kind CHECK (kind IN ('tag', 'retail', 'member', 'cost', 'floor')),
    CONSTRAINT prices_not_negative CHECK (price_fen >= 0)
);
CREATE INDEX prices_coming ON commerce.prices (effective_at, sku);
COMMENT ON TABLE commerce.prices IS 'class=reference; prices of SKUs by kind, level and time';

-- Every change of the plan, for ever.
CREATE TABLE commerce.price_changes (
    id           uuid        NOT NULL,
    sku          text        NOT NULL,
    kind         text        NOT NULL,
    level        text        NOT NULL,
    effective_at timestamptz NOT NULL,
    action       text        NOT NULL,
    old_fen      bigint,
    new_fen      bigint,
    changed_by   text        NOT NULL,
    reason       text        NOT NULL,
    changed_at   timestamptz NOT NULL,
    CONSTRAINT price_changes_pkey PRIMARY KEY (id),
    CONSTRAINT price_changes_action CHECK (action IN ('set', 'cancel'))
);
CREATE INDEX price_changes_sku ON commerce.price_changes (sku, id);
COMMENT ON TABLE commerce.price_changes IS 'class=reference; history of the changes of prices';
