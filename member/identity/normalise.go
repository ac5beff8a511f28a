package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nothing are values that programs send when they have none.
var nothing = map[string]bool{
	"null": true, "nil": true, "none": true, "undefined": true, "n/a": true, "nan": true, "[object object]": true, "-": true,
	"00000000-0000-0000-0000-000000000000": true, "无": true, "未知": true,
}

// placeholders are values that stand for nobody in particular. The key of a record in its own system is exempt: record 0
// and record 1111 exist.
var placeholders = map[string]bool{
	"anonymous": true, "guest": true, "unknown": true, "na": true, "true": true, "false": true, "0": true, "-1": true, "test": true,
	"id": true, "not_authenticated": true, "distinct_id": true, "匿名": true,
}

// tidy is trim, and refuses placeholders.
func tidy(s string) (string, bool) {
	s, ok := trim(s)
	if !ok || placeholders[strings.ToLower(s)] {
		return "", false
	}
	if strings.Trim(s, string([]rune(s)[:1])) == "" && utf8.RuneCountInString(s) > 3 {
		return "", false // 0000…, xxxx…, ****
	}
	return s, true
}

// trim composes Unicode, drops control and space characters at the ends and quotes around the value, and refuses what has
// no content.
func trim(s string) (string, bool) {
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
	if s == "" || nothing[strings.ToLower(s)] || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return "", false
	}
	return s, true
}

// record is the key of a record in the system that owns it.
func record(s string) (string, bool) {
	s, ok := trim(s)
	return s, ok && len(s) <= 256 && !zeros(s)
}

// zeros reports whether a value is a filler like 0000.
func zeros(s string) bool { return len(s) > 3 && strings.Trim(s, "0") == "" }

// numbered is for ids that a system counts: 1111 and 22222 are ordinary there, placeholders are not.
func numbered(limit int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		s, ok := trim(s)
		return s, ok && len(s) <= limit && !placeholders[strings.ToLower(s)] && !zeros(s)
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
