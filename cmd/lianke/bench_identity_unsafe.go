package main

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member/identity"
)

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

// linksBaseline is unsafeSetBased in a transaction of its own.
func linksBaseline(db *pg.Pool, ring *crypt.Ring) func(context.Context, []identity.Observation) error {
	return func(ctx context.Context, batch []identity.Observation) error {
		links := unsafeLinks(ring, batch)
		return retryForever(ctx, func() error {
			return pg.InTx(ctx, db, func(tx pgx.Tx) error { return unsafeSetBased(ctx, tx, links) })
		})
	}
}

// perLinkBaseline is unsafePerLink in a transaction for each link.
func perLinkBaseline(db *pg.Pool, ring *crypt.Ring) func(context.Context, []identity.Observation) error {
	return func(ctx context.Context, batch []identity.Observation) error {
		for _, l := range unsafeLinks(ring, batch) {
			err := retryForever(ctx, func() error {
				return pg.InTx(ctx, db, func(tx pgx.Tx) error { return unsafePerLink(ctx, tx, l) })
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
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
