package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// wired is the whole program on a database of the test's own, without loops and listeners.
func wired(t *testing.T) *app {
	t.Helper()
	cfg, err := config.Load([]string{"LIANKE_DATABASE_URL=" + pgtest.URL(t), "LIANKE_REDIS_URL=off"}, t.TempDir())
	require.NoError(t, err)
	a := newApp(console{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, cfg)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	require.NoError(t, a.openStores(t.Context(), embedded.Options{}))
	require.NoError(t, a.wire(t.Context()))
	return a
}

// as returns the secret of an API key with a role at an org unit; "" is the whole brand.
func as(t *testing.T, a *app, role auth.Role, unit string) string {
	t.Helper()
	_, secret, err := a.auth.CreateKey(t.Context(), auth.System, auth.CreateKeyInput{
		Kind: auth.KeyAPI, Name: string(role), Source: "test", Roles: []auth.Role{role}, Org: unit, PerSecond: 100_000,
	})
	require.NoError(t, err)
	return secret
}

func request(t *testing.T, h http.Handler, method, path, secret, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// Every operation refuses who is not signed in and every role that is not named in its declaration, and lets in every role
// that is.
func TestEveryOperationChecksItsRoles(t *testing.T) {
	t.Parallel()
	a := wired(t)
	h := a.api.Handler()
	secrets := map[auth.Role]string{}
	for _, role := range auth.Roles {
		secrets[role] = as(t, a, role, "")
	}
	ops := a.api.Ops()
	require.Greater(t, len(ops), 60)
	for _, op := range ops {
		path := placeholder.ReplaceAllString(op.Path, "0")
		body := ""
		if op.Method != http.MethodGet && op.Method != http.MethodDelete {
			body = "no JSON" // whoever is let in is stopped here, before anything happens
		}
		anonymous := request(t, h, op.Method, path, "", body)
		if op.Public {
			require.NotEqual(t, http.StatusForbidden, anonymous.Code, op.ID)
			continue
		}
		require.Equal(t, http.StatusUnauthorized, anonymous.Code, op.ID)
		require.Equal(t, http.StatusUnauthorized, request(t, h, op.Method, path, "lk_api_wrong", body).Code, op.ID)
		for _, role := range auth.Roles {
			w := request(t, h, op.Method, path, secrets[role], body)
			if role == auth.RoleAdmin || slices.Contains(op.Roles, role) {
				require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, w.Code, "%s as %s: %s", op.ID, role, w.Body)
				require.Less(t, w.Code, http.StatusInternalServerError, "%s as %s: %s", op.ID, role, w.Body)
				continue
			}
			require.Equal(t, http.StatusForbidden, w.Code, "%s as %s", op.ID, role)
			require.Contains(t, w.Body.String(), "auth.forbidden", op.ID)
		}
	}
}

// A process answers for its roles only: the tracking API and the callbacks can stand in front of the internet without the
// operations behind them.
func TestRoutesAreMountedByRole(t *testing.T) {
	t.Parallel()
	a := wired(t)
	routes := map[string][][2]string{
		"api": {{"GET", "/"}, {"GET", "/docs"}, {"GET", "/openapi.json"}, {"GET", "/api/v1/segments"}, {"POST", "/api/v1/session"}},
		"ingest": {
			{"POST", "/v1/track"}, {"OPTIONS", "/v1/batch"}, {"POST", "/callbacks/wechat/oa"}, {"POST", "/callbacks/sms/main/token/reports"},
			{"GET", "/t/token"}, {"GET", "/o/token"}, {"GET", "/u/token"}, {"POST", "/u/token"},
		},
	}
	const elsewhere = "api.other_role"
	for owner, list := range routes {
		for _, roles := range [][]string{{"api"}, {"ingest"}, {"chat"}, {"api", "ingest"}, {"jobs", "ingest"}, config.Roles, nil} {
			h := a.api.Handler(roles...)
			for _, route := range list {
				body := request(t, h, route[0], route[1], "", "").Body.String()
				if roles == nil || slices.Contains(roles, owner) {
					require.NotContains(t, body, elsewhere, "%s %s of %v", route[0], route[1], roles)
					require.NotContains(t, body, "api.not_found", "%s %s of %v", route[0], route[1], roles)
					continue
				}
				require.Contains(t, body, elsewhere, "%s %s of %v", route[0], route[1], roles)
				require.Contains(t, body, "--roles "+owner, "%s %s of %v", route[0], route[1], roles)
			}
		}
	}
	// No other address of an operation answers without the role.
	for _, op := range a.api.Ops() {
		w := request(t, a.api.Handler("ingest"), op.Method, placeholder.ReplaceAllString(op.Path, "0"), "", "")
		require.Contains(t, w.Body.String(), elsewhere, op.ID)
	}
	require.Contains(t, request(t, a.api.Handler(), "GET", "/nowhere", "", "").Body.String(), "api.not_found")
}

// scoped are the operations on one member; ID stands for it.
var scoped = []struct {
	method, path, body string
}{
	{"GET", "/api/v1/members/ID/identity", ""},
	{"GET", "/api/v1/members/ID/identity/explain?other=ID", ""},
	{"POST", "/api/v1/members/ID/merge", `{"other":"ID","reason":"x"}`},
	{"POST", "/api/v1/members/ID/split", `{"births":["ID"],"reason":"x"}`},
	{"POST", "/api/v1/members/ID/identity/revoke", `{"evidence":"1","reason":"x"}`},
	{"POST", "/api/v1/members/ID/identity/release", `{"reason":"x"}`},
	{"GET", "/api/v1/members/ID/timeline", ""},
	{"GET", "/api/v1/members/ID/points", ""},
	{"GET", "/api/v1/members/ID/point-lots", ""},
	{"GET", "/api/v1/members/ID/tiers", ""},
	{"POST", "/api/v1/members/ID/points/grant", `{"programme":"points","points":1,"reason":"x"}`},
	{"POST", "/api/v1/members/ID/points/spend", `{"programme":"points","points":1,"reason":"x"}`},
	{"GET", "/api/v1/members/ID/coupons", ""},
	{"POST", "/api/v1/members/ID/coupons", `{"template":"tea","reason":"x"}`},
	{"GET", "/api/v1/members/ID/journeys", ""},
	{"GET", "/api/v1/members/ID/segments", ""},
	{"GET", "/api/v1/segments/everybody/members/ID", ""},
}

// Operators of one store, and associates without members of their own, get nothing of a member of another store: lists are
// empty, and the member does not exist.
func TestScopeHidesOtherStores(t *testing.T) {
	t.Parallel()
	a := wired(t)
	h := a.api.Handler()
	theirs := memberAt(t, a, "S2", "2001")
	ours := memberAt(t, a, "S1", "1001")
	hq := as(t, a, auth.RoleMarketer, "")
	require.Equal(t, http.StatusCreated, request(t, h, "POST", "/api/v1/segments", hq,
		`{"code":"everybody","name":"all","rule":{"attr":"home_store","op":"exists","value":true}}`).Code)

	for _, role := range auth.Roles {
		for unit, seen := range map[string][]string{"": {theirs, ours}, "S1": {ours}} {
			if role == auth.RoleAssociate {
				seen = nil // neither is assigned to anybody
			}
			secret := as(t, a, role, unit)
			for _, list := range []string{"/api/v1/members?q=13800132001", "/api/v1/members", "/api/v1/segments/everybody/members", "/api/v1/messages"} {
				w := request(t, h, "GET", list, secret, "")
				if w.Code == http.StatusForbidden {
					continue
				}
				require.Equal(t, http.StatusOK, w.Code, "%s as %s: %s", list, role, w.Body)
				for _, id := range []string{theirs, ours} {
					if !slices.Contains(seen, id) {
						require.NotContains(t, w.Body.String(), `"`+id+`"`, "%s as %s of %q", list, role, unit)
					}
				}
				if slices.Contains(seen, theirs) && strings.Contains(list, "?q=") {
					require.Contains(t, w.Body.String(), `"`+theirs+`"`, "%s as %s of %q", list, role, unit)
				}
				if list == "/api/v1/members" {
					for _, id := range seen {
						require.Contains(t, w.Body.String(), `"`+id+`"`, "%s as %s of %q", list, role, unit)
					}
				}
			}
		}
		secret := as(t, a, role, "S1")
		for _, s := range scoped {
			target := strings.ReplaceAll(s.path, "ID", theirs)
			w := request(t, h, s.method, target, secret, strings.ReplaceAll(s.body, "ID", theirs), "Idempotency-Key", "k-"+target)
			require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, w.Code, "%s %s as %s: %s", s.method, s.path, role, w.Body)
		}
	}
	started := request(t, h, "POST", "/api/v1/journeys/welcome/runs", as(t, a, auth.RoleMarketer, "S1"), `{"members":["`+theirs+`"]}`, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusNotFound, started.Code, started.Body)
	require.Contains(t, started.Body.String(), "journey.no_member")
}

