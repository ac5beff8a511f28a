package product_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/internal/search"
)

type ctx = context.Context

var noon = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

func fen(n money.Fen) *money.Fen { return &n }

// desk is a merchandiser's, with a category of clothes that come in colours and sizes.
type desk struct {
	t  *testing.T
	db *pg.Pool
	*product.Editor
}

func openDesk(t *testing.T) desk {
	d := desk{t, pgtest.DB(t), nil}
	d.Editor = product.NewEditor(d.db, clock.NewVirtual(noon))
	d.category(product.Category{Code: "apparel", Name: "服装", Attributes: []product.Attribute{
		{Code: "colour", Name: "颜色", Kind: product.AttributeAxis, Options: []string{"红", "蓝"}},
		{Code: "weight", Name: "克重", Kind: product.AttributeNumber, Unit: "g"},
	}})
	d.category(product.Category{Code: "shirts", Parent: "apparel", Name: "衬衫", Attributes: []product.Attribute{
		{Code: "size", Name: "尺码", Kind: product.AttributeAxis, Options: []string{"S", "M", "L"}},
		{Code: "fabric", Name: "面料", Kind: product.AttributeEnum, Options: []string{"棉", "麻"}, Required: true},
	}})
	_, err := do(d, product.SPU{SPU: "SHIRT", Name: "牛津衬衫", Category: "shirts", Brand: "知更集"}, d.PutSPU)
	require.NoError(t, err)
	return d
}

func do[In, Out any](d desk, in In, fn func(ctx ctx, tx pgx.Tx, in In) (Out, error)) (out Out, err error) {
	err = pg.InTx(d.t.Context(), d.db, func(tx pgx.Tx) (err error) {
		out, err = fn(d.t.Context(), tx, in)
		return err
	})
	return out, err
}

func (d desk) category(c product.Category) product.Category {
	c, err := do(d, c, d.PutCategory)
	require.NoError(d.t, err)
	return c
}

func (d desk) sku(in product.Draft) product.Item {
	it, err := do(d, in, d.PutSKU)
	require.NoError(d.t, err)
	return it
}

func (d desk) move(it product.Item, to product.Status) (product.Item, error) {
	return do(d, it, func(ctx ctx, tx pgx.Tx, it product.Item) (product.Item, error) {
		_, it, err := d.Move(ctx, tx, it.SKU, it.Version, to)
		return it, err
	})
}

func paths(t *testing.T, err error) (out []string) {
	t.Helper()
	var f *fault.Error
	require.True(t, errors.As(err, &f), "%v", err)
	for _, field := range f.Fields {
		out = append(out, field.Path)
	}
	return out
}

func shirt(sku, colour, size string) product.Draft {
	return product.Draft{SKU: sku, SPU: "SHIRT", Name: sku, RetailPrice: fen(29_900), Attrs: map[string]string{"colour": colour, "size": size, "fabric": "棉"}}
}

