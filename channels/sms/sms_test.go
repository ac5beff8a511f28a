package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sandbox/sandboxtest"
	"github.com/lianke/lianke/internal/id"
)

type inbox struct {
	mu       sync.Mutex
	receipts []channels.Receipt
	inbound  []channels.Inbound
	fail     error
}

func (i *inbox) Receipts(_ context.Context, r []channels.Receipt) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail == nil {
		i.receipts = append(i.receipts, r...)
	}
	return i.fail
}

func (i *inbox) Inbound(_ context.Context, items []channels.Inbound) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail == nil {
		i.inbound = append(i.inbound, items...)
	}
	return i.fail
}

type bundle struct {
	*sandboxtest.Shared
	cfg      Config
	sender   *Sender
	inbox    *inbox
	receiver *httptest.Server
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{Shared: sandboxtest.Own(t, sandbox.Options{}), inbox: &inbox{}}
	b.cfg = Config{Account: "brand-sms", AccessKey: "LTAI-test", Secret: "sk", Sign: "连客", Token: strings.Repeat("t", 32)}
	var err error
	b.sender, err = New(b.cfg, b.Client, b.Clock)
	require.NoError(t, err)
	c, err := NewCallback(b.cfg, b.inbox, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	mux := http.NewServeMux()
	token := func(r *http.Request) string { return r.PathValue("token") }
	mux.Handle("/receipts/{token}", c.Receipts(token))
	mux.Handle("/replies/{token}", c.Replies(token))
	b.receiver = httptest.NewServer(mux)
	t.Cleanup(b.receiver.Close)
	require.NoError(t, b.AddSMSAccount(sandbox.SMSAccount{
		AccessKey: b.cfg.AccessKey, Secret: b.cfg.Secret, Signs: []string{"连客"},
		Template: map[string]sandbox.SMSTemplate{
			"SMS_1": {Text: "${name}您好,券${code}已到账 ${url} 拒收请回复R", Kind: "marketing"},
			"SMS_2": {Text: "验证码${code}", Kind: "verify"},
		},
		ReceiptURL: b.receiver.URL + "/receipts/" + b.cfg.Token, ReplyURL: b.receiver.URL + "/replies/" + b.cfg.Token,
	}))
	return b
}

func message(to string) channels.Outgoing {
	key := id.New()
	return channels.Outgoing{MessageID: key, SendKey: key.String(), To: to, Content: channels.Content{
		Template: "SMS_1", Fields: map[string]string{"name": "王小明 & +~*", "code": "A1", "url": "http://127.0.0.1:1/x"},
		Text: "王小明您好,券A1已到账 拒收请回复R", Marketing: true,
	}}
}

func (b *bundle) one(t *testing.T, m channels.Outgoing) channels.Result {
	t.Helper()
	return b.sender.Send(t.Context(), []channels.Outgoing{m})[0]
}

func TestSend_ReceiptAndOptOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message("13800138000")
	r := b.one(t, m)
	require.Equal(t, channels.OutcomeAccepted, r.Outcome, "%+v", r)
	b.Advance(10 * time.Second)
	b.Pump(t.Context())
	b.Advance(time.Second)
	b.Pump(t.Context())
	require.Len(t, b.inbox.receipts, 1)
	got := b.inbox.receipts[0]
	require.Equal(t, channels.ReceiptDelivered, got.Kind)
	require.Equal(t, m.SendKey, got.SendKey)
	require.Equal(t, r.ProviderID, got.ProviderID)
	require.Less(t, got.At.Sub(sandboxtest.Start), time.Minute)

	require.NoError(t, b.Reply("13800138000", "r "))
	b.Pump(t.Context())
	require.Len(t, b.inbox.inbound, 1)
	require.Equal(t, channels.InboundOptOut, b.inbox.inbound[0].Kind)
	require.Equal(t, channels.Key{NS: "phone", Value: "13800138000"}, b.inbox.inbound[0].From)

	require.Equal(t, channels.OutcomeAccepted, b.one(t, message("13800138000")).Outcome)
	for range 3 {
		b.Advance(10 * time.Second)
		b.Pump(t.Context())
	}
	require.Len(t, b.inbox.receipts, 2)
	require.Equal(t, channels.ReasonOptOut, b.inbox.receipts[1].Reason, "the provider's own list stops it")
	require.True(t, b.inbox.receipts[1].Permanent)
}

