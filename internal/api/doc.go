// Package api is the HTTP door of operators and integrators: net/http's ServeMux with huma on top. Handlers have the shape
//
//	func(ctx context.Context, in *In) (*Out, error)
//
// and are registered with Add together with the roles that may call them; an operation without roles must be marked
// Public. huma decodes and describes (OpenAPI 3.1 at /openapi.json); the use case's Validate is the authority on content.
// The limits shown in the OpenAPI document are derived from the validate tags of the input structs, so that there is one
// source of truth.
//
// Errors are RFC 9457 problem documents, made from internal/fault in problem.go and nowhere else. They carry the stable
// code, the text in both languages, the hint and the offending fields.
//
// Bodies are JSON, at most 1 MB unless the operation says otherwise; unknown fields are refused. Cross-origin browser
// requests that change something are refused (http.CrossOriginProtection).
//
// POST operations take an Idempotency-Key: a repetition with the same key and content gets the first success again for 24
// hours, other content is refused (idempotency.go, core.idempotency).
package api
