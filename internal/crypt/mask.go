package crypt

import (
	"log/slog"
	"strings"
	"unicode/utf8"
)

// Personal is a value that must not be shown by accident: it prints, logs and encodes masked. Reveal is the only way to
// the clear text, and a search for it finds every place that uses it.
type Personal struct {
	kind  string
	clear string
}

// The kinds of personal data, which are also the kinds they are sealed and tokenised under.
const (
	KindName  = "name"
	KindPhone = "phone"
	KindEmail = "email"
	KindValue = "value" // any other identifier: openid, card number, external user id
)

// Name, Phone, Email and Value wrap a clear text.
func Name(s string) Personal  { return Personal{KindName, s} }
func Phone(s string) Personal { return Personal{KindPhone, s} }
func Email(s string) Personal { return Personal{KindEmail, s} }
func Value(s string) Personal { return Personal{KindValue, s} }

// Reveal returns the clear text.
func (p Personal) Reveal() string { return p.clear }

// Kind returns the kind of the value.
func (p Personal) Kind() string { return p.kind }

// Empty reports whether there is no value.
func (p Personal) Empty() bool { return p.clear == "" }

// String returns the masked form: 138****5678, 沈**, s***@example.com, oX…9k.
func (p Personal) String() string { return Mask(p.kind, p.clear) }

// GoString masks %#v too.
func (p Personal) GoString() string { return p.String() }

// LogValue masks the value in structured logs.
func (p Personal) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText masks the value in JSON.
func (p Personal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Mask returns the form of a value that an operator without the right to reveal may see.
func Mask(kind, clear string) string {
	if clear == "" {
		return ""
	}
	runes := utf8.RuneCountInString(clear)
	switch kind {
	case KindPhone:
		s := strings.TrimPrefix(clear, "+86")
		if len(s) < 7 {
			return "****"
		}
		return s[:len(s)-8+max(0, 8-len(s))] + "****" + s[len(s)-4:]
	case KindName:
		first, _ := utf8.DecodeRuneInString(clear)
		return string(first) + strings.Repeat("*", min(runes-1, 3)) + strings.Repeat("*", max(0, 1-(runes-1)))
	case KindEmail:
		at := strings.LastIndexByte(clear, '@')
		if at < 1 {
			return "***"
		}
		first, _ := utf8.DecodeRuneInString(clear)
		return string(first) + "***" + clear[at:]
	default:
		if runes <= 6 {
			return "***"
		}
		r := []rune(clear)
		return string(r[:2]) + "…" + string(r[len(r)-2:])
	}
}

// PersonalOf wraps a clear text of a kind.
func PersonalOf(kind, clear string) Personal { return Personal{kind, clear} }
