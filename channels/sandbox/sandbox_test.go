package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sandbox/sandboxtest"
)

const appid = "wx0000000000000001"

type bundle struct{ *sandboxtest.Shared }

func setup(t *testing.T, opt sandbox.Options) *bundle {
	t.Helper()
	b := &bundle{sandboxtest.Own(t, opt)}
	require.NoError(t, b.AddApp(sandbox.App{AppID: appid, Secret: "s", Subject: "acme", Token: "t", Mode: sandbox.ModePlain}))
	require.NoError(t, b.AddApp(sandbox.App{AppID: "wxmini", Secret: "s", Mini: true, Token: "t", Mode: sandbox.ModePlain}))
	b.AddPerson(sandbox.Person{ID: "p1", Phone: "13800138000", Name: "王小明"})
	return b
}

// call makes a request of an API client and returns the decoded answer.
func (b *bundle) call(t *testing.T, method, address string, body any) map[string]any {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(data))
	require.NoError(t, err)
	res, err := b.Client.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	var out map[string]any
	require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
	return out
}

const api = "https://api.weixin.qq.com"

func (b *bundle) token(t *testing.T) string {
	out := b.call(t, "GET", api+"/cgi-bin/token?grant_type=client_credential&appid="+appid+"&secret=s", nil)
	return out["access_token"].(string)
}

func (b *bundle) stable(t *testing.T, app string, force bool) map[string]any {
	return b.call(t, "POST", api+"/cgi-bin/stable_token", map[string]any{"grant_type": "client_credential", "appid": app, "secret": "s", "force_refresh": force})
}

// code of an API call with a token.
func (b *bundle) code(t *testing.T, token string) float64 {
	out := b.call(t, "GET", api+"/cgi-bin/user/info?openid="+sandbox.OpenID(appid, "p1")+"&access_token="+url.QueryEscape(token), nil)
	if out["errcode"] == nil {
		return 0
	}
	return out["errcode"].(float64)
}

func TestTokens_LiveAndDieAsTheProviders(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	first := b.token(t)
	require.Zero(t, b.code(t, first))
	second := b.token(t)
	require.Zero(t, b.code(t, first), "the old token has a grace of five minutes")
	b.Advance(5 * time.Minute)
	require.Equal(t, 42001.0, b.code(t, first))
	require.Zero(t, b.code(t, second))

	stable := b.stable(t, appid, false)["access_token"].(string)
	require.Equal(t, stable, b.stable(t, appid, false)["access_token"], "normal mode is idempotent")
	require.Zero(t, b.code(t, second), "and leaves the other kind alone")
	b.Advance(7200*time.Second - 4*time.Minute)
	renewed := b.stable(t, appid, false)["access_token"].(string)
	require.NotEqual(t, stable, renewed, "renewed in the last five minutes")
	require.Zero(t, b.code(t, stable), "while both are valid")
	forced := b.stable(t, appid, true)["access_token"].(string)
	require.Equal(t, 40001.0, b.code(t, renewed))
	require.Zero(t, b.code(t, forced))
	require.Equal(t, 45011.0, b.stable(t, appid, true)["errcode"], "no more often than every thirty seconds")

	require.Equal(t, 41001.0, b.code(t, ""))
	require.Equal(t, 40014.0, b.code(t, "short"))
	require.Equal(t, 40001.0, b.code(t, strings.Repeat("x", 120)))
	require.Equal(t, 40013.0, b.stable(t, "wxnobody", false)["errcode"])
}

func TestCustomerServiceWindows(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	send := func() float64 {
		out := b.call(t, "POST", api+"/cgi-bin/message/custom/send?access_token="+b.stable(t, appid, false)["access_token"].(string),
			map[string]any{"touser": sandbox.OpenID(appid, "p1"), "msgtype": "text", "text": map[string]string{"content": "hi"}})
		return out["errcode"].(float64)
	}
	require.Equal(t, 45015.0, send())
	require.NoError(t, b.Follow("p1", appid, ""))
	for range 3 {
		require.Zero(t, send(), "a follow allows three")
	}
	require.Equal(t, 45047.0, send())
	b.Advance(time.Minute)
	require.Equal(t, 45015.0, send(), "for one minute")
	require.NoError(t, b.Say("p1", appid, "hello"))
	for range 5 {
		require.Zero(t, send(), "a message allows five")
	}
	require.Equal(t, 45047.0, send())
	require.NoError(t, b.Say("p1", appid, "again"))
	require.Zero(t, send(), "refilled to the maximum")
	b.Advance(48*time.Hour - time.Second)
	require.Zero(t, send())
	b.Advance(time.Second)
	require.Equal(t, 45015.0, send(), "for 48 hours")
}

