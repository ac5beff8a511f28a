package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// Idempotency makes POST requests with an Idempotency-Key harmless to repeat: the first one runs, the others get its
// answer. Only successes are kept, because a refusal changed nothing. A request whose process died in the middle is never
// run again under its key: nobody knows what it did.
type Idempotency struct {
	db    pg.DB
	clock clock.Clock
	ring  *crypt.Ring
}

// NewIdempotency keeps answers in core.idempotency, sealed by the ring.
func NewIdempotency(db pg.DB, clk clock.Clock, ring *crypt.Ring) *Idempotency {
	return &Idempotency{db: db, clock: clk, ring: ring}
}

// KeepAnswers turns Idempotency-Key on for all POST operations with an actor.
func (a *API) KeepAnswers(i *Idempotency) { a.answers = i }

const (
	idempotencyHeader = "Idempotency-Key"
	answersKept       = 24 * time.Hour
	maxIdempotencyKey = 200
	// requestsEnd is after how long a request without an answer counts as lost with its process.
	requestsEnd = 5 * time.Minute
	forgetBatch = 5_000
)

// Errors of requests with an Idempotency-Key.
var (
	ErrIdempotencyKey = fault.New(fault.Invalid, "api.idempotency_key", "Idempotency-Key 无效", "the Idempotency-Key is not valid").
				WithHint("请使用 1 到 200 个可见 ASCII 字符", "use 1 to 200 visible ASCII characters")
	ErrIdempotencyMismatch = fault.New(fault.Conflict, "api.idempotency_mismatch", "此 Idempotency-Key 已用于另一内容的请求",
		"this Idempotency-Key was used for a request with other content").
		WithHint("新的请求请换一个 Idempotency-Key", "give a new request a new Idempotency-Key")
	ErrIdempotencyRunning = fault.New(fault.Conflict, "api.idempotency_running", "同一请求正在处理", "the same request is at work").
				WithHint("请稍后用同一 Idempotency-Key 再试,将得到它的结果", "try again shortly with the same key to get its answer")
	ErrIdempotencyUnknown = fault.New(fault.Conflict, "api.idempotency_unknown", "上一次请求中断,结果未知", "the request was cut off and its outcome is unknown").
				WithHint("请先核对数据,确需再做时换一个 Idempotency-Key", "look at the data first; to do it again, use a new Idempotency-Key")
)

// idempotent answers a repeated request, or runs the operation and keeps its answer. It runs behind requireRole.
func (a *API) idempotent(op Op) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		key := hc.Header(idempotencyHeader)
		if a.answers == nil || key == "" {
			next(hc)
			return
		}
		r, w := humago.Unwrap(hc)
		if err := a.answers.serve(hc, op, key, r, w, next); err != nil {
			if NewProblem(err).Status >= http.StatusInternalServerError {
				a.log.ErrorContext(hc.Context(), "idempotency failed", "operation", op.ID, "error", err)
			}
			WriteProblem(w, err)
		}
	}
}

// request is one request with a key, as the table knows it.
type request struct {
	actor     id.UUID
	operation string
	key       [16]byte
	input     [16]byte
}

func (q request) args() pg.Args {
	return pg.Args{"actor": q.actor, "operation": q.operation, "key": q.key[:]}
}

func (i *Idempotency) serve(hc huma.Context, op Op, key string, r *http.Request, w http.ResponseWriter, next func(huma.Context)) error {
	ctx := hc.Context()
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	if !visible(key) {
		return ErrIdempotencyKey
	}
	limit := op.MaxBody
	if limit == 0 {
		limit = defaultMaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errTooLarge
		}
		return errMalformed.Because(err)
	}
	q := request{
		actor: actor.ID, operation: op.ID, key: i.ring.Token("idempotency key", key),
		input: i.ring.Token("idempotency input", key+"\n"+r.URL.RequestURI()+"\n"+string(body)),
	}
	kept, mine, err := i.begin(ctx, q)
	if err != nil {
		return err
	}
	if !mine {
		w.Header().Set("Idempotency-Replayed", "true")
		kept.write(w)
		return nil
	}

	// The request may outlive its client, and what becomes of it must be written in any case.
	after := context.WithoutCancel(ctx)
	done := false
	defer func() {
		if !done {
			_ = i.release(after, q) // a panic: the transaction was rolled back
		}
	}()
	rec := &recorder{header: w.Header().Clone(), status: http.StatusOK}
	inner := r.Clone(ctx)
	inner.Body = io.NopCloser(bytes.NewReader(body))
	next(humago.NewContext(hc.Operation(), inner, rec))
	got := answer{Status: rec.status, ContentType: rec.header.Get("Content-Type"), Body: rec.body.Bytes()}
	done = true
	if got.Status >= 300 {
		err = i.release(after, q)
	} else {
		err = i.finish(after, q, got)
	}
	if err != nil {
		return err
	}
	for name, values := range rec.header {
		w.Header()[name] = values
	}
	got.write(w)
	return nil
}

