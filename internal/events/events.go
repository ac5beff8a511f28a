// Package events carries domain events: facts of low volume that one module tells the others about, named
// <domain>.<aggregate>.<past_tense> (docs/events.md). Publish writes the event and one job per subscriber in the
// publisher's transaction, so an event exists exactly if its fact does. Each subscriber handles it in a transaction of
// its own together with a receipt, so redelivery after a crash changes nothing. Facts of per-member volume do not come
// here: they are activities and travel in the feed (member/activity).
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
)

// Event is a payload struct; the publisher declares it in its events.go. It holds ids and facts, no personal data.
type Event interface {
	EventName() string
}

// Envelope is an event as subscribers receive it.
type Envelope struct {
	ID         id.UUID
	Name       string
	Payload    json.RawMessage
	OccurredAt time.Time
}

// Decode reads the payload of an envelope.
func Decode[T Event](e Envelope) (T, error) {
	var v T
	if err := json.Unmarshal(e.Payload, &v); err != nil {
		return v, fmt.Errorf("decode event %s %s: %w", e.Name, e.ID, err)
	}
	return v, nil
}

// Handler handles one event inside tx; returning an error rolls back and retries with backoff.
type Handler func(ctx context.Context, tx pgx.Tx, e Envelope) error

// Bus publishes and delivers.
type Bus struct {
	db    pg.DB
	clock clock.Clock
	jobs  *jobs.Runner
	subs  map[string]map[string]Handler // event name → subscriber → handler
}

// New returns a bus without subscribers. db is the pool that deliveries run on.
func New(db pg.DB, clk clock.Clock, runner *jobs.Runner) *Bus {
	b := &Bus{db: db, clock: clk, jobs: runner, subs: map[string]map[string]Handler{}}
	jobs.Handle(runner, b.deliver)
	return b
}

// Subscribe registers a subscriber, named for what it does ("search.index_member"). All subscriptions precede the first
// Publish; the name is stable, because receipts and queued jobs refer to it.
func (b *Bus) Subscribe(event, subscriber string, h Handler) {
	if b.subs[event] == nil {
		b.subs[event] = map[string]Handler{}
	}
	if _, dup := b.subs[event][subscriber]; dup {
		panic("events: " + subscriber + " subscribed twice to " + event)
	}
	b.subs[event][subscriber] = h
}

// Subscribers returns the subscriber names per event, sorted, for the generated docs/events.md.
func (b *Bus) Subscribers() map[string][]string {
	out := map[string][]string{}
	for event, subs := range b.subs {
		for s := range subs {
			out[event] = append(out[event], s)
		}
		slices.Sort(out[event])
	}
	return out
}

const insertEventSQL = `
INSERT INTO core.events (id, name, payload, occurred_at)
VALUES (@id, @name, @payload, @at)`

// Publish records the event in tx and schedules its deliveries for after the commit.
func (b *Bus) Publish(ctx context.Context, tx pgx.Tx, e Event) error {
	payload, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.EventName(), err)
	}
	eventID := id.New()
	if _, err := tx.Exec(ctx, insertEventSQL, pg.Args{
		"id": eventID, "name": e.EventName(), "payload": payload, "at": b.clock.Now(),
	}); err != nil {
		return fmt.Errorf("publish %s: %w", e.EventName(), err)
	}
	for subscriber := range b.subs[e.EventName()] {
		if err := b.jobs.Insert(ctx, tx, deliverArgs{Event: eventID, Subscriber: subscriber}, nil); err != nil {
			return fmt.Errorf("publish %s: %w", e.EventName(), err)
		}
	}
	return nil
}

// Queue is Publish as part of a batch that the caller sends in its transaction. The function it returns schedules the
// deliveries and is called in the same transaction after the batch was sent; without subscribers it does nothing.
func (b *Bus) Queue(batch *pgx.Batch, e Event) (func(ctx context.Context, tx pgx.Tx) error, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.EventName(), err)
	}
	eventID := id.New()
	batch.Queue(insertEventSQL, pg.Args{"id": eventID, "name": e.EventName(), "payload": payload, "at": b.clock.Now()})
	return func(ctx context.Context, tx pgx.Tx) error {
		for subscriber := range b.subs[e.EventName()] {
			if err := b.jobs.Insert(ctx, tx, deliverArgs{Event: eventID, Subscriber: subscriber}, nil); err != nil {
				return fmt.Errorf("publish %s: %w", e.EventName(), err)
			}
		}
		return nil
	}, nil
}

type deliverArgs struct {
	Event      id.UUID `json:"event"`
	Subscriber string  `json:"subscriber"`
}

func (deliverArgs) Kind() string { return "event" }

const loadEventSQL = `
SELECT name, payload, occurred_at
FROM core.events
WHERE id = @id`

const insertReceiptSQL = `
INSERT INTO core.event_receipts (event_id, subscriber, handled_at)
VALUES (@event, @subscriber, @now)
ON CONFLICT DO NOTHING`

func (b *Bus) deliver(ctx context.Context, args deliverArgs) error {
	return pg.InTx(ctx, b.db, func(tx pgx.Tx) error {
		e := Envelope{ID: args.Event}
		err := tx.QueryRow(ctx, loadEventSQL, pg.Args{"id": args.Event}).Scan(&e.Name, &e.Payload, &e.OccurredAt)
		if pg.NoRows(err) {
			return nil // past retention
		}
		if err != nil {
			return fmt.Errorf("load event %s: %w", args.Event, err)
		}
		h, ok := b.subs[e.Name][args.Subscriber]
		if !ok {
			return nil // the subscriber left with an earlier version
		}
		tag, err := tx.Exec(ctx, insertReceiptSQL, pg.Args{"event": e.ID, "subscriber": args.Subscriber, "now": b.clock.Now()})
		if err != nil {
			return fmt.Errorf("receipt for %s: %w", e.Name, err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return h(ctx, tx, e)
	})
}
