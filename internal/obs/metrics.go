package obs

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lianke/lianke/internal/loops"
)

// Metrics is the process's registry. Modules register what they count with Registry.
type Metrics struct {
	Registry *prometheus.Registry

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// NewMetrics returns a registry with the figures of the Go runtime, the process and HTTP.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lianke_http_requests_total", Help: "Requests by route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lianke_http_request_seconds", Help: "Time to answer by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lianke_http_requests_in_flight", Help: "Requests being answered.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lianke_build_info", Help: "Always 1; the version is the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.Registry.MustRegister(m.requests, m.seconds, m.inFlight, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// HTTP counts and times the requests that next answers and tells log of each at level debug, by the pattern of the mux,
// never by the path or query: they hold ids and what people searched for, and would make series without end.
func (m *Metrics) HTTP(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		route := r.Pattern // set by the mux
		if _, path, ok := strings.Cut(route, " "); ok {
			route = path
		}
		if route == "" {
			route = "none"
		}
		m.requests.WithLabelValues(method(r.Method), route, strconv.Itoa(sw.status)).Inc()
		took := time.Since(began)
		m.seconds.WithLabelValues(method(r.Method), route).Observe(took.Seconds())
		log.DebugContext(r.Context(), "answered", "method", method(r.Method), "route", route, "status", sw.status,
			"ms", float64(took.Microseconds())/1000)
	})
}

// method bounds the label: a client may send any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	default:
		return "other"
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WatchPool adds the figures of a database pool.
func (m *Metrics) WatchPool(stat func() *pgxpool.Stat) {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lianke_db_" + name, Help: help},
			func() float64 { return value(stat()) }))
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "lianke_db_" + name, Help: help},
			func() float64 { return value(stat()) }))
	}
	gauge("connections", "Open connections.", func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) })
	gauge("connections_in_use", "Connections in use.", func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) })
	gauge("connections_max", "Most connections the pool opens.", func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) })
	counter("acquires_total", "Connections taken from the pool.", func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) })
	counter("acquire_waits_total", "Acquires that had to wait.", func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) })
	counter("acquire_seconds_total", "Time spent waiting for connections.", func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() })
}

// WatchLoops adds the figures of the loops.
func (m *Metrics) WatchLoops(states func() []loops.State) {
	m.Registry.MustRegister(loopCollector{states})
}

type loopCollector struct{ states func() []loops.State }

var (
	loopRunning  = prometheus.NewDesc("lianke_loop_running", "1 while the loop runs, 0 while it waits to be started again.", []string{"role", "loop"}, nil)
	loopRestarts = prometheus.NewDesc("lianke_loop_restarts_total", "How often the loop failed and was started again.", []string{"role", "loop"}, nil)
)

// Describe implements prometheus.Collector.
func (c loopCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- loopRunning
	ch <- loopRestarts
}

// Collect implements prometheus.Collector.
func (c loopCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.states() {
		running := 0.0
		if s.Running {
			running = 1
		}
		ch <- prometheus.MustNewConstMetric(loopRunning, prometheus.GaugeValue, running, s.Role, s.Name)
		ch <- prometheus.MustNewConstMetric(loopRestarts, prometheus.CounterValue, float64(s.Restarts), s.Role, s.Name)
	}
}