func TestSend_WrongSignatureIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	base := func() *http.Request {
		address := "https://dysmsapi.aliyuncs.com/?" + canonicalQuery(map[string]string{"PhoneNumbers": "13800138000", "SignName": "连客", "TemplateCode": "SMS_2", "TemplateParam": `{"code":"1"}`})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, http.NoBody)
		require.NoError(t, err)
		sign(r, b.cfg.AccessKey, b.cfg.Secret, "SendSms", apiVersion, b.Clock.Now())
		return r
	}
	status := func(r *http.Request) int {
		res, err := b.Client.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	auth := base().Header.Get("Authorization")
	for i := strings.Index(auth, "Signature="); i < len(auth); i++ {
		r := base()
		v := []byte(r.Header.Get("Authorization"))
		v[i] ^= 1
		r.Header.Set("Authorization", string(v))
		require.GreaterOrEqual(t, status(r), 400, "signature byte %d", i)
	}
	for _, name := range []string{"x-acs-action", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "x-acs-version"} {
		r := base()
		r.Header.Set(name, r.Header.Get(name)+"0")
		require.GreaterOrEqual(t, status(r), 400, name)
	}
	r := base()
	r.URL.RawQuery += "&OutId=x"
	require.Equal(t, 400, status(r), "a parameter was added")
	require.Empty(t, b.Sends("sms"))

	r = base()
	require.Equal(t, 200, status(r))
	again, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL.String(), http.NoBody)
	require.NoError(t, err)
	again.Header = r.Header
	require.Equal(t, 400, status(again), "a nonce works once")
	require.Len(t, b.Sends("sms"), 1)

	b.Advance(16 * time.Minute)
	b.sender.cfg.Secret = "wrong"
	res := b.one(t, message("13800138000"))
	require.Equal(t, "InvalidTimeStamp.Expired", res.Code)
	b.Clock.Advance(16 * time.Minute)
	b.Advance(-16 * time.Minute)
	res = b.one(t, message("13800138000"))
	require.Equal(t, "SignatureDoesNotMatch", res.Code)
	require.True(t, res.Reason.AccountWide())
	require.NotContains(t, res.Text, "13800138000")
}

func TestOutcomes_EveryCodeOfTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for code, want := range verdicts {
		if !strings.Contains(code, ".") {
			continue // gateway codes have no dot and come with their own status; mapped below
		}
		b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultCode, Text: code, Times: 1})
		r := b.one(t, message("13800138000"))
		require.Equal(t, want.outcome, r.Outcome, code)
		require.Equal(t, want.reason, r.Reason, code)
		require.Equal(t, code, r.Code)
	}
	for code, want := range verdicts {
		require.Equal(t, want.outcome, result(&APIError{Code: code}, "").Outcome)
	}
	require.Equal(t, channels.ReasonUnmapped, result(&APIError{Code: "isv.NEW"}, "").Reason)
	require.Empty(t, b.Sends("sms"))
}

func TestOutcomes_TransportAndReconcile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lost, never := message("13800138001"), message("13800138002")
	b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultAcceptThenTimeout, Times: 1})
	require.Equal(t, channels.OutcomeUnknown, b.one(t, lost).Outcome)
	b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultReset, Times: 1})
	require.Equal(t, channels.OutcomeUnknown, b.one(t, never).Outcome)
	require.Len(t, b.Sends("sms"), 1)

	results := b.sender.Reconcile(t.Context(), []channels.Outgoing{lost, never}, b.Now())
	require.Equal(t, channels.OutcomeAccepted, results[0].Outcome)
	require.NotEmpty(t, results[0].ProviderID)
	require.Equal(t, channels.OutcomeRetry, results[1].Outcome)

	b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultStatus, Code: 503, Times: 1})
	require.Equal(t, channels.OutcomeRetry, b.one(t, never).Outcome)
	b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultStatus, Code: 502, Times: 1})
	require.Equal(t, channels.OutcomeUnknown, b.one(t, never).Outcome)
	b.Inject(sandbox.Fault{Route: "dysmsapi", Kind: sandbox.FaultStatus, Code: 502, Times: 1})
	require.Equal(t, channels.OutcomeUnknown, b.sender.Reconcile(t.Context(), []channels.Outgoing{lost}, b.Now())[0].Outcome)
}