func visible(key string) bool {
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= maxIdempotencyKey
}

// beginSQL takes the key unless it is taken; an expired row counts as gone.
const beginSQL = `
INSERT INTO core.idempotency AS i (actor, operation, key, input, created_at, expires_at)
VALUES (@actor, @operation, @key, @input, @now, @expires)
ON CONFLICT ON CONSTRAINT idempotency_pkey DO UPDATE
    SET input = excluded.input, status = NULL, seal_key = NULL, response = NULL,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE i.expires_at <= @now`

const keptSQL = `
SELECT input, status, seal_key, response, created_at
FROM core.idempotency
WHERE actor = @actor AND operation = @operation AND key = @key`

// begin reports whether the request is ours to run; if not, it returns the answer of the one that ran.
func (i *Idempotency) begin(ctx context.Context, q request) (kept answer, mine bool, err error) {
	now := i.clock.Now()
	args := q.args()
	args["input"], args["now"], args["expires"] = q.input[:], now, now.Add(answersKept)
	tag, err := i.db.Exec(ctx, beginSQL, args)
	if err != nil {
		return answer{}, false, fmt.Errorf("take idempotency key: %w", err)
	}
	if tag.RowsAffected() == 1 {
		return answer{}, true, nil
	}
	var input, sealKey, sealed []byte
	var status *int
	var since time.Time
	err = i.db.QueryRow(ctx, keptSQL, q.args()).Scan(&input, &status, &sealKey, &sealed, &since)
	switch {
	case pg.NoRows(err):
		return answer{}, false, ErrIdempotencyRunning // it was refused just now; the next attempt may run
	case err != nil:
		return answer{}, false, fmt.Errorf("read kept answer: %w", err)
	case !bytes.Equal(input, q.input[:]):
		return answer{}, false, ErrIdempotencyMismatch
	case status == nil && now.Sub(since) < requestsEnd:
		return answer{}, false, ErrIdempotencyRunning
	case status == nil:
		return answer{}, false, ErrIdempotencyUnknown
	}
	box, err := i.ring.Unwrap(0, sealKey)
	if err != nil {
		return answer{}, false, fmt.Errorf("open kept answer: %w", err)
	}
	text, err := box.Open("answer", sealed)
	if err != nil {
		return answer{}, false, fmt.Errorf("open kept answer: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return answer{}, false, fmt.Errorf("read kept answer: %w", err)
	}
	return kept, false, nil
}

const finishSQL = `
UPDATE core.idempotency
SET status = @status, seal_key = @seal_key, response = @response
WHERE actor = @actor AND operation = @operation AND key = @key`

func (i *Idempotency) finish(ctx context.Context, q request, got answer) error {
	text, err := json.Marshal(got)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	box, wrapped := i.ring.NewKey(0)
	args := q.args()
	args["status"], args["seal_key"], args["response"] = got.Status, wrapped, box.Seal("answer", string(text))
	if _, err := i.db.Exec(ctx, finishSQL, args); err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return nil
}

const releaseSQL = `
DELETE FROM core.idempotency
WHERE actor = @actor AND operation = @operation AND key = @key AND status IS NULL`

func (i *Idempotency) release(ctx context.Context, q request) error {
	if _, err := i.db.Exec(ctx, releaseSQL, q.args()); err != nil {
		return fmt.Errorf("release idempotency key: %w", err)
	}
	return nil
}

const forgetAnswersSQL = `
DELETE FROM core.idempotency
WHERE (actor, operation, key) IN (
    SELECT actor, operation, key
    FROM core.idempotency
    WHERE expires_at <= @now
    ORDER BY expires_at
    LIMIT @batch
)`

// Forget removes expired answers, in batches.
func (i *Idempotency) Forget(ctx context.Context) error {
	for {
		tag, err := i.db.Exec(ctx, forgetAnswersSQL, pg.Args{"now": i.clock.Now(), "batch": forgetBatch})
		if err != nil {
			return fmt.Errorf("forget kept answers: %w", err)
		}
		if tag.RowsAffected() < forgetBatch {
			return nil
		}
	}
}

// answer is what a client got.
type answer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        []byte `json:"body,omitempty"`
}

func (a answer) write(w http.ResponseWriter) {
	if a.ContentType != "" {
		w.Header().Set("Content-Type", a.ContentType)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may be gone
}

// recorder collects an answer until it is kept: a client must not read an answer that a repetition would not give it.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.wrote = true
	return r.body.Write(p)
}