func TestCategoriesAreATree(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	_, err := do(d, product.Category{Code: "apparel", Parent: "shirts", Name: "服装", Version: 1}, d.PutCategory)
	require.ErrorIs(t, err, product.ErrCycle)
	_, err = do(d, product.Category{Code: "apparel", Name: "服装"}, d.PutCategory)
	require.ErrorIs(t, err, product.ErrExists)
	_, err = do(d, product.Category{Code: "apparel", Name: "服装", Version: 7}, d.PutCategory)
	require.ErrorIs(t, err, product.ErrStale)
	_, err = do(d, product.Category{Code: "x", Parent: "nowhere", Name: "x"}, d.PutCategory)
	require.Equal(t, []string{"parent"}, paths(t, err))
	_, err = do(d, product.Category{Code: "x", Name: "x", Attributes: []product.Attribute{
		{Code: "a", Name: "a", Kind: product.AttributeEnum}, {Code: "a", Name: "a", Kind: product.AttributeText, Options: []string{"b"}},
	}}, d.PutCategory)
	require.Equal(t, []string{"attributes[0].options", "attributes[1].code", "attributes[1].options"}, paths(t, err))
	all, err := d.Categories(t.Context(), d.db, "", 10)
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestValuesFollowTheirTypes(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	in := shirt("S1", "绿", "XXL")
	in.Attrs["weight"], in.Attrs["fabric"], in.Attrs["anything"] = "heavy", "丝", "goes"
	_, err := do(d, in, d.PutSKU)
	require.ErrorIs(t, err, product.ErrInvalid)
	require.Equal(t, []string{"attr.colour", "attr.weight", "attr.size", "attr.fabric"}, paths(t, err))
	in = shirt("S1", "红", "M")
	in.Attrs["weight"], in.TaxCode = "180.5", "1040201010000000000"
	require.Equal(t, product.StatusDraft, d.sku(in).Status)
	in.TaxCode, in.Version = "104", 1
	_, err = do(d, in, d.PutSKU)
	require.Equal(t, []string{"tax_code"}, paths(t, err))

	rep := load(t, d.db, "sku,spu,name,category,status,attr.colour\nS8,SHIRT,a,shirts,draft,绿\nS9,SHIRT,b,shirts,draft,蓝\n")
	require.EqualValues(t, 1, rep.Accepted)
	require.EqualValues(t, 1, rep.Rejected)
}

func TestTheGridHoldsOneSKUInACell(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	red := d.sku(shirt("R-M", "红", "M"))
	d.sku(shirt("B-L", "蓝", "L"))
	_, err := do(d, shirt("R-M2", "红", "M"), d.PutSKU)
	require.ErrorIs(t, err, product.ErrCell)
	_, err = d.move(red, product.StatusArchived)
	require.NoError(t, err)
	d.sku(shirt("R-M2", "红", "M"))
	plain := shirt("PLAIN", "", "")
	d.sku(plain)
	g, err := d.Grid(t.Context(), d.db, "SHIRT")
	require.NoError(t, err)
	require.Len(t, g.Cells, 6)
	require.Equal(t, product.GridCell{Values: []string{"红", "M"}, SKU: "R-M2", Status: product.StatusDraft}, g.Cells[1])
	require.Equal(t, "B-L", g.Cells[5].SKU)
	require.Empty(t, g.Cells[0].SKU)
	require.ElementsMatch(t, []string{"PLAIN", "R-M"}, g.Other)
}

func TestLifeOfASKU(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	in := shirt("S1", "红", "M")
	delete(in.Attrs, "fabric")
	in.RetailPrice = nil
	it := d.sku(in)
	_, err := d.move(it, product.StatusInReview)
	require.Equal(t, []string{"attr.fabric", "retail_price_fen"}, paths(t, err))
	in.Attrs["fabric"], in.RetailPrice, in.Version = "麻", fen(100), it.Version
	it = d.sku(in)
	_, err = do(d, in, d.PutSKU)
	require.ErrorIs(t, err, product.ErrStale)

	statuses := []product.Status{product.StatusDraft, product.StatusInReview, product.StatusActive, product.StatusInactive, product.StatusDelisting, product.StatusArchived}
	for _, to := range []product.Status{
		product.StatusInReview, product.StatusDraft, product.StatusInReview, product.StatusActive, product.StatusInactive, product.StatusActive,
		product.StatusDelisting, product.StatusActive, product.StatusDelisting, product.StatusArchived,
	} {
		for _, other := range statuses {
			if !slices.Contains(it.Status.Next(), other) {
				_, err := d.move(it, other)
				require.ErrorIs(t, err, product.ErrTransition, "%s to %s", it.Status, other)
			}
		}
		stale := it
		stale.Version--
		_, err := d.move(stale, to)
		require.ErrorIs(t, err, product.ErrStale)
		it, err = d.move(it, to)
		require.NoError(t, err, to)
	}
	require.Empty(t, it.Status.Next())
}

func TestBarcodesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	a, b := shirt("A", "红", "S"), shirt("B", "红", "M")
	a.Barcodes, b.Barcodes = []string{"690", "691"}, []string{"691"}
	require.Equal(t, []string{"690", "691"}, d.sku(a).Barcodes)
	_, err := do(d, b, d.PutSKU)
	require.ErrorIs(t, err, product.ErrBarcode)
	a.Barcodes, a.Version = []string{"692"}, 1
	require.Equal(t, []string{"692"}, d.sku(a).Barcodes)
	d.sku(b)
}

