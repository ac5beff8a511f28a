package points

import (
	"fmt"
	"math/bits"
	"regexp"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
)

// MaxPoints is the most that one move may move.
const MaxPoints = 1_000_000_000_000

// Rounding says what happens to a fraction of a point.
type Rounding string

// The ways to round.
const (
	RoundFloor  Rounding = "floor"
	RoundHalfUp Rounding = "half_up"
	RoundCeil   Rounding = "ceil"
)

// ValidityKind says how long points live. They run out at a midnight in Shanghai.
type ValidityKind string

// The validities.
const (
	ValidityNever   ValidityKind = "never"
	ValidityDays    ValidityKind = "days"     // N whole days after the day they become active
	ValidityMonths  ValidityKind = "months"   // through the same date N months later, or that month's last day
	ValidityYearEnd ValidityKind = "year_end" // through 31 December, N years later
)

// ProgrammeStatus says whether a programme grants.
type ProgrammeStatus string

// The states of a programme. Points of a closed one can still be spent.
const (
	StatusActive ProgrammeStatus = "active"
	StatusClosed ProgrammeStatus = "closed"
)

// Programme is a loyalty programme.
type Programme struct {
	Code        string          `json:"code"`
	Name        string          `json:"name"`
	ValuePoints int64           `json:"value_points" doc:"this many points are worth value_fen"`
	ValueFen    money.Fen       `json:"value_fen"`
	EarnFen     money.Fen       `json:"earn_fen" doc:"sales of this many fen earn one point"`
	Rounding    Rounding        `json:"rounding" enum:"floor,half_up,ceil"`
	Validity    ValidityKind    `json:"validity" enum:"never,days,months,year_end"`
	ValidityN   int             `json:"validity_n"`
	PendingDays int             `json:"pending_days" doc:"days until granted points can be spent"`
	GraceDays   int             `json:"grace_days" doc:"days that points refunded to an expired lot live again"`
	Tiers       []Tier          `json:"tiers"`
	Status      ProgrammeStatus `json:"status" enum:"active,closed"`
	Version     int64           `json:"version"`
}

var codePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// Validate checks a programme before it is stored.
func (p Programme) Validate() error {
	switch {
	case !codePattern.MatchString(p.Code):
		return invalid("code", "代码须为小写字母、数字、- 或 _,最长 64 位", "a code has 1 to 64 lower-case letters, digits, - or _")
	case p.Name == "" || len(p.Name) > 200:
		return invalid("name", "名称须为 1 到 200 字节", "a name has 1 to 200 bytes")
	case p.ValuePoints <= 0 || p.ValuePoints > MaxPoints || p.ValueFen < 0 || p.ValueFen > MaxPoints:
		return invalid("value_points", "积分价值有误", "the value is a positive number of points and a number of fen not below 0")
	case p.EarnFen <= 0 || p.EarnFen > MaxPoints:
		return invalid("earn_fen", "每积分所需消费须大于 0 分", "earn_fen is more than 0")
	case p.Rounding != RoundFloor && p.Rounding != RoundHalfUp && p.Rounding != RoundCeil:
		return invalid("rounding", "取整方式须为 floor、half_up 或 ceil", "rounding is floor, half_up or ceil")
	case p.PendingDays < 0 || p.PendingDays > 366 || p.GraceDays < 0 || p.GraceDays > 366:
		return invalid("pending_days", "天数须在 0 到 366 之间", "days are 0 to 366")
	case p.Status != StatusActive && p.Status != StatusClosed:
		return invalid("status", "状态须为 active 或 closed", "status is active or closed")
	}
	switch n := p.ValidityN; p.Validity {
	case ValidityNever:
	case ValidityDays:
		if n < 1 || n > 36500 {
			return invalid("validity_n", "天数须在 1 到 36500 之间", "days are 1 to 36500")
		}
	case ValidityMonths:
		if n < 1 || n > 1200 {
			return invalid("validity_n", "月数须在 1 到 1200 之间", "months are 1 to 1200")
		}
	case ValidityYearEnd:
		if n < 0 || n > 100 {
			return invalid("validity_n", "年数须在 0 到 100 之间", "years are 0 to 100")
		}
	default:
		return invalid("validity", "有效期须为 never、days、months 或 year_end", "validity is never, days, months or year_end")
	}
	return validateTiers(p.Tiers)
}

// Earn returns the points that sales of the amount earn; nothing for an amount of zero or less.
func (p Programme) Earn(amount money.Fen) int64 {
	if amount <= 0 {
		return 0
	}
	whole, rest := int64(amount/p.EarnFen), amount%p.EarnFen
	switch {
	case p.Rounding == RoundCeil && rest > 0, p.Rounding == RoundHalfUp && rest >= p.EarnFen-rest:
		whole++
	}
	return whole
}

// Worth returns what the points are worth, rounded down to the fen.
func (p Programme) Worth(points int64) money.Fen {
	if points <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(points), uint64(p.ValueFen))
	if hi >= uint64(p.ValuePoints) {
		return money.Fen(MaxPoints)
	}
	q, _ := bits.Div64(hi, lo, uint64(p.ValuePoints))
	return money.Fen(q)
}

// ActiveAt returns when points earned at the instant can be spent.
func (p Programme) ActiveAt(earned time.Time) time.Time {
	return earned.Add(time.Duration(p.PendingDays) * 24 * time.Hour)
}

// ExpiresAt returns when points that become active at the instant run out; ok is false when they never do.
func (p Programme) ExpiresAt(active time.Time) (at time.Time, ok bool) {
	d := clock.DayOf(active)
	midnight := func(y int, m time.Month, day int) time.Time {
		return time.Date(y, m, day, 0, 0, 0, 0, clock.Shanghai).UTC()
	}
	switch p.Validity {
	case ValidityDays:
		return midnight(d.Year, d.Month, d.Day+p.ValidityN+1), true
	case ValidityMonths:
		month := d.Month + time.Month(p.ValidityN)
		last := time.Date(d.Year, month+1, 0, 0, 0, 0, 0, clock.Shanghai).Day()
		return midnight(d.Year, month, min(d.Day, last)+1), true
	case ValidityYearEnd:
		return midnight(d.Year+p.ValidityN+1, time.January, 1), true
	case ValidityNever:
		return time.Time{}, false
	default:
		panic(fmt.Sprintf("points: unknown validity %q", p.Validity))
	}
}

// Book is the programme's book in the ledger.
func Book(programme string) string { return "points." + programme }

// The accounts of a programme's book. Positive into the account: issued is the source and grows negative, debt too.
const (
	accountIssued      = "issued"
	accountOutstanding = "outstanding"
	accountSpent       = "spent"
	accountExpired     = "expired"
	accountDebt        = "debt"
)
