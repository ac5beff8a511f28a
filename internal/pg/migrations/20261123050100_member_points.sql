-- +goose Up

-- A programme says what a point is worth, how long it lives and when it may be spent. value_points points are worth
-- value_fen fen; earn_fen fen of sales earn one point.
CREATE TABLE member.programmes (
    code            text        NOT NULL,
    name            text        NOT NULL,
    value_points    bigint      NOT NULL,
    value_fen       bigint      NOT NULL,
    earn_fen        bigint      NOT NULL,
    rounding        text        NOT NULL,
    validity        text        NOT NULL,
    validity_n      integer     NOT NULL DEFAULT 0,
    pending_days    integer     NOT NULL DEFAULT 0,
    grace_days      integer     NOT NULL DEFAULT 0,
    tiers           jsonb       NOT NULL DEFAULT '[]',
    status          text        NOT NULL DEFAULT 'active',
    version         bigint      NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT programmes_pkey PRIMARY KEY (code),
    CONSTRAINT programmes_code CHECK (code ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    CONSTRAINT programmes_value CHECK (value_points > 0 AND value_fen >= 0 AND earn_fen > 0),
    CONSTRAINT programmes_rounding CHECK (rounding IN ('floor', 'half_up', 'ceil')),
    CONSTRAINT programmes_validity CHECK (validity IN ('never', 'days', 'months', 'year_end') AND validity_n >= 0),
    CONSTRAINT programmes_days CHECK (pending_days BETWEEN 0 AND 366 AND grace_days BETWEEN 0 AND 366),
    CONSTRAINT programmes_status CHECK (status IN ('active', 'closed'))
);
COMMENT ON TABLE member.programmes IS 'class=reference; loyalty programmes';

-- Everything that was ever done to points, by the caller''s key. hash is that of the input: the same key with another
-- input is refused. of: the move that this one undoes or settles.
CREATE TABLE member.point_moves (
    key         uuid        NOT NULL,
    hash        bytea       NOT NULL,
    kind        text        NOT NULL,
    birth       bigint      NOT NULL,
    programme   text        NOT NULL,
    points      bigint      NOT NULL,
    at          timestamptz NOT NULL,
    of          uuid,
    reason      text        NOT NULL DEFAULT '',
    CONSTRAINT point_moves_pkey PRIMARY KEY (key),
    CONSTRAINT point_moves_kind CHECK (kind IN ('grant', 'spend', 'refund', 'revoke', 'expire', 'settle', 'charge')),
    CONSTRAINT point_moves_points CHECK (points > 0)
);
CREATE INDEX point_moves_birth ON member.point_moves (birth, programme, at, key);
CREATE INDEX point_moves_of ON member.point_moves (of, kind) WHERE of IS NOT NULL;
COMMENT ON TABLE member.point_moves IS 'class=by_key; moves of points by idempotency key, append-only';

-- A lot is what one grant gave. Each of its points is in exactly one place: still there, spent, run out, or taken back.
-- A lot is pending before active_at and can be spent in [active_at, expires_at).
CREATE TABLE member.point_lots (
    birth      bigint      NOT NULL,
    key        uuid        NOT NULL,
    programme  text        NOT NULL,
    points     bigint      NOT NULL,
    remaining  bigint      NOT NULL,
    spent      bigint      NOT NULL DEFAULT 0,
    expired    bigint      NOT NULL DEFAULT 0,
    revoked    bigint      NOT NULL DEFAULT 0,
    earned_at  timestamptz NOT NULL,
    active_at  timestamptz NOT NULL,
    expires_at timestamptz,
    CONSTRAINT point_lots_pkey PRIMARY KEY (birth, key),
    CONSTRAINT point_lots_conserved CHECK (points = remaining + spent + expired + revoked),
    CONSTRAINT point_lots_not_negative CHECK (remaining >= 0 AND spent >= 0 AND expired >= 0 AND revoked >= 0),
    CONSTRAINT point_lots_times CHECK (expires_at IS NULL OR expires_at > active_at)
) WITH (fillfactor = 80);
CREATE INDEX point_lots_open ON member.point_lots (birth, programme) WHERE remaining > 0;
CREATE INDEX point_lots_expiry ON member.point_lots (expires_at) WHERE remaining > 0 AND expires_at IS NOT NULL;
COMMENT ON TABLE member.point_lots IS 'class=by_birth; parcels of points';

-- Which lots a spend drew from, in the order drawn. settle: what paid a debt; spend is then the debt''s key.
-- charged: points of a lot that another member turned out to have spent (after a split), given back to the lot and made
-- that member''s debt.
CREATE TABLE member.point_allocations (
    birth     bigint   NOT NULL,
    lot       uuid     NOT NULL,
    spend     uuid     NOT NULL,
    n         integer  NOT NULL,
    purpose   text     NOT NULL,
    programme text     NOT NULL,
    spender   bigint   NOT NULL,
    points    bigint   NOT NULL,
    refunded  bigint   NOT NULL DEFAULT 0,
    charged   bigint   NOT NULL DEFAULT 0,
    CONSTRAINT point_allocations_pkey PRIMARY KEY (birth, lot, spend, n),
    CONSTRAINT point_allocations_purpose CHECK (purpose IN ('spend', 'settle')),
    CONSTRAINT point_allocations_amounts CHECK (points > 0 AND refunded >= 0 AND charged >= 0 AND refunded + charged <= points)
);
CREATE INDEX point_allocations_spend ON member.point_allocations (spend, n);
CREATE INDEX point_allocations_foreign ON member.point_allocations (spender) WHERE spender <> birth;
COMMENT ON TABLE member.point_allocations IS 'class=by_birth; what each spend drew from each lot';

-- Points that a member owes: granted, spent, then taken back; or spent from lots that a split gave to somebody else. They
-- are paid from the member''s lots before anything else is spent (settled), or cancelled when the spend is refunded.
CREATE TABLE member.point_debts (
    birth     bigint      NOT NULL,
    key       uuid        NOT NULL,
    programme text        NOT NULL,
    points    bigint      NOT NULL,
    settled   bigint      NOT NULL DEFAULT 0,
    cancelled bigint      NOT NULL DEFAULT 0,
    at        timestamptz NOT NULL,
    CONSTRAINT point_debts_pkey PRIMARY KEY (birth, key),
    CONSTRAINT point_debts_amounts CHECK (points > 0 AND settled >= 0 AND cancelled >= 0 AND settled + cancelled <= points)
) WITH (fillfactor = 80);
CREATE INDEX point_debts_open ON member.point_debts (birth, programme) WHERE settled + cancelled < points;
COMMENT ON TABLE member.point_debts IS 'class=by_birth; points owed by members';
