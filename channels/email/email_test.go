package email

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sandbox/sandboxtest"
	"github.com/lianke/lianke/internal/id"
)

type inbox struct {
	mu       sync.Mutex
	receipts []channels.Receipt
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

func (i *inbox) Inbound(context.Context, []channels.Inbound) error { return nil }

type bundle struct {
	*sandboxtest.Shared
	cfg    Config
	sender *Sender
	inbox  *inbox
}

func setup(t testing.TB, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{Shared: sandboxtest.Own(t, sandbox.Options{}), inbox: &inbox{}}
	b.cfg = Config{Account: "brand-mail", Host: "smtp.brand.test", Port: 587, From: "连客 <news@brand.test>", Domain: "bounce.brand.test", Secret: "s3cret", Conns: 2}
	for _, f := range change {
		f(&b.cfg)
	}
	var err error
	b.sender, err = New(b.cfg, b.Network, b.Clock)
	require.NoError(t, err)
	t.Cleanup(b.sender.Close)
	return b
}

func message(to string) channels.Outgoing {
	key := id.New()
	return channels.Outgoing{MessageID: key, SendKey: key.String(), To: to, Content: channels.Content{
		Subject: "双十一 会员专享", Text: "您好\n.点开头的行\n", HTML: `<p>您好</p><a href="http://127.0.0.1:1/t/1?a=1&amp;b=2">去看看</a>`,
		Unsubscribe: "https://brand.test/u/" + key.String(), Marketing: true,
	}}
}

func (b *bundle) one(t *testing.T, m channels.Outgoing) channels.Result {
	t.Helper()
	return b.sender.Send(t.Context(), []channels.Outgoing{m})[0]
}

func TestSend_HeadersTLSAndContent(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"starttls", "implicit"} {
		b := setup(t, func(c *Config) {
			c.TLS, c.Username, c.Password = mode, "brand", "pw"
			if mode == "implicit" {
				c.Port = 465
			}
		})
		b.MailUser("brand", "pw")
		m := message("wang@mail.test")
		r := b.one(t, m)
		require.Equal(t, channels.OutcomeAccepted, r.Outcome, "%+v", r)
		got := b.Mails()[0]
		require.True(t, got.TLS)
		require.Equal(t, "brand", got.User)
		require.Equal(t, b.cfg.returnAddress("bounce", m.SendKey), got.From)
		parsed, err := mail.ReadMessage(bytes.NewReader(got.Raw))
		require.NoError(t, err)
		require.Equal(t, r.ProviderID, parsed.Header.Get("Message-Id"))
		require.Equal(t, "List-Unsubscribe=One-Click", parsed.Header.Get("List-Unsubscribe-Post"))
		require.Contains(t, parsed.Header.Get("List-Unsubscribe"), "<"+m.Content.Unsubscribe+">, <mailto:unsubscribe+"+m.SendKey)
		require.Equal(t, m.SendKey, b.Sends("email")[0].Key)
		require.Equal(t, m.Content.Subject, b.Sends("email")[0].Subject)
	}
}

func TestSend_WrongPasswordStopsTheAccountNotTheMessage(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Username, c.Password = "brand", "wrong" })
	b.MailUser("brand", "pw")
	r := b.one(t, message("wang@mail.test"))
	require.Equal(t, channels.OutcomeRetry, r.Outcome)
	require.Equal(t, channels.ReasonCredential, r.Reason)
	require.Empty(t, b.Mails())
}