func TestCodes_OnceAndFiveMinutes(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	login := func(code string) map[string]any {
		return b.call(t, "GET", api+"/sns/jscode2session?grant_type=authorization_code&appid=wxmini&secret=s&js_code="+code, nil)
	}
	code, err := b.LoginCode("p1", "wxmini")
	require.NoError(t, err)
	out := login(code)
	require.Equal(t, sandbox.OpenID("wxmini", "p1"), out["openid"])
	require.Nil(t, out["unionid"], "not bound to a subject: no unionid")
	require.Equal(t, 40163.0, login(code)["errcode"])
	code, err = b.LoginCode("p1", "wxmini")
	require.NoError(t, err)
	b.Advance(5 * time.Minute)
	require.Equal(t, 40029.0, login(code)["errcode"])
	require.NoError(t, b.AddApp(sandbox.App{AppID: "wxmini", Secret: "s", Mini: true, Subject: "acme", Token: "t", Mode: sandbox.ModePlain}))
	code, err = b.LoginCode("p1", "wxmini")
	require.NoError(t, err)
	require.Equal(t, sandbox.UnionID("acme", "p1"), login(code)["unionid"], "bound later: the same person gets one")
}

func TestOAuth_BaseAndUserInfo(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	for _, scope := range []string{"snsapi_base", "snsapi_userinfo"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://open.weixin.qq.com/connect/oauth2/authorize?appid="+appid+
			"&redirect_uri="+url.QueryEscape("https://brand.test/cb?x=1")+"&response_type=code&scope="+scope+"&state=s1&sandbox_person=p1", nil)
		require.NoError(t, err)
		res, err := b.Client.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		back, err := url.Parse(res.Header.Get("Location"))
		require.NoError(t, err)
		require.Equal(t, "s1", back.Query().Get("state"))
		require.Equal(t, "1", back.Query().Get("x"))
		out := b.call(t, "GET", api+"/sns/oauth2/access_token?grant_type=authorization_code&appid="+appid+"&secret=s&code="+back.Query().Get("code"), nil)
		require.Equal(t, sandbox.OpenID(appid, "p1"), out["openid"])
		user := b.call(t, "GET", api+"/sns/userinfo?access_token="+out["access_token"].(string)+"&openid="+out["openid"].(string), nil)
		if scope == "snsapi_base" {
			require.Equal(t, 48001.0, user["errcode"])
		} else {
			require.Equal(t, "王小明", user["nickname"])
			require.Equal(t, sandbox.UnionID("acme", "p1"), user["unionid"])
		}
	}
}

func TestOfficialAccount_UsersAndQRCode(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	require.NoError(t, b.SeedFollower("p1", appid))
	token := b.stable(t, appid, false)["access_token"].(string)
	out := b.call(t, "POST", api+"/cgi-bin/user/info/batchget?access_token="+token, map[string]any{"user_list": []map[string]string{
		{"openid": sandbox.OpenID(appid, "p1")}, {"openid": sandbox.OpenID(appid, "stranger")},
	}})
	list := out["user_info_list"].([]any)
	require.Equal(t, 1.0, list[0].(map[string]any)["subscribe"])
	require.Equal(t, 0.0, list[1].(map[string]any)["subscribe"])
	out = b.call(t, "GET", api+"/cgi-bin/user/get?access_token="+token, nil)
	require.Equal(t, 1.0, out["total"])
	out = b.call(t, "POST", api+"/cgi-bin/qrcode/create?access_token="+token, map[string]any{"action_name": "QR_LIMIT_STR_SCENE", "action_info": map[string]any{"scene": map[string]any{"scene_str": "store7"}}})
	require.NotEmpty(t, out["ticket"])
	require.NotContains(t, out, "errmsg", "the SDK takes any errmsg for a failure")
}

