// Package archtest holds the tests that keep the house in shape: who may import whom, what every table declares, and that
// every SQL constant is valid against the migrated schema. It has no other code.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/lianke/lianke/"

// mayImport lists the root folders that each root folder may import, besides itself and internal. It is the table of
// docs/architecture.md; a new entry is a decision.
var mayImport = map[string][]string{
	"internal":  {},
	"member":    {},
	"templates": {"member"},
	"segments":  {"member"},
	"channels":  {"member", "templates"},
	"commerce":  {"member"},
	"journeys":  {"member", "segments", "templates"},
	"web":       {},
	"cmd":       {"member", "templates", "segments", "channels", "commerce", "journeys", "web"},
	"deploy":    {"cmd"},
}

// fences name the one or two places where a third-party package lives.
var fences = map[string][]string{
	"github.com/riverqueue/river":         {"internal/jobs", "internal/pg"},
	"github.com/gorilla/websocket":        {"internal/ws"},
	"github.com/silenceper/wechat":        {"channels/wechat", "channels/wecom"},
	"github.com/elastic/go-elasticsearch": {"internal/search"},
	"github.com/redis/go-redis":           {"internal/redis"},
	"github.com/danielgtaylor/huma":       {"internal/api"},
	"github.com/osteele/liquid":           {"templates"},
	"github.com/xuri/excelize":            {"internal/sheet"},
	"github.com/pressly/goose":            {"internal/pg"},
}

// downward is the order of the commerce packages: each may import those before it.
var downward = []string{"org", "product", "price", "coupon", "inventory", "promotion", "sourcing", "cart", "order", "payment", "fulfilment",
	"checkout", "aftersale", "settlement", "credit", "pos"}

type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func root(path string) string {
	folder, _, _ := strings.Cut(path, "/")
	return folder
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		from, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		allowed, known := mayImport[root(from)]
		require.True(t, known, "%s: the house has no root folder %q", p.ImportPath, root(from))
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				for prefix, homes := range fences {
					if strings.HasPrefix(imported, prefix) {
						require.True(t, slices.ContainsFunc(homes, func(h string) bool { return from == h || strings.HasPrefix(from, h+"/") }),
							"%s imports %s, which lives in %v", from, imported, homes)
					}
				}
				require.False(t, strings.HasPrefix(imported, "github.com/stretchr/testify") && !testOnly(from), "%s: testify is for tests", from)
				continue
			}
			require.True(t, root(to) == "internal" || root(to) == root(from) || slices.Contains(allowed, root(to)), "%s may not import %s", from, to)
			if root(from) == "commerce" && root(to) == "commerce" && from != "commerce" {
				require.Less(t, rank(t, to), rank(t, from)+1, "%s may not import %s: commerce imports run downward", from, to)
			}
		}
	}
}

// testOnly reports packages that exist for other packages' tests.
func testOnly(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return strings.HasSuffix(last, "test") || last == "harness"
}

func rank(t *testing.T, path string) int {
	parts := strings.Split(path, "/")
	if len(parts) < 2 {
		return -1
	}
	i := slices.Index(downward, strings.TrimSuffix(parts[1], "test"))
	require.GreaterOrEqual(t, i, 0, "commerce/%s has no place in the downward order of internal/archtest", parts[1])
	return i
}
