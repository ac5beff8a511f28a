package search

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/lianke/lianke/internal/fault"
)

// Document is what can be found.
type Document struct {
	Kind    string              // product, member, …: an index of its own
	ID      string              // unique within the kind
	Version int64               // of the row it was made from; grows with every change
	Text    []string            // clear text without personal data: names, codes, descriptions
	Terms   []string            // exact terms, for example blind tokens; matched as they are
	Facets  map[string][]string // for filters: status, store, category
	Rank    int64               // results come highest rank first, then by id
}

// Query asks for documents of one kind that match everything given.
type Query struct {
	Kind   string
	Text   string              // all words, the last one as a prefix
	Terms  []string            // all of them, exactly
	Facets map[string][]string // any of the values of each facet
	After  *Position           // read on behind this hit
	Limit  int                 // 1 to MaxLimit
}

// MaxLimit is the most hits one query returns.
const MaxLimit = 200

// Position is a place in a result.
type Position struct {
	Rank int64  `json:"rank"`
	ID   string `json:"id"`
}

// Result is one page of hits.
type Result struct {
	Hits []Position
	// Total is how many documents match in all, exact up to 10,000.
	Total int64
}

// Index keeps documents. Put and Delete are idempotent; their effect is visible to Search when they return.
type Index interface {
	// Put adds or replaces documents; older versions than the index holds are ignored. At most 1,000 a call.
	Put(ctx context.Context, docs []Document) error
	// Delete removes a document unless the index holds a newer version of it.
	Delete(ctx context.Context, kind, id string, version int64) error
	Search(ctx context.Context, q Query) (Result, error)
	// Reset drops all documents of a kind, before a rebuild.
	Reset(ctx context.Context, kind string) error
}

// Errors of queries and documents.
var (
	ErrInvalid = fault.New(fault.Invalid, "search.invalid", "搜索条件无效:{what}", "the search is invalid: {what}").
			WithHint("请修改搜索条件后重试", "correct it and search again")
	ErrUnavailable = fault.New(fault.Unavailable, "search.unavailable", "搜索暂不可用", "search is unavailable").WithHint("请稍后重试", "try again later")
)

func (q Query) validate() error {
	switch {
	case !validKind(q.Kind):
		return ErrInvalid.With("what", "kind")
	case q.Limit < 1 || q.Limit > MaxLimit:
		return ErrInvalid.With("what", "limit")
	case len(q.Text) > 500 || len(q.Terms) > 50 || len(q.Facets) > 20:
		return ErrInvalid.With("what", "too long")
	}
	return nil
}

func validKind(k string) bool {
	return k != "" && len(k) <= 40 && strings.IndexFunc(k, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) < 0
}

const (
	maxTermLength = 64
	maxTerms      = 2000
)

// analyse turns texts into sorted, distinct terms.
func analyse(texts []string) []string {
	var terms []string
	for _, t := range texts {
		terms = append(terms, words(t)...)
	}
	slices.Sort(terms)
	terms = slices.Compact(terms)
	return terms[:min(len(terms), maxTerms)]
}

// words splits a text: runs of letters and digits, lower-cased; Han, kana and hangul runs as overlapping bigrams, a lone
// character as itself.
func words(text string) []string {
	var out []string
	var word, cjk []rune
	flush := func() {
		if len(word) > 0 {
			out = append(out, string(word[:min(len(word), maxTermLength)]))
			word = word[:0]
		}
		for i := range cjk {
			if i+1 < len(cjk) {
				out = append(out, string(cjk[i:i+2]))
			}
			out = append(out, string(cjk[i]))
		}
		cjk = cjk[:0]
	}
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul):
			if len(word) > 0 {
				flush()
			}
			cjk = append(cjk, r)
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if len(cjk) > 0 {
				flush()
			}
			word = append(word, unicode.ToLower(r))
		default:
			flush()
		}
	}
	flush()
	return out
}

// queryTerms are the exact terms of a query text, and the prefix that its last word is ("" if there is none). A Chinese
// run needs only its bigrams: they imply the single characters.
func queryTerms(text string) (exact []string, prefix string) {
	for _, w := range words(text) {
		exact = append(exact, w)
	}
	trimmed := strings.TrimRightFunc(text, unicode.IsSpace)
	if len(exact) > 0 && trimmed == text {
		last := exact[len(exact)-1]
		if r := []rune(last)[0]; !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) {
			prefix, exact = last, exact[:len(exact)-1]
		}
	}
	slices.Sort(exact)
	return slices.Compact(exact), prefix
}

// facetTerm is how a facet value is stored.
func facetTerm(name, value string) string { return name + "=" + value }

func facetTerms(facets map[string][]string) []string {
	out := []string{}
	for name, values := range facets {
		for _, v := range values {
			out = append(out, facetTerm(name, v))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
