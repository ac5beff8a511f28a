package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// benchmark measures one thing beside its baseline. Each lives in a file bench_<name>.go and is listed in benchmarks.
type benchmark struct {
	name  string
	about string
	run   func(ctx context.Context, b *benchRun) error
}

// benchmarks in the order of docs/architecture.md §6.
func benchmarks() []benchmark {
	return []benchmark{
		identityBench(),
		ledgerBench(),
		checkoutBench(),
		ingestBench(),
		journeyMassBench(),
		sendBench(),
		hotSKUBench(),
	}
}

// figures are what a set measured: ratio, p99_ms, per_second, cpu_ms_per_unit …
type figures map[string]any

// benchRun is one run of one benchmark.
type benchRun struct {
	app *app
	// dir holds input sets, "" if none was given.
	dir  string
	name string
	c    console
	json bool
}

// report prints what one set measured, as one JSON object on a line with --json.
func (b *benchRun) report(set string, f figures) error {
	out := figures{"bench": b.name, "set": set}
	maps.Copy(out, f)
	if b.json {
		line, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("encode figures: %w", err)
		}
		_, err = fmt.Fprintln(b.c.out, string(line))
		return err
	}
	fmt.Fprintf(b.c.out, "%s · %s\n", b.name, set)
	tw := tabwriter.NewWriter(b.c.out, 0, 0, 2, ' ', 0)
	for _, k := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(tw, "  %s\t%v\n", k, f[k])
	}
	return tw.Flush()
}

// progress tells the person who waits what is going on.
func (b *benchRun) progress(format string, args ...any) {
	fmt.Fprintf(b.c.err, format+"\n", args...)
}

// scratch returns a migrated database of the benchmark's own on the same server, dropped by the returned function.
func (b *benchRun) scratch(ctx context.Context, maxConns int) (*pg.Pool, func(), error) {
	var suffix [6]byte
	rand.Read(suffix[:])
	name := "bench_" + hex.EncodeToString(suffix[:])
	if _, err := b.app.db.Exec(ctx, `CREATE DATABASE `+name); err != nil {
		return nil, nil, fmt.Errorf("create scratch database: %w", err)
	}
	drop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := b.app.db.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`); err != nil {
			b.progress("drop scratch database %s: %v", name, err)
		}
	}
	target, err := onDatabase(b.app.db.Config().ConnString(), name)
	if err != nil {
		drop()
		return nil, nil, err
	}
	db, err := pg.Open(ctx, target, maxConns)
	if err != nil {
		drop()
		return nil, nil, err
	}
	if err := pg.Migrate(ctx, db, b.app.log); err != nil {
		db.Close()
		drop()
		return nil, nil, err
	}
	return db, func() { db.Close(); drop() }, nil
}

// onDatabase replaces the database in a connection string of either form.
func onDatabase(conn, name string) (string, error) {
	if !strings.Contains(conn, "://") {
		return conn + " dbname=" + name, nil
	}
	u, err := url.Parse(conn)
	if err != nil {
		return "", fmt.Errorf("database url: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

var (
	errNoBench = fault.New(fault.Invalid, "bench.unknown", "没有名为 {name} 的基准测试", "there is no benchmark {name}").
			WithHint("可用: {names}", "use one of {names}")
	errBusy = fault.New(fault.Precondition, "bench.busy", "其他进程占用了 {percent}% 的处理器,结果不可信", "other processes use {percent} % of the machine, so figures would mean little").
		WithHint("请关闭其他程序后重试,或去掉 --strict", "stop them and try again, or leave out --strict")
)

func benchCommand() command {
	return command{
		name:  "bench",
		args:  "NAME [DIR] [--strict] [--json]",
		about: "measure one thing beside its baseline",
		run:   bench,
	}
}

func bench(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, benchCommand())
	common := commonFlags(fs)
	strict := fs.Bool("strict", false, "refuse when other processes use over 10 % of the machine")
	rest, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(benchmarks()))
	for _, x := range benchmarks() {
		names = append(names, x.name)
	}
	if len(rest) == 0 || len(rest) > 2 {
		fs.Usage()
		for _, x := range benchmarks() {
			fmt.Fprintf(c.err, "  %-14s %s\n", x.name, x.about)
		}
		return errUsage
	}
	i := slices.Index(names, rest[0])
	if i < 0 {
		return errNoBench.With("name", rest[0], "names", strings.Join(names, ", "))
	}
	if *strict {
		if busy, ok := othersBusy(time.Second); ok && busy > 0.10 {
			return errBusy.With("percent", int(busy*100))
		}
	}
	app, err := openOrMakeApp(ctx, c, common)
	if err != nil {
		return err
	}
	defer app.Close()
	run := &benchRun{app: app, name: rest[0], c: c, json: common.json}
	if len(rest) == 2 {
		run.dir = rest[1]
	}
	return benchmarks()[i].run(ctx, run)
}

// othersBusy returns the share of all processors that was busy over a while in which this process slept.
func othersBusy(over time.Duration) (share float64, ok bool) {
	busy0, total0, ok0 := cpuJiffies()
	time.Sleep(over)
	busy1, total1, ok1 := cpuJiffies()
	if !ok0 || !ok1 || total1 == total0 {
		return 0, false
	}
	return float64(busy1-busy0) / float64(total1-total0), true
}

func cpuJiffies() (busy, total uint64, ok bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:] {
		var n uint64
		if _, err := fmt.Sscan(f, &n); err != nil {
			return 0, 0, false
		}
		if i >= 8 { // guest time is counted in user time
			break
		}
		total += n
		if i != 3 && i != 4 { // idle, iowait
			busy += n
		}
	}
	return busy, total, true
}

// machine is what figures depend on.
func machine() figures {
	return figures{"cores": runtime.NumCPU(), "go": runtime.Version(), "gomaxprocs": runtime.GOMAXPROCS(0)}
}
