// Package loops runs the long-lived parts of a process: each loop is a Run(ctx) error that belongs to a role. A loop that
// fails, ends early or panics is started again after a pause that grows while it keeps failing; it never takes the
// process or its neighbours down. When ctx ends, all loops are asked to stop and waited for.
package loops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Loop is one long-lived part. Run works until ctx ends and then returns nil or ctx's error.
type Loop struct {
	Role string // "" runs in every process
	Name string
	Run  func(ctx context.Context) error
}

// State is how a loop fares.
type State struct {
	Role     string `json:"role,omitempty"`
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Restarts int    `json:"restarts"`
	Error    string `json:"-"` // why it ended last; for logs, it may hold what must not be shown
}

// Group runs loops.
type Group struct {
	log    *slog.Logger
	loops  []Loop
	mu     sync.Mutex
	states []State
}

const (
	firstPause = 200 * time.Millisecond
	maxPause   = 30 * time.Second
	// settled is how long a loop must have run for its next failure to count as a first one.
	settled = time.Minute
)

// New returns a group of the loops that the roles run.
func New(log *slog.Logger, all []Loop, roles []string) *Group {
	g := &Group{log: log}
	has := map[string]bool{"": true}
	for _, r := range roles {
		has[r] = true
	}
	for _, l := range all {
		if has[l.Role] {
			g.loops = append(g.loops, l)
			g.states = append(g.states, State{Role: l.Role, Name: l.Name})
		}
	}
	return g
}

// States returns how each loop fares, in the order they were given.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]State(nil), g.states...)
}

// Run runs every loop until ctx ends, and returns when all have returned.
func (g *Group) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range g.loops {
		wg.Go(func() { g.keep(ctx, i) })
	}
	wg.Wait()
}

func (g *Group) keep(ctx context.Context, i int) {
	l, pause := g.loops[i], firstPause
	for {
		began := time.Now()
		g.note(i, func(s *State) { s.Running = true })
		err := run(ctx, l)
		g.note(i, func(s *State) { s.Running = false })
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				g.log.WarnContext(ctx, "loop ended with an error while stopping", "loop", l.Name, "error", err)
			}
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		g.note(i, func(s *State) { s.Restarts, s.Error = s.Restarts+1, err.Error() })
		g.log.ErrorContext(ctx, "loop failed; starting it again", "loop", l.Name, "role", l.Role, "pause", pause, "error", err)
		// Half of the pause is random, so that processes that failed together do not return together.
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(pause*2, maxPause)
	}
}

func (g *Group) note(i int, change func(*State)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.states[i])
}

func run(ctx context.Context, l Loop) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.Run(ctx)
}
