package tracking

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
)

// Keys checks write keys; *auth.Service does.
type Keys interface {
	CheckKey(ctx context.Context, kind auth.KeyKind, secret string) (auth.Key, error)
}

// Handler serves the tracking API.
type Handler struct {
	keys   Keys
	writer *Writer
	mux    *http.ServeMux
}

// endpoints are the names under /v1/ and the kind of body each takes; the short ones are those of SDKs in browsers.
var endpoints = map[string]string{
	"identify": "identify", "track": "track", "page": "page", "screen": "screen", "group": "group", "alias": "alias", "batch": "batch", "import": "batch",
	"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias", "b": "batch",
}

// NewHandler returns the handler of everything under /v1/.
func NewHandler(keys Keys, w *Writer) *Handler {
	h := &Handler{keys: keys, writer: w, mux: http.NewServeMux()}
	for name, kind := range endpoints {
		h.mux.HandleFunc("POST /v1/"+name, func(rw http.ResponseWriter, r *http.Request) { h.serve(rw, r, kind) })
	}
	h.mux.HandleFunc("OPTIONS /v1/", func(rw http.ResponseWriter, _ *http.Request) {
		allowBrowsers(rw)
		rw.WriteHeader(http.StatusNoContent)
	})
	return h
}

// ServeHTTP serves /v1/.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// serve decodes, stores, answers.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, kind string) {
	allowBrowsers(w)
	limit := MaxCall
	if kind == "batch" {
		limit = MaxBatch
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	// The key comes first: nobody without one makes us read or unpack anything.
	secret, _, ok := r.BasicAuth()
	var key auth.Key
	var err error
	if ok {
		key, err = h.keys.CheckKey(r.Context(), auth.KeyWrite, secret)
	}
	if err == nil {
		err = body(buf, r, limit)
	}
	if err == nil && !ok {
		key, err = h.keyInBody(r.Context(), buf.Bytes())
	}
	if err != nil {
		refuse(w, err)
		return
	}
	messages, err := read(kind, buf.Bytes(), key.Source, h.writer.clock.Now())
	if err == nil {
		err = h.writer.write(r.Context(), messages)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"success":true}`)
}

// keyInBody finds the key where SDKs in browsers put it, which cannot always set headers.
func (h *Handler) keyInBody(ctx context.Context, raw []byte) (auth.Key, error) {
	var b struct {
		WriteKey string `json:"writeKey"`
	}
	if err := json.Unmarshal(raw, &b); err != nil || b.WriteKey == "" {
		return auth.Key{}, auth.ErrBadKey
	}
	return h.keys.CheckKey(ctx, auth.KeyWrite, b.WriteKey)
}

// body reads the request into buf, unpacked, up to limit bytes.
func body(buf *bytes.Buffer, r *http.Request, limit int) error {
	var in io.Reader = io.LimitReader(r.Body, int64(limit)+1)
	if r.Header.Get("Content-Encoding") == "gzip" {
		gz, err := gzip.NewReader(in)
		if err != nil {
			return ErrJSON.Because(err)
		}
		in = gz
	}
	n, err := buf.ReadFrom(io.LimitReader(in, int64(limit)+1))
	if n > int64(limit) {
		return ErrTooLarge
	}
	if err != nil {
		return ErrJSON.Because(err)
	}
	return nil
}

// refuse answers with a problem. Wrong input is 400 here, not 422: SDKs take only 400 for "do not send it again".
func refuse(w http.ResponseWriter, err error) {
	if fault.KindOf(err) != fault.Invalid {
		api.WriteProblem(w, err)
		return
	}
	p := api.NewProblem(err)
	p.Status = http.StatusBadRequest
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}

// allowBrowsers lets pages of any origin send; a write key opens nothing else.
func allowBrowsers(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "authorization, content-type, content-encoding")
	w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	w.Header().Set("Access-Control-Max-Age", "86400")
}
