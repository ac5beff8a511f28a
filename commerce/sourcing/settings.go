package sourcing

import (
	"fmt"
	"slices"
	"time"
)

// unlimited is the capacity of a location that nobody has limited.
const unlimited = 1_000_000

// Settings are what a location offers to orders from elsewhere.
type Settings struct {
	Location    string   `json:"location,omitempty"`
	Version     int64    `json:"version" doc:"the one that was read; 0 for new ones"`
	Modes       []Mode   `json:"modes" doc:"ship, pickup, same_city"`
	Touchpoints []string `json:"touchpoints,omitempty" doc:"whose orders it serves; empty for all"`
	Opens       string   `json:"opens,omitempty" doc:"HH:MM in Shanghai; empty for always open"`
	Closes      string   `json:"closes,omitempty"`
	CutOff      string   `json:"cut_off,omitempty" doc:"HH:MM; what is decided later leaves tomorrow"`
	DailyCap    int64    `json:"daily_cap" doc:"parcels a day, from the next plan on"`
}

// Validate fails with ErrLocation.
func (s Settings) Validate() error {
	var p problems
	for i, m := range s.Modes {
		p.check(slices.Contains(modes, m), fmt.Sprintf("modes[%d]", i), "须为 ship、pickup 或 same_city", "it is ship, pickup or same_city")
	}
	for _, f := range []struct{ path, v string }{{"opens", s.Opens}, {"closes", s.Closes}, {"cut_off", s.CutOff}} {
		_, ok := minutes(f.v)
		p.check(ok, f.path, "时间须为 HH:MM", "the time is HH:MM")
	}
	p.check((s.Opens == "") == (s.Closes == ""), "closes", "开门与关门时间须同时填写", "give both, when it opens and when it closes")
	p.check(s.DailyCap >= 0 && s.DailyCap <= unlimited, "daily_cap", "须在 0 到 1000000 之间", "it is from 0 to 1000000")
	return p.err(ErrLocation)
}

// minutes reads HH:MM; nothing is midnight.
func minutes(v string) (int, bool) {
	if v == "" {
		return 0, true
	}
	t, err := time.Parse("15:04", v)
	return t.Hour()*60 + t.Minute(), err == nil
}

// apply puts the settings into a location.
func (s Settings) apply(l *Location) {
	l.Modes, l.Touchpoints = s.Modes, s.Touchpoints
	l.Opens, _ = minutes(s.Opens)
	l.Closes, _ = minutes(s.Closes)
	l.CutOff, _ = minutes(s.CutOff)
}
