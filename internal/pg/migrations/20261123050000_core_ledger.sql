-- +goose Up

-- A book is a set of accounts in one asset (fen, points of a programme). Nothing moves between books.
CREATE TABLE core.ledger_books (
    code  text NOT NULL,
    asset text NOT NULL,
    CONSTRAINT ledger_books_pkey PRIMARY KEY (code),
    CONSTRAINT ledger_books_code CHECK (code ~ '^[a-z0-9][a-zA-Z0-9_.:-]{0,99}$')
);
COMMENT ON TABLE core.ledger_books IS 'class=reference; books of the double-entry kernel';

-- lane: how the balance is kept. spread = one row, locked by its writers; hot = deltas that nobody waits for.
CREATE TABLE core.ledger_accounts (
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    book      text        NOT NULL,
    code      text        NOT NULL,
    lane      text        NOT NULL,
    opened_at timestamptz NOT NULL,
    CONSTRAINT ledger_accounts_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_accounts_book_code UNIQUE (book, code),
    CONSTRAINT ledger_accounts_book FOREIGN KEY (book) REFERENCES core.ledger_books (code),
    CONSTRAINT ledger_accounts_lane CHECK (lane IN ('spread', 'hot'))
);
COMMENT ON TABLE core.ledger_accounts IS 'class=by_key; accounts of the double-entry kernel';

-- balance = Σ amounts of the account''s postings, less what still lies in ledger_deltas. floor: the balance must not fall
-- below it (null: it may).
CREATE TABLE core.ledger_balances (
    account_id bigint NOT NULL,
    balance    bigint NOT NULL DEFAULT 0,
    postings   bigint NOT NULL DEFAULT 0,
    floor      bigint,
    CONSTRAINT ledger_balances_pkey PRIMARY KEY (account_id),
    CONSTRAINT ledger_balances_account FOREIGN KEY (account_id) REFERENCES core.ledger_accounts (id),
    CONSTRAINT ledger_balances_floor CHECK (balance >= floor)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.ledger_balances IS 'class=by_key; balance per account, derived from postings';

-- What was posted to hot accounts and not yet folded into ledger_balances.
CREATE TABLE core.ledger_deltas (
    id         bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    account_id bigint  NOT NULL,
    amount     bigint  NOT NULL,
    postings   integer NOT NULL,
    CONSTRAINT ledger_deltas_pkey PRIMARY KEY (id)
);
CREATE INDEX ledger_deltas_account ON core.ledger_deltas (account_id);
COMMENT ON TABLE core.ledger_deltas IS 'class=by_key; balance changes of hot accounts, folded and deleted in the background';

-- One row per business movement. key is the caller''s idempotency key, hash that of its input: the same key with another
-- input is refused.
CREATE SEQUENCE core.ledger_transaction_seq AS bigint;
CREATE TABLE core.ledger_transactions (
    id   bigint      NOT NULL,
    book text        NOT NULL,
    key  uuid        NOT NULL,
    hash bytea       NOT NULL,
    kind text        NOT NULL,
    ref  text        NOT NULL DEFAULT '',
    at   timestamptz NOT NULL,
    CONSTRAINT ledger_transactions_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_transactions_key UNIQUE (book, key)
);
COMMENT ON TABLE core.ledger_transactions IS 'class=by_key; movements of the double-entry kernel, append-only';

-- Signed lines: positive into the account, negative out of it. The lines of a transaction are inserted by one statement
-- and sum to zero.
CREATE TABLE core.ledger_postings (
    transaction_id bigint   NOT NULL,
    n              smallint NOT NULL,
    account_id     bigint   NOT NULL,
    amount         bigint   NOT NULL,
    CONSTRAINT ledger_postings_pkey PRIMARY KEY (transaction_id, n),
    CONSTRAINT ledger_postings_amount CHECK (amount <> 0 AND amount BETWEEN -1000000000000000 AND 1000000000000000)
);
CREATE INDEX ledger_postings_account ON core.ledger_postings (account_id, transaction_id);
COMMENT ON TABLE core.ledger_postings IS 'class=by_key; lines of the double-entry kernel, append-only';

-- +goose StatementBegin
CREATE FUNCTION core.ledger_postings_balanced() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    bad bigint;
BEGIN
    SELECT transaction_id INTO bad FROM fresh GROUP BY transaction_id HAVING sum(amount) <> 0 LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', bad
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_postings_balanced', SCHEMA = 'core', TABLE = 'ledger_postings';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_postings_balanced AFTER INSERT ON core.ledger_postings
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION core.ledger_postings_balanced();

-- +goose StatementBegin
CREATE FUNCTION core.ledger_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: post a correction', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_append_only', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON core.ledger_postings
    FOR EACH STATEMENT EXECUTE FUNCTION core.ledger_append_only();
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON core.ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION core.ledger_append_only();
