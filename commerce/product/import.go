package product

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/money"
)

// Import is the import kind "products".
type Import struct{}

// Name is the kind's name.
func (Import) Name() string { return "products" }

// Columns are those of the import contract.
func (Import) Columns() []importer.Column {
	return []importer.Column{
		{Name: "sku", Required: true}, {Name: "spu"}, {Name: "barcode"}, {Name: "name"}, {Name: "category"}, {Name: "brand"},
		{Name: "unit"}, {Name: "tag_price_fen"}, {Name: "retail_price_fen"}, {Name: "status", Values: []string{"draft", "active", "inactive", "archived"}}, {Name: "attr."},
	}
}

// Parse reads one SKU. Without spu the SKU is a product of its own; without name it is called by its code.
func (Import) Parse(f *importer.Fields) (string, any) {
	s := SKU{
		SKU: f.Need("sku"), SPU: f.Text("spu"), Barcodes: f.List("barcode"), Name: f.Text("name"), Category: f.Text("category"),
		Brand: f.Text("brand"), Unit: f.Text("unit"), TagPrice: price(f, "tag_price_fen"), RetailPrice: price(f, "retail_price_fen"),
		Attrs: f.Family("attr."),
	}
	if s.SPU == "" {
		s.SPU = s.SKU
	}
	if s.Name == "" {
		s.Name = s.SKU
	}
	var ok bool
	if s.Status, ok = statusOf(f.Text("status")); !ok {
		f.Reject("status", "value", fault.Text{ZH: "不是允许的状态", EN: "is not a status"},
			fault.Text{ZH: "可用值:draft, active, inactive, archived", EN: "allowed: draft, active, inactive, archived"})
	}
	return s.SKU, s
}

func price(f *importer.Fields, column string) *money.Fen {
	if f.Text(column) == "" {
		return nil
	}
	v := f.Fen(column)
	if v < 0 {
		f.Reject(column, "negative", fault.Text{ZH: "价格不能为负", EN: "a price must not be negative"}, fault.Text{ZH: "请填写 0 或正数", EN: "write 0 or more"})
	}
	return &v
}

// Load stores the SKUs. One whose barcode belongs to another SKU is rejected.
func (Import) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	var barcodes []string
	for _, r := range b.Records {
		barcodes = append(barcodes, r.Value.(SKU).Barcodes...)
	}
	owners, err := Owners(ctx, tx, barcodes)
	if err != nil {
		return nil, err
	}
	results := make([]importer.Result, len(b.Records))
	var skus []SKU
	for i, r := range b.Records {
		s := r.Value.(SKU)
		for _, code := range s.Barcodes {
			if owner, taken := owners[code]; taken && owner != s.SKU {
				results[i].Reject = &fault.Field{
					Path: "barcode", Code: "taken",
					Text: fault.Text{ZH: fmt.Sprintf("条码已属于商品 %s", owner), EN: fmt.Sprintf("the barcode belongs to SKU %s", owner)},
					Hint: fault.Text{ZH: "请更正条码", EN: "correct the barcode"},
				}
			}
		}
		if results[i].Reject != nil {
			continue
		}
		for _, code := range s.Barcodes {
			owners[code] = s.SKU
		}
		skus = append(skus, s)
	}
	return results, Put(ctx, tx, skus, b.Now)
}
