package identity

import (
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member/activity"
)

// Service is the identity graph.
type Service struct {
	db    pg.DB
	clock clock.Clock
	ring  *crypt.Ring
	log   *activity.Log
	bus   *events.Bus
}

// New returns the graph on a pool.
func New(db pg.DB, clk clock.Clock, ring *crypt.Ring, log *activity.Log, bus *events.Bus) *Service {
	return &Service{db: db, clock: clk, ring: ring, log: log, bus: bus}
}
