-- +goose Up

-- What differs from the house's default matrix (commerce/org/data/services.csv). account and store are '' where the row holds
-- for all of them; the most specific row wins, store before account before touchpoint, and of one place the newest that is
-- valid.
CREATE TABLE commerce.touchpoint_services (
    touchpoint  text        NOT NULL,
    account     text        NOT NULL DEFAULT '',
    store       text        NOT NULL DEFAULT '',
    service     text        NOT NULL,
    valid_from  timestamptz NOT NULL,
    mode        text        NOT NULL,
    handover_to text        NOT NULL DEFAULT '',
    params      jsonb       NOT NULL DEFAULT '{}',
    changed_by  text        NOT NULL,
    changed_at  timestamptz NOT NULL,
    CONSTRAINT touchpoint_services_pkey PRIMARY KEY (touchpoint, account, store, service, valid_from),
    CONSTRAINT touchpoint_services_mode CHECK (mode IN ('self', 'platform', 'hand_over', 'none')),
    CONSTRAINT touchpoint_services_handover CHECK ((mode = 'hand_over') = (handover_to <> '')),
    CONSTRAINT touchpoint_services_params_is_object CHECK (jsonb_typeof(params) = 'object')
);
COMMENT ON TABLE commerce.touchpoint_services IS 'class=reference; which touchpoint does which service, where it differs from the default matrix';
