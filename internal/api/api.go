package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lianke/lianke/internal/auth"
)

// Op describes one operation.
type Op struct {
	ID      string // kebab-case, unique: publish-journey
	Method  string
	Path    string // /api/v1/journeys/{id}/publish
	Tag     string // the module, for the documentation
	Summary string // one line
	About   string // more, if there is more to say
	// Roles may call it; RoleAdmin always may. Empty only with Public.
	Roles []auth.Role
	// Public operations need no actor: sign-in, health.
	Public bool
	// Status of success; 0 means 200, or 204 without an output body.
	Status int
	// MaxBody in bytes; 0 means 1 MB.
	MaxBody int64
}

// Authenticator finds out who sends a request. It returns auth.ErrUnauthenticated when nobody does.
type Authenticator interface {
	Authenticate(r *http.Request) (auth.Actor, error)
}

// API is the set of operations on one mux.
type API struct {
	mux  *http.ServeMux // the role api: operations and pages
	door *http.ServeMux // the role ingest: what other systems and members' links call
	huma huma.API
	log  *slog.Logger
	auth Authenticator
	ops  []Op

	answers *Idempotency // nil: Idempotency-Key is left to the operations

	module string // package of the operation being added
}

var hookOnce sync.Once

// New returns an API without operations on a mux of its own. version is shown in the OpenAPI document.
func New(version string, authn Authenticator, log *slog.Logger) *API {
	// huma asks for its error constructor through package variables; there is one error model in this program.
	hookOnce.Do(func() {
		huma.NewError = fromHuma
		huma.NewErrorWithContext = func(_ huma.Context, code int, msg string, errs ...error) huma.StatusError {
			return fromHuma(code, msg, errs...)
		}
	})
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Lianke 连客", version)
	cfg.Info.Description = "Members, marketing and trade of a consumer brand. Errors are RFC 9457 problem documents with stable codes."
	cfg.CreateHooks = nil // no $schema links in bodies
	cfg.DocsPath, cfg.SchemasPath, cfg.OpenAPIPath = "", "", "/openapi"
	strict := huma.Format{Marshal: marshal, Unmarshal: unmarshalStrict}
	cfg.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	a := &API{mux: mux, door: http.NewServeMux(), log: log, auth: authn}
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		return schemaName(t, hint, a.module)
	})
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"session": {Type: "apiKey", In: "cookie", Name: auth.SessionCookie},
		"key":     {Type: "http", Scheme: "bearer"},
	}
	a.huma = humago.New(mux, cfg)
	return a
}

// Door is where the plain handlers of the role ingest are mounted: tracking API, provider callbacks, links in messages.
func (a *API) Door() *http.ServeMux { return a.door }

// Ops returns the registered operations, for the route tests.
func (a *API) Ops() []Op { return append([]Op(nil), a.ops...) }

// OpenAPI returns the OpenAPI 3.1 document, indented.
func (a *API) OpenAPI() ([]byte, error) {
	raw, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("encode openapi: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("indent openapi: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Handler answers for a process with these roles, all of them if none is named: api the operations and pages, ingest what
// is mounted at the Door. What belongs to another role is not found here. Browsers of other origins are refused.
func (a *API) Handler(roles ...string) http.Handler {
	has := func(role string) bool { return len(roles) == 0 || slices.Contains(roles, role) }
	guard := http.NewCrossOriginProtection()
	guard.AddInsecureBypassPattern("/v1/") // tracking: pages of any origin send to it, with a key and without cookies
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { WriteProblem(w, errRejected) }))
	return guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var elsewhere string
		for _, part := range []struct {
			role string
			mux  *http.ServeMux
		}{{"ingest", a.door}, {"api", a.mux}} {
			switch _, pattern := part.mux.Handler(r); {
			case pattern == "":
			case has(part.role):
				part.mux.ServeHTTP(w, r)
				return
			default:
				elsewhere = part.role
			}
		}
		if elsewhere != "" {
			WriteProblem(w, errOtherRole.With("role", elsewhere))
			return
		}
		WriteProblem(w, errNotFound)
	}))
}

