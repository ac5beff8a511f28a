package segments

import (
	"regexp"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/id"
)

// Status is where a segment stands.
type Status string

// The states of a segment.
const (
	StatusBuilding Status = "building" // the membership does not follow the rule yet
	StatusActive   Status = "active"   // the membership is current
	StatusArchived Status = "archived" // kept for the record, without membership
)

// Segment is a named rule whose membership is kept current.
type Segment struct {
	ID        id.UUID    `json:"id"`
	Code      string     `json:"code"`
	Name      string     `json:"name"`
	Rule      Rule       `json:"rule"`
	Version   int64      `json:"version"`
	Status    Status     `json:"status"`
	Size      int64      `json:"size"`
	BuiltAt   *time.Time `json:"built_at"`
	RefreshAt *time.Time `json:"refresh_at"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

var codeForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

func validateCode(code string) error {
	if !codeForm.MatchString(code) {
		return ErrCode.With("code", show(code))
	}
	return nil
}

func validateName(name string) error {
	if n := len([]rune(strings.TrimSpace(name))); n == 0 || n > 200 {
		return ErrName
	}
	return nil
}
