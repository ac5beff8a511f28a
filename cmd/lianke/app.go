package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/commerce/sourcing"
	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/loops"
	"github.com/lianke/lianke/internal/obs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/redis"
	"github.com/lianke/lianke/internal/search"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/segments"
)

// common are the flags every command takes.
type common struct {
	dataDir string
	json    bool
}

func commonFlags(fs *flag.FlagSet) *common {
	var c common
	fs.StringVar(&c.dataDir, "data-dir", "", "`DIR` of the embedded stack, the keys and the files (default $LIANKE_DATA_DIR, else what lianke config says)")
	fs.BoolVar(&c.json, "json", false, "print one JSON object on the last line of standard output")
	return &c
}

// config returns the effective configuration: flags over environment over defaults.
func (c *common) config() (config.Config, error) { return config.Load(os.Environ(), c.dataDir) }

// app is the program wired together: the one place where modules meet.
type app struct {
	cfg     config.Config
	log     *slog.Logger
	clock   clock.Clock
	metrics *obs.Metrics
	stack   *embedded.Stack // nil with servers of the installation's own
	db      *pg.Pool
	redis   *redis.Client

	databaseURL string // of db

	jobs *jobs.Runner
	bus  *events.Bus
	auth *auth.Service
	api  *api.API

	members
	messaging
	loyalty
	pricing
	selling
	settling

	search    search.Index
	catalogue *product.Catalogue
	stock     *inventory.Service
	sourcing  *sourcing.Service

	importer *importer.Service
	segments *segments.Service
	journeys *journeys.Service

	loops []loops.Loop
}

// openApp connects to the stack of an installation, migrates it and wires the modules. Without LIANKE_DATABASE_URL it
// joins or starts the embedded stack of the data directory, so every command works whether or not serve runs on it.
func openApp(ctx context.Context, c console, flags *common) (*app, error) {
	cfg, err := flags.existing()
	if err != nil {
		return nil, err
	}
	return openAppWith(ctx, c, cfg)
}

// openOrMakeApp is openApp for the commands that an installation may begin with.
func openOrMakeApp(ctx context.Context, c console, flags *common) (*app, error) {
	cfg, err := flags.existingOrNew(c)
	if err != nil {
		return nil, err
	}
	return openAppWith(ctx, c, cfg)
}

func newApp(c console, cfg config.Config) *app {
	return &app{cfg: cfg, log: obs.Logger(c.err, cfg.LogLevel, cfg.LogFormat), clock: clock.System{}, metrics: obs.NewMetrics(version())}
}

func openAppWith(ctx context.Context, c console, cfg config.Config) (_ *app, err error) {
	a := newApp(c, cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.openStores(ctx, embedded.Options{}); err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, a.db, a.log); err != nil {
		return nil, err
	}
	if err := a.wire(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// openStores connects to the configured servers, or to the embedded ones where none are configured. how sets the
// options of the embedded stack other than where and what, settings those of the database connections.
func (a *app) openStores(ctx context.Context, how embedded.Options, settings ...pg.Setting) error {
	a.databaseURL = a.cfg.DatabaseURL
	redisURL := a.cfg.RedisURL
	if a.databaseURL == "" || redisURL == "" {
		how.Dir, how.Log, how.Postgres, how.Redis = a.cfg.DataDir, a.log, a.databaseURL == "", redisURL == ""
		stack, err := embedded.Open(ctx, how)
		if err != nil {
			return err
		}
		a.stack = stack
		if how.Postgres {
			a.databaseURL = stack.DatabaseURL
		}
		if how.Redis {
			redisURL = stack.RedisURL
		}
	}
	var err error
	if a.redis, err = redis.Open(redisURL, a.log); err != nil {
		return err
	}
	if a.db, err = pg.Open(ctx, a.databaseURL, a.cfg.DatabaseConns, settings...); err != nil {
		return err
	}
	a.metrics.WatchPool(a.db.Stat)
	return nil
}

// wire constructs the modules, registers their operations, jobs and subscriptions, and lists their loops by role.
func (a *app) wire(ctx context.Context) error {
	a.jobs = jobs.New(a.db, a.log)
	a.bus = events.New(a.db, a.clock, a.jobs)
	a.auth = auth.New(a.db, a.clock, a.log, org.Tree{})
	a.api = api.New(version(), a.auth, a.log)
	a.api.Pages(api.Facts{Version: version(), Roles: a.cfg.Roles, AdminAddr: a.cfg.AdminAddr})
	api.AccountRoutes(a.api, a.auth, len(a.cfg.PublicURL) > 5 && a.cfg.PublicURL[:5] == "https")

	if err := a.wireMembers(ctx); err != nil {
		return err
	}
	answers := api.NewIdempotency(a.db, a.clock, a.ring)
	a.api.KeepAnswers(answers)
	a.jobs.Every("kept answers", time.Hour, answers.Forget)
	if err := a.wireSearch(); err != nil {
		return err
	}
	a.wireStock()
	a.wireIngest()
	if err := a.wireChannels(); err != nil {
		return err
	}
	a.wireSegments()
	a.wireLoyalty()
	a.wirePricing()
	if err := a.wireSettlement(); err != nil {
		return err
	}
	if err := a.wireSelling(); err != nil {
		return err
	}
	a.wireJourneys(a.segments, a.points, couponsOf{a.coupons})

	a.wireRetention()
	a.loop("jobs", "jobs", a.jobs.Run)
	if a.stack != nil {
		a.loop("", "embedded stack", a.stack.Watch)
	}
	return nil
}

// wireRetention schedules what makes room ahead and clears away behind. Modules with a rhythm of their own do it in
// their loops (channels).
func (a *app) wireRetention() {
	a.jobs.Every("activity partitions", 6*time.Hour, a.activity.MakePartitions)
	a.jobs.Every("feed retention", 10*time.Minute, func(ctx context.Context) error {
		_, err := a.activity.Trim(ctx)
		return err
	})
	a.jobs.Every("event retention", time.Hour, a.bus.Forget)
}

// loop adds a long-lived part that processes with the role run (see internal/loops).
func (a *app) loop(role, name string, run func(ctx context.Context) error) {
	a.loops = append(a.loops, loops.Loop{Role: role, Name: name, Run: run})
}

// Close lets go of the stack; the last command on an embedded one stops it.
func (a *app) Close() error {
	var errs []error
	if a.db != nil {
		a.db.Close()
	}
	if a.redis != nil {
		errs = append(errs, a.redis.Close())
	}
	if a.stack != nil {
		errs = append(errs, a.stack.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// version is the module's version or the commit this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
