package identity

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// AuditFunc records what an actor did to an object, in the transaction of the deed.
type AuditFunc func(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error

// console is the graph as operators use it: within their scope, masked, audited.
type console struct {
	graph   *Service
	finder  *Finder
	secrets *member.Secrets
	audit   AuditFunc
}

type idIn struct {
	ID string `path:"id" doc:"a member, or any birth of it"`
}

type findIn struct {
	Text   string `query:"q" doc:"phone, its last four digits, name, pinyin, mail, card, member or order number, a record as SOURCE:ID"`
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit"`
}

type foundOut struct {
	Body struct {
		Items      []FoundView `json:"items"`
		NextCursor string      `json:"next_cursor,omitempty"`
	}
}

// FoundView is a member in a list.
type FoundView struct {
	ID           string     `json:"id"`
	Member       bool       `json:"member"`
	Name         string     `json:"name"`
	Phone        string     `json:"phone"`
	HomeStore    string     `json:"home_store"`
	Tags         []string   `json:"tags"`
	RegisteredAt *time.Time `json:"registered_at"`
	Identifiers  int        `json:"identifiers"`
}

// GraphView is a member's identifiers and how they came together.
type GraphView struct {
	ID          string           `json:"id"`
	Identifiers []IdentifierView `json:"identifiers"`
	Evidence    []EvidenceView   `json:"evidence"`
	History     []MoveView       `json:"history"`
}

// IdentifierView is one birth; Value is masked, but for records of source systems.
type IdentifierView struct {
	Birth       string    `json:"birth"`
	Namespace   string    `json:"namespace"`
	Scope       string    `json:"scope"`
	Epoch       int       `json:"epoch"`
	Value       string    `json:"value"`
	FirstSeen   time.Time `json:"first_seen"`
	Quarantined bool      `json:"quarantined,omitempty"`
	Erased      bool      `json:"erased,omitempty"`
}

// EvidenceView is one row of evidence; Rejected says why it is not followed.
type EvidenceView struct {
	ID       string    `json:"id"`
	A        string    `json:"a"`
	B        string    `json:"b"`
	Kind     string    `json:"kind"`
	Source   string    `json:"source"`
	Trust    int       `json:"trust"`
	First    time.Time `json:"first_at"`
	Last     time.Time `json:"last_at"`
	Count    int       `json:"count"`
	Rejected Reason    `json:"rejected,omitempty"`
	Limit    string    `json:"limit,omitempty"`
}

// MoveView is a change of a birth from one member to another.
type MoveView struct {
	Birth string    `json:"birth"`
	At    time.Time `json:"at"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Cause string    `json:"cause"`
	Actor string    `json:"actor,omitempty"`
}

type graphOut struct{ Body GraphView }

type explainIn struct {
	ID    string `path:"id"`
	Other string `query:"other" doc:"the birth or member to compare with"`
}

// ExplainView says why two births are one member or not.
type ExplainView struct {
	Same     bool           `json:"same"`
	Path     []EvidenceView `json:"path"`
	Rejected []EvidenceView `json:"rejected"`
	Denied   []EvidenceView `json:"denied"`
}

type explainOut struct{ Body ExplainView }

type mergeIn struct {
	ID   string `path:"id"`
	Body struct {
		Other   string `json:"other" doc:"a birth of the other member"`
		Reason  string `json:"reason" validate:"max=500"`
		Preview bool   `json:"preview,omitempty" doc:"only say what would happen"`
	}
}

type splitIn struct {
	ID   string `path:"id"`
	Body struct {
		Births  []string `json:"births" validate:"max=200" doc:"the births to take out, together"`
		Reason  string   `json:"reason" validate:"max=500"`
		Preview bool     `json:"preview,omitempty" doc:"only say what would happen"`
	}
}

type revokeIn struct {
	ID   string `path:"id" doc:"a birth at either end"`
	Body struct {
		Evidence string `json:"evidence"`
		Reason   string `json:"reason" validate:"max=500"`
		Preview  bool   `json:"preview,omitempty" doc:"only say what would happen"`
	}
}

type releaseIn struct {
	ID   string `path:"id" doc:"the quarantined birth"`
	Body struct {
		Reason  string `json:"reason" validate:"max=500"`
		Preview bool   `json:"preview,omitempty" doc:"only say what would happen"`
	}
}

type eraseIn struct {
	ID   string `path:"id"`
	Body struct {
		Reason string `json:"reason" validate:"max=500"`
	}
}

type revealIn struct {
	ID   string `path:"id"`
	Body struct {
		Birth   string `json:"birth"`
		Kind    string `json:"kind" doc:"name, phone, email or value"`
		Purpose string `json:"purpose" validate:"max=500"`
	}
}

type revealOut struct {
	Body struct {
		Value string `json:"value"`
	}
}

// OutcomeView is what an operation did or would do.
type OutcomeView struct {
	Before   []ClusterView  `json:"before"`
	After    []ClusterView  `json:"after"`
	Revoked  []EvidenceView `json:"revoked"`
	Rejected []EvidenceView `json:"rejected"`
}

// ClusterView is a member as a set of births.
type ClusterView struct {
	ID     string   `json:"id"`
	Births []string `json:"births"`
}

type outcomeOut struct{ Body OutcomeView }

// Routes adds the operations of this package. audit is the audit log.
func Routes(a *api.API, s *Service, f *Finder, secrets *member.Secrets, audit AuditFunc) {
	c := &console{s, f, secrets, audit}
	read := []auth.Role{auth.RoleMarketer, auth.RoleAssociate, auth.RoleManager, auth.RoleAgent}
	write := []auth.Role{auth.RoleManager, auth.RoleAgent}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/members" + path, Tag: "members", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-members", http.MethodGet, "", "Find members", read), c.find)
	api.Add(a, op("get-member-identity", http.MethodGet, "/{id}/identity", "Show a member's identifiers, evidence and history", read), c.get)
	api.Add(a, op("explain-member-identity", http.MethodGet, "/{id}/identity/explain", "Say why two births are one member, or not", read), c.explain)
	api.Add(a, op("merge-members", http.MethodPost, "/{id}/merge", "Join two members", write), c.merge)
	api.Add(a, op("split-member", http.MethodPost, "/{id}/split", "Take births out of a member", write), c.split)
	api.Add(a, op("revoke-evidence", http.MethodPost, "/{id}/identity/revoke", "Withdraw one row of evidence", write), c.revoke)
	api.Add(a, op("reveal-member-data", http.MethodPost, "/{id}/reveal", "Read one piece of personal data in clear, on the record", write), c.reveal)
	api.Add(a, op("release-identifier", http.MethodPost, "/{id}/identity/release", "Take a hot identifier out of quarantine", []auth.Role{auth.RoleAdmin}), c.release)
	api.Add(a, op("erase-member", http.MethodPost, "/{id}/erase", "Erase a person", []auth.Role{auth.RoleAdmin}), c.erase)
}

// visible returns the cluster that holds the id, if the actor's scope sees it.
func (c *console) visible(ctx context.Context, db pg.DB, text string) (cluster.Cluster, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return cluster.Cluster{}, cluster.ErrUnknown.With("birth", text)
	}
	cl, err := cluster.Get(ctx, db, member.Birth(n))
	if err != nil {
		return cluster.Cluster{}, err
	}
	return cl, c.finder.Inside(ctx, db, auth.ScopeFrom(ctx), cl.Root)
}

func (c *console) find(ctx context.Context, in *findIn) (*foundOut, error) {
	q := Query{Text: in.Text, Limit: min(max(in.Limit, 0), 100)}
	if in.Cursor != "" {
		after, err := strconv.ParseInt(in.Cursor, 10, 64)
		if err != nil {
			return nil, cluster.ErrUnknown.With("birth", in.Cursor)
		}
		q.After = member.ID(after)
	}
	if q.Limit == 0 {
		q.Limit = 20
	}
	found, err := c.finder.Find(ctx, c.graph.db, auth.ScopeFrom(ctx), q)
	if err != nil {
		return nil, err
	}
	out := &foundOut{}
	out.Body.Items = make([]FoundView, len(found))
	for i, m := range found {
		out.Body.Items[i] = FoundView{m.ID.String(), m.IsMember, m.Name.String(), m.Phone.String(), m.HomeStore, m.Tags, m.RegisteredAt, m.Identifiers}
	}
	if len(found) == q.Limit {
		out.Body.NextCursor = found[len(found)-1].ID.String()
	}
	return out, nil
}

func (c *console) get(ctx context.Context, in *idIn) (*graphOut, error) {
	cl, err := c.visible(ctx, c.graph.db, in.ID)
	if err != nil {
		return nil, err
	}
	v, err := c.finder.View(ctx, c.graph.db, cl)
	return &graphOut{v}, err
}

// View is everything the graph knows about a member, masked.
func (f *Finder) View(ctx context.Context, db pg.DB, cl cluster.Cluster) (GraphView, error) {
	v := GraphView{ID: cl.Root.String()}
	ids, err := f.Identifiers(ctx, db, cl.Births)
	if err != nil {
		return v, err
	}
	for _, i := range ids {
		value := i.Value.String()
		if i.Open {
			value = i.Value.Reveal()
		}
		v.Identifiers = append(v.Identifiers, IdentifierView{i.Birth.String(), i.NS, i.Scope, i.Epoch, value, i.FirstSeen, i.Quarantined, i.Erased})
	}
	edges, p, err := f.graph.component(ctx, db, cl.Births)
	if err != nil {
		return v, err
	}
	rejected := map[int64]Rejection{}
	for _, r := range p.Rejected {
		rejected[r.Edge.ID] = r
	}
	in := map[member.Birth]bool{}
	for _, b := range cl.Births {
		in[b] = true
	}
	v.Evidence = []EvidenceView{}
	for _, e := range edges {
		if in[e.A] || in[e.B] {
			ev := evidenceView(e)
			ev.Rejected, ev.Limit = rejected[e.ID].Reason, rejected[e.ID].NS
			v.Evidence = append(v.Evidence, ev)
		}
	}
	moves, err := f.graph.History(ctx, db, cl.Births)
	if err != nil {
		return v, err
	}
	v.History = make([]MoveView, len(moves))
	for i, m := range moves {
		v.History[i] = MoveView{m.Birth.String(), m.At, m.Old.String(), m.New.String(), m.Cause, m.Actor}
	}
	return v, nil
}

func (c *console) explain(ctx context.Context, in *explainIn) (*explainOut, error) {
	a, err := c.visible(ctx, c.graph.db, in.ID)
	if err != nil {
		return nil, err
	}
	if _, err := c.visible(ctx, c.graph.db, in.Other); err != nil {
		return nil, err
	}
	x, err := c.graph.Explain(ctx, c.graph.db, birthOf(in.ID, a), parseBirth(in.Other))
	if err != nil {
		return nil, err
	}
	return &explainOut{explainView(x)}, nil
}

func (c *console) merge(ctx context.Context, in *mergeIn) (*outcomeOut, error) {
	return c.operate(ctx, in.Body.Preview, "member.merged", in.ID, map[string]any{"other": in.Body.Other, "reason": in.Body.Reason},
		func(tx pgx.Tx, by auth.Actor) (Outcome, error) {
			if _, err := c.visible(ctx, tx, in.Body.Other); err != nil {
				return Outcome{}, err
			}
			return c.graph.Merge(ctx, tx, MergeInput{A: parseBirth(in.ID), B: parseBirth(in.Body.Other), Actor: by.Name, Reason: in.Body.Reason})
		})
}

func (c *console) split(ctx context.Context, in *splitIn) (*outcomeOut, error) {
	return c.operate(ctx, in.Body.Preview, "member.split", in.ID, map[string]any{"births": in.Body.Births, "reason": in.Body.Reason},
		func(tx pgx.Tx, by auth.Actor) (Outcome, error) {
			cl, err := cluster.Get(ctx, tx, parseBirth(in.ID))
			if err != nil {
				return Outcome{}, err
			}
			births := make([]member.Birth, len(in.Body.Births))
			for i, b := range in.Body.Births {
				births[i] = parseBirth(b)
				if !contains(cl.Births, births[i]) {
					return Outcome{}, ErrSplit
				}
			}
			return c.graph.Split(ctx, tx, SplitInput{Births: births, Actor: by.Name, Reason: in.Body.Reason})
		})
}

func (c *console) revoke(ctx context.Context, in *revokeIn) (*outcomeOut, error) {
	return c.operate(ctx, in.Body.Preview, "member.evidence_revoked", in.ID, map[string]any{"evidence": in.Body.Evidence, "reason": in.Body.Reason},
		func(tx pgx.Tx, by auth.Actor) (Outcome, error) {
			n, err := strconv.ParseInt(in.Body.Evidence, 10, 64)
			if err != nil {
				return Outcome{}, ErrEvidence.With("id", in.Body.Evidence)
			}
			cl, err := cluster.Get(ctx, tx, parseBirth(in.ID))
			if err != nil {
				return Outcome{}, err
			}
			out, err := c.graph.Revoke(ctx, tx, n, by.Name, in.Body.Reason)
			// The evidence must be the visible member's, whose scope was checked.
			if err == nil && (len(out.Revoked) != 1 || !contains(cl.Births, out.Revoked[0].A) && !contains(cl.Births, out.Revoked[0].B)) {
				return Outcome{}, ErrEvidence.With("id", in.Body.Evidence)
			}
			return out, err
		})
}

func (c *console) release(ctx context.Context, in *releaseIn) (*outcomeOut, error) {
	return c.operate(ctx, in.Body.Preview, "member.identifier_released", in.ID, map[string]any{"birth": in.ID, "reason": in.Body.Reason},
		func(tx pgx.Tx, by auth.Actor) (Outcome, error) {
			return c.graph.Release(ctx, tx, ReleaseInput{Birth: parseBirth(in.ID), Actor: by.Name, Reason: in.Body.Reason})
		})
}

// operate runs a change of the graph within the actor's scope, or only previews it; what is done is audited.
func (c *console) operate(ctx context.Context, preview bool, action, id string, detail map[string]any, do func(pgx.Tx, auth.Actor) (Outcome, error)) (*outcomeOut, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	run := func(tx pgx.Tx) (Outcome, error) {
		cl, err := c.visible(ctx, tx, id)
		if err != nil {
			return Outcome{}, err
		}
		out, err := do(tx, by)
		if err != nil || preview {
			return out, err
		}
		return out, c.audit(ctx, tx, by, action, "member/"+cl.Root.String(), detail)
	}
	var out Outcome
	if preview {
		out, err = c.graph.Preview(ctx, c.graph.db, run)
	} else {
		err = pg.InTx(ctx, c.graph.db, func(tx pgx.Tx) (err error) {
			out, err = run(tx)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return &outcomeOut{outcomeView(out)}, nil
}

func (c *console) erase(ctx context.Context, in *eraseIn) (*struct{}, error) {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	return nil, pg.InTx(ctx, c.graph.db, func(tx pgx.Tx) error {
		cl, err := c.visible(ctx, tx, in.ID)
		if err != nil {
			return err
		}
		if _, err := c.graph.Erase(ctx, tx, c.secrets, member.Birth(cl.Root), by.Name, in.Body.Reason); err != nil {
			return err
		}
		return c.audit(ctx, tx, by, "member.erased", "member/"+cl.Root.String(), map[string]any{"reason": in.Body.Reason})
	})
}

func (c *console) reveal(ctx context.Context, in *revealIn) (*revealOut, error) {
	if !auth.ScopeFrom(ctx).Reveal {
		return nil, auth.ErrForbidden
	}
	if in.Body.Purpose == "" {
		return nil, ErrReason
	}
	out := &revealOut{}
	return out, pg.InTx(ctx, c.graph.db, func(tx pgx.Tx) error {
		cl, err := c.visible(ctx, tx, in.ID)
		if err != nil {
			return err
		}
		birth := parseBirth(in.Body.Birth)
		if !contains(cl.Births, birth) {
			return cluster.ErrUnknown.With("birth", in.Body.Birth)
		}
		out.Body.Value, err = c.secrets.Reveal(ctx, tx, birth, in.Body.Kind, in.Body.Purpose)
		return err
	})
}
