package order

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

// Import is the import kind "orders".
type Import struct {
	people *identity.Service
	log    *activity.Log
	store  importStore
}

// NewImport returns the kind.
func NewImport(people *identity.Service, log *activity.Log) *Import {
	return &Import{people: people, log: log}
}

// Name is the kind's name.
func (*Import) Name() string { return "orders" }

// Columns are those of the import contract.
func (*Import) Columns() []importer.Column {
	return []importer.Column{
		{Name: "order_no", Required: true}, {Name: "line_no", Required: true},
		{Name: "touchpoint", Values: member.Touchpoints(), Open: true}, {Name: "store"}, {Name: "associate"},
		{Name: "placed_at", Required: true}, {Name: "paid_at"}, {Name: "source"}, {Name: "source_id"}, {Name: "sku", Required: true},
		{Name: "quantity", Required: true}, {Name: "unit_price_fen", Required: true}, {Name: "discount_fen"}, {Name: "coupon_code"},
		{Name: "return_of"}, {Name: "kind", Values: lineKinds(), Open: true},
	}
}

// maxAmount bounds a line, so that no sum of lines leaves int64.
const maxAmount = 1e14

// Parse reads one line of an order.
func (*Import) Parse(f *importer.Fields) (string, any) {
	l := importLine{
		OrderNo: f.Need("order_no"), LineNo: f.Need("line_no"), Touchpoint: f.Text("touchpoint"), Store: f.Text("store"),
		Associate: f.Text("associate"), PlacedAt: f.Time("placed_at"), Source: f.Text("source"), SourceID: f.Text("source_id"),
		SKU: f.Need("sku"), Quantity: f.Int("quantity"), UnitPrice: f.Fen("unit_price_fen"), Discount: f.Fen("discount_fen"),
		CouponCode: f.Text("coupon_code"), ReturnOf: f.Text("return_of"), Kind: f.Text("kind"),
	}
	f.Need("quantity")
	f.Need("unit_price_fen")
	f.Need("placed_at")
	if at := f.Time("paid_at"); !at.IsZero() {
		l.PaidAt = &at
	}
	if l.Kind == "" {
		l.Kind = "sale"
	}
	if l.SourceID != "" && l.Source == "" {
		f.Reject("source", "empty", fault.Text{ZH: "有 source_id 时不能为空", EN: "must not be empty beside a source_id"},
			fault.Text{ZH: "请填写来源系统,或清空 source_id 作为散客订单", EN: "name the source system, or leave source_id empty for a guest"})
	}
	if l.UnitPrice < 0 {
		f.Reject("unit_price_fen", "negative", fault.Text{ZH: "单价不能为负", EN: "a unit price must not be negative"},
			fault.Text{ZH: "退货请用负数量,单价保持为正", EN: "write a return as a negative quantity with a positive price"})
	}
	if key := l.buyer(); l.SourceID != "" && l.Source != "" {
		if _, err := key.Normalise(); err != nil {
			f.Reject("source_id", "value", fault.Text{ZH: "不是可用的标识", EN: "is not usable as an identifier"},
				fault.Text{ZH: "请填写来源系统中的会员号,散客请留空", EN: "write the person's id in the source system, or leave it empty for a guest"})
		}
	}
	if len(f.Problems()) > 0 {
		return "", nil
	}
	if l.Quantity == 0 {
		f.Reject("quantity", "zero", fault.Text{ZH: "数量不能为 0", EN: "the quantity must not be 0"},
			fault.Text{ZH: "销售为正数,退货为负数", EN: "write a positive number for a sale, a negative one for a return"})
	}
	if math.Abs(float64(l.Quantity))*float64(l.UnitPrice)+math.Abs(float64(l.Discount)) > maxAmount {
		f.Reject("unit_price_fen", "too_large", fault.Text{ZH: "行金额过大", EN: "the amount of the line is too large"},
			fault.Text{ZH: "金额以分为单位,请检查数量与单价", EN: "amounts are in fen; check quantity and price"})
	}
	if l.Quantity > 0 && l.Amount() < 0 {
		f.Reject("discount_fen", "exceeds", fault.Text{ZH: "折扣大于行金额", EN: "the discount is larger than the line"},
			fault.Text{ZH: "折扣为整行、以分为单位,最多为数量 × 单价;退款请另写负数量的行", EN: "it is in fen for the whole line, at most quantity × unit price; write a refund as a line of negative quantity"})
	}
	return l.OrderNo + "\x00" + l.LineNo, l
}

