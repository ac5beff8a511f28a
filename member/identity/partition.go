package identity

import (
	"cmp"
	"slices"
	"time"

	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Node is a birth as the partition sees it.
type Node struct {
	Birth       member.Birth
	NS, Scope   string
	Quarantined bool
	Released    bool // an operator said that it is not to be quarantined
	// Tie decides where evidence is otherwise equal. It is a hash of the identifier, because the numbers of births depend
	// on the order in which they were first seen.
	Tie int64
}

// Edge is one row of evidence.
type Edge struct {
	ID          int64
	A, B        member.Birth // A < B
	Kind        string
	Source      string
	Trust       int
	First, Last time.Time
	N           int
	Revoked     bool
}

// Reason says why evidence does not join its ends.
type Reason string

// The reasons.
const (
	ReasonQuarantined Reason = "quarantined" // one end was seen with too many accounts
	ReasonDenied      Reason = "denied"      // an operator said: never
	ReasonLimit       Reason = "limit"       // the member would hold too many values of a namespace
	ReasonFull        Reason = "full"        // the member would have over member.MaxCluster births
	ReasonShared      Reason = "shared"      // people who cannot be one use this phone or address
	ReasonDevice      Reason = "device"      // a device or guest order hangs on somebody else, newer
	ReasonReissued    Reason = "reissued"    // its owner had left the identifier before others took it
)

// Rejection is evidence that was not followed, and why.
type Rejection struct {
	Edge   Edge
	Reason Reason
	// NS is the namespace whose limit stood in the way.
	NS string
}

// Partition is what evidence says.
type Partitioned struct {
	Clusters []cluster.Cluster // by root
	Rejected []Rejection
	Hot      []member.Birth // births to quarantine from now on
	raw      map[member.Birth]member.Birth
}

// Partition says who is one person, from nothing but the births and the evidence: neither the order of its arguments nor
// the numbers of the births matter, but for the smallest birth of a cluster being its root, and revoking evidence undoes
// exactly what it did.
//
// It is Kruskal's algorithm under constraints (limits per namespace, denials, size), strongest and newest evidence first,
// in four passes:
//
//  1. evidence between identifiers that are one person's own, and whatever an operator or a name on a phone says;
//  2. phones and mail addresses: each joins all who use it if they can be one person; otherwise it belongs to its newest
//     user and joins nobody;
//  3. devices and guest orders, which hang on their newest person;
//  4. evidence that its own account has superseded (the account has a newer phone, a newer WeChat): it still holds unless
//     everybody else took the identifier up after the account had left it, in which case it was re-issued.
//
// A birth that more than maxAccountsOfOne accounts were seen with is quarantined, unless it was released: its evidence joins
// nothing.
func Partition(nodes []Node, evidence []Edge) Partitioned {
	p := newPartition(nodes, evidence)
	for _, e := range p.pass[0] {
		p.follow(e)
	}
	p.shared()
	for _, e := range p.pass[2] {
		p.follow(e)
	}
	for _, e := range p.pass[3] {
		if x, ok := p.reissued(e); ok {
			p.reject(e, ReasonReissued, p.nodes[x].NS)
			continue
		}
		p.follow(e)
	}
	return p.result()
}

type limitKey struct{ ns, scope string }

// group is what the partition knows about a cluster while it grows.
type group struct {
	size    int
	persons int
	held    map[limitKey]int
	denied  []denial // denials with one end in the group
}

type denial struct{ mine, other int }

type partition struct {
	nodes    []Node
	index    map[member.Birth]int
	parent   []int
	groups   []*group
	pass     [4][]Edge
	stale    map[pair]time.Time // account–identifier → since when the account has a newer one
	users    map[int][]use      // identifier → accounts that used it
	rejected []Rejection
	hot      []member.Birth
	raw      []int
}

type pair struct{ account, identifier int }

type use struct {
	account     int
	first, last time.Time
}

func newPartition(nodes []Node, evidence []Edge) *partition {
	p := &partition{index: make(map[member.Birth]int, len(nodes)), stale: map[pair]time.Time{}, users: map[int][]use{}}
	p.nodes = slices.Clone(nodes)
	slices.SortFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.Birth, b.Birth) })
	for i, n := range p.nodes {
		p.index[n.Birth] = i
	}
	var live, denials []Edge
	for _, e := range evidence {
		_, a := p.index[e.A]
		_, b := p.index[e.B]
		switch {
		case e.Revoked || !a || !b:
		case e.Kind == KindDeny:
			denials = append(denials, e)
		default:
			live = append(live, e)
		}
	}
	slices.SortFunc(live, p.compareEdges)
	p.observeUse(live)
	hot := p.quarantine()
	p.prepareGroups(denials)
	p.raw = make([]int, len(p.nodes))
	for i := range p.raw {
		p.raw[i] = i
	}
	for _, e := range live {
		a, b := p.index[e.A], p.index[e.B]
		if hot[a] || hot[b] {
			x, other := p.ordered(e)
			if !hot[x] {
				x = other
			}
			p.reject(e, ReasonQuarantined, p.nodes[x].NS)
			continue
		}
		union(p.raw, a, b)
		n := p.passOf(e, a, b)
		p.pass[n] = append(p.pass[n], e)
	}
	return p
}

