package sourcing

import (
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Mode is how goods reach the customer.
type Mode string

// The modes.
const (
	ModeShip     Mode = "ship"      // by a carrier
	ModePickup   Mode = "pickup"    // the customer comes
	ModeSameCity Mode = "same_city" // by a courier within the city
)

// Modes lists the modes.
var modes = []Mode{ModeShip, ModePickup, ModeSameCity}

// Kind is what a location is.
type Kind string

// The kinds of location that goods come from.
const (
	KindStore     Kind = "store"
	KindWarehouse Kind = "warehouse"
)

// Address is where something is, by the names of administrative regions.
type Address struct {
	Province string `json:"province"`
	City     string `json:"city,omitempty"`
	District string `json:"district,omitempty"`
}

// Position is a point in millionths of a degree, GCJ-02 as Chinese maps give it; zero if unknown.
type Position struct {
	LatE6 int64 `json:"lat_e6,omitempty"`
	LonE6 int64 `json:"lon_e6,omitempty"`
}

// Line is one line of an order.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Mode     Mode   `json:"mode"`
	Pickup   string `json:"pickup,omitempty" doc:"where the customer wants to pick it up; empty for wherever is best"`
	WeightG  int64  `json:"weight_g,omitempty" doc:"of one unit; 0 takes the rules' default"`
	Split    bool   `json:"split,omitempty" doc:"its units may come from several places"`
}

// Request is what has to be supplied.
type Request struct {
	Lines      []Line    `json:"lines"`
	To         Address   `json:"to"`
	Position   Position  `json:"position"`
	At         time.Time `json:"at,omitzero" doc:"when it is decided; now if absent"`
	Touchpoint string    `json:"touchpoint,omitempty"`
	Refused    []string  `json:"refused,omitempty" doc:"locations that refused already, in order"`
	Excluded   []string  `json:"excluded,omitempty"`
}

// Location is a place that goods may come from, as it stands now.
type Location struct {
	Code        string
	Kind        Kind
	Entity      string
	Address     Address
	Position    Position
	Modes       []Mode
	Touchpoints []string // empty for all
	Opens       int      // minutes after midnight in Shanghai; Opens = Closes is always open
	Closes      int
	CutOff      int   // minutes after midnight; what is decided later leaves tomorrow; 0 for none
	Cap         int64 // parcels a day
	Taken       int64 // of them
	Available   map[string]int64
	AgeDays     map[string]int64 // how long the stock of a SKU has been lying there
}

// Cost is what makes up the score of a parcel.
type Cost struct {
	FreightFen  money.Fen `json:"freight_fen" doc:"weighted as the rules say"`
	DistanceFen money.Fen `json:"distance_fen"`
	CapacityFen money.Fen `json:"capacity_fen" doc:"the scarcer the day's capacity, the dearer"`
	AgeingFen   money.Fen `json:"ageing_fen" doc:"bonus for old stock, negative"`
}

func (c Cost) total() money.Fen { return c.FreightFen + c.DistanceFen + c.CapacityFen + c.AgeingFen }

