package segments

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Times lie on a coarse grid, so that facts coincide with each other and with the edges of windows.
var origin = time.Date(2024, 2, 25, 16, 0, 0, 0, time.UTC) // midnight in Shanghai, three days before a leap day

const grid = 6 * time.Hour

func instants(from, to int) *rapid.Generator[time.Time] {
	return rapid.Map(rapid.IntRange(from, to), func(i int) time.Time { return origin.Add(time.Duration(i) * grid) })
}

var (
	eventKeys = []string{"order_paid", "product_viewed", "cart_added", "content_shared", "x"}
	propNames = []string{"amount_fen", "sku", "note"}
	attrNames = []string{"city", "age", "birthday", "likes", "missing"}
	tagNames  = []string{"vip", "新客"}
	listNames = []string{"vips", "staff"}
)

func num(s string) json.Number { return json.Number(s) }

// stored generates a JSON value of an attribute or prop: of every type, near-numbers and near-dates included.
func stored() *rapid.Generator[any] {
	scalar := rapid.SampledFrom([]any{
		"a", "ab", "B", "", "true", "上海", "5", " 7 ", "-3.5", "1e2", "5x", "1/2", num("5"), num("7"), num("-3.5"), num("0"), num("100"), true, false,
		"2024-02-29", "2023-02-29", "2024-03-01", "1990-02-28", "1992-02-29", "2024-02-26T00:00:00Z", "2024-02-26T08:00:00+08:00", "2024-02-26 08:00:00", "2024-13-01",
	})
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 9).Draw(t, "shape") {
		case 0:
			return nil
		case 1:
			list := []any{}
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				list = append(list, rapid.OneOf(scalar, rapid.Just[any](nil)).Draw(t, "element"))
			}
			return list
		}
		return scalar.Draw(t, "value")
	})
}

func values(t *rapid.T, names []string) map[string]any {
	m := map[string]any{}
	for _, n := range names {
		if n != "missing" && rapid.IntRange(0, 3).Draw(t, "has "+n) > 0 {
			m[n] = stored().Draw(t, n)
		}
	}
	return m
}

func maybe[T any](t *rapid.T, g *rapid.Generator[T], label string) *T {
	if rapid.Bool().Draw(t, "some "+label) {
		v := g.Draw(t, label)
		return &v
	}
	return nil
}

func subset(t *rapid.T, of []string, label string) []string {
	out := []string{}
	for _, s := range of {
		if rapid.Bool().Draw(t, label+" "+s) {
			out = append(out, s)
		}
	}
	return out
}

func genWorld(t *rapid.T) *world {
	w := &world{lists: map[string][]member.Birth{}, segments: map[string]map[string]any{}}
	next := member.Birth(1)
	var births []member.Birth
	for range rapid.IntRange(1, 9).Draw(t, "people") {
		p := person{id: member.ID(next), isMember: rapid.IntRange(0, 9).Draw(t, "visitor") > 0}
		for range rapid.IntRange(1, 3).Draw(t, "births") {
			p.births = append(p.births, next)
			births = append(births, next)
			next++
		}
		p.registered = maybe(t, instants(-8, 20), "registered")
		p.firstFact = maybe(t, instants(-8, 20), "first fact")
		p.homeStore = maybe(t, rapid.SampledFrom([]string{"SH001", "HZ002"}), "store")
		p.attrs = values(t, attrNames)
		p.tags = subset(t, tagNames, "tag")
		p.reach = subset(t, []string{"sms", "wechat"}, "reach")
		w.people = append(w.people, p)
	}
	for range rapid.IntRange(0, 60).Draw(t, "facts") {
		w.facts = append(w.facts, fact{
			birth: rapid.SampledFrom(births).Draw(t, "birth"),
			key:   rapid.SampledFrom(eventKeys).Draw(t, "key"),
			at:    instants(0, 40).Draw(t, "at"),
			props: values(t, propNames),
		})
	}
	for _, l := range listNames {
		for _, b := range births {
			if rapid.IntRange(0, 4).Draw(t, "on list") == 0 {
				w.lists[l] = append(w.lists[l], b)
			}
		}
	}
	for _, code := range []string{"seg-a", "seg-b"} {
		w.segments[code] = w.genRule(t, 2)
	}
	return w
}

