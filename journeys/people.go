package journeys

import (
	"context"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Graph is the People of the house: member's own view of who is one person.
type Graph struct{}

// Roots returns the member of each birth.
func (Graph) Roots(ctx context.Context, db pg.DB, births []member.Birth) (map[member.Birth]member.ID, error) {
	return cluster.Roots(ctx, db, births)
}

// Births returns the births of each member.
func (Graph) Births(ctx context.Context, db pg.DB, roots []member.ID) (map[member.ID][]member.Birth, error) {
	return cluster.Births(ctx, db, roots)
}