// Every operation on a member by path stands in the table above, so that a new one is not forgotten.
func TestEveryMemberOperationIsInTheScopeTest(t *testing.T) {
	t.Parallel()
	a := wired(t)
	elsewhere := []string{
		"reveal-member-data", // needs the right to reveal, which no key has
		"erase-member",       // admin, who sees the brand
	}
	for _, op := range a.api.Ops() {
		if !strings.HasPrefix(op.Path, "/api/v1/members/{") || slices.Contains(elsewhere, op.ID) {
			continue
		}
		path := placeholder.ReplaceAllString(op.Path, "ID")
		found := false
		for _, s := range scoped {
			p, _, _ := strings.Cut(s.path, "?")
			found = found || s.method == op.Method && p == path
		}
		require.True(t, found, "%s %s is not in the scope test", op.Method, op.Path)
	}
}

// memberAt makes a member whose home is the store and returns its id.
func memberAt(t *testing.T, a *app, store, source string) string {
	t.Helper()
	var id string
	require.NoError(t, pg.InTx(t.Context(), a.db, func(tx pgx.Tx) error {
		if _, err := org.Ensure(t.Context(), tx, []string{store}, org.KindStore, a.clock.Now()); err != nil {
			return err
		}
		now := a.clock.Now()
		got, err := a.door.Observe(t.Context(), tx, []capture.Person{{
			Keys: []identity.Key{
				{NS: identity.NSSource, Scope: "pos", Value: source}, {NS: identity.NSPhone, Value: "1380013" + source},
			},
			Attrs: map[string]any{"home_store": store}, Source: "pos", At: now, RegisteredAt: now,
		}})
		if err == nil {
			id = got[0].Root.String()
		}
		return err
	}))
	return id
}

