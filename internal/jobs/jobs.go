// Package jobs runs background work on River, in PostgreSQL: jobs are inserted in the transaction that makes them
// necessary and run at least once after it commits, so their handlers are idempotent. It is the only package that knows
// River. Never insert one job per member: per-member volume goes through the activity feed (docs/architecture.md).
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/lianke/lianke/internal/obs"
	"github.com/lianke/lianke/internal/pg"
)

// Args is a job's arguments: JSON-encodable, with a Kind that names the handler. They hold ids, never personal data.
type Args = river.JobArgs

// Options tune one insertion: ScheduledAt, MaxAttempts, UniqueOpts.
type Options = river.InsertOpts

// Runner registers handlers, inserts jobs and runs them.
type Runner struct {
	pool     *pg.Pool
	log      *slog.Logger
	workers  *river.Workers
	periodic []*river.PeriodicJob
	ticks    map[string]func(context.Context) error

	once   sync.Once
	client *river.Client[pgx.Tx]
	err    error
}

// jobTimeout is how long one job may run.
const jobTimeout = 10 * time.Minute

// New returns a runner without handlers. pool may be nil when jobs are only inserted, never run.
func New(pool *pg.Pool, log *slog.Logger) *Runner {
	r := &Runner{pool: pool, log: log, workers: river.NewWorkers(), ticks: map[string]func(context.Context) error{}}
	Handle(r, func(ctx context.Context, tick tickArgs) error {
		fn, ok := r.ticks[tick.Name]
		if !ok {
			return river.JobCancel(fmt.Errorf("no periodic job %q in this version", tick.Name))
		}
		return fn(ctx)
	})
	return r
}

// Handle registers the handler of jobs whose arguments are T. All handlers are registered before the first Insert or Run.
func Handle[T Args](r *Runner, fn func(ctx context.Context, args T) error) {
	river.AddWorker(r.workers, river.WorkFunc(func(ctx context.Context, job *river.Job[T]) error {
		return fn(ctx, job.Args)
	}))
}

// Every runs fn at the interval, on one process of the installation at a time. A run that is missed is not made up for.
func (r *Runner) Every(name string, interval time.Duration, fn func(ctx context.Context) error) {
	if _, dup := r.ticks[name]; dup {
		panic("jobs: periodic job registered twice: " + name)
	}
	r.ticks[name] = fn
	r.periodic = append(r.periodic, river.NewPeriodicJob(
		river.PeriodicInterval(interval),
		func() (river.JobArgs, *river.InsertOpts) {
			return tickArgs{Name: name}, &river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: unfinished}}
		},
		&river.PeriodicJobOpts{ID: strings.ReplaceAll(name, " ", "-"), RunOnStart: true},
	))
}

// unfinished are the states in which a run stands in the way of the next one. River's default counts completed runs too,
// and would let a periodic job run once a day.
var unfinished = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled,
}

type tickArgs struct {
	Name string `json:"name" river:"unique"`
}

func (tickArgs) Kind() string { return "tick" }

// Insert adds a job in the caller's transaction; it runs after the commit.
func (r *Runner) Insert(ctx context.Context, tx pgx.Tx, args Args, opts *Options) error {
	client, err := r.get()
	if err != nil {
		return err
	}
	if _, err := client.InsertTx(ctx, tx, args, opts); err != nil {
		return fmt.Errorf("insert job %s: %w", args.Kind(), err)
	}
	return nil
}

// Run works jobs until ctx ends, then gives those at work ten seconds to finish.
func (r *Runner) Run(ctx context.Context) error {
	client, err := r.get()
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start jobs: %w", err)
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = client.Stop(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return client.StopAndCancel(hard)
	}
	return err
}

func (r *Runner) get() (*river.Client[pgx.Tx], error) {
	r.once.Do(func() {
		cfg := &river.Config{
			Schema: pg.JobSchema,
			// River tells the number of jobs done every five seconds.
			Logger:       obs.AtLeast(slog.LevelWarn, r.log),
			Workers:      r.workers,
			PeriodicJobs: r.periodic,
			Queues:       map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 8}},
			JobTimeout:   jobTimeout,
			// Jobs of a process that was killed stay "running" until then.
			RescueStuckJobsAfter: jobTimeout + time.Minute,
		}
		var driver *riverpgxv5.Driver
		if r.pool != nil {
			driver = riverpgxv5.New(r.pool.Pool)
		} else {
			driver = riverpgxv5.New(nil)
			cfg.Queues, cfg.PeriodicJobs = nil, nil
		}
		r.client, r.err = river.NewClient(driver, cfg)
	})
	if r.err != nil {
		return nil, fmt.Errorf("set up jobs: %w", r.err)
	}
	return r.client, nil
}
