package product

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
	"github.com/lianke/lianke/member"
)

// Editor is where merchandisers write the catalogue. Every change names the version it was made from; version 0 creates. The
// search index follows by itself.
type Editor struct {
	db    pg.DB
	clock clock.Clock
}

// NewEditor returns the editor; db is the pool of reads.
func NewEditor(db pg.DB, clk clock.Clock) *Editor { return &Editor{db: db, clock: clk} }

// Category is a node of the tree of categories.
type Category struct {
	Code       string      `json:"code" validate:"required,max=64"`
	Parent     string      `json:"parent,omitempty" validate:"max=64" doc:"empty for a root"`
	Name       string      `json:"name" validate:"required,max=100"`
	Attributes []Attribute `json:"attributes,omitempty" validate:"max=50,dive" doc:"defined here, for this category and those below it"`
	Version    int64       `json:"version,omitempty" doc:"as it was read; 0 creates"`
}

// PutCategory creates or changes a category. It fails with ErrInvalid, ErrCycle, ErrExists or ErrStale.
func (e *Editor) PutCategory(ctx context.Context, tx pgx.Tx, c Category) (Category, error) {
	if err := validate.Struct(c); err != nil {
		return Category{}, err
	}
	if wrong := checkAttributes(c.Attributes); wrong != nil {
		return Category{}, ErrInvalid.WithFields(wrong...)
	}
	if c.Attributes == nil {
		c.Attributes = []Attribute{}
	}
	version, err := putCategory(ctx, tx, c, e.clock.Now())
	c.Version = version
	return c, err
}

// Content is what a touchpoint shows of a product.
type Content struct {
	Touchpoint member.Touchpoint `json:"touchpoint,omitempty" validate:"max=32" doc:"empty: what touchpoints without content of their own show"`
	Title      string            `json:"title" validate:"required,max=200"`
	Body       string            `json:"body,omitempty" validate:"max=20000"`
	Images     []string          `json:"images,omitempty" validate:"max=30,dive,required,max=300" doc:"keys of the blob store, the main image first"`
}

// SPU is a product: what customers call one thing, whatever its sizes and colours.
type SPU struct {
	SPU      string    `json:"spu" validate:"required,max=64"`
	Name     string    `json:"name" validate:"required,max=200"`
	Category string    `json:"category,omitempty" validate:"max=64"`
	Brand    string    `json:"brand,omitempty" validate:"max=100"`
	Contents []Content `json:"contents,omitempty" validate:"max=20,dive"`
	Version  int64     `json:"version,omitempty" doc:"as it was read; 0 creates"`
}

// For returns what a touchpoint shows: its own content, else the common one, else the name.
func (p SPU) For(t member.Touchpoint) Content {
	best := Content{Title: p.Name}
	for _, c := range p.Contents {
		if c.Touchpoint == t {
			return c
		}
		if c.Touchpoint == "" {
			best = c
		}
	}
	return best
}

// PutSPU creates or changes a product; its contents are replaced. It fails with ErrInvalid, ErrExists or ErrStale.
func (e *Editor) PutSPU(ctx context.Context, tx pgx.Tx, p SPU) (SPU, error) {
	p.Name = strings.TrimSpace(p.Name)
	if err := validate.Struct(p); err != nil {
		return SPU{}, err
	}
	seen := map[member.Touchpoint]bool{}
	for i, c := range p.Contents {
		if seen[c.Touchpoint] {
			return SPU{}, ErrInvalid.WithFields(validate.Field(fmt.Sprintf("contents[%d].touchpoint", i), "product.content", "触点重复", "the touchpoint occurs twice",
				"每个触点一份内容", "one content for each touchpoint"))
		}
		seen[c.Touchpoint] = true
	}
	version, err := putSPU(ctx, tx, p, e.clock.Now())
	p.Version = version
	return p, err
}

