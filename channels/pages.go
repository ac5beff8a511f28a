package channels

import (
	"context"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

// Mount serves the addresses that members follow: /t/ tracked links, /o/ open pixels, /u/ unsubscribing. They are public;
// the token is the permission, and it permits exactly one thing.
func (s *Service) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /t/{token}", s.serveClick)
	mux.HandleFunc("GET /o/{token}", s.serveOpen)
	mux.HandleFunc("GET /u/{token}", s.serveUnsubscribePage)
	mux.HandleFunc("POST /u/{token}", s.serveUnsubscribe)
}

const linkSQL = `
SELECT url
FROM channels.links
WHERE id = @id`

// serveClick redirects and notes the click. Mail scanners and link previews follow links too: requests that say they are
// a prefetch, that only ask for the head, or that come from a known robot are redirected but not counted.
func (s *Service) serveClick(w http.ResponseWriter, r *http.Request) {
	ref, link, err := s.links.parse(purposeClick, r.PathValue("token"))
	var address string
	if err == nil {
		err = s.db.QueryRow(r.Context(), linkSQL, pg.Args{"id": link}).Scan(&address)
	}
	if err != nil {
		page(w, http.StatusNotFound, pageInvalid, "")
		return
	}
	if !robot(r) {
		s.note(r.Context(), Receipt{SendKey: ref.String(), Kind: ReceiptClicked, At: s.clock.Now()})
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, address, http.StatusFound)
}

var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

func (s *Service) serveOpen(w http.ResponseWriter, r *http.Request) {
	ref, _, err := s.links.parse(purposeOpen, strings.TrimSuffix(r.PathValue("token"), ".gif"))
	if err == nil && !robot(r) {
		s.note(r.Context(), Receipt{SendKey: ref.String(), Kind: ReceiptRead, At: s.clock.Now()})
	}
	w.Header().Set("Content-Type", "image/gif")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(pixel)
}

// serveUnsubscribePage only asks: a link preview that opens it must not unsubscribe anybody.
func (s *Service) serveUnsubscribePage(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if _, _, err := s.links.parse(purposeUnsubscribe, token); err != nil {
		page(w, http.StatusNotFound, pageInvalid, "")
		return
	}
	page(w, http.StatusOK, pageAsk, token)
}

// serveUnsubscribe takes the button of the page and the one-click POST of mail programs (RFC 8058). It answers only when
// the refusal is stored.
func (s *Service) serveUnsubscribe(w http.ResponseWriter, r *http.Request) {
	ref, _, err := s.links.parse(purposeUnsubscribe, r.PathValue("token"))
	if err != nil {
		page(w, http.StatusNotFound, pageInvalid, "")
		return
	}
	// The refusal counts from the first time it was said; saying it again is the same statement.
	if err := s.Receipts(r.Context(), []Receipt{{SendKey: ref.String(), Kind: ReceiptUnsubscribed, At: s.clock.Now().Truncate(time.Second)}}); err != nil {
		s.log.ErrorContext(r.Context(), "unsubscribe could not be stored", "error", err)
		page(w, http.StatusServiceUnavailable, pageRetry, "")
		return
	}
	page(w, http.StatusOK, pageDone, "")
}

// note stores a receipt of ours; the reader is not made to wait for a database in trouble.
func (s *Service) note(ctx context.Context, r Receipt) {
	if err := s.Receipts(ctx, []Receipt{r}); err != nil {
		s.log.ErrorContext(ctx, "receipt could not be stored", "kind", r.Kind, "error", err)
	}
}

var robots = []string{"bot", "crawler", "spider", "preview", "scanner", "proofpoint", "barracuda", "mimecast", "googleimageproxy", "facebookexternalhit", "slackbot", "curl/", "wget/", "python-"}

func robot(r *http.Request) bool {
	if r.Method == http.MethodHead {
		return true
	}
	for _, h := range []string{"Purpose", "Sec-Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(r.Header.Get(h)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return true
		}
	}
	agent := strings.ToLower(r.UserAgent())
	for _, b := range robots {
		if strings.Contains(agent, b) {
			return true
		}
	}
	return false
}

type text struct{ Title, ZH, EN string }

var (
	pageInvalid = text{"链接无效 · Invalid link", "链接无效或已失效。", "This link is not valid."}
	pageAsk     = text{"退订 · Unsubscribe", "确认不再接收此类营销消息?", "Stop receiving these messages?"}
	pageDone    = text{"已退订 · Unsubscribed", "已退订,我们不会再向您发送此类营销消息。", "You are unsubscribed."}
	pageRetry   = text{"请稍后重试 · Try again", "系统繁忙,请稍后重试。", "Please try again in a moment."}
)

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="zh"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>{{.Title}}</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;text-align:center}button{font:inherit;padding:.6rem 2rem}</style>
</head><body><h1>{{.Title}}</h1><p>{{.ZH}}</p><p lang="en">{{.EN}}</p>
{{if .Token}}<form method="post" action="/u/{{.Token}}"><button>退订 · Unsubscribe</button></form>{{end}}
</body></html>
`))

func page(w http.ResponseWriter, status int, t text, token string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = pageTemplate.Execute(w, struct {
		text
		Token string
	}{t, token})
}
