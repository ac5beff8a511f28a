-- +goose Up

-- People who use the console, and what they may do.
CREATE TABLE core.operators (
    id            uuid        NOT NULL,
    login         text        NOT NULL,
    name          text        NOT NULL,
    password_hash text        NOT NULL,
    roles         text[]      NOT NULL,
    org           text        NOT NULL DEFAULT '',
    active        boolean     NOT NULL DEFAULT true,
    version       bigint      NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT operators_pkey PRIMARY KEY (id),
    CONSTRAINT operators_login_key UNIQUE (login),
    CONSTRAINT operators_have_roles CHECK (cardinality(roles) > 0)
);
COMMENT ON TABLE core.operators IS 'class=reference; console users; org '''' is the whole brand';

-- Signed-in browsers. Only the hash of the token is kept.
CREATE TABLE core.sessions (
    token_hash  bytea       NOT NULL,
    operator_id uuid        NOT NULL,
    created_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    address     text        NOT NULL,
    agent       text        NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (token_hash),
    CONSTRAINT sessions_operator_fkey FOREIGN KEY (operator_id) REFERENCES core.operators (id)
);
CREATE INDEX sessions_operator ON core.sessions (operator_id);
COMMENT ON TABLE core.sessions IS 'class=reference; server-side sessions';

-- Failed sign-ins, for throttling by login and by address.
CREATE TABLE core.sign_in_failures (
    subject text        NOT NULL,
    at      timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_subject ON core.sign_in_failures (subject, at);
COMMENT ON TABLE core.sign_in_failures IS 'class=reference; kept one day';

-- Who did what. Append-only: the trigger refuses changes.
CREATE TABLE core.audit (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    actor_id   uuid,
    actor_name text        NOT NULL,
    action     text        NOT NULL,
    object     text        NOT NULL,
    detail     jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT audit_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_object ON core.audit (object, id);
CREATE INDEX audit_actor ON core.audit (actor_id, id);
COMMENT ON TABLE core.audit IS 'class=reference; audit log, append-only';

-- +goose StatementBegin
CREATE FUNCTION core.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table %.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON core.audit
    FOR EACH STATEMENT EXECUTE FUNCTION core.refuse_change();
