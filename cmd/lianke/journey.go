package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/journeys"
)

func journeyCommand() command {
	return command{
		name:  "journey",
		args:  "list|status|simulate|publish|pause|resume|archive|export|import|webhook-secret …",
		about: "rehearse, publish and watch journeys",
		run:   journey,
	}
}

// journeyVerb is one thing to do; it takes n arguments.
type journeyVerb struct {
	name, args, about string
	n                 int
	run               func(j *journeyRun, ctx context.Context) error
}

// journeyVerbs in the order in which people meet them.
func journeyVerbs() []journeyVerb {
	return []journeyVerb{
		{"list", "", "all journeys", 0, (*journeyRun).list},
		{"import", "CODE FILE", "store a document as the draft; - reads standard input", 2, (*journeyRun).load},
		{"export", "CODE [--version N]", "print the draft or a published version", 1, (*journeyRun).export},
		{"simulate", "CODE|FILE --from T --to T", "rehearse over all members; nothing is sent", 1, (*journeyRun).simulate},
		{"publish", "CODE [--plan keep|move|exit] [--map OLD=NEW]", "make the draft the live version", 1, (*journeyRun).publish},
		{"status", "CODE", "figures per node", 1, (*journeyRun).status},
		{"pause", "CODE|all", "stop", 1, (*journeyRun).pause},
		{"resume", "CODE|all", "go on", 1, (*journeyRun).resume},
		{"archive", "CODE", "end for good, with all runs", 1, (*journeyRun).archive},
		{"webhook-secret", "", "print the secret that signs webhook calls", 0, (*journeyRun).webhookSecret},
	}
}

// journeyRun is one call of `lianke journey`.
type journeyRun struct {
	*app
	c       console
	json    bool
	args    []string
	version int
	from    time.Time
	to      time.Time
	live    bool
	trace   string
	costs   map[string]string
	plan    journeys.Plan
}

// instantFlag reads RFC 3339; times without an offset and bare dates are Asia/Shanghai.
type instantFlag struct{ at *time.Time }

func (f instantFlag) String() string { return "" }

func (f instantFlag) Set(s string) error {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, clock.Shanghai); err == nil {
			*f.at = at.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is no time such as 2026-11-11 or 2026-11-11T09:00:00+08:00", s)
}

// pairsFlag collects NAME=VALUE.
type pairsFlag struct{ pairs map[string]string }

func (f pairsFlag) String() string { return "" }

func (f pairsFlag) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("%q is not NAME=VALUE", s)
	}
	f.pairs[name] = value
	return nil
}

func journey(ctx context.Context, c console, args []string) (err error) {
	cmd := journeyCommand()
	fs := newFlags(c, cmd)
	common := commonFlags(fs)
	j := &journeyRun{c: c, costs: map[string]string{}, plan: journeys.Plan{Nodes: map[string]string{}}}
	fs.IntVar(&j.version, "version", 0, "export: this published version instead of the draft")
	fs.Var(instantFlag{&j.from}, "from", "simulate: begin of the period")
	fs.Var(instantFlag{&j.to}, "to", "simulate: end of the period, exclusive")
	fs.BoolVar(&j.live, "live-only", false, "simulate: ignore backfilled facts as the engine does, instead of replaying them as live")
	fs.StringVar(&j.trace, "trace", "", "simulate: write every node that every run came to into this file, one JSON object a line")
	fs.Var(pairsFlag{j.costs}, "cost", "simulate: CHANNEL=FEN, what one message costs; may be repeated")
	fs.StringVar((*string)(&j.plan.Mode), "plan", "keep", "publish: what becomes of runs in flight: keep, move or exit")
	fs.Var(pairsFlag{j.plan.Nodes}, "map", "publish: OLD=NEW node of a moved run; may be repeated")
	for {
		if err := parse(fs, args); err != nil {
			return err
		}
		if fs.NArg() == 0 {
			break
		}
		j.args, args = append(j.args, fs.Arg(0)), fs.Args()[1:]
	}
	if len(j.args) > 0 {
		i := slices.IndexFunc(journeyVerbs(), func(v journeyVerb) bool { return v.name == j.args[0] && v.n == len(j.args)-1 })
		if i >= 0 {
			j.args, j.json = j.args[1:], common.json
			if j.app, err = openApp(ctx, c, common); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, j.app.Close()) }()
			return journeyVerbs()[i].run(j, ctx)
		}
	}
	fs.Usage()
	for _, v := range journeyVerbs() {
		fmt.Fprintf(c.err, "  lianke journey %-54s %s\n", v.name+" "+v.args, v.about)
	}
	return errUsage
}

// print writes v as the last line with --json; otherwise it writes the readable form.
func (j *journeyRun) print(v any, readable func(w io.Writer)) error {
	if j.json {
		return json.NewEncoder(j.c.out).Encode(v)
	}
	tw := tabwriter.NewWriter(j.c.out, 0, 0, 2, ' ', 0)
	readable(tw)
	return tw.Flush()
}

func (j *journeyRun) webhookSecret(context.Context) error {
	secret := string(j.app.webhookSecret())
	return j.print(map[string]any{"webhook_secret": secret}, func(w io.Writer) { fmt.Fprintln(w, secret) })
}

