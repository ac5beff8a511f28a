package wechat

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/silenceper/wechat/v2/util"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sandbox/sandboxtest"
	"github.com/lianke/lianke/internal/id"
)

const testAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"

// inbox keeps what it is given, once for each dedupe key, as the pipeline's does.
type inbox struct {
	mu       sync.Mutex
	receipts []channels.Receipt
	inbound  []channels.Inbound
	keys     map[string]bool
	calls    int
	fail     error
}

func (i *inbox) Receipts(_ context.Context, r []channels.Receipt) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	i.receipts = append(i.receipts, r...)
	return i.fail
}

func (i *inbox) Inbound(_ context.Context, items []channels.Inbound) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	if i.fail != nil {
		return i.fail
	}
	for _, item := range items {
		if !i.keys[item.DedupeKey] {
			i.keys[item.DedupeKey] = true
			i.inbound = append(i.inbound, item)
		}
	}
	return nil
}

// bundle is one account with everything around it.
type bundle struct {
	*sandboxtest.Shared
	cfg      Config
	deps     Deps
	inbox    *inbox
	callback *Callback
	logs     *bytes.Buffer
}

// setup makes an app of its own in the shared sandbox, with a follower "p1" of it, and a receiver.
func setup(t *testing.T, change ...func(*sandbox.App)) *bundle {
	t.Helper()
	s := sandboxtest.Open(t)
	b := &bundle{Shared: s, inbox: &inbox{keys: map[string]bool{}}, logs: &bytes.Buffer{}}
	appid := "wx" + strings.ReplaceAll(id.New().String(), "-", "")[14:30]
	b.cfg = Config{Account: "brand-" + appid, AppID: appid, AppSecret: "secret", Token: "token", AESKey: testAESKey, Subject: "acme"}
	b.deps = Deps{Client: s.Client, Clock: s.Clock, Log: slog.New(slog.NewJSONHandler(b.logs, nil))}
	var err error
	b.callback, err = NewCallback(b.cfg, b.inbox, b.deps)
	require.NoError(t, err)
	receiver := httptest.NewServer(b.callback)
	t.Cleanup(receiver.Close)
	app := sandbox.App{AppID: appid, Secret: "secret", Subject: "acme", Token: "token", AESKey: testAESKey, Mode: sandbox.ModeSafe, Callback: receiver.URL}
	for _, f := range change {
		f(&app)
	}
	require.NoError(t, s.AddApp(app))
	s.AddPerson(sandbox.Person{ID: "p1", Phone: "13800138000", Name: "王小明"})
	if !app.Mini {
		require.NoError(t, s.SeedFollower("p1", appid))
	}
	return b
}

func mini(a *sandbox.App) { a.Mini = true }

func (b *bundle) official(t *testing.T) *OfficialAccount {
	t.Helper()
	o, err := NewOfficialAccount(b.cfg, b.deps)
	require.NoError(t, err)
	return o
}

func (b *bundle) miniProgram(t *testing.T) *MiniProgram {
	t.Helper()
	p, err := NewMiniProgram(b.cfg, b.deps)
	require.NoError(t, err)
	return p
}

func (b *bundle) openid() string { return sandbox.OpenID(b.cfg.AppID, "p1") }

func (b *bundle) message(fields map[string]string) channels.Outgoing {
	key := id.New()
	return channels.Outgoing{MessageID: key, SendKey: key.String(), To: b.openid(), Content: channels.Content{
		Template: "T1", Fields: fields, URL: "http://127.0.0.1/t/x",
	}}
}

func (b *bundle) sent() int {
	n := 0
	for _, s := range b.Sends("") {
		if s.Account == b.cfg.AppID {
			n++
		}
	}
	return n
}

func (b *bundle) route(path string) string { return "api.weixin.qq.com" + path + " " + b.cfg.AppID }