func TestSend_RefusalsInTheMiddleOfAConnection(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Conns = 1 })
	b.NoMailbox("nobody@mail.test", false)
	b.Inject(
		sandbox.Fault{Route: "smtp rcpt grey@", Kind: sandbox.FaultGreylist, Times: 1},
		sandbox.Fault{Route: "smtp data spam@", Kind: sandbox.FaultCode, Code: 554, Text: "5.7.1 rejected as spam for spam@mail.test", Times: 1},
		sandbox.Fault{Route: "smtp rcpt full@", Kind: sandbox.FaultCode, Code: 452, Text: "4.2.2 mailbox full", Times: 1},
		sandbox.Fault{Route: "smtp data lost@", Kind: sandbox.FaultReset, Times: 1},
	)
	to := []string{"a@mail.test", "nobody@mail.test", "b@mail.test", "grey@mail.test", "nobody@mail.test", "c@mail.test", "spam@mail.test", "full@mail.test", "lost@mail.test", "d@mail.test", "not an address", "e@mail.test"}
	var batch []channels.Outgoing
	for _, a := range to {
		batch = append(batch, message(a))
	}
	var got []string
	for i, r := range b.sender.Send(t.Context(), batch) {
		got = append(got, fmt.Sprintf("%s %s %s", to[i], r.Outcome, r.Reason))
		require.NotContains(t, r.Text, "@mail.test")
	}
	require.Equal(t, []string{
		"a@mail.test accepted ", "nobody@mail.test rejected no_address", "b@mail.test accepted ", "grey@mail.test retry busy",
		"nobody@mail.test rejected no_address", "c@mail.test accepted ", "spam@mail.test rejected reputation", "full@mail.test retry mailbox",
		"lost@mail.test unknown timeout", "d@mail.test accepted ", "not an address rejected input", "e@mail.test accepted ",
	}, got)
	var received []string
	for _, m := range b.Mails() {
		received = append(received, m.To)
	}
	require.Equal(t, []string{"a@mail.test", "b@mail.test", "c@mail.test", "lost@mail.test", "d@mail.test", "e@mail.test"}, received, "each once")
}

func TestSend_StaleConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, channels.OutcomeAccepted, b.one(t, message("a@mail.test")).Outcome)
	c := <-b.sender.idle
	require.NoError(t, c.client.Close()) // as a relay does with idle clients
	b.sender.idle <- c
	require.Equal(t, channels.OutcomeAccepted, b.one(t, message("b@mail.test")).Outcome)
	require.Len(t, b.Mails(), 2)
}

// plainServer is a relay without extensions that ends every session after two messages.
func TestSend_OldServerWithoutPipelining(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	var mu sync.Mutex
	var received []string
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				s := &oldServer{conn: conn, took: func(to string) { mu.Lock(); received = append(received, to); mu.Unlock() }}
				s.serve()
			}()
		}
	}()
	b := setup(t)
	b.sender.client = nil
	direct := &directDial{addr: l.Addr().String()}
	s, err := New(Config{Account: "a", Host: "old.test", Port: 25, TLS: "none", From: "a@b.test", Domain: "b.test", Secret: "s", Conns: 1}, b.Network, b.Clock)
	require.NoError(t, err)
	require.NoError(t, direct.apply(s))
	var batch []channels.Outgoing
	for i := range 5 {
		batch = append(batch, message(fmt.Sprintf("m%d@mail.test", i)))
	}
	for _, r := range s.Send(t.Context(), batch) {
		require.Equal(t, channels.OutcomeAccepted, r.Outcome, "%+v", r)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"m0@mail.test", "m1@mail.test", "m2@mail.test", "m3@mail.test", "m4@mail.test"}, received)
}

func TestDKIM_CoversTheUnsubscribeHeaders(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	b := setup(t, func(c *Config) {
		c.DKIM.Domain, c.DKIM.Selector = "brand.test", "s1"
		c.DKIM.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	})
	require.Equal(t, channels.OutcomeAccepted, b.one(t, message("a@mail.test")).Outcome)
	raw := b.Mails()[0].Raw
	verify := func(raw []byte) error {
		v, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			require.Equal(t, "s1._domainkey.brand.test", name)
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
		}})
		require.NoError(t, err)
		require.Len(t, v, 1)
		return v[0].Err
	}
	require.NoError(t, verify(raw))
	require.Error(t, verify(bytes.Replace(raw, []byte("https://brand.test/u/"), []byte("https://evil.test/u/"), 1)))
	require.Error(t, verify(bytes.Replace(raw, []byte("One-Click"), []byte("Two-Click"), 1)))
}

