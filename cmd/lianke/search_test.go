package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
)

// Products that an import wrote are found through the API, as they were written last, page by page, and again after the
// index was dropped.
func TestProductsAreFound(t *testing.T) {
	t.Parallel()
	a := wired(t)
	load := func(text string) {
		file := filepath.Join(t.TempDir(), "products.csv")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		rep, err := a.importer.Run(t.Context(), importer.Input{Kind: "products", Path: file, Live: true})
		require.NoError(t, err)
		require.Zero(t, rep.Rejected)
		_, err = a.catalogue.Index(t.Context())
		require.NoError(t, err)
	}
	secret := as(t, a, auth.RoleAssociate, "")
	find := func(query string) (skus []string, next string) {
		w := request(t, a.api.Handler(), "GET", "/api/v1/products?"+query, secret, "")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var page struct {
			Items      []product.Item
			NextCursor string `json:"next_cursor"`
			Total      int64
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, it := range page.Items {
			skus = append(skus, it.SKU)
		}
		return skus, page.NextCursor
	}
	q := func(text string) []string {
		skus, _ := find("q=" + url.QueryEscape(text))
		return skus
	}
	load("sku,spu,barcode,name,category,brand,retail_price_fen,status\n" +
		"22423,CAKE,6901,三层蛋糕架,餐具,知更集,12750,active\n22424,CAKE,,两层蛋糕架,餐具,知更集,9900,inactive\n22699,CUP,,Rose Teacup,茶具,知更集,2950,active\n")
	require.Equal(t, []string{"22423", "22424"}, q("蛋糕"))
	require.Equal(t, []string{"22423"}, q("三层 蛋糕"))
	require.Equal(t, []string{"22699"}, q("rose tea"))
	require.Equal(t, []string{"22423"}, q("6901"))
	require.Empty(t, q("没有的"))
	skus, next := find("limit=2")
	require.Equal(t, []string{"22423", "22424"}, skus)
	skus, next = find("limit=2&cursor=" + next)
	require.Equal(t, []string{"22699"}, skus)
	require.Empty(t, next)
	skus, _ = find("status=active&category=" + url.QueryEscape("餐具"))
	require.Equal(t, []string{"22423"}, skus)

	// A new name replaces the old one; a new category of the product reaches its other SKUs; stubs of orders are found.
	load("sku,spu,name,category,brand\n22423,CAKE,四层点心架,厨房,知更集\n")
	require.Equal(t, []string{"22424"}, q("蛋糕"))
	require.Equal(t, []string{"22423", "22424"}, q("厨房"))
	require.NoError(t, pg.InTx(t.Context(), a.db, func(tx pgx.Tx) error {
		_, stubs, err := product.Ensure(t.Context(), tx, []string{"99999"}, a.clock.Now())
		require.Len(t, stubs, 1)
		return err
	}))
	n, err := a.catalogue.Index(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"99999"}, q("999"))

	n, err = a.catalogue.Rebuild(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Equal(t, []string{"22423", "22424"}, q("厨房"))

	h := a.api.Handler()
	require.Contains(t, request(t, h, "GET", "/api/v1/products/22699", secret, "").Body.String(), `"retail_price_fen":2950`)
	require.Equal(t, http.StatusNotFound, request(t, h, "GET", "/api/v1/products/nothing", secret, "").Code)
}
