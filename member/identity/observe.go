package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Observation says that identifiers were seen together. Keys[0] is the primary: facts of the observation hang on its
// birth, and it is what the other keys are evidence with. Unusable keys are left out.
type Observation struct {
	Keys   []Key
	Kind   string // one of the Kind constants; "" is KindTrack
	Source string
	At     time.Time
	// EventKey makes a replay count once; the same key with other identifiers is a new observation. "" takes At.
	EventKey string
	// Trust overrides the kind's default when positive.
	Trust int
	// Mode of the feed rows; "" is live.
	Mode member.Mode
}

// Resolved is who an observation was of.
type Resolved struct {
	Birth   member.Birth // of the first usable key
	Root    member.ID
	Births  []member.Birth // the whole cluster, ascending
	Created bool           // Birth is new
	// Keys are the births of the observation's keys, 0 where a key was unusable; New says which were created now.
	Keys []member.Birth
	New  []bool
	// Err is ErrNoKey or ErrErased, with the other fields empty; the rest of the batch is not affected.
	Err error
}

// observed is an observation on its way through Observe.
type observed struct {
	ids    []identifier // parallel to Keys; ns "" where unusable
	births []member.Birth
	found  []known // parallel to births
	isNew  []bool
	first  int // the primary among the keys
	kind   string
	trust  int
	hash   [32]byte
	replay bool
	err    error
}

// Observe records observations and returns who they were of, in the same order. It is safe under any concurrency: see
// the package documentation for the locks. Call it before member-scoped locks in the same transaction, and once per
// transaction; batches of 50 to 1,000 are best.
func (s *Service) Observe(ctx context.Context, tx pgx.Tx, obs []Observation) ([]Resolved, error) {
	out, _, err := s.observe(ctx, tx, obs, nil)
	return out, err
}

// ObserveDeferred is Observe for a caller that goes on to write profiles under the births of some observations (deferred is
// parallel to obs) in the same transaction and then calls Refresh with at least the returned roots: until then the rows of
// those members in member.members and member.reach are incomplete.
func (s *Service) ObserveDeferred(ctx context.Context, tx pgx.Tx, obs []Observation, deferred []bool) ([]Resolved, []member.ID, error) {
	return s.observe(ctx, tx, obs, deferred)
}

func (s *Service) observe(ctx context.Context, tx pgx.Tx, obs []Observation, deferred []bool) ([]Resolved, []member.ID, error) {
	if len(obs) == 0 {
		return nil, nil, nil
	}
	work, err := s.identify(ctx, tx, obs)
	if err != nil {
		return nil, nil, err
	}
	c := newChange("observed", "")
	c.probing = true
	for i, w := range work {
		if w.err != nil {
			continue
		}
		if deferred != nil && deferred[i] {
			c.deferred = append(c.deferred, w.births[w.first])
		}
		for k, b := range w.births {
			if b == 0 {
				continue
			}
			if w.isNew[k] {
				c.create(Node{Birth: b, NS: w.ids[k].ns, Scope: w.ids[k].scope, Tie: w.ids[k].tie(w.found[k].epoch)}, obs[i].At)
			} else {
				c.touch(b)
			}
			if p := w.births[w.first]; k != w.first && p != b && !w.replay {
				c.add(p, b, w.kind, obs[i].Source, w.trust, obs[i].At)
			}
		}
	}
	c.mode = cmp.Or(obs[0].Mode, member.ModeLive)
	c.at = s.clock.Now()
	if err := s.apply(ctx, tx, c); err != nil {
		return nil, nil, err
	}
	out := make([]Resolved, len(obs))
	for i, w := range work {
		if w.err != nil {
			out[i] = Resolved{Err: w.err}
			continue
		}
		b := w.births[w.first]
		cl := c.clusterOf(b)
		out[i] = Resolved{Birth: b, Root: cl.Root, Births: cl.Births, Created: w.isNew[w.first], Keys: w.births, New: w.isNew}
	}
	return out, c.left, nil
}

// span is from the first to the last observation of an identifier in a batch.
type span struct{ first, last time.Time }

