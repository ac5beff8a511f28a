-- +goose Up

-- One data key per birth that has personal data, wrapped by the master key. Deleting the row erases what it sealed.
CREATE TABLE member.keys (
    birth    bigint NOT NULL,
    wrapped  bytea  NOT NULL,
    CONSTRAINT keys_pkey PRIMARY KEY (birth)
);
COMMENT ON TABLE member.keys IS 'class=by_birth; wrapped data keys';

-- Personal data, sealed under the key of its birth, with the blind tokens by which it is found.
CREATE TABLE member.secrets (
    birth   bigint      NOT NULL,
    kind    text        NOT NULL,
    sealed  bytea       NOT NULL,
    tokens  bytea[]     NOT NULL DEFAULT '{}',
    source  text        NOT NULL,
    at      timestamptz NOT NULL,
    CONSTRAINT secrets_pkey PRIMARY KEY (birth, kind)
);
CREATE INDEX secrets_tokens ON member.secrets USING gin (tokens);
COMMENT ON TABLE member.secrets IS 'class=by_birth; personal data, encrypted';