// compareEdges is the order in which evidence is followed: strongest trust, newest, then by the ties of its ends, kind and
// source. What is still equal then says the same of the same identifiers.
func (p *partition) compareEdges(x, y Edge) int {
	if c := compareStrength(x, y); c != 0 {
		return c
	}
	xa, xb := p.ordered(x)
	ya, yb := p.ordered(y)
	return cmp.Or(
		p.compareNodes(xa, ya), p.compareNodes(xb, yb),
		cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Source, y.Source))
}

// compareStrength puts an operator's word first, then the strongest trust, then the newest.
func compareStrength(x, y Edge) int {
	return cmp.Or(-boolCompare(strong(x), strong(y)), cmp.Compare(x.Trust, y.Trust), y.Last.Compare(x.Last))
}

// ordered returns the ends of an edge, the one with the smaller tie first.
func (p *partition) ordered(e Edge) (int, int) {
	a, b := p.index[e.A], p.index[e.B]
	if p.compareNodes(a, b) > 0 {
		return b, a
	}
	return a, b
}

// compareNodes falls back on births only for identifiers that are noise since their erasure, and one in 2^64 others.
func (p *partition) compareNodes(i, j int) int {
	return cmp.Or(cmp.Compare(p.nodes[i].Tie, p.nodes[j].Tie), cmp.Compare(i, j))
}

func strong(e Edge) bool { return e.Kind == KindOperator }

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// observeUse collects who used which identifier and finds superseded evidence: an account seen with several values of one
// limited namespace and scope keeps the newest.
func (p *partition) observeUse(live []Edge) {
	type slot struct {
		account int
		limitKey
	}
	uses := map[pair]*use{}
	for _, e := range live {
		acc, x := p.index[e.A], p.index[e.B]
		if byCode[p.nodes[acc].NS].Class != ClassAccount {
			acc, x = x, acc
		}
		if byCode[p.nodes[acc].NS].Class != ClassAccount || byCode[p.nodes[x].NS].Class == ClassAccount {
			continue
		}
		u := uses[pair{acc, x}]
		if u == nil {
			u = &use{acc, e.First, e.Last}
			uses[pair{acc, x}] = u
		}
		if e.First.Before(u.first) {
			u.first = e.First
		}
		if e.Last.After(u.last) {
			u.last = e.Last
		}
	}
	slots := map[slot][]int{}
	for k, u := range uses {
		p.users[k.identifier] = append(p.users[k.identifier], *u)
		n := p.nodes[k.identifier]
		if byCode[n.NS].Limit > 0 {
			s := slot{k.account, limitKey{n.NS, n.Scope}}
			slots[s] = append(slots[s], k.identifier)
		}
	}
	for s, xs := range slots {
		for _, x := range xs {
			ux := uses[pair{s.account, x}]
			for _, y := range xs {
				uy := uses[pair{s.account, y}]
				if y == x || !uy.last.After(ux.last) {
					continue
				}
				since := uy.first
				if since.Before(ux.last) {
					since = ux.last
				}
				if old, ok := p.stale[pair{s.account, x}]; !ok || since.Before(old) {
					p.stale[pair{s.account, x}] = since
				}
			}
		}
	}
}