// Draft is what merchandisers write of a SKU. Its status changes by Move only.
type Draft struct {
	SKU         string            `json:"sku" validate:"required,max=64"`
	SPU         string            `json:"spu" validate:"required,max=64"`
	Name        string            `json:"name" validate:"required,max=200"`
	Kind        SKUKind           `json:"kind,omitempty" enum:"single,bundle" validate:"omitempty,oneof=single bundle" doc:"fixed when it is created; single if empty"`
	Unit        string            `json:"unit,omitempty" validate:"max=20"`
	Barcodes    []string          `json:"barcodes,omitempty" validate:"max=50,dive,required,max=64,excludesall=0x7C"`
	TagPrice    *money.Fen        `json:"tag_price_fen,omitempty" validate:"omitempty,min=0"`
	RetailPrice *money.Fen        `json:"retail_price_fen,omitempty" validate:"omitempty,min=0"`
	Attrs       map[string]string `json:"attrs,omitempty" validate:"max=100"`
	Gift        bool              `json:"gift,omitempty"`
	TaxCode     string            `json:"tax_code,omitempty" validate:"omitempty,len=19,number"`
	Version     int64             `json:"version,omitempty" doc:"as it was read; 0 creates a draft"`
}

// PutSKU creates a SKU as a draft or changes one. It fails with ErrInvalid, ErrNoSPU, ErrExists, ErrStale, ErrBarcode, or
// with ErrCell if another SKU of the product has the same colour and size.
func (e *Editor) PutSKU(ctx context.Context, tx pgx.Tx, d Draft) (Item, error) {
	d.Name, d.Attrs, d.Kind = strings.TrimSpace(d.Name), trimmed(d.Attrs), cmp.Or(d.Kind, SKUSingle)
	if err := validate.Struct(d); err != nil {
		return Item{}, err
	}
	defined, err := lockSPU(ctx, tx, d.SPU) // SKUs of one product are written one after the other
	if err != nil {
		return Item{}, err
	}
	if wrong := wrongValues(defined, d.Attrs, false); wrong != nil {
		return Item{}, ErrInvalid.WithFields(wrong...)
	}
	if err := putSKU(ctx, tx, d, e.clock.Now()); err != nil {
		return Item{}, err
	}
	items, err := itemsOf(ctx, tx, d.SPU)
	if err != nil {
		return Item{}, err
	}
	if _, err := gridOf(d.SPU, defined, items); err != nil {
		return Item{}, err
	}
	it := items[slices.IndexFunc(items, func(it Item) bool { return it.SKU == d.SKU })]
	return it, complete(ctx, tx, it, defined, it.Status)
}

// Move takes a SKU to its next status. It fails with ErrNotFound, ErrStale, ErrTransition, or with ErrInvalid naming what is
// missing before it can be sold.
func (e *Editor) Move(ctx context.Context, tx pgx.Tx, sku string, version int64, to Status) (from Status, _ Item, _ error) {
	items, err := readItems(ctx, tx, []string{sku})
	if err != nil {
		return "", Item{}, err
	}
	if len(items) == 0 {
		return "", Item{}, ErrNotFound.With("sku", sku)
	}
	defined, err := lockSPU(ctx, tx, items[0].SPU)
	if err != nil {
		return "", Item{}, err
	}
	if items, err = readItems(ctx, tx, []string{sku}); err != nil {
		return "", Item{}, err
	}
	it := items[0]
	switch {
	case it.Version != version:
		return "", Item{}, ErrStale.With("code", sku)
	case !it.Status.mayBecome(to):
		return "", Item{}, ErrTransition.With("sku", sku, "from", it.Status, "to", to, "allowed", fmt.Sprint(it.Status.Next()))
	}
	from = it.Status
	if err := complete(ctx, tx, it, defined, to); err != nil {
		return "", Item{}, err
	}
	if err := moveSKU(ctx, tx, it, to, e.clock.Now()); err != nil {
		return "", Item{}, err
	}
	it.Status, it.Version = to, version+1
	return from, it, nil
}

