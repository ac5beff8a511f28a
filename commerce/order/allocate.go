package order

import (
	"fmt"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// Share is the part of a bearer in basis points; those of a reduction sum to 10,000.
type Share struct {
	Bearer string `json:"bearer"`
	Bp     int64  `json:"bp"`
}

// Reduction takes an amount off an order. Without targets it spreads over the lines named, by their list amounts, or over
// all goods lines if none are named.
type Reduction struct {
	Kind    string // promotion, coupon or manual
	Source  string
	Amount  money.Fen
	Lines   []int    // line numbers
	Targets []Target // exact parts; they sum to Amount
	Bearers []Share
}

// Target is the part of a reduction that falls on one line, or on one unit of it.
type Target struct {
	LineNo int
	UnitNo int // 0: spread over the line's units
	Amount money.Fen
}

// Allocate gives every unit of the lines its part of the reductions and of the points, in that order, and sets the sums of
// units, lines and order. Amounts go to lines by largest remainder over list amounts and to units by prefix floors; what a
// unit cannot take, because earlier reductions leave too little of its price, goes to the next that can. Sums are exact on
// every level; the cash of a unit is what remains. It fails with ErrInvalid if the lines cannot take an amount.
func (o *Order) Allocate(reductions []Reduction, points int64, pointsFen money.Fen) error {
	for i := range o.Lines {
		l := &o.Lines[i]
		if l.Quantity < 1 || l.Quantity > MaxUnits || l.UnitPriceFen < 0 || l.UnitPriceFen > maxPrice {
			return invalid(fmt.Sprintf("lines[%d].quantity", i), "数量须为 1 到 9,999,单价须在 0 到 10^10 分之间", "a quantity is 1 to 9,999 and a price 0 to 10^10 fen")
		}
		l.ListFen, l.DiscountFen, l.Points, l.PointsFen = l.UnitPriceFen*money.Fen(l.Quantity), 0, 0, 0
		l.Units = make([]Unit, l.Quantity)
		for k := range l.Units {
			l.Units[k] = Unit{LineNo: l.LineNo, UnitNo: k + 1, ListFen: l.UnitPriceFen, CashFen: l.UnitPriceFen, Discounts: []Discount{}, State: UnitOpen}
		}
	}
	for i, r := range reductions {
		if err := o.reduce(r); err != nil {
			return fmt.Errorf("reduction %d (%s): %w", i, r.Source, err)
		}
	}
	if err := o.spendPoints(points, pointsFen); err != nil {
		return err
	}
	for i := range o.Lines {
		l := &o.Lines[i]
		l.CashFen = 0
		for _, u := range l.Units {
			l.DiscountFen += u.DiscountFen
			l.Points += u.Points
			l.PointsFen += u.PointsFen
			l.CashFen += u.CashFen
		}
	}
	o.total()
	return nil
}

// MaxUnits is how many units one line may have.
const MaxUnits = 9_999

const (
	maxPrice     = money.Fen(10_000_000_000)
	maxReduction = money.Fen(3_000_000_000)
)

func (o *Order) reduce(r Reduction) error {
	if r.Amount < 0 || r.Amount > maxReduction {
		return invalid("reductions", "优惠须在 0 到 3×10^9 分之间", "a reduction is 0 to 3×10^9 fen")
	}
	if r.Amount == 0 {
		return nil
	}
	var bp int64
	for _, b := range r.Bearers {
		bp += b.Bp
		if b.Bp < 0 {
			return invalid("bearers", "承担比例不能为负", "a bearer's share is not negative")
		}
	}
	if bp != 10000 {
		return invalid("bearers", "承担比例之和须为 10000 基点", "the bearers' shares sum to 10,000 basis points")
	}
	var taken []taking
	if len(r.Targets) > 0 {
		var sum money.Fen
		for _, t := range r.Targets {
			sum += t.Amount
			l := o.Line(t.LineNo)
			if l == nil || t.UnitNo < 0 || t.UnitNo > len(l.Units) || t.Amount < 0 {
				return invalid("targets", "优惠所指的商品不存在", "a target does not exist")
			}
			units := l.units()
			if t.UnitNo > 0 {
				units = units[t.UnitNo-1 : t.UnitNo]
			}
			got, err := takeFromUnits(units, t.Amount)
			if err != nil {
				return err
			}
			taken = append(taken, got...)
		}
		if sum != r.Amount {
			return invalid("targets", "各部分之和不等于优惠金额", "the targets do not sum to the amount")
		}
	} else {
		lines := o.among(r.Lines)
		parts, err := spread(lines, r.Amount)
		if err != nil {
			return err
		}
		for i, l := range lines {
			got, err := takeFromUnits(l.units(), parts[i])
			if err != nil {
				return err
			}
			taken = append(taken, got...)
		}
	}
	// Bearers follow the reduction as it runs through the units, so that their parts are exact for every unit and, to the
	// fen, their share of the whole.
	bearing := newBearing(r)
	for _, t := range taken {
		if t.amount == 0 {
			continue
		}
		t.unit.DiscountFen += t.amount
		t.unit.CashFen -= t.amount
		t.unit.Discounts = append(t.unit.Discounts, Discount{Kind: r.Kind, Source: r.Source, Fen: t.amount, Bearers: bearing.next(t.amount)})
	}
	return nil
}

func (l *Line) units() []*Unit {
	out := make([]*Unit, len(l.Units))
	for i := range l.Units {
		out[i] = &l.Units[i]
	}
	return out
}

// among returns the lines with the numbers, or all goods lines.
func (o *Order) among(numbers []int) []*Line {
	var out []*Line
	for i := range o.Lines {
		l := &o.Lines[i]
		if (len(numbers) == 0 && l.Kind.Goods()) || slices.Contains(numbers, l.LineNo) {
			out = append(out, l)
		}
	}
	return out
}

func (l *Line) room() (sum money.Fen) {
	for _, u := range l.Units {
		sum += u.CashFen
	}
	return sum
}

// spread splits an amount over lines by their list amounts, no line more than is left of it.
func spread(lines []*Line, amount money.Fen) ([]money.Fen, error) {
	parts := make([]money.Fen, len(lines))
	for left := amount; left > 0; {
		weights := make([]int64, len(lines))
		var any bool
		for i, l := range lines {
			if l.room() > parts[i] {
				weights[i], any = int64(l.ListFen), true
			}
		}
		if !any {
			return nil, errRoom
		}
		more, err := money.Split(left, weights)
		if err != nil {
			return nil, errRoom
		}
		left = 0
		for i, l := range lines {
			parts[i] += more[i]
			if over := parts[i] - l.room(); over > 0 {
				parts[i] -= over
				left += over
			}
		}
	}
	return parts, nil
}

var errRoom = invalid("reductions", "优惠超过商品金额", "the reductions exceed the amount of the lines")

type taking struct {
	unit   *Unit
	amount money.Fen
}

// takeFromUnits spreads an amount over units by prefix floors, no unit more than is left of it.
func takeFromUnits(units []*Unit, amount money.Fen) ([]taking, error) {
	out := make([]taking, len(units))
	left := amount
	for k, u := range units {
		part := min(money.Unit(amount, int64(k+1), int64(len(units))), u.CashFen)
		out[k] = taking{u, part}
		left -= part
	}
	for k := range out {
		more := min(left, out[k].unit.CashFen-out[k].amount)
		out[k].amount += more
		left -= more
	}
	if left > 0 {
		return nil, errRoom
	}
	return out, nil
}

// bearing gives out the parts of a reduction's bearers. Whole: what they bear of the whole reduction; given: of what has
// run through so far.
type bearing struct {
	shares       []Share
	whole, given []money.Fen
	total, done  money.Fen
}

func newBearing(r Reduction) *bearing {
	weights := make([]int64, len(r.Bearers))
	for i, b := range r.Bearers {
		weights[i] = b.Bp
	}
	whole, err := money.Split(r.Amount, weights)
	if err != nil {
		panic("order: bearers were checked: " + err.Error())
	}
	return &bearing{shares: r.Bearers, whole: whole, given: make([]money.Fen, len(whole)), total: r.Amount}
}

// next splits an amount so that everybody comes as near as can be to their share of all that ran through. What each has
// still to bear of the whole bounds it, so the last unit closes the sums.
func (b *bearing) next(amount money.Fen) []BearerPart {
	b.done += amount
	parts := make([]money.Fen, len(b.shares))
	rest := make([]money.Fen, len(b.shares)) // how far each is behind, in units of 1/total fen, after its whole fen
	left := amount
	for j := range b.shares {
		behind := b.whole[j]*b.done - b.given[j]*b.total // maxReduction² fits
		parts[j] = min(max(0, behind/b.total), left, b.whole[j]-b.given[j])
		left -= parts[j]
		rest[j] = behind - parts[j]*b.total
	}
	for left > 0 {
		best := -1
		for j := range b.shares {
			if b.given[j]+parts[j] < b.whole[j] && (best < 0 || rest[j] > rest[best]) {
				best = j
			}
		}
		parts[best]++
		rest[best] -= b.total
		left--
	}
	out := make([]BearerPart, 0, len(parts))
	for j, p := range parts {
		b.given[j] += p
		if p != 0 {
			out = append(out, BearerPart{Bearer: b.shares[j].Bearer, Fen: p})
		}
	}
	return out
}

// spendPoints gives points to the goods by list amount, as far as there is cash to pay with them, and to units by prefix
// floors. The points themselves follow their worth by largest remainder.
func (o *Order) spendPoints(points int64, worth money.Fen) error {
	if points < 0 || worth < 0 || (points == 0) != (worth == 0) {
		return invalid("points", "积分与抵扣金额须同为正数", "points and their worth are both positive or both 0")
	}
	if worth == 0 {
		return nil
	}
	lines := o.among(nil)
	parts, err := spread(lines, worth)
	if err != nil {
		return err
	}
	var all []taking
	for i, l := range lines {
		got, err := takeFromUnits(l.units(), parts[i])
		if err != nil {
			return err
		}
		all = append(all, got...)
	}
	weights := make([]int64, len(all))
	for i, t := range all {
		t.unit.PointsFen, t.unit.CashFen = t.amount, t.unit.CashFen-t.amount
		weights[i] = int64(t.amount)
	}
	counts, err := money.Split(money.Fen(points), weights)
	if err != nil {
		return errRoom
	}
	for i, t := range all {
		t.unit.Points = int64(counts[i])
	}
	return nil
}
