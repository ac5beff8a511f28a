package points

import (
	"fmt"
)

// Tier is a level of a programme: members whose growth over the last WindowDays reaches Growth are in it. Growth is the
// points earned in the window less those revoked.
type Tier struct {
	Code       string `json:"code"`
	Name       string `json:"name"`
	Growth     int64  `json:"growth"`
	WindowDays int    `json:"window_days"`
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
		case t.Growth < 0 || (i > 0 && t.Growth <= tiers[i-1].Growth):
			return invalid(path+".growth", "成长值须逐级递增", "growth rises from tier to tier")
		case t.WindowDays < 1 || t.WindowDays > 3660:
			return invalid(path+".window_days", "统计天数须在 1 到 3660 之间", "window_days is 1 to 3660")
		}
		seen[t.Code] = true
	}
	return nil
}
