package archtest

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// Every table says how it will spread over several databases (DESIGN: reference, by_birth, by_key), and a by_birth table
// carries its birth in its primary key, or the root, or an id that belongs to one birth.
func TestEveryTableDeclaresItsClass(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	rows, err := tx.Query(t.Context(), `
		SELECT n.nspname || '.' || c.relname AS name, coalesce(obj_description(c.oid), '') AS comment,
		       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE 'river%'
		ORDER BY 1`, pg.Schemas)
	require.NoError(t, err)
	type table struct {
		Name, Comment string
		Columns       []string
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByName[table])
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	class := regexp.MustCompile(`^class=(reference|by_birth|by_key); .`)
	for _, tb := range tables {
		require.Regexp(t, class, tb.Comment, "%s: COMMENT ON TABLE … IS 'class=reference|by_birth|by_key; what it holds'", tb.Name)
		if strings.HasPrefix(tb.Comment, "class=by_birth") {
			require.True(t, slices.ContainsFunc(tb.Columns, func(c string) bool {
				return c == "birth" || c == "id" || c == "a_birth" || c == "root" || c == "run" || c == "entry_birth"
			}), "%s is by_birth but has no birth: %v", tb.Name, tb.Columns)
		}
	}
}

// No foreign key leaves its schema: modules know each other's ids, not each other's rows.
func TestNoForeignKeyAcrossSchemas(t *testing.T) {
	t.Parallel()
	var found []string
	err := pgtest.Tx(t).QueryRow(t.Context(), `
		SELECT coalesce(array_agg(k.conname::text), '{}')
		FROM pg_constraint k
		JOIN pg_class a ON a.oid = k.conrelid
		JOIN pg_class b ON b.oid = k.confrelid
		WHERE k.contype = 'f' AND a.relnamespace <> b.relnamespace`).Scan(&found)
	require.NoError(t, err)
	require.Empty(t, found)
}

var statement = regexp.MustCompile(`(?s)^\s*(--[^\n]*\n\s*)*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)

// elsewhere matches statements on tables that are not the schema's, temporary ones and those of benchmarks, and texts that
// become statements only by formatting.
var elsewhere = regexp.MustCompile(`\b(pg_temp|plain|base)\.|%[dsv]`)

// Every constant that is a statement is prepared against the migrated schema, so that a broken query fails here and not on
// a Tuesday night.
func TestEverySQLConstantPrepares(t *testing.T) {
	t.Parallel()
	conn := pgtest.Tx(t).Conn()
	top, err := filepath.Abs("../..")
	require.NoError(t, err)
	n := 0
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") {
				return filepath.SkipDir
			}
			if path != filepath.Join(top, "deploy") && filepath.Dir(path) == filepath.Join(top, "deploy") {
				return filepath.SkipDir // modules of their own
			}
			found, err := constants(path)
			if err != nil {
				return err
			}
			for name, sql := range found {
				if !statement.MatchString(sql) || elsewhere.MatchString(sql) || strings.HasSuffix(name, "CTE") {
					continue
				}
				if err := prepare(t.Context(), conn, sql); err != nil {
					rel, _ := filepath.Rel(top, path)
					t.Errorf("%s: %s: %v", rel, name, err)
				}
				n++
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, n, 30)
}

func prepare(ctx context.Context, conn *pgx.Conn, sql string) error {
	rewritten, _, err := pgx.NamedArgs{}.RewriteQuery(ctx, conn, sql, nil)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SAVEPOINT prepare"); err != nil {
		return err
	}
	_, err = conn.Prepare(ctx, "archtest", rewritten)
	if err != nil {
		_, rerr := conn.Exec(ctx, "ROLLBACK TO SAVEPOINT prepare")
		if rerr != nil {
			return rerr
		}
		return err
	}
	return conn.Deallocate(ctx, "archtest")
}

// constants evaluates the string constants of a folder's Go files, concatenations included.
func constants(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	exprs := map[string]ast.Expr{}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", e.Name(), err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						exprs[name.Name] = spec.Values[i]
					}
				}
			}
		}
	}
	out := map[string]string{}
	for name := range exprs {
		if v, ok := evaluate(exprs, ast.NewIdent(name), 0); ok {
			out[name] = v
		}
	}
	return out, nil
}

func evaluate(exprs map[string]ast.Expr, e ast.Expr, depth int) (string, bool) {
	if depth > 20 {
		return "", false
	}
	switch x := e.(type) {
	case *ast.BasicLit:
		if x.Kind != token.STRING {
			return "", false
		}
		v, err := strconv.Unquote(x.Value)
		return v, err == nil
	case *ast.ParenExpr:
		return evaluate(exprs, x.X, depth+1)
	case *ast.BinaryExpr:
		a, okA := evaluate(exprs, x.X, depth+1)
		b, okB := evaluate(exprs, x.Y, depth+1)
		return a + b, x.Op == token.ADD && okA && okB
	case *ast.Ident:
		v, ok := exprs[x.Name]
		if !ok {
			return "", false
		}
		return evaluate(exprs, v, depth+1)
	}
	return "", false
}
