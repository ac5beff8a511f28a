package settlement

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// place is where a line belongs: lines of one place are one amount.
type place struct {
	in    bool
	kind  Kind
	role  org.Role
	party Party
	code  string
}

func (l Line) place() place { return place{l.In, l.Kind, l.Role, l.Party, l.Code} }

// Correct returns what must be posted so that the posted lines become the target: target minus posted, place by place,
// without lines of zero. The reasons are the target's; a place that the target does not have any more is taken back.
func Correct(target, posted []Line) []Line {
	want := map[place]money.Fen{}
	why := map[place]fault.Text{}
	for _, l := range posted {
		want[l.place()] -= l.Fen
		why[l.place()] = fault.Text{ZH: "冲回", EN: "taken back"}
	}
	for _, l := range target {
		want[l.place()] += l.Fen
		why[l.place()] = l.Why
	}
	var out []Line
	for p, fen := range want {
		if fen != 0 {
			out = append(out, Line{In: p.in, Kind: p.kind, Role: p.role, Party: p.party, Code: p.code, Fen: fen, Why: why[p]})
		}
	}
	slices.SortFunc(out, func(a, b Line) int {
		if a.In != b.In {
			if a.In {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Party.Entity, b.Party.Entity), cmp.Compare(a.Party.Unit, b.Party.Unit),
			cmp.Compare(a.Role, b.Role), cmp.Compare(a.Code, b.Code))
	})
	return out
}
