package templates

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

type store struct{}

const templateColumns = `t.code, t.channel, t.lane, t.name, t.status, v.version, t.published, t.latest, t.updated_at, v.body`

// version 0 is the latest, -1 the published one.
const getSQL = `
SELECT ` + templateColumns + `
FROM templates.templates t
JOIN templates.versions v ON v.template = t.code
    AND v.version = CASE @version::int WHEN 0 THEN t.latest WHEN -1 THEN t.published ELSE @version END
WHERE t.code = @code`

func (store) get(ctx context.Context, db pg.DB, code string, version int) (Template, error) {
	rows, err := db.Query(ctx, getSQL, pg.Args{"code": code, "version": version})
	if err != nil {
		return Template{}, fmt.Errorf("get template %s: %w", code, err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTemplate)
	if pg.NoRows(err) {
		return Template{}, ErrNotFound.With("code", code)
	}
	if err != nil {
		return Template{}, fmt.Errorf("get template %s: %w", code, err)
	}
	return t, nil
}

func scanTemplate(row pgx.CollectableRow) (Template, error) {
	var (
		t    Template
		body []byte
	)
	if err := row.Scan(&t.Code, &t.Channel, &t.Lane, &t.Name, &t.Status, &t.Version, &t.Published, &t.Latest, &t.UpdatedAt, &body); err != nil {
		return t, err
	}
	return t, json.Unmarshal(body, &t.Body)
}

const findSQL = `
SELECT ` + templateColumns + `
FROM templates.templates t
JOIN templates.versions v ON v.template = t.code AND v.version = t.latest
WHERE t.code > @after
    AND (@channel = '' OR t.channel = @channel)
    AND (@status = '' OR t.status = @status)
    AND (@query = '' OR t.code ILIKE '%' || @query || '%' OR t.name ILIKE '%' || @query || '%')
ORDER BY t.code
LIMIT @limit`

func (store) find(ctx context.Context, db pg.DB, q Query) ([]Template, error) {
	rows, err := db.Query(ctx, findSQL, pg.Args{
		"after": q.After, "channel": q.Channel, "status": string(q.Status), "query": q.Text, "limit": q.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("find templates: %w", err)
	}
	return pgx.CollectRows(rows, scanTemplate)
}

const lockSQL = `
SELECT latest
FROM templates.templates
WHERE code = @code
FOR UPDATE`

func (store) lock(ctx context.Context, tx pgx.Tx, code string) (latest int, err error) {
	err = tx.QueryRow(ctx, lockSQL, pg.Args{"code": code}).Scan(&latest)
	if pg.NoRows(err) {
		return 0, ErrNotFound.With("code", code)
	}
	return latest, err
}

const insertSQL = `
INSERT INTO templates.templates (code, channel, lane, name, created_at, updated_at)
VALUES (@code, @channel, @lane, @name, @now, @now)
ON CONFLICT ON CONSTRAINT templates_pkey DO NOTHING`

func (store) insert(ctx context.Context, tx pgx.Tx, t Template, now time.Time) (created bool, err error) {
	tag, err := tx.Exec(ctx, insertSQL, pg.Args{
		"code": t.Code, "channel": t.Channel, "lane": string(t.Lane), "name": t.Name, "now": now,
	})
	if err != nil {
		return false, fmt.Errorf("insert template %s: %w", t.Code, err)
	}
	return tag.RowsAffected() == 1, nil
}

const updateSQL = `
UPDATE templates.templates
SET channel = @channel, lane = @lane, name = @name, latest = @version, updated_at = @now
WHERE code = @code`

func (store) update(ctx context.Context, tx pgx.Tx, t Template, now time.Time) error {
	_, err := tx.Exec(ctx, updateSQL, pg.Args{
		"code": t.Code, "channel": t.Channel, "lane": string(t.Lane), "name": t.Name, "version": t.Version, "now": now,
	})
	if err != nil {
		return fmt.Errorf("update template %s: %w", t.Code, err)
	}
	return nil
}

const insertVersionSQL = `
INSERT INTO templates.versions (template, version, body, author, created_at)
VALUES (@code, @version, @body, @author, @now)`

func (store) insertVersion(ctx context.Context, tx pgx.Tx, t Template, author string, now time.Time) error {
	body, err := json.Marshal(t.Body)
	if err != nil {
		return fmt.Errorf("encode template %s: %w", t.Code, err)
	}
	if _, err := tx.Exec(ctx, insertVersionSQL, pg.Args{
		"code": t.Code, "version": t.Version, "body": body, "author": author, "now": now,
	}); err != nil {
		return fmt.Errorf("insert version %d of template %s: %w", t.Version, t.Code, err)
	}
	return nil
}

const setStatusSQL = `
UPDATE templates.templates
SET status = @status, published = CASE WHEN @published > 0 THEN @published ELSE published END, updated_at = @now
WHERE code = @code`

func (store) setStatus(ctx context.Context, tx pgx.Tx, code string, s Status, published int, now time.Time) error {
	tag, err := tx.Exec(ctx, setStatusSQL, pg.Args{"code": code, "status": string(s), "published": published, "now": now})
	if err != nil {
		return fmt.Errorf("set status of template %s: %w", code, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotFound.With("code", code)
	}
	return nil
}
