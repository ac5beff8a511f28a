package tracking

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// How requests are combined.
const (
	commitMessages = 2_000            // a transaction takes no further request beyond this
	commitWriters  = 2                // transactions at a time
	commitTimeout  = 30 * time.Second // of one transaction
	maxWaiting     = 100_000          // messages that may wait
)

// Writer commits messages, many requests in one transaction.
type Writer struct {
	db    *pg.Pool
	clock clock.Clock
	door  *capture.Door
	log   *activity.Log
	known resolutions

	mu      sync.Mutex
	queue   []*request
	waiting int // messages in the queue
	active  int // transactions under way
}

// NewWriter returns a writer.
func NewWriter(db *pg.Pool, clk clock.Clock, door *capture.Door, log *activity.Log) *Writer {
	return &Writer{db: db, clock: clk, door: door, log: log}
}

type request struct {
	messages []message
	done     chan error
}

// write stores the messages and returns after they are committed. The caller that goes away does not undo them.
func (w *Writer) write(ctx context.Context, messages []message) error {
	if len(messages) == 0 {
		return nil
	}
	r := &request{messages, make(chan error, 1)}
	w.mu.Lock()
	if w.waiting > maxWaiting {
		w.mu.Unlock()
		return ErrBusy
	}
	w.queue, w.waiting = append(w.queue, r), w.waiting+len(messages)
	if w.active < commitWriters {
		w.active++
		go w.commit(context.WithoutCancel(ctx))
	}
	w.mu.Unlock()
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit works until the queue is empty.
func (w *Writer) commit(ctx context.Context) {
	for {
		requests := w.take()
		if len(requests) == 0 {
			return
		}
		err := w.store(ctx, requests)
		if err != nil && len(requests) > 1 {
			for _, r := range requests {
				r.done <- w.store(ctx, []*request{r})
			}
			continue
		}
		for _, r := range requests {
			r.done <- err
		}
	}
}

// take returns the requests of the next transaction; none ends the committer.
func (w *Writer) take() []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, count := 0, 0
	for n < len(w.queue) && (n == 0 || count+len(w.queue[n].messages) <= commitMessages) {
		count += len(w.queue[n].messages)
		n++
	}
	if n == 0 {
		w.active--
		return nil
	}
	out := slices.Clone(w.queue[:n])
	w.queue, w.waiting = slices.Delete(w.queue, 0, n), w.waiting-count
	return out
}

func (w *Writer) store(ctx context.Context, requests []*request) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	now := w.clock.Now()
	var messages []message
	for _, r := range requests {
		messages = append(messages, r.messages...)
	}
	var who *people
	err := pg.InTx(ctx, w.db, func(tx pgx.Tx) (err error) {
		if who, err = w.resolve(ctx, tx, messages, now); err != nil {
			return err
		}
		var items []activity.Activity
		for i, m := range messages {
			birth := who.births[i]
			if birth == 0 {
				continue // erased, or a replay that changed nothing
			}
			for _, f := range m.facts {
				items = append(items, activity.Activity{
					Birth: birth, Key: f.Key, OccurredAt: m.at, Touchpoint: m.touch, Mode: member.ModeLive, Source: m.source,
					DedupeKey: m.id + f.Suffix, Props: f.Props, FirstStands: true,
				})
			}
		}
		_, err = w.log.Append(ctx, tx, items)
		return err
	})
	if err != nil {
		return fmt.Errorf("store tracked messages: %w", err)
	}
	for i, keys := range who.fresh {
		w.known.put(keys, who.found[i], now)
	}
	return nil
}

// people are whose facts the messages of a transaction are.
type people struct {
	births []member.Birth // per message; 0 where there is nobody or nothing to do
	fresh  [][]identity.Key
	found  []member.Birth // parallel to fresh
}

const insertMessages = `
INSERT INTO member.tracking_messages (source, message_hash, received_at)
SELECT source, hash, @now
FROM unnest(@sources::text[], @hashes::bytea[]) AS t (source, hash)
ORDER BY source, hash
ON CONFLICT DO NOTHING
RETURNING source, message_hash`

// resolve finds out who the messages are of, in one pass over the capture door, and applies profiles that are new.
func (w *Writer) resolve(ctx context.Context, tx pgx.Tx, messages []message, now time.Time) (*people, error) {
	first, err := w.firstSeen(ctx, tx, messages, now)
	if err != nil {
		return nil, err
	}
	out := &people{births: make([]member.Birth, len(messages))}
	var persons []capture.Person
	at := map[string]int{} // keys → index in persons, for calls that say no more than their keys
	use := make([]int, len(messages))
	for i, m := range messages {
		use[i] = -1
		if m.person != nil {
			if first[i] {
				use[i] = len(persons)
				persons = append(persons, *m.person)
				out.fresh = append(out.fresh, m.keys)
			}
			continue
		}
		name, _, _ := fold(m.keys)
		if n, ok := at[name]; ok {
			use[i] = n
			continue
		}
		if birth, ok := w.known.get(m.keys, now); ok {
			out.births[i] = birth
			continue
		}
		use[i], at[name] = len(persons), len(persons)
		persons = append(persons, capture.Person{
			Keys: m.keys, Kind: identity.KindTrack, Source: m.source, At: m.at, EventKey: m.id, Mode: member.ModeLive,
		})
		out.fresh = append(out.fresh, m.keys)
	}
	if len(persons) == 0 {
		return out, nil
	}
	resolved, err := w.door.Observe(ctx, tx, persons)
	if err != nil {
		return nil, err
	}
	out.found = make([]member.Birth, len(resolved))
	for i, r := range resolved {
		out.found[i] = r.Birth
	}
	for i, n := range use {
		if n >= 0 {
			out.births[i] = resolved[n].Birth
		}
	}
	return out, nil
}

// firstSeen says which of the messages that carry a profile or an identity are seen for the first time.
func (w *Writer) firstSeen(ctx context.Context, tx pgx.Tx, messages []message, now time.Time) ([]bool, error) {
	out := make([]bool, len(messages))
	at := map[string]int{}
	var sources []string
	var hashes [][]byte
	for i, m := range messages {
		if m.person == nil {
			continue
		}
		sum := sha256.Sum256([]byte(m.id))
		hash := sum[:16]
		name := m.source + "\x00" + string(hash)
		if _, twice := at[name]; twice {
			continue
		}
		at[name] = i
		sources, hashes = append(sources, m.source), append(hashes, hash)
	}
	if len(sources) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, insertMessages, pg.Args{"sources": sources, "hashes": hashes, "now": now})
	if err != nil {
		return nil, fmt.Errorf("note messages: %w", err)
	}
	var source string
	var hash []byte
	_, err = pgx.ForEachRow(rows, []any{&source, &hash}, func() error {
		out[at[source+"\x00"+string(hash)]] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note messages: %w", err)
	}
	return out, nil
}

const deleteMessages = `
DELETE FROM member.tracking_messages
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM member.tracking_messages
    WHERE received_at < @before
    LIMIT 10000))`

// messagesKept is how long a message that changed a profile is remembered.
const messagesKept = 30 * 24 * time.Hour

// Forget lets go of messages that nobody will send again; run it daily.
func (w *Writer) Forget(ctx context.Context) error {
	for {
		tag, err := w.db.Exec(ctx, deleteMessages, pg.Args{"before": w.clock.Now().Add(-messagesKept)})
		if err != nil {
			return fmt.Errorf("forget tracked messages: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
	}
}
