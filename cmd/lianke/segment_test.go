package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// A mistyped activity key counts nothing; the command line and the API say so, and go on.
func TestMistypedRuleWarns(t *testing.T) {
	t.Parallel()
	const rule = `{"not":{"event":"oder_paid"}}`
	path := filepath.Join(t.TempDir(), "rule.json")
	require.NoError(t, os.WriteFile(path, []byte(rule), 0o600))
	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	_, code := harness.Run(t, o, "migrate")
	require.Zero(t, code)
	for _, word := range []string{"count", "members", "explain"} {
		p, code := harness.Run(t, o, "segment", word, "--rule", path, "--json")
		require.Zero(t, code, p.Log())
		require.Contains(t, p.Log(), "not.event: warning: no activity oder_paid was ever logged: the condition counts none → did you mean order_paid?")
		var out struct{ Warnings []fault.Field }
		p.JSON(&out)
		require.Len(t, out.Warnings, 1)
		require.Equal(t, "not.event", out.Warnings[0].Path)
	}

	a := wired(t)
	hq := as(t, a, auth.RoleMarketer, "")
	for _, c := range []struct{ path, body string }{
		{"/api/v1/segment-preview", `{"rule":` + rule + `}`},
		{"/api/v1/segments", `{"code":"x","name":"x","rule":` + rule + `}`},
	} {
		w := request(t, a.api.Handler(), http.MethodPost, c.path, hq, c.body)
		require.Less(t, w.Code, 300, w.Body)
		require.Contains(t, w.Body.String(), "did you mean order_paid?")
	}
}
