package templates

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/osteele/liquid/parser"
)

// The bounds of a text. With them a render costs at most 100 × (tags in the loop) filter calls of 16 KB each.
const (
	maxTags    = 400
	maxDepth   = 8
	maxAssigns = 20
	maxItems   = 100
	maxGrown   = 16 << 10 // bytes a filter may grow a text to
)

var (
	allowedTags    = []string{"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase", "for", "endfor", "break", "continue", "assign", "comment", "endcomment"}
	allowedFilters = []string{"abs", "append", "at_least", "at_most", "capitalize", "ceil", "date", "default", "divided_by", "downcase", "first", "floor",
		"join", "last", "minus", "modulo", "plus", "prepend", "remove", "replace", "round", "size", "strip", "times", "truncate", "upcase", "url_encode", "yuan"}
	keywords = []string{"and", "or", "contains", "in", "true", "false", "nil", "null", "empty", "blank", "reversed", "limit", "offset", "forloop"}

	forPattern    = regexp.MustCompile(`^\s*([a-z][a-z0-9_]*)\s+in\s+([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)\s*(?:limit:\s*\d{1,3}\s*)?(?:reversed)?\s*$`)
	assignPattern = regexp.MustCompile(`^\s*([a-z][a-z0-9_]*)\s*=\s*(.+)$`)
	quoted        = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	wordPattern   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_-]*(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_-]*)*`)
	filterName    = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)`)
)

// checked is what a scan of a text learned.
type checked struct {
	paths []string // variables used, with their path: "amount", "member.attrs.city"
	plain bool     // holds no Liquid at all
}

// scan checks a text against the language above before the Liquid parser ever sees it. The error says the line.
func scan(source string, declared []string) (checked, error) {
	if !strings.Contains(source, "{{") && !strings.Contains(source, "{%") {
		return checked{plain: true}, nil
	}
	s := scanner{declared: declared}
	for _, tok := range parser.Scan(source, parser.SourceLoc{LineNo: 1}, nil) {
		var err error
		switch tok.Type {
		case parser.TextTokenType:
			if strings.Contains(tok.Source, "{{") || strings.Contains(tok.Source, "{%") {
				err = fmt.Errorf("a {{ or {%% is not closed")
			}
		case parser.ObjTokenType:
			err = s.expression(tok.Args)
		case parser.TagTokenType:
			err = s.tag(tok.Name, tok.Args)
		}
		if err != nil {
			return checked{}, fmt.Errorf("line %d: %w", tok.SourceLoc.LineNo, err)
		}
	}
	if len(s.open) > 0 {
		return checked{}, fmt.Errorf("{%% %s %%} is not closed", s.open[len(s.open)-1])
	}
	return checked{paths: s.paths}, nil
}

type scanner struct {
	declared []string
	locals   []string
	open     []string
	tags     int
	assigns  int
	paths    []string
}

func (s *scanner) tag(name, args string) error {
	if !slices.Contains(allowedTags, name) {
		return fmt.Errorf("the tag %q is not allowed", name)
	}
	if s.tags++; s.tags > maxTags {
		return fmt.Errorf("more than %d tags", maxTags)
	}
	if end, ok := strings.CutPrefix(name, "end"); ok {
		if len(s.open) == 0 || s.open[len(s.open)-1] != end {
			return fmt.Errorf("{%% %s %%} closes nothing", name)
		}
		s.open = s.open[:len(s.open)-1]
		return nil
	}
	switch name {
	case "if", "unless", "case", "comment":
		s.open = append(s.open, name)
	case "for":
		if slices.Contains(s.open, "for") {
			return fmt.Errorf("a loop inside a loop is not allowed")
		}
		m := forPattern.FindStringSubmatch(args)
		if m == nil {
			return fmt.Errorf("a loop runs over a declared list: {%% for item in items %%}")
		}
		s.locals = append(s.locals, m[1])
		s.open = append(s.open, name)
		if len(s.open) > maxDepth {
			return fmt.Errorf("nested more than %d deep", maxDepth)
		}
		return s.use(m[2])
	case "assign":
		if s.assigns++; s.assigns > maxAssigns {
			return fmt.Errorf("more than %d assignments", maxAssigns)
		}
		m := assignPattern.FindStringSubmatch(args)
		if m == nil {
			return fmt.Errorf("an assignment reads {%% assign name = value %%}")
		}
		if slices.Contains(s.declared, m[1]) || slices.Contains(reserved, m[1]) {
			return fmt.Errorf("%q is taken, assign to another name", m[1])
		}
		if err := s.expression(m[2]); err != nil {
			return err
		}
		s.locals = append(s.locals, m[1])
		return nil
	}
	if len(s.open) > maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	return s.expression(args)
}

// expression checks filters and variables of one expression. String literals are data and are taken out first.
func (s *scanner) expression(expr string) error {
	if strings.TrimSpace(expr) == "" {
		return nil
	}
	bare := quoted.ReplaceAllString(expr, `0`)
	switch {
	case strings.ContainsAny(bare, `"'`):
		return fmt.Errorf("a quote is not closed")
	case strings.Contains(bare, ".."):
		return fmt.Errorf("ranges (a..b) are not allowed")
	case strings.ContainsAny(bare, "[]{}%"):
		return fmt.Errorf("brackets are not allowed, write a.b")
	}
	parts := strings.Split(bare, "|")
	for i, part := range parts {
		if i > 0 {
			m := filterName.FindStringSubmatch(part)
			if m == nil || !slices.Contains(allowedFilters, m[1]) {
				return fmt.Errorf("the filter %q is not allowed", strings.TrimSpace(part))
			}
			part = part[len(m[0]):]
		}
		for _, word := range wordPattern.FindAllString(part, -1) {
			if err := s.use(strings.Join(strings.Fields(word), "")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) use(path string) error {
	root, rest, _ := strings.Cut(path, ".")
	switch {
	case slices.Contains(keywords, root), slices.Contains(s.locals, root):
		return nil
	case root == "member":
		if !slices.Contains(MemberFields, rest) && !strings.HasPrefix(rest, "attrs.") {
			return fmt.Errorf("member has no field %q", rest)
		}
	case root == "unsubscribe_url":
	case !slices.Contains(s.declared, root):
		return fmt.Errorf("the variable %q is not declared", root)
	}
	if !slices.Contains(s.paths, path) {
		s.paths = append(s.paths, path)
	}
	return nil
}