func TestReactions_BelongToTheMessageNotToItsOrder(t *testing.T) {
	t.Parallel()
	run := func(reverse bool) []string {
		b := setup(t, sandbox.Options{})
		var mu sync.Mutex
		var taps []string
		web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			taps = append(taps, r.URL.Path)
		}))
		t.Cleanup(web.Close)
		b.SetReactions(7, sandbox.Reactions{"wechat": {Click: 0.3, OptOut: 0.1}})
		require.NoError(t, b.SeedFollower("p1", appid))
		token := b.stable(t, appid, false)["access_token"].(string)
		for i := range 100 {
			if reverse {
				i = 99 - i
			}
			out := b.call(t, "POST", api+"/cgi-bin/message/template/send?access_token="+token, map[string]any{
				"touser": sandbox.OpenID(appid, "p1"), "template_id": "T", "client_msg_id": fmt.Sprint("k", i), "url": fmt.Sprint(web.URL, "/", i),
			})
			require.Equal(t, 0.0, out["errcode"], "%v", out)
		}
		b.Advance(time.Hour + time.Minute)
		for b.Pump(t.Context()) > 0 {
			b.Advance(2 * time.Hour)
		}
		return taps
	}
	forward, backward := run(false), run(true)
	require.ElementsMatch(t, forward, backward)
	require.InDelta(t, 30, len(forward), 15)
}

func TestLedger_LinesOutliveTheProcessAndTheLastHalfLineIsIgnored(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sends.jsonl")
	b := setup(t, sandbox.Options{Ledger: file})
	require.NoError(t, b.SeedFollower("p1", appid))
	token := b.stable(t, appid, false)["access_token"].(string)
	for i := range 3 {
		b.call(t, "POST", api+"/cgi-bin/message/template/send?access_token="+token, map[string]any{
			"touser": sandbox.OpenID(appid, "p1"), "template_id": "T", "client_msg_id": fmt.Sprint("k", i%2),
			"data": map[string]any{"thing1": map[string]string{"value": "好"}},
		})
	}
	sent, err := sandbox.ReadLedger(file) // while the sandbox still has it open
	require.NoError(t, err)
	require.Len(t, sent, 2, "the third repeats a client_msg_id")
	require.Equal(t, b.Sends("wechat"), sent)

	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"at":"2026-`) // killed in the middle of a line
	require.NoError(t, err)
	require.NoError(t, f.Close())
	again, err := sandbox.ReadLedger(file)
	require.NoError(t, err)
	require.Equal(t, sent, again)
}

func TestAdmin_DoesWhatTheMethodsDo(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Options{})
	post := func(path, body string) (int, string) {
		res, err := http.Post("http://"+b.Route().Admin+"/__sandbox/"+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(data)
	}
	before := b.Now()
	for path, body := range map[string]string{
		"people": `{"id":"p9","phone":"13900139000"}`, "clock": `{"advance":"48h"}`, "faults": `[{"route":"x","kind":"busy"}]`,
		"apps": `{"appid":"wx9","secret":"s","mode":"plain"}`, "sms-accounts": `{"access_key":"a","secret":"b"}`,
		"reactions": `{"seed":3,"reactions":{"sms":{"click":0.5}}}`, "mail": `{"no_mailbox":["x@y.test"]}`, "pump": ``,
	} {
		status, answer := post(path, body)
		require.Equal(t, 200, status, "%s: %s", path, answer)
	}
	require.Equal(t, 48*time.Hour, b.Now().Sub(before))
	status, answer := post("act", `{"do":"follow","person":"p9","appid":"wx9","value":"store7"}`)
	require.Equal(t, 200, status, answer)
	status, answer = post("act", `{"do":"fly","person":"p9"}`)
	require.Equal(t, 422, status)
	require.Contains(t, answer, "fly")
	status, _ = post("clock", `{"advance":"yesterday"}`)
	require.Equal(t, 422, status)
	status, _ = post("people", `{"id":"p9","shoe_size":42}`)
	require.Equal(t, 422, status)
}

// A sandbox that is closed at once, before its servers came to listen, does not hang.
func TestCloseAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 {
		s, err := sandbox.Start(sandbox.Options{})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}
