package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// weixinCode is an error of the WeChat API.
type weixinCode struct {
	Code int
	Text string
}

// The errors this stand-in gives, with WeChat's own texts.
var (
	weixinBusy           = weixinCode{-1, "system error"}
	weixinBadToken       = weixinCode{40001, "invalid credential, access_token is invalid or not latest"}
	weixinBadOpenID      = weixinCode{40003, "invalid openid"}
	weixinBadAppID       = weixinCode{40013, "invalid appid"}
	weixinMalformedToken = weixinCode{40014, "invalid access_token"}
	weixinBadCode        = weixinCode{40029, "invalid code"}
	weixinBadTemplate    = weixinCode{40037, "invalid template_id"}
	weixinBadSecret      = weixinCode{40125, "invalid appsecret"}
	weixinCodeUsed       = weixinCode{40163, "code been used"}
	weixinNoToken        = weixinCode{41001, "access_token missing"}
	weixinBadPage        = weixinCode{41030, "invalid page"}
	weixinTokenExpired   = weixinCode{42001, "access_token expired"}
	weixinNotFollowing   = weixinCode{43004, "require subscribe"}
	weixinRefused        = weixinCode{43101, "user refuse to accept the msg"}
	weixinTooLong        = weixinCode{45002, "content size out of limit"}
	weixinDailyQuota     = weixinCode{45009, "reach max api daily quota limit"}
	weixinMinuteQuota    = weixinCode{45011, "api minute-quota reach limit, must slower, retry next minute"}
	weixinWindowClosed   = weixinCode{45015, "response out of time limit or subscription is canceled"}
	weixinWindowUsed     = weixinCode{45047, "out of response count limit"}
	weixinNotJSON        = weixinCode{47001, "data format error"}
	weixinUnauthorized   = weixinCode{48001, "api unauthorized"}
)

func weixinBadValue(field, why string) weixinCode {
	return weixinCode{47003, fmt.Sprintf("argument invalid! data.%s.value %s", field, why)}
}

// weixinError answers with a code and a request id, as WeChat does: HTTP 200.
func (s *Server) weixinError(w http.ResponseWriter, c weixinCode) {
	var b [12]byte
	_, _ = rand.Read(b[:])
	writeJSON(w, map[string]any{"errcode": c.Code, "errmsg": fmt.Sprintf("%s rid: %08x-%08x-%08x", c.Text, b[0:4], b[4:8], b[8:12])})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; encoding=utf-8")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func weixinOK(w http.ResponseWriter) { writeJSON(w, map[string]any{"errcode": 0, "errmsg": "ok"}) }

func (s *Server) weixinRoutes(mux *http.ServeMux) {
	const api = " api.weixin.qq.com"
	mux.HandleFunc("GET"+api+"/cgi-bin/token", s.getToken)
	mux.HandleFunc("POST"+api+"/cgi-bin/stable_token", s.postStableToken)
	mux.HandleFunc("POST"+api+"/cgi-bin/message/template/send", s.withApp(s.postTemplate))
	mux.HandleFunc("POST"+api+"/cgi-bin/message/custom/send", s.withApp(s.postCustom))
	mux.HandleFunc("POST"+api+"/cgi-bin/message/custom/typing", s.withApp(func(w http.ResponseWriter, _ *http.Request, _ *app) { weixinOK(w) }))
	mux.HandleFunc("GET"+api+"/cgi-bin/user/info", s.withApp(s.getUser))
	mux.HandleFunc("POST"+api+"/cgi-bin/user/info/batchget", s.withApp(s.batchGetUsers))
	mux.HandleFunc("GET"+api+"/cgi-bin/user/get", s.withApp(s.listUsers))
	mux.HandleFunc("POST"+api+"/cgi-bin/qrcode/create", s.withApp(s.createQR))
	mux.HandleFunc("GET"+api+"/sns/oauth2/access_token", s.oauthToken)
	mux.HandleFunc("GET"+api+"/sns/userinfo", s.oauthUser)
	mux.HandleFunc("GET open.weixin.qq.com/connect/oauth2/authorize", s.authorize)
}

// token is one access token.
type token struct {
	value   string
	expires time.Time
	revoked bool
}

func (t *token) alive(now time.Time) bool { return t != nil && !t.revoked && now.Before(t.expires) }

// tokens of an app. The two kinds live apart: a call to /token never touches the stable ones.
type tokens struct {
	plain, plainOld   *token // the old one works for five more minutes
	stable, stableOld *token
	all               map[string]*token
	forced            []time.Time // moments of force_refresh
}

// The life of tokens.
const (
	tokenLife   = 7200 * time.Second
	tokenGrace  = 5 * time.Minute
	stableRenew = 5 * time.Minute  // normal mode renews in the last five minutes
	forceGap    = 30 * time.Second // force_refresh no more often than this
	forcePerDay = 20
)

// newToken is as long as the provider warns that tokens may become.
func newToken(kind string) string {
	var b [96]byte
	_, _ = rand.Read(b[:])
	return kind + "_" + base64.RawURLEncoding.EncodeToString(b[:])
}

func (t *tokens) issue(kind string, now time.Time) *token {
	if t.all == nil {
		t.all = map[string]*token{}
	}
	for v, old := range t.all { // forget what has been dead for a day
		if now.Sub(old.expires) > 24*time.Hour {
			delete(t.all, v)
		}
	}
	n := &token{value: newToken(kind), expires: now.Add(tokenLife)}
	t.all[n.value] = n
	return n
}

// RevokeTokens kills every access token of an app, or of all with an empty appid, as a change of secret or another user of /token does.
func (s *Server) RevokeTokens(appid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if appid != "" && a.AppID != appid {
			continue
		}
		for _, t := range a.tokens.all {
			t.revoked = true
		}
		a.tokens.plain, a.tokens.stable = nil, nil
	}
}

