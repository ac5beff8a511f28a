package email

import (
	"encoding/base64"
	"encoding/binary"
	"mime"
	"strings"
)

// Mails are written by appending to a buffer that the connection uses again: composing is most of what a mail costs, and
// the shapes it needs are few. Text stays as it is where mail allows that, becomes base64 where it is mostly not ASCII
// (Chinese grows by a third, not threefold), and quoted-printable otherwise.

const (
	foldAt  = 76  // RFC 5322 wants lines of 78 characters at most
	longest = 998 // RFC 5321: the most that a line may have
)

// appendHeader writes a header whose value may hold anything: what mail does not allow is encoded (RFC 2047), long values
// are folded.
func appendHeader(dst []byte, name, value string) []byte {
	value = strings.TrimSpace(value)
	words := mime.BEncoding.Encode("UTF-8", value)
	dst = append(append(dst, name...), ':')
	if words != value {
		if first, _, _ := strings.Cut(words, " "); len(name)+2+len(first) > foldAt {
			dst = append(dst, "\r\n"...)
		}
		dst = append(dst, ' ')
		return append(append(dst, strings.ReplaceAll(words, "?= =?", "?=\r\n =?")...), "\r\n"...)
	}
	dst = append(dst, ' ')
	for column, rest := len(name)+2, value; rest != ""; {
		word, after, space := strings.Cut(rest, " ")
		if space {
			word = rest[:len(word)+1]
		}
		// A single space before the word becomes the fold; runs of spaces stay on their line, or readers would shorten them.
		n := len(dst)
		if column+len(word) > foldAt+1 && dst[n-1] == ' ' && dst[n-2] != ' ' && dst[n-2] != ':' && word != " " {
			dst = append(dst[:n-1], "\r\n "...)
			column = 1
		}
		dst = append(dst, word...)
		column, rest = column+len(word), after
	}
	return append(dst, "\r\n"...)
}

// appendText writes the headers of a text part, an empty line and the text, which does not end in a line break of its own.
func appendText(dst []byte, kind, text string) []byte {
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	encoding := encodingOf(text)
	dst = append(append(dst, "Content-Type: "...), kind...)
	dst = append(append(dst, "; charset=UTF-8\r\nContent-Transfer-Encoding: "...), encoding...)
	dst = append(dst, "\r\n\r\n"...)
	switch encoding {
	case "7bit":
		return appendLines(dst, text)
	case "base64":
		return appendBase64(dst, appendLines(make([]byte, 0, len(text)+len(text)/16), text))
	default:
		return appendQuoted(dst, text)
	}
}

// encodingOf chooses the transfer encoding of a text with \n line breaks.
func encodingOf(text string) string {
	if !ascii(text) {
		high := 0
		for i := range len(text) {
			high += int(text[i] >> 7)
		}
		if high > len(text)/6 {
			return "base64"
		}
		return "quoted-printable"
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "base64"
	}
	for rest := text; len(rest) > longest; {
		n := strings.IndexByte(rest, '\n')
		if n < 0 || n > longest {
			return "quoted-printable"
		}
		rest = rest[n+1:]
	}
	return "7bit"
}

func ascii(s string) bool {
	for len(s) >= 8 {
		if binary.LittleEndian.Uint64([]byte(s[:8]))&0x8080808080808080 != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// appendLines writes a text with CRLF line breaks.
func appendLines(dst []byte, text string) []byte {
	for {
		n := strings.IndexByte(text, '\n')
		if n < 0 {
			return append(dst, text...)
		}
		dst = append(append(dst, text[:n]...), '\r', '\n')
		text = text[n+1:]
	}
}

func appendBase64(dst, raw []byte) []byte {
	const line = 57 // bytes that make 76 characters
	for len(raw) > line {
		dst = append(base64.StdEncoding.AppendEncode(dst, raw[:line]), '\r', '\n')
		raw = raw[line:]
	}
	return base64.StdEncoding.AppendEncode(dst, raw)
}

// appendQuoted writes quoted-printable: lines of at most 76 characters, what is not printable as =XX, and so a space at the
// end of a line.
func appendQuoted(dst []byte, text string) []byte {
	const (
		most = 75 // and a "=" where the line goes on
		hex  = "0123456789ABCDEF"
	)
	for column, i := 0, 0; i < len(text); {
		run := i
		for run < len(text) && run-i < most-column && plain[text[run]] {
			run++
		}
		if run > i {
			// A space stays itself only where something follows it on its line.
			for run > i && (text[run-1] == ' ' || text[run-1] == '\t') && (run == len(text) || text[run] == '\n' || run-i == most-column) {
				run--
			}
			dst = append(dst, text[i:run]...)
			column += run - i
			if i = run; i == len(text) {
				break
			}
		}
		c := text[i]
		switch {
		case c == '\n':
			dst = append(dst, '\r', '\n')
			column = 0
			i++
		case column == most, column+3 > most && (!plain[c] || c == ' ' || c == '\t'):
			dst = append(dst, "=\r\n"...)
			column = 0
		default:
			dst = append(dst, '=', hex[c>>4], hex[c&15])
			column += 3
			i++
		}
	}
	return dst
}

// plain tells which bytes stand for themselves in quoted-printable.
var plain = func() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = c != '='
	}
	t[' '], t['\t'] = true, true
	return t
}()
