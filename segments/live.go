package segments

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Consumer is the name under which segments follow the feed.
const Consumer = "segments"

// rfmDelay is how long segments with an RFM leaf may lag behind orders: each order moves everybody's quintile, so they are
// refreshed as a whole, and not for every order.
const rfmDelay = time.Minute

// refreshShare bounds what those refreshes cost where a brand is large: a segment that takes three seconds to build is
// refreshed once in a minute and a half at most.
const refreshShare = 30

// ruleIndex finds the rules that a fact concerns.
type ruleIndex struct {
	revision int64
	segments map[id.UUID]Segment
	refs     map[string]Rule      // all rules by code
	terms    map[id.UUID]Terms    // with those of referenced segments
	byEvent  map[string][]id.UUID // activity key → segments
}

func newIndex(revision int64, live []Segment) *ruleIndex {
	ix := &ruleIndex{revision: revision, segments: map[id.UUID]Segment{}, refs: map[string]Rule{}, terms: map[id.UUID]Terms{}, byEvent: map[string][]id.UUID{}}
	for _, s := range live {
		ix.segments[s.ID], ix.refs[s.Code] = s, s.Rule
	}
	for _, s := range live {
		terms := s.Rule.terms
		for done := map[string]bool{}; ; {
			next := slices.IndexFunc(terms.Segments, func(c string) bool { return !done[c] })
			if next < 0 {
				break
			}
			code := terms.Segments[next]
			done[code] = true
			terms = terms.with(ix.refs[code].terms)
		}
		ix.terms[s.ID] = terms
		for _, k := range terms.Events {
			ix.byEvent[k] = append(ix.byEvent[k], s.ID)
		}
	}
	return ix
}

