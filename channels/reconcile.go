package channels

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Reconciler is a sender whose provider can be asked what became of messages: accepted if it has the message, retry if it
// certainly does not, unknown if it does not say. at is when they were handed over.
type Reconciler interface {
	Reconcile(ctx context.Context, batch []Outgoing, at time.Time) []Result
}

const (
	reconcileEvery    = time.Minute
	reconcileBatch    = 50
	reconcileAttempts = 10
)

const insertUnknownsSQL = `
INSERT INTO channels.unknowns (birth, id, account, next_at)
SELECT t.birth, t.id, @account, @next
FROM unnest(@births::bigint[], @ids::bigint[]) AS t (birth, id)
ORDER BY t.birth, t.id
ON CONFLICT DO NOTHING`

func (store) insertUnknowns(ctx context.Context, tx pgx.Tx, account string, results []settled, now time.Time) error {
	var births, ids []int64
	for _, r := range results {
		if r.state == StateUnknown {
			births, ids = append(births, int64(r.Birth)), append(ids, r.ID)
		}
	}
	if len(births) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, insertUnknownsSQL, pg.Args{"account": account, "births": births, "ids": ids, "next": now.Add(reconcileEvery)}); err != nil {
		return fmt.Errorf("list unknown outcomes: %w", err)
	}
	return nil
}

// Each question moves the next one further away: 5, 10, 15 … minutes. Whoever moved it asks.
const claimUnknownsSQL = `
UPDATE channels.unknowns u
SET attempts = u.attempts + 1, next_at = @now::timestamptz + (u.attempts + 1) * interval '5 minutes'
WHERE (u.birth, u.id) = ANY(ARRAY(
    SELECT (birth, id)
    FROM channels.unknowns
    WHERE account = @account AND next_at <= @now
    ORDER BY next_at
    LIMIT @limit
    FOR UPDATE SKIP LOCKED
))
RETURNING u.birth, u.id`

const dropUnknownsSQL = `
DELETE FROM channels.unknowns u
WHERE account = @account AND (u.attempts >= @most OR NOT EXISTS (
    SELECT FROM channels.messages m
    WHERE m.birth = u.birth AND m.id = u.id AND m.state = 'unknown'))`

const reconciledSQL = `
UPDATE channels.messages
SET state = @state, state_at = @now, reason = @reason, provider_id = @provider_id, due_at = @due,
    handed_at = CASE WHEN @state = 'planned' THEN NULL ELSE handed_at END
WHERE birth = @birth AND id = @id AND state = 'unknown'`

func (s *Service) runReconcile(ctx context.Context) {
	for sleep(ctx, reconcileEvery) {
		if err := s.Reconcile(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "unknown outcomes could not be reconciled", "error", err)
		}
	}
}

// Reconcile asks the providers that can be asked about messages with an unknown outcome. A message that the provider
// certainly does not have is planned again under its own key; one that it has is accepted; the rest stays listed.
func (s *Service) Reconcile(ctx context.Context) error {
	accounts, err := s.store.accounts(ctx, s.db)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if a.Status == AccountDisabled {
			continue
		}
		sender, err := s.sender(ctx, a)
		if err != nil {
			s.log.ErrorContext(ctx, "channel account cannot be opened", "account", a.Code, "error", err)
			continue
		}
		asker, ok := sender.(Reconciler)
		if !ok {
			continue
		}
		if err := s.reconcileAccount(ctx, a, asker); err != nil {
			return fmt.Errorf("reconcile %s: %w", a.Code, err)
		}
	}
	return nil
}

func (s *Service) reconcileAccount(ctx context.Context, a Account, asker Reconciler) error {
	if _, err := s.db.Exec(ctx, dropUnknownsSQL, pg.Args{"account": a.Code, "most": reconcileAttempts}); err != nil {
		return fmt.Errorf("drop settled messages: %w", err)
	}
	for {
		rows, err := s.db.Query(ctx, claimUnknownsSQL, pg.Args{"account": a.Code, "now": s.clock.Now(), "limit": reconcileBatch})
		if err != nil {
			return fmt.Errorf("claim unknown outcomes: %w", err)
		}
		refs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Ref])
		if err != nil || len(refs) == 0 {
			return err
		}
		for _, ref := range refs {
			if err := s.reconcileOne(ctx, a, asker, ref); err != nil {
				return err
			}
		}
	}
}

func (s *Service) reconcileOne(ctx context.Context, a Account, asker Reconciler, ref Ref) error {
	m, err := s.store.get(ctx, s.db, ref)
	if err != nil || m.State != StateUnknown || m.HandedAt == nil {
		return err
	}
	addresses, err := s.contact.Addresses(ctx, s.db, string(a.Channel), []member.Birth{m.Address})
	if err != nil {
		return err
	}
	to, ok := addresses[m.Address]
	if !ok {
		return nil
	}
	answers := asker.Reconcile(ctx, []Outgoing{{MessageID: m.SendKey, SendKey: ref.String(), To: to.Value.Reveal()}}, *m.HandedAt)
	if len(answers) != 1 || answers[0].Outcome != OutcomeAccepted && answers[0].Outcome != OutcomeRetry {
		return nil
	}
	now := s.clock.Now()
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		args := pg.Args{
			"state": string(StateAccepted), "reason": "", "provider_id": answers[0].ProviderID, "due": (*time.Time)(nil), "now": now,
			"birth": int64(ref.Birth), "id": ref.ID,
		}
		if answers[0].Outcome == OutcomeRetry {
			args["state"], args["reason"], args["due"] = string(StatePlanned), "reconciled", &now
		}
		tag, err := tx.Exec(ctx, reconciledSQL, args)
		if err != nil || tag.RowsAffected() == 0 || answers[0].Outcome == OutcomeRetry {
			return err
		}
		if answers[0].ProviderID != "" {
			found := settled{outcome: outcome{outbound: outbound{Message: m}, Result: answers[0]}}
			if err := s.store.insertProviderRefs(ctx, tx, a.Code, []settled{found}, now); err != nil {
				return err
			}
		}
		_, err = s.activity.Append(ctx, tx, []activity.Activity{messageActivity("message_sent", m, "", now)})
		return err
	})
}
