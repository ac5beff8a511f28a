package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	netsmtp "net/smtp"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Mail is one message as the sink received it.
type Mail struct {
	At   time.Time `json:"at"`
	From string    `json:"from"` // envelope
	To   string    `json:"to"`
	TLS  bool      `json:"tls"`
	User string    `json:"user,omitempty"`
	Raw  []byte    `json:"raw"`
}

type mailState struct {
	users   map[string]string // AUTH user → password; empty = anybody may send
	refused map[string]bool   // addresses without a mailbox
	bounces string            // host:port that takes delivery status notifications; empty = they are dropped
	late    map[string]bool   // addresses that are accepted and bounce later
	kept    []Mail
}

func newMailState() mailState {
	return mailState{users: map[string]string{}, refused: map[string]bool{}, late: map[string]bool{}}
}

// MailUser adds credentials; from the first one on the sink asks for them.
func (s *Server) MailUser(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mail.users[user] = password
}

// NoMailbox makes an address refuse with 550 5.1.1, at once or, with late, in a notification after acceptance.
func (s *Server) NoMailbox(address string, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if late {
		s.mail.late[strings.ToLower(address)] = true
	} else {
		s.mail.refused[strings.ToLower(address)] = true
	}
}

// BouncesTo says where delivery status notifications are handed in, by SMTP without TLS.
func (s *Server) BouncesTo(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mail.bounces = addr
}

// Mails returns the kept messages, oldest first.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mail.kept...)
}

func (s *Server) newSMTP() *smtp.Server {
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{s: s, conn: c}, nil
	}))
	srv.Domain = "mx.sandbox.test"
	srv.TLSConfig = s.ca.config()
	srv.MaxMessageBytes = 10 << 20
	srv.MaxRecipients = 100
	srv.EnableSMTPUTF8 = true
	srv.EnableDSN = true
	srv.ErrorLog = quietLogger{}
	srv.ReadTimeout, srv.WriteTimeout = time.Minute, time.Minute
	return srv
}

type quietLogger struct{}

func (quietLogger) Printf(string, ...any) {}
func (quietLogger) Println(...any)        {}

type mailSession struct {
	s    *Server
	conn *smtp.Conn
	user string
	from string
	to   []string
}

