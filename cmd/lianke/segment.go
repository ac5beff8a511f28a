package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/segments"
)

func segmentCommand() command {
	return command{
		name:  "segment",
		args:  "count|members|explain --rule FILE|CODE [--at TIME]",
		about: "evaluate a segment rule as of a time",
		run:   segment,
	}
}

var errNoRule = fault.New(fault.Invalid, "segment.no_rule", "未给出规则", "no rule is given").
	WithHint("用 --rule 指定规则文件、- (标准输入)或人群编码", "name a rule file, - for standard input, or a segment code with --rule")

// segment evaluates a rule. count prints how many members it holds for, members their ids, explain the size and reach, or
// with --member the rule tree with an answer at every vertex.
func segment(ctx context.Context, c console, args []string) error {
	flags := newFlags(c, segmentCommand())
	common := commonFlags(flags)
	source := flags.String("rule", "", "a file with a rule, - for standard input, or the code of a segment")
	atText := flags.String("at", "", "as of this time: RFC 3339, or 2026-01-31 for midnight in Shanghai (default now)")
	who := flags.String("member", "", "explain: the number of a member")
	words, err := parseMixed(flags, args)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "count" && words[0] != "members" && words[0] != "explain" {
		flags.Usage()
		return errUsage
	}
	if *source == "" {
		return errNoRule
	}
	app, err := openApp(ctx, c, common)
	if err != nil {
		return err
	}
	defer app.Close()
	at := app.clock.Now()
	if *atText != "" {
		if at, err = segments.ParseAt(*atText); err != nil {
			return err
		}
	}
	rule, err := app.loadRule(ctx, c.in, *source)
	if err != nil {
		return err
	}
	run := segmentRun{app: app, c: c, json: common.json, rule: rule, at: at}
	if run.warnings, err = app.segments.Advise(ctx, app.db, rule); err != nil {
		return err
	}
	for _, w := range run.warnings {
		fmt.Fprintf(c.err, "%s: 提示:%s → %s\n%s: warning: %s → %s\n", w.Path, w.Text.ZH, w.Hint.ZH, w.Path, w.Text.EN, w.Hint.EN)
	}
	switch words[0] {
	case "members":
		return run.members(ctx)
	case "explain":
		if *who != "" {
			return run.explain(ctx, *who)
		}
		return run.estimate(ctx)
	}
	return run.count(ctx)
}

// loadRule reads a rule from standard input, a file, or a stored segment, in this order.
func (a *app) loadRule(ctx context.Context, in io.Reader, source string) (segments.Rule, error) {
	if source == "-" {
		data, err := io.ReadAll(io.LimitReader(in, segments.MaxRuleBytes+1))
		if err != nil {
			return segments.Rule{}, fmt.Errorf("read rule: %w", err)
		}
		return segments.Parse(data)
	}
	f, err := os.Open(source)
	if errors.Is(err, fs.ErrNotExist) {
		s, err := a.segments.Get(ctx, source)
		return s.Rule, err
	}
	if err != nil {
		return segments.Rule{}, fmt.Errorf("read rule: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, segments.MaxRuleBytes+1))
	if err != nil {
		return segments.Rule{}, fmt.Errorf("read rule: %w", err)
	}
	return segments.Parse(data)
}

// segmentRun is one call of `lianke segment`.
type segmentRun struct {
	*app
	c    console
	json bool
	rule segments.Rule
	at   time.Time

	warnings []fault.Field // what is allowed in the rule and probably not meant
}

func (r segmentRun) print(v any, plain func()) error {
	if !r.json {
		plain()
		return nil
	}
	return json.NewEncoder(r.c.out).Encode(v)
}

func (r segmentRun) count(ctx context.Context) error {
	n, err := r.segments.Count(ctx, r.db, r.rule, r.at)
	if err != nil {
		return err
	}
	out := struct {
		Count    int64         `json:"count"`
		At       time.Time     `json:"at"`
		Warnings []fault.Field `json:"warnings,omitempty"`
	}{n, r.at, r.warnings}
	return r.print(out, func() { fmt.Fprintln(r.c.out, n) })
}

func (r segmentRun) members(ctx context.Context) error {
	ids, err := r.segments.Members(ctx, r.db, r.rule, r.at)
	if err != nil {
		return err
	}
	out := struct {
		Count    int           `json:"count"`
		At       time.Time     `json:"at"`
		Members  []string      `json:"members"`
		Warnings []fault.Field `json:"warnings,omitempty"`
	}{len(ids), r.at, make([]string, len(ids)), r.warnings}
	for i, id := range ids {
		out.Members[i] = id.String()
	}
	return r.print(out, func() {
		for _, id := range out.Members {
			fmt.Fprintln(r.c.out, id)
		}
	})
}

func (r segmentRun) estimate(ctx context.Context) error {
	e, err := r.segments.Estimate(ctx, r.db, auth.Everything, r.rule, r.at)
	if err != nil {
		return err
	}
	out := struct {
		segments.Estimate
		At   time.Time     `json:"at"`
		Rule segments.Rule `json:"rule"`
	}{e, r.at, r.rule}
	return r.print(out, func() {
		fmt.Fprintf(r.c.out, "members     %d\nreachable   %d\n", e.Count, e.Any)
		for _, ch := range e.Reach {
			fmt.Fprintf(r.c.out, "  %-12s %d of %d known\n", ch.Channel, ch.Reachable, ch.Known)
		}
	})
}

func (r segmentRun) explain(ctx context.Context, who string) error {
	birth, err := segments.ParseMember(who)
	if err != nil {
		return err
	}
	e, err := r.segments.Explain(ctx, auth.Everything, r.rule, r.at, birth)
	if err != nil {
		return err
	}
	return r.print(e, func() {
		fmt.Fprintf(r.c.out, "member %s: %s\n", e.Member, map[bool]string{true: "in", false: "not in"}[e.Holds])
		if !e.Exists {
			fmt.Fprintln(r.c.out, "  is not a member at that time")
		}
		drawVerdict(r.c.out, e.Rule, 1, colours(r.c.out))
	})
}

// drawVerdict prints the tree, green where it holds and red where not.
func drawVerdict(w io.Writer, v segments.Verdict, depth int, colour bool) {
	mark, text := "✗", v.Kind
	if v.Holds {
		mark = "✓"
	}
	if v.Leaf != nil {
		text = string(v.Leaf)
	}
	if colour {
		mark = map[bool]string{true: "\x1b[32m", false: "\x1b[31m"}[v.Holds] + mark + "\x1b[0m"
	}
	fmt.Fprintf(w, "%s%s %s\n", strings.Repeat("  ", depth), mark, text)
	for _, child := range v.Children {
		drawVerdict(w, child, depth+1, colour)
	}
}

// colours reports whether w is a terminal that has not asked for plain text.
func colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
