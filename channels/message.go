package channels

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

// Lane ranks messages: transaction before service before marketing.
type Lane = templates.Lane

// The lanes.
const (
	LaneTransaction = templates.LaneTransaction
	LaneService     = templates.LaneService
	LaneMarketing   = templates.LaneMarketing
)

// State is where a message is on its way.
type State string

// The states of a message.
const (
	StatePlanned    State = "planned"     // waits for its time, a retry or a deferral
	StateHandedOver State = "handed_over" // on its way to the provider; no answer yet
	StateAccepted   State = "accepted"    // the provider has it
	StateDelivered  State = "delivered"   // it reached the device or mailbox
	StateRead       State = "read"
	StateClicked    State = "clicked"
	StateFailed     State = "failed"     // it certainly did not arrive
	StateSuppressed State = "suppressed" // we decided not to send it; Reason says why
	StateUnknown    State = "unknown"    // it may have left; nobody knows
)

// rank orders the states that receipts move through.
func (s State) rank() int {
	switch s {
	case StateHandedOver, StateUnknown:
		return 1
	case StateAccepted:
		return 2
	case StateDelivered:
		return 3
	case StateRead:
		return 4
	case StateClicked:
		return 5
	default:
		return 0
	}
}

// May reports whether a message may go from one state to another. Everything that writes a state obeys it; resending a
// failed message and settling an unknown one are an operator's explicit acts.
func May(from, to State) bool {
	switch from {
	case StatePlanned:
		return to == StateHandedOver || to == StateSuppressed || to == StateFailed || to == StatePlanned
	case StateHandedOver:
		return to == StatePlanned || to == StateFailed || to == StateUnknown || to.rank() > from.rank()
	case StateUnknown:
		return to == StateFailed || to == StatePlanned || to.rank() > from.rank()
	case StateAccepted:
		return to == StateFailed || to.rank() > from.rank()
	case StateDelivered, StateRead:
		return to.rank() > from.rank()
	case StateFailed:
		return to == StatePlanned
	default:
		return false
	}
}

// The reasons we give ourselves, beside those of providers.
const (
	ReasonNoIdentity   Reason = "no_identity"   // the member has no address on this channel
	ReasonNoConsent    Reason = "no_consent"    // absence is refusal
	ReasonQuietHours   Reason = "quiet_hours"   // deferred
	ReasonCap          Reason = "cap"           // frequency cap
	ReasonPaused       Reason = "paused"        // all sending or this account is paused
	ReasonExpired      Reason = "expired"       // its time has passed
	ReasonDuplicate    Reason = "duplicate"     // the same person got the same message under another birth
	ReasonBlocked      Reason = "blocked"       // the address is known to be dead or blocked
	ReasonNoGrant      Reason = "no_grant"      // no one-time subscription left
	ReasonAttempts     Reason = "attempts"      // tried as often as allowed
	ReasonCrash        Reason = "crash"         // the process died between handover and result
	ReasonNoTemplate   Reason = "no_template"   // no published template
	ReasonNoAccount    Reason = "no_account"    // no such account
	ReasonRenderFailed Reason = "render_failed" // the template could not take this data
	ReasonCanceledBy   Reason = "withdrawn"     // withdrawn by whoever planned it
)

// ours reports that a message failed for a reason of our own, before any provider was asked. That is no activity of the
// member, just as a suppressed message is none.
func (r Reason) ours() bool {
	switch r {
	case ReasonNoIdentity, ReasonNoTemplate, ReasonNoAccount, ReasonRenderFailed, ReasonCanceledBy:
		return true
	default:
		return false
	}
}

// Intent is a message somebody wants sent. SendKey names it for ever: the same key is planned once. Vars are the
// template's variables and carry no personal data.
type Intent struct {
	SendKey   id.UUID
	Birth     member.Birth
	Channel   Channel
	Account   string // empty: the channel's first active account
	Template  string
	Vars      map[string]any
	Lane      Lane   // empty: the template's lane; a marketing template is never raised above it
	Locale    string // empty: zh
	Campaign  string // class for caps, such as a campaign's code
	Quiet     Window // hours of the day in which this message waits, beside the account's; zero: none
	Journey   string
	Version   int
	Node      string
	Run       string
	At        time.Time // not before; zero: now
	ExpiresAt time.Time // not after; zero: by lane
}

// lifetime is how long a message of a lane is worth sending.
func lifetime(l Lane) time.Duration {
	switch l {
	case LaneTransaction:
		return 24 * time.Hour
	case LaneService:
		return 72 * time.Hour
	default:
		return 48 * time.Hour
	}
}

// Ref names a message: its birth and its id, which is the second half of the send key.
type Ref struct {
	Birth member.Birth
	ID    int64
}

// RefOf returns the reference of the message with this send key.
func RefOf(birth member.Birth, key id.UUID) Ref {
	return Ref{birth, int64(binary.BigEndian.Uint64(key[8:]) & (1<<62 - 1))}
}

// String is what providers echo: at most 27 characters, letters, digits and a dash.
func (r Ref) String() string {
	return strconv.FormatInt(int64(r.Birth), 36) + "-" + strconv.FormatInt(r.ID, 36)
}

// ParseRef reads what String wrote.
func ParseRef(s string) (Ref, bool) {
	a, b, ok := strings.Cut(s, "-")
	birth, err1 := strconv.ParseInt(a, 36, 64)
	rid, err2 := strconv.ParseInt(b, 36, 64)
	if !ok || err1 != nil || err2 != nil || birth <= 0 || rid < 0 {
		return Ref{}, false
	}
	return Ref{member.Birth(birth), rid}, true
}

// Message is a ledger row.
type Message struct {
	Birth           member.Birth
	ID              int64
	SendKey         id.UUID
	Account         string
	Channel         Channel
	Template        string
	TemplateVersion int
	Locale          string
	Lane            Lane
	Campaign        string
	Quiet           Window
	Vars            map[string]any
	Journey         string
	JourneyVersion  int
	Node            string
	Run             string
	PlannedAt       time.Time
	DueAt           *time.Time
	ExpiresAt       time.Time
	State           State
	StateAt         time.Time
	Reason          Reason
	Code            string
	Attempts        int
	HandedAt        *time.Time
	Address         member.Birth // whose channel identity was used
	ProviderID      string
}

// Ref returns the message's reference.
func (m Message) Ref() Ref { return Ref{m.Birth, m.ID} }
