package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
)

// common are the flags every command takes.
type common struct {
	dataDir string
	json    bool
}

func commonFlags(fs *flag.FlagSet) *common {
	var c common
	fs.StringVar(&c.dataDir, "data-dir", os.Getenv("LIANKE_DATA_DIR"), "where the embedded stack and the keys live")
	fs.BoolVar(&c.json, "json", false, "print one JSON object on the last line of standard output")
	return &c
}

// app is the program wired together: the one place where modules meet.
type app struct {
	log   *slog.Logger
	clock clock.Clock
	db    *pg.Pool
	jobs  *jobs.Runner
	bus   *events.Bus
}

var errNoDatabase = fault.New(fault.Unavailable, "app.no_database", "没有可用的数据库", "no database is configured").
	WithHint("请设置 LIANKE_DATABASE_URL", "set LIANKE_DATABASE_URL")

// openApp connects to the stack, migrates it and wires the modules.
func openApp(ctx context.Context, c console, flags *common) (*app, error) {
	log := slog.New(slog.NewJSONHandler(c.err, &slog.HandlerOptions{Level: slog.LevelInfo}))
	url := os.Getenv("LIANKE_DATABASE_URL")
	if url == "" {
		return nil, errNoDatabase
	}
	db, err := pg.Open(ctx, url, 0)
	if err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, db, log); err != nil {
		db.Close()
		return nil, err
	}
	a := &app{log: log, clock: clock.System{}, db: db}
	a.jobs = jobs.New(db, log)
	a.bus = events.New(db, a.clock, a.jobs)
	return a, nil
}

// Close lets go of the stack.
func (a *app) Close() { a.db.Close() }