// quarantine returns the births whose evidence joins nothing, and notes those that are new.
func (p *partition) quarantine() []bool {
	hot := make([]bool, len(p.nodes))
	for i, n := range p.nodes {
		hot[i] = n.Quarantined
		if !n.Quarantined && !n.Released && byCode[n.NS].Class != ClassAccount && len(p.users[i]) > maxAccountsOfOne {
			hot[i] = true
			p.hot = append(p.hot, n.Birth)
		}
	}
	return hot
}

func (p *partition) prepareGroups(denials []Edge) {
	p.parent = make([]int, len(p.nodes))
	p.groups = make([]*group, len(p.nodes))
	for i, n := range p.nodes {
		p.parent[i] = i
		g := &group{size: 1}
		ns := byCode[n.NS]
		if ns.Person() {
			g.persons = 1
		}
		if ns.Limit > 0 && !p.superseded(i) {
			g.held = map[limitKey]int{{n.NS, n.Scope}: 1}
		}
		p.groups[i] = g
	}
	for _, d := range denials {
		a, b := p.index[d.A], p.index[d.B]
		p.groups[a].denied = append(p.groups[a].denied, denial{a, b})
		p.groups[b].denied = append(p.groups[b].denied, denial{b, a})
	}
}

// superseded reports whether the identifier has been left: some account has a newer one, and nobody has used it since. It
// then no longer counts against limits: somebody who re-binds WeChat keeps what hung on the old one.
func (p *partition) superseded(i int) bool {
	var left time.Time
	for _, u := range p.users[i] {
		if since, ok := p.stale[pair{u.account, i}]; ok && since.After(left) {
			left = since
		}
	}
	if left.IsZero() {
		return false
	}
	for _, u := range p.users[i] {
		if _, ok := p.stale[pair{u.account, i}]; !ok && u.last.After(left) {
			return false
		}
	}
	return true
}

func (p *partition) passOf(e Edge, a, b int) int {
	na, nb := byCode[p.nodes[a].NS], byCode[p.nodes[b].NS]
	switch {
	case e.Kind == KindOperator:
		return 0
	case p.isStale(a, b):
		return 3
	case !na.bridges() || !nb.bridges():
		return 2
	case na.Shareable || nb.Shareable:
		return 1
	default:
		return 0
	}
}

func (p *partition) isStale(a, b int) bool {
	_, ab := p.stale[pair{a, b}]
	_, ba := p.stale[pair{b, a}]
	return ab || ba
}

// reissued returns the identifier of a superseded edge, and whether everybody else who uses it began after the account had
// left it.
func (p *partition) reissued(e Edge) (int, bool) {
	acc, x := p.index[e.A], p.index[e.B]
	since, ok := p.stale[pair{acc, x}]
	if !ok {
		acc, x = x, acc
		since = p.stale[pair{acc, x}]
	}
	others := 0
	for _, u := range p.users[x] {
		if u.account == acc {
			continue
		}
		if u.first.Before(since) {
			return x, false
		}
		others++
	}
	return x, others > 0
}

// shared is pass 2. An edge between two shareable identifiers belongs to the one with the smaller tie.
func (p *partition) shared() {
	byNode := map[int][]Edge{}
	var order []int
	for _, e := range p.pass[1] {
		x, other := p.ordered(e)
		if !byCode[p.nodes[x].NS].Shareable {
			x = other
		}
		if byNode[x] == nil {
			order = append(order, x) // by best evidence, because the pass is sorted
		}
		byNode[x] = append(byNode[x], e)
	}
	for _, x := range order {
		edges := byNode[x]
		if p.allFit(x, edges) {
			for _, e := range edges {
				p.follow(e)
			}
			continue
		}
		newest := slices.Clone(edges)
		slices.SortStableFunc(newest, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.Trust, b.Trust), b.Last.Compare(a.Last)) })
		settled := false
		for _, e := range newest {
			if p.find(p.index[e.A]) == p.find(p.index[e.B]) {
				settled = true
				continue
			}
			if settled {
				p.reject(e, ReasonShared, p.nodes[x].NS)
				continue
			}
			settled = p.follow(e)
		}
	}
}

