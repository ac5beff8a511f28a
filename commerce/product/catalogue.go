package product

import (
	"context"
	"fmt"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/search"
)

// searchKind is the index of SKUs.
const searchKind = "product"

const indexBatch = 500

// Catalogue finds SKUs and keeps their search index. The index follows the rows: a write marks its SKUs in its own
// transaction, and Index, run every few seconds and after imports, puts them into the index with their version. A crash
// between the two repeats the put, which changes nothing.
type Catalogue struct {
	db    pg.DB
	index search.Index
}

// NewCatalogue returns the catalogue in db, searched through the index.
func NewCatalogue(db pg.DB, index search.Index) *Catalogue { return &Catalogue{db: db, index: index} }

// Item is a SKU as people look at it.
type Item struct {
	SKU         string            `json:"sku"`
	SPU         string            `json:"spu"`
	Name        string            `json:"name"`
	Product     string            `json:"product" doc:"name of the product (SPU)"`
	Category    string            `json:"category"`
	Brand       string            `json:"brand"`
	Unit        string            `json:"unit"`
	Barcodes    []string          `json:"barcodes"`
	TagPrice    *money.Fen        `json:"tag_price_fen" doc:"吊牌价"`
	RetailPrice *money.Fen        `json:"retail_price_fen" doc:"零售价"`
	Status      Status            `json:"status" enum:"draft,in_review,active,inactive,delisting,archived"`
	Stub        bool              `json:"stub" doc:"named by an order before the catalogue knew it"`
	Attrs       map[string]string `json:"attrs"`
	Version     int64             `json:"version"`
	Kind        SKUKind           `json:"kind" enum:"single,bundle" doc:"a bundle is exploded into its components when it is sold"`
	Gift        bool              `json:"gift" doc:"given with other goods, not sold alone"`
	TaxCode     string            `json:"tax_code" doc:"税收分类编码, 19 digits"`
	Titles      []string          `json:"-"`
}

// SKUKind is what a SKU is made of.
type SKUKind string

// The kinds of SKUs.
const (
	SKUSingle SKUKind = "single"
	SKUBundle SKUKind = "bundle" // virtual: its components are what is in stock
)

// FindInput asks for SKUs.
type FindInput struct {
	Text                    string // words of name, codes, category and brand; the last one as a prefix
	Status, Category, Brand string // "" is any
	After                   string // go on after this SKU
	Limit                   int    // 1 to search.MaxLimit
}

// Find returns the SKUs that match, by code, and how many there are in all (exact up to 10,000). Those that were written in
// the last seconds may be missing.
func (c *Catalogue) Find(ctx context.Context, in FindInput) ([]Item, int64, error) {
	q := search.Query{Kind: searchKind, Text: in.Text, Limit: in.Limit, Facets: map[string][]string{}}
	for name, value := range map[string]string{"status": in.Status, "category": in.Category, "brand": in.Brand} {
		if value != "" {
			q.Facets[name] = []string{value}
		}
	}
	if in.After != "" {
		q.After = &search.Position{ID: in.After}
	}
	found, err := c.index.Search(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("find products: %w", err)
	}
	skus := make([]string, len(found.Hits))
	for i, h := range found.Hits {
		skus[i] = h.ID
	}
	items, err := c.items(ctx, skus)
	return items, found.Total, err
}

// Get returns one SKU: ErrNotFound.
func (c *Catalogue) Get(ctx context.Context, sku string) (Item, error) {
	items, err := c.items(ctx, []string{sku})
	if err != nil {
		return Item{}, err
	}
	if len(items) == 0 {
		return Item{}, ErrNotFound.With("sku", sku)
	}
	return items[0], nil
}

// Index brings the index up to the rows and returns how many SKUs it put there.
func (c *Catalogue) Index(ctx context.Context) (int, error) {
	for n := 0; ; {
		skus, err := unindexed(ctx, c.db, indexBatch)
		if err != nil || len(skus) == 0 {
			return n, err
		}
		items, err := c.items(ctx, skus)
		if err != nil {
			return n, err
		}
		docs := make([]search.Document, len(items))
		for i, it := range items {
			docs[i] = it.document()
		}
		if err := c.index.Put(ctx, docs); err != nil {
			return n, fmt.Errorf("index products: %w", err)
		}
		if err := markIndexed(ctx, c.db, items); err != nil {
			return n, err
		}
		n += len(items)
	}
}

// Rebuild drops the index and fills it anew from the rows. Searches find less until it is done.
func (c *Catalogue) Rebuild(ctx context.Context) (int, error) {
	if err := c.index.Reset(ctx, searchKind); err != nil {
		return 0, fmt.Errorf("reset the product index: %w", err)
	}
	if err := markUnindexed(ctx, c.db); err != nil {
		return 0, err
	}
	return c.Index(ctx)
}

func (it Item) document() search.Document {
	text := append([]string{it.SKU, it.SPU, it.Name, it.Product, it.Category, it.Brand}, it.Barcodes...)
	text = append(text, it.Titles...)
	for _, v := range it.Attrs {
		text = append(text, v)
	}
	return search.Document{Kind: searchKind, ID: it.SKU, Version: it.Version, Text: text,
		Facets: map[string][]string{"status": {string(it.Status)}, "category": {it.Category}, "brand": {it.Brand}}}
}
