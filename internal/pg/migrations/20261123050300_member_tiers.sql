-- +goose Up

-- The tier that a birth holds in a programme. The row of a root is its member's tier as last decided; rows of other births
-- are what they held before they joined it.
CREATE TABLE member.tiers (
    birth     bigint      NOT NULL,
    programme text        NOT NULL,
    tier      text        NOT NULL,
    since     timestamptz NOT NULL,
    until     timestamptz NOT NULL,
    CONSTRAINT tiers_pkey PRIMARY KEY (birth, programme),
    CONSTRAINT tiers_period CHECK (until > since)
) WITH (fillfactor = 85);
CREATE INDEX tiers_until ON member.tiers (until, birth);
COMMENT ON TABLE member.tiers IS 'class=by_birth; tiers held, with their periods';
