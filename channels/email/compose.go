package email

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	gomail "github.com/wneessen/go-mail"

	"github.com/lianke/lianke/channels"
)

// composed is a message ready for the wire.
type composed struct {
	from string // envelope
	to   string
	id   string // Message-ID without brackets
	raw  []byte // dot-stuffed, ends with CRLF
}

// keyMAC is short: it only keeps strangers from reporting on messages they did not get.
const keyMAC = 5

func (c Config) mac(key string) string {
	h := hmac.New(sha256.New, []byte(c.Secret))
	h.Write([]byte(key))
	return hex.EncodeToString(h.Sum(nil)[:keyMAC])
}

// returnAddress is where reports about the message of a send key go.
func (c Config) returnAddress(kind, key string) string {
	return kind + "+" + key + "." + c.mac(key) + "@" + c.Domain
}

// sendKey reads a return address back. It refuses one that we did not make.
func (c Config) sendKey(address string) (kind, key string, ok bool) {
	local, domain, found := strings.Cut(strings.Trim(address, "<> "), "@")
	kind, rest, plus := strings.Cut(local, "+")
	key, mac, dot := strings.Cut(rest, ".")
	if !found || !plus || !dot || !strings.EqualFold(domain, c.Domain) {
		return "", "", false
	}
	if !hmac.Equal([]byte(strings.ToLower(mac)), []byte(c.mac(key))) {
		return "", "", false
	}
	return kind, key, true
}

// safeKey tells whether a send key can be part of an address: local parts end at 64 characters.
func safeKey(key string) bool {
	if key == "" || len(key) > 40 {
		return false
	}
	return strings.IndexFunc(key, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}) < 0
}

// Check holds a message against what is ours to keep, before anything leaves.
func Check(to string, c channels.Content) error {
	if a, err := mail.ParseAddress(to); err != nil || a.Address != to || strings.ContainsAny(to, "\r\n \t") {
		return ErrAddress
	}
	if strings.TrimSpace(c.Subject) == "" || c.HTML == "" && c.Text == "" {
		return ErrEmpty
	}
	if c.Marketing {
		if u, err := url.Parse(c.Unsubscribe); err != nil || u.Scheme != "https" && !loopback(u) || u.Host == "" {
			return ErrUnsubscribe
		}
	}
	return nil
}

// loopback allows http for a program that serves itself: demo and tests.
func loopback(u *url.URL) bool {
	return u.Scheme == "http" && slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, u.Hostname())
}

// compose builds the message. Its date is when it leaves.
func (s *Sender) compose(m channels.Outgoing, now time.Time) (composed, error) {
	if err := Check(m.To, m.Content); err != nil {
		return composed{}, err
	}
	if !safeKey(m.SendKey) {
		return composed{}, ErrConfig.With("account", s.cfg.Account, "what", "send key")
	}
	out := composed{from: s.cfg.returnAddress("bounce", m.SendKey), to: m.To, id: m.SendKey + "@" + s.cfg.Domain}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.from)
	msg.ToMailAddress(&mail.Address{Address: m.To})
	if s.cfg.ReplyTo != "" {
		if err := msg.ReplyTo(s.cfg.ReplyTo); err != nil {
			return composed{}, fmt.Errorf("compose mail: %w", err)
		}
	}
	msg.Subject(m.Content.Subject)
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(out.id)
	msg.SetGenHeader("X-Send-Key", m.SendKey)
	for k, v := range m.Content.Headers {
		if strings.ContainsAny(k+v, "\r\n:") && !strings.Contains(v, ":") || strings.ContainsAny(v, "\r\n") || strings.ContainsAny(k, "\r\n: ") {
			return composed{}, fmt.Errorf("compose mail: header %q", k)
		}
		msg.SetGenHeader(gomail.Header(k), v)
	}
	if m.Content.Unsubscribe != "" {
		msg.SetGenHeaderPreformatted("List-Unsubscribe", "<"+m.Content.Unsubscribe+">,\r\n <mailto:"+s.cfg.returnAddress("unsubscribe", m.SendKey)+">")
		msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	}
	switch {
	case m.Content.HTML == "":
		msg.SetBodyString(gomail.TypeTextPlain, m.Content.Text)
	case m.Content.Text == "":
		msg.SetBodyString(gomail.TypeTextHTML, m.Content.HTML)
	default:
		msg.SetBodyString(gomail.TypeTextPlain, m.Content.Text)
		msg.AddAlternativeString(gomail.TypeTextHTML, m.Content.HTML)
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return composed{}, fmt.Errorf("compose mail: %w", err)
	}
	raw := b.Bytes()
	if s.dkim != nil {
		signature, err := s.signature(raw)
		if err != nil {
			return composed{}, err
		}
		raw = append([]byte(signature), raw...)
	}
	out.raw = stuff(raw)
	return out, nil
}

// signedHeaders are covered by DKIM even where they are absent, so that nobody can add them.
var signedHeaders = []string{
	"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	"List-Unsubscribe", "List-Unsubscribe-Post",
}

func (s *Sender) signature(raw []byte) (string, error) {
	signer, err := dkim.NewSigner(s.dkim)
	if err != nil {
		return "", fmt.Errorf("sign mail: %w", err)
	}
	if _, err := io.Copy(signer, bytes.NewReader(raw)); err != nil {
		return "", fmt.Errorf("sign mail: %w", err)
	}
	if err := signer.Close(); err != nil {
		return "", fmt.Errorf("sign mail: %w", err)
	}
	return signer.Signature(), nil
}

// stuff doubles dots at the start of lines and ends the text with CRLF.
func stuff(raw []byte) []byte {
	if bytes.HasPrefix(raw, []byte(".")) {
		raw = append([]byte("."), raw...)
	}
	raw = bytes.ReplaceAll(raw, []byte("\n."), []byte("\n.."))
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		raw = append(raw, "\r\n"...)
	}
	return raw
}
