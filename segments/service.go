package segments

import (
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
)

// Service keeps segments.
type Service struct {
	db    pg.DB
	clock clock.Clock
}

// New returns the service.
func New(db pg.DB, clk clock.Clock) *Service {
	return &Service{db: db, clock: clk}
}