func TestReports_BounceComplaintUnsubscribe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	receiver := NewReceiver("mx.brand.test", func(_ context.Context, domain string) ([]Config, error) {
		if domain != b.cfg.Domain {
			return nil, nil
		}
		return []Config{b.cfg}, nil
	}, b.inbox, b.Clock, slog.New(slog.DiscardHandler))
	go func() { done <- receiver.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	b.BouncesTo(l.Addr().String())
	b.NoMailbox("gone@mail.test", true)

	m := message("gone@mail.test")
	require.Equal(t, channels.OutcomeAccepted, b.one(t, m).Outcome)
	b.Advance(3 * time.Second)
	b.Pump(t.Context())
	require.Len(t, b.inbox.receipts, 1, "%+v", b.Exchanges("bounce"))
	got := b.inbox.receipts[0]
	require.Equal(t, channels.ReceiptBounced, got.Kind)
	require.Equal(t, m.SendKey, got.SendKey)
	require.True(t, got.Permanent)
	require.Equal(t, "5.1.1", got.Code)

	send := func(to, body string) error {
		return smtp.SendMail(l.Addr().String(), nil, "x@mail.test", []string{to}, []byte(strings.ReplaceAll(body, "\n", "\r\n")))
	}
	complaint := "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n--b\nContent-Type: message/rfc822\n\nX-Send-Key: " + m.SendKey + "\n\nx\n--b--\n"
	require.NoError(t, send(b.cfg.returnAddress("bounce", m.SendKey), complaint))
	require.Equal(t, channels.ReceiptComplained, b.inbox.receipts[1].Kind)
	require.NoError(t, send(b.cfg.returnAddress("unsubscribe", m.SendKey), "Subject: x\n\n"))
	require.Equal(t, channels.ReceiptUnsubscribed, b.inbox.receipts[2].Kind)
	require.NoError(t, send(b.cfg.returnAddress("bounce", m.SendKey), "Subject: 我在休假\n\n"))
	require.Len(t, b.inbox.receipts, 3, "an absence note is no report")

	address := b.cfg.returnAddress("bounce", m.SendKey)
	for i := strings.Index(address, "+") + 1; i < strings.Index(address, "@"); i++ {
		forged := []byte(address)
		forged[i] ^= 1
		require.Error(t, send(string(forged), complaint), "byte %d", i)
	}
	require.Error(t, send("postmaster@bounce.brand.test", complaint))
	b.inbox.fail = errors.New("down")
	require.ErrorContains(t, send(address, complaint), "451", "not acknowledged before it is durable")
}

func TestSandbox_ReaderTapsAndUnsubscribes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	var seen []string
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, r.ParseForm())
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Method+" "+r.URL.RequestURI()+" "+r.PostForm.Get("List-Unsubscribe"))
	}))
	t.Cleanup(web.Close)
	b.SetReactions(1, sandbox.Reactions{"email": {Open: 1, Click: 1, OptOut: 1, Within: time.Minute}})
	m := message("a@mail.test")
	m.Content.HTML = `<p>您好</p><a href="` + web.URL + `/t/1?a=1&amp;b=2">去</a><img src="` + web.URL + `/o/1.gif">`
	m.Content.Unsubscribe = web.URL + "/u/1"
	require.Equal(t, channels.OutcomeAccepted, b.one(t, m).Outcome)
	for range 6 {
		b.Advance(time.Minute)
		b.Pump(t.Context())
	}
	require.ElementsMatch(t, []string{"GET /o/1.gif ", "GET /t/1?a=1&b=2 ", "POST /u/1 One-Click"}, seen)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := message("a@mail.test").Content
	require.NoError(t, Check("a@mail.test", m))
	for _, bad := range []string{"", "a", "a@b\r\nRCPT TO:<x@y>", "A <a@b.test>", "a@b.test, c@d.test"} {
		require.ErrorIs(t, Check(bad, m), ErrAddress, bad)
	}
	m.Unsubscribe = "http://brand.test/u"
	require.ErrorIs(t, Check("a@mail.test", m), ErrUnsubscribe)
	m.Marketing = false
	require.NoError(t, Check("a@mail.test", m))
	m.Subject = " "
	require.ErrorIs(t, Check("a@mail.test", m), ErrEmpty)
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: x\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"))
	f.Add([]byte("Subject: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := parseReport(raw); err == nil && r.kind == "" {
			t.Fatal("a report without a kind")
		}
	})
}
