package identity

import (
	"context"
	"slices"
	"strconv"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// component returns the evidence around births and what Partition makes of it.
func (s *Service) component(ctx context.Context, db pg.DB, births []member.Birth) ([]Edge, Partitioned, error) {
	nodes, err := s.rawNodes(ctx, db, births)
	if err != nil {
		return nil, Partitioned{}, err
	}
	list := make([]member.Birth, len(nodes))
	for i, n := range nodes {
		list[i] = n.Birth
	}
	edges, err := loadEvidence(ctx, db, list)
	if err != nil {
		return nil, Partitioned{}, err
	}
	return edges, Partition(nodes, edges), nil
}

func parseBirth(s string) member.Birth {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0 // no birth has it: not found
	}
	return member.Birth(n)
}

func birthOf(text string, c cluster.Cluster) member.Birth {
	if b := parseBirth(text); b != 0 {
		return b
	}
	return member.Birth(c.Root)
}

func contains(births []member.Birth, b member.Birth) bool { return slices.Contains(births, b) }

func evidenceView(e Edge) EvidenceView {
	return EvidenceView{ID: strconv.FormatInt(e.ID, 10), A: e.A.String(), B: e.B.String(), Kind: e.Kind, Source: e.Source,
		Trust: e.Trust, First: e.First, Last: e.Last, Count: e.N}
}

func evidenceViews(edges []Edge) []EvidenceView {
	out := make([]EvidenceView, len(edges))
	for i, e := range edges {
		out[i] = evidenceView(e)
	}
	return out
}

func rejectionViews(rs []Rejection) []EvidenceView {
	out := make([]EvidenceView, len(rs))
	for i, r := range rs {
		out[i] = evidenceView(r.Edge)
		out[i].Rejected, out[i].Limit = r.Reason, r.NS
	}
	return out
}

func explainView(x Explanation) ExplainView {
	return ExplainView{x.Same, evidenceViews(x.Path), rejectionViews(x.Rejected), evidenceViews(x.Denied)}
}

func outcomeView(o Outcome) OutcomeView {
	return OutcomeView{clusterViews(o.Before), clusterViews(o.After), evidenceViews(o.Revoked), rejectionViews(o.Rejected)}
}

func clusterViews(cs []cluster.Cluster) []ClusterView {
	out := make([]ClusterView, len(cs))
	for i, c := range cs {
		out[i].ID = c.Root.String()
		for _, b := range c.Births {
			out[i].Births = append(out[i].Births, b.String())
		}
	}
	return out
}

// View returns the explanation as JSON carries it.
func (x Explanation) View() ExplainView { return explainView(x) }

// View returns the outcome as JSON carries it.
func (o Outcome) View() OutcomeView { return outcomeView(o) }