// Add registers an operation. It panics on a mistake in the declaration, at start-up.
func Add[I, O any](a *API, op Op, fn func(ctx context.Context, in *I) (*O, error)) {
	if op.Public == (len(op.Roles) > 0) {
		panic("api: operation " + op.ID + " needs roles, or Public, and not both")
	}
	for _, t := range []reflect.Type{reflect.TypeFor[I](), reflect.TypeFor[O]()} {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous && !f.IsExported() {
				panic("api: operation " + op.ID + " embeds " + f.Name + ", which huma does not see: export its type")
			}
		}
	}
	a.ops = append(a.ops, op)
	a.module = cmp.Or(reflect.TypeFor[I]().PkgPath(), reflect.TypeFor[O]().PkgPath())
	decl := huma.Operation{
		OperationID: op.ID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.About,
		Tags: []string{op.Tag}, DefaultStatus: op.Status, MaxBodyBytes: op.MaxBody, SkipValidateBody: true,
		Errors: []int{http.StatusUnprocessableEntity},
	}
	decl.Middlewares = huma.Middlewares{keepRequest}
	if !op.Public {
		decl.Security = []map[string][]string{{"session": {}}, {"key": {}}}
		decl.Extensions = map[string]any{"x-roles": mayCall(op)}
		decl.Errors = append(decl.Errors, http.StatusUnauthorized, http.StatusForbidden)
		decl.Middlewares = append(decl.Middlewares, a.requireRole(op))
		if op.Method == http.MethodPost {
			decl.Middlewares = append(decl.Middlewares, a.idempotent(op))
		}
	}
	huma.Register(a.huma, decl, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			p := NewProblem(err)
			if p.Status >= http.StatusInternalServerError {
				a.log.ErrorContext(ctx, "request failed", "operation", op.ID, "error", err)
			}
			return nil, p
		}
		return out, nil
	})
	if op.Method == http.MethodPost && !op.Public {
		describeIdempotency(a.huma.OpenAPI().Paths[op.Path].Post)
	}
	describeLimits(a.huma.OpenAPI().Components.Schemas)
}

const defaultMaxBody = 1 << 20 // huma's

// describeIdempotency documents the header that every POST operation takes.
func describeIdempotency(op *huma.Operation) {
	for _, p := range op.Parameters {
		if p.In == "header" && strings.EqualFold(p.Name, idempotencyHeader) {
			return
		}
	}
	most := maxIdempotencyKey
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most},
		Description: "A repetition within 24 hours with the same key and content gets the first answer, with Idempotency-Replayed: true.",
	})
}

// keepRequest lets handlers reach the HTTP request through Request.
func keepRequest(hc huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(hc)
	next(huma.WithValue(hc, requestKey{}, r))
}

// mayCall are the roles that an operation lets in.
func mayCall(op Op) []auth.Role {
	if slices.Contains(op.Roles, auth.RoleAdmin) {
		return op.Roles
	}
	return append([]auth.Role{auth.RoleAdmin}, op.Roles...)
}

// requireRole authenticates the request, checks the roles and puts the actor into its context.
func (a *API) requireRole(op Op) func(huma.Context, func(huma.Context)) {
	roles := mayCall(op)
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		actor, err := a.auth.Authenticate(r)
		if err == nil && !actor.Has(roles...) {
			err = auth.ErrForbidden
		}
		if err != nil {
			if NewProblem(err).Status >= http.StatusInternalServerError {
				a.log.ErrorContext(r.Context(), "authentication failed", "operation", op.ID, "error", err)
			}
			WriteProblem(w, err)
			return
		}
		next(huma.WithContext(hc, auth.WithActor(hc.Context(), actor)))
	}
}

func marshal(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// unmarshalStrict refuses unknown fields and anything behind the value.
func unmarshalStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, generic := v.(*any); !generic {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON value")
	}
	return nil
}