// Group keeps the lines of an order in one batch where the file has them together.
func (*Import) Group(record any) string { return record.(importLine).OrderNo }

// Load stores lines and brings the activities of their orders up to date.
func (k *Import) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	s := settlement{batch: b, mode: member.ModeBackfill}
	if b.Live {
		s.mode = member.ModeLive
	}
	results := make([]importer.Result, len(b.Records))
	births, err := k.buyers(ctx, tx, b, s.mode)
	if err != nil {
		return nil, err
	}
	var named []member.Birth
	var skus, stores []string
	for i, r := range b.Records {
		l := r.Value.(importLine)
		birth := births[l.buyer()]
		if birth == 0 && l.SourceID != "" {
			results[i].Reject = &fault.Field{
				Path: "source_id", Code: "erased", Text: fault.Text{ZH: "该会员资料已被删除", EN: "this person has been erased"},
				Hint: fault.Text{ZH: "如需保留订单,请清空 source_id 作为散客订单", EN: "to keep the order, leave source_id empty: a guest's order"},
			}
			continue
		}
		results[i].NetFen = l.Amount()
		s.lines, named = append(s.lines, l), append(named, birth)
		skus, stores = append(skus, l.SKU), append(stores, l.Store)
	}
	var stubs []string
	if s.facts, stubs, err = product.Ensure(ctx, tx, skus, b.Now); err != nil {
		return nil, err
	}
	importer.Warn(results, "sku.stub", stubs)
	if stubs, err = org.Ensure(ctx, tx, stores, org.KindStore, b.Now); err != nil {
		return nil, err
	}
	importer.Warn(results, "store.stub", stubs)
	if s.existed, err = k.store.putLines(ctx, tx, s.lines, named); err != nil {
		return nil, err
	}
	return results, k.settle(ctx, tx, s)
}

// buyers returns the births of the persons whom lines name; an erased one is absent.
func (k *Import) buyers(ctx context.Context, tx pgx.Tx, b importer.Batch, mode member.Mode) (map[identity.Key]member.Birth, error) {
	var obs []identity.Observation
	births := map[identity.Key]member.Birth{}
	for _, r := range b.Records {
		l := r.Value.(importLine)
		if _, seen := births[l.buyer()]; seen || l.SourceID == "" {
			continue
		}
		births[l.buyer()] = 0
		obs = append(obs, identity.Observation{
			Keys: []identity.Key{l.buyer()}, Kind: identity.KindOrder, Source: Source, At: l.PlacedAt, EventKey: "buyer/" + l.OrderNo, Mode: mode,
		})
	}
	if len(obs) == 0 {
		return births, nil
	}
	resolved, err := k.people.Observe(ctx, tx, obs)
	if err != nil {
		return nil, fmt.Errorf("resolve buyers: %w", err)
	}
	for i, r := range resolved {
		births[obs[i].Keys[0]] = r.Birth
	}
	return births, nil
}

// settlement is what settle works on.
type settlement struct {
	batch   importer.Batch
	mode    member.Mode
	lines   []importLine
	existed map[lineKey]bool // lines that replaced an earlier version
	facts   map[string]product.Facts
}

