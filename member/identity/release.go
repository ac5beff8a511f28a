package identity

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// maxReleased bounds what a release partitions at once, and what later observations of the identifier have to read.
const maxReleased = 2000

// ReleaseInput asks to take a birth out of quarantine for good.
type ReleaseInput struct {
	Birth  member.Birth
	Actor  string
	Reason string
}

const releaseBirthSQL = `
UPDATE member.births
SET released = true
WHERE birth = @birth`

// neighboursSQL reads the live evidence of a birth on both sides. There is no index on the larger end, so it reads the table
// once; release is a rare deed.
const neighboursSQL = `
SELECT id, a_birth + b_birth - @birth
FROM member.evidence
WHERE (a_birth = @birth OR b_birth = @birth) AND revoked_at IS NULL AND id > @after`

// Release takes an identifier out of quarantine that was seen with more accounts than a person has, because an operator
// knows better: its evidence counts again, under all limits, and its number of accounts does not matter any more.
// ErrRelease if it is not quarantined, ErrTooHot if it is everybody's.
func (s *Service) Release(ctx context.Context, tx pgx.Tx, in ReleaseInput) (Outcome, error) {
	if in.Reason == "" {
		return Outcome{}, ErrReason
	}
	near, last, err := neighbours(ctx, tx, in.Birth, 0)
	if err != nil {
		return Outcome{}, err
	}
	if len(near) > maxReleased {
		return Outcome{}, ErrTooHot.With("birth", in.Birth, "n", len(near), "max", maxReleased)
	}
	c, err := s.operation(ctx, tx, "released", in.Actor, in.Reason, append(near, in.Birth)...)
	if err != nil {
		return Outcome{}, err
	}
	if !c.births[in.Birth].Quarantined {
		return Outcome{}, ErrRelease.With("birth", in.Birth)
	}
	more, _, err := neighbours(ctx, tx, in.Birth, last)
	if err != nil {
		return Outcome{}, err
	}
	if slices.ContainsFunc(more, func(b member.Birth) bool { return c.births[b] == nil }) {
		return Outcome{}, fmt.Errorf("identifier %d was seen with others meanwhile: %w", in.Birth, pg.ErrRetry)
	}
	c.released = in.Birth
	return s.operate(ctx, tx, c, nil)
}

// neighbours returns the births that a birth was seen with in evidence after a row, and the last such row.
func neighbours(ctx context.Context, db pg.DB, birth member.Birth, after int64) (near []member.Birth, last int64, err error) {
	rows, err := db.Query(ctx, neighboursSQL, pg.Args{"birth": birth, "after": after})
	if err != nil {
		return nil, 0, fmt.Errorf("evidence of %d: %w", birth, err)
	}
	var id int64
	var other member.Birth
	last = after
	if _, err := pgx.ForEachRow(rows, []any{&id, &other}, func() error {
		near, last = append(near, other), max(last, id)
		return nil
	}); err != nil {
		return nil, 0, fmt.Errorf("evidence of %d: %w", birth, err)
	}
	slices.Sort(near)
	return slices.Compact(near), last, nil
}
