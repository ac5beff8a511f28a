package pg

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/lianke/lianke/internal/obs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Schemas are the PostgreSQL schemas of the house, one per root folder, and core for plumbing.
var Schemas = []string{"core", "member", "segments", "journeys", "commerce", "channels", "templates"}

// JobSchema is where River keeps its tables.
const JobSchema = "core"

// Migrate brings the schema to this binary's version. It waits for another migration to finish, gives up on a table
// lock after ten seconds rather than queueing traffic behind itself, and changes nothing when there is nothing to do.
func Migrate(ctx context.Context, pool *Pool, log *slog.Logger) error {
	cfg := pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["lock_timeout"] = "10s"
	cfg.Tracer = nil
	db := stdlib.OpenDB(*cfg)
	defer db.Close()

	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker), goose.WithSlog(log))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	jobs, err := rivermigrate.New(riverpgxv5.New(pool.Pool), &rivermigrate.Config{Schema: JobSchema, Logger: obs.AtLeast(slog.LevelWarn, log)})
	if err != nil {
		return fmt.Errorf("read job migrations: %w", err)
	}
	if _, err := jobs.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate jobs: %w", err)
	}
	return nil
}

// Pending says whether Migrate would change the schema. It changes nothing.
func Pending(ctx context.Context, pool *Pool) (bool, error) {
	db := stdlib.OpenDB(*pool.Config().ConnConfig)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return false, fmt.Errorf("read migrations: %w", err)
	}
	var exists bool
	if err := pool.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&exists); err != nil {
		return false, fmt.Errorf("read schema version: %w", err)
	}
	if !exists {
		return true, nil
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return false, fmt.Errorf("read migrations: %w", err)
	}
	pending, err := provider.HasPending(ctx)
	if err != nil {
		return false, fmt.Errorf("read schema version: %w", err)
	}
	return pending, nil
}

// MigrationHash names the schema this binary carries: 16 hex digits over every migration's name and text.
func MigrationHash() string {
	h := sha256.New()
	err := fs.WalkDir(migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n%d\n", path, len(text))
		h.Write(text)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("pg: embedded migrations are unreadable: %v", err))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