func TestOfficialAccount_TemplateAndReceipt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oa := b.official(t)

	results := oa.Send(t.Context(), []channels.Outgoing{b.message(map[string]string{"thing1": "积分到账"}), b.message(map[string]string{"thing1": strings.Repeat("长", 21)})})
	require.Equal(t, channels.OutcomeAccepted, results[0].Outcome, "%+v", results[0])
	require.NotEmpty(t, results[0].ProviderID)
	require.Equal(t, channels.OutcomeRejected, results[1].Outcome)
	require.Equal(t, channels.ReasonContent, results[1].Reason)
	require.Equal(t, "47003", results[1].Code)
	require.Equal(t, "argument invalid! data.thing1.value invalid", results[1].Text)

	b.Advance(5 * time.Second)
	b.Pump(t.Context())
	require.Len(t, b.inbox.receipts, 1)
	require.Equal(t, channels.ReceiptDelivered, b.inbox.receipts[0].Kind)
	require.Equal(t, results[0].ProviderID, b.inbox.receipts[0].ProviderID)
	require.Equal(t, b.cfg.Account, b.inbox.receipts[0].Account)
}

func TestOfficialAccount_CustomerServiceWindow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oa := b.official(t)
	say := channels.Outgoing{MessageID: id.New(), To: b.openid(), Content: channels.Content{Text: "您好"}}

	require.Equal(t, "45015", oa.Send(t.Context(), []channels.Outgoing{say})[0].Code, "nobody opened the window")
	require.NoError(t, b.Say("p1", b.cfg.AppID, "在吗"))
	for range 5 {
		require.Equal(t, channels.OutcomeAccepted, oa.Send(t.Context(), []channels.Outgoing{say})[0].Outcome)
	}
	last := oa.Send(t.Context(), []channels.Outgoing{say})[0]
	require.Equal(t, "45047", last.Code)
	require.Equal(t, channels.ReasonWindow, last.Reason)
}

func TestTokens_RejectedTokenIsReplacedOnceForAll(t *testing.T) {
	t.Parallel()
	for _, code := range []int{40001, 42001, 40014} {
		b := setup(t)
		oa := b.official(t)
		require.Equal(t, channels.OutcomeAccepted, oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0].Outcome)
		before := len(b.tokenCalls())

		if code == 40001 {
			b.RevokeTokens(b.cfg.AppID)
		} else {
			b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/template/send"), Kind: sandbox.FaultTokenRevoked, Times: 1})
		}
		batch := make([]channels.Outgoing, 20)
		for i := range batch {
			batch[i] = b.message(nil)
		}
		for _, r := range oa.Send(t.Context(), batch) {
			require.Equal(t, channels.OutcomeAccepted, r.Outcome, "%+v", r)
		}
		require.Equal(t, 21, b.sent())
		require.Equal(t, 1, len(b.tokenCalls())-before, "one fetch for twenty rejected calls")
	}
}

func (b *bundle) tokenCalls() []sandbox.Exchange {
	var out []sandbox.Exchange
	for _, e := range b.Exchanges("/cgi-bin/stable_token") {
		if strings.Contains(e.Request, b.cfg.AppID) {
			out = append(out, e)
		}
	}
	return out
}

func TestTokens_ForcedOnceWhenTheServerInsists(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oa := b.official(t)
	b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/template/send"), Kind: sandbox.FaultCode, Code: 40001, Text: "invalid credential"})
	r := oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0]
	require.Equal(t, channels.OutcomeRetry, r.Outcome)
	require.Equal(t, channels.ReasonCredential, r.Reason)
	r = oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0]
	require.Equal(t, channels.OutcomeRetry, r.Outcome)
	forced := 0
	for _, e := range b.tokenCalls() {
		if strings.Contains(e.Request, `"force_refresh":true`) {
			forced++
		}
	}
	require.Equal(t, 1, forced, "a limit of 20 a day is not to be burnt")
}

