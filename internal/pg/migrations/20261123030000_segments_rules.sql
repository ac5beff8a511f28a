-- +goose Up
CREATE SCHEMA IF NOT EXISTS segments;

-- Reading values as the rule language reads them. A value that does not read as the wanted type is absent: NULL.
-- Everything here is immutable: numbers and times parse without regard to session settings.

CREATE FUNCTION segments.number(v text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN v ~ '^\s*[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?\s*$' THEN v::numeric END;

CREATE FUNCTION segments.number(v jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(v) WHEN 'number' THEN v::numeric WHEN 'string' THEN segments.number(v #>> '{}') END;

-- A bare date is midnight in Shanghai (UTC+8), a time without offset is Shanghai's; finer than a microsecond is cut off.
-- +goose StatementBegin
CREATE FUNCTION segments.instant(v text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    y integer;
    m integer;
    d integer;
BEGIN
    IF v !~ '^[1-9]\d{3}-\d\d-\d\d([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?$' THEN
        RETURN NULL;
    END IF;
    y := substr(v, 1, 4)::integer;
    m := substr(v, 6, 2)::integer;
    d := substr(v, 9, 2)::integer;
    IF m NOT BETWEEN 1 AND 12 OR d < 1 OR d > (CASE
        WHEN m IN (4, 6, 9, 11) THEN 30
        WHEN m <> 2 THEN 31
        WHEN y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0) THEN 29
        ELSE 28 END)
    THEN
        RETURN NULL;
    END IF;
    IF length(v) = 10 THEN
        RETURN (v || ' 00:00+08')::timestamptz;
    END IF;
    v := regexp_replace(v, '(\.\d{6})\d+', '\1');
    IF substr(v, 11) ~ '[Z+-]' THEN
        RETURN v::timestamptz;
    END IF;
    RETURN (v || '+08')::timestamptz;
END $$;
-- +goose StatementEnd

CREATE FUNCTION segments.instant(v jsonb) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(v) WHEN 'string' THEN segments.instant(v #>> '{}') END;

-- The month and day of an instant in Shanghai, as MM-DD.
CREATE FUNCTION segments.month_day(v timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_char(timezone(interval '8 hours', v), 'MM-DD');

-- The text of a scalar; NULL for lists, objects and null.
CREATE FUNCTION segments.scalar(v jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(v) IN ('string', 'number', 'boolean') THEN v #>> '{}' END;

CREATE FUNCTION segments.any_text(list jsonb, wanted text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM jsonb_array_elements(list) e WHERE segments.scalar(e) = ANY(wanted));

CREATE FUNCTION segments.any_number(list jsonb, wanted numeric[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM jsonb_array_elements(list) e WHERE segments.number(e) = ANY(wanted));

CREATE FUNCTION segments.any_contains(list jsonb, part text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM jsonb_array_elements(list) e WHERE strpos(segments.scalar(e), part) > 0);

-- The bucket of a member in a sample, 0 to 9,999: the first 8 bytes of SHA-256(salt:member_id), unsigned, mod 10,000.
-- bigint is signed, so a negative v stands for v + 2^64, and 2^64 mod 10,000 is 1,616.
-- +goose StatementBegin
CREATE FUNCTION segments.bucket(salt text, member bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    v bigint := ('x' || encode(substr(sha256(convert_to(salt || ':' || member, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;
BEGIN
    RETURN CASE WHEN v >= 0 THEN v % 10000 ELSE (v % 10000 + 11616) % 10000 END;
END $$;
-- +goose StatementEnd

CREATE TABLE segments.lists (
    id          uuid        NOT NULL,
    code        text        NOT NULL,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT lists_pkey PRIMARY KEY (id),
    CONSTRAINT lists_code UNIQUE (code)
);
COMMENT ON TABLE segments.lists IS 'class=reference; uploaded lists of members';

CREATE TABLE segments.list_members (
    list_id   uuid        NOT NULL,
    birth     bigint      NOT NULL,
    added_at  timestamptz NOT NULL,
    CONSTRAINT list_members_pkey PRIMARY KEY (list_id, birth),
    CONSTRAINT list_members_list FOREIGN KEY (list_id) REFERENCES segments.lists ON DELETE CASCADE
);
CREATE INDEX list_members_birth ON segments.list_members (birth);
COMMENT ON TABLE segments.list_members IS 'class=by_birth; who stands on a list, under the birth that was uploaded';

-- status building: the membership does not follow the rule yet, a build is due; archived: no membership is kept.
CREATE TABLE segments.segments (
    id          uuid        NOT NULL,
    code        text        NOT NULL,
    name        text        NOT NULL,
    rule        jsonb       NOT NULL,
    version     bigint      NOT NULL DEFAULT 1,
    status      text        NOT NULL,
    size        bigint      NOT NULL DEFAULT 0,
    built_at    timestamptz,
    refresh_at  timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT segments_pkey PRIMARY KEY (id),
    CONSTRAINT segments_code UNIQUE (code),
    CONSTRAINT segments_status CHECK (status IN ('building', 'active', 'archived')),
    CONSTRAINT segments_size CHECK (size >= 0)
) WITH (fillfactor = 50);
CREATE INDEX segments_refresh_at ON segments.segments (refresh_at) WHERE refresh_at IS NOT NULL;
COMMENT ON TABLE segments.segments IS 'class=reference; rules and their state; refresh_at is when the whole segment is due again (RFM, anniversaries)';

-- One row: the revision that every change of a rule or status raises, so that processes know when their index of rules is
-- old. The live engine holds it FOR SHARE while it works, changes take it FOR UPDATE.
CREATE TABLE segments.catalog (
    one       boolean NOT NULL DEFAULT true,
    revision  bigint  NOT NULL,
    CONSTRAINT catalog_pkey PRIMARY KEY (one),
    CONSTRAINT catalog_one CHECK (one)
) WITH (fillfactor = 20);
COMMENT ON TABLE segments.catalog IS 'class=reference; revision of all rules';
INSERT INTO segments.catalog (revision) VALUES (1);

CREATE TABLE segments.members (
    segment_id  uuid        NOT NULL,
    root        bigint      NOT NULL,
    entered_at  timestamptz NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (segment_id, root)
);
CREATE INDEX members_root ON segments.members (root);
COMMENT ON TABLE segments.members IS 'class=by_birth; who is in a segment now';

-- When an answer may next change by time alone: an event leaves a window, a deadline elapses. Early is allowed, late is
-- not; whoever is due is evaluated again and given the next due time.
CREATE TABLE segments.expiries (
    segment_id  uuid        NOT NULL,
    root        bigint      NOT NULL,
    due_at      timestamptz NOT NULL,
    CONSTRAINT expiries_pkey PRIMARY KEY (segment_id, root)
);
CREATE INDEX expiries_due_at ON segments.expiries (due_at);
CREATE INDEX expiries_root ON segments.expiries (root);
COMMENT ON TABLE segments.expiries IS 'class=by_birth; the expiry wheel';
