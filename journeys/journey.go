package journeys

import (
	"time"

	"github.com/lianke/lianke/internal/id"
)

// JourneyStatus is where a journey stands in its life.
type JourneyStatus string

// The life of a journey: a draft is published (live), paused and resumed, and archived for good.
const (
	JourneyDraft    JourneyStatus = "draft"
	JourneyLive     JourneyStatus = "live"
	JourneyPaused   JourneyStatus = "paused"
	JourneyArchived JourneyStatus = "archived"
)

// Info is a journey as lists and editors see it.
type Info struct {
	ID          id.UUID       `json:"id"`
	Code        string        `json:"code"`
	Name        string        `json:"name"`
	Status      JourneyStatus `json:"status"`
	Revision    int           `json:"revision"`
	LiveVersion *int          `json:"live_version,omitempty"`
	NextAt      *time.Time    `json:"next_at,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	UpdatedAt   time.Time     `json:"updated_at"`
	No          int           `json:"-"`
}

// PlanMode says what becomes of runs of earlier versions when a new one is published.
type PlanMode string

// The plans.
const (
	PlanKeep PlanMode = "keep" // they finish in the version they began with
	PlanMove PlanMode = "move" // they go on in the new version
	PlanExit PlanMode = "exit" // they end, with reason "migrated"
)

// Plan is what becomes of runs in flight. Nodes maps old node ids to new ones; a node that is not named keeps its id.
type Plan struct {
	Mode  PlanMode          `json:"mode"`
	Nodes map[string]string `json:"nodes,omitempty"`
}
