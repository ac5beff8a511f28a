package settlement

import (
	"cmp"
	"slices"

	"github.com/lianke/lianke/internal/money"
)

// PerformanceLine is one amount of the performance book: no money.
type PerformanceLine struct {
	Kind      string    `json:"kind" enum:"performance,wholesale,commission"`
	Role      string    `json:"role"`
	Unit      string    `json:"unit"`
	Associate string    `json:"associate"`
	Fen       money.Fen `json:"fen"`
}

// performance are the lines of a book.
func performance(b Book) []PerformanceLine {
	var out []PerformanceLine
	for _, p := range b.Performance {
		out = append(out, PerformanceLine{Kind: p.Kind, Role: string(p.Role), Unit: p.Party.Unit, Fen: p.Fen})
	}
	for _, c := range b.Commissions {
		out = append(out, PerformanceLine{Kind: "commission", Unit: c.Unit, Associate: c.Associate, Fen: c.Fen})
	}
	return out
}

// correctPerformance is target minus posted, as Correct is for money.
func correctPerformance(target, posted []PerformanceLine) []PerformanceLine {
	sums := map[PerformanceLine]money.Fen{}
	add := func(l PerformanceLine, sign money.Fen) {
		fen := l.Fen
		l.Fen = 0
		sums[l] += sign * fen
	}
	for _, l := range target {
		add(l, 1)
	}
	for _, l := range posted {
		add(l, -1)
	}
	var out []PerformanceLine
	for l, fen := range sums {
		if fen != 0 {
			l.Fen = fen
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b PerformanceLine) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Associate, b.Associate))
	})
	return out
}
