package templates_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

var variables = []templates.Variable{
	{Name: "brand", Kind: templates.KindText},
	{Name: "amount", Kind: templates.KindFen},
	{Name: "link", Kind: templates.KindURL},
	{Name: "items", Kind: templates.KindList},
	{Name: "at", Kind: templates.KindTime},
}

func mail(html string) templates.Template {
	return templates.Template{Code: "t1", Channel: templates.ChannelEmail, Lane: templates.LaneService, Name: "信", Body: templates.Body{
		Variables: variables,
		Variants:  map[templates.Locale]templates.Content{templates.ZH: {Subject: "{{ brand }}", HTML: html}},
	}}
}

func TestBombsAreRefused(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"range":            `{% for i in (1..100000000) %}x{% endfor %}`,
		"range in if":      `{% if (1..9) contains 3 %}x{% endif %}`,
		"assigned range":   `{% assign r = (1..100000000) %}{% for i in r %}x{% endfor %}`,
		"nested loops":     `{% for a in items %}{% for b in items %}x{% endfor %}{% endfor %}`,
		"loop over split":  `{% for a in "a,b" | split: "," %}x{% endfor %}`,
		"loop over text":   `{% for a in "aaaa" %}x{% endfor %}`,
		"include":          `{% include "etc" %}`,
		"render":           `{% render "etc" %}`,
		"capture":          `{% capture a %}x{% endcapture %}`,
		"raw":              `{% raw %}{{ x }}{% endraw %}`,
		"tablerow":         `{% tablerow a in items %}x{% endtablerow %}`,
		"filter json":      `{{ member | json }}`,
		"filter safe":      `{{ brand | safe }}`,
		"filter in assign": `{% assign a = brand | split: "" %}`,
		"undeclared":       `{{ secret }}`,
		"undeclared arg":   `{{ brand | append: secret }}`,
		"member secret":    `{{ member.phone }}`,
		"bracket":          `{{ member["phone"] }}`,
		"open tag":         `{% if brand %}x`,
		"open brace":       `{{ brand `,
		"stray end":        `x{% endif %}`,
		"open quote":       `{{ brand | append: 'a }}`,
		"many assigns":     strings.Repeat(`{% assign a = brand | append: brand %}`, 21),
		"deep":             strings.Repeat(`{% if brand %}`, 9) + strings.Repeat(`{% endif %}`, 9),
		"shadow":           `{% assign member = brand %}`,
		"long":             strings.Repeat("x", 200<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := mail(source).Validate()
			require.ErrorIs(t, err, templates.ErrInvalid)
			require.NotEmpty(t, fault.From(err).Fields)
			require.Equal(t, "body.variants.zh.html", fault.From(err).Fields[0].Path)
		})
	}
}

func TestGrowthAndOutputAreBounded(t *testing.T) {
	t.Parallel()
	// given a text that would double itself in a loop
	p, err := templates.Compile(mail(`{% assign a = brand %}{% for i in items %}{% assign a = a | append: a %}{% endfor %}{{ a }}`))
	require.NoError(t, err)
	items := make([]any, 100)
	for i := range items {
		items[i] = "x"
	}
	// when it is rendered, then the filter stops it
	_, err = p.Render(t.Context(), templates.Data{Vars: map[string]any{"brand": "abc", "items": items}})
	require.ErrorIs(t, err, templates.ErrRender)

	p, err = templates.Compile(mail(`{% for i in items %}{{ i }}{{ i }}{{ i }}{% endfor %}`))
	require.NoError(t, err)
	for i := range items {
		items[i] = strings.Repeat("长", 2000)
	}
	_, err = p.Render(t.Context(), templates.Data{Vars: map[string]any{"items": items}})
	require.ErrorIs(t, err, templates.ErrRender)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Render(ctx, templates.Data{Vars: map[string]any{"items": []any{"x"}}})
	require.ErrorIs(t, err, context.Canceled)

	_, err = p.Render(t.Context(), templates.Data{Vars: map[string]any{"items": make([]any, 101)}})
	require.ErrorIs(t, err, templates.ErrRender)
}

func TestRender(t *testing.T) {
	t.Parallel()
	p, err := templates.Compile(mail(`<p>{{ member.name }} {{ brand }} {{ amount | yuan }} {{ at | date: "%Y-%m-%d %H:%M" }}</p>` +
		`{% for i in items %}{{ forloop.index }}{{ i.name }};{% endfor %}<a href="{{ link }}">x</a>`))
	require.NoError(t, err)
	require.Equal(t, []string{"name"}, p.MemberFields())
	r, err := p.Render(t.Context(), templates.Data{
		Vars: map[string]any{"brand": "A<b>\r\nBcc: x", "amount": float64(129905), "link": "https://a.b/?x=1&y=2", "at": "2026-11-23T02:00:00Z",
			"items": []any{map[string]any{"name": "杯"}, map[string]any{"name": "碗"}}},
		Member: map[string]any{"name": "<script>"},
	})
	require.NoError(t, err)
	require.Equal(t, "A<b> Bcc: x", r.Subject, "a subject stays on one line")
	require.Equal(t, `<p>&lt;script&gt; A&lt;b&gt;`+"\n"+`Bcc: x ¥1299.05 2026-11-23 10:00</p>1杯;2碗;<a href="https://a.b/?x=1&amp;y=2">x</a>`, r.HTML)

	_, err = p.Render(t.Context(), templates.Data{Vars: map[string]any{"link": "javascript:alert(1)"}})
	require.ErrorIs(t, err, templates.ErrRender)
	_, err = p.Render(t.Context(), templates.Data{Vars: map[string]any{"amount": 1.5}})
	require.ErrorIs(t, err, templates.ErrRender)
}

