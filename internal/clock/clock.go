// Package clock gives code its time. Domain code never calls time.Now: it takes a Clock, so that tests, the demo and the
// journey simulator can run on a virtual one, and passes the instant into SQL as @now.
package clock

import (
	"sync"
	"time"
)

// Shanghai is the default business zone. China has had no daylight saving since 1991, so a fixed offset is exact for
// every instant the product handles and does not need a zone database on the machine.
var Shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// Clock tells the current instant, in UTC.
type Clock interface {
	Now() time.Time
}

// System is the wall clock.
type System struct{}

// Now returns the current instant in UTC, at the microsecond precision PostgreSQL keeps.
func (System) Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Virtual is a clock that moves only when told. It is safe for concurrent use.
type Virtual struct {
	mu  sync.Mutex
	now time.Time
}

// NewVirtual returns a clock that stands at the given instant.
func NewVirtual(at time.Time) *Virtual {
	return &Virtual{now: at.UTC().Truncate(time.Microsecond)}
}

// Now returns the instant the clock stands at.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Set moves the clock to the given instant; moving backwards is allowed, because real clocks do it too.
func (v *Virtual) Set(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = at.UTC().Truncate(time.Microsecond)
}

// Advance moves the clock forward by d and returns the new instant.
func (v *Virtual) Advance(d time.Duration) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = v.now.Add(d)
	return v.now
}

// Day is a business day: a civil date in a zone, the unit of statements, quiet hours and bare dates in rules.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// DayOf returns the business day in Shanghai that contains the instant.
func DayOf(at time.Time) Day {
	y, m, d := at.In(Shanghai).Date()
	return Day{y, m, d}
}

// Start returns the first instant of the day, Shanghai midnight, in UTC.
func (d Day) Start() time.Time {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, Shanghai).UTC()
}

// Next returns the following day.
func (d Day) Next() Day { return DayOf(d.Start().Add(24 * time.Hour)) }

// String returns the day as YYYY-MM-DD.
func (d Day) String() string { return d.Start().In(Shanghai).Format("2006-01-02") }
