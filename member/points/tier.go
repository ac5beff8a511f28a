package points

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/member"
)

// GrowthBy says what growth is.
type GrowthBy string

// The measures of growth.
const (
	ByPoints GrowthBy = "points" // points granted in the window, less what was revoked of those grants
	ByPaid   GrowthBy = "paid"   // fen paid for orders in the window, less returns
)

// Tier is a level of a programme: members whose growth over the last WindowDays reaches Growth come into it, and keep it for
// at least ValidDays.
type Tier struct {
	Code       string   `json:"code"`
	Name       string   `json:"name"`
	By         GrowthBy `json:"by,omitempty" enum:"points,paid" doc:"default points; paid counts fen"`
	Growth     int64    `json:"growth"`
	WindowDays int      `json:"window_days"`
	ValidDays  int      `json:"valid_days,omitempty" doc:"whole days that a member keeps the tier for; default window_days"`
}

func (t Tier) by() GrowthBy { return cmp.Or(t.By, ByPoints) }

// until is the midnight in Shanghai at which a period that begins at the instant ends.
func (t Tier) until(from time.Time) time.Time {
	d := clock.DayOf(from)
	return time.Date(d.Year, d.Month, d.Day+cmp.Or(t.ValidDays, t.WindowDays)+1, 0, 0, 0, 0, clock.Shanghai).UTC()
}

// Standing is the tier that a birth holds in a programme. The row of the root is the member's; those of its other births are
// what they brought into the member, and what they leave with if it splits.
type Standing struct {
	Birth     member.Birth `json:"-"`
	Programme string       `json:"programme"`
	Tier      string       `json:"tier"`
	Since     time.Time    `json:"since"`
	Until     time.Time    `json:"until"` // not before then does it go down
}

// rank of a tier in the programme, from 1; 0 if there is no such tier.
func (p Programme) rank(tier string) int {
	return slices.IndexFunc(p.Tiers, func(t Tier) bool { return t.Code == tier }) + 1
}

// best returns the highest standing, and of equal ones the one that lasts longest; nil if none is of a tier there is.
func (p Programme) best(all []Standing) (out *Standing) {
	for i, s := range all {
		if p.rank(s.Tier) == 0 {
			continue
		}
		if out == nil || cmp.Or(cmp.Compare(p.rank(s.Tier), p.rank(out.Tier)), s.Until.Compare(out.Until)) > 0 {
			out = &all[i]
		}
	}
	return out
}

// next decides the standing of a member: earned is the rank that its growth reaches now, held are the standings of all its
// births. It goes up at once and down only when no period is left; a tier that is reached again at the end of its period
// begins another one. nil: in no tier.
func (p Programme) next(held []Standing, earned int, now time.Time) *Standing {
	current := p.best(slices.DeleteFunc(slices.Clone(held), func(s Standing) bool { return !s.Until.After(now) }))
	if current != nil && p.rank(current.Tier) >= earned {
		return current
	}
	if earned == 0 {
		return nil
	}
	t := p.Tiers[earned-1]
	out := &Standing{Programme: p.Code, Tier: t.Code, Since: now, Until: t.until(now)}
	if before := p.best(held); current == nil && before != nil && before.Tier == t.Code {
		out.Since = before.Since
	}
	return out
}

func validateTiers(tiers []Tier) error {
	seen := map[string]bool{}
	for i, t := range tiers {
		path := fmt.Sprintf("tiers[%d]", i)
		switch {
		case !codePattern.MatchString(t.Code) || seen[t.Code]:
			return invalid(path+".code", "等级代码有误或重复", "a tier's code is malformed or occurs twice")
		case t.Name == "":
			return invalid(path+".name", "缺少等级名称", "a tier has a name")
		case t.by() != ByPoints && t.by() != ByPaid:
			return invalid(path+".by", "成长方式须为 points 或 paid", "by is points or paid")
		case t.ValidDays < 0 || t.ValidDays > 3660:
			return invalid(path+".valid_days", "有效天数须在 0 到 3660 之间", "valid_days is 0 to 3660")
		case i > 0 && t.by() != tiers[0].by():
			return invalid(path+".by", "同一计划的各等级须使用同一成长方式", "all tiers of a programme measure growth alike")
		case t.Growth < 0 || (i > 0 && t.Growth <= tiers[i-1].Growth):
			return invalid(path+".growth", "成长值须逐级递增", "growth rises from tier to tier")
		case t.WindowDays < 1 || t.WindowDays > 3660:
			return invalid(path+".window_days", "统计天数须在 1 到 3660 之间", "window_days is 1 to 3660")
		}
		seen[t.Code] = true
	}
	return nil
}
