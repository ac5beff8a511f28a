package api

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed pages
var pages embed.FS

var startPage = template.Must(template.ParseFS(pages, "pages/start.html"))

// Facts are what the start page says of this process.
type Facts struct {
	Version   string
	Roles     []string
	AdminAddr string // "off": no health address
}

type roleFact struct{ Name, ZH, EN string }

// roleFacts say in one line what each role does.
func roleFacts(roles []string) []roleFact {
	about := map[string][2]string{
		"api":      {"接口与本页", "the API and this page"},
		"ingest":   {"行为采集与渠道回调", "tracking and callbacks of channels"},
		"segments": {"人群成员实时维护", "keeps the membership of segments current"},
		"journeys": {"推进旅程,发送 Webhook", "walks members through journeys, calls webhooks"},
		"send":     {"发送消息,接收回执与退信", "sends messages, takes receipts and bounces"},
		"chat":     {"在线会话连接", "live conversations"},
		"jobs":     {"行为流编号与定时任务", "numbers the activity feed, runs periodic work"},
	}
	out := make([]roleFact, len(roles))
	for i, r := range roles {
		out[i] = roleFact{r, about[r][0], about[r][1]}
	}
	return out
}

// Pages mounts the start page at / and the documentation at /docs. Everything they load comes from this program.
func (a *API) Pages(f Facts) {
	data := struct {
		Version, Admin, Health string
		Roles                  []roleFact
	}{f.Version, f.AdminAddr, healthURL(f.AdminAddr), roleFacts(f.Roles)}
	var start bytes.Buffer
	if err := startPage.Execute(&start, data); err != nil {
		panic(fmt.Sprintf("api: start page: %v", err)) // a mistake in the template, at start-up
	}
	a.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { writePage(w, "start.html", start.Bytes()) })
	for file, at := range map[string]string{"docs.html": "/docs", "docs.js": "/docs/docs.js", "lang.js": "/docs/lang.js", "style.css": "/docs/style.css", "icon.svg": "/docs/icon.svg"} {
		text, err := pages.ReadFile("pages/" + file)
		if err != nil {
			panic(fmt.Sprintf("api: %v", err))
		}
		a.mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) { writePage(w, file, text) })
	}
}

// healthURL is the health address as a browser on this machine reaches it.
func healthURL(admin string) string {
	host, port, err := net.SplitHostPort(admin)
	if n, nerr := strconv.Atoi(port); err != nil || nerr != nil || n == 0 {
		return ""
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/healthz"
}

func writePage(w http.ResponseWriter, name string, text []byte) {
	types := map[string]string{".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(name)]+"; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if strings.HasSuffix(name, ".html") {
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("Referrer-Policy", "no-referrer")
	}
	_, _ = w.Write(text) // the client may be gone
}