func (j *journeyRun) list(ctx context.Context) error {
	all := []journeys.Info{}
	for after := ""; ; {
		page, err := j.journeys.Find(ctx, "", after, 500)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < 500 {
			break
		}
		after = page[len(page)-1].Code
	}
	return j.print(map[string]any{"journeys": all}, func(w io.Writer) {
		for _, i := range all {
			version := "-"
			if i.LiveVersion != nil {
				version = fmt.Sprintf("v%d", *i.LiveVersion)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", i.Code, i.Status, version, i.Name)
		}
	})
}

func (j *journeyRun) load(ctx context.Context) error {
	raw, err := readDocument(j.c.in, j.args[1])
	if err != nil {
		return err
	}
	info, err := j.journeys.Get(ctx, j.args[0])
	switch {
	case errors.Is(err, journeys.ErrNotFound):
		info, err = j.journeys.Create(ctx, j.args[0], raw)
	case err == nil:
		info, err = j.journeys.Save(ctx, j.args[0], info.Revision, raw)
	}
	if err != nil {
		return err
	}
	return j.print(info, func(w io.Writer) { fmt.Fprintf(w, "%s: draft, revision %d\n", info.Code, info.Revision) })
}

var errNoFile = fault.New(fault.NotFound, "journey.no_file", "无法读取文件 {file}", "file {file} cannot be read").
	WithHint("请检查路径与权限", "check the path and its permissions")

func readDocument(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(in, 2<<20))
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, errNoFile.With("file", name).Because(err)
	}
	return raw, nil
}

func (j *journeyRun) export(ctx context.Context) error {
	raw, err := j.journeys.Draft(ctx, j.args[0], j.version)
	if err != nil {
		return err
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	enc := json.NewEncoder(j.c.out)
	if !j.json {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(doc)
}

func (j *journeyRun) simulate(ctx context.Context) (err error) {
	costs, err := journeys.ParseCosts(j.costs)
	if err != nil {
		return err
	}
	o := journeys.SimulateOptions{From: j.from, To: j.to, LiveOnly: j.live, Costs: costs}
	if j.trace != "" {
		f, ferr := os.OpenFile(j.trace, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if ferr != nil {
			return errNoFile.With("file", j.trace).Because(ferr)
		}
		buf := bufio.NewWriterSize(f, 1<<20)
		defer func() { err = errors.Join(err, buf.Flush(), f.Close()) }()
		enc := json.NewEncoder(buf)
		o.Trace = func(p journeys.TracePoint) error { return enc.Encode(p) }
	}
	name := j.args[0]
	var out journeys.Simulation
	if _, serr := os.Stat(name); serr == nil || name == "-" {
		raw, rerr := readDocument(j.c.in, name)
		if rerr != nil {
			return rerr
		}
		out, err = j.journeys.SimulateDocument(ctx, raw, o)
	} else {
		out, err = j.journeys.Simulate(ctx, name, o)
	}
	if err != nil {
		return err
	}
	return j.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "members\t%d\nruns\t%d\nstill active\t%d\ngoals\t%d\ncost\t%s\n\n", out.Members, out.Started, out.Active, out.Goals, out.CostFen)
		nodeTable(w, out.Nodes)
	})
}

func nodeTable(w io.Writer, nodes []journeys.NodeTotal) {
	fmt.Fprint(w, "node\tkind\tentered\tpassed\twaiting\tsent\n")
	for _, n := range nodes {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", n.Node, n.Kind, n.Entered, n.Passed, n.Waiting, n.Sent)
	}
}

func (j *journeyRun) publish(ctx context.Context) error {
	info, err := j.journeys.Get(ctx, j.args[0])
	if err != nil {
		return err
	}
	p, err := j.journeys.Publish(ctx, info.Code, info.Revision, auth.System.Name, j.plan)
	if err != nil {
		return err
	}
	return j.print(p, func(w io.Writer) {
		fmt.Fprintf(w, "%s: version %d is live; %d runs in flight moved or ended\n", p.Code, p.Version, p.Moved)
	})
}

func (j *journeyRun) status(ctx context.Context) error {
	r, err := j.journeys.Status(ctx, j.args[0])
	if err != nil {
		return err
	}
	return j.print(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s\t%s\nruns\t%d\nactive\t%d\ngoals\t%d (control group %d)\nquarantined\t%d\n\n", r.Code, r.Status, r.Started, r.Active, r.Goals, r.GoalsHeld, len(r.Quarantined))
		nodeTable(w, r.Nodes)
		for _, c := range append(r.Ended, r.Skipped...) {
			fmt.Fprintf(w, "%s %s\t%d\n", c.Metric, c.Detail, c.N)
		}
	})
}

func (j *journeyRun) pause(ctx context.Context) error   { return j.turn(ctx, true, j.journeys.Pause) }
func (j *journeyRun) resume(ctx context.Context) error  { return j.turn(ctx, false, j.journeys.Resume) }
func (j *journeyRun) archive(ctx context.Context) error { return j.one(ctx, j.journeys.Archive) }

func (j *journeyRun) turn(ctx context.Context, stop bool, do func(context.Context, string) (journeys.Info, error)) error {
	if j.args[0] != "all" {
		return j.one(ctx, do)
	}
	if err := j.journeys.PauseAll(ctx, stop); err != nil {
		return err
	}
	return j.print(map[string]any{"paused_all": stop}, func(w io.Writer) { fmt.Fprintf(w, "all journeys stopped: %t\n", stop) })
}

func (j *journeyRun) one(ctx context.Context, do func(context.Context, string) (journeys.Info, error)) error {
	info, err := do(ctx, j.args[0])
	if err != nil {
		return err
	}
	return j.print(info, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", info.Code, info.Status) })
}
