-- +goose Up
CREATE SCHEMA IF NOT EXISTS journeys;

-- Campaigns run elsewhere, known from imports. Whom they targeted is in the activity log (campaign_targeted).
CREATE TABLE journeys.campaigns (
    code       text        NOT NULL,
    kind       text        NOT NULL,
    start_at   timestamptz NOT NULL,
    end_at     timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT campaigns_pkey PRIMARY KEY (code),
    CONSTRAINT campaigns_end_after_start CHECK (end_at >= start_at)
);
COMMENT ON TABLE journeys.campaigns IS 'class=reference; campaigns, from the first start to the last end of their targets';
