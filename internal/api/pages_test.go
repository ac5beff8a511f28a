package api_test

import (
	"log/slog"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/api"
)

func TestPagesLoadNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	a := api.New("test", byHeader{}, slog.New(slog.DiscardHandler))
	a.Pages(api.Facts{Version: "v1", Roles: []string{"api", "jobs"}, AdminAddr: "0.0.0.0:8081"})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		return w
	}
	source := regexp.MustCompile(`(?:src|href)="([^"#]+)"`)
	for _, page := range []string{"/", "/docs"} {
		w := get(page)
		require.Equal(t, 200, w.Code, page)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'self'")
		require.NotRegexp(t, `<script>|style="|\son\w+="`, w.Body.String(), "the policy forbids inline code")
		for _, m := range source.FindAllStringSubmatch(w.Body.String(), -1) {
			if m[1] == "http://127.0.0.1:8081/healthz" {
				continue
			}
			require.Equal(t, 200, get(m[1]).Code, "%s links %s", page, m[1])
		}
	}
	require.Contains(t, get("/").Body.String(), "jobs")
	require.Equal(t, 404, get("/nothing").Code)
	require.Equal(t, 404, get("/docs/nothing").Code)
	a = api.New("test", byHeader{}, slog.New(slog.DiscardHandler))
	a.Pages(api.Facts{AdminAddr: "off"})
	require.NotContains(t, get("/").Body.String(), "healthz")
}
