package email

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

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

func (c Config) mac(key string) string { return macOf(hmac.New(sha256.New, []byte(c.Secret)), key) }

// macOf signs a key with a state that can be used again.
func macOf(h hash.Hash, key string) string {
	h.Reset()
	h.Write([]byte(key))
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:keyMAC])
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

// composer makes the mails of one connection. Its buffers are used again: a mail is good until the one after the next is
// made, since a connection holds two at most.
type composer struct {
	sender  *Sender
	mac     hash.Hash
	buffers [2][]byte
	turn    int
}

func (s *Sender) composer() *composer {
	return &composer{sender: s, mac: hmac.New(sha256.New, []byte(s.cfg.Secret))}
}

// compose builds the message. Its date is when it leaves.
func (k *composer) compose(m channels.Outgoing, now time.Time) (composed, error) {
	s, c := k.sender, &m.Content
	if err := Check(m.To, *c); err != nil {
		return composed{}, err
	}
	if !safeKey(m.SendKey) {
		return composed{}, ErrConfig.With("account", s.cfg.Account, "what", "send key")
	}
	tail := "+" + m.SendKey + "." + macOf(k.mac, m.SendKey) + "@" + s.cfg.Domain
	out := composed{from: "bounce" + tail, to: m.To, id: m.SendKey + "@" + s.cfg.Domain}

	b := append(k.buffers[k.turn][:0], s.head...)
	b = append(append(append(b, "To: <"...), m.To...), ">\r\n"...)
	b = appendHeader(b, "Subject", c.Subject)
	b = append(now.AppendFormat(append(b, "Date: "...), time.RFC1123Z), "\r\nMessage-ID: <"...)
	b = append(append(append(b, out.id...), ">\r\nX-Send-Key: "...), m.SendKey...)
	b = append(b, "\r\n"...)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value := c.Headers[name]
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) || strings.ContainsAny(value, "\r\n") {
			return composed{}, fmt.Errorf("compose mail: header %q", name)
		}
		b = appendHeader(b, name, value)
	}
	if c.Unsubscribe != "" {
		if strings.ContainsFunc(c.Unsubscribe, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }) {
			return composed{}, ErrUnsubscribe
		}
		b = append(append(append(b, "List-Unsubscribe: <"...), c.Unsubscribe...), ">,\r\n <mailto:unsubscribe"...)
		b = append(append(b, tail...), ">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"...)
	}
	b = append(b, "MIME-Version: 1.0\r\n"...)
	switch {
	case c.HTML == "":
		b = appendText(b, "text/plain", c.Text)
	case c.Text == "":
		b = appendText(b, "text/html", c.HTML)
	default:
		boundary := "=_" + rand.Text()
		b = append(append(append(b, "Content-Type: multipart/alternative;\r\n boundary=\""...), boundary...), "\"\r\n"...)
		b = appendText(append(append(append(b, "\r\n--"...), boundary...), "\r\n"...), "text/plain", c.Text)
		b = appendText(append(append(append(b, "\r\n--"...), boundary...), "\r\n"...), "text/html", c.HTML)
		b = append(append(append(b, "\r\n--"...), boundary...), "--\r\n"...)
	}
	if s.dkim != nil {
		signature, err := s.signature(b)
		if err != nil {
			return composed{}, err
		}
		b = append([]byte(signature), b...)
	}
	out.raw = stuff(b)
	k.buffers[k.turn], k.turn = out.raw, 1-k.turn
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
	if bytes.Contains(raw, []byte("\n.")) {
		raw = bytes.ReplaceAll(raw, []byte("\n."), []byte("\n.."))
	}
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		raw = append(raw, "\r\n"...)
	}
	return raw
}
