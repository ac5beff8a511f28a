package inventory_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/importer"
)

func (s *shop) load(text string) importer.Report {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "stock.csv")
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	rep, err := importer.New(s.db, s.clock, inventory.NewImportKind(s.Service)).Run(s.t.Context(), importer.Input{Kind: "stock", Path: path})
	require.NoError(s.t, err)
	return rep
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.tx(func(tx pgx.Tx) error {
		if err := org.PutEntities(t.Context(), tx, []org.Entity{{Code: "hq"}}, start); err != nil {
			return err
		}
		return org.PutUnits(t.Context(), tx, []org.Unit{{Code: "HQ", Kind: org.KindHQ, Entity: "hq"}, {Code: "S1", Parent: "HQ", Kind: org.KindStore}}, start)
	}))

	// Given statements as of the night before, with what has happened since
	rep := s.load("sku,location,owner,status,quantity,as_of\n" +
		"tea,S1,,,10,2026-11-22 22:00:00\n" + "tea,S1,f1,良品,4,2026-11-22 22:00:00\n" + "tea,W9,,damaged,1,\n" + "cup,S1,,sold,1,\n" + "cup,S1,,,-1,\n")
	require.Equal(t, []int64{3, 2}, []int64{rep.Accepted, rep.Rejected})
	require.Equal(t, map[string]int64{"sku.stub": 1, "org.stub": 1, "entity.stub": 2}, rep.Warnings)
	onHand, _ := s.level(good("tea", "S1", "hq"))
	require.EqualValues(t, 10, onHand)
	_, err := s.reserve(s.basket(1, inventory.Want{Line: 1, SKU: "tea", Location: "S1", Owner: "hq", Quantity: 3}))
	require.NoError(t, err)
	_, err = s.ship(order(1), inventory.Part{Line: 1, Quantity: 2})
	require.NoError(t, err)
	s.books()

	// When the night's count is corrected, what was sold since stays sold.
	rep = s.load("sku,location,quantity,as_of\ntea,S1,12,2026-11-22 23:00:00\n")
	require.EqualValues(t, 1, rep.Accepted)
	onHand, reserved := s.level(good("tea", "S1", "hq"))
	require.Equal(t, []int64{10, 1}, []int64{onHand, reserved})

	// Then neither an older count nor one that forgets what is promised is taken.
	rep = s.load("sku,location,quantity,as_of\ntea,S1,9,2026-11-22 20:00:00\n")
	require.EqualValues(t, 1, rep.Rejected)
	rep = s.load("sku,location,quantity\ntea,S1,0\n")
	require.EqualValues(t, 1, rep.Rejected)
	rep = s.load("sku,location,quantity,as_of\ntea,S1,5,2027-01-01\n")
	require.Equal(t, map[string]int64{"stock.future": 1}, rep.Warnings)
	onHand, _ = s.level(good("tea", "S1", "hq"))
	require.EqualValues(t, 5, onHand)
	s.books()
}
