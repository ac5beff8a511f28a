-- +goose Up

-- What a partner and HQ agreed. The row is the newest version; contract_versions keeps all, and orders name the version
-- they were paid under.
CREATE TABLE commerce.contracts (
    code        text        NOT NULL,
    version     integer     NOT NULL DEFAULT 1,
    partner     text        NOT NULL,
    direction   text        NOT NULL,
    price_level text        NOT NULL DEFAULT '',
    region      text        NOT NULL DEFAULT '',
    deposit_fen bigint      NOT NULL DEFAULT 0,
    valid_from  date        NOT NULL,
    valid_to    date,
    terms       jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT contracts_pkey PRIMARY KEY (code),
    CONSTRAINT contracts_partner FOREIGN KEY (partner) REFERENCES commerce.org_units (code),
    CONSTRAINT contracts_direction CHECK (direction IN ('capital', 'service', 'sales')),
    CONSTRAINT contracts_deposit_not_negative CHECK (deposit_fen >= 0),
    CONSTRAINT contracts_validity CHECK (valid_to > valid_from)
);
CREATE INDEX contracts_partner ON commerce.contracts (partner, valid_from);
COMMENT ON TABLE commerce.contracts IS 'class=reference; contracts with partners, newest version';

CREATE TABLE commerce.contract_versions (
    code       text        NOT NULL,
    version    integer     NOT NULL,
    contract   jsonb       NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT contract_versions_pkey PRIMARY KEY (code, version)
);
COMMENT ON TABLE commerce.contract_versions IS 'class=reference; every version of every contract';
