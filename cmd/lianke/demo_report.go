package main

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/templates/demo"
)

// demoReport is what the demo found; with --json it is the one object of the contract.
type demoReport struct {
	Seed        uint64                 `json:"seed"`
	OK          bool                   `json:"ok"`
	Seconds     float64                `json:"seconds"`
	Days        int                    `json:"days"`
	Members     int64                  `json:"members"`
	Visitors    int64                  `json:"visitors"`
	People      int                    `json:"people"`
	Identifiers map[string]int64       `json:"identifiers"`
	Merges      demoMerges             `json:"merges"`
	Activities  map[string]int64       `json:"activities"`
	NetFen      money.Fen              `json:"net_fen"`
	Segments    map[string]int64       `json:"segments"`
	Journeys    map[string]demoJourney `json:"journeys"`
	Messages    map[string]int64       `json:"messages"`
	Coupons     map[string]int64       `json:"coupons"`
	Points      map[string]demoPoints  `json:"points"`
	Imported    map[string]int64       `json:"imported"`
	SetAside    map[demo.Reason]int64  `json:"set_aside"`
	Checks      map[string]demoCheck   `json:"checks"`
	order       []string               // of the checks
}

type demoMerges struct {
	Merged int64 `json:"merged"` // identifiers that are not their member's first
	demo.Score
}

type demoJourney struct {
	Started   int64            `json:"started"`
	Active    int64            `json:"active"`
	Goals     int64            `json:"goals"`
	Nodes     map[string]int64 `json:"nodes"` // runs that came to each node
	Messages  map[string]int64 `json:"messages"`
	Ended     map[string]int64 `json:"ended"`
	Compared  int64            `json:"compared"` // steps compared with the rehearsal
	LeftAside int64            `json:"left_aside"`
}

type demoPoints struct {
	Issued      int64 `json:"issued"`
	Outstanding int64 `json:"outstanding"`
	Spent       int64 `json:"spent"`
	Expired     int64 `json:"expired"`
}

// demoCheck is one check: what was compared, and what was wrong.
type demoCheck struct {
	OK     bool     `json:"ok"`
	Looked int64    `json:"looked"` // how many things were looked at; a check that looked at nothing fails
	Said   string   `json:"said"`
	Wrong  []string `json:"wrong,omitempty"` // the first few
}

// verdict collects what one check finds.
type verdict struct {
	looked int64
	wrong  []string
	n      int64
}

const wrongKept = 5

func (v *verdict) fail(format string, args ...any) {
	v.n++
	if len(v.wrong) < wrongKept {
		v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	}
}

func (r *demoReport) add(name string, v verdict, said string) {
	c := demoCheck{OK: v.n == 0 && v.looked > 0, Looked: v.looked, Said: said, Wrong: v.wrong}
	if v.looked == 0 {
		c.Wrong = append(c.Wrong, "looked at nothing")
	}
	if v.n > 0 {
		c.Said += fmt.Sprintf("; %d wrong", v.n)
	}
	r.Checks[name] = c
	r.order = append(r.order, name)
}

// table prints the report for people.
func (r demoReport) table(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\n知更集 Robin & Co.\tseed %d, %d days, %.0f s\n\n", r.Seed, r.Days, r.Seconds)
	fmt.Fprintf(tw, "members\t%d (of %d people; %d visitors)\n", r.Members, r.People, r.Visitors)
	fmt.Fprintf(tw, "identifiers\t%s\n", counts(r.Identifiers))
	fmt.Fprintf(tw, "identity\tprecision %.6f, recall %.6f over %d true pairs; %d identifiers merged\n", r.Merges.Precision, r.Merges.Recall, r.Merges.TruePairs, r.Merges.Merged)
	fmt.Fprintf(tw, "turnover\t%s\n", r.NetFen)
	fmt.Fprintf(tw, "activities\t%s\n", counts(r.Activities))
	fmt.Fprintf(tw, "segments\t%s\n", counts(r.Segments))
	for _, code := range demo.JourneyCodes {
		j := r.Journeys[code]
		fmt.Fprintf(tw, "journey %s\t%d started, %d active, %d reached the goal\n", code, j.Started, j.Active, j.Goals)
		fmt.Fprintf(tw, "  came to\t%s\n  messages\t%s\n  left\t%s\n", counts(j.Nodes), counts(j.Messages), counts(j.Ended))
	}
	fmt.Fprintf(tw, "messages\t%s\n", counts(r.Messages))
	fmt.Fprintf(tw, "coupons\t%s\n", counts(r.Coupons))
	for code, p := range r.Points {
		fmt.Fprintf(tw, "points %s\tissued %d, outstanding %d, spent %d, expired %d\n", code, p.Issued, p.Outstanding, p.Spent, p.Expired)
	}
	fmt.Fprintln(tw)
	for _, name := range r.order {
		c := r.Checks[name]
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		fmt.Fprintf(tw, "%s %s\t%s (%d looked at)\n", mark, name, c.Said, c.Looked)
		for _, wrong := range c.Wrong {
			fmt.Fprintf(tw, "\t  %s\n", wrong)
		}
	}
	tw.Flush()
	if r.OK {
		fmt.Fprintf(w, "\nall %d checks hold\n", len(r.order))
	} else {
		fmt.Fprintln(w, "\nsome checks FAILED")
	}
}

func counts(m map[string]int64) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return m[keys[i]] > m[keys[j]] || m[keys[i]] == m[keys[j]] && keys[i] < keys[j] })
	parts := make([]string, 0, len(keys))
	for _, k := range slices.Clip(keys) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