func TestTokens_SharedCache(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.deps.Tokens = NewMemory(b.Clock)
	for range 2 { // two replicas, one token call
		require.Equal(t, channels.OutcomeAccepted, b.official(t).Send(t.Context(), []channels.Outgoing{b.message(nil)})[0].Outcome)
	}
	require.Len(t, b.tokenCalls(), 1)
}

func TestOutcomes_EveryCodeOfTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oa := b.official(t)
	require.Equal(t, channels.OutcomeAccepted, oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0].Outcome)
	before := b.sent()
	for code, want := range verdicts {
		if tokenRejected(code) {
			continue // see TestTokens
		}
		b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/template/send"), Kind: sandbox.FaultCode, Code: int(code), Text: "some text", Times: 1})
		r := oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0]
		require.Equal(t, want.outcome, r.Outcome, "code %d", code)
		require.Equal(t, want.reason, r.Reason, "code %d", code)
		require.Equal(t, want.after, r.RetryAfter, "code %d", code)
		require.Equal(t, "some text", r.Text, "the request id is not part of the text")
	}
	b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/template/send"), Kind: sandbox.FaultCode, Code: 99999, Text: "new", Times: 1})
	require.Equal(t, channels.ReasonUnmapped, oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0].Reason)
	require.Equal(t, before, b.sent(), "nothing was sent")
	require.True(t, channels.ReasonQuota.AccountWide())
}

func TestOutcomes_Transport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oa := b.official(t)
	template, one := b.route("/cgi-bin/message/template/send"), 1
	cases := []struct {
		name   string
		faults []sandbox.Fault
		want   channels.Outcome
		sent   int
	}{
		{"503 says nothing was done", []sandbox.Fault{{Kind: sandbox.FaultStatus, Code: 503, Times: one}}, channels.OutcomeRetry, 0},
		{"502 is settled by asking again with the same client_msg_id", []sandbox.Fault{{Kind: sandbox.FaultStatus, Code: 502, Times: one}}, channels.OutcomeAccepted, 1},
		{"accepted, answer lost: settled without a second message", []sandbox.Fault{{Kind: sandbox.FaultAcceptThenTimeout, Times: one}}, channels.OutcomeAccepted, 1},
		{"answers lost twice: unknown", []sandbox.Fault{{Kind: sandbox.FaultAcceptThenTimeout, Times: 2}}, channels.OutcomeUnknown, 1},
		{"lost, then refused as busy: unknown", []sandbox.Fault{{Kind: sandbox.FaultAcceptThenTimeout, Times: 1}, {Kind: sandbox.FaultStatus, Code: 503, Times: 1}}, channels.OutcomeUnknown, 1},
		{"half an answer, twice", []sandbox.Fault{{Kind: sandbox.FaultTruncate, Times: 2}}, channels.OutcomeUnknown, 1},
		{"busy", []sandbox.Fault{{Kind: sandbox.FaultBusy, Times: one}}, channels.OutcomeRetry, 0},
		{"quota", []sandbox.Fault{{Kind: sandbox.FaultQuota, Times: one}}, channels.OutcomeRetry, 0},
	}
	for _, c := range cases {
		before := b.sent()
		for _, f := range c.faults {
			f.Route = template
			b.Inject(f)
		}
		r := oa.Send(t.Context(), []channels.Outgoing{b.message(nil)})[0]
		require.Equal(t, c.want, r.Outcome, "%s: %+v", c.name, r)
		require.Equal(t, c.sent, b.sent()-before, c.name)
		require.NotContains(t, r.Text, "access_token")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, channels.ReasonCanceled, oa.Send(ctx, []channels.Outgoing{b.message(nil)})[0].Reason)
}

