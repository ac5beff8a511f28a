// Package searchtest is the conformance suite of search.Index.
package searchtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/search"
)

// Run checks an index. open returns an empty one for the kinds thing and other.
func Run(t *testing.T, open func(t *testing.T) search.Index) {
	t.Run("finds by words, prefixes, terms and facets", func(t *testing.T) { finds(t, open(t)) })
	t.Run("the newest version stands", func(t *testing.T) { versions(t, open(t)) })
	t.Run("pages", func(t *testing.T) { pages(t, open(t)) })
	t.Run("agrees with a naive search", func(t *testing.T) { agrees(t, open(t)) })
	t.Run("refuses bad input", func(t *testing.T) { refuses(t, open(t)) })
}

func ids(t *testing.T, x search.Index, q search.Query) []string {
	t.Helper()
	if q.Kind == "" {
		q.Kind = "thing"
	}
	if q.Limit == 0 {
		q.Limit = 50
	}
	r, err := x.Search(t.Context(), q)
	require.NoError(t, err)
	out := []string{}
	for _, h := range r.Hits {
		out = append(out, h.ID)
	}
	if q.After == nil {
		require.EqualValues(t, len(out), min(r.Total, int64(q.Limit)))
	}
	return out
}

func finds(t *testing.T, x search.Index) {
	require.Empty(t, ids(t, x, search.Query{Text: "tea"}))
	require.NoError(t, x.Put(t.Context(), []search.Document{
		{Kind: "thing", ID: "22423", Version: 1, Text: []string{"摄政三层蛋糕架 REGENCY CAKESTAND 3 TIER", "22423"}, Facets: map[string][]string{"category": {"tea"}, "status": {"active"}}, Rank: 9},
		{Kind: "thing", ID: "22699", Version: 1, Text: []string{"玫瑰摄政茶杯碟 ROSES REGENCY TEACUP AND SAUCER"}, Terms: []string{"9f2c"}, Facets: map[string][]string{"category": {"tea"}, "status": {"off"}}, Rank: 5},
		{Kind: "thing", ID: "85123A", Version: 1, Text: []string{"白色心形烛台 T-LIGHT"}, Terms: []string{"9f2c", "77aa"}, Facets: map[string][]string{"category": {"lights"}, "status": {"active"}}},
		{Kind: "other", ID: "22423", Version: 1, Text: []string{"regency"}},
	}))
	require.Equal(t, []string{"22423", "22699"}, ids(t, x, search.Query{Text: "regency"}))
	require.Equal(t, []string{"22423", "22699"}, ids(t, x, search.Query{Text: "REG"}), "the last word is a prefix")
	require.Empty(t, ids(t, x, search.Query{Text: "reg "}), "unless something follows it")
	require.Equal(t, []string{"22423"}, ids(t, x, search.Query{Text: "cakestand regency"}))
	require.Equal(t, []string{"22423"}, ids(t, x, search.Query{Text: "2242"}))
	require.Equal(t, []string{"22423"}, ids(t, x, search.Query{Text: "蛋糕架"}))
	require.Equal(t, []string{"22423", "22699"}, ids(t, x, search.Query{Text: "摄政"}))
	require.Equal(t, []string{"85123A"}, ids(t, x, search.Query{Text: "烛"}))
	require.Equal(t, []string{"22699", "85123A"}, ids(t, x, search.Query{Terms: []string{"9f2c"}}))
	require.Equal(t, []string{"85123A"}, ids(t, x, search.Query{Terms: []string{"9f2c", "77aa"}}))
	require.Empty(t, ids(t, x, search.Query{Terms: []string{"9f2"}}), "terms are exact")
	require.Empty(t, ids(t, x, search.Query{Text: "9f2c"}), "terms are no words")
	require.Equal(t, []string{"22423"}, ids(t, x, search.Query{Facets: map[string][]string{"category": {"tea"}, "status": {"active"}}}))
	require.Equal(t, []string{"22423", "22699", "85123A"}, ids(t, x, search.Query{Facets: map[string][]string{"category": {"tea", "lights"}}}))
	require.Equal(t, []string{"22423"}, ids(t, x, search.Query{Kind: "other"}))
}