// current returns the index of the present revision, which stays the present one until tx ends.
func (s *Service) current(ctx context.Context, tx pgx.Tx) (*ruleIndex, error) {
	revision, err := s.store.revision(ctx, tx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil || s.index.revision != revision {
		live, err := s.store.live(ctx, tx)
		if err != nil {
			return nil, err
		}
		s.index = newIndex(revision, live)
	}
	return s.index, nil
}

// work is what must be evaluated: segment → member → mode of what caused it.
type work map[id.UUID]map[member.ID]member.Mode

func (w work) add(segment id.UUID, who member.ID, mode member.Mode) {
	if w[segment] == nil {
		w[segment] = map[member.ID]member.Mode{}
	}
	if w[segment][who] != member.ModeLive {
		w[segment][who] = mode
	}
}

// Follow keeps membership current with the feed until ctx ends.
func (s *Service) Follow(ctx context.Context) error { return s.feed.Follow(ctx, Consumer, s.Handle) }

// CatchUp handles all of the feed there is, for tests, the demo and the simulator, where no loop runs.
func (s *Service) CatchUp(ctx context.Context) (int, error) {
	return s.feed.Drain(ctx, Consumer, s.Handle)
}

// Handle evaluates, for the members of a batch of the feed, the rules that the batch concerns, and writes and announces
// what changed, in tx. A member is evaluated once per rule, however many rows there are.
//
// Locks: catalog FOR SHARE, then the segments concerned in id order, then what activity.Append takes. Whoever evaluates
// holds the segment's lock before it looks at the facts, so the later of two always sees all that the earlier saw.
func (s *Service) Handle(ctx context.Context, tx pgx.Tx, batch []activity.Row) error {
	ix, err := s.current(ctx, tx)
	if err != nil || len(ix.segments) == 0 {
		return err
	}
	fresh, err := s.beginners(ctx, tx, batch)
	if err != nil {
		return err
	}
	todo := work{}
	var regrouped []int64
	for _, row := range batch {
		if row.Key == activity.KeyIdentity {
			regrouped = append(regrouped, int64(row.Root))
		}
		if row.Key == activity.KeyIdentity || row.Key == activity.KeyProfile || fresh[row.Root] {
			for segment := range ix.segments {
				todo.add(segment, row.Root, row.Mode)
			}
			continue
		}
		for _, segment := range ix.byEvent[row.Key] {
			todo.add(segment, row.Root, row.Mode)
		}
	}
	r := round{index: ix, todo: todo, regrouped: regrouped, now: s.clock.Now(), lag: rfmDelay}
	if err := s.evaluate(ctx, tx, r); err != nil {
		return fmt.Errorf("segments of a feed batch: %w", err)
	}
	return nil
}

// firstFactsSQL finds members whose first fact is in this batch: with it they may have come to exist, so that every rule
// may turn for them.
const firstFactsSQL = `
SELECT m.id
FROM member.members m
JOIN unnest(@roots::bigint[], @ats::timestamptz[]) AS f (root, at) ON f.root = m.id
WHERE m.first_fact_at >= f.at`

// beginners finds the members of a batch whose first fact it may hold; facts withdrawn since have moved it too.
func (s *Service) beginners(ctx context.Context, tx pgx.Tx, batch []activity.Row) (map[member.ID]bool, error) {
	first := map[member.ID]time.Time{}
	for _, row := range batch {
		if at, ok := first[row.Root]; !ok || row.OccurredAt.Before(at) {
			first[row.Root] = row.OccurredAt
		}
	}
	roots, ats := make([]int64, 0, len(first)), make([]time.Time, 0, len(first))
	for root, at := range first {
		roots, ats = append(roots, int64(root)), append(ats, at)
	}
	rows, err := tx.Query(ctx, firstFactsSQL, pg.Args{"roots": roots, "ats": ats})
	if err != nil {
		return nil, fmt.Errorf("find new members: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
	if err != nil {
		return nil, fmt.Errorf("find new members: %w", err)
	}
	out := make(map[member.ID]bool, len(ids))
	for _, who := range ids {
		out[who] = true
	}
	return out, nil
}

// inheritSQL moves the membership of births that were roots to the roots they belong to now: the person stays where they were.
const inheritSQL = `
WITH swallowed AS MATERIALIZED (
    SELECT birth, root
    FROM member.births
    WHERE root = ANY(@roots) AND birth <> root
), gone AS (
    DELETE FROM segments.members m
    USING swallowed v
    WHERE m.root = v.birth
    RETURNING m.segment_id, v.root AS root, m.entered_at
), wheel AS (
    DELETE FROM segments.expiries e
    USING swallowed v
    WHERE e.root = v.birth
), kept AS (
    INSERT INTO segments.members AS m (segment_id, root, entered_at)
    SELECT segment_id, root, min(entered_at)
    FROM gone
    GROUP BY segment_id, root
    ON CONFLICT (segment_id, root) DO UPDATE
    SET entered_at = least(m.entered_at, excluded.entered_at)
    RETURNING segment_id, (xmax = 0) AS moved
)
SELECT g.segment_id, count(*) - (SELECT count(*) FROM kept k WHERE k.segment_id = g.segment_id AND k.moved)
FROM gone g
GROUP BY g.segment_id`

const unscheduleSQL = `
DELETE FROM segments.expiries
WHERE segment_id = @segment AND root = ANY(@members)`

// round is one set of evaluations at one instant.
type round struct {
	index     *ruleIndex
	todo      work
	regrouped []int64 // roots of clusters that may have swallowed other roots
	now       time.Time
	lag       time.Duration // how long a refresh of whole segments may wait
}

// evaluate locks the segments, moves what merged roots leave behind, settles each segment for its members and announces
// who entered and left. Segments that are being built are left to the build, which will see the same facts.
func (s *Service) evaluate(ctx context.Context, tx pgx.Tx, r round) error {
	ids := slices.SortedFunc(maps.Keys(r.todo), func(a, b id.UUID) int { return slices.Compare(a[:], b[:]) })
	if len(ids) == 0 {
		return nil
	}
	locked, err := s.store.lock(ctx, tx, ids)
	if err != nil {
		return err
	}
	deltas := map[id.UUID]int64{}
	if len(r.regrouped) > 0 {
		if err := s.inherit(ctx, tx, r.regrouped, deltas); err != nil {
			return err
		}
	}
	var stale []id.UUID
	var batch pgx.Batch
	var said []activity.Activity
	for _, seg := range locked {
		if seg.Status != StatusActive {
			continue
		}
		causes := r.todo[seg.ID]
		members := slices.Sorted(maps.Keys(causes))
		if r.index.terms[seg.ID].RFM {
			stale = append(stale, seg.ID)
			batch.Queue(unscheduleSQL, pg.Args{"segment": seg.ID, "members": members})
			continue
		}
		text, args := settle(seg.ID, seg.Rule, r.now, members, r.index.refs).query()
		batch.Queue(text, args).Query(func(rows pgx.Rows) error {
			return s.collect(rows, seg, func(who member.ID, entered bool) {
				deltas[seg.ID] += sign(entered)
				said = append(said, announce(seg.Code, who, entered, causes[who], r.now))
			})
		})
		text, args = schedule(seg.ID, seg.Rule, r.now, members, r.index.refs).query()
		batch.Queue(text, args)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("settle segments: %w", err)
	}
	if len(stale) > 0 {
		if err := s.store.hasten(ctx, tx, stale, r.now, r.lag); err != nil {
			return err
		}
	}
	return s.conclude(ctx, tx, deltas, said)
}

func (s *Service) inherit(ctx context.Context, tx pgx.Tx, roots []int64, deltas map[id.UUID]int64) error {
	rows, err := tx.Query(ctx, inheritSQL, pg.Args{"roots": roots})
	if err != nil {
		return fmt.Errorf("move membership of merged members: %w", err)
	}
	var segment id.UUID
	var fewer int64
	_, err = pgx.ForEachRow(rows, []any{&segment, &fewer}, func() error {
		deltas[segment] -= fewer
		return nil
	})
	if err != nil {
		return fmt.Errorf("move membership of merged members: %w", err)
	}
	return nil
}

func (s *Service) collect(rows pgx.Rows, seg Segment, fn func(who member.ID, entered bool)) error {
	var who member.ID
	var entered bool
	_, err := pgx.ForEachRow(rows, []any{&who, &entered}, func() error {
		fn(who, entered)
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle segment %s: %w", seg.Code, err)
	}
	return nil
}

func sign(entered bool) int64 {
	if entered {
		return 1
	}
	return -1
}

// announce makes the activity of a change of membership. It is written in the transaction of the change, so it cannot
// happen twice, and its key need only be unique.
func announce(code string, who member.ID, entered bool, mode member.Mode, now time.Time) activity.Activity {
	key := activity.KeySegmentLeft
	if entered {
		key = activity.KeySegmentEntered
	}
	return activity.Activity{
		Birth: member.Birth(who), Key: key, OccurredAt: now, Mode: mode, Source: "segments",
		DedupeKey: id.New().String(), Props: map[string]any{"segment": code},
	}
}

// conclude writes sizes and announcements.
func (s *Service) conclude(ctx context.Context, tx pgx.Tx, deltas map[id.UUID]int64, said []activity.Activity) error {
	var ids []id.UUID
	var changes []int64
	for segment, d := range deltas {
		if d != 0 {
			ids, changes = append(ids, segment), append(changes, d)
		}
	}
	if len(ids) > 0 {
		if err := exec(ctx, tx, resizeSQL, pg.Args{"ids": ids, "deltas": changes}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(said, func(a, b activity.Activity) int { return cmp.Compare(a.Birth, b.Birth) })
	for chunk := range slices.Chunk(said, 5000) {
		if _, err := s.feed.Append(ctx, tx, chunk); err != nil {
			return fmt.Errorf("announce membership: %w", err)
		}
	}
	return nil
}
