-- +goose Up
CREATE SCHEMA IF NOT EXISTS templates;

-- One row per message template. published is the version that new messages use (0: none yet).
CREATE TABLE templates.templates (
    code       text        NOT NULL,
    channel    text        NOT NULL,
    lane       text        NOT NULL,
    name       text        NOT NULL,
    status     text        NOT NULL DEFAULT 'draft',
    latest     integer     NOT NULL DEFAULT 1,
    published  integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT templates_pkey PRIMARY KEY (code),
    CONSTRAINT templates_channel CHECK (channel IN ('wechat', 'miniprogram', 'sms', 'email', 'push', 'wecom')),
    CONSTRAINT templates_lane CHECK (lane IN ('transaction', 'service', 'marketing')),
    CONSTRAINT templates_status CHECK (status IN ('draft', 'published', 'archived')),
    CONSTRAINT templates_published_exists CHECK (published BETWEEN 0 AND latest)
);
COMMENT ON TABLE templates.templates IS 'class=reference; message templates';

-- What each version says. Never changed once written: messages refer to it.
CREATE TABLE templates.versions (
    template   text        NOT NULL,
    version    integer     NOT NULL,
    body       jsonb       NOT NULL,
    author     text        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT versions_pkey PRIMARY KEY (template, version),
    CONSTRAINT versions_template FOREIGN KEY (template) REFERENCES templates.templates (code)
);
COMMENT ON TABLE templates.versions IS 'class=reference; immutable contents of message templates';
