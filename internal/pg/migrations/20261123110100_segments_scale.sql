-- +goose Up

-- Rules over everybody read who is a member since when, and which births are not their own root, in full: from indexes a
-- tenth as large as the tables.
CREATE INDEX members_since ON member.members (id) INCLUDE (registered_at, first_fact_at) WHERE is_member;
CREATE INDEX births_moved ON member.births (birth) INCLUDE (root) WHERE birth <> root;

-- How long the last build of the whole membership took: what is dear to build is refreshed less often.
ALTER TABLE segments.segments ADD COLUMN build_ms bigint NOT NULL DEFAULT 0;