func TestContentsFollowTheTouchpointAndTheIndex(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	d.sku(shirt("S1", "红", "M"))
	p, err := d.GetSPU(t.Context(), d.db, "SHIRT")
	require.NoError(t, err)
	require.Equal(t, "牛津衬衫", p.For("tmall").Title)
	p.Contents = []product.Content{{Title: "知更集牛津衬衫", Images: []string{"products/shirt.jpg"}}, {Touchpoint: "tmall", Title: "旗舰店春季专供"}}
	_, err = do(d, p, d.PutSPU)
	require.NoError(t, err)
	p, err = d.GetSPU(t.Context(), d.db, "SHIRT")
	require.NoError(t, err)
	require.Equal(t, []string{"旗舰店春季专供", "知更集牛津衬衫"}, []string{p.For("tmall").Title, p.For("pos").Title})

	catalogue := product.NewCatalogue(d.db, search.NewPostgres(d.db))
	_, err = catalogue.Index(t.Context())
	require.NoError(t, err)
	found, _, err := catalogue.Find(t.Context(), product.FindInput{Text: "春季专供", Limit: 10})
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestBundles(t *testing.T) {
	t.Parallel()
	d := openDesk(t)
	d.sku(shirt("A", "红", "S"))
	d.sku(shirt("B", "蓝", "S"))
	set := product.Draft{SKU: "SET", SPU: "SHIRT", Name: "两件套", Kind: product.SKUBundle, RetailPrice: fen(49_900), Attrs: map[string]string{"fabric": "棉"}}
	it := d.sku(set)
	_, err := d.move(it, product.StatusInReview)
	require.Equal(t, []string{"components"}, paths(t, err))
	_, err = do(d, product.Bundle{SKU: "SET", Version: it.Version, Components: []product.Component{{SKU: "SET", Quantity: 1}, {SKU: "A", Quantity: 1}}}, d.PutBundle)
	require.Equal(t, []string{"components[0].sku"}, paths(t, err))
	_, err = do(d, product.Bundle{SKU: "A", Version: 1, Components: []product.Component{{SKU: "B", Quantity: 1}}}, d.PutBundle)
	require.Equal(t, []string{"sku"}, paths(t, err))
	b, err := do(d, product.Bundle{SKU: "SET", Version: it.Version, Components: []product.Component{{SKU: "B", Quantity: 2, Weight: 2}, {SKU: "A", Quantity: 1, Weight: 1}}}, d.PutBundle)
	require.NoError(t, err)
	_, err = do(d, product.Bundle{SKU: "SET", Version: it.Version, Components: b.Components}, d.PutBundle)
	require.ErrorIs(t, err, product.ErrStale)
	it.Version = b.Version
	_, err = d.move(it, product.StatusInReview)
	require.NoError(t, err)
	components, err := product.Components(t.Context(), d.db, []string{"SET", "A"})
	require.NoError(t, err)
	require.Equal(t, map[string][]product.Component{"SET": b.Components}, components)
	parts, err := product.Explode(49_900, 1, b.Components)
	require.NoError(t, err)
	require.Equal(t, []product.Part{{SKU: "B", Quantity: 2, AmountFen: 33_267}, {SKU: "A", Quantity: 1, AmountFen: 16_633}}, parts)
}

func TestExplosionSumsExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		components := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) product.Component {
			return product.Component{SKU: rapid.StringMatching(`[A-Z]{4}`).Draw(r, "sku"), Quantity: rapid.Int64Range(1, 999).Draw(r, "quantity"), Weight: rapid.Int64Range(0, 1_000_000_000).Draw(r, "weight")}
		}), 1, 50).Draw(r, "components")
		amount := money.Fen(rapid.Int64Range(-10_000_000_000, 10_000_000_000).Draw(r, "amount"))
		bundles := rapid.Int64Range(1, 1_000).Draw(r, "bundles")
		parts, err := product.Explode(amount, bundles, components)
		require.NoError(r, err)
		var sum money.Fen
		for i, p := range parts {
			sum += p.AmountFen
			require.Equal(r, components[i].Quantity*bundles, p.Quantity)
			require.False(r, amount >= 0 && p.AmountFen < 0 || amount <= 0 && p.AmountFen > 0)
		}
		require.Equal(r, amount, sum)
	})
}

