package settlement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Kind says what a line is for.
type Kind string

// The kinds of lines that come in.
const (
	KindCash    Kind = "cash"    // what the member paid, net of refunds
	KindSubsidy Kind = "subsidy" // a discount borne by somebody other than the sale
	KindPool    Kind = "pool"    // points redeemed, paid by the points pool
	KindBought  Kind = "bought"  // returned goods that somebody other than their owner took
	KindLoss    Kind = "loss"    // freight and fees of what came back, from the loss bearer
)

// The kinds of lines that go out.
const (
	KindGoods    Kind = "goods"    // goods at supply price or cost, to their owner
	KindFee      Kind = "fee"      // pick and pack, drop shipping
	KindDiscount Kind = "discount" // a shipper's part of discounts, negative
	KindPlatform Kind = "platform" // HQ's fee
	KindCarrier  Kind = "carrier"
	KindPayment  Kind = "payment"  // the payment provider's fee
	KindIssued   Kind = "issued"   // points issued, to the points pool
	KindHandling Kind = "handling" // for receiving a return
	KindShare    Kind = "share"    // a role's share of margin or sales
	KindMargin   Kind = "margin"   // what is left, to the seller or performer
)

// Line is one amount that comes in from a party or goes out to one. Fen is positive in its usual direction.
type Line struct {
	In    bool       `json:"in"`
	Kind  Kind       `json:"kind"`
	Role  org.Role   `json:"role,omitempty"`
	Party Party      `json:"party"`          // empty for the member, carrier, payment provider and pool
	Code  string     `json:"code,omitempty"` // bearer of a subsidy
	Fen   money.Fen  `json:"fen"`
	Why   fault.Text `json:"why"`
}

// Performed is what a role counts as its performance; no money.
type Performed struct {
	Role  org.Role  `json:"role"`
	Party Party     `json:"party"`
	Kind  string    `json:"kind"` // performance, wholesale
	Fen   money.Fen `json:"fen"`
}

// Commission is what an associate earns, paid by their store through payroll and on no partner's statement.
type Commission struct {
	Associate string    `json:"associate"`
	Unit      string    `json:"unit"`
	Fen       money.Fen `json:"fen"`
}

// Book is the outcome for one sale.
type Book struct {
	Base          money.Fen    `json:"base"`          // list less what the sale itself bears
	Distributable money.Fen    `json:"distributable"` // shared: what the roles divide
	Lines         []Line       `json:"lines"`
	Performance   []Performed  `json:"performance"`
	Commissions   []Commission `json:"commissions"`
}

// Sums returns what comes in and what goes out; they are equal.
func (b Book) Sums() (in, out money.Fen) {
	for _, l := range b.Lines {
		if l.In {
			in += l.Fen
		} else {
			out += l.Fen
		}
	}
	return in, out
}

// Of returns the sum of the lines of one kind for a role; an empty role means any.
func (b Book) Of(kind Kind, role org.Role) money.Fen {
	var sum money.Fen
	for _, l := range b.Lines {
		if l.Kind == kind && (role == "" || l.Role == role) {
			sum += l.Fen
		}
	}
	return sum
}

// Settle divides a sale by its terms. It fails with ErrSale where a role of the terms is played by nobody, and with
// ErrShareBelowCost where a share of sales would pay a foreign stock owner less than its goods cost.
func Settle(s Sale) (Book, error) {
	if err := s.check(); err != nil {
		return Book{}, err
	}
	e := entry{Sale: s, net: s.net()}
	e.Base = e.list - e.performer
	e.income()
	var err error
	switch s.Terms.Model {
	case org.ModelBuySell:
		e.buySell()
	case org.ModelExclusive:
		e.exclusive()
	case org.ModelShared:
		err = e.shared()
	}
	if err != nil {
		return Book{}, err
	}
	e.perform()
	e.commission()
	e.Lines = slices.DeleteFunc(e.Lines, func(l Line) bool { return l.Fen == 0 })
	return e.Book, nil
}

// entry is a sale while it is settled.
type entry struct {
	Sale
	net
	Book
}

func (e *entry) line(in bool, kind Kind, role org.Role, party Party, fen money.Fen, zh, en string) {
	e.Lines = append(e.Lines, Line{In: in, Kind: kind, Role: role, Party: party, Fen: fen, Why: fault.Text{ZH: zh, EN: en}})
}

