-- +goose Up

-- An order as it was last settled. The sale is frozen at payment and says what came back since.
CREATE TABLE commerce.settlements (
    order_no    text        NOT NULL,
    contract    text        NOT NULL,
    version     integer     NOT NULL,
    partner     text        NOT NULL,
    sale        jsonb       NOT NULL,
    base_fen    bigint      NOT NULL,
    seq         integer     NOT NULL DEFAULT 0,
    paid_at     timestamptz NOT NULL,
    payable_at  timestamptz,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT settlements_pkey PRIMARY KEY (order_no)
);
CREATE INDEX settlements_partner ON commerce.settlements (partner, paid_at, order_no);
COMMENT ON TABLE commerce.settlements IS 'class=by_key; orders as they were last settled';

-- What was posted, correction by correction; never changed but for payable_at and the statement, both set once.
CREATE TABLE commerce.settlement_lines (
    order_no   text        NOT NULL,
    seq        integer     NOT NULL,
    n          integer     NOT NULL,
    inward     boolean     NOT NULL,
    kind       text        NOT NULL,
    role       text        NOT NULL,
    unit       text        NOT NULL,
    entity     text        NOT NULL,
    code       text        NOT NULL,
    fen        bigint      NOT NULL,
    why_zh     text        NOT NULL,
    why_en     text        NOT NULL,
    posted_at  timestamptz NOT NULL,
    payable_at timestamptz,
    statement  uuid,
    CONSTRAINT settlement_lines_pkey PRIMARY KEY (order_no, seq, n),
    CONSTRAINT settlement_lines_not_zero CHECK (fen <> 0)
);
CREATE INDEX settlement_lines_open ON commerce.settlement_lines (entity, payable_at) WHERE statement IS NULL AND entity <> '';
CREATE INDEX settlement_lines_statement ON commerce.settlement_lines (statement, order_no, seq, n) WHERE statement IS NOT NULL;
COMMENT ON TABLE commerce.settlement_lines IS 'class=by_key; what settlement posted, by order';

-- The performance book holds no money.
CREATE TABLE commerce.performance_lines (
    order_no  text        NOT NULL,
    seq       integer     NOT NULL,
    n         integer     NOT NULL,
    kind      text        NOT NULL,
    role      text        NOT NULL,
    unit      text        NOT NULL,
    associate text        NOT NULL,
    fen       bigint      NOT NULL,
    posted_at timestamptz NOT NULL,
    CONSTRAINT performance_lines_pkey PRIMARY KEY (order_no, seq, n),
    CONSTRAINT performance_lines_kind CHECK (kind IN ('performance', 'wholesale', 'commission'))
);
CREATE INDEX performance_lines_unit ON commerce.performance_lines (unit, kind, posted_at);
CREATE INDEX performance_lines_associate ON commerce.performance_lines (associate, posted_at) WHERE associate <> '';
COMMENT ON TABLE commerce.performance_lines IS 'class=by_key; performance and commission by order';

CREATE TABLE commerce.statements (
    id           uuid        NOT NULL,
    entity       text        NOT NULL,
    period       text        NOT NULL,
    state        text        NOT NULL,
    total_fen    bigint      NOT NULL,
    lines        bigint      NOT NULL,
    note         text        NOT NULL DEFAULT '',
    version      integer     NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT statements_pkey PRIMARY KEY (id),
    CONSTRAINT statements_entity_period UNIQUE (entity, period),
    CONSTRAINT statements_state CHECK (state IN ('draft', 'sent', 'disputed', 'confirmed', 'paid')),
    CONSTRAINT statements_period CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$')
);
CREATE INDEX statements_created ON commerce.statements (created_at DESC, id);
COMMENT ON TABLE commerce.statements IS 'class=by_key; what a legal entity is owed or owes for a period';