func (s span) with(at time.Time) span {
	if s.first.IsZero() || at.Before(s.first) {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
	return s
}

// identify finds or creates the births of all keys, and marks replays.
func (s *Service) identify(ctx context.Context, tx pgx.Tx, obs []Observation) ([]observed, error) {
	work := make([]observed, len(obs))
	wanted := map[identifier]span{}
	hashes := map[[32]byte]time.Time{}
	epochs := false
	for i, o := range obs {
		w := &work[i]
		w.kind = cmp.Or(o.Kind, KindTrack)
		w.trust = trustOf(w.kind)
		if o.Trust > 0 {
			w.trust = o.Trust
		}
		w.first = -1
		w.ids = make([]identifier, len(o.Keys))
		w.births = make([]member.Birth, len(o.Keys))
		w.found = make([]known, len(o.Keys))
		w.isNew = make([]bool, len(o.Keys))
		usable := 0
		for k, key := range o.Keys {
			n, err := key.Normalise()
			if err != nil {
				continue
			}
			usable++
			id := hash(s.ring, n)
			w.ids[k] = id
			wanted[id] = wanted[id].with(o.At)
			epochs = epochs || id.ns == NSPhone && (w.kind == KindOTP || w.kind == KindReissued)
		}
		if usable == 0 {
			w.err = ErrNoKey
			continue
		}
		if usable > 1 || w.kind == KindReissued {
			w.hash = eventHash(o, w.ids)
			hashes[w.hash] = o.At
		}
	}
	fresh, have, err := s.lookUp(ctx, tx, hashes, wanted)
	if err != nil {
		return nil, err
	}
	seen := map[[32]byte]bool{}
	for i := range work {
		h := work[i].hash
		work[i].replay = h != [32]byte{} && (!fresh[h] || seen[h])
		seen[h] = true
	}
	if epochs {
		if err := s.openEpochs(ctx, tx, obs, work, have); err != nil {
			return nil, err
		}
	}
	if err := s.createMissing(ctx, tx, wanted, have); err != nil {
		return nil, err
	}
	for i := range work {
		w := &work[i]
		for k, id := range w.ids {
			if id.ns == "" || w.err != nil {
				continue
			}
			e, ok := epochAt(have[id], obs[i].At)
			if !ok {
				continue // erased since
			}
			w.births[k], w.found[k] = e.birth, e
			w.isNew[k] = e.fresh
			if w.first < 0 {
				w.first = k
			}
		}
		if w.first < 0 && w.err == nil {
			w.err = ErrErased
		}
	}
	return work, nil
}

// lookUp records the observations' hashes and finds the identifiers that exist, in one round trip. Hashes go first and in
// order, so that a concurrent replay of the same batch waits here and then knows that it is one.
func (s *Service) lookUp(ctx context.Context, tx pgx.Tx, hashes map[[32]byte]time.Time, wanted map[identifier]span) (map[[32]byte]bool, map[identifier][]known, error) {
	var b pgx.Batch
	b.Queue(probeOnly)
	hs, ats := make([][]byte, 0, len(hashes)), make([]time.Time, 0, len(hashes))
	for h, at := range hashes {
		hs, ats = append(hs, h[:]), append(ats, at)
	}
	fresh := make(map[[32]byte]bool, len(hashes))
	if len(hs) > 0 {
		b.Queue(insertEventsSQL, pg.Args{"hashes": hs, "ats": ats}).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var h []byte
				if err := rows.Scan(&h); err != nil {
					return err
				}
				fresh[[32]byte(h)] = true
			}
			return rows.Err()
		})
	}
	ids := make([]identifier, 0, len(wanted))
	for id := range wanted {
		ids = append(ids, id)
	}
	have := make(map[identifier][]known, len(ids))
	b.Queue(findIdentifiersSQL, identifierArgs(ids)).Query(func(rows pgx.Rows) error {
		_, err := collectIdentifiers(rows, have, false)
		return err
	})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, nil, fmt.Errorf("look up identifiers: %w", err)
	}
	return fresh, have, nil
}

// createMissing inserts the identifiers that do not exist and adds them to have.
func (s *Service) createMissing(ctx context.Context, tx pgx.Tx, wanted map[identifier]span, have map[identifier][]known) error {
	var missing []opening
	for id, seen := range wanted {
		if len(have[id]) == 0 {
			missing = append(missing, opening{id, 0, seen.first, seen.last})
		}
	}
	if len(missing) == 0 {
		return nil
	}
	inserted, err := insertIdentifiers(ctx, tx, missing)
	if err != nil {
		return err
	}
	var lost []identifier
	for _, m := range missing {
		if ks := inserted[m.identifier]; len(ks) > 0 {
			have[m.identifier] = ks
		} else {
			lost = append(lost, m.identifier)
		}
	}
	if len(lost) > 0 { // another transaction was first, or they are suppressed
		others, err := findIdentifiers(ctx, tx, lost)
		if err != nil {
			return err
		}
		for id, ks := range others {
			have[id] = ks
		}
	}
	return nil
}

// epochAt returns the epoch of an identifier that was current at an instant: the last one opened by then. The first epoch
// reaches back to the beginning, unless it was erased, which leaves only later ones.
func epochAt(ks []known, at time.Time) (known, bool) {
	for i := len(ks) - 1; i >= 0; i-- {
		if ks[i].epoch == 0 || !ks[i].firstSeen.After(at) {
			return ks[i], true
		}
	}
	return known{}, false
}

