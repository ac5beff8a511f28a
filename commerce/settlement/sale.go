package settlement

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// BearerPerformer is the bearer of a discount that the sale itself bears, whoever performs it. Other bearers are hq, mall,
// platform, a supplier's code.
const BearerPerformer = "performer"

// BearerHQ is the brand as the bearer of a discount.
const BearerHQ = "hq"

// Party is who plays a role: an org unit and the legal entity behind it.
type Party struct {
	Unit   string `json:"unit"`
	Entity string `json:"entity"`
}

// Discount is a part of one unit's discount and who bears it.
type Discount struct {
	Bearer string    `json:"bearer"`
	Fen    money.Fen `json:"fen"`
}

// Return says that a unit came back.
type Return struct {
	At      time.Time     `json:"at"`
	By      Party         `json:"by"` // who received it
	Goods   org.GoodsBack `json:"goods"`
	Quality bool          `json:"quality"` // the goods were at fault
}

// taker returns who has the goods of a return now, and whether that is somebody other than their owner, who is then paid.
func (s Sale) taker(r Return) (Party, bool) {
	owner := s.owner()
	switch r.Goods {
	case org.GoodsToHQ:
		hq := s.Parties[org.RoleHQ]
		return hq, hq.Entity != owner.Entity
	case org.GoodsToReceiver:
		return r.By, r.By != (Party{}) && r.By.Entity != owner.Entity
	default:
		return owner, false
	}
}

// shipper is the role whose stock ships: HQ where the partner that would ship is the seller itself.
func (s Sale) shipper() org.Role {
	if s.Terms.Model == org.ModelBuySell && s.Terms.Seller == org.RoleFulfil {
		return org.RoleHQ
	}
	return org.RoleFulfil
}

// owner is whose stock ships.
func (s Sale) owner() Party { return s.Parties[s.shipper()] }

func (s Sale) supplyOf(u Unit) money.Fen {
	return cmp.Or(u.Supply, money.Bp(u.List, s.Terms.SupplyBp))
}

// Unit is one piece of goods. List = Σ discounts + points + cash; gifts have list 0 and a cost.
type Unit struct {
	Line      string     `json:"line"`
	SKU       string     `json:"sku"`
	List      money.Fen  `json:"list"`
	Discounts []Discount `json:"discounts"`
	Points    money.Fen  `json:"points"` // value of points spent
	Cash      money.Fen  `json:"cash"`
	Cost      money.Fen  `json:"cost"`   // what the stock owner paid for it
	Supply    money.Fen  `json:"supply"` // supply price agreed for this SKU; 0 is list × Terms.SupplyBp
	Returned  *Return    `json:"returned,omitempty"`
}

// Associate is one of those who share the commission.
type Associate struct {
	ID   string `json:"id"`
	Unit string `json:"unit"`
	Bp   int64  `json:"bp"` // of the commission; all sum to 10,000
}

// Sale is an order as settlement sees it: frozen when it was paid, with what happened to it since.
type Sale struct {
	OrderNo    string             `json:"order_no"`
	PaidAt     time.Time          `json:"paid_at"`
	Contract   string             `json:"contract"`
	Version    int                `json:"version"`
	Terms      org.Terms          `json:"terms"`
	Parties    map[org.Role]Party `json:"parties"`
	Units      []Unit             `json:"units"`
	Freight    money.Fen          `json:"freight"` // paid by the member, net of refunds
	Carrier    money.Fen          `json:"carrier"` // what the carrier charges
	Parcels    int64              `json:"parcels"`
	Associates []Associate        `json:"associates,omitempty"`
}

// net are the sums over the units that the member kept.
type net struct {
	list, cash, points money.Fen
	performer          money.Fen            // discounts that the sale bears
	subsidies          map[string]money.Fen // others' discounts by bearer
	cost, supply       money.Fen            // of the units that did not go back to their owner
	received           map[Party]int64      // returns received by third parties
	takenCost          map[Party]money.Fen  // returned units that somebody other than their owner has now
	takenSupply        map[Party]money.Fen
	kept, returned     int
	quality            bool // every return was for quality
}

func (s Sale) net() net {
	n := net{
		subsidies: map[string]money.Fen{}, received: map[Party]int64{}, takenCost: map[Party]money.Fen{},
		takenSupply: map[Party]money.Fen{}, quality: true,
	}
	owner := s.owner()
	for _, u := range s.Units {
		supply := s.supplyOf(u)
		if r := u.Returned; r != nil {
			n.returned++
			n.quality = n.quality && r.Quality
			if r.By != owner && r.By != (Party{}) {
				n.received[r.By]++
			}
			if by, taken := s.taker(*r); taken {
				n.cost += u.Cost
				n.supply += supply
				n.takenCost[by] += u.Cost
				n.takenSupply[by] += supply
			}
			continue
		}
		n.kept++
		n.list += u.List
		n.cash += u.Cash
		n.points += u.Points
		n.cost += u.Cost
		n.supply += supply
		for _, d := range u.Discounts {
			if d.Bearer == BearerPerformer {
				n.performer += d.Fen
			} else {
				n.subsidies[d.Bearer] += d.Fen
			}
		}
	}
	n.quality = n.quality && n.returned > 0
	return n
}

// check returns ErrSale naming what is wrong with a sale that cannot be settled.
func (s Sale) check() error {
	var wrong []fault.Field
	bad := func(path, zh, en string) {
		wrong = append(wrong, fault.Field{Path: path, Code: "settlement.sale", Text: fault.Text{ZH: zh, EN: en}})
	}
	need := []org.Role{org.RoleHQ, org.RoleFulfil}
	if s.Terms.LossBearer != "" {
		need = append(need, s.Terms.LossBearer)
	}
	if s.Terms.CarrierPayer != "" && s.Terms.Model == org.ModelBuySell {
		need = append(need, s.Terms.CarrierPayer)
	}
	switch s.Terms.Model {
	case org.ModelBuySell:
		need = append(need, s.Terms.Seller)
	case org.ModelExclusive:
		need = append(need, s.Terms.Performer)
	case org.ModelShared:
		for _, x := range slices.Concat(s.Terms.Shares, s.Terms.Performance) {
			need = append(need, x.Role)
		}
	default:
		bad("terms.model", "未知的结算模型", "the settlement model is unknown")
	}
	for _, r := range need {
		if s.Parties[r].Entity == "" {
			bad("parties."+string(r), "该角色无人承担,或其组织单元没有法人主体", "nobody plays this role, or the unit has no legal entity")
		}
	}
	for i, u := range s.Units {
		sum := u.Points + u.Cash
		for _, d := range u.Discounts {
			sum += d.Fen
		}
		if sum != u.List || u.List < 0 || u.Cash < 0 || u.Points < 0 {
			bad(fmt.Sprintf("units[%d]", i), "优惠、积分与现金之和不等于标价", "discounts, points and cash do not sum to the list price")
		}
	}
	var bp int64
	for i, a := range s.Associates {
		if a.Bp < 0 {
			bad(fmt.Sprintf("associates[%d].bp", i), "份额不能为负", "a share is not negative")
		}
		bp += a.Bp
	}
	if len(s.Associates) > 0 && bp != 10_000 {
		bad("associates", "份额之和须为 10000 基点", "the shares sum to 10,000 basis points")
	}
	if wrong != nil {
		return ErrSale.With("order", s.OrderNo).WithFields(wrong...)
	}
	return nil
}
