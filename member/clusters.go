package member

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

const rootsSQL = `
SELECT birth, root
FROM member.births
WHERE birth = ANY (@births)`

// Roots returns the member that each birth belongs to now. Unknown births are absent.
func Roots(ctx context.Context, db pg.DB, births []Birth) (map[Birth]ID, error) {
	out := make(map[Birth]ID, len(births))
	rows, err := db.Query(ctx, rootsSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("find roots: %w", err)
	}
	var birth Birth
	var root ID
	if _, err := pgx.ForEachRow(rows, []any{&birth, &root}, func() error { out[birth] = root; return nil }); err != nil {
		return nil, fmt.Errorf("find roots: %w", err)
	}
	return out, nil
}

const clustersSQL = `
SELECT root, birth
FROM member.births
WHERE root = ANY (@roots)
ORDER BY root, birth`

// Clusters returns all births of each member, in order. Unknown members are absent.
func Clusters(ctx context.Context, db pg.DB, roots []ID) (map[ID][]Birth, error) {
	out := make(map[ID][]Birth, len(roots))
	rows, err := db.Query(ctx, clustersSQL, pg.Args{"roots": roots})
	if err != nil {
		return nil, fmt.Errorf("find clusters: %w", err)
	}
	var root ID
	var birth Birth
	if _, err := pgx.ForEachRow(rows, []any{&root, &birth}, func() error { out[root] = append(out[root], birth); return nil }); err != nil {
		return nil, fmt.Errorf("find clusters: %w", err)
	}
	return out, nil
}