func eventHash(o Observation, ids []identifier) [32]byte {
	h := sha256.New()
	key := o.EventKey
	if key == "" {
		key = o.At.UTC().Format(time.RFC3339Nano)
	}
	for _, part := range []string{o.Source, cmp.Or(o.Kind, KindTrack), key} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	sorted := make([]string, 0, len(ids))
	for _, id := range ids {
		if id.ns != "" {
			sorted = append(sorted, id.ns+"\x00"+id.scope+"\x00"+string(id.vh[:]))
		}
	}
	if len(sorted) > 1 {
		slices.Sort(sorted[1:]) // the primary keeps its place
	}
	h.Write([]byte(strings.Join(sorted, "\x01")))
	return [32]byte(h.Sum(nil))
}

const phoneAccountsSQL = `
SELECT p.birth, a.scope, a.ns, a.birth
FROM unnest(@phones::bigint[]) AS p (birth)
JOIN member.births pb ON pb.birth = p.birth
JOIN LATERAL (
    SELECT r.birth, r.ns, r.scope
    FROM member.births r
    WHERE r.birth = pb.raw_root
    UNION ALL
    SELECT r.birth, r.ns, r.scope
    FROM member.births r
    WHERE r.raw_root = pb.raw_root AND r.raw_root <> r.birth
) a ON a.ns = ANY(@accounts)
WHERE EXISTS (
    SELECT FROM member.evidence e
    WHERE e.a_birth = LEAST(p.birth, a.birth) AND e.b_birth = GREATEST(p.birth, a.birth)
      AND e.kind = 'otp' AND e.revoked_at IS NULL)`

// openEpochs gives re-issued phone numbers a new epoch: on an explicit signal, or when the number answers a one-time code
// for an account of a system in which another account had proved the same number before.
func (s *Service) openEpochs(ctx context.Context, tx pgx.Tx, obs []Observation, work []observed, have map[identifier][]known) error {
	var phones []member.Birth
	for i, w := range work {
		for _, id := range w.ids {
			if e, ok := epochAt(have[id], obs[i].At); ok && id.ns == NSPhone && w.kind == KindOTP && !w.replay {
				phones = append(phones, e.birth)
			}
		}
	}
	type slot struct {
		phone     member.Birth
		ns, scope string
	}
	proved := map[slot][]member.Birth{}
	if len(phones) > 0 {
		rows, err := tx.Query(ctx, phoneAccountsSQL, pg.Args{"phones": ints(phones), "accounts": accountNamespaces()})
		if err != nil {
			return fmt.Errorf("accounts of phones: %w", err)
		}
		var sl slot
		var account member.Birth
		if _, err := pgx.ForEachRow(rows, []any{&sl.phone, &sl.scope, &sl.ns, &account}, func() error {
			proved[sl] = append(proved[sl], account)
			return nil
		}); err != nil {
			return fmt.Errorf("accounts of phones: %w", err)
		}
	}
	open := map[identifier]opening{}
	for i, w := range work {
		if w.replay || w.err != nil || w.kind != KindOTP && w.kind != KindReissued {
			continue
		}
		for _, id := range w.ids {
			current, ok := epochAt(have[id], obs[i].At)
			if id.ns != NSPhone || !ok || !obs[i].At.After(current.firstSeen) {
				continue
			}
			again := w.kind == KindReissued
			for _, acc := range w.ids {
				if acc.ns == "" || byCode[acc.ns].Class != ClassAccount {
					continue
				}
				others := proved[slot{current.birth, acc.ns, acc.scope}]
				self, exists := epochAt(have[acc], obs[i].At)
				if len(others) > 0 && !(exists && slices.Contains(others, self.birth)) {
					again = true
				}
			}
			if o, dup := open[id]; again && (!dup || obs[i].At.Before(o.at)) {
				open[id] = opening{id, have[id][len(have[id])-1].epoch + 1, obs[i].At, obs[i].At}
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	list := make([]opening, 0, len(open))
	for _, o := range open {
		list = append(list, o)
	}
	inserted, err := insertIdentifiers(ctx, tx, list)
	if err != nil {
		return err
	}
	for id := range open {
		if len(inserted[id]) == 0 {
			return fmt.Errorf("another transaction opened the same epoch: %w", pg.ErrRetry)
		}
		have[id] = append(have[id], inserted[id][0])
	}
	return nil
}

func accountNamespaces() []string {
	var out []string
	for _, n := range namespaces {
		if n.Class == ClassAccount {
			out = append(out, n.Code)
		}
	}
	return out
}
