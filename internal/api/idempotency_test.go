package api_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

var errSoldOut = fault.New(fault.Precondition, "thing.sold_out", "售罄", "sold out")

// counter is an operation that counts its runs; hold, if set, is waited for inside a run.
type counter struct {
	mu      sync.Mutex
	runs    int
	refuse  bool
	entered chan struct{}
	hold    chan struct{}
}

type countIn struct {
	Body struct {
		Phone string `json:"phone"`
	}
}

type countOut struct {
	Body struct {
		Runs  int    `json:"runs"`
		Phone string `json:"phone"`
	}
}

func (c *counter) run(_ context.Context, in *countIn) (*countOut, error) {
	c.mu.Lock()
	c.runs++
	out := &countOut{}
	out.Body.Runs, out.Body.Phone = c.runs, in.Body.Phone
	refuse := c.refuse
	c.mu.Unlock()
	if c.hold != nil {
		c.entered <- struct{}{}
		<-c.hold
	}
	if refuse {
		return nil, errSoldOut
	}
	return out, nil
}

func keeping(t *testing.T, db pg.DB, clk clock.Clock, c *counter) (http.Handler, *api.Idempotency) {
	key := sha256.Sum256([]byte("test"))
	ring, err := crypt.New(key[:])
	require.NoError(t, err)
	answers := api.NewIdempotency(db, clk, ring)
	a := api.New("test", byHeader{}, slog.New(slog.DiscardHandler))
	api.Add(a, api.Op{ID: "count-things", Method: http.MethodPost, Path: "/api/v1/things", Tag: "things", Summary: "Count", Roles: []auth.Role{auth.RoleMarketer}, Status: http.StatusCreated}, c.run)
	a.KeepAnswers(answers)
	return a.Handler(), answers
}

func post(t *testing.T, h http.Handler, key, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/things", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Role", "marketer")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRepeatedRequestsGetTheFirstAnswer(t *testing.T) {
	t.Parallel()
	db, clk, c := pgtest.DB(t), clock.NewVirtual(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)), &counter{}
	h, answers := keeping(t, db, clk, c)
	const body = `{"phone":"13800138001"}`

	first := post(t, h, "k1", body)
	require.Equal(t, http.StatusCreated, first.Code, first.Body)
	require.Empty(t, first.Header().Get("Idempotency-Replayed"))
	again := post(t, h, "k1", body)
	require.Equal(t, http.StatusCreated, again.Code)
	require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Equal(t, first.Header().Get("Content-Type"), again.Header().Get("Content-Type"))
	require.Equal(t, 1, c.runs)

	other := post(t, h, "k1", `{"phone":"13800138002"}`)
	require.Equal(t, http.StatusConflict, other.Code)
	require.Contains(t, other.Body.String(), "api.idempotency_mismatch")
	require.Equal(t, http.StatusCreated, post(t, h, "k2", body).Code)
	require.Equal(t, http.StatusCreated, post(t, h, "", body).Code)
	require.Equal(t, 3, c.runs)
	require.Contains(t, post(t, h, "a b", body).Body.String(), "api.idempotency_key")
	require.Contains(t, post(t, h, strings.Repeat("k", 201), body).Body.String(), "api.idempotency_key")
	require.Equal(t, http.StatusRequestEntityTooLarge, post(t, h, "k3", strings.Repeat("x", 2<<20)).Code)

	// What is kept does not show the key, the phone or the answer.
	var text string
	require.NoError(t, db.QueryRow(t.Context(), `SELECT string_agg(encode(response, 'escape') || encode(key, 'escape') || encode(input, 'escape'), '') FROM core.idempotency`).Scan(&text))
	require.NotContains(t, text, "13800138001")
	require.NotContains(t, text, "runs")

	// A day later the key is free again, and the answers go.
	clk.Advance(24 * time.Hour)
	require.NoError(t, answers.Forget(t.Context()))
	var left int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM core.idempotency`).Scan(&left))
	require.Zero(t, left)
	require.Empty(t, post(t, h, "k1", body).Header().Get("Idempotency-Replayed"))
	clk.Advance(24 * time.Hour)
	require.Empty(t, post(t, h, "k1", body).Header().Get("Idempotency-Replayed"), "also before they go")
	require.Equal(t, 5, c.runs)
}

func TestRefusalsAreNotKept(t *testing.T) {
	t.Parallel()
	c := &counter{refuse: true}
	h, _ := keeping(t, pgtest.DB(t), clock.System{}, c)
	require.Equal(t, http.StatusPreconditionFailed, post(t, h, "k", `{}`).Code)
	require.Equal(t, http.StatusUnprocessableEntity, post(t, h, "k", `{"x":1}`).Code)
	c.refuse = false
	require.Equal(t, http.StatusCreated, post(t, h, "k", `{}`).Code)
}

func TestConcurrentRequestsRunOnce(t *testing.T) {
	t.Parallel()
	c := &counter{entered: make(chan struct{}, 64), hold: make(chan struct{})}
	db, clk := pgtest.DB(t), clock.NewVirtual(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	h, _ := keeping(t, db, clk, c)
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- post(t, h, "k", `{}`) }()
	<-c.entered

	// While the first is at work, none of the others runs.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			w := post(t, h, "k", `{}`)
			if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "api.idempotency_running") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	// One that stays without an answer for minutes lost its process: it is not run again.
	clk.Advance(6 * time.Minute)
	require.Contains(t, post(t, h, "k", `{}`).Body.String(), "api.idempotency_unknown")

	close(c.hold)
	require.Equal(t, http.StatusCreated, (<-first).Code)
	require.Equal(t, "true", post(t, h, "k", `{}`).Header().Get("Idempotency-Replayed"))
	require.Equal(t, 1, c.runs)

	// Many at once from the start: one run, and everybody else waits or gets its answer.
	fresh := &counter{}
	h, _ = keeping(t, db, clk, fresh)
	for range 16 {
		wg.Go(func() {
			if w := post(t, h, "k2", `{}`); w.Code != http.StatusCreated && w.Code != http.StatusConflict {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, fresh.runs)
}