// complete checks what must be there before a SKU is reviewed or sold. What orders and files made is not held to it until
// somebody changes it.
func complete(ctx context.Context, tx pgx.Tx, it Item, defined []Attribute, to Status) error {
	if to != StatusInReview && to != StatusActive {
		return nil
	}
	wrong := wrongValues(defined, it.Attrs, true)
	if it.RetailPrice == nil && !it.Gift {
		wrong = append(wrong, validate.Field("retail_price_fen", "product.required", "上架前必填", "is needed before the product is sold", "请填写零售价", "give the retail price"))
	}
	if it.Kind == SKUBundle {
		components, err := Components(ctx, tx, []string{it.SKU})
		if err != nil {
			return err
		}
		if len(components[it.SKU]) == 0 {
			wrong = append(wrong, validate.Field("components", "product.required", "组合没有组件", "the bundle has no components", "请先添加组件", "add components first"))
		}
	}
	if wrong != nil {
		return ErrInvalid.WithFields(wrong...)
	}
	return nil
}

// Bundle is a virtual bundle with its components.
type Bundle struct {
	SKU        string      `json:"sku"`
	Components []Component `json:"components" validate:"dive"`
	Version    int64       `json:"version" doc:"of the SKU as it was read"`
}

// PutBundle replaces the components of a bundle. It fails with ErrInvalid, ErrNotFound or ErrStale. Orders that were placed
// keep what they were exploded into.
func (e *Editor) PutBundle(ctx context.Context, tx pgx.Tx, b Bundle) (Bundle, error) {
	if err := validate.Struct(b); err != nil {
		return Bundle{}, err
	}
	if wrong := checkComponents(b.SKU, b.Components); wrong != nil {
		return Bundle{}, ErrInvalid.WithFields(wrong...)
	}
	skus := []string{b.SKU}
	for _, c := range b.Components {
		skus = append(skus, c.SKU)
	}
	items, err := readItems(ctx, tx, skus)
	if err != nil {
		return Bundle{}, err
	}
	kinds := map[string]SKUKind{}
	for _, it := range items {
		kinds[it.SKU] = it.Kind
	}
	if kinds[b.SKU] == "" {
		return Bundle{}, ErrNotFound.With("sku", b.SKU)
	}
	var wrong []fault.Field
	if kinds[b.SKU] != SKUBundle {
		wrong = append(wrong, validate.Field("sku", "product.bundle", "不是虚拟组合", "is not a virtual bundle", "预包装的组合是独立商品", "a bundle that is packed ahead is a SKU of its own"))
	}
	for i, c := range b.Components {
		if kinds[c.SKU] != SKUSingle {
			wrong = append(wrong, validate.Field(fmt.Sprintf("components[%d].sku", i), "product.bundle", "没有此单品", "there is no such single SKU", "组合不能嵌套", "bundles are not nested"))
		}
	}
	if wrong != nil {
		return Bundle{}, ErrInvalid.WithFields(wrong...)
	}
	if err := putComponents(ctx, tx, b, e.clock.Now()); err != nil {
		return Bundle{}, err
	}
	b.Version++
	return b, nil
}

// GetSPU returns a product with its contents, or ErrNoSPU.
func (e *Editor) GetSPU(ctx context.Context, db pg.DB, spu string) (SPU, error) {
	return readSPU(ctx, db, spu)
}

// Grid returns the size and colour matrix of a product. It fails with ErrNoSPU, or with ErrCell where a file has put two
// SKUs into one cell.
func (e *Editor) Grid(ctx context.Context, db pg.DB, spu string) (Grid, error) {
	p, err := readSPU(ctx, db, spu)
	if err != nil {
		return Grid{}, err
	}
	defined, err := definitions(ctx, db, []string{p.Category})
	if err != nil {
		return Grid{}, err
	}
	items, err := itemsOf(ctx, db, spu)
	if err != nil {
		return Grid{}, err
	}
	return gridOf(spu, defined[p.Category], items)
}
