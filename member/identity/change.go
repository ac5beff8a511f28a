package identity

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// change is one set of changes to the graph on its way into the database: new births, new and revoked evidence. apply
// locks the raw components that it concerns, decides who is one person now, and writes what became different.
type change struct {
	cause, actor, reason string
	mode                 member.Mode
	at                   time.Time
	fresh                map[member.Birth]freshBirth
	touched              map[member.Birth]bool // births that exist
	added                map[edgeKey]*Edge
	revoked              map[int64]bool
	released             member.Birth   // taken out of quarantine
	deferred             []member.Birth // the caller refreshes the members of these itself
	rebuildAll           bool           // partition everything concerned, for its rejections
	probing              bool           // the planner was told to probe indexes, and is to be told that it need not any more

	denied  map[member.Birth]bool      // births of the locked components with a denial
	births  map[member.Birth]*birthRow // all of the locked components, and the fresh ones, as they are after apply
	members map[member.Birth][]member.Birth
	left    []member.ID // roots that the caller must refresh
	result  []Rejection
}

type freshBirth struct {
	Node
	at time.Time
}

type edgeKey struct {
	a, b         member.Birth
	kind, source string
}

func newChange(cause, actor string) *change {
	return &change{cause: cause, actor: actor, mode: member.ModeLive, fresh: map[member.Birth]freshBirth{},
		touched: map[member.Birth]bool{}, added: map[edgeKey]*Edge{}, revoked: map[int64]bool{}}
}

func (c *change) create(n Node, at time.Time) {
	if f, ok := c.fresh[n.Birth]; !ok || at.Before(f.at) {
		c.fresh[n.Birth] = freshBirth{n, at}
	}
}

func (c *change) touch(b member.Birth) { c.touched[b] = true }

// add notes evidence; several observations of one pair, kind and source count together.
func (c *change) add(x, y member.Birth, kind, source string, trust int, at time.Time) {
	k := edgeKey{min(x, y), max(x, y), kind, source}
	c.merge(k, Edge{A: k.a, B: k.b, Kind: kind, Source: source, Trust: trust, First: at, Last: at, N: 1})
}

func (c *change) merge(k edgeKey, e Edge) {
	old := c.added[k]
	if old == nil {
		c.added[k] = &e
		return
	}
	*old = combine(*old, e)
}

// combine is what the upsert of evidence does, for edges not yet written.
func combine(x, y Edge) Edge {
	if y.First.Before(x.First) {
		x.First = y.First
	}
	if y.Last.After(x.Last) {
		x.Last = y.Last
	}
	x.Trust = min(x.Trust, y.Trust)
	x.N += y.N
	return x
}

func (c *change) clusterOf(b member.Birth) cluster.Cluster {
	root := c.births[b].root
	return cluster.Cluster{Root: member.ID(root), Births: c.members[root]}
}

// apply is steps 2 to 5 of the protocol in the package documentation.
func (s *Service) apply(ctx context.Context, tx pgx.Tx, c *change) error {
	for b := range c.fresh {
		delete(c.touched, b)
	}
	if err := s.lockComponents(ctx, tx, c); err != nil {
		return err
	}
	if c.probing {
		for b := range c.touched {
			// Erased between the look-up and the lock: look again, and find the suppression.
			if r := c.births[b]; r != nil && r.erased {
				return pg.ErrRetry
			}
		}
	}
	before := make(map[member.Birth]birthRow, len(c.births))
	for b, r := range c.births {
		before[b] = *r
	}
	if r := c.births[c.released]; r != nil {
		r.Quarantined, r.Released = false, true
	}
	for b, f := range c.fresh {
		c.births[b] = &birthRow{Node: f.Node, root: b, raw: b}
	}
	if err := s.decide(ctx, tx, c); err != nil {
		return err
	}
	return s.write(ctx, tx, c, before)
}

// maxLockAttempts bounds the local retries of rank 2. Between attempts nothing is held but identifiers, so some
// transaction always gets on; after that the whole transaction starts again.
const maxLockAttempts = 20