// settle derives the activities of the orders that the batch touched.
func (k *Import) settle(ctx context.Context, tx pgx.Tx, s settlement) error {
	var orders []string
	for _, l := range s.lines {
		orders = append(orders, l.OrderNo)
	}
	slices.Sort(orders)
	orders = slices.Compact(orders)
	before, err := k.store.headers(ctx, tx, orders)
	if err != nil {
		return err
	}
	totals, err := k.store.totals(ctx, tx, orders)
	if err != nil {
		return err
	}
	after, err := k.owners(ctx, tx, s, before, totals)
	if err != nil {
		return err
	}

	var items []activity.Activity
	var withdrawn []string
	moved := map[string]bool{}
	for _, t := range totals {
		old, known := before[t.OrderNo]
		now := after[t.OrderNo]
		items = append(items, t.activities(now.Birth, s.mode)...)
		if known && old.Paid && !now.Paid {
			withdrawn = append(withdrawn, PaidKey(t.OrderNo))
		}
		if known && old.Returned && !now.Returned {
			withdrawn = append(withdrawn, ReturnedKey(t.OrderNo))
		}
		if known && old.Birth != now.Birth {
			moved[t.OrderNo] = true
		}
	}
	for _, l := range s.lines {
		switch {
		case l.bought() && !moved[l.OrderNo]:
			f := s.facts[l.SKU]
			items = append(items, l.purchased(after[l.OrderNo].Birth, s.mode, f.Category, f.Brand))
		case !l.bought() && s.existed[lineKey{l.OrderNo, l.LineNo}]:
			withdrawn = append(withdrawn, PurchasedKey(l.OrderNo, l.LineNo))
		}
	}
	if len(moved) > 0 {
		// The order changed hands: all its lines follow, not only those of this batch.
		lines, err := k.store.bought(ctx, tx, slices.Collect(maps.Keys(moved)))
		if err != nil {
			return err
		}
		for _, l := range lines {
			items = append(items, l.purchased(after[l.OrderNo].Birth, s.mode, l.Category, l.Brand))
		}
	}
	if len(withdrawn) > 0 {
		if _, err := k.log.Retract(ctx, tx, Source, withdrawn); err != nil {
			return err
		}
	}
	if _, err := k.log.Append(ctx, tx, items); err != nil {
		return err
	}
	return k.store.putHeaders(ctx, tx, after, s.batch.Now)
}

// owners decides whose each order is.
func (k *Import) owners(ctx context.Context, tx pgx.Tx, s settlement, before map[string]header, totals []total) (map[string]header, error) {
	named := map[string]identity.Key{}
	for _, l := range s.lines {
		if _, ok := named[l.OrderNo]; !ok && l.SourceID != "" {
			named[l.OrderNo] = l.buyer()
		}
	}
	after := make(map[string]header, len(totals))
	var obs []identity.Observation
	var of []string
	for _, t := range totals {
		h := before[t.OrderNo]
		h.OrderNo, h.Paid, h.Returned = t.OrderNo, t.PaidAt != nil, t.ReturnedAt != nil
		buyer, isNamed := named[t.OrderNo]
		switch {
		case t.Birth == nil && h.GuestBirth == nil:
			obs = append(obs, identity.Observation{
				Keys: []identity.Key{guest(t.OrderNo)}, Kind: identity.KindOrder, Source: Source, At: t.FirstPlaced, EventKey: "guest/" + t.OrderNo, Mode: s.mode,
			})
			of = append(of, t.OrderNo)
		case t.Birth == nil:
			h.Birth = *h.GuestBirth
		default:
			if h.GuestBirth != nil && h.Birth == *h.GuestBirth && isNamed {
				obs = append(obs, identity.Observation{
					Keys: []identity.Key{buyer, guest(t.OrderNo)}, Kind: identity.KindOrder, Source: Source, At: t.FirstPlaced, EventKey: "claim/" + t.OrderNo, Mode: s.mode,
				})
				of = append(of, "")
			}
			h.Birth = *t.Birth
		}
		after[t.OrderNo] = h
	}
	if len(obs) == 0 {
		return after, nil
	}
	resolved, err := k.people.Observe(ctx, tx, obs)
	if err != nil {
		return nil, fmt.Errorf("resolve guests: %w", err)
	}
	for i, r := range resolved {
		if of[i] == "" {
			continue
		}
		if r.Err != nil {
			return nil, fmt.Errorf("guest of order %s: %w", of[i], r.Err)
		}
		h := after[of[i]]
		h.Birth, h.GuestBirth = r.Birth, &r.Birth
		after[of[i]] = h
	}
	return after, nil
}
