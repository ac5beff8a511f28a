package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/harness"
)

// receiver is an OpenTelemetry collector as far as OTLP over HTTP goes.
type receiver struct {
	mu    sync.Mutex
	paths []string
	raw   bytes.Buffer
	spans []*tracepb.Span
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &in)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = append(c.paths, r.URL.Path)
	c.raw.WriteString(in.String())
	for _, resource := range in.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *receiver) named(name string) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.spans, func(s *tracepb.Span) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return c.spans[i]
}

// Traces of requests reach a collector: the route as the name, the statements below it, and nothing of the persons whom the
// requests were about, nor of the secrets that they carried.
func TestTracesReachACollectorWithoutPersonalData(t *testing.T) {
	t.Parallel()
	a := wired(t)
	c := &receiver{}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	p := harness.Start(t, harness.Options{
		DatabaseURL: a.databaseURL, DataDir: a.cfg.DataDir, Roles: []string{"api", "ingest"},
		Env: []string{"LIANKE_OTLP_ENDPOINT=" + srv.URL, "LIANKE_TRACE_SAMPLE=1"},
	})
	id := memberAt(t, a, "S1", "1001")
	key := as(t, a, auth.RoleAgent, "")
	_, write, err := a.auth.CreateKey(t.Context(), auth.System, auth.CreateKeyInput{Kind: auth.KeyWrite, Name: "shop", Source: "shop", PerSecond: 100})
	require.NoError(t, err)
	call := func(method, path, secret, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Addr+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		if strings.HasPrefix(path, "/v1/") {
			req.SetBasicAuth(secret, "")
		} else if secret != "" {
			req.Header.Set("Authorization", "Bearer "+secret)
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	call("GET", "/api/v1/members?q=13800131001", key, "")
	call("GET", "/api/v1/members/"+id+"/timeline", key, "")
	call("POST", "/api/v1/session", "", `{"login":"wang","password":"hunter2-hunter2"}`)
	call("POST", "/v1/identify", write, `{"userId":"u1","traits":{"name":"王小明","phone":"13800131009","email":"wang@example.com"}}`)
	call("POST", "/callbacks/sms/main/secret-callback-token/reports", "", `[]`)
	call("GET", "/u/secret-unsubscribe-token", "", "")
	p.Stop() // flushes
	require.Zero(t, p.Wait(harness.Deadline))

	for _, path := range c.paths {
		require.Equal(t, "/v1/traces", path)
	}
	for _, name := range []string{"GET /api/v1/members", "GET /api/v1/members/{id}/timeline", "POST /api/v1/session", "POST /v1/identify", "GET /u/{token}"} {
		require.NotNil(t, c.named(name), "no span %q among %v", name, c.names())
	}
	find := c.named("GET /api/v1/members")
	require.Equal(t, tracepb.Span_SPAN_KIND_SERVER, find.Kind)
	require.True(t, slices.ContainsFunc(c.spans, func(s *tracepb.Span) bool {
		return bytes.Equal(s.TraceId, find.TraceId) && bytes.Equal(s.ParentSpanId, find.SpanId) && s.Kind == tracepb.Span_SPAN_KIND_CLIENT
	}), "its statements are part of the trace")
	text := c.raw.String()
	require.Contains(t, text, "lianke")
	for _, secret := range []string{
		"13800131001", "1001\"", "王小明", "13800131009", "wang@example.com", "hunter2", key, write, "secret-callback-token", "secret-unsubscribe-token",
	} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s stands in the trace: …%s…", secret, text[max(0, i-300):min(len(text), i+100)])
		}
	}
}

func (c *receiver) names() (out []string) {
	for _, s := range c.spans {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
