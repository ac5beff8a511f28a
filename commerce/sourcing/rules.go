package sourcing

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Objective is what a plan is to be best at.
type Objective string

// The objectives.
const (
	ObjectiveCheapest Objective = "cheapest"
	ObjectiveNearest  Objective = "nearest"
	ObjectiveFewest   Objective = "fewest_parcels"
)

// Weights make the terms of the score comparable.
type Weights struct {
	FreightBp int64     `json:"freight_bp" doc:"how much a fen of freight counts; 10000 is a fen"`
	SplitFen  money.Fen `json:"split_fen" doc:"for every parcel beyond the first"`
	PerKmFen  money.Fen `json:"per_km_fen" doc:"for every km of a parcel's way"`
	ShadowFen money.Fen `json:"shadow_fen" doc:"for a token of a location that is full but for it; falls with the square of what is taken"`
	AgeFen    money.Fen `json:"age_fen" doc:"bonus for a unit for every 30 days it has been lying there"`
	AgeDays   int64     `json:"age_days" doc:"older stock gets no more bonus than this old"`
}

// Weights returns the preset of an objective.
func (o Objective) Weights() Weights {
	switch o {
	case ObjectiveNearest:
		return Weights{FreightBp: 100, SplitFen: 100, PerKmFen: 10_000}
	case ObjectiveFewest:
		return Weights{FreightBp: 10_000, SplitFen: 10_000_000, PerKmFen: 1, ShadowFen: 200}
	default:
		return Weights{FreightBp: 10_000, SplitFen: 200, PerKmFen: 1, ShadowFen: 300, AgeFen: 20, AgeDays: 180}
	}
}

// Rules are how an installation sources. Freight is not part of them; it is put in before planning.
type Rules struct {
	Code              string    `json:"code,omitempty"`
	Version           int64     `json:"version" doc:"the one that was read; 0 for a new one"`
	Name              string    `json:"name"`
	Objective         Objective `json:"objective"`
	Weights           *Weights  `json:"weights,omitempty" doc:"instead of the objective's"`
	MaxHops           int       `json:"max_hops" doc:"after so many refusals only warehouses supply; 0 for no limit"`
	MaxParcels        int       `json:"max_parcels" doc:"0 for no limit"`
	StoreBuffer       int64     `json:"store_buffer" doc:"units of a SKU that a store keeps"`
	StoreConfidenceBp int64     `json:"store_confidence_bp" doc:"how much of a store's stock is believed to be there; 0 is all"`
	SameDay           bool      `json:"same_day" doc:"what is shipped leaves today: the cut-off counts"`
	SameCityMetres    int64     `json:"same_city_metres" doc:"how far a courier goes; 0 for the whole city"`
	Kinds             []Kind    `json:"kinds,omitempty" doc:"empty for all"`
	Entities          []string  `json:"entities,omitempty" doc:"legal entities whose locations supply; empty for all"`
	UnitWeightG       int64     `json:"unit_weight_g" doc:"of a unit whose weight is not known"`
	Nodes             int       `json:"nodes" doc:"limit of the search; 0 for 20000"`
	Freight           []Table   `json:"-"`
}

// Default is what holds where nothing is set.
var defaultRules = Rules{Code: "default", Name: "默认", Objective: ObjectiveCheapest, MaxHops: 3, UnitWeightG: 500}

func (r Rules) weights() Weights {
	if r.Weights != nil {
		return *r.Weights
	}
	return r.Objective.Weights()
}

func (r Rules) nodes() int {
	if r.Nodes > 0 {
		return r.Nodes
	}
	return 20_000
}

// The limits keep every score within int64: see shortFen.
const (
	maxLines    = 50
	maxQuantity = 10_000
	maxFen      = 100_000_000
)

// problems collects the fields that are wrong.
type problems []fault.Field

func (p *problems) check(ok bool, path, zh, en string) {
	if !ok {
		*p = append(*p, fault.Field{
			Path: path, Code: "sourcing.invalid", Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: "请修改此字段", EN: "mend this field"},
		})
	}
}

