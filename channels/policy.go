package channels

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// Policy is what the brand and the law allow: the same for every message of a batch.
type Policy struct {
	Paused        bool // all sending is stopped
	AccountPaused bool
	Quiet         Quiet
	Caps          []Cap
}

// Window is a part of the day in minutes of Shanghai; From > To crosses midnight, From = To is no window at all.
type Window struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Quiet are an account's quiet hours and the lanes that keep them.
type Quiet struct {
	Window
	Lanes []Lane `json:"lanes"`
}

// DefaultQuiet is 21:00 to 08:00 for marketing, on the channels that make a phone ring.
func DefaultQuiet(c Channel) Quiet {
	if c == ChannelEmail {
		return Quiet{}
	}
	return Quiet{Window: Window{From: 21 * 60, To: 8 * 60}, Lanes: []Lane{LaneMarketing}}
}

// until returns when the quiet hours that contain now end; ok is false outside of them. The message's own hours bind in
// every lane: whoever planned it asked for them.
func (q Quiet) until(lane Lane, own Window, now time.Time) (end time.Time, ok bool) {
	windows := []Window{own}
	if slices.Contains(q.Lanes, lane) {
		windows = append(windows, q.Window)
	}
	// One window may end inside the other, hence the second round; hours that leave no minute of the day free never end,
	// and the message is looked at again where they meet.
	end = now
	for range windows {
		for _, w := range windows {
			if until, inside := w.until(end); inside {
				end, ok = until, true
			}
		}
	}
	return end, ok
}

// until returns when the window that contains now ends; ok is false outside of it.
func (q Window) until(now time.Time) (end time.Time, ok bool) {
	if q.From == q.To {
		return end, false
	}
	local := now.In(clock.Shanghai)
	minute := local.Hour()*60 + local.Minute()
	midnight := clock.DayOf(now).Start()
	at := func(day time.Time, m int) time.Time { return day.Add(time.Duration(m) * time.Minute) }
	switch {
	case q.From < q.To && minute >= q.From && minute < q.To:
		return at(midnight, q.To), true
	case q.From > q.To && minute >= q.From:
		return at(clock.DayOf(now).Next().Start(), q.To), true
	case q.From > q.To && minute < q.To:
		return at(midnight, q.To), true
	default:
		return end, false
	}
}

// Cap allows at most Max marketing messages to one member in a rolling window, over all channels or one, over all
// campaigns or one class. Messages that failed or were suppressed do not count; those with an unknown outcome do.
type Cap struct {
	Max      int      `json:"max"`
	Window   Duration `json:"window"`
	Channel  Channel  `json:"channel,omitempty"`
	Campaign string   `json:"campaign,omitempty"`
	Defer    bool     `json:"defer,omitempty"` // wait for the window to move on instead of giving up
}

// Duration reads "90s", "24h" and "7d" in JSON.
type Duration time.Duration

// UnmarshalJSON reads a duration with the units s m h d w.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if len(s) < 2 {
		return fmt.Errorf("%q is not a duration such as 24h", s)
	}
	n, err := strconv.Atoi(s[:len(s)-1])
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	if err != nil || !ok || n < 0 || n > 100000 {
		return fmt.Errorf("%q is not a duration such as 24h", s)
	}
	*d = Duration(time.Duration(n) * unit)
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) {
	t := time.Duration(d)
	if t%time.Hour == 0 {
		return json.Marshal(strconv.Itoa(int(t/time.Hour)) + "h")
	}
	return json.Marshal(strconv.Itoa(int(t/time.Second)) + "s")
}

// Past is a marketing message the member got, or may have got.
type Past struct {
	At       time.Time
	Channel  Channel
	Campaign string
}

// Facts are what Decide needs to know about one message and its member.
type Facts struct {
	Channel   Channel
	Lane      Lane
	Campaign  string
	Quiet     Window // the message's own quiet hours
	ExpiresAt time.Time
	Identity  bool // the member has an address on the channel
	Granted   bool // effective consent for the channel
	Blocked   bool // the address is known not to work
	Duplicate bool // the same person has this message already, under another birth
	NeedGrant bool // a one-time subscription is needed (mini-program)
	Grants    int  // how many are left
	Past      []Past
}