// The document says of every operation what people need to call it.
func TestOpenAPIIsComplete(t *testing.T) {
	t.Parallel()
	a := wired(t)
	text, err := a.api.OpenAPI()
	require.NoError(t, err)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Tags        []string
			Security    []map[string][]string
			Roles       []string `json:"x-roles"`
			Parameters  []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	require.Regexp(t, `^3\.1`, doc.OpenAPI)
	ops := a.api.Ops()
	seen := map[string]bool{}
	for _, op := range ops {
		d, ok := doc.Paths[op.Path][strings.ToLower(op.Method)]
		require.True(t, ok, op.ID)
		require.Equal(t, op.ID, d.OperationID)
		require.Regexp(t, `^[a-z]+(-[a-z0-9]+)*$`, op.ID)
		require.False(t, seen[op.ID], op.ID)
		seen[op.ID] = true
		require.NotEmpty(t, d.Summary, op.ID)
		require.Equal(t, []string{op.Tag}, d.Tags, op.ID)
		require.NotEmpty(t, op.Tag, op.ID)
		for _, name := range placeholder.FindAllString(op.Path, -1) {
			require.Contains(t, d.Parameters, struct{ Name, In string }{strings.Trim(name, "{}"), "path"}, op.ID)
		}
		require.Equal(t, op.Public, len(d.Security) == 0, op.ID)
		require.Equal(t, op.Public, len(d.Roles) == 0, op.ID)
		if !op.Public {
			require.Contains(t, d.Roles, string(auth.RoleAdmin), op.ID)
		}
	}
	require.Contains(t, string(text), `"maxLength"`, "limits come from validate tags")
	golden(t, "openapi.json", strings.Replace(string(text), strconv.Quote(version()), `"current"`, 1))
}

// The job runner takes every job and every periodic job of the program: a name that River refuses would stop them all.
func TestJobsStart(t *testing.T) {
	t.Parallel()
	a := wired(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, a.jobs.Run(ctx))
}
