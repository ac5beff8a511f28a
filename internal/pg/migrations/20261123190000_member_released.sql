-- +goose Up

-- A released birth is not quarantined however many accounts it is seen with: an operator said so.
ALTER TABLE member.births ADD COLUMN released boolean NOT NULL DEFAULT false;