func (e *entry) in(kind Kind, role org.Role, fen money.Fen, zh, en string) {
	e.line(true, kind, role, e.Parties[role], fen, zh, en)
}

func (e *entry) out(kind Kind, role org.Role, fen money.Fen, zh, en string) {
	e.line(false, kind, role, e.Parties[role], fen, zh, en)
}

// income is what every model has: the member's money and the points that paid for goods.
func (e *entry) income() {
	e.in(KindCash, "", e.cash+e.Freight, fmt.Sprintf("会员实付 %s,其中运费 %s", e.cash+e.Freight, e.Freight),
		fmt.Sprintf("paid by the member: %s, of it freight %s", e.cash+e.Freight, e.Freight))
	e.in(KindPool, "", e.points, fmt.Sprintf("积分抵现 %s,由积分池支付", e.points), fmt.Sprintf("points redeemed for %s, paid by the points pool", e.points))
}

// subsidy takes in the discounts that others than the sale bear, all but those of the one who has what is left anyway.
func (e *entry) subsidy(except string) (sum money.Fen) {
	for _, bearer := range slices.Sorted(maps.Keys(e.subsidies)) {
		if bearer == except {
			continue
		}
		fen := e.subsidies[bearer]
		role, party := org.Role(""), Party{}
		if bearer == BearerHQ {
			role, party = org.RoleHQ, e.Parties[org.RoleHQ]
		}
		e.Lines = append(e.Lines, Line{In: true, Kind: KindSubsidy, Role: role, Party: party, Code: bearer, Fen: fen, Why: fault.Text{
			ZH: fmt.Sprintf("%s 承担的优惠 %s", bearer, fen), EN: fmt.Sprintf("discounts borne by %s: %s", bearer, fen),
		}})
		sum += fen
	}
	return sum
}

// paymentFee, issued and handling are costs that every model has.
func (e *entry) paymentFee() money.Fen {
	fee := money.Bp(e.cash+e.Freight, e.Terms.PaymentFeeBp)
	e.out(KindPayment, "", fee, fmt.Sprintf("支付手续费,实付 %s 的 %s", e.cash+e.Freight, percent(e.Terms.PaymentFeeBp)),
		fmt.Sprintf("payment fee, %s of %s", percent(e.Terms.PaymentFeeBp), e.cash+e.Freight))
	return fee
}

func (e *entry) issued() money.Fen {
	if e.Terms.PointsPerFen == 0 {
		return 0
	}
	points := e.cash / money.Fen(e.Terms.PointsPerFen)
	e.out(KindIssued, "", points, fmt.Sprintf("按货款 %s 发放 %d 积分,付入积分池", e.cash, points),
		fmt.Sprintf("%d points issued on goods cash %s, paid into the pool", points, e.cash))
	return points
}

func (e *entry) carrier() money.Fen {
	e.out(KindCarrier, "", e.Carrier, fmt.Sprintf("承运费用 %s", e.Carrier), fmt.Sprintf("carrier's charge %s", e.Carrier))
	return e.Carrier
}

func (e *entry) handling() money.Fen {
	var sum money.Fen
	for _, p := range sortedParties(e.received) {
		n := e.received[p]
		fee := e.Terms.HandlingFen * money.Fen(n)
		e.line(false, KindHandling, "", p, fee, fmt.Sprintf("%s 代收退货 %d 件的处理费", p.Unit, n), fmt.Sprintf("handling of %d returns received by %s", n, p.Unit))
		sum += fee
	}
	return sum
}

// bought takes in the price of returned goods that somebody other than their owner has now, at cost or at supply price. Who
// has what is left anyway does not pay itself.
func (e *entry) bought(taken map[Party]money.Fen, except Party) (sum money.Fen) {
	for _, p := range sortedParties(taken) {
		if p.Entity == except.Entity {
			continue
		}
		e.line(true, KindBought, "", p, taken[p], fmt.Sprintf("退货归 %s,按 %s 结算", p.Unit, taken[p]), fmt.Sprintf("returned goods kept by %s for %s", p.Unit, taken[p]))
		sum += taken[p]
	}
	return sum
}

