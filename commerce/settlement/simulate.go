package settlement

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Simulation is what a partner's orders would have come to under other terms.
type Simulation struct {
	Orders  int64            `json:"orders"`
	Refused int64            `json:"refused" doc:"orders that the other terms cannot settle; they are in neither sum"`
	Reasons map[string]int64 `json:"reasons" doc:"why, by code"`
	Parties []SimulatedParty `json:"parties"`
}

// SimulatedParty compares what one legal entity got with what it would have got.
type SimulatedParty struct {
	Entity    string    `json:"entity"`
	BeforeFen money.Fen `json:"before_fen"`
	AfterFen  money.Fen `json:"after_fen"`
	Better    int64     `json:"better" doc:"orders in which it would have got more"`
	Worse     int64     `json:"worse"`
}

// Rehearsal adds sales up under their own terms and under others. The zero value is not ready; use NewRehearsal.
type Rehearsal struct {
	terms org.Terms
	sums  map[string]*SimulatedParty
	out   Simulation
}

// NewRehearsal returns a rehearsal of the terms.
func NewRehearsal(terms org.Terms) *Rehearsal {
	return &Rehearsal{terms: terms, sums: map[string]*SimulatedParty{}, out: Simulation{Reasons: map[string]int64{}}}
}

// Add settles a sale both ways.
func (r *Rehearsal) Add(s Sale) {
	before, err := Settle(s)
	var after Book
	if err == nil {
		s.Terms = r.terms
		after, err = Settle(s)
	}
	if err != nil {
		r.out.Refused++
		r.out.Reasons[fault.From(err).Code]++
		return
	}
	r.out.Orders++
	a, b := byEntity(before.Lines), byEntity(after.Lines)
	for entity := range maps.Keys(merged(a, b)) {
		p := r.sums[entity]
		if p == nil {
			p = &SimulatedParty{Entity: entity}
			r.sums[entity] = p
		}
		p.BeforeFen += a[entity]
		p.AfterFen += b[entity]
		switch {
		case b[entity] > a[entity]:
			p.Better++
		case b[entity] < a[entity]:
			p.Worse++
		}
	}
}

// Result returns the comparison, entities in order.
func (r *Rehearsal) Result() Simulation {
	out := r.out
	out.Parties = []SimulatedParty{}
	for _, p := range r.sums {
		out.Parties = append(out.Parties, *p)
	}
	slices.SortFunc(out.Parties, func(a, b SimulatedParty) int { return cmp.Compare(a.Entity, b.Entity) })
	return out
}

func byEntity(lines []Line) map[string]money.Fen {
	sums := map[string]money.Fen{}
	for _, l := range lines {
		if l.Party.Entity == "" {
			continue
		}
		if l.In {
			sums[l.Party.Entity] -= l.Fen
		} else {
			sums[l.Party.Entity] += l.Fen
		}
	}
	return sums
}

func merged(a, b map[string]money.Fen) map[string]money.Fen {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Simulate settles a partner's orders that were paid in [from, to) under other terms, before anybody signs them.
func (s *Service) Simulate(ctx context.Context, db pg.DB, partner string, from, to time.Time, terms org.Terms) (Simulation, error) {
	r := NewRehearsal(terms)
	err := eachSale(ctx, db, partner, from, to, func(sale Sale) error { r.Add(sale); return nil })
	return r.Result(), err
}