// lockComponents locks the raw components of all touched births and loads them. If a birth moved to another component
// while its lock was waited for, the locks are dropped and taken again: a further component is never locked while others
// are held.
func (s *Service) lockComponents(ctx context.Context, tx pgx.Tx, c *change) error {
	c.births = map[member.Birth]*birthRow{}
	if len(c.touched) == 0 {
		return nil
	}
	touched := slices.Sorted(maps.Keys(c.touched))
	args := pg.Args{"births": ints(touched)}
	for attempt := range maxLockAttempts {
		var b pgx.Batch
		if attempt > 0 {
			b.Queue(`ROLLBACK TO SAVEPOINT identity_rank_2`)
		} else {
			b.Queue(`SAVEPOINT identity_rank_2`)
		}
		locked := make(map[member.Birth]bool, len(touched))
		b.Queue(lockComponentsSQL, args).Query(func(r pgx.Rows) error {
			var root member.Birth
			_, err := pgx.ForEachRow(r, []any{&root}, func() error { locked[root] = true; return nil })
			return err
		})
		var rows []birthRow
		b.Queue(loadComponentsSQL, args).Query(func(r pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(r, scanBirth)
			return err
		})
		c.denied = map[member.Birth]bool{}
		b.Queue(loadDenialsSQL, args).Query(func(r pgx.Rows) error {
			var x, y member.Birth
			_, err := pgx.ForEachRow(r, []any{&x, &y}, func() error {
				c.denied[x], c.denied[y] = true, true
				return nil
			})
			return err
		})
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("lock components: %w", err)
		}
		if slices.ContainsFunc(rows, func(r birthRow) bool { return !locked[r.raw] }) {
			continue
		}
		c.births = make(map[member.Birth]*birthRow, len(rows)+len(c.fresh))
		for i := range rows {
			c.births[rows[i].Birth] = &rows[i]
		}
		for _, b := range touched {
			if c.births[b] == nil {
				return fmt.Errorf("birth %d is in no component: %w", b, pg.ErrRetry)
			}
		}
		return nil
	}
	return fmt.Errorf("components keep moving: %w", pg.ErrRetry)
}

// decide computes root and raw root of all births from the old components and the change. Components where everything
// fits are joined without reading their evidence; the others are partitioned from all of it.
func (s *Service) decide(ctx context.Context, tx pgx.Tx, c *change) error {
	all := slices.Sorted(maps.Keys(c.births))
	index := make(map[member.Birth]int, len(all))
	for i, b := range all {
		index[b] = i
	}
	parent := make([]int, len(all))
	for i := range parent {
		parent[i] = i
	}
	for _, b := range all {
		union(parent, index[b], index[c.births[b].raw])
	}
	for k, e := range c.added {
		if e.Kind != KindDeny && !c.births[k.a].Quarantined && !c.births[k.b].Quarantined {
			union(parent, index[k.a], index[k.b])
		}
	}
	parts := map[int][]member.Birth{}
	for i, b := range all {
		r := find(parent, i)
		parts[r] = append(parts[r], b)
	}
	// What must be partitioned from its evidence: all that an operator touches, and what is not simple.
	complex := map[int]bool{}
	if c.rebuildAll {
		for r := range parts {
			complex[r] = true
		}
	}
	links := map[int][]edgeKey{}
	for k, e := range c.added {
		if e.Kind != KindDeny {
			r := find(parent, index[k.a])
			links[r] = append(links[r], k)
		}
	}
	var rebuild []member.Birth
	for r, births := range parts {
		if complex[r] || !c.simple(births, links[r]) {
			rebuild = append(rebuild, births...)
			continue
		}
		for _, b := range births {
			c.births[b].root, c.births[b].raw = births[0], births[0]
		}
	}
	if len(rebuild) > 0 {
		if err := s.rebuild(ctx, tx, c, rebuild); err != nil {
			return err
		}
	}
	c.members = make(map[member.Birth][]member.Birth, len(parts))
	for _, b := range all {
		c.members[c.births[b].root] = append(c.members[c.births[b].root], b)
	}
	return nil
}

