package points

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
)

// LotState is where a lot is in its life, as of an instant.
type LotState string

// The states of a lot.
const (
	LotPending LotState = "pending"
	LotActive  LotState = "active"
	LotSpent   LotState = "spent"   // nothing remains; some of it was spent
	LotExpired LotState = "expired" // what was not spent ran out
	LotRevoked LotState = "revoked" // nothing remains; it was taken back
)

// Lot is a parcel of points with an expiry.
type Lot struct {
	Birth     member.Birth `json:"birth,string"`
	Key       id.UUID      `json:"key"` // of the grant
	Programme string       `json:"programme"`
	Points    int64        `json:"points"`
	Remaining int64        `json:"remaining"`
	Spent     int64        `json:"spent"`
	Expired   int64        `json:"expired"`
	Revoked   int64        `json:"revoked"`
	EarnedAt  time.Time    `json:"earned_at"`
	ActiveAt  time.Time    `json:"active_at"`
	ExpiresAt *time.Time   `json:"expires_at,omitempty"`
}

// State returns the lot's state at the instant.
func (l Lot) State(at time.Time) LotState {
	switch {
	case l.Expired > 0, l.Remaining > 0 && l.runOut(at):
		return LotExpired
	case l.Remaining > 0 && at.Before(l.ActiveAt):
		return LotPending
	case l.Remaining > 0:
		return LotActive
	case l.Spent > 0:
		return LotSpent
	default:
		return LotRevoked
	}
}

func (l Lot) runOut(at time.Time) bool { return l.ExpiresAt != nil && !at.Before(*l.ExpiresAt) }

func (l Lot) spendable(at time.Time) bool {
	return l.Remaining > 0 && !at.Before(l.ActiveAt) && !l.runOut(at)
}

// drawOrder is first expiring first; lots that never expire come last. Ties go to the lot earned first, then to the
// smaller key, so that the order is total.
func drawOrder(a, b Lot) int {
	switch {
	case a.ExpiresAt == nil && b.ExpiresAt != nil:
		return 1
	case a.ExpiresAt != nil && b.ExpiresAt == nil:
		return -1
	case a.ExpiresAt != nil:
		if c := a.ExpiresAt.Compare(*b.ExpiresAt); c != 0 {
			return c
		}
	}
	return cmp.Or(a.EarnedAt.Compare(b.EarnedAt), slices.Compare(a.Key[:], b.Key[:]))
}

// Draw is what a spend takes from one lot.
type Draw struct {
	Birth  member.Birth `json:"birth,string"`
	Lot    id.UUID      `json:"lot"`
	Points int64        `json:"points"`
}

// draw takes points from the lots that can be spent at the instant, in drawOrder, and lowers their Remaining. It sorts
// lots. short is what could not be had.
func draw(lots []Lot, points int64, at time.Time) (draws []Draw, short int64) {
	slices.SortFunc(lots, drawOrder)
	for i := range lots {
		if points == 0 {
			break
		}
		l := &lots[i]
		if !l.spendable(at) {
			continue
		}
		take := min(points, l.Remaining)
		l.Remaining -= take
		points -= take
		draws = append(draws, Draw{l.Birth, l.Key, take})
	}
	return draws, points
}

// allocation is a draw as it is stored, with what has become of it since.
type allocation struct {
	Draw
	Spend     id.UUID
	N         int
	Purpose   string
	Programme string
	Spender   member.Birth
	Refunded  int64
	Charged   int64
}

// The purposes of an allocation.
const (
	purposeSpend  = "spend"
	purposeSettle = "settle"
)

// left is what still counts as drawn from the lot by the spender.
func (a allocation) left() int64 { return a.Points - a.Refunded - a.Charged }

// chargeKey names the debt that the allocation becomes when a split gives lot and spender to different members.
func (a allocation) chargeKey() id.UUID {
	return id.Derived("points.charge", a.Spend.String(), a.Birth.String(), a.Lot.String(), strconv.Itoa(a.N))
}

// debt is what a member owes.
type debt struct {
	Birth     member.Birth
	Key       id.UUID
	Programme string
	Points    int64
	Settled   int64
	Cancelled int64
	Payments  int // allocations that paid it so far
	At        time.Time
}

func (d debt) open() int64 { return d.Points - d.Settled - d.Cancelled }
