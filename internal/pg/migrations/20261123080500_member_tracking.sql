-- +goose Up

-- Messages of the tracking API that changed a profile or an identity, so that a replay changes nothing. What was tracked
-- is remembered by member.activity_keys.
CREATE TABLE member.tracking_messages (
    source       text        NOT NULL,
    message_hash bytea       NOT NULL,
    received_at  timestamptz NOT NULL,
    CONSTRAINT tracking_messages_pkey PRIMARY KEY (source, message_hash)
);
CREATE INDEX tracking_messages_received_at ON member.tracking_messages (received_at);
COMMENT ON TABLE member.tracking_messages IS 'class=by_key; messages already taken, kept 30 days';
