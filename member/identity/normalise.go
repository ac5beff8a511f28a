package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// blocked are values that programs send when they have none.
var blocked = map[string]bool{
	"null": true, "nil": true, "none": true, "undefined": true, "anonymous": true, "guest": true, "unknown": true, "n/a": true,
	"na": true, "nan": true, "true": true, "false": true, "[object object]": true, "0": true, "-1": true, "-": true, "test": true,
	"00000000-0000-0000-0000-000000000000": true, "id": true, "not_authenticated": true, "distinct_id": true, "无": true, "未知": true, "匿名": true,
}

// tidy composes Unicode, drops control and space characters at the ends and quotes around the value, and refuses blocked
// values and values without content.
func tidy(s string) (string, bool) {
	if !utf8.ValidString(s) {
		return "", false
	}
	s = norm.NFKC.String(s)
	for {
		t := strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\uFEFF' || r == '\u200B' })
		if len(t) >= 2 && (t[0] == '"' || t[0] == '\'') && t[len(t)-1] == t[0] {
			t = t[1 : len(t)-1]
		}
		if t == s {
			break
		}
		s = t
	}
	if s == "" || blocked[strings.ToLower(s)] || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return "", false
	}
	if strings.Trim(s, string([]rune(s)[:1])) == "" && utf8.RuneCountInString(s) > 3 {
		return "", false // 0000…, xxxx…, ****
	}
	return s, true
}

// numbered is opaque for ids that a system counts: 1111 and 22222 are ordinary there.
func numbered(limit int) func(string) (string, bool) {
	plain := opaque(limit)
	return func(s string) (string, bool) {
		if v, ok := plain(s); ok {
			return v, true
		}
		t := strings.TrimSpace(s)
		if len(t) < 2 || len(t) > limit || strings.Trim(t, "123456789") != "" {
			return "", false
		}
		return t, true
	}
}

func opaque(limit int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		s, ok := tidy(s)
		return s, ok && len(s) <= limit
	}
}

func upper(limit int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		s, ok := tidy(s)
		return strings.ToUpper(s), ok && len(s) <= limit
	}
}

// openid keeps case: platform ids are case-sensitive. JD's begin with "o*"; masked ids ("o***x") identify nobody.
func openid(s string) (string, bool) {
	s, ok := tidy(s)
	if !ok || len(s) > 128 || strings.ContainsAny(s, " \t") || strings.Contains(s, "**") {
		return "", false
	}
	return s, true
}

// phone returns E.164. Without a country code a number is mainland China's; 00 and + introduce one. Mainland numbers must
// be mobile (1[3-9] and 11 digits); Hong Kong has 8 digits, Macau 8, Taiwan 9 or 10 with the trunk 0.
func phone(s string) (string, bool) {
	s, ok := tidy(s)
	if !ok || len(s) > 40 {
		return "", false
	}
	plus := strings.HasPrefix(s, "+")
	var digits strings.Builder
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits.WriteRune(r)
		case r == '+' && i == 0, r == ' ', r == '-', r == '(', r == ')', r == '.', r == '\u00a0':
		default:
			return "", false
		}
	}
	d := digits.String()
	if !plus && strings.HasPrefix(d, "00") {
		plus, d = true, d[2:]
	}
	if !plus && len(d) == 11 && d[0] == '1' {
		d = "86" + d
	} else if !plus && len(d) != 13 && len(d) != 11 && len(d) != 12 {
		return "", false
	}
	cc, rest := "", ""
	for _, c := range []string{"852", "853", "886", "86"} {
		if strings.HasPrefix(d, c) {
			cc, rest = c, d[len(c):]
			break
		}
	}
	switch cc {
	case "86":
		rest = strings.TrimPrefix(rest, "0")
		if len(rest) != 11 || rest[0] != '1' || rest[1] < '3' || sameDigits(rest[3:]) {
			return "", false
		}
	case "852":
		if len(rest) != 8 || rest[0] < '4' {
			return "", false
		}
	case "853":
		if len(rest) != 8 || rest[0] != '6' {
			return "", false
		}
	case "886":
		rest = strings.TrimPrefix(rest, "0")
		if len(rest) != 9 || rest[0] != '9' {
			return "", false
		}
	default:
		if !plus || len(d) < 8 || len(d) > 15 || d[0] == '0' || sameDigits(d) {
			return "", false
		}
		return "+" + d, true
	}
	return "+" + cc + rest, true
}

func sameDigits(s string) bool { return strings.Trim(s, s[:1]) == "" }

// email lower-cases the whole address: mailboxes that differ by case alone do not occur in practice.
func email(s string) (string, bool) {
	s, ok := tidy(s)
	if !ok || len(s) > 254 || strings.ContainsAny(s, " \t,;<>*()\"") {
		return "", false
	}
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || strings.IndexByte(s, '@') != at {
		return "", false
	}
	host := s[at+1:]
	if dot := strings.LastIndexByte(host, '.'); dot < 1 || dot > len(host)-3 || strings.Contains(host, "..") {
		return "", false
	}
	return strings.ToLower(s), true
}
