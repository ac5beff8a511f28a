package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is what stores take: a *Pool, or the pgx.Tx that InTx hands out.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Pool is a connection pool.
type Pool struct{ *pgxpool.Pool }

// Args are named arguments; a name that the SQL does not use, or uses without a value, is an error.
type Args = pgx.StrictNamedArgs

// Setting is a parameter of PostgreSQL for all connections of a pool.
type Setting struct{ Name, Value string }

// Open connects to the database at url and checks that it answers. maxConns 0 takes pgx's default of max(4, cores).
//
// Just-in-time compilation is off: for statements over a log of many partitions it costs seconds and saves less.
func Open(ctx context.Context, url string, maxConns int, settings ...Setting) (*Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	if maxConns > 0 {
		cfg.MaxConns = int32(maxConns)
	}
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "lianke"
	}
	settings = append([]Setting{{"jit", "off"}}, settings...)
	// Not as startup parameters: connection poolers refuse those that they do not know.
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for _, s := range settings {
			if _, err := conn.Exec(ctx, "SELECT set_config($1, $2, false)", pgx.QueryExecModeSimpleProtocol, s.Name, s.Value); err != nil {
				return fmt.Errorf("set %s: %w", s.Name, err)
			}
		}
		return nil
	}
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTrimSQLInSpanName(), otelpgx.WithDisableQuerySpanNamePrefix())
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach database: %w", err)
	}
	return &Pool{pool}, nil
}

// Dial opens a connection outside of the pool, for the rare statement that must neither wait for the pool nor share a
// caller's transaction. The caller closes it.
func (p *Pool) Dial(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, p.Config().ConnConfig)
}
