package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/templates/demo"
)

// leakSieve is a writer that remembers which of the world's personal data it saw in clear, at any place. It knows every
// phone number, mail address, platform id and every name of at least three characters.
//
// It looks at hundreds of megabytes, so it goes by the first eight bytes at each place: a bit set of their hashes says of
// nearly all places that nothing begins there.
type leakSieve struct {
	secret map[string]bool
	heads  map[uint64][]string // secrets by their first eight bytes
	filter [1 << (sieveBits - 6)]uint64

	mu    sync.Mutex
	found map[string]bool
	bytes int64
}

const (
	sieveHead = 8
	sieveBits = 20
)

func newLeakSieve(w *demo.World) *leakSieve {
	s := &leakSieve{secret: map[string]bool{}, found: map[string]bool{}}
	for _, p := range w.People {
		if len([]rune(p.Name)) >= 3 {
			s.secret[p.Name] = true
		}
		for _, a := range p.Accounts {
			for _, r := range a.Rows {
				for _, v := range []string{r.Phone, r.Email, r.Card, r.UnionID, r.OpenID, r.OUID, r.OMID} {
					s.secret[v] = true
				}
			}
		}
	}
	// Associates' names are on the organisation chart, in clear.
	for _, o := range demo.Organisation {
		for _, name := range o.Associates {
			delete(s.secret, name)
		}
	}
	delete(s.secret, "")
	s.heads = make(map[uint64][]string, len(s.secret))
	for v := range s.secret {
		if len(v) < sieveHead {
			panic("demo: a secret too short to be looked for: " + v) // the world makes none
		}
		head := binary.LittleEndian.Uint64([]byte(v))
		s.heads[head] = append(s.heads[head], v)
		bit := sieveHash(head)
		s.filter[bit/64] |= 1 << (bit % 64)
	}
	return s
}

func sieveHash(head uint64) uint64 { return head * 0x9E3779B97F4A7C15 >> (64 - sieveBits) }

// Write looks through the bytes. Writers hand over whole lines.
func (s *leakSieve) Write(b []byte) (int, error) {
	var hits []string
	for i := 0; i+sieveHead <= len(b); i++ {
		head := binary.LittleEndian.Uint64(b[i:])
		if bit := sieveHash(head); s.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		for _, v := range s.heads[head] {
			if len(b)-i >= len(v) && string(b[i:i+len(v)]) == v {
				hits = append(hits, v)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(len(b))
	for _, h := range hits {
		s.found[h] = true
	}
	return len(b), nil
}

// tally is what a sieve has seen.
type tally struct {
	Bytes int64
	Leaks []string // masked
}

func (s *leakSieve) tally() tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := tally{Bytes: s.bytes}
	for f := range s.found {
		r := []rune(f)
		t.Leaks = append(t.Leaks, string(r[:1])+"…"+string(r[len(r)-1:]))
	}
	sort.Strings(t.Leaks)
	return t
}

const sievedTablesSQL = `
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (@schemas) AND c.relkind = 'r'
ORDER BY 1`

// scanDatabase passes every byte of every table through the sieve, binary columns with their printable bytes as they are.
func (s *leakSieve) scanDatabase(ctx context.Context, db *pg.Pool) error {
	conn, err := db.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("scan the database: %w", err)
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, sievedTablesSQL, pg.Args{"schemas": pg.Schemas})
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if _, err := conn.Exec(ctx, `SET bytea_output = 'escape'`); err != nil {
		return fmt.Errorf("scan the database: %w", err)
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `RESET bytea_output`) }()
	for _, t := range tables {
		if _, err := conn.Conn().PgConn().CopyTo(ctx, s, "COPY "+t+" TO STDOUT"); err != nil {
			return fmt.Errorf("scan %s: %w", t, err)
		}
	}
	return nil
}

// checkLeaks searches the database, and everything that was logged at any level, for personal data in clear.
func (r *demoRun) checkLeaks(ctx context.Context, rep *demoReport) error {
	stored := newLeakSieve(r.world)
	if err := stored.scanDatabase(ctx, r.db); err != nil {
		return err
	}
	if err := r.provoke(ctx); err != nil {
		return err
	}
	if r.stack != nil {
		if err := r.logs.scanFiles(filepath.Join(r.cfg.DataDir, "log", "*.log")); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name, where string
		tally       tally
	}{
		{"no_plain_data_in_database", "every table", stored.tally()},
		{"no_plain_data_in_logs", "what was logged at every level, also of refused requests, and the servers' own logs", r.logs.tally()},
	} {
		v := verdict{looked: c.tally.Bytes}
		for _, l := range c.tally.Leaks {
			v.fail("%s stands in clear", l)
		}
		rep.add(c.name, v, fmt.Sprintf("byte search of %s for %d phones, names, addresses and platform ids", c.where, len(stored.secret)))
	}
	return nil
}

// provoke sends what clumsy or hostile clients send, with somebody's real data in places where it does not belong: each
// must be refused, and a refusal is what tempts a program to log its input.
func (r *demoRun) provoke(ctx context.Context) error {
	p := r.world.People[0]
	var openID string
	for _, a := range p.Accounts {
		for _, row := range a.Rows {
			openID = cmp.Or(openID, row.OpenID)
		}
	}
	for _, t := range []struct{ method, path, body string }{
		{http.MethodGet, "/api/v1/members?q=" + url.QueryEscape(p.Phone), ""},
		{http.MethodGet, "/api/v1/members/" + url.PathEscape(p.Name), ""},
		{http.MethodPost, "/api/v1/session", fmt.Sprintf(`{"login":%q,"password":%q}`, p.Phone, p.Name)},
		{http.MethodPost, "/v1/identify", fmt.Sprintf(`{"userId":%q,"traits":{"name":%q,"phone":%q,"email":%q}`, p.Phone, p.Name, p.Phone, p.Email)},
		{http.MethodPost, "/callbacks/wechat/" + demoOfficial + "?signature=wrong&timestamp=1&nonce=1&openid=" + openID,
			"<xml><FromUserName>" + openID + "</FromUserName></xml>"},
		{http.MethodPost, "/callbacks/sms/" + demoSMS + "/wrong-token", fmt.Sprintf(`[{"phone_number":%q,"content":%q}]`, p.Phone, p.Name)},
		{http.MethodGet, "/u/" + url.PathEscape(p.Email), ""},
	} {
		req, err := http.NewRequestWithContext(ctx, t.method, r.base+t.path, strings.NewReader(t.body))
		if err != nil {
			return fmt.Errorf("provoke: %w", err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("provoke: %w", err)
		}
		if err := res.Body.Close(); err != nil {
			return fmt.Errorf("provoke: %w", err)
		}
		if res.StatusCode < 400 {
			return fmt.Errorf("provoke: %s %s answers %d to a request that must be refused", t.method, t.path[:8], res.StatusCode)
		}
	}
	return nil
}

// scanFiles passes the files that match pattern through the sieve, line by line.
func (s *leakSieve) scanFiles(pattern string) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("scan logs: %w", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("scan logs: %w", err)
		}
		for line := range bytes.Lines(text) {
			if _, err := s.Write(line); err != nil {
				return err
			}
		}
	}
	return nil
}
