package product_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func load(t *testing.T, db *pg.Pool, text string) importer.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "products.csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	rep, err := importer.New(db, clock.System{}, product.Import{}).Run(t.Context(), importer.Input{Kind: "products", Path: path})
	require.NoError(t, err)
	return rep
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	ensure := func(skus ...string) (facts map[string]product.Facts, stubs []string) {
		require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) (err error) {
			facts, stubs, err = product.Ensure(t.Context(), tx, skus, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			return err
		}))
		return facts, stubs
	}
	_, stubs := ensure("22699", "22423")
	require.Equal(t, []string{"22423", "22699"}, stubs)
	rep := load(t, db, "sku,spu,barcode,name,category,brand,unit,tag_price_fen,retail_price_fen,status,attr.colour\n"+
		"22423,CAKE,6901|6902,三层蛋糕架,餐具,知更集,个,15000,12750,active,粉\n"+
		"22699,CUP,6902,玫瑰茶杯,餐具,知更集,个,,2950,,\n"+
		"22700,CUP,,玫瑰茶杯 2,餐具,知更集,个,-1,29.5,sold,\n")
	require.EqualValues(t, 1, rep.Accepted)
	require.EqualValues(t, 2, rep.Rejected)
	facts, stubs := ensure("22423")
	require.Empty(t, stubs)
	require.Equal(t, product.Facts{SKU: "22423", Category: "餐具", Brand: "知更集"}, facts["22423"])
	var spu, colour string
	var retail int64
	var stub bool
	require.NoError(t, db.QueryRow(t.Context(), `SELECT spu, attrs->>'colour', retail_price_fen, stub FROM commerce.skus WHERE sku = '22423'`).Scan(&spu, &colour, &retail, &stub))
	require.Equal(t, []any{"CAKE", "粉", int64(12750), false}, []any{spu, colour, retail, stub})
	rep = load(t, db, "sku,retail_price_fen\n22423,9900\n")
	require.EqualValues(t, 1, rep.Accepted)
}
