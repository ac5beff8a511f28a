-- +goose Up

-- Rules over everybody read who is a member since when, and which births are not their own root, in full: from indexes a
-- tenth as large as the tables.
CREATE INDEX members_since ON member.members (id) INCLUDE (registered_at, first_fact_at) WHERE is_member;
CREATE INDEX births_moved ON member.births (birth) INCLUDE (root) WHERE birth <> root;

-- How long the last build of the whole membership took: what is dear to build is refreshed less often.
ALTER TABLE segments.segments ADD COLUMN build_ms bigint NOT NULL DEFAULT 0;

-- One expression, so that the planner inlines it: a million calls of a function cost more than a million hashes. u is
-- taken in two halves of 32 bits, and 2^32 mod 10,000 is 7,296.
CREATE OR REPLACE FUNCTION segments.bucket(salt text, member bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (('x' || substr(encode(sha256(convert_to(salt || ':' || member, 'UTF8')), 'hex'), 1, 8))::bit(32)::bigint % 10000 * 7296
      + ('x' || substr(encode(sha256(convert_to(salt || ':' || member, 'UTF8')), 'hex'), 9, 8))::bit(32)::bigint) % 10000;
