package identity

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// MergeInput asks to join the members that hold two births.
type MergeInput struct {
	A, B   member.Birth
	Actor  string
	Reason string
}

// SplitInput asks to take births out of their member. They are moved together and must be some but not all of it.
type SplitInput struct {
	Births []member.Birth
	Actor  string
	Reason string
}

// Outcome is what a merge, split or revocation did, or would do.
type Outcome struct {
	Before  []cluster.Cluster
	After   []cluster.Cluster
	Revoked []Edge
	// Rejected is evidence among the births concerned that is not followed afterwards.
	Rejected []Rejection
}

// Merge joins two members on an operator's word. It overrules namespace limits, and lifts earlier denials between the two;
// it never overrules member.MaxCluster.
func (s *Service) Merge(ctx context.Context, tx pgx.Tx, in MergeInput) (Outcome, error) {
	if in.Reason == "" {
		return Outcome{}, ErrReason
	}
	c, err := s.operation(ctx, tx, "merged", in.Actor, in.Reason, in.A, in.B)
	if err != nil {
		return Outcome{}, err
	}
	a, err := cluster.Get(ctx, tx, in.A)
	if err != nil {
		return Outcome{}, err
	}
	b, err := cluster.Get(ctx, tx, in.B)
	if err != nil {
		return Outcome{}, err
	}
	if a.Root == b.Root {
		return Outcome{Before: []cluster.Cluster{a}, After: []cluster.Cluster{a}}, nil
	}
	edges, err := s.between(ctx, tx, a.Births, b.Births)
	if err != nil {
		return Outcome{}, err
	}
	for _, e := range edges {
		if e.Kind == KindDeny {
			c.revoked[e.ID] = true
		}
	}
	endA, err := anchor(ctx, tx, a.Births)
	if err != nil {
		return Outcome{}, err
	}
	endB, err := anchor(ctx, tx, b.Births)
	if err != nil {
		return Outcome{}, err
	}
	c.add(endA, endB, KindOperator, "operator:"+in.Actor, 0, c.at)
	out, err := s.operate(ctx, tx, c, edges)
	if err != nil {
		return Outcome{}, err
	}
	if c.births[endA].root != c.births[endB].root {
		why := Reason("unknown")
		for _, r := range c.result {
			if r.Edge.Kind == KindOperator && r.Edge.A == min(endA, endB) && r.Edge.B == max(endA, endB) {
				why = r.Reason
			}
		}
		return Outcome{}, ErrMerge.With("a", in.A, "b", in.B, "why", why)
	}
	err = s.bus.Publish(ctx, tx, Merged{Root: member.ID(c.births[endA].root), Before: []member.ID{a.Root, b.Root}, Actor: in.Actor})
	return out, err
}

const anchorSQL = `
SELECT birth, root, raw_root, ns, scope, quarantined, released, tie, erased_at IS NOT NULL
FROM member.births
WHERE birth = ANY(@births)
ORDER BY birth`