// allFit reports whether everybody at the other ends could be one person together.
func (p *partition) allFit(x int, edges []Edge) bool {
	roots := map[int]bool{p.find(x): true}
	for _, e := range edges {
		roots[p.find(p.index[e.A])] = true
		roots[p.find(p.index[e.B])] = true
	}
	size, held, holders := 0, map[limitKey]int{}, map[limitKey]int{}
	for r := range roots {
		g := p.groups[r]
		size += g.size
		for k, n := range g.held {
			held[k] += n
			// One that is over its limit by itself, on an operator's word, stands in nobody's way, as in follow.
			if holders[k]++; holders[k] > 1 && held[k] > byCode[k.ns].Limit {
				return false
			}
		}
		for _, d := range g.denied {
			if o := p.find(d.other); o != r && roots[o] {
				return false
			}
		}
	}
	return size <= member.MaxCluster
}

// follow joins the ends of an edge unless a constraint forbids it.
func (p *partition) follow(e Edge) bool {
	a, b := p.find(p.index[e.A]), p.find(p.index[e.B])
	if a == b {
		return true
	}
	ga, gb := p.groups[a], p.groups[b]
	if ga.size+gb.size > member.MaxCluster {
		p.reject(e, ReasonFull, "")
		return false
	}
	for _, d := range ga.denied {
		if p.find(d.other) == b {
			p.reject(e, ReasonDenied, "")
			return false
		}
	}
	na, nb := byCode[p.nodes[p.index[e.A]].NS], byCode[p.nodes[p.index[e.B]].NS]
	if e.Kind != KindOperator {
		if (!na.bridges() || !nb.bridges()) && ga.persons > 0 && gb.persons > 0 {
			p.reject(e, ReasonDevice, "")
			return false
		}
		named := na.Code == NSPhoneName || nb.Code == NSPhoneName
		over := ""
		for k, n := range gb.held {
			ns := byCode[k.ns]
			if ga.held[k]+n > ns.Limit && ga.held[k] > 0 && (ns.Hard || !named) && (over == "" || k.ns < over) {
				over = k.ns
			}
		}
		if over != "" {
			p.reject(e, ReasonLimit, over)
			return false
		}
	}
	p.join(a, b)
	return true
}

func (p *partition) join(a, b int) {
	if p.groups[a].size < p.groups[b].size {
		a, b = b, a
	}
	ga, gb := p.groups[a], p.groups[b]
	p.parent[b] = a
	ga.size += gb.size
	ga.persons += gb.persons
	ga.denied = append(ga.denied, gb.denied...)
	if ga.held == nil {
		ga.held = gb.held
	} else {
		for k, n := range gb.held {
			ga.held[k] += n
		}
	}
	p.groups[b] = nil
}

func (p *partition) reject(e Edge, why Reason, ns string) {
	p.rejected = append(p.rejected, Rejection{e, why, ns})
}

func (p *partition) find(i int) int { return find(p.parent, i) }

func find(parent []int, i int) int {
	for parent[i] != i {
		parent[i] = parent[parent[i]]
		i = parent[i]
	}
	return i
}

// union keeps the smaller index, that is the smaller birth, on top.
func union(parent []int, a, b int) {
	a, b = find(parent, a), find(parent, b)
	parent[max(a, b)] = min(a, b)
}

func (p *partition) result() Partitioned {
	out := Partitioned{Rejected: p.rejected, Hot: p.hot, raw: make(map[member.Birth]member.Birth, len(p.nodes))}
	at := map[int]int{}
	for i, n := range p.nodes { // ascending births, so the first of a cluster is its root
		r := p.find(i)
		c, ok := at[r]
		if !ok {
			c = len(out.Clusters)
			at[r] = c
			out.Clusters = append(out.Clusters, cluster.Cluster{Root: member.ID(n.Birth)})
		}
		out.Clusters[c].Births = append(out.Clusters[c].Births, n.Birth)
		out.raw[n.Birth] = p.nodes[find(p.raw, i)].Birth
	}
	return out
}
