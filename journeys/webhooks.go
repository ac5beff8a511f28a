package journeys

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Caller queues webhook calls with the step that makes them and delivers them after the commit: at least once, with the
// effect's key in the Idempotency-Key header, so that the other side can tell a repetition, and signed (see Signature).
type Caller struct {
	db     *pg.Pool
	clock  clock.Clock
	http   *http.Client
	secret []byte
}

// NewCaller returns a Caller that sends through the client, which decides what may be reached, and signs with the secret.
func NewCaller(db *pg.Pool, clk clock.Clock, client *http.Client, secret []byte) *Caller {
	return &Caller{db: db, clock: clk, http: client, secret: secret}
}

// SignatureHeader carries the Signature of a call.
const SignatureHeader = "Lianke-Signature"

// Signature proves that a call comes from this installation: "t=SECONDS,v1=HEX", where HEX is the HMAC-SHA256 under the
// secret over SECONDS, a dot and the body. Whoever receives it computes the same and refuses times that are minutes old.
func Signature(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

const (
	webhookBatch    = 50
	webhookAttempts = 8
	webhookTimeout  = 10 * time.Second
	// maxWebhook bounds the body of a call; a longer one fails for good. maxAnswer bounds what is read of the answer.
	maxWebhook = 256 << 10
	maxAnswer  = 64 << 10
	// webhookClaim is for how long a batch is set aside while it is being delivered; a process that dies leaves its
	// batch to the next after that time.
	webhookClaim = 2 * time.Minute
)

const queueWebhooksSQL = `
INSERT INTO journeys.webhooks (key, birth, journey, node, url, payload, due_at, created_at)
SELECT t.key, t.birth, j.no, t.node, t.url, t.payload::jsonb, t.at, t.at
FROM unnest(@keys::uuid[], @births::bigint[], @codes::text[], @nodes::text[], @urls::text[], @payloads::text[], @ats::timestamptz[])
     AS t (key, birth, code, node, url, payload, at)
JOIN journeys.journeys j USING (code)
ON CONFLICT DO NOTHING`

// Queue stores calls; one whose key is known is left alone.
func (c *Caller) Queue(ctx context.Context, tx pgx.Tx, calls []Webhook) error {
	n := len(calls)
	keys, births := make([]id.UUID, n), make([]member.Birth, n)
	codes, nodes, urls, payloads, ats := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]time.Time, n)
	for i, w := range calls {
		body, err := json.Marshal(map[string]any{"journey": w.Journey, "version": w.Version, "node": w.Node, "run": w.Run, "member": w.Birth.String(), "at": w.At, "data": w.Payload})
		if err != nil {
			return fmt.Errorf("encode webhook: %w", err)
		}
		keys[i], births[i], codes[i], nodes[i], urls[i], payloads[i], ats[i] = w.Key, w.Birth, w.Journey, w.Node, w.URL, string(body), w.At
	}
	_, err := tx.Exec(ctx, queueWebhooksSQL, pg.Args{"keys": keys, "births": births, "codes": codes, "nodes": nodes, "urls": urls, "payloads": payloads, "ats": ats})
	if err != nil {
		return fmt.Errorf("queue webhooks: %w", err)
	}
	return nil
}

const claimWebhooksSQL = `
UPDATE journeys.webhooks
SET due_at = @later, attempts = attempts + 1
WHERE key = ANY (ARRAY(
    SELECT key
    FROM journeys.webhooks
    WHERE status = 'pending' AND due_at <= @now
    ORDER BY due_at
    LIMIT @limit
    FOR UPDATE SKIP LOCKED
))
RETURNING key, url, payload, attempts`

const settleWebhookSQL = `
UPDATE journeys.webhooks
SET status = @status, due_at = @due, error = @error
WHERE key = @key`

type call struct {
	Key      id.UUID
	URL      string
	Payload  []byte
	Attempts int
}

// Deliver makes the calls that are due and returns how many it tried.
func (c *Caller) Deliver(ctx context.Context) (int, error) {
	now := c.clock.Now()
	rows, err := c.db.Query(ctx, claimWebhooksSQL, pg.Args{"now": now, "later": now.Add(webhookClaim), "limit": webhookBatch})
	if err != nil {
		return 0, fmt.Errorf("claim webhooks: %w", err)
	}
	calls, err := pgx.CollectRows(rows, pgx.RowToStructByPos[call])
	if err != nil {
		return 0, fmt.Errorf("claim webhooks: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, w := range calls {
		g.Go(func() error {
			status, due, reason := "delivered", now, ""
			if err := c.post(ctx, w); err != nil {
				// 1, 4, 16 … minutes, at most a day.
				status, due, reason = "pending", now.Add(min(time.Minute<<(2*(w.Attempts-1)), 24*time.Hour)), truncate(err.Error(), 300)
				if w.Attempts >= webhookAttempts || errors.Is(err, errWebhookSize) {
					status = "failed"
				}
			}
			if _, err := c.db.Exec(ctx, settleWebhookSQL, pg.Args{"key": w.Key, "status": status, "due": due, "error": reason}); err != nil {
				return fmt.Errorf("settle webhook: %w", err)
			}
			return nil
		})
	}
	return len(calls), g.Wait()
}

var errWebhookSize = fmt.Errorf("the body is larger than %d bytes", maxWebhook)

func (c *Caller) post(ctx context.Context, w call) error {
	if len(w.Payload) > maxWebhook {
		return errWebhookSize
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(w.Payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", w.Key.String())
	req.Header.Set(SignatureHeader, Signature(c.secret, c.clock.Now(), w.Payload))
	req.Header.Set("User-Agent", "lianke")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode >= 300 {
		return fmt.Errorf("answer %s", res.Status)
	}
	return nil
}

// Run delivers until ctx ends.
func (c *Caller) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if n, err := c.Deliver(ctx); n == 0 || err != nil {
			sleep(ctx, time.Second)
		}
	}
	return nil
}