func TestLint(t *testing.T) {
	t.Parallel()
	wechat := templates.Template{Channel: templates.ChannelWeChat, Lane: templates.LaneTransaction, Body: templates.Body{
		Variants: map[templates.Locale]templates.Content{templates.ZH: {ProviderTemplate: "T", Fields: map[string]string{"thing1": "全场五折大促,限时抢购"}}},
	}}
	require.Contains(t, codes(templates.Lint(wechat)), "marketing_in_transaction")
	sms := templates.Template{Channel: templates.ChannelSMS, Lane: templates.LaneMarketing, Body: templates.Body{
		Variants: map[templates.Locale]templates.Content{templates.ZH: {Text: "新品上市"}},
	}}
	require.Contains(t, codes(templates.Lint(sms)), "missing_opt_out")
	m := mail(`<a href="{{ brand }}">x</a><a href="javascript:x">y</a>`)
	m.Lane = templates.LaneMarketing
	require.Subset(t, codes(templates.Lint(m)), []string{"missing_unsubscribe", "unsafe_link"})
}

func codes(findings []templates.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Code)
	}
	return out
}

type people struct{}

func (people) Bindings(_ context.Context, _ pg.DB, births []member.Birth, _ []string) (map[member.Birth]map[string]any, error) {
	out := map[member.Birth]map[string]any{}
	for _, b := range births {
		out[b] = map[string]any{"name": "李明"}
	}
	return out, nil
}

func TestLifecycleAndLibrary(t *testing.T) {
	t.Parallel()
	ctx, tx := t.Context(), pgtest.Tx(t)
	s := templates.New(tx, clock.NewVirtual(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)), people{})

	added, err := s.InstallLibrary(ctx, auth.System)
	require.NoError(t, err)
	all, err := templates.Library()
	require.NoError(t, err)
	require.Equal(t, len(all), added)
	again, err := s.InstallLibrary(ctx, auth.System)
	require.NoError(t, err)
	require.Zero(t, again)
	for _, tpl := range all {
		for _, locale := range []templates.Locale{templates.ZH, templates.EN} {
			_, findings, err := s.Preview(ctx, templates.PreviewInput{Code: tpl.Code, Locale: locale}, true)
			require.NoError(t, err, tpl.Code)
			for _, f := range findings {
				require.False(t, f.Error, "%s: %+v", tpl.Code, f)
			}
		}
	}

	// a draft is not in use
	_, err = s.Save(ctx, auth.System, templates.SaveInput{Template: mail("<p>{{ member.name }}</p>")})
	require.NoError(t, err)
	_, err = s.Program(ctx, tx, "t1", 0)
	require.ErrorIs(t, err, templates.ErrNotPublished)
	_, err = s.Publish(ctx, "t1", 0)
	require.NoError(t, err)
	p, err := s.Program(ctx, tx, "t1", 0)
	require.NoError(t, err)
	require.Equal(t, 1, p.Template.Version)

	// a second version waits for its publication; a stale base is refused
	second, err := s.Save(ctx, auth.System, templates.SaveInput{Template: mail("<p>2</p>"), BaseVersion: 1})
	require.NoError(t, err)
	require.Equal(t, 2, second.Version)
	_, err = s.Save(ctx, auth.System, templates.SaveInput{Template: mail("<p>3</p>"), BaseVersion: 1})
	require.ErrorIs(t, err, templates.ErrStale)
	p, err = s.Program(ctx, tx, "t1", 0)
	require.NoError(t, err)
	require.Equal(t, 1, p.Template.Version)

	// a preview masks the name unless it may be seen
	r, _, err := s.Preview(ctx, templates.PreviewInput{Code: "t1", Version: 1, Birth: 7}, false)
	require.NoError(t, err)
	require.Equal(t, "<p>李*</p>", r.HTML)

	require.NoError(t, s.Archive(ctx, "t1"))
	_, err = s.Program(ctx, tx, "t1", 0)
	require.ErrorIs(t, err, templates.ErrNotPublished)
	found, err := s.Find(ctx, templates.Query{Channel: "sms", Limit: 2})
	require.NoError(t, err)
	require.Len(t, found, 2)
}

// FuzzCompile: whatever an operator writes is refused or renders within its bounds.
func FuzzCompile(f *testing.F) {
	f.Add(`{% for i in items %}{{ i | append: brand }}{% endfor %}`)
	f.Add(`{{ amount | yuan }}{% if brand contains "a" %}{% endif %}`)
	f.Add(`{% case brand %}{% when "a", "b" %}x{% endcase %}`)
	f.Add(`{%- assign x = amount | times: 3 | divided_by: 0 -%}{{ x }}`)
	f.Fuzz(func(t *testing.T, source string) {
		p, err := templates.Compile(mail(source))
		if err != nil {
			return
		}
		_, _ = p.Render(t.Context(), templates.Data{Vars: map[string]any{"brand": "b", "amount": 5, "items": []any{"a", map[string]any{"k": "v"}}}})
	})
}
