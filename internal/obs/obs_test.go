package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/loops"
	"github.com/lianke/lianke/internal/obs"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var dbErr, redisErr error
	states := []loops.State{{Role: "send", Name: "sender"}}
	h := &obs.Health{
		Database: func(context.Context) error { return dbErr },
		Redis:    func(context.Context) (bool, error) { return false, redisErr },
		Loops:    func() []loops.State { return states },
	}
	admin := obs.AdminHandler(h, obs.NewMetrics("test"))

	status, _ := get(t, admin, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status, "a loop has not started")
	states[0].Running = true
	status, _ = get(t, admin, "/readyz")
	require.Equal(t, http.StatusOK, status)

	redisErr = errors.New("redis password is hunter2")
	states[0] = loops.State{Role: "send", Name: "sender", Restarts: 3, Error: "secret"}
	status, body := get(t, admin, "/readyz")
	require.Equal(t, http.StatusOK, status, "slower is not unready")
	require.Contains(t, body, `"redis":"unreachable"`)
	require.Contains(t, body, `"restarts":3`)
	require.NotContains(t, body, "hunter2")
	require.NotContains(t, body, "secret")

	dbErr = errors.New("gone")
	status, _ = get(t, admin, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	dbErr = nil
	h.Stopping()
	status, _ = get(t, admin, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = get(t, admin, "/healthz")
	require.Equal(t, http.StatusOK, status)
}

func TestMetricsNameTheRouteNotThePath(t *testing.T) {
	t.Parallel()
	m := obs.NewMetrics("test")
	m.WatchLoops(func() []loops.State { return []loops.State{{Role: "send", Name: "sender", Running: true, Restarts: 2}} })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /members/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	var log bytes.Buffer
	h := m.HTTP(obs.Logger(&log, slog.LevelDebug, "json"), mux)
	get(t, h, "/members/4711?q=secret")
	get(t, h, "/nowhere")
	_, text := get(t, obs.AdminHandler(&obs.Health{}, m), "/metrics")
	require.Contains(t, text, `lianke_http_requests_total{method="GET",route="/members/{id}",status="418"} 1`)
	require.Contains(t, text, `lianke_http_requests_total{method="GET",route="none",status="404"} 1`)
	require.Contains(t, text, `lianke_loop_restarts_total{loop="sender",role="send"} 2`)
	require.NotContains(t, text, "4711")
	require.Contains(t, log.String(), `"route":"/members/{id}","status":418`)
	require.NotContains(t, log.String(), "4711")
	require.NotContains(t, log.String(), "secret")
}

func TestLoggerFormats(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	obs.Logger(&out, slog.LevelInfo, "json").Info("hello", "n", 1)
	require.True(t, json.Valid(out.Bytes()))
	out.Reset()
	obs.Logger(&out, slog.LevelWarn, "text").Info("hello")
	require.Empty(t, out.String())
}