func (p problems) err(e *fault.Error) error {
	if len(p) == 0 {
		return nil
	}
	return e.WithFields(p...)
}

// Validate fails with ErrRules.
func (r Rules) Validate() error {
	var p problems
	p.check(r.Code != "" && len(r.Code) <= 64, "code", "编号须为 1 到 64 个字符", "the code has 1 to 64 characters")
	p.check(slices.Contains([]Objective{ObjectiveCheapest, ObjectiveNearest, ObjectiveFewest}, r.Objective), "objective",
		"目标须为 cheapest、nearest 或 fewest_parcels", "the objective is cheapest, nearest or fewest_parcels")
	w := r.weights()
	p.check(w.FreightBp >= 0 && w.FreightBp <= 100_000, "weights.freight_bp", "须在 0 到 100000 之间", "it is from 0 to 100000")
	p.check(w.PerKmFen >= 0 && w.PerKmFen <= 1_000_000, "weights.per_km_fen", "须在 0 到 1000000 之间", "it is from 0 to 1000000")
	p.check(w.AgeDays >= 0 && w.AgeDays <= 3650, "weights.age_days", "须在 0 到 3650 之间", "it is from 0 to 3650")
	p.check(w.AgeFen >= 0 && w.AgeFen <= 100_000, "weights.age_fen", "须在 0 到 100000 之间", "it is from 0 to 100000")
	for path, v := range map[string]money.Fen{"weights.split_fen": w.SplitFen, "weights.shadow_fen": w.ShadowFen} {
		p.check(v >= 0 && v <= maxFen, path, "须在 0 到 100000000 之间", "it is from 0 to 100000000")
	}
	for path, v := range map[string]int64{"max_hops": int64(r.MaxHops), "max_parcels": int64(r.MaxParcels), "store_buffer": r.StoreBuffer,
		"same_city_metres": r.SameCityMetres, "unit_weight_g": r.UnitWeightG, "nodes": int64(r.Nodes)} {
		p.check(v >= 0 && v <= 1_000_000, path, "须在 0 到 1000000 之间", "it is from 0 to 1000000")
	}
	p.check(r.StoreConfidenceBp >= 0 && r.StoreConfidenceBp <= 10_000, "store_confidence_bp", "须在 0 到 10000 之间", "it is from 0 to 10000")
	for i, k := range r.Kinds {
		p.check(k == KindStore || k == KindWarehouse, fmt.Sprintf("kinds[%d]", i), "须为 store 或 warehouse", "it is store or warehouse")
	}
	slices.SortFunc(p, func(a, b fault.Field) int { return cmp.Compare(a.Path, b.Path) })
	return p.err(ErrRules)
}

// Validate fails with ErrRequest.
func (r Request) Validate() error {
	var p problems
	p.check(len(r.Lines) > 0 && len(r.Lines) <= maxLines, "lines", "须有 1 到 50 行", "there are 1 to 50 lines")
	for i, l := range r.Lines {
		path := fmt.Sprintf("lines[%d]", i)
		p.check(l.SKU != "", path+".sku", "缺少商品", "name the SKU")
		p.check(l.Quantity > 0 && l.Quantity <= maxQuantity, path+".quantity", "数量须在 1 到 10000 之间", "the quantity is from 1 to 10,000")
		p.check(slices.Contains(modes, l.Mode), path+".mode", "方式须为 ship、pickup 或 same_city", "the mode is ship, pickup or same_city")
		p.check(l.WeightG >= 0 && l.WeightG <= 1_000_000, path+".weight_g", "重量须在 0 到 1000000 克之间", "the weight is from 0 to 1,000,000 g")
		p.check(l.Pickup == "" || l.Mode == ModePickup, path+".pickup", "只有自提行可以指定自提点", "only lines that are picked up name a place for it")
	}
	p.check(r.Position.valid(), "position", "经纬度超出范围", "the position is not on this planet")
	return p.err(ErrRequest)
}

func (p Position) valid() bool {
	return p.LatE6 >= -90_000_000 && p.LatE6 <= 90_000_000 && p.LonE6 >= -180_000_000 && p.LonE6 <= 180_000_000
}
