package org_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func load(t *testing.T, db *pg.Pool, kind, text string) importer.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), kind+".csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	rep, err := importer.New(db, clock.System{}, org.ImportUnits{}, org.ImportEntities{}).Run(t.Context(), importer.Input{Kind: kind, Path: path})
	require.NoError(t, err)
	return rep
}

func TestTreeWhateverTheOrderOfRows(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	rep := load(t, db, "org", "code,parent,name,kind,entity,longitude,latitude\n"+
		"HZ01,EAST,杭州湖滨路店,store,E1,120.153576,30.2584\nEAST,HQ,华东分公司,branch,E1,,\nHQ,,总部,hq,E1,,\nWH1,EAST,嘉兴总仓,仓库,,,\n"+
		"GD,SOUTH,东山口店,store,,,\nBAD,HQ,x,castle,,,\nLOST,HQ,y,store,,200,\n")
	require.EqualValues(t, 5, rep.Accepted)
	require.EqualValues(t, 2, rep.Rejected)
	require.Equal(t, map[string]int64{"org.stub": 1, "entity.stub": 1}, rep.Warnings)
	sub, err := org.Subtree(t.Context(), db, "EAST")
	require.NoError(t, err)
	require.Equal(t, []string{"EAST", "HZ01", "WH1"}, sub)
	sub, err = org.Subtree(t.Context(), db, "HQ")
	require.NoError(t, err)
	require.Equal(t, []string{"HQ", "EAST", "HZ01", "WH1"}, sub)

	// The stub gets its place, and what hangs below it follows.
	rep = load(t, db, "org", "code,parent,name,kind\nSOUTH,HQ,华南总代,partner\n")
	require.EqualValues(t, 1, rep.Accepted)
	sub, err = org.Subtree(t.Context(), db, "HQ")
	require.NoError(t, err)
	require.Equal(t, []string{"HQ", "EAST", "HZ01", "WH1", "SOUTH", "GD"}, sub)
	sub, err = org.Subtree(t.Context(), db, "NOWHERE")
	require.NoError(t, err)
	require.Empty(t, sub)
}

func TestACycleIsRejectedAndTheRestStands(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	rep := load(t, db, "org", "code,parent\nA,B\nB,A\nC,C\nD,A\n")
	require.EqualValues(t, 2, rep.Accepted)
	require.EqualValues(t, 2, rep.Rejected)
	sub, err := org.Subtree(t.Context(), db, "B")
	require.NoError(t, err)
	require.Equal(t, []string{"B", "A", "D"}, sub)
	rep = load(t, db, "org", "code,parent\nB,D\n")
	require.EqualValues(t, 1, rep.Rejected)
}

func TestEntities(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	load(t, db, "org", "code,entity\nS1,E1\n")
	rep := load(t, db, "entities", "code,name,tax_no,taxpayer_kind,attr.bank\nE1,岭南礼和,91440101MA5XXXXXXX,一般纳税人,招商银行\nE2,小满,,strange,\n")
	require.EqualValues(t, 1, rep.Accepted)
	require.EqualValues(t, 1, rep.Rejected)
	var name, kind, bank string
	var stub bool
	require.NoError(t, db.QueryRow(t.Context(), `SELECT name, taxpayer_kind, attrs->>'bank', stub FROM commerce.entities WHERE code = 'E1'`).Scan(&name, &kind, &bank, &stub))
	require.Equal(t, []any{"岭南礼和", "general", "招商银行", false}, []any{name, kind, bank, stub})
}
