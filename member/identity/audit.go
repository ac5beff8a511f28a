package identity

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const allBirthsSQL = `
SELECT birth, root, raw_root, ns, scope, quarantined, released, tie, erased_at IS NOT NULL
FROM member.births
ORDER BY birth`

const allEvidenceSQL = `
SELECT id, a_birth, b_birth, kind, source, trust, first_at, last_at, n
FROM member.evidence
WHERE revoked_at IS NULL`

const strayMembersSQL = `
SELECT coalesce(m.id, b.birth)
FROM member.members m
FULL JOIN (SELECT birth FROM member.births WHERE birth = root) b ON b.birth = m.id
WHERE m.id IS NULL OR b.birth IS NULL`

// Audit recomputes the whole graph from its evidence, in memory, and returns the births that the database holds in
// another cluster or raw component than Partition says, or whose root has no member row or too many. On a quiet database it returns none.
// For tests, benchmarks and `lianke doctor`; it reads everything.
func Audit(ctx context.Context, db pg.DB) ([]member.Birth, error) {
	rows, err := db.Query(ctx, allBirthsSQL)
	if err != nil {
		return nil, fmt.Errorf("audit identity: %w", err)
	}
	births, err := pgx.CollectRows(rows, scanBirth)
	if err != nil {
		return nil, fmt.Errorf("audit identity: %w", err)
	}
	rows, err = db.Query(ctx, allEvidenceSQL)
	if err != nil {
		return nil, fmt.Errorf("audit identity: %w", err)
	}
	edges, err := pgx.CollectRows(rows, scanEdge)
	if err != nil {
		return nil, fmt.Errorf("audit identity: %w", err)
	}
	nodes := make([]Node, len(births))
	stored, rawStored := make(map[member.Birth]member.Birth, len(births)), make(map[member.Birth]member.Birth, len(births))
	for i, b := range births {
		nodes[i] = b.Node
		stored[b.Birth], rawStored[b.Birth] = b.root, b.raw
	}
	var wrong []member.Birth
	p := Partition(nodes, edges)
	for _, c := range p.Clusters {
		for _, b := range c.Births {
			if stored[b] != member.Birth(c.Root) || rawStored[b] != p.raw[b] {
				wrong = append(wrong, b)
			}
		}
	}
	rows, err = db.Query(ctx, strayMembersSQL)
	if err != nil {
		return nil, fmt.Errorf("audit members: %w", err)
	}
	strays, err := pgx.CollectRows(rows, pgx.RowTo[member.Birth])
	if err != nil {
		return nil, fmt.Errorf("audit members: %w", err)
	}
	return append(wrong, strays...), nil
}
