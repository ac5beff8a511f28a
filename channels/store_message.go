package channels

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const messageColumns = `birth, id, send_key, account, channel, template, template_version, locale, lane, campaign, vars, journey,
    journey_version, node, run, planned_at, due_at, expires_at, state, state_at, reason, code, attempts, handed_at, address, provider_id`

func scanMessage(row pgx.CollectableRow) (Message, error) {
	var m Message
	err := row.Scan(&m.Birth, &m.ID, &m.SendKey, &m.Account, &m.Channel, &m.Template, &m.TemplateVersion, &m.Locale, &m.Lane,
		&m.Campaign, &m.Vars, &m.Journey, &m.JourneyVersion, &m.Node, &m.Run, &m.PlannedAt, &m.DueAt, &m.ExpiresAt, &m.State,
		&m.StateAt, &m.Reason, &m.Code, &m.Attempts, &m.HandedAt, &m.Address, &m.ProviderID)
	return m, err
}

// Query filters the ledger, newest first. Births, when not nil, limits it to these births.
type Query struct {
	Births  []member.Birth
	States  []State
	Account string
	Channel Channel
	Journey string
	Lane    Lane
	Before  Position
	Limit   int
}

// Position is where a page ended.
type Position struct {
	At time.Time
	Ref
}

const findMessagesSQL = `
SELECT ` + messageColumns + `
FROM channels.messages
WHERE (planned_at, birth, id) < (@at, @birth, @id)
    AND (@births::bigint[] IS NULL OR birth = ANY(@births))
    AND (@states::text[] IS NULL OR state = ANY(@states))
    AND (@account = '' OR account = @account)
    AND (@channel = '' OR channel = @channel)
    AND (@journey = '' OR journey = @journey)
    AND (@lane = '' OR lane = @lane)
ORDER BY planned_at DESC, birth DESC, id DESC
LIMIT @limit`

