package main

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/templates"
)

// loop is the program in this process, and the providers it talks to.
type loop struct {
	t       *testing.T
	app     *app
	sandbox *sandbox.Server
	public  string
}

func newLoop(t *testing.T) *loop {
	t.Helper()
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.pem")
	s, err := sandbox.Start(sandbox.Options{Manual: true, CAFile: caFile})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, os.WriteFile(caFile, s.CA(), 0o600))
	route, err := json.Marshal(s.Route())
	require.NoError(t, err)
	routeFile := filepath.Join(dir, "sandbox.json")
	require.NoError(t, os.WriteFile(routeFile, route, 0o600))

	cfg, err := config.Load([]string{
		"LIANKE_DATABASE_URL=" + pgtest.URL(t), "LIANKE_REDIS_URL=off", "LIANKE_SANDBOX=" + routeFile,
	}, dir)
	require.NoError(t, err)
	a, err := openAppWith(t.Context(), console{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	web := httptest.NewServer(a.api.Handler())
	t.Cleanup(web.Close)
	return &loop{t: t, app: a, sandbox: s, public: web.URL}
}

func (l *loop) account(code string, c channels.Channel, appid string, cfg, secrets map[string]any) {
	l.t.Helper()
	encode := func(v any) json.RawMessage {
		raw, err := json.Marshal(v)
		require.NoError(l.t, err)
		return raw
	}
	_, err := l.app.channels.SaveAccount(l.t.Context(), channels.Account{
		Code: code, Channel: c, Name: code, Config: encode(cfg), Secrets: encode(secrets),
		Settings: channels.AccountSettings{BaseURL: l.public, TrackClicks: true, TrackOpens: true, AppID: appid, Quiet: &channels.Quiet{}},
	})
	require.NoError(l.t, err)
}

func (l *loop) template(code string, c channels.Channel, content templates.Content) {
	l.t.Helper()
	t := templates.Template{Code: code, Channel: string(c), Lane: channels.LaneMarketing, Name: code}
	t.Body.Variants = map[templates.Locale]templates.Content{templates.ZH: content}
	_, err := l.app.templates.Save(l.t.Context(), auth.System, templates.SaveInput{Template: t})
	require.NoError(l.t, err)
	_, err = l.app.templates.Publish(l.t.Context(), code, 0)
	require.NoError(l.t, err)
}

func (l *loop) tx(fn func(tx pgx.Tx) error) {
	l.t.Helper()
	require.NoError(l.t, pg.InTx(l.t.Context(), l.app.db, fn))
}

// pass lets time go by at the providers and takes in what they report.
func (l *loop) pass(d time.Duration) {
	l.t.Helper()
	l.sandbox.Advance(d)
	l.sandbox.Pump(l.t.Context())
	require.NoError(l.t, l.app.channels.Drain(l.t.Context()))
}

func (l *loop) count(sql string, args ...any) int {
	l.t.Helper()
	var n int
	require.NoError(l.t, l.app.db.QueryRow(l.t.Context(), sql, args...).Scan(&n))
	return n
}

const loopAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"

// providers sets up one account of each channel on both sides.
func (l *loop) providers() {
	l.t.Helper()
	require.NoError(l.t, l.sandbox.AddApp(sandbox.App{
		AppID: "wxoa", Secret: "s", Subject: "acme", Token: "tok", AESKey: loopAESKey, Mode: sandbox.ModeSafe, Callback: l.public + "/callbacks/wechat/wechat_main",
	}))
	require.NoError(l.t, l.sandbox.AddApp(sandbox.App{
		AppID: "wxmp", Secret: "s", Mini: true, Subject: "acme", Token: "tok", AESKey: loopAESKey, Mode: sandbox.ModeSafe, Callback: l.public + "/callbacks/wechat/mini_main",
	}))
	smsToken := strings.Repeat("k", 32)
	require.NoError(l.t, l.sandbox.AddSMSAccount(sandbox.SMSAccount{
		AccessKey: "ak", Secret: "sk", Template: map[string]sandbox.SMSTemplate{"SMS_9": {Text: "新品到店 ${url} 拒收请回复R", Kind: "marketing"}},
		ReceiptURL: l.public + "/callbacks/sms/sms_main/" + smsToken + "/reports", ReplyURL: l.public + "/callbacks/sms/sms_main/" + smsToken + "/replies",
	}))
	l.account("wechat_main", channels.ChannelWeChat, "wxoa", map[string]any{"appid": "wxoa", "subject": "acme"}, map[string]any{"appsecret": "s", "token": "tok", "aes_key": loopAESKey})
	l.account("mini_main", channels.ChannelMiniProgram, "wxmp", map[string]any{"appid": "wxmp", "subject": "acme"}, map[string]any{"appsecret": "s", "token": "tok", "aes_key": loopAESKey})
	l.account("sms_main", channels.ChannelSMS, "", map[string]any{"access_key": "ak", "sign": "连客"}, map[string]any{"secret": "sk", "token": smsToken})
	l.account("mail_main", channels.ChannelEmail, "", map[string]any{"host": "smtp.brand.test", "port": 587, "from": "连客 <news@brand.test>", "domain": "bounce.brand.test"}, map[string]any{"secret": "vs"})

	l.template("oa", channels.ChannelWeChat, templates.Content{ProviderTemplate: "T1", Fields: map[string]string{"thing1": "新品到店"}, URL: "https://shop.example.com/oa"})
	l.template("mp", channels.ChannelMiniProgram, templates.Content{ProviderTemplate: "T2", Fields: map[string]string{"thing1": "新品到店"}, Page: "pages/new"})
	l.template("sms", channels.ChannelSMS, templates.Content{ProviderTemplate: "SMS_9", Fields: map[string]string{"url": "https://shop.example.com/sms"}, Text: "新品到店 https://shop.example.com/sms 拒收请回复R"})
	l.template("mail", channels.ChannelEmail, templates.Content{Subject: "新品到店", HTML: `<p>您好</p><a href="https://shop.example.com/mail">去看看</a><a href="{{ unsubscribe_url }}">退订</a>`, Text: "https://shop.example.com/mail"})
}

// TestMessagesThroughRealProtocols: what is planned leaves through the SDK, signed requests and SMTP; receipts, taps,
// replies and one-click unsubscribing come back through the callback addresses and change message, consent and activity.
func TestMessagesThroughRealProtocols(t *testing.T) {
	t.Parallel()
	l := newLoop(t)
	l.providers()
	require.NoError(t, l.app.channels.SetCaps(t.Context(), nil)) // four marketing messages in a minute, on purpose
	l.sandbox.AddPerson(sandbox.Person{ID: "p1", Phone: "13800138000", Email: "wang@mail.test"})
	require.NoError(t, l.sandbox.VerifyCallback(t.Context(), "wxoa"))

	// The member exists with phone and mail; the WeChat accounts are met by following and by granting, as in life.
	var birth member.Birth
	l.tx(func(tx pgx.Tx) error {
		found, err := l.app.door.Observe(t.Context(), tx, []capture.Person{{
			Keys: []identity.Key{
				{NS: identity.NSSource, Scope: "crm", Value: "1"}, {NS: identity.NSPhone, Value: "13800138000"}, {NS: identity.NSEmail, Value: "wang@mail.test"},
				{NS: identity.NSWeChatOpenID, Scope: "wxoa", Value: sandbox.OpenID("wxoa", "p1")}, {NS: identity.NSWeChatOpenID, Scope: "wxmp", Value: sandbox.OpenID("wxmp", "p1")},
			},
			Source: "crm", At: l.app.clock.Now().Add(-48 * time.Hour), Consents: []capture.Consent{{Channel: "sms", Granted: true}, {Channel: "email", Granted: true}},
		}})
		if err == nil {
			require.NoError(t, found[0].Err)
			birth = found[0].Birth
		}
		return err
	})
	require.NoError(t, l.sandbox.Follow("p1", "wxoa", "store7"))
	require.NoError(t, l.sandbox.Grant("p1", "wxmp", "T2", 1))
	l.pass(0)
	require.Equal(t, 1, l.count(`SELECT count(*) FROM member.activities WHERE key = 'account_followed'`))

	l.sandbox.SetReactions(1, sandbox.Reactions{
		"wechat": {Click: 1, Within: time.Second}, "sms": {Click: 1, OptOut: 1, Within: time.Second}, "email": {Open: 1, Click: 1, OptOut: 1, Within: time.Second},
	})
	intents := map[string]channels.Intent{}
	for code, c := range map[string]channels.Channel{"oa": channels.ChannelWeChat, "mp": channels.ChannelMiniProgram, "sms": channels.ChannelSMS, "mail": channels.ChannelEmail} {
		intents[code] = channels.Intent{SendKey: id.Derived("loop", code), Birth: birth, Channel: c, Template: code}
	}
	l.tx(func(tx pgx.Tx) error {
		for _, in := range intents {
			if err := l.app.channels.Plan(t.Context(), tx, []channels.Intent{in, in}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, l.app.channels.Drain(t.Context()))
	state := func(code string) channels.State {
		m, err := l.app.channels.Get(t.Context(), channels.RefOf(birth, intents[code].SendKey))
		require.NoError(t, err)
		require.Empty(t, m.Reason, code)
		return m.State
	}
	for code := range intents {
		require.Equal(t, channels.StateAccepted, state(code), code)
	}
	sent := l.sandbox.Sends("")
	require.Len(t, sent, 4, "each once")

	for range 6 {
		l.pass(5 * time.Second)
	}
	require.Equal(t, channels.StateClicked, state("oa"))
	require.Equal(t, channels.StateDelivered, state("mp"), "a subscribe message has no tracked link")
	require.Equal(t, channels.StateClicked, state("sms"))
	require.Equal(t, channels.StateClicked, state("mail"))
	require.Equal(t, 4, l.count(`SELECT count(*) FROM member.activities WHERE key = 'message_sent'`))
	require.Equal(t, 3, l.count(`SELECT count(*) FROM member.activities WHERE key = 'message_clicked'`))
	require.Equal(t, 1, l.count(`SELECT count(*) FROM member.activities WHERE key = 'message_opened'`))

	// They answered R and unsubscribed: the next marketing messages stay here.
	again := func(code string) channels.Message {
		in := intents[code]
		in.SendKey = id.Derived("loop again", code)
		l.tx(func(tx pgx.Tx) error { return l.app.channels.Plan(t.Context(), tx, []channels.Intent{in}) })
		require.NoError(t, l.app.channels.Drain(t.Context()))
		m, err := l.app.channels.Get(t.Context(), channels.RefOf(birth, in.SendKey))
		require.NoError(t, err)
		return m
	}
	for _, code := range []string{"sms", "mail"} {
		require.Equal(t, channels.ReasonNoConsent, again(code).Reason, code)
	}
	require.Equal(t, channels.StateSuppressed, again("mp").State, "the grant is used up")
	require.NoError(t, l.sandbox.Unfollow("p1", "wxoa"))
	l.pass(0)
	require.Equal(t, channels.StateSuppressed, again("oa").State)
	require.Len(t, l.sandbox.Sends(""), len(sent), "nothing more left")
}
