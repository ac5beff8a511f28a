package product

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/sheet"
)

// Import is the import kind "products".
type Import struct{}

// Name is the kind's name.
func (Import) Name() string { return "products" }

// Columns are those of the import contract.
func (Import) Columns() []importer.Column {
	return []importer.Column{
		{Name: "sku", Required: true}, {Name: "spu"}, {Name: "barcode"}, {Name: "name"}, {Name: "category"}, {Name: "brand"},
		{Name: "unit"}, {Name: "tag_price_fen"}, {Name: "retail_price_fen"}, {Name: "status", Values: []string{"draft", "in_review", "active", "inactive", "delisting", "archived"}},
		{Name: "gift", Values: []string{"true", "false"}}, {Name: "tax_code"}, {Name: "attr."},
	}
}

// Parse reads one SKU. Without spu the SKU is a product of its own; without name it is called by its code.
func (Import) Parse(f *importer.Fields) (string, any) {
	s := SKU{
		SKU: f.Need("sku"), SPU: f.Text("spu"), Barcodes: f.List("barcode"), Name: f.Text("name"), Category: f.Text("category"),
		Brand: f.Text("brand"), Unit: f.Text("unit"), TagPrice: price(f, "tag_price_fen"), RetailPrice: price(f, "retail_price_fen"),
		Attrs: f.Family("attr."),
	}
	// What an export guarded against spreadsheets comes back as it was.
	s.Name, s.Category, s.Brand, s.Unit = sheet.Unguard(s.Name), sheet.Unguard(s.Category), sheet.Unguard(s.Brand), sheet.Unguard(s.Unit)
	for k, v := range s.Attrs {
		s.Attrs[k] = sheet.Unguard(v)
	}
	switch v := f.OneOf("gift", "", "true", "false"); v {
	case "true", "false":
		gift := v == "true"
		s.Gift = &gift
	}
	if s.TaxCode = f.Text("tax_code"); s.TaxCode != "" && !taxCode.MatchString(s.TaxCode) {
		f.Reject("tax_code", "value", fault.Text{ZH: "税收分类编码须为 19 位数字", EN: "a tax code has 19 digits"},
			fault.Text{ZH: "请以文本格式填写", EN: "write it as text, or a spreadsheet rounds it"})
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
			fault.Text{ZH: "可用值:draft, in_review, active, inactive, delisting, archived", EN: "allowed: draft, in_review, active, inactive, delisting, archived"})
	}
	return s.SKU, s
}

var taxCode = regexp.MustCompile(`^[0-9]{19}$`)

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

// Load stores the SKUs. One whose barcode belongs to another SKU, or with a value
// that its category's attribute does not take, is rejected.
func (Import) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	var barcodes, categories []string
	for _, r := range b.Records {
		categories = append(categories, r.Value.(SKU).Category)
		barcodes = append(barcodes, r.Value.(SKU).Barcodes...)
	}
	owners, err := Owners(ctx, tx, barcodes)
	if err != nil {
		return nil, err
	}
	defined, err := definitions(ctx, tx, categories)
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
		if wrong := wrongValues(defined[s.Category], s.Attrs, false); wrong != nil {
			results[i].Reject = &wrong[0]
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