// Item is how much of a line comes in a parcel.
type Item struct {
	Line     int    `json:"line" doc:"index of the request's line"`
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Parcel is what one location supplies in one mode. It takes one token of the location's capacity.
type Parcel struct {
	Location   string    `json:"location"`
	Kind       Kind      `json:"kind"`
	Entity     string    `json:"entity"`
	Mode       Mode      `json:"mode"`
	Carrier    string    `json:"carrier,omitempty"`
	FreightFen money.Fen `json:"freight_fen" doc:"what the carrier charges"`
	WeightG    int64     `json:"weight_g"`
	Metres     int64     `json:"metres" doc:"as the crow flies"`
	Items      []Item    `json:"items"`
	Cost       Cost      `json:"cost"`
}

// Plan is who supplies what.
type Plan struct {
	Parcels  []Parcel  `json:"parcels"`
	Short    []Item    `json:"short" doc:"what nobody can supply"`
	SplitFen money.Fen `json:"split_fen" doc:"penalty for parcels beyond the first"`
	CostFen  money.Fen `json:"cost_fen" doc:"the score: costs of the parcels and the penalty"`
	Exact    bool      `json:"exact" doc:"no plan is better under these rules"`
	GapBp    int64     `json:"gap_bp" doc:"by how much the score may be above the best possible; 0 if exact"`
	Nodes    int       `json:"nodes" doc:"nodes of the search"`
}

// Complete says that everything is supplied.
func (p Plan) Complete() bool { return len(p.Short) == 0 }

// Reason says why a location does not supply.
type Reason string

// The reasons.
const (
	ReasonExcluded   Reason = "excluded"
	ReasonRefused    Reason = "refused"
	ReasonHops       Reason = "hops"
	ReasonKind       Reason = "kind"
	ReasonEntity     Reason = "entity"
	ReasonTouchpoint Reason = "touchpoint"
	ReasonMode       Reason = "mode"
	ReasonPickup     Reason = "other_pickup"
	ReasonOpening    Reason = "closed"
	ReasonCutOff     Reason = "cut_off"
	ReasonCapacity   Reason = "capacity"
	ReasonStock      Reason = "stock"
	ReasonFar        Reason = "too_far"
	ReasonCarrier    Reason = "no_carrier"
	ReasonCostlier   Reason = "costlier"
	ReasonShared     Reason = "shared" // it could not be combined with the parcels chosen, or adds nothing to them
)

// Text is the reason in both languages of the product.
func (r Reason) Text() fault.Text {
	switch r {
	case ReasonExcluded:
		return fault.Text{ZH: "已被排除", EN: "it is excluded"}
	case ReasonRefused:
		return fault.Text{ZH: "该地点已拒单", EN: "it refused this order"}
	case ReasonHops:
		return fault.Text{ZH: "拒单次数已达上限,只由仓库发货", EN: "the order was refused too often; only warehouses supply it now"}
	case ReasonKind:
		return fault.Text{ZH: "规则不使用此类地点", EN: "the rules do not use this kind of location"}
	case ReasonEntity:
		return fault.Text{ZH: "规则不使用此法人主体", EN: "the rules do not use this legal entity"}
	case ReasonTouchpoint:
		return fault.Text{ZH: "不服务该触点的订单", EN: "it does not serve orders of this touchpoint"}
	case ReasonMode:
		return fault.Text{ZH: "不提供此配送方式", EN: "it does not offer this way of delivery"}
	case ReasonPickup:
		return fault.Text{ZH: "顾客选择了其他自提点", EN: "the customer picks up elsewhere"}
	case ReasonOpening:
		return fault.Text{ZH: "不在营业时间", EN: "it is closed at this hour"}
	case ReasonCutOff:
		return fault.Text{ZH: "已过当日截单时间", EN: "the cut-off for today has passed"}
	case ReasonCapacity:
		return fault.Text{ZH: "当日产能已满", EN: "its capacity of the day is used up"}
	case ReasonStock:
		return fault.Text{ZH: "扣除安全缓冲后可用库存不足", EN: "it has not enough stock above the buffer"}
	case ReasonFar:
		return fault.Text{ZH: "超出同城配送范围", EN: "it is out of reach of a courier"}
	case ReasonCarrier:
		return fault.Text{ZH: "没有承运商可达(停发、超重或无线路)", EN: "no carrier goes there (closure, weight or no such lane)"}
	case ReasonCostlier:
		return fault.Text{ZH: "由它发货的方案成本更高", EN: "every plan with it costs more"}
	case ReasonShared:
		return fault.Text{ZH: "所选方案已足够,加入它并不更优", EN: "the plan chosen is as good without it"}
	}
	return fault.Text{}
}

// Rejection is why a location does not supply in a mode.
type Rejection struct {
	Location string     `json:"location"`
	Mode     Mode       `json:"mode"`
	Reason   Reason     `json:"reason"`
	Text     fault.Text `json:"text"`
	ExtraFen money.Fen  `json:"extra_fen,omitempty" doc:"every plan with it costs at least so much more"`
}

// Why explains a plan: every location that does not supply, in every mode asked for, with its reason.
type Why struct {
	Rejected []Rejection `json:"rejected"`
}
