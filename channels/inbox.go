package channels

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// The service is the Inbox of the protocol packages: what they report is stored, sealed, before it is acknowledged, and
// applied after that (apply.go).
var _ Inbox = (*Service)(nil)

// ours is the account under which receipts of our own pages are kept; they name their message themselves.
const ours = "-"

// Receipts stores reports about messages. It returns when they are durable.
func (s *Service) Receipts(ctx context.Context, receipts []Receipt) error {
	items := make([]raw, len(receipts))
	for i, r := range receipts {
		if r.Account == "" {
			r.Account = ours
		}
		payload, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode receipt: %w", err)
		}
		// Read and clicked repeat; what counts is that it happened. A failure may be followed by another kind of failure.
		key := fmt.Sprintf("%s\x00%s\x00%s\x00%s", r.ProviderID, r.SendKey, r.Kind, r.Code)
		if r.Kind == ReceiptUnsubscribed {
			// Somebody may consent again and refuse again through the same old link.
			key += "\x00" + r.At.UTC().Truncate(time.Minute).Format(time.RFC3339)
		}
		items[i] = raw{account: r.Account, kind: "receipt", key: key, payload: payload}
	}
	return s.receive(ctx, items)
}

// Inbound stores what persons did towards an account. It returns when it is durable.
func (s *Service) Inbound(ctx context.Context, inbound []Inbound) error {
	items := make([]raw, len(inbound))
	for i, in := range inbound {
		payload, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode inbound event: %w", err)
		}
		items[i] = raw{account: in.Account, kind: "inbound", key: in.DedupeKey, payload: payload}
	}
	return s.receive(ctx, items)
}

type raw struct {
	account, kind, key string
	payload            []byte
}

const receiveSQL = `
INSERT INTO channels.inbound (account, dedupe, kind, payload, next_at, received_at)
SELECT t.account, t.dedupe, t.kind, t.payload, @now, @now
FROM unnest(@accounts::text[], @dedupes::bytea[], @kinds::text[], @payloads::bytea[]) AS t (account, dedupe, kind, payload)
ON CONFLICT ON CONSTRAINT inbound_pkey DO NOTHING`

func (s *Service) receive(ctx context.Context, items []raw) error {
	if len(items) == 0 {
		return nil
	}
	n := len(items)
	accounts, kinds := make([]string, n), make([]string, n)
	dedupes, payloads := make([][]byte, n), make([][]byte, n)
	for i, it := range items {
		sealed, err := s.vault.seal(ctx, "inbound", it.payload)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(it.kind + "\x00" + it.key))
		accounts[i], kinds[i], dedupes[i], payloads[i] = it.account, it.kind, sum[:16], sealed
	}
	if _, err := s.db.Exec(ctx, receiveSQL, pg.Args{
		"accounts": accounts, "dedupes": dedupes, "kinds": kinds, "payloads": payloads, "now": s.clock.Now(),
	}); err != nil {
		return fmt.Errorf("store callbacks: %w", err)
	}
	s.broadcast()
	return nil
}

func (s *Service) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *Service) runInbox(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		woken := s.wake
		s.mu.Unlock()
		n, err := s.ApplyInbound(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "callbacks could not be applied", "error", err)
		}
		if n > 0 && err == nil {
			continue
		}
		t := time.NewTimer(lookAround)
		select {
		case <-ctx.Done():
		case <-woken:
		case <-t.C:
		}
		t.Stop()
	}
}

// stored is a raw row that waits to be applied.
type stored struct {
	account  string
	dedupe   []byte
	kind     string
	payload  []byte
	attempts int
	id       int64
}

const claimInboundSQL = `
SELECT account, dedupe, kind, payload, attempts, id
FROM channels.inbound
WHERE state = 'pending' AND next_at <= @now
ORDER BY next_at, id
LIMIT @limit
FOR UPDATE SKIP LOCKED`

