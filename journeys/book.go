package journeys

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// book is everything published, compiled: what the engine needs to know about journeys. It is immutable; a new generation
// is a new book.
type book struct {
	generation int64
	pausedAll  bool
	entries    map[int]bookEntry
	versions   map[[2]int]*Version
	triggers   map[string][]*Version // live versions by trigger key
	keys       map[string]bool       // activity keys that anything waits for
}

type bookEntry struct {
	Journey
	status JourneyStatus
	live   int
}

func newBook() *book {
	return &book{entries: map[int]bookEntry{}, versions: map[[2]int]*Version{}, triggers: map[string][]*Version{}, keys: map[string]bool{keyIdentity: true}}
}

func (b *book) add(e bookEntry, v *Version) {
	b.entries[e.No] = e
	b.versions[[2]int{e.No, v.No}] = v
	current := v.No == e.live && (e.status == JourneyLive || e.status == JourneyPaused)
	for _, k := range v.Keys() {
		if current || v.trigger == nil || k != v.trigger.key {
			b.keys[k] = true
		}
	}
	if current && v.trigger != nil {
		b.triggers[v.trigger.key] = append(b.triggers[v.trigger.key], v)
	}
	// A key that is the trigger of an old version may also be awaited in it; Keys lists it once.
	if !current && v.trigger != nil && v.awaits(v.trigger.key) {
		b.keys[v.trigger.key] = true
	}
}

func (v *Version) awaits(key string) bool {
	if v.goal != nil && v.goal.key == key {
		return true
	}
	for _, e := range v.exits {
		if e.key == key {
			return true
		}
	}
	for _, n := range v.nodes {
		if n.event != nil && n.event.key == key {
			return true
		}
	}
	return false
}

func (b *book) version(journey, no int) *Version { return b.versions[[2]int{journey, no}] }
func (b *book) triggered(key string) []*Version  { return b.triggers[key] }

// running reports whether runs of the journey may move.
func (b *book) running(journey int) bool {
	return !b.pausedAll && b.entries[journey].status == JourneyLive
}

// loadControlSQL locks nothing: a publish that commits after it is noticed by the next batch.
const loadControlSQL = `
SELECT generation, paused_all
FROM journeys.control`

const loadBookSQL = `
SELECT j.id, j.no, j.code, j.status, j.live_version, v.version, v.document
FROM journeys.journeys j
JOIN journeys.versions v ON v.journey = j.no
WHERE j.status IN ('live', 'paused')
ORDER BY j.no, v.version`

// loadBook returns the book of the present generation; old is returned when it is still current.
func loadBook(ctx context.Context, db pg.DB, old *book) (*book, error) {
	b := newBook()
	if err := db.QueryRow(ctx, loadControlSQL).Scan(&b.generation, &b.pausedAll); err != nil {
		return nil, fmt.Errorf("read journey control: %w", err)
	}
	if old != nil && old.generation == b.generation {
		return old, nil
	}
	rows, err := db.Query(ctx, loadBookSQL)
	if err != nil {
		return nil, fmt.Errorf("read journeys: %w", err)
	}
	type stored struct {
		ID          id.UUID
		No          int
		Code        string
		Status      JourneyStatus
		LiveVersion int
		Version     int
		Document    json.RawMessage
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[stored])
	if err != nil {
		return nil, fmt.Errorf("read journeys: %w", err)
	}
	for _, s := range list {
		e := bookEntry{Journey{s.ID, s.No, s.Code}, s.Status, s.LiveVersion}
		var v *Version
		if old != nil {
			v = old.version(s.No, s.Version)
		}
		if v == nil {
			var doc Document
			if err := json.Unmarshal(s.Document, &doc); err != nil {
				return nil, fmt.Errorf("read journey %s version %d: %w", s.Code, s.Version, err)
			}
			if v, err = Compile(e.Journey, s.Version, doc); err != nil {
				return nil, fmt.Errorf("journey %s version %d: %w", s.Code, s.Version, err)
			}
		}
		b.add(e, v)
	}
	return b, nil
}