func (m *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (m *mailSession) Auth(string) (sasl.Server, error) {
	check := func(user, password string) error {
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		if want, ok := m.s.mail.users[user]; !ok || want != password {
			return smtp.ErrAuthFailed
		}
		m.user = user
		return nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

func (m *mailSession) Reset() { m.from, m.to = "", nil }

func (m *mailSession) Logout() error { return nil }

func (m *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if len(m.s.mail.users) > 0 && m.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	m.from, m.to = from, nil
	return nil
}

func (m *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	f := m.s.takeFaultLocked("smtp rcpt " + to)
	switch {
	case f != nil && f.Kind == FaultGreylist:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, please try again in 300 seconds"}
	case f != nil && f.Kind == FaultNoMailbox, m.s.mail.refused[strings.ToLower(to)]:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	case f != nil && f.Kind == FaultCode:
		return &smtp.SMTPError{Code: f.Code, EnhancedCode: smtp.NoEnhancedCode, Message: f.Text}
	}
	m.to = append(m.to, to)
	return nil
}

func (m *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s := m.s
	_, overTLS := m.conn.TLSConnectionState()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range m.to {
		f := s.takeFaultLocked("smtp data " + to)
		if f != nil && f.Kind == FaultCode {
			return &smtp.SMTPError{Code: f.Code, EnhancedCode: smtp.NoEnhancedCode, Message: f.Text}
		}
		received := Mail{At: s.now(), From: m.from, To: to, TLS: overTLS, User: m.user, Raw: raw}
		s.mail.kept = append(s.mail.kept, received)
		if len(s.mail.kept) > 2*s.opt.Keep {
			s.mail.kept = append([]Mail(nil), s.mail.kept[s.opt.Keep:]...)
		}
		h := headers(raw)
		sent := Sent{
			At: received.At, Provider: "email", Account: m.from, To: to, Key: h.Get("X-Send-Key"), ProviderID: h.Get("Message-Id"),
			Subject: decodeWord(h.Get("Subject")), Size: len(raw),
		}
		if err := s.ledger.add(sent); err != nil {
			return err
		}
		s.finishMail(sent, raw)
		if f != nil && (f.Kind == FaultAcceptThenTimeout || f.Kind == FaultReset) {
			_ = m.conn.Conn().Close() // accepted, but the client never learns
			return nil
		}
	}
	return nil
}

func headers(raw []byte) textproto.MIMEHeader {
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader() // what could be read
	return h
}

func decodeWord(v string) string {
	d, err := new(mime.WordDecoder).DecodeHeader(v)
	if err != nil {
		return v
	}
	return d
}

// finishMail puts the message before its reader, or sends it back.
func (s *Server) finishMail(sent Sent, raw []byte) {
	if s.mail.late[strings.ToLower(sent.To)] || s.reacts(sent, "fail") {
		s.schedule(2*time.Second, sent.To, func(ctx context.Context) { s.bounce(ctx, sent, raw) })
		return
	}
	if _, ok := s.reactions["email"]; !ok {
		return
	}
	s.schedule(2*time.Second, sent.To, func(context.Context) { s.react(sent, "", read(raw)) })
}

var (
	pixel    = regexp.MustCompile(`<img[^>]+src="([^"]+)"`)
	hrefs    = regexp.MustCompile(`<a[^>]+href="([^"]+)"`)
	oneClick = regexp.MustCompile(`<(https?://[^>]+)>`)
)

// read finds in a mail what a reader's program uses: remote image, links, one-click unsubscribe.
func read(raw []byte) reading {
	h := headers(raw)
	var r reading
	if strings.EqualFold(h.Get("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click") {
		if m := oneClick.FindStringSubmatch(h.Get("List-Unsubscribe")); m != nil {
			r.unsubscribe = m[1]
		}
	}
	html := part(raw, "text/html")
	for _, m := range pixel.FindAllStringSubmatch(html, -1) {
		r.pixel = unescape(m[1])
	}
	for _, m := range hrefs.FindAllStringSubmatch(html, -1) {
		if u := unescape(m[1]); u != r.unsubscribe {
			r.urls = append(r.urls, u)
		}
	}
	if len(r.urls) == 0 {
		r.urls = links(part(raw, "text/plain"), nil)
	}
	return r
}

func unescape(v string) string { return strings.ReplaceAll(v, "&amp;", "&") }

// part returns the decoded text of the first part of a type.
func part(raw []byte, want string) string {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	return partOf(textproto.MIMEHeader(m.Header), m.Body, want, 0)
}

func partOf(h textproto.MIMEHeader, body io.Reader, want string, depth int) string {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && depth < 5 {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return ""
			}
			if found := partOf(p.Header, p, want, depth+1); found != "" {
				return found
			}
		}
	}
	if kind != want {
		return ""
	}
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, _ := io.ReadAll(io.LimitReader(body, 1<<20)) // what could be read
	return string(text)
}

// bounce sends a delivery status notification (RFC 3464) to the envelope sender.
func (s *Server) bounce(_ context.Context, sent Sent, raw []byte) {
	s.mu.Lock()
	target := s.mail.bounces
	s.mu.Unlock()
	if target == "" || sent.Account == "" {
		return
	}
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	body := fmt.Sprintf(`From: Mail Delivery System <MAILER-DAEMON@mx.sandbox.test>
To: %s
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_bounce"

--=_bounce
Content-Type: text/plain; charset=utf-8

<%s>: host mx.sandbox.test said: 550 5.1.1 No such user here

--=_bounce
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.sandbox.test
Arrival-Date: %s

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user here

--=_bounce
Content-Type: text/rfc822-headers

%s

--=_bounce--
`, sent.Account, sent.To, s.Now().Format(time.RFC1123Z), sent.To, strings.ReplaceAll(string(head), "\r\n", "\n"))
	err := netsmtp.SendMail(target, nil, "", []string{sent.Account}, []byte(strings.ReplaceAll(body, "\n", "\r\n")))
	e := Exchange{At: s.Now(), Route: "bounce " + sent.Account, Request: body, Status: 250}
	if err != nil {
		e.Status, e.Response = 0, err.Error()
	}
	s.keep(e)
}
