package sourcing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
)

// Token is capacity taken for a reference, such as a fulfil order.
type Token struct {
	Ref      string
	Location string
	Day      clock.Day
	Parcels  int
}

// The settings are locked while a day is opened, so that a new capacity is not missed by it.
const openDay = `
INSERT INTO commerce.sourcing_capacity (location, day, cap, updated_at)
SELECT @location::text, @day::text::date,
       coalesce((SELECT daily_cap FROM commerce.sourcing_locations WHERE location = @location::text FOR SHARE), @unlimited::integer), @now::timestamptz
WHERE NOT EXISTS (SELECT FROM commerce.sourcing_capacity WHERE location = @location::text AND day = @day::text::date)
ON CONFLICT ON CONSTRAINT sourcing_capacity_pkey DO NOTHING`

// What was released is taken again under its reference. What is held or confirmed for the same is only found again.
const putToken = `
INSERT INTO commerce.sourcing_tokens AS t (ref, location, day, parcels, state, expires_at, updated_at)
VALUES (@ref, @location, @day::text::date, @parcels, 'held', @expires, @now)
ON CONFLICT ON CONSTRAINT sourcing_tokens_pkey DO UPDATE
SET location = excluded.location, day = excluded.day, parcels = excluded.parcels, state = 'held', expires_at = excluded.expires_at,
    updated_at = excluded.updated_at
WHERE t.state = 'released'`

const keepToken = `
UPDATE commerce.sourcing_tokens
SET expires_at = CASE WHEN state = 'held' THEN @expires::timestamptz END, updated_at = @now
WHERE ref = @ref AND state <> 'released' AND location = @location AND day = @day::text::date AND parcels = @parcels`

// The condition is checked on the locked row, so that two holders cannot both see the last token.
const takeCapacity = `
UPDATE commerce.sourcing_capacity
SET taken = taken + @parcels, updated_at = @now
WHERE location = @location AND day = @day::text::date AND taken + @parcels <= cap`

func hold(ctx context.Context, tx pgx.Tx, t Token, expires, now time.Time) error {
	day := t.Day.String()
	fail := func(err error) error { return fmt.Errorf("hold capacity of %s for %s: %w", t.Location, t.Ref, err) }
	args := pg.Args{"ref": t.Ref, "location": t.Location, "day": day, "parcels": t.Parcels, "expires": expires, "now": now}
	tag, err := tx.Exec(ctx, putToken, args)
	if err != nil {
		return fail(err)
	}
	if tag.RowsAffected() == 0 {
		if tag, err = tx.Exec(ctx, keepToken, args); err != nil {
			return fail(err)
		}
		if tag.RowsAffected() == 0 {
			return ErrKeyReused.With("ref", t.Ref)
		}
		return nil
	}
	if _, err := tx.Exec(ctx, openDay, pg.Args{"location": t.Location, "day": day, "unlimited": unlimited, "now": now}); err != nil {
		return fail(err)
	}
	if tag, err = tx.Exec(ctx, takeCapacity, pg.Args{"location": t.Location, "day": day, "parcels": t.Parcels, "now": now}); err != nil {
		return fail(err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoCapacity.With("location", t.Location, "day", day)
	}
	return nil
}

const confirmToken = `
UPDATE commerce.sourcing_tokens
SET state = 'confirmed', expires_at = NULL, updated_at = @now
WHERE ref = @ref AND state IN ('held', 'confirmed')`

func confirm(ctx context.Context, tx pgx.Tx, ref string, now time.Time) error {
	tag, err := tx.Exec(ctx, confirmToken, pg.Args{"ref": ref, "now": now})
	if err != nil {
		return fmt.Errorf("confirm capacity of %s: %w", ref, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoToken.With("ref", ref)
	}
	return nil
}

const releaseRefs = `
UPDATE commerce.sourcing_tokens
SET state = 'released', expires_at = NULL, updated_at = @now
WHERE ref = ANY (ARRAY(
    SELECT ref FROM commerce.sourcing_tokens
    WHERE ref = ANY (@refs::text[]) AND state <> 'released'
    ORDER BY ref FOR UPDATE))
RETURNING location, day::text, parcels`

const releaseExpired = `
UPDATE commerce.sourcing_tokens
SET state = 'released', expires_at = NULL, updated_at = @now
WHERE ref = ANY (ARRAY(
    SELECT ref FROM commerce.sourcing_tokens
    WHERE state = 'held' AND expires_at <= @now
    ORDER BY expires_at, ref
    LIMIT @batch FOR UPDATE SKIP LOCKED))
RETURNING location, day::text, parcels`

// The days are locked in their order first.
const giveBack = `
WITH back AS (
    SELECT location, day, sum(parcels) AS parcels
    FROM unnest(@locations::text[], @days::text[]::date[], @parcels::integer[]) AS b (location, day, parcels)
    GROUP BY location, day
),
locked AS MATERIALIZED (
    SELECT c.location, c.day, b.parcels
    FROM commerce.sourcing_capacity c
    JOIN back b ON b.location = c.location AND b.day = c.day
    ORDER BY c.location, c.day
    FOR UPDATE OF c
)
UPDATE commerce.sourcing_capacity c
SET taken = c.taken - l.parcels, updated_at = @now
FROM locked l
WHERE c.location = l.location AND c.day = l.day`

func release(ctx context.Context, tx pgx.Tx, sql string, args pg.Args, now time.Time) (int, error) {
	args["now"] = now
	rows, err := tx.Query(ctx, sql, args)
	if err != nil {
		return 0, fmt.Errorf("release capacity: %w", err)
	}
	var locations, days []string
	var parcels []int
	var location, day string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&location, &day, &n}, func() error {
		locations, days, parcels = append(locations, location), append(days, day), append(parcels, n)
		return nil
	}); err != nil {
		return 0, fmt.Errorf("release capacity: %w", err)
	}
	if len(parcels) == 0 {
		return 0, nil
	}
	if _, err := tx.Exec(ctx, giveBack, pg.Args{"locations": locations, "days": days, "parcels": parcels, "now": now}); err != nil {
		return 0, fmt.Errorf("give capacity back: %w", err)
	}
	return len(parcels), nil
}

const setCapsSQL = `
UPDATE commerce.sourcing_capacity
SET cap = greatest(@cap::integer, taken), updated_at = @now
WHERE location = @location AND day >= @day::text::date`

// setCaps gives the open days of a location its new capacity. A day with more taken already is full.
func setCaps(ctx context.Context, tx pgx.Tx, location string, dailyCap int64, from clock.Day, now time.Time) error {
	_, err := tx.Exec(ctx, setCapsSQL, pg.Args{"location": location, "cap": dailyCap, "day": from.String(), "now": now})
	if err != nil {
		return fmt.Errorf("set capacity of %s: %w", location, err)
	}
	return nil
}
