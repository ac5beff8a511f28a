-- +goose Up
CREATE SCHEMA IF NOT EXISTS core;

-- A lease is the right of one process to do one piece of work (a shard, a journey slice) for a while. The epoch grows
-- with every change of hands; writers check it in their transaction, so a process that was paused past its lease writes
-- nothing (fencing).
CREATE TABLE core.leases (
    name        text        NOT NULL,
    holder      text        NOT NULL,
    epoch       bigint      NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT leases_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.leases IS 'class=reference; who may work on what, until when';

-- Domain events, the low-volume lane: one row per event, one River job per subscriber, committed with the fact.
CREATE TABLE core.events (
    id          uuid        NOT NULL,
    name        text        NOT NULL,
    payload     jsonb       NOT NULL,
    occurred_at timestamptz NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id)
);
CREATE INDEX events_occurred_at ON core.events (occurred_at);
COMMENT ON TABLE core.events IS 'class=reference; domain events for subscribers and audit, kept 90 days';

-- What a subscriber has already handled: with it, redelivery of an event changes nothing.
CREATE TABLE core.event_receipts (
    event_id    uuid        NOT NULL,
    subscriber  text        NOT NULL,
    handled_at  timestamptz NOT NULL,
    CONSTRAINT event_receipts_pkey PRIMARY KEY (event_id, subscriber)
);
CREATE INDEX event_receipts_handled_at ON core.event_receipts (handled_at);
COMMENT ON TABLE core.event_receipts IS 'class=reference; events handled per subscriber, kept 90 days';
