package inventory

import (
	"time"

	"github.com/lianke/lianke/internal/money"
)

// Status is the state goods are in. Only good ones are sold.
type Status string

// The statuses.
const (
	StatusGood       Status = "good"       // 良品
	StatusDamaged    Status = "damaged"    // 残次
	StatusInspecting Status = "inspecting" // 待检
	StatusFrozen     Status = "frozen"     // 冻结
)

// Statuses in the order people read them.
var statuses = []Status{StatusGood, StatusDamaged, StatusInspecting, StatusFrozen}

// Place is what a level is counted by.
type Place struct {
	SKU      string `json:"sku"`
	Location string `json:"location"`
	Owner    string `json:"owner" doc:"the entity whose goods they are"`
	Status   Status `json:"status" enum:"good,damaged,inspecting,frozen"`
}

// Level is how much there is of one SKU in one place.
type Level struct {
	Place
	OnHand    int64      `json:"on_hand"`
	Reserved  int64      `json:"reserved"`
	Safety    int64      `json:"safety" doc:"kept back from sale"`
	Available int64      `json:"available" doc:"what can be promised: on_hand − reserved − safety, of good stock"`
	CountedAt *time.Time `json:"counted_at,omitempty" doc:"when it was last counted or imported"`
	UpdatedAt time.Time  `json:"updated_at"`
}

// Reason says why stock moved.
type Reason string

// The reasons. Those people give for an adjustment stand in AdjustReasons.
const (
	ReasonReserve     Reason = "reserve"
	ReasonRelease     Reason = "release"
	ReasonExpire      Reason = "expire"
	ReasonShip        Reason = "ship"
	ReasonReceipt     Reason = "receipt"
	ReasonReturn      Reason = "return"
	ReasonOpening     Reason = "opening"
	ReasonCount       Reason = "count"
	ReasonStatus      Reason = "status_change"
	ReasonTransferOut Reason = "transfer_out"
	ReasonTransferIn  Reason = "transfer_in"
	ReasonTransferGap Reason = "transfer_difference"
	ReasonRevalue     Reason = "revalue"

	ReasonDamage Reason = "damage" // 报损
	ReasonTheft  Reason = "theft"
	ReasonFound  Reason = "found"
	ReasonSample Reason = "sample"
	ReasonGift   Reason = "gift"
	ReasonScrap  Reason = "scrap"
	ReasonOther  Reason = "other"
)

// AdjustReasons are those an adjustment may have.
var adjustReasons = []Reason{ReasonDamage, ReasonTheft, ReasonFound, ReasonSample, ReasonGift, ReasonScrap, ReasonOther}

// Move is one line of the history of a level.
type Move struct {
	ID int64 `json:"id,string"`
	Place
	Reason    Reason    `json:"reason"`
	RefKind   string    `json:"ref_kind"`
	RefID     string    `json:"ref_id"`
	Line      int       `json:"line"`
	DOnHand   int64     `json:"d_on_hand"`
	DReserved int64     `json:"d_reserved"`
	DCostFen  money.Fen `json:"d_cost_fen" doc:"by how much the value of the owner's stock changed"`
	Actor     string    `json:"actor"`
	At        time.Time `json:"at"`
}
