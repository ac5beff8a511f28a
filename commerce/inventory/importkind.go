package inventory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
)

// ImportKind is the import kind "stock": what was on hand at a time. What has moved since then stays moved.
type ImportKind struct{ s *Service }

// NewImportKind returns the kind.
func NewImportKind(s *Service) *ImportKind { return &ImportKind{s} }

// Name is the kind's name.
func (*ImportKind) Name() string { return "stock" }

// Columns are those of the import contract.
func (*ImportKind) Columns() []importer.Column {
	return []importer.Column{
		{Name: "sku", Required: true}, {Name: "location", Required: true}, {Name: "owner"}, {Name: "status"}, {Name: "quantity", Required: true}, {Name: "as_of"},
	}
}

// statement is a row: so much was there at a time.
type statement struct {
	Place
	Quantity int64
	AsOf     time.Time // zero: now
}

// Parse reads one statement. Without owner the goods are those of the location's entity; without status they are good.
func (*ImportKind) Parse(f *importer.Fields) (string, any) {
	r := statement{Place: Place{SKU: f.Need("sku"), Location: f.Need("location"), Owner: f.Text("owner")}, AsOf: f.Time("as_of")}
	var ok bool
	if r.Status, ok = statusOf(f.Text("status")); !ok {
		f.Reject("status", "value", fault.Text{ZH: "不是允许的库存状态", EN: "is not a stock status"},
			fault.Text{ZH: "可用值:good, damaged, inspecting, frozen", EN: "allowed: good, damaged, inspecting, frozen"})
	}
	if f.Need("quantity") != "" {
		if r.Quantity = f.Int("quantity"); r.Quantity < 0 {
			f.Reject("quantity", "negative", fault.Text{ZH: "数量不能为负", EN: "a quantity must not be negative"},
				fault.Text{ZH: "请填写实有数量,0 或正数", EN: "write how many are there, 0 or more"})
		}
	}
	return r.SKU + "\x1f" + r.Location + "\x1f" + r.Owner + "\x1f" + string(r.Status), r
}

func statusOf(v string) (Status, bool) {
	switch v {
	case "", "good", "良品", "正品", "可售":
		return StatusGood, true
	case "damaged", "残次", "次品", "不良品":
		return StatusDamaged, true
	case "inspecting", "待检":
		return StatusInspecting, true
	case "frozen", "冻结":
		return StatusFrozen, true
	}
	return "", false
}

const movedSinceSQL = `
SELECT k.n::int, coalesce(sum(m.d_on_hand), 0)::bigint AS moved
FROM unnest(@skus::text[], @locations::text[], @owners::text[], @statuses::text[], @times::timestamptz[])
     WITH ORDINALITY AS k (sku, location, owner, status, at, n)
LEFT JOIN commerce.stock_moves m
       ON m.sku = k.sku AND m.location = k.location AND m.owner = k.owner AND m.status = k.status AND m.at > k.at
GROUP BY k.n`

// Load brings levels to what the file says. Unknown SKUs, locations and entities become stubs with a warning. A statement older
// than the level's last count is rejected, and so is one that would leave less than is reserved.
func (k *ImportKind) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	results := make([]importer.Result, len(b.Records))
	rows := make([]statement, len(b.Records))
	var skus, locations []string
	for i, r := range b.Records {
		rows[i] = r.Value.(statement)
		skus, locations = append(skus, rows[i].SKU), append(locations, rows[i].Location)
		if rows[i].AsOf.IsZero() {
			rows[i].AsOf = b.Now
		} else if rows[i].AsOf.After(b.Now) {
			results[i].Warnings = append(results[i].Warnings, importer.Warning{Code: "stock.future", Subject: rows[i].SKU + "@" + rows[i].Location})
			rows[i].AsOf = b.Now
		}
	}
	slices.Sort(skus)
	_, stubs, err := product.Ensure(ctx, tx, slices.Compact(skus), b.Now)
	if err != nil {
		return nil, err
	}
	importer.Warn(results, "sku.stub", stubs)
	if stubs, err = org.Ensure(ctx, tx, locations, org.KindWarehouse, b.Now); err != nil {
		return nil, err
	}
	importer.Warn(results, "org.stub", stubs)
	if err := k.owners(ctx, tx, rows, results, b.Now); err != nil {
		return nil, err
	}
	return results, k.load(ctx, tx, rows, results, b.Now)
}

