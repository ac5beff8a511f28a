package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

const (
	identityWriters = 32
	identityBatch   = 100
	identityRounds  = 3
	identityPeople  = identityRounds * 4_000
	identityVisits  = 4 // observations per person
	identityLookups = 10_000
)

func identityBench() benchmark {
	return benchmark{
		name: "identity",
		about: "32 writers observe overlapping identifiers under constraints, beside look-up-and-insert SQL without locks; " +
			"then two clients look identifiers up",
		run: benchIdentity,
	}
}

// identityForm is one way to record the observations.
type identityForm struct {
	name   string
	db     *pg.Pool
	do     func(context.Context, []identity.Observation) error
	per    []float64 // observations per second, by round
	used   time.Duration
	usedDB bool
}

// benchIdentity runs the same observations through the graph and through two unsafe forms of look-up-and-insert in
// transactions of the same batch size, by turns in rounds of new people on growing tables: "baseline" leaves the same
// durable rows in the product's own tables (births, evidence, members, reach, feed …), "links" only the two tables of rules
// and mappings that customer-data pipelines keep. A third, "per_link", is how such pipelines publish it: a transaction a
// link; it runs once, over a sample. Ratios are medians of the rounds.
func benchIdentity(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, identityWriters+4)
	if err != nil {
		return err
	}
	defer drop()
	other, dropOther, err := b.scratch(ctx, identityWriters+4)
	if err != nil {
		return err
	}
	defer dropOther()
	if _, err := other.Exec(ctx, unsafeSchema+rowsSchema); err != nil {
		return fmt.Errorf("create baselines: %w", err)
	}
	svc := identity.New(db, b.app.clock, b.app.ring, activity.NewLog(db, b.app.clock, b.app.log), events.New(db, b.app.clock, jobs.New(nil, b.app.log)))
	graph := &identityForm{name: "graph", db: db, do: func(ctx context.Context, batch []identity.Observation) error {
		return pg.InTx(ctx, db, func(tx pgx.Tx) error {
			_, err := svc.Observe(ctx, tx, batch)
			return err
		})
	}}
	rows := &identityForm{name: "baseline", db: other, do: rowsBaseline(other, b.app.ring)}
	links := &identityForm{name: "links", db: other, do: linksBaseline(other, b.app.ring)}
	perLink := &identityForm{name: "per_link", db: other, do: perLinkBaseline(other, b.app.ring)}
	all := identityWorkload(b.app.clock.Now())
	n := identityPeople * identityVisits
	for i, round := range all {
		for _, form := range []*identityForm{graph, rows, links} {
			b.progress("round %d of %d: %s", i+1, identityRounds, form.name)
			if err := form.run(ctx, round); err != nil {
				return fmt.Errorf("%s: %w", form.name, err)
			}
		}
	}
	b.progress("a sample through %s", perLink.name)
	if _, err := other.Exec(ctx, `TRUNCATE unsafe.rules, unsafe.mappings`); err != nil {
		return fmt.Errorf("empty baseline: %w", err)
	}
	if err := perLink.run(ctx, all[0][:len(all[0])/4]); err != nil {
		return fmt.Errorf("%s: %w", perLink.name, err)
	}

	f := figures{"observations": n, "writers": identityWriters, "batch": identityBatch, "rounds": identityRounds,
		"per_second": round(median(graph.per), 0), "cpu_ms_per_unit": graph.cpu(n), "cpu_ms_per_unit_includes_postgres": graph.usedDB,
		"baseline_per_second": round(median(rows.per), 0), "baseline_cpu_ms_per_unit": rows.cpu(n),
		"links_per_second": round(median(links.per), 0), "links_cpu_ms_per_unit": links.cpu(n),
		"per_link_per_second": round(perLink.per[0], 0), "ratio_per_link": round(median(graph.per)/perLink.per[0], 2)}
	for key, form := range map[string]*identityForm{"ratio": rows, "ratio_links": links} {
		ratios := make([]float64, identityRounds)
		for i := range ratios {
			ratios[i] = graph.per[i] / form.per[i]
		}
		f[key], f[key+"_least"], f[key+"_most"] = round(median(ratios), 2), round(slices.Min(ratios), 2), round(slices.Max(ratios), 2)
		f[key+"_cpu"] = round(form.cpu(n)/graph.cpu(n), 2)
	}
	if err := checkGraph(ctx, db, f); err != nil {
		return err
	}
	var deadlocks int
	if err := other.QueryRow(ctx, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	f["baselines_deadlocks"] = deadlocks
	b.progress("looking up with two clients")
	if err := benchLookups(ctx, svc, db, slices.Concat(all...), f, b.app.clock.Now()); err != nil {
		return err
	}
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("overlapping", f)
}