// anchor returns the birth of a member that stands for it best: an account, else an identifier of its own, else any. An
// operator's word about people must not hang on a phone, which could then leave the account that it was seen with.
func anchor(ctx context.Context, tx pgx.Tx, births []member.Birth) (member.Birth, error) {
	rows, err := tx.Query(ctx, anchorSQL, pg.Args{"births": ints(births)})
	if err != nil {
		return 0, fmt.Errorf("read births: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanBirth)
	if err != nil {
		return 0, fmt.Errorf("read births: %w", err)
	}
	rank := func(b birthRow) int {
		ns := byCode[b.NS]
		switch {
		case b.Quarantined || b.erased:
			return 4
		case ns.Class == ClassAccount:
			return 0
		case ns.Person() && !ns.Shareable:
			return 1
		case ns.Person():
			return 2
		default:
			return 3
		}
	}
	return slices.MinFunc(all, func(x, y birthRow) int { return cmp.Compare(rank(x), rank(y)) }).Birth, nil
}

// Split takes births out of their member: evidence between them and the rest is revoked, and denials keep tomorrow's
// import from joining them again.
func (s *Service) Split(ctx context.Context, tx pgx.Tx, in SplitInput) (Outcome, error) {
	if in.Reason == "" {
		return Outcome{}, ErrReason
	}
	if len(in.Births) == 0 {
		return Outcome{}, ErrSplit
	}
	c, err := s.operation(ctx, tx, "split", in.Actor, in.Reason, in.Births[0])
	if err != nil {
		return Outcome{}, err
	}
	cl, err := cluster.Get(ctx, tx, in.Births[0])
	if err != nil {
		return Outcome{}, err
	}
	out := map[member.Birth]bool{}
	for _, b := range in.Births {
		if !slices.Contains(cl.Births, b) {
			return Outcome{}, ErrSplit
		}
		out[b] = true
	}
	if len(out) == len(cl.Births) {
		return Outcome{}, ErrSplit
	}
	var apart, rest []member.Birth
	for _, b := range cl.Births {
		if out[b] {
			apart = append(apart, b)
		} else {
			rest = append(rest, b)
		}
	}
	edges, err := s.between(ctx, tx, apart, rest)
	if err != nil {
		return Outcome{}, err
	}
	for _, e := range edges {
		if e.Kind != KindDeny {
			c.revoked[e.ID] = true
		}
	}
	kind, err := s.nodes(ctx, tx, cl.Births)
	if err != nil {
		return Outcome{}, err
	}
	for _, a := range anchors(apart, kind) {
		for _, r := range anchors(rest, kind) {
			c.add(a, r, KindDeny, "operator:"+in.Actor, 0, c.at)
		}
	}
	res, err := s.operate(ctx, tx, c, edges)
	if err != nil {
		return Outcome{}, err
	}
	ev := Split{Before: cl.Root, Moved: apart, Actor: in.Actor}
	for _, n := range res.After {
		ev.Roots = append(ev.Roots, n.Root)
	}
	return res, s.bus.Publish(ctx, tx, ev)
}

// maxAnchors bounds the denials of a split to 20 × 20.
const maxAnchors = 20

// anchors are the births that stand for a side of a split: its accounts, else its people's identifiers, else all. A phone
// or device may legitimately move to the other side later, so it is no anchor if there is a better one.
func anchors(births []member.Birth, nodes map[member.Birth]Node) []member.Birth {
	for _, fits := range []func(*Namespace) bool{
		func(n *Namespace) bool { return n.Class == ClassAccount },
		func(n *Namespace) bool { return n.Class == ClassPerson && !n.Shareable },
		func(*Namespace) bool { return true },
	} {
		var out []member.Birth
		for _, b := range births {
			if fits(byCode[nodes[b].NS]) && len(out) < maxAnchors {
				out = append(out, b)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// Revoke withdraws one row of evidence; the cluster becomes what the rest of the evidence says.
func (s *Service) Revoke(ctx context.Context, tx pgx.Tx, evidence int64, actor, reason string) (Outcome, error) {
	if reason == "" {
		return Outcome{}, ErrReason
	}
	rows, err := tx.Query(ctx, evidenceByIDSQL, pg.Args{"id": evidence})
	if err != nil {
		return Outcome{}, fmt.Errorf("find evidence: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanEdge)
	if pg.NoRows(err) {
		return Outcome{}, ErrEvidence.With("id", evidence)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("find evidence: %w", err)
	}
	c, err := s.operation(ctx, tx, "revoked", actor, reason, e.A, e.B)
	if err != nil {
		return Outcome{}, err
	}
	c.revoked[e.ID] = true
	return s.operate(ctx, tx, c, []Edge{e})
}

// Preview runs a merge, split or revocation and takes it back: what it would do.
func (s *Service) Preview(ctx context.Context, db pg.DB, do func(tx pgx.Tx) (Outcome, error)) (Outcome, error) {
	var out Outcome
	err := pg.InTx(ctx, db, func(tx pgx.Tx) (err error) {
		if out, err = do(tx); err != nil {
			return err
		}
		return errPreview
	})
	if err != nil && err != errPreview { //nolint:errorlint // the very value, returned above
		return Outcome{}, err
	}
	return out, nil
}

var errPreview = fmt.Errorf("identity: preview")

// operation begins a change by an operator: it locks the components of the births, so that what is read next stays so.
func (s *Service) operation(ctx context.Context, tx pgx.Tx, cause, actor, reason string, births ...member.Birth) (*change, error) {
	c := newChange(cause, actor)
	c.reason, c.at, c.rebuildAll = reason, s.clock.Now(), true
	known, err := cluster.Roots(ctx, tx, births)
	if err != nil {
		return nil, err
	}
	for _, b := range births {
		if _, ok := known[b]; !ok {
			return nil, cluster.ErrUnknown.With("birth", b)
		}
		c.touch(b)
	}
	return c, s.lockComponents(ctx, tx, c)
}

// operate applies an operator's change and says what became different.
func (s *Service) operate(ctx context.Context, tx pgx.Tx, c *change, edges []Edge) (Outcome, error) {
	before, err := s.clusters(ctx, tx, slices.Sorted(maps.Keys(c.touched)))
	if err != nil {
		return Outcome{}, err
	}
	if err := s.apply(ctx, tx, c); err != nil {
		return Outcome{}, err
	}
	out := Outcome{Before: before}
	concerned := map[member.Birth]bool{}
	roots := map[member.Birth]bool{}
	for _, cl := range before {
		for _, b := range cl.Births {
			concerned[b] = true
			if r, ok := c.births[b]; ok {
				roots[r.root] = true
			}
		}
	}
	for _, r := range slices.Sorted(maps.Keys(roots)) {
		out.After = append(out.After, cluster.Cluster{Root: member.ID(r), Births: c.members[r]})
	}
	for _, e := range edges {
		if c.revoked[e.ID] {
			out.Revoked = append(out.Revoked, e)
		}
	}
	for _, r := range c.result {
		if concerned[r.Edge.A] || concerned[r.Edge.B] {
			out.Rejected = append(out.Rejected, r)
		}
	}
	return out, nil
}

func (s *Service) clusters(ctx context.Context, db pg.DB, births []member.Birth) ([]cluster.Cluster, error) {
	all, err := cluster.Of(ctx, db, births)
	if err != nil {
		return nil, err
	}
	var out []cluster.Cluster
	seen := map[member.ID]bool{}
	for _, b := range births {
		if c := all[b]; !seen[c.Root] {
			seen[c.Root] = true
			out = append(out, c)
		}
	}
	return out, nil
}

// between returns the live evidence, denials included, with one end in each set.
func (s *Service) between(ctx context.Context, db pg.DB, as, bs []member.Birth) ([]Edge, error) {
	edges, err := loadEvidence(ctx, db, append(slices.Clone(as), bs...))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(edges, func(e Edge) bool {
		return !(slices.Contains(as, e.A) && slices.Contains(bs, e.B) || slices.Contains(bs, e.A) && slices.Contains(as, e.B))
	}), nil
}

const nodesSQL = `
SELECT birth, root, raw_root, ns, scope, quarantined, released, tie, erased_at IS NOT NULL
FROM member.births
WHERE birth = ANY(@births)`

func (s *Service) nodes(ctx context.Context, db pg.DB, births []member.Birth) (map[member.Birth]Node, error) {
	rows, err := db.Query(ctx, nodesSQL, pg.Args{"births": ints(births)})
	if err != nil {
		return nil, fmt.Errorf("load births: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanBirth)
	if err != nil {
		return nil, fmt.Errorf("load births: %w", err)
	}
	out := make(map[member.Birth]Node, len(list))
	for _, b := range list {
		out[b.Birth] = b.Node
	}
	return out, nil
}
