package identity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Explanation says why two births are one member, or why they are not.
type Explanation struct {
	Same bool
	// Path is the strongest chain of followed evidence from one to the other; empty if they are not one.
	Path []Edge
	// Rejected is evidence around both that was not followed, and why.
	Rejected []Rejection
	// Denied is an operator's word that they are two.
	Denied []Edge
}

// Explain answers "why are these one person?" from the evidence itself: it partitions the component again and walks the
// edges that were followed.
func (s *Service) Explain(ctx context.Context, db pg.DB, a, b member.Birth) (Explanation, error) {
	edges, p, err := s.component(ctx, db, []member.Birth{a, b})
	if err != nil {
		return Explanation{}, err
	}
	for _, want := range []member.Birth{a, b} {
		if _, ok := p.raw[want]; !ok {
			return Explanation{}, cluster.ErrUnknown.With("birth", want)
		}
	}
	return explain(p, edges, a, b), nil
}

// rawNodes returns all births of the raw components around births.
func (s *Service) rawNodes(ctx context.Context, db pg.DB, around []member.Birth) ([]Node, error) {
	rows, err := db.Query(ctx, loadComponentsSQL, pg.Args{"births": ints(around)})
	if err != nil {
		return nil, fmt.Errorf("load component: %w", err)
	}
	births, err := pgx.CollectRows(rows, scanBirth)
	if err != nil {
		return nil, fmt.Errorf("load component: %w", err)
	}
	nodes := make([]Node, len(births))
	for i, r := range births {
		nodes[i] = r.Node
	}
	return nodes, nil
}

func explain(p Partitioned, edges []Edge, a, b member.Birth) Explanation {
	var out Explanation
	of := map[member.Birth]member.ID{}
	for _, c := range p.Clusters {
		for _, x := range c.Births {
			of[x] = c.Root
		}
	}
	out.Same = of[a] == of[b]
	for _, e := range edges {
		if e.Kind == KindDeny && (of[e.A] == of[a] && of[e.B] == of[b] || of[e.A] == of[b] && of[e.B] == of[a]) {
			out.Denied = append(out.Denied, e)
		}
	}
	rejected := map[int64]bool{}
	for _, r := range p.Rejected {
		rejected[r.Edge.ID] = true
		if in := func(x member.Birth) bool { return of[x] == of[a] || of[x] == of[b] }; in(r.Edge.A) || in(r.Edge.B) {
			out.Rejected = append(out.Rejected, r)
		}
	}
	if !out.Same || a == b {
		return out
	}
	// Breadth first over followed evidence, stronger edges first: the shortest chain, and of those the strongest.
	next := map[member.Birth][]Edge{}
	for _, e := range edges {
		if e.Kind != KindDeny && !rejected[e.ID] && of[e.A] == of[e.B] {
			next[e.A] = append(next[e.A], e)
			next[e.B] = append(next[e.B], e)
		}
	}
	came := map[member.Birth]*Edge{a: nil}
	for queue := []member.Birth{a}; len(queue) > 0; queue = queue[1:] {
		x := queue[0]
		if x == b {
			break
		}
		slices.SortStableFunc(next[x], compareStrength)
		for _, e := range next[x] {
			y := e.A + e.B - x
			if _, seen := came[y]; !seen {
				came[y] = &e
				queue = append(queue, y)
			}
		}
	}
	for x := b; x != a; {
		e := came[x]
		if e == nil {
			break
		}
		out.Path = append(out.Path, *e)
		x = e.A + e.B - x
	}
	slices.Reverse(out.Path)
	return out
}

// Move is one change of a birth from one member to another.
type Move struct {
	Birth    member.Birth `db:"birth"`
	At       time.Time    `db:"at"`
	Old      member.ID    `db:"old_root"`
	New      member.ID    `db:"new_root"`
	Cause    string       `db:"cause"`
	Actor    string       `db:"actor"`
	Sequence int64        `db:"id"`
}

const historySQL = `
SELECT id, birth, at, old_root, new_root, cause, actor
FROM member.cluster_history
WHERE birth = ANY(@births)
ORDER BY id DESC
LIMIT 500`

// History returns the moves of the births of a member, newest first.
func (s *Service) History(ctx context.Context, db pg.DB, births []member.Birth) ([]Move, error) {
	rows, err := db.Query(ctx, historySQL, pg.Args{"births": ints(births)})
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Move])
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return out, nil
}

const rootAtSQL = `
SELECT coalesce(
    (SELECT h.old_root FROM member.cluster_history h WHERE h.birth = b.birth AND h.at > @at ORDER BY h.at, h.id LIMIT 1),
    b.root)
FROM member.births b
WHERE b.birth = @birth`

// RootAt returns the member that held a birth at an instant.
func (s *Service) RootAt(ctx context.Context, db pg.DB, birth member.Birth, at time.Time) (member.ID, error) {
	var root member.ID
	err := db.QueryRow(ctx, rootAtSQL, pg.Args{"birth": birth, "at": at}).Scan(&root)
	if pg.NoRows(err) {
		return 0, cluster.ErrUnknown.With("birth", birth)
	}
	if err != nil {
		return 0, fmt.Errorf("root of %s: %w", birth, err)
	}
	return root, nil
}

const lookupSQL = `
SELECT b.birth, b.root, (SELECT array_agg(c.birth ORDER BY c.birth) FROM member.births c WHERE c.root = b.root)
FROM member.identifiers i
JOIN member.births b USING (birth)
WHERE i.ns = @ns AND i.scope = @scope AND i.vh = @vh AND (i.epoch = 0 OR i.first_seen <= @at) AND b.erased_at IS NULL
ORDER BY i.epoch DESC
LIMIT 1`

// Lookup returns the birth and the member of a key at an instant (which epoch), without recording anything. ErrUnknown (cluster)
// if the key was never seen.
func (s *Service) Lookup(ctx context.Context, db pg.DB, k Key, at time.Time) (member.Birth, cluster.Cluster, error) {
	n, err := k.Normalise()
	if err != nil {
		return 0, cluster.Cluster{}, err
	}
	id := hash(s.ring, n)
	var birth member.Birth
	var c cluster.Cluster
	err = db.QueryRow(ctx, lookupSQL, pg.Args{"ns": id.ns, "scope": id.scope, "vh": id.vh[:], "at": at}).Scan(&birth, &c.Root, &c.Births)
	if pg.NoRows(err) {
		return 0, cluster.Cluster{}, cluster.ErrUnknown.With("birth", k.NS)
	}
	if err != nil {
		return 0, cluster.Cluster{}, fmt.Errorf("look up %s: %w", k.NS, err)
	}
	return birth, c, nil
}
