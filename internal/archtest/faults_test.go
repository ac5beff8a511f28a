package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fault is what people see when something goes wrong: each has a code of its own, says what is wrong in both languages
// with the same slots, and how to mend it.
func TestFaultsSayWhatIsWrongAndHowToMendIt(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile(`^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$`)
	seen := map[string]string{}
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			for _, d := range declaredFaults(t, filepath.Join(p.Dir, file)) {
				at := fmt.Sprintf("%s/%s:%d: %s", strings.TrimPrefix(p.ImportPath, module), file, d.line, d.code)
				assert.Regexp(t, code, d.code, at)
				assert.Empty(t, seen[d.code], "%s: the code is taken", at)
				seen[d.code] = at
				assert.True(t, strings.ContainsFunc(d.zh, han), "%s: no Chinese text", at)
				assert.NotEmpty(t, d.en, "%s: no English text", at)
				assert.Equal(t, slots(d.zh), slots(d.en), "%s: other slots in Chinese than in English", at)
				assert.True(t, strings.ContainsFunc(d.hintZH, han) && d.hintEN != "", "%s: nothing says how to mend it; WithHint(zh, en)", at)
			}
		}
	}
	require.Greater(t, len(seen), 100, "the test finds the faults")
}

func han(r rune) bool { return unicode.Is(unicode.Han, r) }

var slot = regexp.MustCompile(`\{[a-z_]+\}`)

func slots(text string) []string {
	out := slot.FindAllString(text, -1)
	slices.Sort(out)
	return slices.Compact(out)
}

type declaredFault struct {
	line                         int
	code, zh, en, hintZH, hintEN string
}

// declaredFaults reads the package variables of a file that are faults.
func declaredFaults(t *testing.T, file string) (out []declaredFault) {
	t.Helper()
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, decl := range tree.Decls {
		vars, ok := decl.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		for _, spec := range vars.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				if d, ok := readFault(value); ok {
					d.line = fset.Position(value.Pos()).Line
					out = append(out, d)
				}
			}
		}
	}
	return out
}

// readFault follows fault.New(…).WithHint(…)… from the outside in.
func readFault(e ast.Expr) (d declaredFault, ok bool) {
	for {
		call, isCall := e.(*ast.CallExpr)
		if !isCall {
			return d, false
		}
		method, isSelector := call.Fun.(*ast.SelectorExpr)
		if !isSelector {
			return d, false
		}
		if pkg, isName := method.X.(*ast.Ident); isName && pkg.Name == "fault" && method.Sel.Name == "New" && len(call.Args) == 4 {
			d.code, d.zh, d.en = text(call.Args[1]), text(call.Args[2]), text(call.Args[3])
			return d, true
		}
		if method.Sel.Name == "WithHint" && len(call.Args) == 2 {
			d.hintZH, d.hintEN = text(call.Args[0]), text(call.Args[1])
		}
		e = method.X
	}
}

// text is the literal part of a string expression.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return s
		}
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	}
	return ""
}
