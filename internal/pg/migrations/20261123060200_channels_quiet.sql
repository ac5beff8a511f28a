-- +goose Up

-- Hours of the Shanghai day, in minutes, in which this message waits, beside those of its account; both 0: none.
ALTER TABLE channels.messages
    ADD COLUMN quiet_from smallint NOT NULL DEFAULT 0,
    ADD COLUMN quiet_to   smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT messages_quiet CHECK (quiet_from BETWEEN 0 AND 1440 AND quiet_to BETWEEN 0 AND 1440);
