package journeys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// What journeys needs from the rest of the house. cmd wires the real ones; all of them work inside the caller's
// transaction and are idempotent by key.

// Rules is the segment language. Rules are passed as their JSON, which is what versions store.
type Rules interface {
	// Check returns a fault whose fields name what is wrong with the rule.
	Check(rule json.RawMessage) error
	// Evaluate says which of the members match at the instant; members that do not match may be absent.
	Evaluate(ctx context.Context, db pg.DB, rule json.RawMessage, at time.Time, ids []member.ID) (map[member.ID]bool, error)
	// Members returns everyone who matches at the instant.
	Members(ctx context.Context, db pg.DB, rule json.RawMessage, at time.Time) ([]member.ID, error)
}

// People says which births are one person now.
type People interface {
	// Roots returns the root of each birth.
	Roots(ctx context.Context, db pg.DB, births []member.Birth) (map[member.Birth]member.ID, error)
	// Births returns all births of each root.
	Births(ctx context.Context, db pg.DB, roots []member.ID) (map[member.ID][]member.Birth, error)
}

// RefKind is a kind of thing that a journey names.
type RefKind string

// The kinds of references.
const (
	RefTemplate  RefKind = "template"
	RefCoupon    RefKind = "coupon"
	RefProgramme RefKind = "programme"
	RefSegment   RefKind = "segment"
)

// Ref names a thing; Path is where the journey names it.
type Ref struct {
	Kind    RefKind
	Channel string
	Account string
	Code    string
	Path    string
}

// Catalogue knows what exists.
type Catalogue interface {
	// Missing returns those of the references that do not exist or are archived.
	Missing(ctx context.Context, db pg.DB, refs []Ref) ([]Ref, error)
}

// Origin is the place in a journey that caused an effect.
type Origin struct {
	Journey string // code
	Version int
	Node    string
	Run     id.UUID
	Birth   member.Birth
	// At is when the run reached the node.
	At time.Time
}

// Message is one message to plan.
type Message struct {
	Origin
	SendKey    id.UUID
	Channel    string
	Account    string
	Template   string
	Vars       map[string]any
	Lane       Lane
	Caps       string
	QuietHours *QuietHours
}

// Messenger plans messages; a message whose SendKey is planned already is left alone.
type Messenger interface {
	Plan(ctx context.Context, tx pgx.Tx, messages []Message) error
}

// CouponGrant is one coupon to grant.
type CouponGrant struct {
	Origin
	Key      id.UUID
	Template string
}

// GrantResult says whether a coupon was granted and, if not, why (limit reached, template closed).
type GrantResult struct {
	Granted bool
	Reason  string
}

// Coupons grants coupons; results are in the order of the grants.
type Coupons interface {
	Grant(ctx context.Context, tx pgx.Tx, grants []CouponGrant) ([]GrantResult, error)
}

// PointsGrant is points to grant.
type PointsGrant struct {
	Origin
	Key       id.UUID
	Programme string
	Points    int64
	Reason    string
}

// Points grants points.
type Points interface {
	Grant(ctx context.Context, tx pgx.Tx, grants []PointsGrant) error
}

// ProfileChange adds or removes one tag, or sets one attribute.
type ProfileChange struct {
	Origin
	AddTag    string
	RemoveTag string
	Attribute string
	Value     json.RawMessage
}

// Profiles changes members' profiles, in the order given.
type Profiles interface {
	Apply(ctx context.Context, tx pgx.Tx, changes []ProfileChange) error
}

// Task is something for an associate to do.
type Task struct {
	Origin
	Key   id.UUID
	Kind  string
	Title string
	Body  string
	DueAt time.Time
}

// Tasks hands tasks to associates.
type Tasks interface {
	Assign(ctx context.Context, tx pgx.Tx, tasks []Task) error
}

// Webhook is a call to another system.
type Webhook struct {
	Origin
	Key     id.UUID
	URL     string
	Payload map[string]any
}

// Webhooks queues calls.
type Webhooks interface {
	Queue(ctx context.Context, tx pgx.Tx, calls []Webhook) error
}

// Outside is everything effects go to.
type Outside struct {
	Messenger Messenger
	Coupons   Coupons
	Points    Points
	Profiles  Profiles
	Tasks     Tasks
	Webhooks  Webhooks
}
