package api_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/internal/validate"
)

type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (auth.Actor, error) {
	role := r.Header.Get("X-Role")
	if role == "" {
		return auth.Actor{}, auth.ErrUnauthenticated
	}
	return auth.Actor{Name: "test", Roles: []auth.Role{auth.Role(role)}, Scope: auth.Everything}, nil
}

type createIn struct {
	Body struct {
		Code  string `json:"code" validate:"required,code,max=63"`
		Limit int    `json:"limit" validate:"gte=1,lte=100"`
		Kind  string `json:"kind" validate:"oneof=a b"`
	}
}

type createOut struct {
	Body struct {
		Actor string `json:"actor"`
	}
}

func serve(t *testing.T) (*api.API, http.Handler) {
	a := api.New("test", byHeader{}, slog.New(slog.DiscardHandler))
	api.Add(a, api.Op{ID: "create-thing", Method: http.MethodPost, Path: "/api/v1/things", Tag: "things", Summary: "Create", Roles: []auth.Role{auth.RoleMarketer}},
		func(ctx context.Context, in *createIn) (*createOut, error) {
			if err := validate.Struct(in.Body); err != nil {
				return nil, err
			}
			if in.Body.Code == "boom" {
				return nil, errors.New("secret detail")
			}
			actor, err := auth.ActorFrom(ctx)
			out := &createOut{}
			out.Body.Actor = actor.Name
			return out, err
		})
	return a, a.Handler()
}

func call(t *testing.T, h http.Handler, role, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/things", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if role != "" {
		r.Header.Set("X-Role", role)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Code, string(text), w.Result().Header
}

func TestDoor(t *testing.T) {
	t.Parallel()
	a, h := serve(t)
	good := `{"code":"tea","limit":5,"kind":"a"}`
	for name, c := range map[string]struct {
		role, body string
		status     int
		contains   string
	}{
		"works":           {"marketer", good, 200, `"actor":"test"`},
		"admin may":       {"admin", good, 200, ``},
		"nobody":          {"", good, 401, `auth.unauthenticated`},
		"wrong role":      {"finance", good, 403, `auth.forbidden`},
		"bad input":       {"marketer", `{"code":"A B","limit":0,"kind":"c"}`, 422, `"path":"limit"`},
		"unknown field":   {"marketer", `{"code":"tea","limit":5,"kind":"a","x":1}`, 422, `"path":"x"`},
		"not json":        {"marketer", `{"code":`, 422, `api.malformed`},
		"two values":      {"marketer", good + good, 422, `api.malformed`},
		"too large":       {"marketer", `{"code":"` + strings.Repeat("x", 10<<20) + `"}`, 413, `api.too_large`},
		"foreign error":   {"marketer", `{"code":"boom","limit":5,"kind":"a"}`, 500, `"code":"internal"`},
		"fault in fields": {"marketer", `{}`, 422, `input.required`},
	} {
		status, body, header := call(t, h, c.role, c.body)
		require.Equal(t, c.status, status, "%s: %s", name, body)
		require.Contains(t, body, c.contains, name)
		require.NotContains(t, body, "secret detail", name)
		if status >= 400 {
			require.Equal(t, "application/problem+json", header.Get("Content-Type"), name)
		}
	}
	status, body, _ := call(t, h, "marketer", good, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 403, status)
	require.Contains(t, body, "api.cross_origin")

	doc, err := a.OpenAPI()
	require.NoError(t, err)
	require.Contains(t, string(doc), `"maxLength": 63`)
	require.Contains(t, string(doc), `"maximum": 100`)
	require.Len(t, a.Ops(), 1)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	s := auth.New(pgtest.Tx(t), clock.System{}, slog.New(slog.DiscardHandler), nil)
	a := api.New("test", s, slog.New(slog.DiscardHandler))
	api.AccountRoutes(a, s, false)
	h := a.Handler()
	password, err := s.EnsureAdmin(t.Context())
	require.NoError(t, err)

	do := func(method, path, cookie, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, 401, do("GET", "/api/v1/operators", "", "").Code)
	require.Equal(t, 401, do("POST", "/api/v1/session", "", `{"login":"admin","password":"wrong wrong"}`).Code)
	w := do("POST", "/api/v1/session", "", `{"login":"admin","password":"`+password+`"}`)
	require.Equal(t, 200, w.Code, w.Body)
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	require.Contains(t, w.Header().Get("Set-Cookie"), "HttpOnly")

	w = do("POST", "/api/v1/operators", cookie, `{"login":"wujing","name":"吴静","password":"long enough","roles":["agent"]}`)
	require.Equal(t, 201, w.Code, w.Body)
	w = do("POST", "/api/v1/operators", cookie, `{"login":"wujing","name":"吴静","password":"long enough","roles":["agent"]}`)
	require.Equal(t, 409, w.Code, w.Body)
	w = do("GET", "/api/v1/operators?limit=1", cookie, "")
	require.Contains(t, w.Body.String(), `"next_cursor":"admin"`)
	w = do("POST", "/api/v1/keys", cookie, `{"kind":"api","name":"erp","source":"erp","roles":["finance"]}`)
	require.Equal(t, 201, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "lk_api_")
	require.Contains(t, do("GET", "/api/v1/audit", cookie, "").Body.String(), "key.created")
	require.Equal(t, 204, do("DELETE", "/api/v1/session", cookie, "").Code)
	require.Equal(t, 401, do("GET", "/api/v1/operators", cookie, "").Code)
}