const settleInboundSQL = `
UPDATE channels.inbound i
SET state = t.state, payload = CASE WHEN t.state = 'pending' THEN i.payload END, attempts = i.attempts + 1,
    next_at = CASE WHEN t.state = 'pending' THEN t.next_at ELSE i.next_at END, error = t.error
FROM unnest(@accounts::text[], @dedupes::bytea[], @states::text[], @nexts::timestamptz[], @errors::text[])
    AS t (account, dedupe, state, next_at, error)
WHERE i.account = t.account AND i.dedupe = t.dedupe`

// The bounds of patience with a callback: a receipt may precede the record of its message, so it is tried again for a day.
const (
	applyBatch       = 500
	applyMaxAttempts = 12
)

// ApplyInbound applies what is stored and due, and returns how many items it dealt with. A batch that fails is applied item
// by item, so that one bad callback does not stop the others.
func (s *Service) ApplyInbound(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := s.applyBatch(ctx, applyBatch)
		if err != nil {
			s.log.WarnContext(ctx, "callbacks are applied one by one", "error", err)
			n, err = s.applyOneByOne(ctx)
		}
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

func (s *Service) applyBatch(ctx context.Context, limit int) (n int, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		items, err := s.claimInbound(ctx, tx, limit)
		n = len(items)
		if err != nil || n == 0 {
			return err
		}
		verdicts, err := s.apply(ctx, tx, items)
		if err != nil {
			return err
		}
		return s.settleInbound(ctx, tx, items, verdicts)
	})
	return n, err
}

func (s *Service) applyOneByOne(ctx context.Context) (int, error) {
	n := 0
	for range applyBatch {
		var done bool
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
			items, err := s.claimInbound(ctx, tx, 1)
			if err != nil || len(items) == 0 {
				done = true
				return err
			}
			var verdicts []verdict
			err = pg.InTx(ctx, tx, func(tx pgx.Tx) (err error) {
				verdicts, err = s.apply(ctx, tx, items)
				return err
			})
			if err != nil {
				if ctx.Err() != nil {
					return err
				}
				s.log.ErrorContext(ctx, "callback cannot be applied", "account", items[0].account, "kind", items[0].kind, "attempt", items[0].attempts, "error", err)
				verdicts = []verdict{{retry: true, why: "error"}}
			}
			return s.settleInbound(ctx, tx, items, verdicts)
		})
		if err != nil {
			return n, err
		}
		if done {
			break
		}
		n++
	}
	return n, nil
}

func (s *Service) claimInbound(ctx context.Context, tx pgx.Tx, limit int) ([]stored, error) {
	rows, err := tx.Query(ctx, claimInboundSQL, pg.Args{"now": s.clock.Now(), "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("claim callbacks: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (stored, error) {
		var st stored
		err := row.Scan(&st.account, &st.dedupe, &st.kind, &st.payload, &st.attempts, &st.id)
		return st, err
	})
}

// verdict says what became of a callback: applied, or to be tried again.
type verdict struct {
	retry bool
	why   string
}

func (s *Service) settleInbound(ctx context.Context, tx pgx.Tx, items []stored, verdicts []verdict) error {
	n := len(items)
	accounts, states, errs := make([]string, n), make([]string, n), make([]string, n)
	dedupes, nexts := make([][]byte, n), make([]time.Time, n)
	for i, it := range items {
		accounts[i], dedupes[i], states[i] = it.account, it.dedupe, "applied"
		nexts[i] = s.clock.Now().Add(min(5*time.Second<<it.attempts, 6*time.Hour))
		if v := verdicts[i]; v.retry {
			states[i], errs[i] = "pending", v.why
			if it.attempts+1 >= applyMaxAttempts {
				states[i] = "dead"
			}
		}
	}
	if _, err := tx.Exec(ctx, settleInboundSQL, pg.Args{"accounts": accounts, "dedupes": dedupes, "states": states, "nexts": nexts, "errors": errs}); err != nil {
		return fmt.Errorf("settle callbacks: %w", err)
	}
	return nil
}