func TestSend_LimitsPerNumber(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := channels.Outgoing{To: "13800138003", Content: channels.Content{Template: "SMS_2", Fields: map[string]string{"code": "1234"}}}
	require.Equal(t, channels.OutcomeAccepted, b.one(t, code).Outcome)
	r := b.one(t, code)
	require.Equal(t, "isv.BUSINESS_LIMIT_CONTROL", r.Code)
	require.Equal(t, time.Minute, r.RetryAfter, "one a minute")
	for range 4 {
		b.Advance(time.Minute)
		b.Clock.Advance(0)
		require.Equal(t, channels.OutcomeAccepted, b.one(t, code).Outcome)
	}
	b.Advance(time.Minute)
	require.Equal(t, time.Hour, b.one(t, code).RetryAfter, "five an hour")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := message("13800138000").Content
	require.NoError(t, Check("13800138000", m))
	require.NoError(t, Check("+8613800138000", m))
	require.ErrorIs(t, Check("1380013800", m), ErrNumber)
	m.Text = "没有退订"
	require.ErrorIs(t, Check("13800138000", m), ErrOptOutText)
	m.Marketing = false
	require.NoError(t, Check("13800138000", m))
	m.Text = "【假签名】"
	require.ErrorIs(t, Check("13800138000", m), ErrBrackets)
}

func TestCallback_PushLadderAndDuplicates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.inbox.fail = errors.New("down")
	require.Equal(t, channels.OutcomeAccepted, b.one(t, message("13800138004")).Outcome)
	attempts := func() int { return len(b.Exchanges("callback " + b.cfg.AccessKey)) }
	b.Advance(10 * time.Second)
	b.Pump(t.Context())
	b.Advance(time.Second)
	b.Pump(t.Context())
	require.Equal(t, 1, attempts())
	for i, wait := range []time.Duration{time.Minute, 5 * time.Minute} {
		b.Advance(wait)
		b.Pump(t.Context())
		require.Equal(t, i+2, attempts())
	}
	b.inbox.fail = nil
	b.Advance(10 * time.Minute)
	b.Pump(t.Context())
	require.Equal(t, 4, attempts())
	require.Len(t, b.inbox.receipts, 1)
}

func TestCallback_Refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	post := func(path, body string) int {
		res, err := http.Post(b.receiver.URL+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	good := `[{"phone_number":"13800138000","report_time":"2026-11-11 10:00:00","success":true,"err_code":"DELIVERED","biz_id":"1"}]`
	require.Equal(t, http.StatusOK, post("/receipts/"+b.cfg.Token, good))
	for i := range b.cfg.Token {
		wrong := []byte(b.cfg.Token)
		wrong[i] ^= 1
		require.Equal(t, http.StatusForbidden, post("/receipts/"+string(wrong), good))
	}
	for _, bad := range []string{`{}`, `[]`, `[{"report_time":"x","biz_id":"1"}]`, `[{"report_time":"2026-11-11 10:00:00"}]`, `not json`, ``} {
		require.Equal(t, http.StatusBadRequest, post("/receipts/"+b.cfg.Token, bad), bad)
		require.Equal(t, http.StatusBadRequest, post("/replies/"+b.cfg.Token, bad), bad)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, post("/receipts/"+b.cfg.Token, strings.Repeat(" ", 10<<20)))
	require.Len(t, b.inbox.receipts, 1)
	_, err := NewCallback(Config{Account: "a", Token: "short"}, b.inbox, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrConfig)
	short := b.cfg
	short.Token = "short"
	_, err = New(short, http.DefaultClient, b.Clock)
	require.ErrorIs(t, err, ErrConfig)
	require.NotContains(t, fmt.Sprint(slog.AnyValue(b.cfg).Resolve()), b.cfg.Secret)
}

func FuzzDecodePushes(f *testing.F) {
	f.Add([]byte(`[{"phone_number":"13800138000","report_time":"2026-11-11 10:00:00","success":true,"err_code":"DELIVERED","biz_id":"1"}]`))
	f.Add([]byte(`[{"phone_number":"13800138000","send_time":"2026-11-11 10:00:00","content":"TD","sequence_id":1}]`))
	f.Add([]byte(`[{"phone_number":"17000000000","send_time":"0000-01-01 0:00:00"}]`)) // year −1 in UTC, which JSON cannot hold
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := Config{Account: "a"}
		if receipts, err := decodeReceipts(cfg, data); err == nil && len(receipts) == 0 {
			t.Fatal("no receipts, no error")
		}
		items, err := decodeReplies(cfg, data)
		if err != nil {
			return
		}
		for _, i := range items {
			if len(i.From.Value) != 11 || i.DedupeKey == "" {
				t.Fatalf("unusable item %+v", i)
			}
		}
		if _, err := json.Marshal(items); err != nil {
			t.Fatal(err)
		}
	})
}
