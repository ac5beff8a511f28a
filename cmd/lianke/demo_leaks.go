package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"sort"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/templates/demo"
)

// leakSieve lets bytes through and remembers which of the world's personal data it saw in clear. It knows every phone
// number, mail address, platform id and every name of at least three characters.
type leakSieve struct {
	to     io.Writer
	secret map[string]bool

	mu    sync.Mutex
	found map[string]bool
	bytes int64
}

// candidates are the shapes that personal data has; only matches that are somebody's count.
var candidates = regexp.MustCompile(`1[3-9]\d{9}|[a-z0-9]{6}\d{1,4}@mail\.robin\.example|o[A-Za-z0-9_-]{27}|om[a-z0-9]{18}|AAG[a-z0-9]{21}|RC\d{8}`)

// han matches runs of Chinese characters; names are looked for at every offset.
var han = regexp.MustCompile(`\p{Han}{3,}`)

func newLeakSieve(w *demo.World, to io.Writer) *leakSieve {
	s := &leakSieve{to: to, secret: map[string]bool{}, found: map[string]bool{}}
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
	return s
}

// Write looks through the bytes and passes them on. Writers hand over whole lines.
func (s *leakSieve) Write(b []byte) (int, error) {
	s.look(b)
	if s.to == nil {
		return len(b), nil
	}
	return s.to.Write(b)
}

func (s *leakSieve) look(b []byte) {
	var hits []string
	for _, m := range candidates.FindAll(b, -1) {
		if s.secret[string(m)] {
			hits = append(hits, string(m))
		}
	}
	for _, m := range han.FindAll(b, -1) {
		runes := []rune(string(m))
		for i := range runes {
			for n := 3; n <= 4 && i+n <= len(runes); n++ {
				if name := string(runes[i : i+n]); s.secret[name] {
					hits = append(hits, name)
				}
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(len(b))
	for _, h := range hits {
		s.found[h] = true
	}
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