func (store) find(ctx context.Context, db pg.DB, q Query) ([]Message, error) {
	rows, err := db.Query(ctx, findMessagesSQL, pg.Args{
		"at": q.Before.At, "birth": int64(q.Before.Birth), "id": q.Before.ID, "births": q.Births, "states": q.States,
		"account": q.Account, "channel": string(q.Channel), "journey": q.Journey, "lane": string(q.Lane), "limit": q.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("find messages: %w", err)
	}
	return pgx.CollectRows(rows, scanMessage)
}

const getMessageSQL = `
SELECT ` + messageColumns + `
FROM channels.messages
WHERE birth = @birth AND id = @id`

func (store) get(ctx context.Context, db pg.DB, r Ref) (Message, error) {
	rows, err := db.Query(ctx, getMessageSQL, pg.Args{"birth": int64(r.Birth), "id": r.ID})
	if err != nil {
		return Message{}, fmt.Errorf("get message %s: %w", r, err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMessage)
	if pg.NoRows(err) {
		return m, ErrMessageNotFound.With("ref", r)
	}
	return m, err
}

const sealedSQL = `
SELECT sealed
FROM channels.messages
WHERE birth = @birth AND id = @id`

func (store) sealed(ctx context.Context, db pg.DB, r Ref) (sealed []byte, err error) {
	err = db.QueryRow(ctx, sealedSQL, pg.Args{"birth": int64(r.Birth), "id": r.ID}).Scan(&sealed)
	return sealed, err
}

const withdrawSQL = `
UPDATE channels.messages m
SET state = 'suppressed', state_at = @now, reason = 'withdrawn', due_at = NULL
FROM unnest(@births::bigint[], @ids::bigint[]) AS t (birth, id)
WHERE m.birth = t.birth AND m.id = t.id AND m.state = 'planned'`

func (store) withdraw(ctx context.Context, tx pgx.Tx, refs []Ref, now time.Time) (int, error) {
	births, ids := make([]int64, len(refs)), make([]int64, len(refs))
	for i, r := range refs {
		births[i], ids[i] = int64(r.Birth), r.ID
	}
	tag, err := tx.Exec(ctx, withdrawSQL, pg.Args{"births": births, "ids": ids, "now": now})
	if err != nil {
		return 0, fmt.Errorf("withdraw messages: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Only failures are planned again, with fresh attempts and a fresh life of the lane's length.
const resendSQL = `
UPDATE channels.messages m
SET state = 'planned', state_at = @now::timestamptz, reason = 'resend', code = '', due_at = @now::timestamptz, handed_at = NULL,
    expires_at = @now::timestamptz + (m.expires_at - m.planned_at)
FROM unnest(@births::bigint[], @ids::bigint[]) AS t (birth, id)
WHERE m.birth = t.birth AND m.id = t.id AND m.state = 'failed' AND m.reason NOT IN ('no_account', 'no_template')`

func (store) resend(ctx context.Context, tx pgx.Tx, refs []Ref, now time.Time) (int, error) {
	births, ids := make([]int64, len(refs)), make([]int64, len(refs))
	for i, r := range refs {
		births[i], ids[i] = int64(r.Birth), r.ID
	}
	tag, err := tx.Exec(ctx, resendSQL, pg.Args{"births": births, "ids": ids, "now": now})
	if err != nil {
		return 0, fmt.Errorf("resend messages: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

const resolveSQL = `
UPDATE channels.messages
SET state = @state, state_at = @now, reason = 'operator'
WHERE birth = @birth AND id = @id AND state = 'unknown'`

func (store) resolve(ctx context.Context, tx pgx.Tx, r Ref, to State, now time.Time) (bool, error) {
	tag, err := tx.Exec(ctx, resolveSQL, pg.Args{"birth": int64(r.Birth), "id": r.ID, "state": string(to), "now": now})
	if err != nil {
		return false, fmt.Errorf("resolve message %s: %w", r, err)
	}
	return tag.RowsAffected() == 1, nil
}

const countStatesSQL = `
SELECT state, count(*)
FROM channels.messages
WHERE (@account = '' OR account = @account) AND planned_at >= @since
GROUP BY state`

func (store) countStates(ctx context.Context, db pg.DB, account string, since time.Time) (map[State]int64, error) {
	rows, err := db.Query(ctx, countStatesSQL, pg.Args{"account": account, "since": since})
	if err != nil {
		return nil, fmt.Errorf("count messages: %w", err)
	}
	out := map[State]int64{}
	var (
		st State
		n  int64
	)
	_, err = pgx.ForEachRow(rows, []any{&st, &n}, func() error {
		out[st] = n
		return nil
	})
	return out, err
}

const forgetSealedSQL = `
UPDATE channels.messages
SET sealed = NULL, sealed_until = NULL
WHERE planned_at < @before AND sealed_until < @now`

const forgetRefsSQL = `
DELETE FROM channels.provider_refs
WHERE at < @before`

const forgetInboundSQL = `
DELETE FROM channels.inbound
WHERE state <> 'pending' AND received_at < @before`

// forget removes what is past its retention: sealed bindings and provider ids after 90 days, callbacks after 30.
func (store) forget(ctx context.Context, db pg.DB, now time.Time) error {
	before := now.Add(-sealedFor)
	if _, err := db.Exec(ctx, forgetSealedSQL, pg.Args{"before": before, "now": now}); err != nil {
		return fmt.Errorf("forget bindings: %w", err)
	}
	if _, err := db.Exec(ctx, forgetRefsSQL, pg.Args{"before": before}); err != nil {
		return fmt.Errorf("forget provider ids: %w", err)
	}
	if _, err := db.Exec(ctx, forgetInboundSQL, pg.Args{"before": now.Add(-30 * 24 * time.Hour)}); err != nil {
		return fmt.Errorf("forget callbacks: %w", err)
	}
	return nil
}