// run records one round.
func (m *identityForm) run(ctx context.Context, batches [][]identity.Observation) error {
	cpu := startCPU(ctx, m.db)
	took, err := drive(ctx, batches, func(batch []identity.Observation) error { return m.do(ctx, batch) })
	if err != nil {
		return err
	}
	used, ok := cpu.since()
	m.used, m.usedDB = m.used+used, ok
	m.per = append(m.per, float64(len(batches)*identityBatch)/took.Seconds())
	return nil
}

func (m *identityForm) cpu(units int) float64 {
	return round(m.used.Seconds()*1000/float64(units), 4)
}

// identityWorkload is people met several times at different touchpoints: records in four systems with a phone (one in
// twelve shared with somebody else), a unionid and an openid in some, a device now and then. Visits are shuffled, so that
// writers meet the same people at the same time. Each round has people of its own.
func identityWorkload(now time.Time) [][][]identity.Observation {
	r := rand.New(rand.NewPCG(2026, 11))
	systems := []string{"pos", "tmall", "miniprogram", "app"}
	var rounds [][][]identity.Observation
	const crowd = identityPeople / identityRounds
	for round := range identityRounds {
		rounds = append(rounds, identityCrowd(r, now, systems, round*crowd, crowd))
	}
	return rounds
}

func identityCrowd(r *rand.Rand, now time.Time, systems []string, from, crowd int) [][]identity.Observation {
	var all []identity.Observation
	for p := from; p < from+crowd; p++ {
		owner := p
		if r.IntN(12) == 0 {
			owner = from + r.IntN(crowd)
		}
		for v := range identityVisits {
			keys := []identity.Key{
				{NS: identity.NSSource, Scope: systems[v], Value: fmt.Sprint(p)},
				{NS: identity.NSPhone, Value: fmt.Sprintf("+861380%07d", owner+1)},
			}
			if v >= 2 {
				keys = append(keys, identity.Key{NS: identity.NSWeChatUnionID, Scope: "brand", Value: fmt.Sprintf("uni-%d", p)})
			}
			if r.IntN(10) == 0 {
				keys = append(keys, identity.Key{NS: identity.NSDevice, Value: fmt.Sprintf("tablet-%d", from+r.IntN(crowd/4))})
			}
			all = append(all, identity.Observation{Keys: keys, Kind: identity.KindImport, Source: systems[v],
				At: now.Add(-time.Duration(r.IntN(1_000_000)) * time.Second), EventKey: fmt.Sprintf("%d/%d", p, v), Mode: member.ModeBackfill})
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return slices.Collect(slices.Chunk(all, identityBatch))
}

// drive gives batches to the writers as they become free.
func drive(ctx context.Context, batches [][]identity.Observation, do func([]identity.Observation) error) (time.Duration, error) {
	start := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range identityWriters {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					return nil
				}
				if err := do(batches[i]); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// checkGraph compares the database with the pure partition of all its evidence.
func checkGraph(ctx context.Context, db *pg.Pool, f figures) error {
	lost, err := identity.Audit(ctx, db)
	if err != nil {
		return err
	}
	f["lost"] = len(lost)
	var deadlocks, members, births int
	err = db.QueryRow(ctx, `
SELECT (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()),
       (SELECT count(*) FROM member.members), (SELECT count(*) FROM member.births)`).Scan(&deadlocks, &members, &births)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	f["deadlocks"], f["members"], f["births"] = deadlocks, members, births
	return nil
}

// benchLookups looks random keys up, after what the writers left to clean up, here and in the database, is cleaned.
func benchLookups(ctx context.Context, svc *identity.Service, db *pg.Pool, batches [][]identity.Observation, f figures, now time.Time) error {
	if _, err := db.Exec(ctx, `VACUUM (ANALYZE)`); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	r := rand.New(rand.NewPCG(26, 7))
	keys := make([]identity.Key, identityLookups)
	for i := range keys {
		batch := batches[r.IntN(len(batches))]
		keys[i] = batch[r.IntN(len(batch))].Keys[r.IntN(2)]
	}
	runtime.GC()
	var mu sync.Mutex
	var took []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for client := range 2 {
		g.Go(func() error {
			mine := make([]time.Duration, 0, identityLookups/2)
			for i := client; i < identityLookups; i += 2 {
				t := time.Now()
				if _, _, err := svc.Lookup(ctx, db, keys[i], now); err != nil {
					return err
				}
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	f["lookups_per_second"] = round(identityLookups/time.Since(start).Seconds(), 0)
	slices.Sort(took)
	f["lookup_p50_ms"] = round(float64(took[len(took)/2].Microseconds())/1000, 3)
	f["lookup_p99_ms"] = round(float64(took[len(took)*99/100].Microseconds())/1000, 3)
	return nil
}
