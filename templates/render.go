package templates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/osteele/liquid"
	"github.com/osteele/liquid/render"
	"github.com/osteele/tuesday"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
)

// engines are built once: one that leaves text alone and one that escapes HTML. Both are read-only after that.
var engines = sync.OnceValue(func() [2]*liquid.Engine {
	plain, html := liquid.NewEngine(), liquid.NewEngine()
	for _, e := range []*liquid.Engine{plain, html} {
		for _, tag := range []string{"include", "render", "capture", "cycle", "raw", "tablerow"} {
			e.UnregisterTag(tag)
		}
		e.RegisterFilter("append", func(s, suffix string) (string, error) {
			return grown(len(s)+len(suffix), func() string { return s + suffix })
		})
		e.RegisterFilter("prepend", func(s, prefix string) (string, error) {
			return grown(len(s)+len(prefix), func() string { return prefix + s })
		})
		e.RegisterFilter("replace", func(s, old, with string) (string, error) {
			size := len(s) + strings.Count(s, old)*(len(with)-len(old))
			return grown(size, func() string { return strings.ReplaceAll(s, old, with) })
		})
		e.RegisterFilter("yuan", func(v any) (string, error) { return yuan(v) })
		e.RegisterFilter("date", func(t time.Time, format func(string) string) (string, error) {
			return tuesday.Strftime(format("%Y-%m-%d"), t.In(clock.Shanghai))
		})
	}
	html.SetAutoEscapeReplacer(render.HtmlEscaper)
	return [2]*liquid.Engine{plain, html}
})

func grown(size int, make func() string) (string, error) {
	if size > maxGrown {
		return "", fmt.Errorf("a filter made a text longer than %d bytes", maxGrown)
	}
	return make(), nil
}

// yuan shows an amount in fen: 129900 → ¥1299.00.
func yuan(v any) (string, error) {
	n, err := bindNumber(v)
	if err != nil {
		return "", err
	}
	fen, ok := n.(int)
	if !ok {
		return "", errors.New("an amount in fen is a whole number")
	}
	sign := ""
	if fen < 0 {
		if fen == math.MinInt {
			return "", errors.New("amount out of range")
		}
		sign, fen = "-", -fen
	}
	return sign + "¥" + strconv.Itoa(fen/100) + fmt.Sprintf(".%02d", fen%100), nil
}

// Program is a compiled template, safe for concurrent use.
type Program struct {
	Template Template
	variants map[Locale][]compiled
	fields   []string // member fields used, sorted: "name", "attrs.city"
	unsub    map[Locale]bool
}

type compiled struct {
	text
	plain bool
	tpl   *liquid.Template
}

// Compile checks and compiles every text of the template. The fault names each offending text.
func Compile(t Template) (*Program, error) {
	declared := make([]string, len(t.Body.Variables))
	for i, v := range t.Body.Variables {
		declared[i] = v.Name
	}
	p := &Program{Template: t, variants: map[Locale][]compiled{}, unsub: map[Locale]bool{}}
	used := map[string]bool{}
	var bad []fault.Field
	for locale, content := range t.Body.Variants {
		for _, txt := range content.texts() {
			where := fmt.Sprintf("body.variants.%s.%s", locale, txt.path)
			c, paths, err := compileText(txt, declared)
			if err != nil {
				bad = append(bad, field(where, "liquid", "模板语法有误:"+err.Error(), err.Error(), "请修改该文本", "mend this text"))
				continue
			}
			for _, path := range paths {
				if rest, ok := strings.CutPrefix(path, "member."); ok {
					used[rest] = true
				}
				if path == "unsubscribe_url" {
					p.unsub[locale] = true
				}
			}
			p.variants[locale] = append(p.variants[locale], c)
		}
	}
	if len(bad) > 0 {
		sort.Slice(bad, func(i, j int) bool { return bad[i].Path < bad[j].Path })
		return nil, ErrInvalid.WithFields(bad...)
	}
	for f := range used {
		p.fields = append(p.fields, f)
	}
	sort.Strings(p.fields)
	return p, nil
}