// buySell: the shipper sells to the seller at supply price, the seller keeps what is left.
func (e *entry) buySell() {
	seller, shipper := e.Terms.Seller, e.shipper()
	left := e.cash + e.Freight + e.points
	if seller == org.RoleHQ {
		left += e.subsidy(BearerHQ)
	} else {
		left += e.subsidy("")
	}
	left += e.bought(e.takenSupply, e.Parties[seller])
	e.out(KindGoods, shipper, e.supply, fmt.Sprintf("货款 %s,按结算价", e.supply), fmt.Sprintf("goods at supply price: %s", e.supply))
	left -= e.supply
	fee := e.Terms.PickPackFen * money.Fen(e.Parcels)
	e.out(KindFee, shipper, fee, fmt.Sprintf("%d 个包裹的发货服务费", e.Parcels), fmt.Sprintf("pick and pack of %d parcels", e.Parcels))
	left -= fee
	if e.Terms.ShareDiscounts {
		e.out(KindDiscount, shipper, -e.performer, fmt.Sprintf("让利分摊 %s", e.performer), fmt.Sprintf("its part of discounts: %s", e.performer))
		left += e.performer
	}
	payer := cmp.Or(e.Terms.CarrierPayer, seller)
	carrier := e.carrier()
	left -= carrier
	if payer != seller { // the payer has the freight and the carrier's charge
		e.out(KindFee, payer, e.Freight, fmt.Sprintf("会员运费 %s 归付运费方", e.Freight), fmt.Sprintf("the member's freight %s goes to who pays the carrier", e.Freight))
		e.out(KindFee, payer, -carrier, fmt.Sprintf("承运费用 %s 由其承担", carrier), fmt.Sprintf("it bears the carrier's charge %s", carrier))
		left -= e.Freight - carrier
	}
	left -= e.paymentFee() + e.issued() + e.handling()
	if e.kept == 0 && left < 0 {
		left += e.loss(-left)
	}
	e.out(KindMargin, seller, left, fmt.Sprintf("销售方留存 %s", left), fmt.Sprintf("kept by the seller: %s", left))
}

// exclusive: the performer takes what is left after fees; goods of others are repaid.
func (e *entry) exclusive() {
	performer := e.Terms.Performer
	e.subsidy("")
	left := e.Base + e.Freight
	if e.owner().Entity == e.Parties[performer].Entity {
		left += e.bought(e.takenSupply, e.owner()) // its own goods are not paid for, only returned ones that somebody else has
	} else {
		left += e.bought(e.takenCost, e.Parties[performer])
		e.out(KindGoods, org.RoleFulfil, e.cost, fmt.Sprintf("货主成本 %s", e.cost), fmt.Sprintf("goods cost of the stock owner: %s", e.cost))
		fee := e.Terms.PickPackFen * money.Fen(e.Parcels)
		e.out(KindFee, org.RoleFulfil, fee, fmt.Sprintf("%d 个包裹的发货服务费", e.Parcels), fmt.Sprintf("pick and pack of %d parcels", e.Parcels))
		left -= e.cost + fee
	}
	platform := money.Bp(e.Base, e.Terms.PlatformBp)
	e.out(KindPlatform, org.RoleHQ, platform, fmt.Sprintf("平台服务费,结算基数 %s 的 %s", e.Base, percent(e.Terms.PlatformBp)),
		fmt.Sprintf("platform fee, %s of the base %s", percent(e.Terms.PlatformBp), e.Base))
	left -= platform + e.paymentFee() + e.carrier() + e.issued() + e.handling()
	if e.kept == 0 && left < 0 {
		left += e.loss(-left)
	}
	e.out(KindMargin, performer, left, fmt.Sprintf("业绩方独享 %s", left), fmt.Sprintf("left to the performer: %s", left))
}

// shared: the stock owner's goods first, then the rest by role.
func (e *entry) shared() error {
	e.subsidy("")
	if e.Terms.Basis == org.BasisSales {
		return e.sharedSales()
	}
	left := e.Base + e.Freight + e.bought(e.takenCost, Party{})
	left -= e.carrier() + e.paymentFee() + e.issued() + e.handling()
	e.out(KindGoods, org.RoleFulfil, e.cost, fmt.Sprintf("先还货主成本 %s", e.cost), fmt.Sprintf("first, the stock owner's goods cost: %s", e.cost))
	left -= e.cost
	if left < 0 {
		left += e.loss(-left)
	}
	e.Distributable = left
	shares := slices.Clone(e.Terms.Shares)
	slices.SortFunc(shares, func(a, b org.Share) int {
		return cmp.Compare(slices.Index(org.Roles, a.Role), slices.Index(org.Roles, b.Role))
	})
	weights := make([]int64, len(shares))
	for i, s := range shares {
		weights[i] = s.Bp
	}
	parts, err := money.Split(left, weights)
	if err != nil {
		return ErrSale.Because(err)
	}
	for i, s := range shares {
		e.out(KindShare, s.Role, parts[i], fmt.Sprintf("可分配 %s 的 %s", left, percent(s.Bp)), fmt.Sprintf("%s of the distributable %s", percent(s.Bp), left))
	}
	return nil
}

