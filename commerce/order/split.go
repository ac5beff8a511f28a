package order

import (
	"cmp"
	"slices"
)

// Part is a share of an order's units: what one sender sends, what one invoice bills. Its lines carry only its units and
// sums over them, so the parts of an order add up to the order.
type Part struct {
	Key   string
	Lines []Line
}

// Split divides an order by the key that of gives each unit; parts come in the order of their first unit. Fees and freight
// are asked about like everything else.
func Split(o Order, of func(l Line, u Unit) string) []Part {
	var parts []Part
	for _, l := range o.Lines {
		groups := map[string][]Unit{}
		var keys []string
		for _, u := range l.Units {
			k := of(l, u)
			if groups[k] == nil {
				keys = append(keys, k)
			}
			groups[k] = append(groups[k], u)
		}
		for _, k := range keys {
			i := slices.IndexFunc(parts, func(p Part) bool { return p.Key == k })
			if i < 0 {
				i, parts = len(parts), append(parts, Part{Key: k})
			}
			parts[i].Lines = append(parts[i].Lines, l.only(groups[k]))
		}
	}
	return parts
}

// only is the line with some of its units.
func (l Line) only(units []Unit) Line {
	l.Units, l.Quantity = units, int64(len(units))
	l.ListFen, l.DiscountFen, l.Points, l.PointsFen, l.CashFen = 0, 0, 0, 0, 0
	for _, u := range units {
		l.ListFen += u.ListFen
		l.DiscountFen += u.DiscountFen
		l.Points += u.Points
		l.PointsFen += u.PointsFen
		l.CashFen += u.CashFen
	}
	return l
}

// Merge puts parts of one order together again under the key of the first.
func Merge(parts ...Part) Part {
	var out Part
	for i, p := range parts {
		if i == 0 {
			out.Key = p.Key
		}
		for _, l := range p.Lines {
			j := slices.IndexFunc(out.Lines, func(have Line) bool { return have.LineNo == l.LineNo })
			if j < 0 {
				out.Lines = append(out.Lines, l)
				continue
			}
			units := slices.Concat(out.Lines[j].Units, l.Units)
			slices.SortFunc(units, func(a, b Unit) int { return cmp.Compare(a.UnitNo, b.UnitNo) })
			out.Lines[j] = out.Lines[j].only(units)
		}
	}
	slices.SortFunc(out.Lines, func(a, b Line) int { return cmp.Compare(a.LineNo, b.LineNo) })
	return out
}

// Together reports whether two orders may travel in one parcel: paid, nothing sent yet, of one birth, to one receiver.
// A platform's token goes with its own order only.
func Together(a, b Order) bool {
	waiting := func(o Order) bool {
		return o.Status == StatusPaid || o.Status == StatusSourcing || o.Status == StatusAllocated
	}
	return waiting(a) && waiting(b) && a.Birth == b.Birth && a.Receiver == b.Receiver && a.Receiver.Token == "" && a.Receiver.Pickup == ""
}
