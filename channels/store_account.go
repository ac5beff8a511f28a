package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

type store struct{}

// Settings are the rules for all sending.
type Settings struct {
	Paused bool  `json:"paused"`
	Caps   []Cap `json:"caps"`
}

const settingsSQL = `
SELECT paused, caps
FROM channels.settings`

func (store) settings(ctx context.Context, db pg.DB) (Settings, error) {
	var (
		out Settings
		raw []byte
	)
	if err := db.QueryRow(ctx, settingsSQL).Scan(&out.Paused, &raw); err != nil {
		return out, fmt.Errorf("read sending settings: %w", err)
	}
	if err := json.Unmarshal(raw, &out.Caps); err != nil {
		return out, fmt.Errorf("read caps: %w", err)
	}
	return out, nil
}

const setPausedSQL = `
UPDATE channels.settings
SET paused = @paused, updated_at = @now`

const setCapsSQL = `
UPDATE channels.settings
SET caps = @caps, updated_at = @now`

const accountColumns = `code, channel, name, config, secrets, settings, status, health, hold_until, version, updated_at`

const accountsSQL = `
SELECT ` + accountColumns + `
FROM channels.accounts
ORDER BY code`

func (store) accounts(ctx context.Context, db pg.DB) ([]Account, error) {
	rows, err := db.Query(ctx, accountsSQL)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	return pgx.CollectRows(rows, scanAccount)
}

const accountSQL = `
SELECT ` + accountColumns + `
FROM channels.accounts
WHERE code = @code`

func (store) account(ctx context.Context, db pg.DB, code string) (Account, error) {
	rows, err := db.Query(ctx, accountSQL, pg.Args{"code": code})
	if err != nil {
		return Account{}, fmt.Errorf("read account %s: %w", code, err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAccount)
	if pg.NoRows(err) {
		return a, ErrAccountNotFound.With("code", code)
	}
	return a, err
}

// scanAccount leaves Secrets sealed.
func scanAccount(row pgx.CollectableRow) (Account, error) {
	var (
		a                a0
		settings, config []byte
	)
	err := row.Scan(&a.Code, &a.Channel, &a.Name, &config, &a.sealed, &settings, &a.Status, &a.Health, &a.HoldUntil, &a.Version, &a.UpdatedAt)
	if err != nil {
		return Account{}, err
	}
	a.Config, a.Secrets = config, a.sealed
	if err := json.Unmarshal(settings, &a.Settings); err != nil {
		return Account{}, fmt.Errorf("read settings of account %s: %w", a.Code, err)
	}
	a.Settings = a.Settings.withDefaults()
	return a.Account, nil
}

type a0 struct {
	Account
	sealed []byte
}

const insertAccountSQL = `
INSERT INTO channels.accounts (code, channel, name, config, secrets, settings, status, created_at, updated_at)
VALUES (@code, @channel, @name, @config, @secrets, @settings, @status, @now, @now)`

const updateAccountSQL = `
UPDATE channels.accounts
SET name = @name, config = @config, secrets = COALESCE(@secrets, secrets), settings = @settings, status = @status,
    version = version + 1, hold_until = NULL, updated_at = @now
WHERE code = @code AND channel = @channel AND version = @version`

func (store) saveAccount(ctx context.Context, tx pgx.Tx, a Account, sealed []byte, now time.Time) error {
	settings, err := json.Marshal(a.Settings)
	if err != nil {
		return fmt.Errorf("encode settings of account %s: %w", a.Code, err)
	}
	config := a.Config
	if len(config) == 0 {
		config = json.RawMessage(`{}`)
	}
	args := pg.Args{
		"code": a.Code, "channel": string(a.Channel), "name": a.Name, "config": []byte(config), "secrets": sealed,
		"settings": settings, "status": string(a.Status), "now": now,
	}
	if a.Version == 0 {
		_, err := tx.Exec(ctx, insertAccountSQL, args)
		if pg.Constraint(err) == "accounts_pkey" {
			return ErrAccountStale.With("code", a.Code)
		}
		return err
	}
	args["version"] = a.Version
	tag, err := tx.Exec(ctx, updateAccountSQL, args)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrAccountStale.With("code", a.Code)
	}
	return err
}

// Health does not change the version: it is not an edit.
const holdAccountSQL = `
UPDATE channels.accounts
SET health = @health, hold_until = CASE WHEN @health = '' THEN NULL ELSE @until::timestamptz END
WHERE code = @code`

func (store) holdAccount(ctx context.Context, tx pgx.Tx, code string, health Reason, until time.Time) error {
	if _, err := tx.Exec(ctx, holdAccountSQL, pg.Args{"code": code, "health": string(health), "until": until}); err != nil {
		return fmt.Errorf("hold account %s: %w", code, err)
	}
	return nil
}
