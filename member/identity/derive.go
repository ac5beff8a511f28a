package identity

import (
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// diff is what a change made different, and how the rows of the members concerned follow from it.
type diff struct {
	fresh, moved, reclustered []member.Birth // new; with a changed row; of these, in another cluster

	roots   map[member.ID]derivation // clusters that are new or different
	gone    map[member.ID]bool       // roots of no cluster any more
	former  map[member.ID]bool       // roots that births left
	seen    []member.ID              // clusters that are the same, but may now use another of their phones
	existed map[member.ID]bool       // of roots: had a row in member.members
}

// derivation says how the rows of a cluster in member.members and member.reach come about.
type derivation int

const (
	derivedBorn  derivation = iota // all its births are new: the rows are known
	derivedGrown                   // new births joined it: its row takes them in
	derivedAgain                   // births moved: from all of its births, as Refresh does
)

// compare finds what became different.
func (c *change) compare(before map[member.Birth]birthRow) diff {
	d := diff{roots: map[member.ID]derivation{}, gone: map[member.ID]bool{}, former: map[member.ID]bool{}, existed: map[member.ID]bool{}}
	for birth, r := range c.births {
		old, existed := before[birth]
		root := member.ID(r.root)
		if !existed {
			d.fresh = append(d.fresh, birth)
			d.roots[root] = max(d.roots[root], derivedBorn)
			continue
		}
		if old.root != r.root || old.Quarantined != r.Quarantined {
			d.roots[root] = derivedAgain
		}
		if old.root != r.root {
			d.reclustered = append(d.reclustered, birth)
			d.former[member.ID(old.root)] = true
			if o, ok := c.births[old.root]; ok && o.root != old.root {
				d.gone[member.ID(old.root)] = true
			} else {
				d.roots[member.ID(old.root)] = derivedAgain
			}
		}
		if old.root != r.root || old.raw != r.raw || old.Quarantined != r.Quarantined {
			d.moved = append(d.moved, birth)
		}
	}
	slices.Sort(d.fresh)
	slices.Sort(d.moved)
	slices.Sort(d.reclustered)
	for root := range d.roots {
		if old, ok := before[member.Birth(root)]; ok {
			d.roots[root] = max(d.roots[root], derivedGrown)
			d.existed[root] = old.root == member.Birth(root)
		}
	}
	seen := map[member.ID]bool{}
	for k := range c.added {
		r := member.ID(c.births[k.a].root)
		// As member.seen_at counts: whatever the primary key of an observation was seen with.
		if _, changed := d.roots[r]; !changed && !seen[r] && len(c.reachable(r, true)) > 0 {
			seen[r] = true
		}
	}
	d.seen = sorted(seen)
	return d
}

// locks are the members whose rows change after another lock of this kind was taken or that lose births: all of them in
// one order. Where clusters only grow there are none; their rows are written in order.
func (d diff) locks() []member.ID {
	if len(d.reclustered) == 0 && len(d.seen) == 0 && !slices.Contains(slices.Collect(maps.Values(d.roots)), derivedAgain) {
		return nil
	}
	all := maps.Clone(d.former)
	for _, r := range d.seen {
		all[r] = true
	}
	for r := range d.roots {
		if d.existed[r] {
			all[r] = true
		}
	}
	return sorted(all)
}

func sorted[V any](m map[member.ID]V) []member.ID { return slices.Sorted(maps.Keys(m)) }

// reachable returns the births of a cluster that channels deliver to; with several, only if two are of one namespace.
func (c *change) reachable(root member.ID, several bool) []member.Birth {
	var out []member.Birth
	spaces := map[string]int{}
	most := 0
	for _, b := range c.members[member.Birth(root)] {
		n := c.births[b]
		if len(byCode[n.NS].Channels) == 0 || n.Quarantined || n.erased {
			continue
		}
		out = append(out, b)
		spaces[n.NS]++
		most = max(most, spaces[n.NS])
	}
	if several && most < 2 {
		return nil
	}
	return out
}

// Rows of clusters all of whose births are new: nobody has said anything about them yet.
const bornMembersSQL = `
INSERT INTO member.members (id, is_member, first_fact_at, updated_at)
SELECT id, person, fact, @now
FROM unnest(@ids::bigint[], @persons::bool[], @facts::timestamptz[]) AS v (id, person, fact)`

const bornReachSQL = `
INSERT INTO member.reach (id, channel, birth, granted)
SELECT id, channel, birth, false
FROM unnest(@ids::bigint[], @channels::text[], @births::bigint[]) AS v (id, channel, birth)`

// What new births add to the row of a cluster; attributes, tags and registration are never theirs yet.
const grownMembersSQL = `
UPDATE member.members m
SET is_member = m.is_member OR v.person, first_fact_at = LEAST(m.first_fact_at, v.fact), version = m.version + 1, updated_at = @now
FROM unnest(@ids::bigint[], @persons::bool[], @facts::timestamptz[]) AS v (id, person, fact)
WHERE m.id = v.id`

// queueDerived brings the rows derived from the clusters up to date. Those of members that the caller refreshes itself are
// only opened, so that they can be locked.
func (c *change) queueDerived(b *pgx.Batch, d diff) {
	left := map[member.ID]bool{}
	for _, birth := range c.deferred {
		left[member.ID(c.births[birth].root)] = true
	}
	ids := map[derivation][]member.ID{}
	var open, again, had, reach []member.ID
	for _, root := range sorted(d.roots) {
		how := d.roots[root]
		switch {
		case left[root]:
			c.left = append(c.left, root)
			if !d.existed[root] {
				open = append(open, root)
			}
		case how == derivedAgain:
			again = append(again, root)
			if d.existed[root] {
				had = append(had, root)
			}
		default:
			ids[how] = append(ids[how], root)
		}
	}
	if len(open) > 0 {
		b.Queue(openMembersSQL, pg.Args{"roots": ints(open), "now": c.at})
	}
	var born []member.ID
	for _, root := range ids[derivedBorn] {
		if c.reachable(root, true) != nil {
			reach = append(reach, root)
		} else {
			born = append(born, root)
		}
	}
	if len(ids[derivedBorn]) > 0 {
		b.Queue(bornMembersSQL, c.freshFacts(ids[derivedBorn]))
		c.queueBornReach(b, born)
	}
	if len(ids[derivedGrown]) > 0 {
		b.Queue(grownMembersSQL, c.freshFacts(ids[derivedGrown]))
		for _, root := range ids[derivedGrown] {
			if len(c.reachable(root, true)) > 0 || slices.ContainsFunc(c.reachable(root, false), c.isFresh) {
				reach = append(reach, root)
			}
		}
	}
	if len(again) > 0 {
		queueRefresh(b, again, had, c.at)
	}
	if reach = append(reach, d.seen...); len(reach) > 0 {
		queueReach(b, reach)
	}
}

func (c *change) isFresh(b member.Birth) bool { _, ok := c.fresh[b]; return ok }

// freshFacts are, per cluster, whether its new births make a member and the earliest time they were seen.
func (c *change) freshFacts(roots []member.ID) pg.Args {
	persons, facts := make([]bool, len(roots)), make([]*time.Time, len(roots))
	for i, root := range roots {
		for _, b := range c.members[member.Birth(root)] {
			f, ok := c.fresh[b]
			if !ok || !byCode[f.NS].Person() {
				continue
			}
			persons[i] = true
			if facts[i] == nil || f.at.Before(*facts[i]) {
				facts[i] = &f.at
			}
		}
	}
	return pg.Args{"ids": ints(roots), "persons": persons, "facts": facts, "now": c.at}
}

func (c *change) queueBornReach(b *pgx.Batch, roots []member.ID) {
	var ids, births []int64
	var channels []string
	for _, root := range roots {
		for _, birth := range c.reachable(root, false) {
			for _, ch := range byCode[c.births[birth].NS].Channels {
				ids, births, channels = append(ids, int64(root)), append(births, int64(birth)), append(channels, ch)
			}
		}
	}
	if len(ids) > 0 {
		b.Queue(bornReachSQL, pg.Args{"ids": ids, "births": births, "channels": channels})
	}
}