// authenticate finds the app by its id and secret.
func (s *Server) authenticate(appid, secret string) (*app, *weixinCode) {
	a := s.apps[appid]
	if a == nil {
		return nil, &weixinBadAppID
	}
	if a.Secret != secret {
		return nil, &weixinBadSecret
	}
	return a, nil
}

func (s *Server) getToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	a, bad := s.authenticate(q.Get("appid"), q.Get("secret"))
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	now := s.now()
	if old := a.tokens.plain; old.alive(now) { // a new token kills the old one, after a grace
		old.expires = minTime(old.expires, now.Add(tokenGrace))
	}
	a.tokens.plain = a.tokens.issue("plain", now)
	writeJSON(w, map[string]any{"access_token": a.tokens.plain.value, "expires_in": int(tokenLife.Seconds())})
}

func (s *Server) postStableToken(w http.ResponseWriter, r *http.Request) {
	var in struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		s.weixinError(w, weixinNotJSON)
		return
	}
	a, bad := s.authenticate(in.AppID, in.Secret)
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	now, t := s.now(), &a.tokens
	if in.ForceRefresh {
		for len(t.forced) > 0 && now.Sub(t.forced[0]) >= 24*time.Hour {
			t.forced = t.forced[1:]
		}
		if n := len(t.forced); n >= forcePerDay || n > 0 && now.Sub(t.forced[n-1]) < forceGap {
			s.weixinError(w, weixinMinuteQuota)
			return
		}
		t.forced = append(t.forced, now)
		if t.stable != nil {
			t.stable.revoked = true
		}
		t.stable = nil
	}
	if !t.stable.alive(now) || t.stable.expires.Sub(now) < stableRenew {
		t.stable = t.issue("stable", now)
	}
	writeJSON(w, map[string]any{"access_token": t.stable.value, "expires_in": int(t.stable.expires.Sub(now).Seconds())})
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// byToken finds the app that an access token belongs to.
func (s *Server) byToken(value string) (*app, *weixinCode) {
	if value == "" {
		return nil, &weixinNoToken
	}
	for _, a := range s.apps {
		t := a.tokens.all[value]
		switch {
		case t == nil:
			continue
		case t.revoked:
			return nil, &weixinBadToken
		case !s.now().Before(t.expires):
			return nil, &weixinTokenExpired
		}
		return a, nil
	}
	if len(value) < 32 {
		return nil, &weixinMalformedToken
	}
	return nil, &weixinBadToken
}

// withApp checks the access token and runs the handler under the lock.
func (s *Server) withApp(h func(http.ResponseWriter, *http.Request, *app)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		a, bad := s.byToken(r.URL.Query().Get("access_token"))
		if bad != nil {
			s.weixinError(w, *bad)
			return
		}
		h(w, r, a)
	}
}
