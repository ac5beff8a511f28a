package journeys

import (
	"slices"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// Schedule says when an audience enters: once at an instant, daily or weekly at a local time.
type Schedule struct {
	Every string     `json:"every"` // once, day or week
	At    *time.Time `json:"at,omitempty"`
	Time  TimeOfDay  `json:"time,omitempty"`
	Days  []int      `json:"days,omitempty"` // of a week: 1 Monday … 7 Sunday
}

// Next returns the first occurrence strictly after the instant; ok is false when there is none.
func (s *Schedule) Next(after time.Time) (at time.Time, ok bool) {
	switch s.Every {
	case "once":
		if s.At == nil || !s.At.After(after) {
			return time.Time{}, false
		}
		return tick(*s.At), true
	case "day":
		return nextLocal(after, LocalTime{Time: s.Time}), true
	case "week":
		return nextLocal(after, LocalTime{Time: s.Time, Days: s.Days}), true
	}
	return time.Time{}, false
}

// nextLocal returns the first instant strictly after the given one at which the local clock shows the time of day on one
// of the days. Strictly, so that a cycle through such a wait always moves on.
func nextLocal(after time.Time, l LocalTime) time.Time {
	day := clock.DayOf(after)
	for {
		start := day.Start()
		at := start.Add(time.Duration(l.Time) * time.Minute)
		if at.After(after) && (len(l.Days) == 0 || slices.Contains(l.Days, isoWeekday(start))) {
			return at
		}
		day = day.Next()
	}
}

func isoWeekday(at time.Time) int {
	return (int(at.In(clock.Shanghai).Weekday())+6)%7 + 1
}

// tick rounds an instant up to the second. All times of a run are ticks: facts of one second are evaluated together, and
// a real run and its simulation agree on every time.
func tick(at time.Time) time.Time {
	t := at.UTC().Truncate(time.Second)
	if t.Before(at) {
		t = t.Add(time.Second)
	}
	return t
}