func TestMiniProgram_LoginPhoneAndGrants(t *testing.T) {
	t.Parallel()
	b := setup(t, mini)
	mp := b.miniProgram(t)

	code, err := b.LoginCode("p1", b.cfg.AppID)
	require.NoError(t, err)
	session, err := mp.Login(t.Context(), code)
	require.NoError(t, err)
	require.Equal(t, b.openid(), session.OpenID)
	require.Equal(t, sandbox.UnionID("acme", "p1"), session.UnionID)
	_, err = mp.Login(t.Context(), code)
	require.ErrorIs(t, err, ErrCode, "a code works once")

	code, err = b.PhoneCode("p1", b.cfg.AppID)
	require.NoError(t, err)
	phone, country, err := mp.Phone(t.Context(), code)
	require.NoError(t, err)
	require.Equal(t, "13800138000", phone)
	require.Equal(t, "86", country)

	send := func() channels.Result {
		m := b.message(map[string]string{"thing1": "到店礼", "amount2": "¥29.90", "time3": "2019年10月1日 15:01"})
		m.Content.Page = "pages/gift?id=1"
		return mp.Send(t.Context(), []channels.Outgoing{m})[0]
	}
	require.Equal(t, "43101", send().Code, "no grant")
	require.NoError(t, b.Grant("p1", b.cfg.AppID, "T1", 2))
	b.Pump(t.Context())
	require.Len(t, b.inbox.inbound, 2)
	require.Equal(t, channels.InboundSubscribeGrant, b.inbox.inbound[0].Kind)
	require.Equal(t, "T1", b.inbox.inbound[0].Value)
	require.Equal(t, channels.OutcomeAccepted, send().Outcome)
	last := send()
	require.Equal(t, channels.OutcomeAccepted, last.Outcome)
	used := send()
	require.Equal(t, channels.OutcomeRejected, used.Outcome)
	require.Equal(t, channels.ReasonRefused, used.Reason)

	b.Advance(5 * time.Second)
	b.Pump(t.Context())
	require.Len(t, b.inbox.receipts, 2)
	require.Equal(t, channels.ReceiptDelivered, b.inbox.receipts[0].Kind)

	// No client_msg_id here: a lost answer stays unknown and costs the grant.
	require.NoError(t, b.SeedGrants("p1", b.cfg.AppID, "T1", 1))
	b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/subscribe/send"), Kind: sandbox.FaultAcceptThenTimeout, Times: 1})
	require.Equal(t, channels.OutcomeUnknown, send().Outcome)
	require.Equal(t, 3, b.sent())
}

func TestFollower(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f, err := b.official(t).Follower(t.Context(), b.openid())
	require.NoError(t, err)
	require.True(t, f.Following)
	require.Equal(t, sandbox.UnionID("acme", "p1"), f.UnionID)
}

func TestUseClient_OneForTheProcessAndQuiet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.official(t)
	require.Equal(t, logrus.WarnLevel, logrus.GetLevel())
	b.deps.Client = &http.Client{}
	_, err := NewOfficialAccount(b.cfg, b.deps)
	require.ErrorIs(t, err, ErrSecondClient)
}

func TestParseErr(t *testing.T) {
	t.Parallel()
	var api *APIError
	require.ErrorAs(t, ParseErr(errors.New("template msg send error : errcode=43101 , errmsg=user refuse to accept the msg rid: 5f-00aa11bb-22cc33dd")), &api)
	require.Equal(t, int64(43101), api.Code)
	require.ErrorAs(t, ParseErr(errors.New("get stable access_token error : errcode=-1 , errormsg=system error rid: 11111111-22222222-33333333")), &api)
	require.Equal(t, APIError{-1, "system error", "11111111-22222222-33333333"}, *api)
	require.ErrorAs(t, ParseErr(util.NewCommonError("Send", 45009, "reach max api daily quota limit rid: 11111111-22222222-33333333")), &api)
	require.Equal(t, "reach max api daily quota limit", api.Text)
	var transport *TransportError
	require.ErrorAs(t, ParseErr(errors.New("http get error : uri=https://api.weixin.qq.com/x?access_token=SECRET , statusCode=502")), &transport)
	require.Equal(t, 502, transport.Status)
	require.NotContains(t, transport.Error(), "SECRET")
}
