package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/obs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/templates/demo"
)

func demoCommand() command {
	return command{
		name:  "demo",
		args:  "[--once] [--seed N]",
		about: "load the demo brand 知更集, walk its members through journeys and check that everything adds up",
		run:   runDemo,
	}
}

var (
	errForeignData = fault.New(fault.Conflict, "demo.foreign_data", "数据库中已有非演示数据,演示不会覆盖它", "the database holds data that is not the demo's; the demo will not touch it").
			WithHint("请用 --data-dir 指定一个空目录", "give an empty --data-dir")
	errDemoFailed = errors.New("the demo's checks failed; see the report above")
)

// runDemo builds the brand in the stack of the data directory. What an earlier demo left there is replaced; anything else
// is left alone and refused. Without --once it then serves.
func runDemo(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, demoCommand())
	common := commonFlags(fs)
	once := fs.Bool("once", false, "load, run the whole loop on a virtual clock, report, and exit 1 if a check fails")
	seed := fs.Uint64("seed", 1, "seed of the demo's people and of how they react")
	addr := fs.String("addr", "127.0.0.1:8080", "without --once: where to serve afterwards")
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	cfg, err := common.existingOrNew(c)
	if err != nil {
		return err
	}
	report, err := demoOnce(ctx, c, cfg, *seed)
	if err != nil {
		return err
	}
	if common.json {
		line, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		fmt.Fprintf(c.out, "%s\n", line)
	} else {
		report.print(c.out)
	}
	if !report.OK {
		return errDemoFailed
	}
	if *once {
		return nil
	}
	return serve(ctx, c, append([]string{"--addr", *addr}, passOn(common)...))
}

func passOn(c *common) []string {
	if c.dataDir == "" {
		return nil
	}
	return []string{"--data-dir", c.dataDir}
}

// demoRun is one run of the demo: the program on a virtual clock, its providers, and the world it plays in.
type demoRun struct {
	*app
	world *demo.World
	now   *clock.Virtual
	box   *sandbox.Server
	base  string // where the program serves callbacks and links
	dir   string // for the files of the demo, 0700
	logs  *leakSieve
	say   func(format string, args ...any)
	began time.Time

	imported map[string]int64 // rows accepted by kind
}

// demoOnce runs the demo from an empty schema to the report.
func demoOnce(ctx context.Context, c console, cfg config.Config, seed uint64) (_ demoReport, err error) {
	r := &demoRun{began: time.Now(), imported: map[string]int64{}}
	r.say = func(format string, args ...any) {
		fmt.Fprintf(c.err, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	}
	r.say("making the world of seed %d", seed)
	r.world, err = demo.New(demo.Options{Seed: seed, Today: clock.DayOf(time.Now()), OpenID: sandbox.OpenID, UnionID: sandbox.UnionID})
	if err != nil {
		return demoReport{}, err
	}
	r.now = clock.NewVirtual(r.world.LiveFrom)
	r.logs = newLeakSieve(r.world)
	r.app = newApp(c, cfg)
	// Whatever level the operator reads, the check looks at everything that can be logged.
	r.log = slog.New(slog.NewMultiHandler(r.log.Handler(), obs.Logger(r.logs, slog.LevelDebug, "json").Handler()))
	r.clock = r.now
	defer func() { err = errors.Join(err, r.app.Close()) }()
	// A demo that a power cut interrupts is loaded again from nothing, so its tens of thousands of commits need not wait for
	// the disk one by one. Whoever serves the database later does so over durable connections.
	if err := r.openStores(ctx, embedded.Options{Exclusive: true}, pg.Setting{Name: "synchronous_commit", Value: "off"}); err != nil {
		return demoReport{}, err
	}
	if err := clearDemo(ctx, r.db); err != nil {
		return demoReport{}, err
	}
	if err := pg.Migrate(ctx, r.db, r.log); err != nil {
		return demoReport{}, err
	}
	if _, err := r.db.Exec(ctx, markDemoSQL, pg.Args{"seed": int64(seed), "now": r.began}); err != nil {
		return demoReport{}, fmt.Errorf("mark the demo: %w", err)
	}
	r.dir = filepath.Join(cfg.DataDir, "demo")
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(r.dir, 0o700)); err != nil {
		return demoReport{}, fmt.Errorf("folder for the demo: %w", err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return demoReport{}, fmt.Errorf("listen for callbacks: %w", err)
	}
	defer listener.Close()
	r.base = "http://" + listener.Addr().String()
	r.box, err = sandbox.Start(sandbox.Options{
		Clock: r.now, Manual: true, Ledger: filepath.Join(r.dir, "sends.jsonl"), Seed: seed, Public: listener.Addr().String(),
		Keep: 100, Reactions: demoReactions(),
	})
	if err != nil {
		return demoReport{}, fmt.Errorf("start the provider stand-ins: %w", err)
	}
	defer r.box.Close()

	r.route = r.box.Route()
	if err := r.wire(ctx); err != nil {
		return demoReport{}, err
	}
	server := &http.Server{Handler: r.metrics.HTTP(r.log, r.api.Handler()), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()

	for _, step := range []func(context.Context) error{r.build, r.importHistory, r.buildSegments, r.publish, r.live} {
		if err := step(ctx); err != nil {
			return demoReport{}, err
		}
	}
	report, err := r.check(ctx)
	if err != nil {
		return report, err
	}
	// The stand-ins end with this run. Whoever serves this database later must not reach real providers with its accounts.
	if err := r.channels.SetPaused(ctx, true); err != nil {
		return report, err
	}
	r.say("sending is paused in this database: the demo's accounts exist only at the stand-ins")
	return report, nil
}

const markDemoSQL = `
INSERT INTO core.demo (seed, loaded_at)
VALUES (@seed, @now)`

const demoStateSQL = `
SELECT to_regclass('core.demo') IS NOT NULL, to_regclass('member.births') IS NOT NULL`

const anythingSQL = `
SELECT EXISTS (SELECT FROM member.births) OR EXISTS (SELECT FROM core.operators), EXISTS (SELECT FROM core.demo)`

// clearDemo empties the database if it holds an earlier demo, and refuses one that holds anything else.
func clearDemo(ctx context.Context, db *pg.Pool) error {
	var marked, migrated bool
	if err := db.QueryRow(ctx, demoStateSQL).Scan(&marked, &migrated); err != nil {
		return fmt.Errorf("look at the database: %w", err)
	}
	if !migrated {
		return nil
	}
	if !marked {
		return errForeignData
	}
	var used, demo bool
	if err := db.QueryRow(ctx, anythingSQL).Scan(&used, &demo); err != nil {
		return fmt.Errorf("look at the database: %w", err)
	}
	if used && !demo {
		return errForeignData
	}
	for _, schema := range pg.Schemas {
		if _, err := db.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
			return fmt.Errorf("clear the earlier demo: %w", err)
		}
	}
	if _, err := db.Exec(ctx, "DROP TABLE IF EXISTS public.goose_db_version"); err != nil {
		return fmt.Errorf("clear the earlier demo: %w", err)
	}
	db.Reset() // connections remember the types and plans of what is gone
	return nil
}

func (r demoReport) print(w io.Writer) { r.table(w) }
