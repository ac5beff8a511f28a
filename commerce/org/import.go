package org

import (
	"context"
	"maps"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
)

// ImportUnits is the import kind "org".
type ImportUnits struct{}

// Name is the kind's name.
func (ImportUnits) Name() string { return "org" }

// Columns are those of the import contract.
func (ImportUnits) Columns() []importer.Column {
	return []importer.Column{
		{Name: "code", Required: true}, {Name: "parent"}, {Name: "name"}, {Name: "kind", Values: []string{"hq", "branch", "partner", "store", "warehouse"}}, {Name: "entity"}, {Name: "province"}, {Name: "city"},
		{Name: "district"}, {Name: "address"}, {Name: "longitude"}, {Name: "latitude"}, {Name: "attr."},
	}
}

// Parse reads one unit. Without name it is called by its code; without kind it is a store.
func (ImportUnits) Parse(f *importer.Fields) (string, any) {
	u := Unit{
		Code: f.Need("code"), Parent: f.Text("parent"), Name: f.Text("name"), Entity: f.Text("entity"), Province: f.Text("province"),
		City: f.Text("city"), District: f.Text("district"), Address: f.Text("address"),
		Longitude: degrees(f, "longitude", 180), Latitude: degrees(f, "latitude", 90), Attrs: f.Family("attr."),
	}
	if u.Name == "" {
		u.Name = u.Code
	}
	var ok bool
	if u.Kind, ok = kindOf(f.Text("kind")); !ok {
		f.Reject("kind", "value", fault.Text{ZH: "不是允许的组织类型", EN: "is not a kind of unit"},
			fault.Text{ZH: "可用值:hq, branch, partner, store, warehouse", EN: "allowed: hq, branch, partner, store, warehouse"})
	}
	return u.Code, u
}

func degrees(f *importer.Fields, column string, limit float64) string {
	v := f.Text(column)
	if v == "" {
		return ""
	}
	d, err := strconv.ParseFloat(v, 64)
	if err != nil || !(d >= -limit && d <= limit) {
		f.Reject(column, "degrees", fault.Text{ZH: "不是有效的经纬度", EN: "is not a coordinate"}, fault.Text{ZH: "请写作 120.153576", EN: "write 120.153576"})
		return ""
	}
	return strconv.FormatFloat(d, 'f', 6, 64)
}

// Load stores the units. A parent or entity that is not known yet becomes a stub; a parent that would close a cycle is
// rejected.
func (ImportUnits) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	parents, err := LockTree(ctx, tx)
	if err != nil {
		return nil, err
	}
	results := make([]importer.Result, len(b.Records))
	inFile := map[string]bool{}
	for _, r := range b.Records {
		inFile[r.Value.(Unit).Code] = true
	}
	known := maps.Clone(parents)
	var units []Unit
	var missing, entities []string
	for i, r := range b.Records {
		u := r.Value.(Unit)
		if cyclic(parents, u.Code, u.Parent) {
			results[i].Reject = &fault.Field{
				Path: "parent", Code: "cycle", Text: fault.Text{ZH: "上级会形成循环", EN: "the parent would close a cycle"},
				Hint: fault.Text{ZH: "请更正上级编码", EN: "correct the parent"},
			}
			// It stays what it is for its children in this batch: a stub if it is new.
			inFile[u.Code] = false
			continue
		}
		parents[u.Code] = u.Parent
		units, entities = append(units, u), append(entities, u.Entity)
	}
	for _, u := range units {
		if _, ok := known[u.Parent]; u.Parent != "" && !ok && !inFile[u.Parent] {
			missing = append(missing, u.Parent)
		}
	}
	stubUnits, err := Ensure(ctx, tx, missing, KindBranch, b.Now)
	if err != nil {
		return nil, err
	}
	stubEntities, err := EnsureEntities(ctx, tx, entities, b.Now)
	if err != nil {
		return nil, err
	}
	importer.Warn(results, "org.stub", stubUnits)
	importer.Warn(results, "entity.stub", stubEntities)
	return results, PutUnits(ctx, tx, units, b.Now)
}

// ImportEntities is the import kind "entities".
type ImportEntities struct{}

// Name is the kind's name.
func (ImportEntities) Name() string { return "entities" }

// Columns are those of the import contract.
func (ImportEntities) Columns() []importer.Column {
	return []importer.Column{{Name: "code", Required: true}, {Name: "name"}, {Name: "tax_no"}, {Name: "taxpayer_kind", Values: []string{"general", "small_scale", "individual", "overseas"}}, {Name: "attr."}}
}

// Parse reads one entity. Without name it is called by its code.
func (ImportEntities) Parse(f *importer.Fields) (string, any) {
	e := Entity{Code: f.Need("code"), Name: f.Text("name"), TaxNo: f.Text("tax_no"), Attrs: f.Family("attr.")}
	if e.Name == "" {
		e.Name = e.Code
	}
	var ok bool
	if e.TaxpayerKind, ok = taxpayerKindOf(f.Text("taxpayer_kind")); !ok {
		f.Reject("taxpayer_kind", "value", fault.Text{ZH: "不是允许的纳税人类型", EN: "is not a kind of taxpayer"},
			fault.Text{ZH: "可用值:general, small_scale, individual, overseas", EN: "allowed: general, small_scale, individual, overseas"})
	}
	return e.Code, e
}

// Load stores the entities.
func (ImportEntities) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	entities := make([]Entity, len(b.Records))
	for i, r := range b.Records {
		entities[i] = r.Value.(Entity)
	}
	return make([]importer.Result, len(b.Records)), PutEntities(ctx, tx, entities, b.Now)
}