// sharedSales gives roles a part of the base, for brands that own all stock; HQ has the rest.
func (e *entry) sharedSales() error {
	left := e.Base + e.Freight - e.carrier() - e.paymentFee() - e.issued() - e.handling()
	owner := e.owner()
	taken := e.bought(e.takenCost, Party{})
	e.out(KindGoods, org.RoleFulfil, taken, fmt.Sprintf("他方留下的退货 %s", taken), fmt.Sprintf("returned goods that others kept: %s", taken))
	for _, s := range e.Terms.Shares {
		part := money.Bp(e.Base, s.Bp)
		if s.Role == org.RoleFulfil && owner.Entity != e.Parties[org.RoleHQ].Entity && part < e.cost-taken {
			return ErrShareBelowCost.With("order", e.OrderNo, "share", part, "cost", e.cost)
		}
		e.out(KindShare, s.Role, part, fmt.Sprintf("结算基数 %s 的 %s", e.Base, percent(s.Bp)), fmt.Sprintf("%s of the base %s", percent(s.Bp), e.Base))
		left -= part
	}
	e.Distributable = e.Base
	if e.kept == 0 && left < 0 {
		left += e.loss(-left)
	}
	e.out(KindMargin, org.RoleHQ, left, fmt.Sprintf("总部留存 %s", left), fmt.Sprintf("kept by HQ: %s", left))
	return nil
}

// loss takes in what nobody refunds: from the stock owner where the goods were at fault, else from the loss bearer.
func (e *entry) loss(fen money.Fen) money.Fen {
	bearer := cmp.Or(e.Terms.LossBearer, org.RoleHQ)
	if e.quality && e.kept == 0 {
		bearer = org.RoleFulfil
	}
	e.in(KindLoss, bearer, fen, fmt.Sprintf("退回订单的运费与手续费损失 %s", fen), fmt.Sprintf("freight and fees of what came back: %s", fen))
	return fen
}

// perform fills the performance book.
func (e *entry) perform() {
	add := func(role org.Role, kind string, fen money.Fen) {
		if fen != 0 {
			e.Performance = append(e.Performance, Performed{Role: role, Party: e.Parties[role], Kind: kind, Fen: fen})
		}
	}
	switch e.Terms.Model {
	case org.ModelBuySell:
		add(e.Terms.Seller, "performance", e.Base)
		add(e.shipper(), "wholesale", e.supply)
	case org.ModelExclusive:
		add(e.Terms.Performer, "performance", e.Base)
	case org.ModelShared:
		for _, s := range e.Terms.Performance {
			add(s.Role, "performance", money.Bp(e.Base, s.Bp))
		}
	}
}

// commission fills the associates' commissions.
func (e *entry) commission() {
	if len(e.Associates) == 0 {
		return
	}
	weights := make([]int64, len(e.Associates))
	for i, a := range e.Associates {
		weights[i] = a.Bp
	}
	parts, err := money.Split(money.Bp(e.cash, e.Terms.CommissionBp), weights)
	if err != nil {
		panic("settlement: check let shares of " + e.OrderNo + " pass that cannot carry an amount")
	}
	for i, a := range e.Associates {
		if parts[i] != 0 {
			e.Commissions = append(e.Commissions, Commission{Associate: a.ID, Unit: a.Unit, Fen: parts[i]})
		}
	}
}

// percent writes basis points as people read them.
func percent(bp int64) string {
	if bp%100 == 0 {
		return fmt.Sprintf("%d%%", bp/100)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%02d", bp/100, bp%100), "0") + "%"
}

func sortedParties[V any](m map[Party]V) []Party {
	return slices.SortedFunc(maps.Keys(m), func(a, b Party) int { return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Unit, b.Unit)) })
}
