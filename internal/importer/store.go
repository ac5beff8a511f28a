package importer

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// job is a run and its checkpoint.
type job struct {
	ID           id.UUID
	Rows         int64
	Accepted     int64
	Rejected     int64
	Duplicates   int64
	NetFen       money.Fen
	Warnings     map[string]int64
	RejectsBytes int64
}

type hash16 [16]byte

type store struct{}

const insertJob = `
INSERT INTO core.import_jobs (id, kind, mode, content_hash, file_name, file_bytes, status, started_at, updated_at)
VALUES (@id, @kind, @mode, @content_hash, @file_name, @file_bytes, 'running', @now, @now)
ON CONFLICT (kind, mode, content_hash) WHERE status = 'running' DO NOTHING`

// FOR UPDATE waits for the last batch of a process that was killed a moment ago.
const selectRunning = `
SELECT id, rows, accepted, rejected, duplicates, net_fen, warnings, rejects_bytes
FROM core.import_jobs
WHERE kind = @kind AND mode = @mode AND content_hash = @content_hash AND status = 'running'
FOR UPDATE`

// open returns the unfinished run over the file, or begins one.
func (store) open(ctx context.Context, tx pgx.Tx, kind, mode string, hash []byte, name string, size int64, now time.Time) (job, error) {
	_, err := tx.Exec(ctx, insertJob, pg.Args{
		"id": id.New(), "kind": kind, "mode": mode, "content_hash": hash, "file_name": name, "file_bytes": size, "now": now,
	})
	if err != nil {
		return job{}, fmt.Errorf("begin import job: %w", err)
	}
	rows, err := tx.Query(ctx, selectRunning, pg.Args{"kind": kind, "mode": mode, "content_hash": hash})
	if err != nil {
		return job{}, fmt.Errorf("open import job: %w", err)
	}
	j, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[job])
	if err != nil {
		return job{}, fmt.Errorf("open import job: %w", err)
	}
	return j, nil
}

// The lock keeps batches of one kind apart, so that two files with the same row cannot both find it new.
const lockKind = `SELECT pg_advisory_xact_lock(hashtextextended('core.import ' || @kind, 0))`

// The lateral join probes the primary key once per key, whatever the planner believes about a table that is growing fast.
const selectKnown = `
SELECT k.key_hash, r.content_hash
FROM unnest(@keys::bytea[]) AS k (key_hash)
CROSS JOIN LATERAL (
    SELECT content_hash
    FROM core.import_rows r
    WHERE r.kind = @kind AND r.key_hash = k.key_hash
    LIMIT 1) r`

// known locks the kind until the transaction ends and returns the content of the keys that have been taken before.
func (store) known(ctx context.Context, db pg.DB, kind string, keys [][]byte) (map[hash16]hash16, error) {
	if _, err := db.Exec(ctx, lockKind, pg.Args{"kind": kind}); err != nil {
		return nil, fmt.Errorf("lock import kind: %w", err)
	}
	return collectKnown(ctx, db, selectKnown, pg.Args{"kind": kind, "keys": keys})
}

func collectKnown(ctx context.Context, db pg.DB, sql string, args pg.Args) (map[hash16]hash16, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read import rows: %w", err)
	}
	out := map[hash16]hash16{}
	var key, content []byte
	_, err = pgx.ForEachRow(rows, []any{&key, &content}, func() error {
		out[hash16(key)] = hash16(content)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read import rows: %w", err)
	}
	return out, nil
}

const upsertRows = `
INSERT INTO core.import_rows (kind, key_hash, content_hash)
SELECT @kind, k, c
FROM unnest(@keys::bytea[], @contents::bytea[]) AS t(k, c)
ON CONFLICT (kind, key_hash) DO UPDATE SET content_hash = excluded.content_hash`

// remember records the keys as taken; each key once.
func (store) remember(ctx context.Context, db pg.DB, kind string, keys, contents [][]byte) error {
	if _, err := db.Exec(ctx, upsertRows, pg.Args{"kind": kind, "keys": keys, "contents": contents}); err != nil {
		return fmt.Errorf("record import rows: %w", err)
	}
	return nil
}

const createSeen = `
CREATE TEMPORARY TABLE IF NOT EXISTS import_seen (key_hash bytea PRIMARY KEY, content_hash bytea NOT NULL)`

const truncateSeen = `TRUNCATE pg_temp.import_seen`

const selectSeen = `SELECT key_hash, content_hash FROM pg_temp.import_seen WHERE key_hash = ANY(@keys)`

const upsertSeen = `
INSERT INTO pg_temp.import_seen (key_hash, content_hash)
SELECT k, c
FROM unnest(@keys::bytea[], @contents::bytea[]) AS t(k, c)
ON CONFLICT (key_hash) DO UPDATE SET content_hash = excluded.content_hash`

// A dry run keeps its keys in a table of its session.
func (store) createSeen(ctx context.Context, db pg.DB) error {
	for _, sql := range []string{createSeen, truncateSeen} {
		if _, err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare dry run: %w", err)
		}
	}
	return nil
}

func (store) seen(ctx context.Context, db pg.DB, keys [][]byte) (map[hash16]hash16, error) {
	return collectKnown(ctx, db, selectSeen, pg.Args{"keys": keys})
}

func (store) rememberSeen(ctx context.Context, db pg.DB, keys, contents [][]byte) error {
	if _, err := db.Exec(ctx, upsertSeen, pg.Args{"keys": keys, "contents": contents}); err != nil {
		return fmt.Errorf("record dry-run rows: %w", err)
	}
	return nil
}

const checkpointJob = `
UPDATE core.import_jobs
SET rows = @rows, accepted = @accepted, rejected = @rejected, duplicates = @duplicates, net_fen = @net_fen,
    warnings = @warnings, rejects_bytes = @rejects_bytes, updated_at = @now
WHERE id = @id AND status = 'running' AND rows = @before`

// checkpoint moves the job on from the given row; another process on the same job makes it ErrConcurrent.
func (store) checkpoint(ctx context.Context, tx pgx.Tx, j job, before int64, now time.Time) error {
	tag, err := tx.Exec(ctx, checkpointJob, pg.Args{
		"id": j.ID, "rows": j.Rows, "accepted": j.Accepted, "rejected": j.Rejected, "duplicates": j.Duplicates,
		"net_fen": j.NetFen, "warnings": j.Warnings, "rejects_bytes": j.RejectsBytes, "now": now, "before": before,
	})
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrConcurrent
	}
	return nil
}

const finishJob = `
UPDATE core.import_jobs
SET status = 'done', finished_at = @now, updated_at = @now
WHERE id = @id AND status = 'running' AND rows = @rows`

func (store) finish(ctx context.Context, tx pgx.Tx, j job, now time.Time) error {
	tag, err := tx.Exec(ctx, finishJob, pg.Args{"id": j.ID, "rows": j.Rows, "now": now})
	if err != nil {
		return fmt.Errorf("finish import job: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrConcurrent
	}
	return nil
}