// unowned is whose goods are when neither the file nor the organisation says so.
const unowned = "brand"

// owners fills in owners that the file leaves out and makes stubs of those that are not known.
func (k *ImportKind) owners(ctx context.Context, tx pgx.Tx, rows []statement, results []importer.Result, now time.Time) error {
	var units, entities []string
	for _, r := range rows {
		if r.Owner == "" {
			units = append(units, r.Location)
		}
	}
	of, err := org.EntitiesOf(ctx, tx, units)
	if err != nil {
		return err
	}
	for i := range rows {
		if rows[i].Owner == "" {
			rows[i].Owner = cmp.Or(of[rows[i].Location].Entity, unowned)
		}
		entities = append(entities, rows[i].Owner)
	}
	stubs, err := org.EnsureEntities(ctx, tx, entities, now)
	if err != nil {
		return err
	}
	importer.Warn(results, "entity.stub", stubs)
	return nil
}

func (k *ImportKind) load(ctx context.Context, tx pgx.Tx, rows []statement, results []importer.Result, now time.Time) error {
	places := make([]Place, len(rows))
	times := make([]time.Time, len(rows))
	for i, r := range rows {
		places[i], times[i] = r.Place, r.AsOf
	}
	levels, err := lockLevels(ctx, tx, places, now)
	if err != nil {
		return err
	}
	skus, locations, owners, states := columns(places)
	found, err := tx.Query(ctx, movedSinceSQL, pg.Args{"skus": skus, "locations": locations, "owners": owners, "statuses": states, "times": times})
	if err != nil {
		return fmt.Errorf("read moves since: %w", err)
	}
	since := make([]int64, len(rows))
	var n int
	var moved int64
	if _, err := pgx.ForEachRow(found, []any{&n, &moved}, func() error { since[n-1] = moved; return nil }); err != nil {
		return fmt.Errorf("read moves since: %w", err)
	}
	// The moves of one posting have one time, so rows are posted by their time; a place that stands twice in a batch, with and
	// without its owner, is stated by the later row.
	byTime := map[time.Time][]change{}
	stated := map[Place]int{}
	for i, r := range rows {
		if j, twice := stated[r.Place]; twice {
			results[j].Warnings = append(results[j].Warnings, importer.Warning{Code: "stock.twice", Subject: r.SKU + "@" + r.Location})
		}
		stated[r.Place] = i
	}
	for i, r := range rows {
		if stated[r.Place] != i {
			continue
		}
		l := levels[r.Place]
		target := r.Quantity + since[i]
		if results[i].Reject = refuse(r, l, target); results[i].Reject != nil {
			continue
		}
		byTime[r.AsOf] = append(byTime[r.AsOf], change{Place: r.Place, OnHand: target - l.OnHand, Reason: ReasonOpening, Line: i, Counted: true})
	}
	for _, at := range slices.SortedFunc(maps.Keys(byTime), time.Time.Compare) {
		if _, err := k.s.postLocked(ctx, tx, posting{Ref{"import", "stock"}, "import", at}, byTime[at], levels); err != nil {
			return err
		}
	}
	return nil
}

// refuse says why a statement cannot be taken, or nil.
func refuse(r statement, l *lockedLevel, target int64) *fault.Field {
	switch {
	case l.Counted != nil && r.AsOf.Before(*l.Counted):
		at := l.Counted.Format(time.RFC3339)
		return &fault.Field{
			Path: "as_of", Code: "older", Text: fault.Text{ZH: "早于上次盘点 " + at, EN: "is older than the last count of " + at},
			Hint: fault.Text{ZH: "请提供更新的数量", EN: "give a newer quantity"},
		}
	case target < l.Reserved:
		return &fault.Field{
			Path: "quantity", Code: "promised",
			Text: fault.Text{ZH: fmt.Sprintf("已预占 %d 件,超过实有", l.Reserved), EN: fmt.Sprintf("%d are reserved, more than would be there", l.Reserved)},
			Hint: fault.Text{ZH: "请先将这些订单改由他处发货", EN: "let other locations ship these orders first"},
		}
	}
	return nil
}
