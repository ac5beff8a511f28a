-- +goose Up

-- Answers to POST requests that carried an Idempotency-Key. Key and input are blind tokens, the answer is sealed: bodies may
-- hold personal data. A row without status is a request at work, or one whose process died.
CREATE TABLE core.idempotency (
    actor      uuid        NOT NULL,
    operation  text        NOT NULL,
    key        bytea       NOT NULL,
    input      bytea       NOT NULL,
    status     smallint,
    seal_key   bytea,
    response   bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT idempotency_pkey PRIMARY KEY (actor, operation, key),
    CONSTRAINT idempotency_answered CHECK ((status IS NULL) = (response IS NULL) AND (status IS NULL) = (seal_key IS NULL))
);
CREATE INDEX idempotency_expires ON core.idempotency (expires_at);
COMMENT ON TABLE core.idempotency IS 'class=by_key; answers to requests with an Idempotency-Key, kept 24 hours';
