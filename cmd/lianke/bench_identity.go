package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/crypt"
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
	identityPeople  = 8_000
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

// benchIdentity runs the same observations through the graph and through two unsafe baselines: look-up-and-insert in
// sets, in transactions of the same batch size, and one transaction per link, as customer-data pipelines publish it.
func benchIdentity(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, identityWriters+4)
	if err != nil {
		return err
	}
	defer drop()
	svc := identity.New(db, b.app.clock, b.app.ring, activity.NewLog(db, b.app.clock, b.app.log), events.New(db, b.app.clock, jobs.New(nil, b.app.log)))
	batches := identityWorkload(b.app.clock.Now())
	n := identityPeople * identityVisits

	f := figures{"observations": n, "writers": identityWriters, "batch": identityBatch}
	b.progress("observing %d overlapping observations with %d writers", n, identityWriters)
	cpu := startCPU(ctx, db)
	took, err := drive(ctx, batches, func(batch []identity.Observation) error {
		return pg.InTx(ctx, db, func(tx pgx.Tx) error {
			_, err := svc.Observe(ctx, tx, batch)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	f["per_second"] = round(float64(n)/took.Seconds(), 0)
	cpu.perUnit(f, "cpu_ms_per_unit", n)
	if err := checkGraph(ctx, db, f); err != nil {
		return err
	}
	unsafe, err := runBaselines(ctx, b, db, batches, f)
	if err != nil {
		return err
	}
	f["ratio"] = round(f["per_second"].(float64)/unsafe[0], 2)
	f["ratio_per_link"] = round(f["per_second"].(float64)/unsafe[1], 2)
	b.progress("looking up with two clients")
	if err := benchLookups(ctx, svc, db, batches, f, b.app.clock.Now()); err != nil {
		return err
	}
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("overlapping", f)
}

// identityWorkload is people met several times at different touchpoints: records in four systems with a phone (one in
// twelve shared with somebody else), a unionid and an openid in some, a device now and then. Visits are shuffled, so that
// writers meet the same people at the same time.
func identityWorkload(now time.Time) [][]identity.Observation {
	r := rand.New(rand.NewPCG(2026, 11))
	systems := []string{"pos", "tmall", "miniprogram", "app"}
	var all []identity.Observation
	for p := range identityPeople {
		owner := p
		if r.IntN(12) == 0 {
			owner = r.IntN(identityPeople)
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
				keys = append(keys, identity.Key{NS: identity.NSDevice, Value: fmt.Sprintf("tablet-%d", r.IntN(identityPeople/4))})
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

func benchLookups(ctx context.Context, svc *identity.Service, db *pg.Pool, batches [][]identity.Observation, f figures, now time.Time) error {
	if _, err := db.Exec(ctx, `ANALYZE member.births, member.identifiers`); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	var mu sync.Mutex
	var took []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for client := range 2 {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(client), 7))
			mine := make([]time.Duration, 0, identityLookups/2)
			for range identityLookups / 2 {
				batch := batches[r.IntN(len(batches))]
				o := batch[r.IntN(len(batch))]
				t := time.Now()
				if _, _, err := svc.Lookup(ctx, db, o.Keys[r.IntN(2)], now); err != nil {
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

// unsafeSchema is the schema of the baselines: mappings and rules, as customer-data pipelines keep them.
const unsafeSchema = `
CREATE SCHEMA unsafe;
CREATE SEQUENCE unsafe.ids;
CREATE TABLE unsafe.mappings (kind text, value bytea, id bigint NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (kind, value));
CREATE INDEX ON unsafe.mappings (id);
CREATE TABLE unsafe.rules (kind_a text, value_a bytea, kind_b text, value_b bytea, at timestamptz NOT NULL, UNIQUE (kind_a, value_a, kind_b, value_b));`

type unsafeLink struct {
	kindA, kindB   string
	valueA, valueB []byte
	at             time.Time
}

func unsafeLinks(ring *crypt.Ring, batch []identity.Observation) []unsafeLink {
	var out []unsafeLink
	for _, o := range batch {
		a := ring.Token(o.Keys[0].NS+o.Keys[0].Scope, o.Keys[0].Value)
		for _, k := range o.Keys[1:] {
			v := ring.Token(k.NS+k.Scope, k.Value)
			out = append(out, unsafeLink{o.Keys[0].NS, k.NS, a[:], v[:], o.At})
		}
	}
	return out
}

// runBaselines returns observations per second of the set-based form, in transactions of the same batch, and of the
// published form, one transaction per link, over a sample.
func runBaselines(ctx context.Context, b *benchRun, db *pg.Pool, batches [][]identity.Observation, f figures) ([2]float64, error) {
	var out [2]float64
	perLink := func(ctx context.Context, links []unsafeLink) error {
		for _, l := range links {
			if err := pg.InTx(ctx, db, func(tx pgx.Tx) error { return unsafePerLink(ctx, tx, l) }); err != nil {
				return err
			}
		}
		return nil
	}
	perBatch := func(ctx context.Context, links []unsafeLink) error {
		return pg.InTx(ctx, db, func(tx pgx.Tx) error { return unsafeSetBased(ctx, tx, links) })
	}
	for i, form := range []struct {
		name    string
		batches [][]identity.Observation
		do      func(context.Context, []unsafeLink) error
	}{{"baseline", batches, perBatch}, {"baseline_per_link", batches[:len(batches)/8], perLink}} {
		b.progress("the same through unsafe SQL: %s", form.name)
		if _, err := db.Exec(ctx, unsafeSchema); err != nil {
			return out, fmt.Errorf("create baseline: %w", err)
		}
		cpu := startCPU(ctx, db)
		took, err := drive(ctx, form.batches, func(batch []identity.Observation) error {
			links := unsafeLinks(b.app.ring, batch)
			return retryForever(ctx, func() error { return form.do(ctx, links) })
		})
		if err != nil {
			return out, fmt.Errorf("%s: %w", form.name, err)
		}
		n := len(form.batches) * identityBatch
		out[i] = float64(n) / took.Seconds()
		f[form.name+"_per_second"] = round(out[i], 0)
		cpu.perUnit(f, form.name+"_cpu_ms_per_unit", n)
		if _, err := db.Exec(ctx, `DROP SCHEMA unsafe CASCADE`); err != nil {
			return out, fmt.Errorf("drop baseline: %w", err)
		}
	}
	return out, nil
}

// retryForever repeats what ends in a deadlock, which the baselines do; InTx gives up after ten times.
func retryForever(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || !pg.Retryable(err) {
			return err
		}
	}
}

// unsafePerLink looks both identifiers up, takes, makes or overwrites the id, and inserts without a lock: what loses links
// under concurrency.
func unsafePerLink(ctx context.Context, tx pgx.Tx, l unsafeLink) error {
	if _, err := tx.Exec(ctx, `INSERT INTO unsafe.rules VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		l.kindA, l.valueA, l.kindB, l.valueB, l.at); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT id FROM unsafe.mappings WHERE (kind, value) IN (($1, $2), ($3, $4))`, l.kindA, l.valueA, l.kindB, l.valueB)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		rows, err := tx.Query(ctx, `SELECT nextval('unsafe.ids')`)
		if err != nil {
			return err
		}
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
			return err
		}
	}
	if len(ids) == 2 {
		if ids[0] == ids[1] {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE unsafe.mappings SET id = $1 WHERE id = $2`, slices.Min(ids), slices.Max(ids))
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO unsafe.mappings VALUES ($1, $2, $5, $6), ($3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		l.kindA, l.valueA, l.kindB, l.valueB, ids[0], l.at)
	return err
}

// unsafeSetBased does the same for the whole batch in five statements, with the union in memory.
func unsafeSetBased(ctx context.Context, tx pgx.Tx, links []unsafeLink) error {
	type key struct{ kind, value string }
	n := len(links)
	// Sorted, which spares it most deadlocks and costs it nothing.
	slices.SortFunc(links, func(x, y unsafeLink) int {
		return cmp.Or(cmp.Compare(x.kindA, y.kindA), bytes.Compare(x.valueA, y.valueA), cmp.Compare(x.kindB, y.kindB), bytes.Compare(x.valueB, y.valueB))
	})
	ka, va, kb, vb, at := make([]string, n), make([][]byte, n), make([]string, n), make([][]byte, n), make([]time.Time, n)
	index := map[key]int{}
	var keys []key
	add := func(kind string, value []byte) int {
		k := key{kind, string(value)}
		i, ok := index[k]
		if !ok {
			i = len(keys)
			index[k] = i
			keys = append(keys, k)
		}
		return i
	}
	var pairs [][2]int
	for i, l := range links {
		ka[i], va[i], kb[i], vb[i], at[i] = l.kindA, l.valueA, l.kindB, l.valueB, l.at
		pairs = append(pairs, [2]int{add(l.kindA, l.valueA), add(l.kindB, l.valueB)})
	}
	if _, err := tx.Exec(ctx, `INSERT INTO unsafe.rules SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[], $5::timestamptz[]) ON CONFLICT DO NOTHING`,
		ka, va, kb, vb, at); err != nil {
		return err
	}
	kinds, values := make([]string, len(keys)), make([][]byte, len(keys))
	for i, k := range keys {
		kinds[i], values[i] = k.kind, []byte(k.value)
	}
	rows, err := tx.Query(ctx, `SELECT m.kind, m.value, m.id FROM unnest($1::text[], $2::bytea[]) AS k (kind, value) JOIN unsafe.mappings m USING (kind, value)`, kinds, values)
	if err != nil {
		return err
	}
	have := make([]int64, len(keys))
	var kind string
	var value []byte
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&kind, &value, &id}, func() error {
		have[index[key{kind, string(value)}]] = id
		return nil
	}); err != nil {
		return err
	}
	parent := make([]int, len(keys))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	byID := map[int64]int{}
	for i, h := range have {
		if h == 0 {
			continue
		}
		if j, ok := byID[h]; ok {
			parent[find(i)] = find(j)
		}
		byID[h] = i
	}
	for _, p := range pairs {
		parent[find(p[0])] = find(p[1])
	}
	best := map[int]int64{}
	for i, h := range have {
		if r := find(i); h != 0 && (best[r] == 0 || h < best[r]) {
			best[r] = h
		}
	}
	fresh := 0
	for i := range keys {
		if best[find(i)] == 0 {
			fresh++
			best[find(i)] = -1
		}
	}
	rows, err = tx.Query(ctx, `SELECT nextval('unsafe.ids') FROM generate_series(1, $1)`, fresh)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	var newKinds []string
	var newValues [][]byte
	var newIDs, olds, news []int64
	moved := map[int64]bool{}
	for i := range keys {
		r := find(i)
		if best[r] == -1 {
			best[r], ids = ids[0], ids[1:]
		}
		switch {
		case have[i] == 0:
			newKinds, newValues, newIDs = append(newKinds, kinds[i]), append(newValues, values[i]), append(newIDs, best[r])
		case have[i] != best[r] && !moved[have[i]]:
			moved[have[i]] = true
			olds, news = append(olds, have[i]), append(news, best[r])
		}
	}
	if len(olds) > 0 {
		if _, err := tx.Exec(ctx, `UPDATE unsafe.mappings m SET id = v.new FROM unnest($1::bigint[], $2::bigint[]) AS v (old, new) WHERE m.id = v.old`, olds, news); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO unsafe.mappings SELECT k, v, i, $4 FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS t (k, v, i) ORDER BY k, v ON CONFLICT DO NOTHING`,
		newKinds, newValues, newIDs, at[0])
	return err
}