func (w *world) genRule(t *rapid.T, depth int) map[string]any {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "node") {
		case 0, 1:
			return map[string]any{"all": w.genRules(t, depth)}
		case 2, 3:
			return map[string]any{"any": w.genRules(t, depth)}
		case 4:
			return map[string]any{"not": w.genRule(t, depth-1)}
		}
	}
	switch rapid.SampledFrom([]string{"attr", "attr", "attr", "builtin", "tag", "segment", "list", "event", "event", "event", "event", "time", "sequence", "sequence", "rfm", "stage", "reach", "sample"}).Draw(t, "leaf") {
	case "attr":
		return genCond(t, "attr", rapid.SampledFrom(append(attrNames, "home_store")).Draw(t, "attr"))
	case "builtin":
		return genTimeCond(t)
	case "tag":
		return map[string]any{"tag": rapid.SampledFrom(tagNames).Draw(t, "tag")}
	case "segment":
		if len(w.segments) == 2 {
			return map[string]any{"segment": rapid.SampledFrom([]string{"seg-a", "seg-b"}).Draw(t, "segment")}
		}
		return map[string]any{"tag": "vip"}
	case "list":
		return map[string]any{"list": rapid.SampledFrom(listNames).Draw(t, "list")}
	case "time":
		r := genFacts(t)
		test := map[string]any{}
		for _, k := range []string{"before", "after"} {
			if rapid.IntRange(0, 2).Draw(t, k) == 0 {
				test[k] = written(t, instants(0, 40).Draw(t, k))
			}
		}
		if w := genWindow(t); w != nil || len(test) == 0 {
			if w == nil {
				w = "2d"
			}
			test["within"] = w
		}
		r[rapid.SampledFrom([]string{"first", "last"}).Draw(t, "which")] = test
		return r
	case "sequence":
		r := map[string]any{}
		var steps []any
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			steps = append(steps, genFacts(t))
		}
		r["sequence"] = steps
		r["within"] = genLength(t)
		if rapid.Bool().Draw(t, "unless") {
			r["unless"] = genFacts(t)
		} else if rapid.Bool().Draw(t, "no within") {
			delete(r, "within")
		}
		return r
	case "rfm":
		q := map[string]any{}
		for _, k := range []string{"r", "f", "m"} {
			if rapid.Bool().Draw(t, k) || k == "m" && len(q) == 0 {
				q[k] = []any{num(fmt.Sprint(rapid.IntRange(1, 5).Draw(t, "score"))), num("5")}
			}
		}
		return map[string]any{"rfm": q}
	case "stage":
		return map[string]any{"stage": []any{
			rapid.SampledFrom([]any{"sense", "interest", "connect", "action", "share"}).Draw(t, "stage"),
			rapid.SampledFrom([]any{"sense", "interest", "connect", "action", "share"}).Draw(t, "stage"),
		}}
	case "reach":
		return map[string]any{"reachable": rapid.SampledFrom([]string{"sms", "wechat", "email"}).Draw(t, "channel")}
	case "sample":
		return map[string]any{"sample": map[string]any{
			"percent": rapid.SampledFrom([]any{num("0"), num("33.3"), num("50"), num("99.99"), num("100")}).Draw(t, "percent"),
			"salt":    rapid.SampledFrom([]string{"", "x", "盐"}).Draw(t, "salt"),
		}}
	}
	r := genFacts(t)
	if w := genWindow(t); w != nil {
		r["within"] = w
	}
	m := rapid.SampledFrom([]string{"", "count", "count", "sum", "avg", "min", "max", "distinct"}).Draw(t, "measure")
	switch m {
	case "":
	case "count":
		r["count"] = genTests(t)
	default:
		r[m] = rapid.SampledFrom(propNames).Draw(t, "of")
		for k, v := range genTests(t) {
			r[k] = v
		}
	}
	return r
}

func (w *world) genRules(t *rapid.T, depth int) []any {
	var out []any
	for range rapid.IntRange(1, 3).Draw(t, "children") {
		out = append(out, w.genRule(t, depth-1))
	}
	return out
}

