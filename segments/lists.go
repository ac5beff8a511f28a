package segments

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

const putListSQL = `
INSERT INTO segments.lists AS l (id, code, name, created_at, updated_at)
VALUES (@id, @code, @name, @now, @now)
ON CONFLICT ON CONSTRAINT lists_code DO UPDATE
SET name = excluded.name, updated_at = excluded.updated_at
RETURNING id`

const addToListSQL = `
INSERT INTO segments.list_members (list_id, birth, added_at)
SELECT @list, b.birth, @now
FROM member.births b
WHERE b.birth = ANY(@births)
ON CONFLICT DO NOTHING
RETURNING birth`

const dropFromListSQL = `
DELETE FROM segments.list_members
WHERE list_id = @list AND birth = ANY(@births)
RETURNING birth`

// PutList creates a list or renames it.
func (s *Service) PutList(ctx context.Context, code, name string) error {
	if err := validateCode(code); err != nil {
		return err
	}
	if err := validateName(name); err != nil {
		return err
	}
	var list id.UUID
	err := s.db.QueryRow(ctx, putListSQL, pg.Args{"id": id.New(), "code": code, "name": name, "now": s.clock.Now()}).Scan(&list)
	if err != nil {
		return fmt.Errorf("put list %s: %w", code, err)
	}
	return nil
}

// AddToList puts births on a list and DropFromList takes them off; they return how many were changed. Rules that name the
// list follow through the feed. Errors: ErrListNotFound.
func (s *Service) AddToList(ctx context.Context, code string, births []member.Birth, mode member.Mode) (int, error) {
	return s.changeList(ctx, code, births, mode, func(list id.UUID, now time.Time) (string, pg.Args) {
		return addToListSQL, pg.Args{"list": list, "births": births, "now": now}
	})
}

// DropFromList: see AddToList.
func (s *Service) DropFromList(ctx context.Context, code string, births []member.Birth, mode member.Mode) (int, error) {
	return s.changeList(ctx, code, births, mode, func(list id.UUID, _ time.Time) (string, pg.Args) {
		return dropFromListSQL, pg.Args{"list": list, "births": births}
	})
}

const listIDSQL = `
SELECT id
FROM segments.lists
WHERE code = @code
FOR NO KEY UPDATE`

func (s *Service) changeList(ctx context.Context, code string, births []member.Birth, mode member.Mode, change func(list id.UUID, now time.Time) (string, pg.Args)) (n int, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		now := s.clock.Now()
		var list id.UUID
		err := tx.QueryRow(ctx, listIDSQL, pg.Args{"code": code}).Scan(&list)
		if pg.NoRows(err) {
			return ErrListNotFound.With("code", show(code))
		}
		if err != nil {
			return err
		}
		sql, args := change(list, now)
		rows, err := tx.Query(ctx, sql, args)
		if err != nil {
			return err
		}
		changed, err := pgx.CollectRows(rows, pgx.RowTo[member.Birth])
		if err != nil {
			return err
		}
		n = len(changed)
		return s.feed.Touch(ctx, tx, changed, activity.KeyProfile, mode, now)
	})
	if err != nil {
		return 0, fmt.Errorf("change list %s: %w", show(code), err)
	}
	return n, nil
}
