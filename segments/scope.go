package segments

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// inScope holds for a row m of member.members that an actor may see. The casts let it stand in statements whose parameters
// a rule makes.
const inScope = `(@all::boolean OR m.home_store = ANY(@stores::text[]))
    AND (@associate::text = '' OR m.attrs ->> 'associate' = @associate::text)`

// scopeArgs adds the arguments of inScope.
func scopeArgs(scope auth.Scope, args pg.Args) pg.Args {
	stores, associate := scope.Stores, ""
	if stores == nil {
		stores = []string{}
	}
	if scope.Associate != nil {
		associate = scope.Associate.String()
	}
	args["all"], args["stores"], args["associate"] = scope.All, stores, associate
	return args
}

// Belonging is one segment that a member is in.
type Belonging struct {
	Code      string    `json:"code"`
	Name      string    `json:"name"`
	EnteredAt time.Time `json:"entered_at"`
}

const belongingSQL = `
SELECT s.code, s.name, m.entered_at
FROM segments.members m
JOIN segments.segments s ON s.id = m.segment_id
WHERE m.root = @member
ORDER BY s.code`

// FindOf lists the segments of the member to whom a birth belongs, by code. Errors: ErrMember, also outside of the scope.
func (s *Service) FindOf(ctx context.Context, scope auth.Scope, birth member.Birth) ([]Belonging, error) {
	who, err := s.root(ctx, scope, birth)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, belongingSQL, pg.Args{"member": who})
	if err != nil {
		return nil, fmt.Errorf("find segments of a member: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Belonging])
}

const rootInScopeSQL = `
SELECT m.id
FROM member.births b
JOIN member.members m ON m.id = b.root
WHERE b.birth = @birth AND ` + inScope

// root returns the member to whom a birth belongs, or ErrMember if there is none within the scope.
func (s *Service) root(ctx context.Context, scope auth.Scope, birth member.Birth) (who member.ID, err error) {
	err = s.db.QueryRow(ctx, rootInScopeSQL, scopeArgs(scope, pg.Args{"birth": birth})).Scan(&who)
	if pg.NoRows(err) {
		return 0, ErrMember.With("member", birth)
	}
	if err != nil {
		return 0, fmt.Errorf("find member %s: %w", birth, err)
	}
	return who, nil
}

const sizesInScopeSQL = `
SELECT s.segment_id, count(*)
FROM member.members m
JOIN segments.members s ON s.root = m.id
WHERE s.segment_id = ANY(@segments) AND ` + inScope + `
GROUP BY s.segment_id`

// Within returns the segments with the sizes that the actor sees: the current members within the scope.
func (s *Service) Within(ctx context.Context, scope auth.Scope, found ...Segment) ([]Segment, error) {
	if scope.All && scope.Associate == nil || len(found) == 0 {
		return found, nil
	}
	ids := make([]id.UUID, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	rows, err := s.db.Query(ctx, sizesInScopeSQL, scopeArgs(scope, pg.Args{"segments": ids}))
	if err != nil {
		return nil, fmt.Errorf("sizes of segments: %w", err)
	}
	sizes := map[id.UUID]int64{}
	var segment id.UUID
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&segment, &n}, func() error {
		sizes[segment] = n
		return nil
	}); err != nil {
		return nil, fmt.Errorf("sizes of segments: %w", err)
	}
	for i := range found {
		found[i].Size = sizes[found[i].ID]
	}
	return found, nil
}
