package channels

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"html"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// A token is what stands behind /t/, /u/ and /o/: uvarint(birth) | id (8) | uvarint(link) | mac (10), base64url, some 32
// characters. The MAC covers purpose and content, so a token of one purpose does not work for another, and a forged one is
// refused without asking the database.

// purpose of a token.
type purpose string

const (
	purposeClick       purpose = "link.click"
	purposeOpen        purpose = "link.open"
	purposeUnsubscribe purpose = "link.unsubscribe"
)

const macSize = 10

// linker makes and reads tokens and keeps the addresses they lead to.
type linker struct {
	ring *crypt.Ring

	mu    sync.Mutex
	known map[string]int64 // address → link id
}

func newLinker(ring *crypt.Ring) *linker { return &linker{ring: ring, known: map[string]int64{}} }

func (l *linker) token(p purpose, r Ref, link int64) string {
	raw := binary.AppendUvarint(make([]byte, 0, 40), uint64(r.Birth))
	raw = binary.BigEndian.AppendUint64(raw, uint64(r.ID))
	raw = binary.AppendUvarint(raw, uint64(link))
	mac := l.ring.Token(string(p), string(raw))
	return base64.RawURLEncoding.EncodeToString(append(raw, mac[:macSize]...))
}

func (l *linker) parse(p purpose, token string) (r Ref, link int64, err error) {
	if len(token) > 80 {
		return r, 0, ErrToken
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < macSize+10 {
		return r, 0, ErrToken
	}
	body, mac := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	want := l.ring.Token(string(p), string(body))
	if subtle.ConstantTimeCompare(mac, want[:macSize]) != 1 {
		return r, 0, ErrToken
	}
	birth, n := binary.Uvarint(body)
	if n <= 0 || len(body) < n+9 {
		return r, 0, ErrToken
	}
	r = Ref{member.Birth(birth), int64(binary.BigEndian.Uint64(body[n:]))}
	id, m := binary.Uvarint(body[n+8:])
	if m <= 0 || n+8+m != len(body) {
		return Ref{}, 0, ErrToken
	}
	return r, int64(id), nil
}

func (l *linker) unsubscribeURL(base string, r Ref) string {
	return base + "/u/" + l.token(purposeUnsubscribe, r, 0)
}

// targets are the addresses found in a batch of messages, with their link ids once stored.
type targets struct{ ids map[string]int64 }

func (l *linker) collect() *targets { return &targets{ids: map[string]int64{}} }

// scan notes the addresses in a message.
func (t *targets) scan(c Content, skip string) {
	rewriteLinks(&c, skip, func(address string) string {
		if _, ok := t.ids[address]; !ok {
			t.ids[address] = 0
		}
		return address
	})
}

const insertLinksSQL = `
WITH input AS (
    SELECT DISTINCT hash, url
    FROM unnest(@hashes::bytea[], @urls::text[]) AS t (hash, url)
), added AS (
    INSERT INTO channels.links (hash, url)
    SELECT hash, url
    FROM input
    ORDER BY hash
    ON CONFLICT ON CONSTRAINT links_pkey DO NOTHING
    RETURNING id, url
)
SELECT id, url FROM added
UNION ALL
SELECT l.id, l.url
FROM channels.links l
JOIN input USING (hash)`

// store makes every address a link that tokens may lead to. Only what passes here is ever redirected to.
func (l *linker) store(ctx context.Context, db pg.DB, t *targets) error {
	var (
		hashes [][]byte
		urls   []string
	)
	l.mu.Lock()
	for address := range t.ids {
		if id, ok := l.known[address]; ok {
			t.ids[address] = id
			continue
		}
		sum := sha256.Sum256([]byte(address))
		hashes, urls = append(hashes, sum[:16]), append(urls, address)
	}
	l.mu.Unlock()
	// A row that another transaction is adding is seen by neither half: ask again.
	for attempt := 0; len(urls) > 0 && attempt < 5; attempt++ {
		rows, err := db.Query(ctx, insertLinksSQL, pg.Args{"hashes": hashes, "urls": urls})
		if err != nil {
			return fmt.Errorf("store links: %w", err)
		}
		var (
			id      int64
			address string
		)
		if _, err := pgx.ForEachRow(rows, []any{&id, &address}, func() error {
			t.ids[address] = id
			return nil
		}); err != nil {
			return fmt.Errorf("store links: %w", err)
		}
		missing := 0
		for _, u := range urls {
			if t.ids[u] == 0 {
				missing++
			}
		}
		if missing == 0 {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) > 10000 {
		clear(l.known)
	}
	for _, u := range urls {
		if t.ids[u] != 0 {
			l.known[u] = t.ids[u]
		}
	}
	return nil
}

// finish puts tracked addresses into a message, and the open pixel where the account wants it and the member consented.
func (l *linker) finish(c *Content, a Account, o outbound, t *targets) {
	base := a.Settings.BaseURL
	if base == "" {
		return
	}
	if a.Settings.TrackClicks && len(t.ids) > 0 {
		rewriteLinks(c, c.Unsubscribe, func(address string) string {
			id := t.ids[address]
			if id == 0 {
				return address
			}
			return base + "/t/" + l.token(purposeClick, o.Ref(), id)
		})
	}
	if a.Settings.TrackOpens && o.granted && c.HTML != "" {
		pixel := `<img src="` + base + "/o/" + l.token(purposeOpen, o.Ref(), 0) + `.gif" width="1" height="1" alt="">`
		if i := strings.LastIndex(c.HTML, "</body>"); i >= 0 {
			c.HTML = c.HTML[:i] + pixel + c.HTML[i:]
		} else {
			c.HTML += pixel
		}
	}
}

// rewriteLinks calls f for every http(s) address in the message except skip and puts what it returns in its place.
func rewriteLinks(c *Content, skip string, f func(string) string) {
	g := func(address string) string {
		if address == skip {
			return address
		}
		return f(address)
	}
	if isHTTP(c.URL) {
		c.URL = g(c.URL)
	}
	c.HTML = rewriteHTML(c.HTML, g)
	c.Text = rewriteText(c.Text, g)
	var fields map[string]string // the template's own map is shared: copy on write
	for name, value := range c.Fields {
		if !isHTTP(value) {
			continue
		}
		if changed := g(value); changed != value {
			if fields == nil {
				fields = make(map[string]string, len(c.Fields))
				for k, v := range c.Fields {
					fields[k] = v
				}
			}
			fields[name] = changed
		}
	}
	if fields != nil {
		c.Fields = fields
	}
}

func isHTTP(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// rewriteHTML leaves alone what f returns unchanged, byte for byte.
func rewriteHTML(s string, f func(string) string) string {
	const attr = `href="`
	var out strings.Builder
	written := 0 // s up to here is in out
	for at := 0; ; {
		i := strings.Index(s[at:], attr)
		if i < 0 {
			break
		}
		start := at + i + len(attr)
		n := strings.IndexByte(s[start:], '"')
		if n < 0 {
			break
		}
		at = start + n
		address := strings.TrimSpace(html.UnescapeString(s[start:at]))
		if !isHTTP(address) {
			continue
		}
		changed := f(address)
		if changed == address {
			continue
		}
		if out.Len() == 0 {
			out.Grow(len(s) + 256)
		}
		out.WriteString(s[written:start])
		out.WriteString(html.EscapeString(changed))
		written = at
	}
	if written == 0 {
		return s
	}
	out.WriteString(s[written:])
	return out.String()
}

func rewriteText(s string, f func(string) string) string {
	var out strings.Builder
	for {
		i := strings.Index(s, "http")
		if i < 0 {
			break
		}
		if !isHTTP(s[i:]) {
			out.WriteString(s[:i+4])
			s = s[i+4:]
			continue
		}
		end := strings.IndexFunc(s[i:], func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>"'`, r) })
		if end < 0 {
			end = len(s) - i
		}
		address := strings.TrimRight(s[i:i+end], ".,;:!?)")
		out.WriteString(s[:i])
		out.WriteString(f(address))
		s = s[i+len(address):]
	}
	if out.Len() == 0 {
		return s
	}
	out.WriteString(s)
	return out.String()
}
