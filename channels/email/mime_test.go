package email

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/channels"
)

// Whatever a mail says, a reader gets it back, no line is longer than mail allows, and only ASCII travels.
func TestCompose_ReadersGetBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	bun := setup(t, func(c *Config) { c.ReplyTo = "客服 <care@brand.test>" })
	k := bun.sender.composer()
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`([a-z .=]{0,120}\n){0,8}`),
		rapid.StringMatching(`[双十一会员 a.\n\r]{1,400}`),
		rapid.Map(rapid.IntRange(850, 1010), func(n int) string { return strings.Repeat("a longer line ", 80)[:n] }),
		rapid.Just("From the top\n.\n..\n\x00"),
	)
	rapid.Check(t, func(rt *rapid.T) {
		m := message("wang@mail.test")
		c := &m.Content
		c.Subject = text.Filter(func(s string) bool { return strings.TrimSpace(s) != "" && len(s) < 900 }).Draw(rt, "subject")
		c.Text, c.HTML = text.Draw(rt, "text"), text.Draw(rt, "html")
		if c.Text == "" && c.HTML == "" {
			c.Text = "x"
		}
		note := rapid.StringMatching(`[会 a-z]{0,300}`).Draw(rt, "note")
		c.Headers = map[string]string{"X-Note": note}
		made, err := k.compose(m, bun.Now())
		require.NoError(rt, err)

		require.True(rt, bytes.HasSuffix(made.raw, []byte("\r\n")))
		for line := range bytes.SplitSeq(bytes.TrimSuffix(made.raw, []byte("\r\n")), []byte("\r\n")) {
			require.LessOrEqual(rt, len(line), longest)
			require.False(rt, bytes.ContainsAny(line, "\r\n"))
			require.NotEqual(rt, ".", string(line))
		}
		require.True(rt, ascii(string(made.raw)))

		raw := bytes.ReplaceAll(made.raw, []byte("\r\n.."), []byte("\r\n."))
		got, err := mail.ReadMessage(bytes.NewReader(raw))
		require.NoError(rt, err)
		word := func(name string) string {
			s, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get(name))
			require.NoError(rt, err)
			return s
		}
		require.Equal(rt, strings.TrimSpace(strings.ToValidUTF8(c.Subject, "\ufffd")), word("Subject"))
		require.Equal(rt, strings.TrimSpace(note), word("X-Note"))
		require.Equal(rt, "<wang@mail.test>", got.Header.Get("To"))
		require.Equal(rt, "<"+made.id+">", got.Header.Get("Message-Id"))
		require.Equal(rt, m.SendKey, got.Header.Get("X-Send-Key"))
		from, err := mail.ParseAddress(got.Header.Get("Reply-To"))
		require.NoError(rt, err)
		require.Equal(rt, "客服", from.Name)

		var want, read []string
		for _, part := range []string{c.Text, c.HTML} {
			if part != "" {
				want = append(want, strings.ReplaceAll(strings.ReplaceAll(part, "\r\n", "\n"), "\r", "\n"))
			}
		}
		kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
		require.NoError(rt, err)
		if kind != "multipart/alternative" {
			read = append(read, decoded(rt, got.Header.Get("Content-Transfer-Encoding"), got.Body))
			// The end of the data is the end of a line.
			if want[0] != "" && !strings.HasSuffix(want[0], "\n") {
				read[0] = strings.TrimSuffix(read[0], "\n")
			}
		} else {
			parts := multipart.NewReader(got.Body, params["boundary"])
			for {
				p, err := parts.NextRawPart()
				if err == io.EOF {
					break
				}
				require.NoError(rt, err)
				read = append(read, decoded(rt, p.Header.Get("Content-Transfer-Encoding"), p))
			}
		}
		require.Equal(rt, want, read)
	})
}

func decoded(t require.TestingT, encoding string, r io.Reader) string {
	switch encoding {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	default:
		require.Equal(t, "7bit", encoding)
	}
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	return strings.ReplaceAll(string(raw), "\r\n", "\n")
}

// A connection holds the mail whose answer it waits for and the next one; making the next must not touch the former.
func TestCompose_TwoMailsAtOnce(t *testing.T) {
	t.Parallel()
	bun := setup(t)
	k := bun.sender.composer()
	var last composed
	var was string
	for i := range 10 {
		m := message("wang@mail.test")
		m.Content.Text = strings.Repeat("行\n", 1+i*37%11)
		next, err := k.compose(m, bun.Now())
		require.NoError(t, err)
		require.Equal(t, was, string(last.raw))
		last, was = next, string(next.raw)
	}
}

func TestCompose_RefusesWhatWouldBreakOut(t *testing.T) {
	t.Parallel()
	bun := setup(t)
	for name, change := range map[string]func(*channels.Content){
		"header value": func(c *channels.Content) { c.Headers = map[string]string{"X-A": "b\r\nBcc: x@evil.test"} },
		"header name":  func(c *channels.Content) { c.Headers = map[string]string{"X-A: b\r\nBcc": "x@evil.test"} },
		"unsubscribe": func(c *channels.Content) {
			c.Marketing, c.Unsubscribe = false, "https://a.test/>\r\nBcc: <x@evil.test"
		},
	} {
		m := message("wang@mail.test")
		change(&m.Content)
		_, err := bun.sender.composer().compose(m, bun.Now())
		require.Error(t, err, name)
	}
	m := message("wang@mail.test")
	m.Content.Subject = "hello\r\nBcc: x@evil.test"
	made, err := bun.sender.composer().compose(m, bun.Now())
	require.NoError(t, err)
	got, err := mail.ReadMessage(bytes.NewReader(made.raw))
	require.NoError(t, err)
	require.Empty(t, got.Header.Get("Bcc"))
}