// simple reports whether Partition would certainly follow all evidence within a component, of which links is new: no limit,
// denial or hot identifier can stand in the way, and a device or guest order hangs on the only person there is. It errs on
// the side of no.
func (c *change) simple(births []member.Birth, links []edgeKey) bool {
	if len(births) == 1 {
		return true
	}
	if len(births) > member.MaxCluster {
		return false
	}
	var held [8]limitKey
	slots := held[:0]
	accounts, hanging := 0, 0
	for _, b := range births {
		n := c.births[b]
		ns := byCode[n.NS]
		if n.Quarantined || c.denied[b] {
			return false
		}
		if !ns.bridges() {
			hanging++
		}
		if ns.Class == ClassAccount {
			accounts++
		}
		if ns.Limit > 0 {
			k := limitKey{n.NS, n.Scope}
			if slices.Contains(slots, k) {
				return false
			}
			slots = append(slots, k)
		}
	}
	return accounts <= maxAccountsOfOne && (hanging == 0 || c.onePerson(births, links))
}

// onePerson reports whether all births of people in a component are joined without its devices and guest orders: by being
// one cluster already, in which these join nobody, or by new evidence.
func (c *change) onePerson(births []member.Birth, links []edgeKey) bool {
	parent := make(map[member.Birth]member.Birth, len(births))
	top := func(b member.Birth) member.Birth {
		for parent[b] != b {
			b = parent[b]
		}
		return b
	}
	for _, b := range births {
		if r := c.births[b].root; byCode[c.births[b].NS].bridges() {
			parent[r] = r
		}
	}
	for _, k := range links {
		if byCode[c.births[k.a].NS].bridges() && byCode[c.births[k.b].NS].bridges() {
			parent[top(c.births[k.a].root)] = top(c.births[k.b].root)
		}
	}
	people := 0
	for r, up := range parent {
		if r == up {
			people++
		}
	}
	return people <= 1
}

// rebuild partitions the births from all their evidence.
func (s *Service) rebuild(ctx context.Context, tx pgx.Tx, c *change, births []member.Birth) error {
	edges, err := loadEvidence(ctx, tx, births)
	if err != nil {
		return err
	}
	live := make(map[edgeKey]*Edge, len(edges)+len(c.added))
	for i := range edges {
		e := &edges[i]
		if !c.revoked[e.ID] {
			live[edgeKey{e.A, e.B, e.Kind, e.Source}] = e
		}
	}
	for k, e := range c.added {
		if old := live[k]; old != nil {
			joined := combine(*old, *e)
			live[k] = &joined
		} else {
			live[k] = e
		}
	}
	nodes := make([]Node, len(births))
	for i, b := range births {
		nodes[i] = c.births[b].Node
	}
	flat := make([]Edge, 0, len(live))
	for _, e := range live {
		flat = append(flat, *e)
	}
	p := Partition(nodes, flat)
	c.result = append(c.result, p.Rejected...)
	for _, b := range p.Hot {
		c.births[b].Quarantined = true
	}
	for _, cl := range p.Clusters {
		for _, b := range cl.Births {
			c.births[b].root, c.births[b].raw = member.Birth(cl.Root), p.raw[b]
		}
	}
	return nil
}