func compileText(txt text, declared []string) (c compiled, paths []string, err error) {
	if len(txt.source) > txt.sourceMax {
		return c, nil, fmt.Errorf("longer than %d bytes", txt.sourceMax)
	}
	found, err := scan(txt.source, declared)
	if err != nil {
		return c, nil, err
	}
	c = compiled{text: txt, plain: found.plain}
	if found.plain {
		return c, nil, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be parsed: %v", r)
		}
	}()
	engine := engines()[0]
	if txt.html {
		engine = engines()[1]
	}
	tpl, serr := engine.ParseString(txt.source)
	if serr != nil {
		return c, nil, errors.New(strings.TrimSpace(serr.Error()))
	}
	c.tpl = tpl
	return c, found.paths, nil
}

// MemberFields are the member fields that the template reads; the caller gives them as Data.Member.
func (p *Program) MemberFields() []string { return p.fields }

// Data is what one message is rendered with. Member holds the fields named by MemberFields, attributes under "attrs".
type Data struct {
	Locale         Locale
	Vars           map[string]any
	Member         map[string]any
	UnsubscribeURL string
}

// Rendered is a variant with every text filled in.
type Rendered struct {
	Locale Locale
	Content
}

// Render fills the template in. The fault is ErrRender and concerns this data only.
func (p *Program) Render(ctx context.Context, d Data) (r Rendered, err error) {
	bindings, err := bind(p.Template.Body.Variables, d.Vars)
	if err != nil {
		return r, p.fail(err)
	}
	member := d.Member
	if member == nil {
		member = map[string]any{}
	}
	bindings["member"] = member
	bindings["unsubscribe_url"] = d.UnsubscribeURL

	content, locale := p.Template.Body.Variant(d.Locale)
	r = Rendered{Locale: locale, Content: Content{
		ProviderTemplate: content.ProviderTemplate, AppID: content.AppID, Sign: content.Sign,
	}}
	if len(content.Fields) > 0 {
		r.Fields = make(map[string]string, len(content.Fields))
	}
	for _, c := range p.variants[locale] {
		out, err := c.render(ctx, bindings)
		if err != nil {
			return Rendered{}, p.fail(fmt.Errorf("%s: %w", c.path, err))
		}
		switch c.path {
		case "url":
			r.URL = strings.TrimSpace(out)
			if r.URL != "" {
				if err := checkURL(r.URL); err != nil {
					return Rendered{}, p.fail(fmt.Errorf("url: %w", err))
				}
			}
		case "page":
			r.Page = strings.TrimSpace(out)
		case "subject":
			r.Subject = oneLine(out)
		case "html":
			r.HTML = out
		case "text":
			r.Text = out
		default:
			r.Fields[strings.TrimPrefix(c.path, "fields.")] = oneLine(out)
		}
	}
	return r, nil
}

func (p *Program) fail(err error) error {
	return ErrRender.With("code", p.Template.Code).Because(err)
}

// oneLine keeps header and slot values on one line, whatever the data holds.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\t") {
		return strings.TrimSpace(s)
	}
	return strings.Join(strings.Fields(s), " ")
}

func (c compiled) render(ctx context.Context, bindings map[string]any) (out string, err error) {
	if c.plain {
		return c.source, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be rendered: %v", r)
		}
	}()
	w := &cappedWriter{ctx: ctx, left: c.outputMax}
	w.Grow(len(c.source) + 256)
	if serr := c.tpl.FRender(w, bindings); serr != nil {
		if w.err != nil {
			return "", w.err
		}
		return "", errors.New(strings.TrimSpace(serr.Error()))
	}
	return w.String(), nil
}

// cappedWriter refuses output past its cap and after its context has ended.
type cappedWriter struct {
	strings.Builder
	ctx  context.Context // of one render
	left int
	err  error
}

func (w *cappedWriter) check(n int) error {
	if w.left -= n; w.left < 0 {
		w.err = errors.New("the output is too long")
	} else if err := w.ctx.Err(); err != nil {
		w.err = err
	}
	return w.err
}

func (w *cappedWriter) Write(p []byte) (int, error) {
	if err := w.check(len(p)); err != nil {
		return 0, err
	}
	return w.Builder.Write(p)
}

func (w *cappedWriter) WriteString(s string) (int, error) {
	if err := w.check(len(s)); err != nil {
		return 0, err
	}
	return io.WriteString(&w.Builder, s)
}