func genFacts(t *rapid.T) map[string]any {
	r := map[string]any{"event": rapid.SampledFrom(eventKeys).Draw(t, "event")}
	if rapid.IntRange(0, 2).Draw(t, "where") == 0 {
		r["where"] = []any{genCond(t, "prop", rapid.SampledFrom(propNames).Draw(t, "prop"))}
	}
	return r
}

func genTests(t *rapid.T) map[string]any {
	tests := map[string]any{}
	for range rapid.IntRange(1, 2).Draw(t, "tests") {
		n := func() any {
			return rapid.SampledFrom([]any{num("0"), num("1"), num("2"), num("3"), num("5"), num("-3.5"), num("7")}).Draw(t, "n")
		}
		switch k := rapid.SampledFrom([]string{"eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "nin"}).Draw(t, "test"); k {
		case "between":
			tests[k] = ordered(n(), n())
		case "in", "nin":
			tests[k] = []any{n(), n()}
		default:
			tests[k] = n()
		}
	}
	return tests
}

func ordered(a, b any) []any {
	swap := false
	if x, ok := a.(json.Number); ok {
		swap = number(x).Cmp(number(b)) > 0
	} else {
		swap = a.(string) > b.(string)
	}
	if swap {
		return []any{b, a}
	}
	return []any{a, b}
}

func genLength(t *rapid.T) string {
	return rapid.SampledFrom([]string{"6h", "12h", "1d", "2d", "1w", "360m", "21600s", "400d"}).Draw(t, "length")
}

func genWindow(t *rapid.T) any {
	switch rapid.IntRange(0, 3).Draw(t, "window") {
	case 0:
		return nil
	case 1:
		w := map[string]any{}
		from := rapid.IntRange(0, 30).Draw(t, "from")
		to := from + rapid.IntRange(1, 20).Draw(t, "span")
		if rapid.Bool().Draw(t, "has from") {
			w["from"] = written(t, origin.Add(time.Duration(from)*grid))
		}
		if rapid.Bool().Draw(t, "has to") || len(w) == 0 {
			w["to"] = written(t, origin.Add(time.Duration(to)*grid))
		}
		return w
	}
	return genLength(t)
}

// written renders an instant in one of the forms that rules may use.
func written(t *rapid.T, at time.Time) string {
	local := at.Add(8 * time.Hour)
	forms := []string{at.Format(time.RFC3339), local.Format("2006-01-02T15:04:05"), local.Format("2006-01-02 15:04:05"), local.Format("2006-01-02T15:04:05") + "+08:00"}
	if local.Hour() == 0 {
		forms = append(forms, local.Format("2006-01-02"))
	}
	return rapid.SampledFrom(forms).Draw(t, "form")
}

func genCond(t *rapid.T, kind, name string) map[string]any {
	scalar := func() any {
		return rapid.SampledFrom([]any{"a", "ab", "B", "true", "5", "上海", "SH001", "2024-02-29", num("5"), num("7.0"), num("-3.5"), num("100"), num("0")}).Draw(t, "wanted")
	}
	c := map[string]any{kind: name, "op": rapid.SampledFrom([]string{"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "between", "exists", "contains", "before", "after", "anniversary"}).Draw(t, "op")}
	switch c["op"] {
	case "in", "nin":
		c["value"] = []any{scalar(), scalar()}
	case "between":
		if rapid.Bool().Draw(t, "numbers") {
			c["value"] = []any{num("-3.5"), num("7")}
		} else {
			c["value"] = []any{"5", "a"}
		}
	case "exists":
		c["value"] = rapid.Bool().Draw(t, "wanted")
	case "before", "after":
		c["value"] = rapid.SampledFrom([]any{"2024-02-29", "2024-02-26", "2024-02-26T00:00:00Z", "1991-01-01"}).Draw(t, "wanted")
	case "anniversary":
		c["value"] = num(fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "days")))
	case "eq", "ne":
		c["value"] = rapid.OneOf(rapid.Custom(func(*rapid.T) any { return scalar() }), rapid.SampledFrom([]any{true, false})).Draw(t, "wanted")
	default:
		c["value"] = scalar()
	}
	return c
}

func genTimeCond(t *rapid.T) map[string]any {
	at := func() any { return written(t, instants(-8, 20).Draw(t, "wanted")) }
	c := map[string]any{
		"attr": rapid.SampledFrom([]string{"registered_at", "first_fact_at"}).Draw(t, "attr"),
		"op":   rapid.SampledFrom([]string{"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "between", "exists", "before", "after", "anniversary"}).Draw(t, "op"),
	}
	switch c["op"] {
	case "in", "nin":
		c["value"] = []any{at(), at()}
	case "between":
		i := rapid.IntRange(-8, 10).Draw(t, "low")
		c["value"] = []any{written(t, origin.Add(time.Duration(i)*grid)), written(t, origin.Add(time.Duration(i+3)*grid))}
	case "exists":
		c["value"] = rapid.Bool().Draw(t, "wanted")
	case "anniversary":
		c["value"] = num(fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "days")))
	default:
		c["value"] = at()
	}
	return c
}

// mustParse turns raw JSON into a rule.
func mustParse(t require.TestingT, raw map[string]any) Rule {
	b, err := json.Marshal(raw)
	require.NoError(t, err)
	r, err := Parse(b)
	require.NoError(t, err, string(b))
	return r
}

// decodeRaw reads JSON as the naive evaluator wants it.
func decodeRaw(t require.TestingT, b []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var raw map[string]any
	require.NoError(t, d.Decode(&raw))
	return raw
}

// store writes the world into the database.
func (w *world) store(ctx context.Context, t require.TestingT, db pg.DB) {
	var b pgx.Batch
	for _, p := range w.people {
		attrs, err := json.Marshal(p.attrs)
		require.NoError(t, err)
		b.Queue(`INSERT INTO member.members (id, is_member, registered_at, first_fact_at, home_store, attrs, tags, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			p.id, p.isMember, p.registered, p.firstFact, p.homeStore, attrs, p.tags, origin)
		for _, birth := range p.births {
			b.Queue(`INSERT INTO member.births (birth, root, raw_root, ns, person, created_at) VALUES ($1, $2, $2, 'source', true, $3)`, birth, p.id, origin)
		}
		for _, c := range p.reach {
			b.Queue(`INSERT INTO member.reach (id, channel, birth, granted) VALUES ($1, $2, $1, true)`, p.id, c)
		}
		b.Queue(`INSERT INTO member.reach (id, channel, birth, granted) VALUES ($1, 'email', $1, false)`, p.id)
	}
	for _, f := range w.facts {
		props, err := json.Marshal(f.props)
		require.NoError(t, err)
		b.Queue(`INSERT INTO member.activities (id, birth, key, occurred_at, recorded_at, mode, source, props) VALUES (nextval('member.activity_seq'), $1, $2, $3, $3, 'backfill', 'test', $4)`,
			f.birth, f.key, f.at, props)
	}
	for _, code := range listNames {
		list := id.Derived("list", code)
		b.Queue(`INSERT INTO segments.lists (id, code, name, created_at, updated_at) VALUES ($1, $2, $2, $3, $3)`, list, code, origin)
		for _, birth := range w.lists[code] {
			b.Queue(`INSERT INTO segments.list_members (list_id, birth, added_at) VALUES ($1, $2, $3)`, list, birth, origin)
		}
	}
	for code, raw := range w.segments {
		b.Queue(`INSERT INTO segments.segments (id, code, name, rule, status, created_at, updated_at) VALUES ($1, $2, $2, $3, 'building', $4, $4)`,
			id.Derived("segment", code), code, mustParse(t, raw), origin)
	}
	require.NoError(t, db.SendBatch(ctx, &b).Close())
}

// partitions makes room for the log around the origin.
func partitions(t testing.TB, db pg.DB) {
	_, err := db.Exec(t.Context(), `SELECT member.ensure_activity_partitions($1, $2)`, origin.AddDate(0, -1, 0), origin.AddDate(0, 3, 0))
	require.NoError(t, err)
}