// write stores what became different, in one round trip, and announces it.
func (s *Service) write(ctx context.Context, tx pgx.Tx, c *change, before map[member.Birth]birthRow) error {
	var b pgx.Batch
	d := c.compare(before)
	if len(d.moved) > 0 {
		b.Queue(lockBirthsSQL, pg.Args{"births": ints(d.moved)})
	}
	if locks := d.locks(); len(locks) > 0 {
		b.Queue(lockMembersSQL, pg.Args{"ids": ints(locks)})
	}
	c.queueBirths(&b, d, before)
	c.queueEvidence(&b)
	if c.released != 0 {
		b.Queue(releaseBirthSQL, pg.Args{"birth": c.released})
	}
	if len(d.gone) > 0 {
		queueRemove(&b, sorted(d.gone))
	}
	c.queueDerived(&b, d)
	announce := make([]member.Birth, 0, len(d.roots)+len(d.gone))
	for r := range d.roots {
		announce = append(announce, member.Birth(r))
	}
	for r := range d.gone {
		announce = append(announce, member.Birth(r))
	}
	slices.Sort(announce)
	s.log.QueueTouch(&b, announce, activity.KeyIdentity, c.mode, c.at)
	left := make([]member.Birth, len(d.reclustered))
	for i, m := range d.reclustered {
		left[i] = before[m].root
	}
	s.log.QueueMoved(&b, d.reclustered, left)
	if c.probing {
		b.Queue(probeDone)
	}
	if b.Len() > 0 {
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	return nil
}

func (c *change) queueBirths(b *pgx.Batch, d diff, before map[member.Birth]birthRow) {
	fresh, moved, reclustered := d.fresh, d.moved, d.reclustered
	if n := len(fresh); n > 0 {
		roots, raws := make([]int64, n), make([]int64, n)
		ns, scopes := make([]string, n), make([]string, n)
		persons, hot, ties, facts := make([]bool, n), make([]bool, n), make([]int64, n), make([]*time.Time, n)
		for i, birth := range fresh {
			r := c.births[birth]
			roots[i], raws[i], ns[i], scopes[i] = int64(r.root), int64(r.raw), r.NS, r.Scope
			persons[i], hot[i], ties[i] = byCode[r.NS].Person(), r.Quarantined, r.Tie
			if persons[i] {
				at := c.fresh[birth].at
				facts[i] = &at
			}
		}
		b.Queue(insertBirthsSQL, pg.Args{"births": ints(fresh), "roots": roots, "raws": raws, "ns": ns, "scopes": scopes,
			"persons": persons, "hot": hot, "ties": ties, "facts": facts, "now": c.at})
	}
	if n := len(moved); n > 0 {
		roots, raws, hot := make([]int64, n), make([]int64, n), make([]bool, n)
		for i, birth := range moved {
			r := c.births[birth]
			roots[i], raws[i], hot[i] = int64(r.root), int64(r.raw), r.Quarantined
		}
		b.Queue(moveBirthsSQL, pg.Args{"births": ints(moved), "roots": roots, "raws": raws, "hot": hot})
	}
	if n := len(reclustered); n > 0 {
		olds, news := make([]int64, n), make([]int64, n)
		for i, birth := range reclustered {
			olds[i], news[i] = int64(before[birth].root), int64(c.births[birth].root)
		}
		b.Queue(insertHistorySQL, pg.Args{"births": ints(reclustered), "olds": olds, "news": news, "now": c.at,
			"cause": c.cause, "actor": c.actor})
	}
}

func (c *change) queueEvidence(b *pgx.Batch) {
	if len(c.revoked) > 0 {
		b.Queue(revokeEvidenceSQL, pg.Args{"ids": slices.Sorted(maps.Keys(c.revoked)), "now": c.at, "actor": c.actor, "reason": c.reason})
	}
	n := len(c.added)
	if n == 0 {
		return
	}
	edges := make([]*Edge, 0, n)
	for _, e := range c.added {
		edges = append(edges, e)
	}
	slices.SortFunc(edges, func(x, y *Edge) int {
		return cmp.Or(cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Source, y.Source))
	})
	as, bs, kinds, sources := make([]int64, n), make([]int64, n), make([]string, n), make([]string, n)
	trusts, ns, firsts, lasts := make([]int32, n), make([]int32, n), make([]time.Time, n), make([]time.Time, n)
	for i, e := range edges {
		as[i], bs[i], kinds[i], sources[i] = int64(e.A), int64(e.B), e.Kind, e.Source
		trusts[i], ns[i], firsts[i], lasts[i] = int32(e.Trust), int32(e.N), e.First, e.Last
	}
	b.Queue(upsertEvidenceSQL, pg.Args{"as": as, "bs": bs, "kinds": kinds, "sources": sources, "trusts": trusts,
		"firsts": firsts, "lasts": lasts, "ns": ns, "reason": c.reason})
}
