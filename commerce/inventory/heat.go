package inventory

import "time"

// lane is how requests for a SKU are served.
type lane string

// The lanes of a SKU, in the order it passes through them.
const (
	laneNormal      lane = "normal"       // each caller locks the level in its own transaction
	lanePromoting   lane = "promoting"    // buyers have waited for each other: combine them and see whether it helps
	laneHot         lane = "hot"          // batches hold several buyers
	laneCoolingDown lane = "cooling_down" // they did not for a while
)

const (
	heatWindow = time.Second
	heatWaits  = 4                    // long waits in a window that promote
	longWait   = 2 * time.Millisecond // for a lock
)

// heat is what a process knows about the demand for one SKU. It decides how requests are served, never whether: every lane
// gives the same answers.
type heat struct {
	lane    lane
	began   time.Time // of the window
	waits   int
	batches int
	served  int // requests in them
}

// turn closes windows that are over and moves the SKU between lanes.
//
//	normal ──waits──▶ promoting ──combined──▶ hot ◀──combined── cooling down
//	   ▲                  │ not                └────────not──────▶   │ not
//	   └──────────────────┴──────────────────────────────────────────┘
func (h *heat) turn(now time.Time) {
	for i := 0; now.Sub(h.began) >= heatWindow && i < 4; i++ {
		combined := h.served > h.batches
		switch {
		case h.lane == laneNormal:
		case combined:
			h.lane = laneHot
		case h.lane == laneHot:
			h.lane = laneCoolingDown
		default:
			h.lane = laneNormal
		}
		h.began, h.waits, h.batches, h.served = h.began.Add(heatWindow), 0, 0, 0
	}
	if now.Sub(h.began) >= heatWindow || h.lane == laneNormal && h.waits == 0 {
		h.began = now
	}
}

// waited notes that a request of the normal lane waited for a lock.
func (h *heat) waited(now time.Time, long time.Duration) {
	h.turn(now)
	if h.lane != laneNormal || long < longWait {
		return
	}
	if h.waits++; h.waits >= heatWaits {
		*h = heat{lane: lanePromoting, began: now}
	}
}

// combined notes a batch that held so many requests for the SKU.
func (h *heat) combined(now time.Time, requests int) {
	h.turn(now)
	h.batches++
	h.served += requests
}
