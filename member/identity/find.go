package identity

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Query is a search for members. Text is a phone number or its last four digits, a name or its pinyin (full, initials, or
// a prefix at a syllable's end), a mail address, a card, member or order number, a record as SOURCE:ID; empty lists all.
type Query struct {
	Text  string
	After member.ID // go on after this member
	Limit int       // default 20, at most 100
}

// Found is a member in a list, masked.
type Found struct {
	ID           member.ID
	IsMember     bool
	Name, Phone  crypt.Personal
	HomeStore    string
	Tags         []string
	RegisteredAt *time.Time
	Identifiers  int
}

// findSQL applies the scope on the server: a member is seen through its home store and, by associates, through whom it is
// assigned to. Of tokens, one secret must have them all.
const findSQL = `
SELECT m.id, m.is_member, coalesce(m.home_store, ''), m.tags, m.registered_at,
       (SELECT count(*) FROM member.births b WHERE b.root = m.id)
FROM member.members m
WHERE m.id > @after
  AND (@all OR m.home_store = ANY(@stores::text[]))
  AND (@associate = '' OR m.attrs ->> 'associate' = @associate)
  AND (@everybody OR m.id = ANY(ARRAY(
        SELECT b.root
        FROM member.secrets s
        JOIN member.births b USING (birth)
        WHERE cardinality(@tokens::bytea[]) > 0 AND s.tokens @> @tokens::bytea[]
        UNION
        SELECT b.root
        FROM unnest(@ns::text[], @scope::text[], @vh::bytea[]) AS k (ns, scope, vh)
        JOIN member.identifiers i USING (ns, scope, vh)
        JOIN member.births b USING (birth)
        WHERE b.erased_at IS NULL)))
ORDER BY m.id
LIMIT @limit`

// Finder searches members for people at a console.
type Finder struct {
	graph   *Service
	secrets *member.Secrets
}

// NewFinder returns the search.
func NewFinder(graph *Service, secrets *member.Secrets) *Finder { return &Finder{graph, secrets} }

// Find returns the members within the scope that match, by id. Without a match the result is empty.
func (f *Finder) Find(ctx context.Context, db pg.DB, scope auth.Scope, q Query) ([]Found, error) {
	text := strings.TrimSpace(q.Text)
	if text != "" && utf8.RuneCountInString(text) < 2 {
		return nil, ErrQuery
	}
	tokens := f.secrets.SearchTokens(text)
	if tokens == nil {
		tokens = [][]byte{}
	}
	args := identifierArgs(f.candidates(text))
	associate := ""
	if scope.Associate != nil {
		associate = scope.Associate.String()
	}
	stores := scope.Stores
	if stores == nil {
		stores = []string{}
	}
	for k, v := range map[string]any{"after": int64(q.After), "all": scope.All, "stores": stores, "associate": associate,
		"everybody": text == "", "tokens": tokens, "limit": min(max(cmp.Or(q.Limit, 20), 1), 100)} {
		args[k] = v
	}
	rows, err := db.Query(ctx, findSQL, args)
	if err != nil {
		return nil, fmt.Errorf("find members: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Found, error) {
		var m Found
		return m, row.Scan(&m.ID, &m.IsMember, &m.HomeStore, &m.Tags, &m.RegisteredAt, &m.Identifiers)
	})
	if err != nil {
		return nil, fmt.Errorf("find members: %w", err)
	}
	return out, f.fill(ctx, db, out)
}

// candidates are the identifiers that a text may be.
func (f *Finder) candidates(text string) []identifier {
	var out []identifier
	for _, ns := range []string{NSPhone, NSEmail, NSCard, NSMemberNo, NSOrder, NSUser} {
		if k, err := (Key{NS: ns, Value: text}).Normalise(); err == nil {
			out = append(out, hash(f.graph.ring, k))
		}
	}
	if system, id, ok := strings.Cut(text, ":"); ok {
		if k, err := (Key{NS: NSSource, Scope: system, Value: id}).Normalise(); err == nil {
			out = append(out, hash(f.graph.ring, k))
		}
	}
	return out
}

const namesSQL = `
SELECT b.root, s.birth, s.kind
FROM member.births b
JOIN member.secrets s USING (birth)
WHERE b.root = ANY(@roots) AND s.kind IN ('name', 'phone')
ORDER BY s.at DESC, b.tie`

// fill adds the newest name and phone of each member.
func (f *Finder) fill(ctx context.Context, db pg.DB, found []Found) error {
	if len(found) == 0 {
		return nil
	}
	index := make(map[member.ID]int, len(found))
	roots := make([]int64, len(found))
	for i, m := range found {
		index[m.ID], roots[i] = i, int64(m.ID)
	}
	rows, err := db.Query(ctx, namesSQL, pg.Args{"roots": roots})
	if err != nil {
		return fmt.Errorf("names of members: %w", err)
	}
	type slot struct {
		root member.ID
		kind string
	}
	pick := map[slot]member.Birth{}
	var births []member.Birth
	var s slot
	var birth member.Birth
	if _, err := pgx.ForEachRow(rows, []any{&s.root, &birth, &s.kind}, func() error {
		if _, ok := pick[s]; !ok {
			pick[s] = birth
			births = append(births, birth)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("names of members: %w", err)
	}
	clear, err := f.secrets.Open(ctx, db, births, crypt.KindName, crypt.KindPhone)
	if err != nil {
		return err
	}
	for s, b := range pick {
		m := &found[index[s.root]]
		switch s.kind {
		case crypt.KindName:
			m.Name = clear[b][s.kind]
		case crypt.KindPhone:
			m.Phone = clear[b][s.kind]
		}
	}
	return nil
}

// Identifier is one birth of a member as a person may see it.
type Identifier struct {
	Birth       member.Birth
	NS, Scope   string
	Epoch       int
	Value       crypt.Personal // masked when printed; empty where no clear value is kept
	Open        bool           // Value may be shown
	FirstSeen   time.Time
	Quarantined bool
	Erased      bool
}

const identifiersSQL = `
SELECT b.birth, b.ns, b.scope, coalesce(i.epoch, 0), coalesce(i.first_seen, b.created_at), b.quarantined, b.erased_at IS NOT NULL
FROM member.births b
LEFT JOIN member.identifiers i ON i.birth = b.birth
WHERE b.birth = ANY(@births)
ORDER BY b.birth`

// Identifiers lists the births of a member.
func (f *Finder) Identifiers(ctx context.Context, db pg.DB, births []member.Birth) ([]Identifier, error) {
	rows, err := db.Query(ctx, identifiersSQL, pg.Args{"births": ints(births)})
	if err != nil {
		return nil, fmt.Errorf("identifiers: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Identifier, error) {
		var i Identifier
		return i, row.Scan(&i.Birth, &i.NS, &i.Scope, &i.Epoch, &i.FirstSeen, &i.Quarantined, &i.Erased)
	})
	if err != nil {
		return nil, fmt.Errorf("identifiers: %w", err)
	}
	clear, err := f.secrets.Open(ctx, db, births, crypt.KindPhone, crypt.KindEmail, crypt.KindValue)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if kind := byCode[out[i].NS].Kind; kind != "" {
			out[i].Value, out[i].Open = clear[out[i].Birth][kind], byCode[out[i].NS].Open
		}
	}
	return out, nil
}

// Inside reports whether the scope sees a member: cluster.ErrUnknown if it does not, so that ids cannot be probed.
func (f *Finder) Inside(ctx context.Context, db pg.DB, scope auth.Scope, root member.ID) error {
	found, err := f.Find(ctx, db, scope, Query{After: root - 1, Limit: 1})
	if err != nil {
		return err
	}
	if len(found) == 0 || found[0].ID != root {
		return cluster.ErrUnknown.With("birth", root)
	}
	return nil
}
