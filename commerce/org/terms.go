package org

import (
	"fmt"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Direction is what a partner brings: capital, service or sales. It suggests a model and decides nothing.
type Direction string

// The directions.
const (
	DirectionCapital Direction = "capital" // 资金型
	DirectionService Direction = "service" // 服务型
	DirectionSales   Direction = "sales"   // 销售型
)

// Model is how an order is settled between the parties that led, sold, shipped and served.
type Model string

// The models of settlement.
const (
	ModelBuySell   Model = "buy_sell"  // 买卖交易型: every hop is a sale at the supply price; the seller keeps the spread
	ModelExclusive Model = "exclusive" // 业绩独享型: one party takes performance and margin; the others get fees
	ModelShared    Model = "shared"    // 业绩共享型: goods are repaid first, the margin is split by role
)

// Suggested returns the model that goes with a direction.
func (d Direction) Suggested() Model {
	switch d {
	case DirectionCapital:
		return ModelBuySell
	case DirectionSales:
		return ModelExclusive
	default:
		return ModelShared
	}
}

// Role is the part a party plays in one order.
type Role string

// The roles, in the order that decides ties.
const (
	RoleOrigin  Role = "origin"  // led the member to the order
	RoleFulfil  Role = "fulfil"  // its stock ships
	RoleService Role = "service" // serves the member afterwards
	RoleHome    Role = "home"    // the member's home store
	RoleHQ      Role = "hq"      // the brand, which runs the platform
)

// Roles lists the roles in the order that decides ties.
var Roles = []Role{RoleOrigin, RoleFulfil, RoleService, RoleHome, RoleHQ}

// Collector is who receives the money of a tender.
type Collector string

// The collectors.
const (
	CollectorHQ       Collector = "hq"
	CollectorSeller   Collector = "seller"   // the seller of record's own till or merchant account
	CollectorSplit    Collector = "split"    // the seller as sub-merchant, shares split by the payment provider (分账)
	CollectorMall     Collector = "mall"     // 商场代收
	CollectorPlatform Collector = "platform" // a marketplace, which pays the seller of record
)

// Basis is what shares are shares of.
type Basis string

// The bases of the shared model.
const (
	BasisMargin Basis = "margin" // what is left when the goods are repaid
	BasisSales  Basis = "sales"  // the settlement base; only where no foreign party owns the stock
)

// GoodsBack is where returned goods end up.
type GoodsBack string

// Where returned goods go.
const (
	GoodsToOwner    GoodsBack = "to_owner"
	GoodsToReceiver GoodsBack = "to_receiver" // bought by who received them, at supply price
	GoodsToHQ       GoodsBack = "to_hq"
)

// Share is one role's part, in basis points.
type Share struct {
	Role Role  `json:"role" enum:"origin,fulfil,service,home,hq"`
	Bp   int64 `json:"bp"`
}

// Terms are what a contract says about money. They are frozen into each order when it is paid.
type Terms struct {
	Model Model `json:"model" enum:"buy_sell,exclusive,shared"`

	Seller    Role `json:"seller" enum:"origin,fulfil,home,hq" doc:"buy_sell: who sells to the member; hq, or the partner whose shop it is"`
	Performer Role `json:"performer" enum:"origin,fulfil,home,hq" doc:"exclusive: who takes performance and margin, and is seller of record"`

	SupplyBp       int64     `json:"supply_bp" doc:"supply price (结算价) in basis points of the list price"`
	PickPackFen    money.Fen `json:"pick_pack_fen" doc:"what the shipper gets for each parcel"`
	ShareDiscounts bool      `json:"share_discounts" doc:"buy_sell: the shipper bears the performer's part of discounts (让利分摊)"`
	PlatformBp     int64     `json:"platform_bp" doc:"exclusive: HQ's fee in basis points of the settlement base"`
	Basis          Basis     `json:"basis" enum:"margin,sales"`
	Shares         []Share   `json:"shares" doc:"shared: margin or sales by role"`
	Performance    []Share   `json:"performance" doc:"performance by role; may sum to more than 10,000 where it is counted twice (双算)"`

	PaymentFeeBp   int64     `json:"payment_fee_bp"`
	CarrierPayer   Role      `json:"carrier_payer" enum:"origin,fulfil,home,hq" doc:"buy_sell: who pays the carrier, and has the member's freight"`
	HandlingFen    money.Fen `json:"handling_fen" doc:"what a third party gets for each return it receives"`
	GoodsBack      GoodsBack `json:"goods_back" enum:"to_owner,to_receiver,to_hq"`
	TakesReturns   bool      `json:"takes_returns,omitempty" doc:"the partner's stores take back goods that HQ's own channels sold; HQ refunds"`
	LossBearer     Role      `json:"loss_bearer" enum:"origin,fulfil,service,home,hq" doc:"who bears freight and fees of an order that came back"`
	CommissionBp   int64     `json:"commission_bp" doc:"associates' commission in basis points of goods cash"`
	PointsPerFen   int64     `json:"points_per_fen" doc:"goods cash in fen for which one point is issued; 0 issues none"`
	ReturnDays     int       `json:"return_days" doc:"days after receipt until an item becomes payable"`
	Collectors     []Tender  `json:"collectors" doc:"who receives the money of each tender"`
	SmallTaxpayers bool      `json:"small_taxpayers" doc:"deduct the tax difference of small-scale taxpayers"`
}

// Tender says who receives the money of one tender.
type Tender struct {
	Tender    string    `json:"tender"`
	Collector Collector `json:"collector" enum:"hq,seller,split,mall,platform"`
}

// SellerOfRecord is the role that sells to the member and invoices them.
func (t Terms) SellerOfRecord() Role {
	switch t.Model {
	case ModelBuySell:
		return t.Seller
	case ModelExclusive:
		return t.Performer
	default:
		return RoleHQ
	}
}

const whole = 10_000

// Validate returns ErrTerms naming every field that is wrong. sameEntity says that the partner is of HQ's own legal
// entity: then no money crosses between strangers and every collector is allowed.
func (t Terms) Validate(sameEntity bool) error {
	var wrong []fault.Field
	bad := func(path, zh, en, hintZH, hintEN string) {
		wrong = append(wrong, fault.Field{Path: "terms." + path, Code: "org.terms", Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}})
	}
	rate := func(path string, bp int64) {
		if bp < 0 || bp > whole {
			bad(path, "比例须在 0 到 10000 基点之间", "a rate is between 0 and 10,000 basis points", "100 基点 = 1%", "100 basis points are 1 %")
		}
	}
	amount := func(path string, f money.Fen) {
		if f < 0 {
			bad(path, "金额不能为负", "an amount is not negative", "请以分填写", "give it in fen")
		}
	}
	known := func(path string, r Role, none bool) {
		if r == "" && none {
			return
		}
		for _, k := range Roles {
			if r == k {
				return
			}
		}
		bad(path, "未知角色", "the role is unknown", "可用:origin、fulfil、service、home、hq", "one of origin, fulfil, service, home, hq")
	}
	shares := func(path string, list []Share, exact bool) {
		var sum int64
		seen := map[Role]bool{}
		for i, s := range list {
			known(fmt.Sprintf("%s[%d].role", path, i), s.Role, false)
			rate(fmt.Sprintf("%s[%d].bp", path, i), s.Bp)
			if seen[s.Role] {
				bad(fmt.Sprintf("%s[%d].role", path, i), "角色重复", "the role occurs twice", "每个角色一行", "one line for each role")
			}
			seen[s.Role] = true
			sum += s.Bp
		}
		if exact && sum != whole {
			bad(path, "分成之和须为 10000 基点", "the shares sum to 10,000 basis points", fmt.Sprintf("现为 %d", sum), fmt.Sprintf("they sum to %d", sum))
		}
	}

	rate("supply_bp", t.SupplyBp)
	rate("platform_bp", t.PlatformBp)
	rate("payment_fee_bp", t.PaymentFeeBp)
	rate("commission_bp", t.CommissionBp)
	amount("pick_pack_fen", t.PickPackFen)
	amount("handling_fen", t.HandlingFen)
	known("loss_bearer", t.LossBearer, true)
	known("carrier_payer", t.CarrierPayer, true)
	shares("performance", t.Performance, false)
	if t.PointsPerFen < 0 || t.ReturnDays < 0 || t.ReturnDays > 365 {
		bad("return_days", "天数或积分规则超出范围", "days or the points rule are out of range", "天数 0 到 365,积分规则不为负", "0 to 365 days, points rule not negative")
	}
	switch t.GoodsBack {
	case GoodsToOwner, GoodsToReceiver, GoodsToHQ, "":
	default:
		bad("goods_back", "未知的退货归属", "it is unknown where returned goods go", "可用:to_owner、to_receiver、to_hq", "one of to_owner, to_receiver, to_hq")
	}
	switch t.Model {
	case ModelBuySell:
		known("seller", t.Seller, false)
		if t.SupplyBp == 0 {
			bad("supply_bp", "买卖交易型须有结算价比例", "buy_sell needs a supply price", "例如 6500 = 吊牌价的 65%", "for example 6500 = 65 % of list")
		}
	case ModelExclusive:
		known("performer", t.Performer, false)
	case ModelShared:
		switch t.Basis {
		case BasisMargin:
			shares("shares", t.Shares, true)
		case BasisSales:
			shares("shares", t.Shares, false)
			var sum int64
			for _, s := range t.Shares {
				sum += s.Bp
			}
			if sum > whole {
				bad("shares", "分成之和不能超过 10000 基点", "the shares sum to at most 10,000 basis points", "余额归总部", "what is left is HQ's")
			}
		default:
			bad("basis", "未知的分成基数", "the basis of the shares is unknown", "可用:margin、sales", "margin or sales")
		}
	default:
		bad("model", "未知的结算模型", "the settlement model is unknown", "可用:buy_sell、exclusive、shared", "one of buy_sell, exclusive, shared")
	}
	seller := t.SellerOfRecord()
	for i, c := range t.Collectors {
		path := fmt.Sprintf("collectors[%d].collector", i)
		switch c.Collector {
		case CollectorSeller, CollectorSplit, CollectorMall, CollectorPlatform:
		case CollectorHQ:
			if seller != RoleHQ && !sameEntity {
				bad(path, "总部代收他人销售款再分发属于无证清算(二清)", "HQ would collect another entity's sales and pass them on, which is illegal clearing",
					"改用 split(服务商分账)或 seller(商户自收),或改为买卖交易型", "use split (sub-merchant with profit sharing) or seller, or the buy_sell model")
			}
		default:
			bad(path, "未知的收款方", "the collector is unknown", "可用:hq、seller、split、mall、platform", "one of hq, seller, split, mall, platform")
		}
	}
	if wrong != nil {
		return ErrTerms.WithFields(wrong...)
	}
	return nil
}
