package obs

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lianke/lianke/internal/loops"
)

// Health is what /readyz asks.
type Health struct {
	Database func(ctx context.Context) error
	Redis    func(ctx context.Context) (off bool, err error)
	Loops    func() []loops.State

	stopping atomic.Bool
}

// Stopping makes the process unready, so that it is given no more work.
func (h *Health) Stopping() { h.stopping.Store(true) }

// Report is the body of /readyz.
type Report struct {
	Ready    bool          `json:"ready"`
	Stopping bool          `json:"stopping,omitempty"`
	Database string        `json:"database"`
	Redis    string        `json:"redis"`
	Loops    []loops.State `json:"loops"`
}

// Check asks everything, for at most two seconds.
func (h *Health) Check(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r := Report{Ready: true, Stopping: h.stopping.Load(), Database: "ok", Redis: "ok", Loops: h.Loops()}
	if r.Stopping {
		r.Ready = false
	}
	if err := h.Database(ctx); err != nil {
		r.Ready, r.Database = false, "unreachable"
	}
	if off, err := h.Redis(ctx); off {
		r.Redis = "off"
	} else if err != nil {
		r.Redis = "unreachable"
	}
	for _, l := range r.Loops {
		if !l.Running && l.Restarts == 0 {
			r.Ready = false // not started yet
		}
	}
	return r
}

// AdminHandler serves health, metrics and profiles.
func AdminHandler(h *Health, m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report := h.Check(r.Context())
		w.Header().Set("Content-Type", "application/json")
		if !report.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
