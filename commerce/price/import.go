package price

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
)

// Import is the import kind "prices". It may bring prices that held in the past.
type Import struct{}

// Name is the kind's name.
func (Import) Name() string { return "prices" }

// Columns are those of the import contract.
func (Import) Columns() []importer.Column {
	return []importer.Column{
		{Name: "sku", Required: true}, {Name: "kind", Required: true, Values: kindNames()}, {Name: "level"}, {Name: "price_fen", Required: true}, {Name: "effective_at", Required: true},
	}
}

// Parse reads one price. An empty price_fen ends the price of that level.
func (Import) Parse(f *importer.Fields) (string, any) {
	f.Need("kind")
	p := Price{SKU: f.Need("sku"), Kind: Kind(f.OneOf("kind", "", kindNames()...)), Level: Level(f.Text("level")), EffectiveAt: f.Time("effective_at")}
	f.Need("effective_at")
	if f.Text("price_fen") != "" {
		v := f.Fen("price_fen")
		p.PriceFen = &v
	}
	if len(f.Problems()) == 0 {
		for _, w := range p.check() {
			f.Reject(w.Path, w.Code, w.Text, w.Hint)
		}
	}
	return p.SKU + "\n" + string(p.Kind) + "\n" + string(p.Level) + "\n" + p.EffectiveAt.String(), p
}

// Load stores the prices; those of unknown SKUs are rejected.
func (Import) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	skus := make([]string, len(b.Records))
	for i, r := range b.Records {
		skus[i] = r.Value.(Price).SKU
	}
	unknown, err := unknownSKUs(ctx, tx, skus)
	if err != nil {
		return nil, err
	}
	missing := make(map[string]bool, len(unknown))
	for _, sku := range unknown {
		missing[sku] = true
	}
	results := make([]importer.Result, len(b.Records))
	var prices []Price
	for i, r := range b.Records {
		p := r.Value.(Price)
		if missing[p.SKU] {
			results[i].Reject = &fault.Field{Path: "sku", Code: "unknown", Text: fault.Text{ZH: "没有该商品", EN: "there is no such SKU"},
				Hint: fault.Text{ZH: "请先导入商品", EN: "import the products first"}}
			continue
		}
		prices = append(prices, p)
	}
	return results, putPrices(ctx, tx, "import", "", b.Now, prices)
}

func kindNames() []string {
	names := make([]string, len(Kinds))
	for i, k := range Kinds {
		names[i] = string(k)
	}
	return names
}
