package channels_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/templates"
)

type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (auth.Actor, error) {
	actor := auth.Actor{Name: "test", Roles: []auth.Role{auth.Role(r.Header.Get("X-Role"))}}
	if r.Header.Get("X-Scope") == "all" {
		actor.Scope = auth.Everything
	}
	return actor, nil
}

func call(t *testing.T, h http.Handler, method, path, body string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Code, string(text)
}

func TestOperations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := api.New("test", byHeader{}, slog.New(slog.DiscardHandler))
	channels.Routes(a, b.svc)
	templates.Routes(a, b.templates)
	_, err := a.OpenAPI()
	require.NoError(t, err)
	h := a.Handler()
	marketer := []string{"X-Role", "marketer", "X-Scope", "all"}
	admin := []string{"X-Role", "admin", "X-Scope", "all"}

	status, body := call(t, h, "PUT", "/api/v1/channel-accounts/mail", `{"channel":"email","name":"邮件","config":{"host":"x"},"secrets":{"password":"hush"},"settings":{}}`, admin...)
	require.Equal(t, 200, status, body)
	require.NotContains(t, body, "hush")
	status, _ = call(t, h, "PUT", "/api/v1/channel-accounts/mail2", `{"channel":"email","name":"邮件","settings":{}}`, marketer...)
	require.Equal(t, 403, status)
	status, body = call(t, h, "PUT", "/api/v1/channel-accounts/mail", `{"channel":"email","name":"邮件","settings":{},"version":7}`, admin...)
	require.Equal(t, 409, status, body)
	status, body = call(t, h, "PUT", "/api/v1/channel-accounts/x", `{"channel":"fax","name":"","settings":{"quiet":{"from":-1,"to":0,"lanes":[]}}}`, admin...)
	require.Equal(t, 422, status, body)
	for _, path := range []string{`"channel"`, `"name"`, `"code"`, `"settings.quiet"`} {
		require.Contains(t, body, path)
	}

	template := `{"code":"news","channel":"email","lane":"marketing","name":"月刊","body":{"variables":[{"name":"brand","kind":"text","required":true}],"variants":{"zh":{"subject":"{{ brand }}","html":"<p>{{ member.name }}{{ brand }}</p>"}}},"base_version":0}`
	status, body = call(t, h, "POST", "/api/v1/message-templates", template, marketer...)
	require.Equal(t, 200, status, body)
	status, body = call(t, h, "POST", "/api/v1/message-templates/news/publish", "", marketer...)
	require.Equal(t, 422, status, body)
	require.Contains(t, body, "missing_unsubscribe")
	fixed := strings.Replace(strings.Replace(template, `</p>`, `</p><a href='{{ unsubscribe_url }}'>退订</a>`, 1), `"base_version":0`, `"base_version":1`, 1)
	status, body = call(t, h, "POST", "/api/v1/message-templates", fixed, marketer...)
	require.Equal(t, 200, status, body)
	status, body = call(t, h, "POST", "/api/v1/message-templates", fixed, marketer...)
	require.Equal(t, 409, status, body)
	status, body = call(t, h, "POST", "/api/v1/message-templates/news/publish", "", marketer...)
	require.Equal(t, 200, status, body)
	status, body = call(t, h, "POST", "/api/v1/message-templates/news/preview", `{}`, marketer...)
	require.Equal(t, 422, status, body)
	require.Contains(t, body, "brand")
	status, body = call(t, h, "POST", "/api/v1/message-templates/news/preview", `{"vars":{"brand":"连客"}}`, marketer...)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, "王小明连客")
	status, body = call(t, h, "GET", "/api/v1/message-templates?limit=1", "", marketer...)
	require.Equal(t, 200, status, body)

	who := b.members(1)[0]
	status, body = call(t, h, "POST", "/api/v1/message-templates/news/test-send", `{"member":"`+who.String()+`","vars":{"brand":"连客"}}`, marketer...)
	require.Equal(t, 200, status, body)
	b.drain()
	require.Equal(t, 1, b.provider.total())
	status, body = call(t, h, "GET", "/api/v1/messages?state=accepted,failed", "", marketer...)
	require.Equal(t, 200, status, body)
	require.NotContains(t, body, "example.com")
	ref := regexp.MustCompile(`"ref":"([^"]+)"`).FindStringSubmatch(body)[1]
	status, body = call(t, h, "GET", "/api/v1/messages/"+ref, "", marketer...)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, "王0")
	status, _ = call(t, h, "GET", "/api/v1/messages/"+ref, "", "X-Role", "marketer")
	require.Equal(t, 403, status, "the ledger needs the whole brand")
	status, body = call(t, h, "POST", "/api/v1/messages/resend", `{"refs":["`+ref+`"]}`, marketer...)
	require.Equal(t, 412, status, body)
	status, body = call(t, h, "POST", "/api/v1/sending/pause", "", marketer...)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"paused":true`)
	status, body = call(t, h, "PUT", "/api/v1/sending/caps", `{"caps":[{"max":1,"window":"1x"}]}`, marketer...)
	require.Equal(t, 422, status, body)
}

func TestLinks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{BaseURL: "https://m.example.com/", TrackClicks: true, TrackOpens: true})
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, `<a href="https://shop.example.com/?a=1&amp;b=2">x</a> see https://shop.example.com/text.`)
	who := b.members(1)[0]
	in := intent(who, "k", channels.ChannelEmail, "news")
	b.plan(in)
	b.drain()
	mux := http.NewServeMux()
	b.svc.Mount(mux)
	out := b.provider.last[b.get(in).Ref().String()].Content
	path := func(s string) string {
		u, err := url.Parse(s)
		require.NoError(t, err)
		require.Equal(t, "m.example.com", u.Host)
		return u.Path
	}
	click := path(regexp.MustCompile(`href="(https://m.example.com/t/[^"]+)"`).FindStringSubmatch(out.HTML)[1])
	pixel := path(regexp.MustCompile(`src="(https://m.example.com/o/[^"]+)"`).FindStringSubmatch(out.HTML)[1])
	require.Contains(t, out.Text, "https://m.example.com/t/")

	get := func(method, p string, header ...string) *http.Response {
		r := httptest.NewRequest(method, p, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
	// robots are led on and not counted
	for _, header := range [][]string{{"User-Agent", "SomeBot/1"}, {"Sec-Purpose", "prefetch"}} {
		require.Equal(t, 302, get("GET", click, header...).StatusCode)
	}
	require.Equal(t, 302, get("HEAD", click).StatusCode)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(in).State)
	require.Equal(t, 200, get("GET", pixel).StatusCode)
	b.drain()
	require.Equal(t, channels.StateRead, b.get(in).State)
	res := get("GET", click)
	require.Equal(t, "https://shop.example.com/?a=1&b=2", res.Header.Get("Location"))
	b.drain()
	require.Equal(t, channels.StateClicked, b.get(in).State)

	// a forged or transplanted token leads nowhere
	forged := click[:len(click)-1] + string('A'+(click[len(click)-1]-'A'+1)%26)
	for _, p := range []string{forged, strings.Replace(pixel, "/o/", "/t/", 1), "/t/x", "/u/" + strings.TrimPrefix(click, "/t/")} {
		require.Equal(t, 404, get("GET", p).StatusCode, p)
	}

	// looking at the page does not unsubscribe; the button and the one-click POST do
	leave := path(out.Unsubscribe)
	require.Equal(t, 200, get("GET", leave).StatusCode)
	b.drain()
	require.Zero(t, b.count(`SELECT count(*) FROM member.reach WHERE channel = 'email' AND NOT granted`))
	require.Equal(t, 200, get("POST", leave).StatusCode)
	require.Equal(t, 200, get("POST", leave).StatusCode)
	b.drain()
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.reach WHERE channel = 'email' AND NOT granted`))
	next := intent(who, "n", channels.ChannelEmail, "news")
	b.plan(next)
	b.drain()
	require.Equal(t, channels.ReasonNoConsent, b.get(next).Reason)
}