func versions(t *testing.T, x search.Index) {
	put := func(version int64, text string) {
		require.NoError(t, x.Put(t.Context(), []search.Document{{Kind: "thing", ID: "a", Version: version, Text: []string{text}}}))
	}
	put(5, "new")
	put(3, "old")
	require.Equal(t, []string{"a"}, ids(t, x, search.Query{Text: "new"}))
	require.Empty(t, ids(t, x, search.Query{Text: "old"}))
	require.NoError(t, x.Delete(t.Context(), "thing", "a", 4))
	require.Equal(t, []string{"a"}, ids(t, x, search.Query{Text: "new"}), "an older deletion is ignored")
	require.NoError(t, x.Delete(t.Context(), "thing", "a", 5))
	require.NoError(t, x.Delete(t.Context(), "thing", "never", 1))
	put(4, "old")
	require.Empty(t, ids(t, x, search.Query{}))
	put(6, "again")
	require.Equal(t, []string{"a"}, ids(t, x, search.Query{Text: "again"}))
	require.NoError(t, x.Reset(t.Context(), "thing"))
	require.Empty(t, ids(t, x, search.Query{}))
	put(1, "rebuilt")
	require.Equal(t, []string{"a"}, ids(t, x, search.Query{Text: "rebuilt"}))
}

func pages(t *testing.T, x search.Index) {
	var docs []search.Document
	for i := range 25 {
		docs = append(docs, search.Document{Kind: "thing", ID: fmt.Sprintf("%02d", i), Version: 1, Text: []string{"same"}, Rank: int64(i % 3)})
	}
	require.NoError(t, x.Put(t.Context(), docs))
	all := ids(t, x, search.Query{Text: "same", Limit: 200})
	require.Len(t, all, 25)
	var paged []string
	q := search.Query{Kind: "thing", Text: "same", Limit: 10}
	for {
		r, err := x.Search(t.Context(), q)
		require.NoError(t, err)
		if len(r.Hits) == 0 {
			break
		}
		for _, h := range r.Hits {
			paged = append(paged, h.ID)
		}
		q.After = &r.Hits[len(r.Hits)-1]
	}
	require.Equal(t, all, paged)
}

func agrees(t *testing.T, x search.Index) {
	r := rand.New(rand.NewPCG(1, 2))
	vocabulary := strings.Fields("tea cup cupboard cake red blue 心形 烛台 茶杯 蛋糕 a1 a12 22423")
	texts := map[string][]string{}
	var docs []search.Document
	for i := range 60 {
		var ws []string
		for range 1 + r.IntN(5) {
			ws = append(ws, vocabulary[r.IntN(len(vocabulary))])
		}
		id := fmt.Sprintf("%03d", i)
		texts[id] = ws
		docs = append(docs, search.Document{Kind: "thing", ID: id, Version: 1, Text: []string{strings.Join(ws, " ")}})
	}
	require.NoError(t, x.Put(t.Context(), docs))
	for range 60 {
		asked := []string{vocabulary[r.IntN(len(vocabulary))], vocabulary[r.IntN(len(vocabulary))]}
		want := []string{}
		for _, d := range docs {
			if holds(texts[d.ID], asked[0], false) && holds(texts[d.ID], asked[1], asked[1][0] < 128) {
				want = append(want, d.ID)
			}
		}
		require.Equal(t, want, ids(t, x, search.Query{Text: strings.Join(asked, " "), Limit: 200}), "%v", asked)
	}
}

func holds(words []string, w string, prefix bool) bool {
	for _, have := range words {
		if have == w || prefix && strings.HasPrefix(have, w) {
			return true
		}
	}
	return false
}

func refuses(t *testing.T, x search.Index) {
	for _, q := range []search.Query{{Kind: "", Limit: 1}, {Kind: "Bad Kind", Limit: 1}, {Kind: "thing"}, {Kind: "thing", Limit: 201}, {Kind: "thing", Limit: 1, Text: strings.Repeat("x", 501)}} {
		_, err := x.Search(t.Context(), q)
		require.ErrorIs(t, err, search.ErrInvalid)
	}
	require.ErrorIs(t, x.Put(t.Context(), []search.Document{{Kind: "thing", ID: "", Version: 1}}), search.ErrInvalid)
	require.NoError(t, x.Put(t.Context(), nil))
}