// What is exported and imported again is what was there; the file of an import that does not know gifts and tax codes
// leaves them.
func TestExportComesBackUnchanged(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	e := product.NewEditor(db, clock.NewVirtual(noon))
	text := rapid.StringMatching(`[=+@-]?[a-zA-Z三架][a-zA-Z0-9三层蛋糕架 ,"|;]{0,20}[a-z架]`)
	statuses := []product.Status{product.StatusDraft, product.StatusInReview, product.StatusActive, product.StatusInactive, product.StatusDelisting, product.StatusArchived}
	catalogue := product.NewCatalogue(db, search.NewPostgres(db))
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		if round++; round > 12 {
			return // each takes a workbook and an import
		}
		_, err := db.Exec(t.Context(), `TRUNCATE commerce.skus, commerce.products, commerce.barcodes CASCADE`)
		require.NoError(r, err)
		n := rapid.IntRange(1, 12).Draw(r, "n")
		skus := make([]product.SKU, n)
		for i := range skus {
			gift := rapid.Bool().Draw(r, "gift")
			s := product.SKU{
				SKU: fmt.Sprintf("%04d-%d", i, round), SPU: fmt.Sprintf("P%d", i), Name: text.Draw(r, "name"), Category: text.Draw(r, "category"), Brand: text.Draw(r, "brand"),
				Unit: "个", Status: rapid.SampledFrom(statuses).Draw(r, "status"), Gift: &gift, Attrs: map[string]string{},
			}
			if rapid.Bool().Draw(r, "priced") {
				s.TagPrice = fen(money.Fen(rapid.Int64Range(0, 100_000_000_000).Draw(r, "tag")))
				s.RetailPrice = fen(0)
				s.TaxCode = rapid.StringMatching(`[0-9]{19}`).Draw(r, "tax")
				s.Barcodes = []string{fmt.Sprintf("0690%d", i), fmt.Sprintf("0691%d", i)}
			}
			for _, name := range []string{"colour", "尺码"} {
				if rapid.Bool().Draw(r, name) {
					s.Attrs[name] = text.Draw(r, "value")
				}
			}
			skus[i] = s
		}
		require.NoError(r, pg.InTx(t.Context(), db, func(tx pgx.Tx) error { return product.Put(t.Context(), tx, skus, noon) }))
		read := func() (out []product.Item) {
			for _, s := range skus {
				it, err := catalogue.Get(t.Context(), s.SKU)
				require.NoError(r, err)
				it.Version = 0
				out = append(out, it)
			}
			return out
		}
		before := read()
		var book bytes.Buffer
		require.NoError(r, e.Export(t.Context(), db, &book))
		_, err = db.Exec(t.Context(), `TRUNCATE commerce.skus, commerce.products, commerce.barcodes CASCADE`)
		require.NoError(r, err)
		path := filepath.Join(t.TempDir(), fmt.Sprintf("products%d.xlsx", round))
		require.NoError(r, os.WriteFile(path, book.Bytes(), 0o600))
		rep, err := importer.New(db, clock.System{}, product.Import{}).Run(t.Context(), importer.Input{Kind: "products", Path: path})
		require.NoError(r, err)
		require.EqualValues(r, n, rep.Accepted)
		after := read()
		for i := range before {
			before[i].Product, after[i].Product = "", "" // the product takes the name of its SKU
		}
		require.Equal(r, before, after)
	})

	gift := true
	put := product.SKU{SKU: "g", SPU: "g", Name: "赠品", Status: product.StatusActive, Gift: &gift, TaxCode: "1040201010000000000"}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) error { return product.Put(t.Context(), tx, []product.SKU{put}, noon) }))
	load(t, db, "sku,name\ng,赠品二\n")
	it, err := catalogue.Get(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, []any{"赠品二", true, "1040201010000000000"}, []any{it.Name, it.Gift, it.TaxCode})
}