// Action is what Decide says.
type Action string

// The actions.
const (
	ActionSend     Action = "send"
	ActionSuppress Action = "suppress"
	ActionDefer    Action = "defer"
)

// Decision is the outcome of Decide. Until is set for ActionDefer.
type Decision struct {
	Action Action
	Reason Reason
	Until  time.Time
}

// pauseStep is how long a paused message sleeps before it is looked at again.
const pauseStep = time.Minute

// Decide says whether a message may leave now. It is pure: the sender and the journey simulator share it.
func Decide(f Facts, p Policy, now time.Time) Decision {
	suppress := func(r Reason) Decision { return Decision{Action: ActionSuppress, Reason: r} }
	later := func(r Reason, until time.Time) Decision {
		if !until.Before(f.ExpiresAt) {
			return suppress(ReasonExpired)
		}
		return Decision{Action: ActionDefer, Reason: r, Until: until}
	}
	switch {
	case !now.Before(f.ExpiresAt):
		return suppress(ReasonExpired)
	case p.Paused || p.AccountPaused:
		return later(ReasonPaused, now.Add(pauseStep))
	case !f.Identity:
		return suppress(ReasonNoIdentity)
	case f.Lane != LaneTransaction && !f.Granted:
		return suppress(ReasonNoConsent)
	case f.Blocked:
		return suppress(ReasonBlocked)
	case f.Duplicate:
		return suppress(ReasonDuplicate)
	case f.NeedGrant && f.Grants <= 0:
		return suppress(ReasonNoGrant)
	}
	if end, quiet := p.Quiet.until(f.Lane, f.Quiet, now); quiet {
		return later(ReasonQuietHours, end)
	}
	if f.Lane == LaneMarketing {
		for _, c := range p.Caps {
			if free, full := c.full(f, now); full {
				if c.Defer {
					return later(ReasonCap, free)
				}
				return suppress(ReasonCap)
			}
		}
	}
	return Decision{Action: ActionSend}
}

// full reports whether the cap is used up and when it next has room.
func (c Cap) full(f Facts, now time.Time) (free time.Time, full bool) {
	if c.Channel != "" && c.Channel != f.Channel || c.Campaign != "" && c.Campaign != f.Campaign {
		return free, false
	}
	window := time.Duration(c.Window)
	var inside []time.Time
	for _, p := range f.Past {
		if (c.Channel == "" || p.Channel == c.Channel) && (c.Campaign == "" || p.Campaign == c.Campaign) && p.At.After(now.Add(-window)) {
			inside = append(inside, p.At)
		}
	}
	if len(inside) < c.Max {
		return free, false
	}
	if c.Max <= 0 {
		return now.Add(window), true
	}
	slices.SortFunc(inside, func(a, b time.Time) int { return a.Compare(b) })
	return inside[len(inside)-c.Max].Add(window), true
}

// longest returns the largest window of the caps; history is read that far back.
func longest(caps []Cap) time.Duration {
	out := 24 * time.Hour
	for _, c := range caps {
		out = max(out, time.Duration(c.Window))
	}
	return out
}

// ValidateCaps checks frequency rules.
func ValidateCaps(caps []Cap) error {
	if len(caps) > 20 {
		return ErrCaps.WithFields(field("caps", "limit", "规则最多 20 条", "at most 20 rules", "请合并规则", "merge some"))
	}
	for i, c := range caps {
		path := "caps[" + strconv.Itoa(i) + "]"
		if c.Max < 0 || c.Max > 1000 {
			return ErrCaps.WithFields(field(path+".max", "range", "须为 0–1000", "must be 0 to 1000", "请修改次数", "change the number"))
		}
		if w := time.Duration(c.Window); w < time.Minute || w > 90*24*time.Hour {
			return ErrCaps.WithFields(field(path+".window", "range", "窗口须为 1 分钟至 90 天", "must be 1 minute to 90 days", "请修改窗口", "change the window"))
		}
		if strings.ContainsAny(string(c.Channel), " \n") {
			return ErrCaps.WithFields(field(path+".channel", "enum", "未知渠道", "is not a channel", "请修改渠道", "change the channel"))
		}
	}
	return nil
}
