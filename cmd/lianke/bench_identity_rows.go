package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member/identity"
)

// rowsSchema is the product's own tables with their indexes, for a baseline that leaves the same durable rows behind.
const rowsSchema = `
CREATE SCHEMA rows;
CREATE SEQUENCE rows.births_seq;
CREATE TABLE rows.identifiers (LIKE member.identifiers INCLUDING ALL);
ALTER TABLE rows.identifiers ALTER birth SET DEFAULT nextval('rows.births_seq');
CREATE TABLE rows.births (LIKE member.births INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE rows.evidence (LIKE member.evidence INCLUDING ALL) WITH (fillfactor = 85);
CREATE TABLE rows.evidence_events (LIKE member.evidence_events INCLUDING ALL);
CREATE TABLE rows.cluster_history (LIKE member.cluster_history INCLUDING ALL);
CREATE TABLE rows.members (LIKE member.members INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE rows.reach (LIKE member.reach INCLUDING ALL);
CREATE TABLE rows.feed_inbox (LIKE member.feed_inbox INCLUDING ALL);`

type rowsKey struct{ ns, scope, vh string }

// rowsBatch is what the baseline decides about one batch in memory.
type rowsBatch struct {
	at     time.Time
	keys   []rowsKey
	index  map[rowsKey]int
	birth  []int64
	root   []int64 // 0 for those not yet known
	parent []int
	pairs  [][2]int
	hashes [][]byte
}

func newRowsBatch(ring *crypt.Ring, batch []identity.Observation) *rowsBatch {
	b := &rowsBatch{at: batch[0].At, index: map[rowsKey]int{}}
	for _, o := range batch {
		h := sha256.Sum256([]byte(o.EventKey))
		b.hashes = append(b.hashes, h[:])
		first := 0
		for n, k := range o.Keys {
			token := ring.Token(k.NS+k.Scope, k.Value)
			key := rowsKey{k.NS, k.Scope, string(token[:])}
			i, ok := b.index[key]
			if !ok {
				i = len(b.keys)
				b.index[key], b.keys = i, append(b.keys, key)
			}
			if n == 0 {
				first = i
			} else {
				b.pairs = append(b.pairs, [2]int{first, i})
			}
		}
	}
	slices.SortFunc(b.hashes, bytes.Compare)
	b.birth, b.root, b.parent = make([]int64, len(b.keys)), make([]int64, len(b.keys)), make([]int, len(b.keys))
	return b
}

func (b *rowsBatch) find(i int) int {
	for b.parent[i] != i {
		b.parent[i] = b.parent[b.parent[i]]
		i = b.parent[i]
	}
	return i
}

func (b *rowsBatch) columns(which []int) (ns, scope []string, vh [][]byte) {
	for _, i := range which {
		ns, scope, vh = append(ns, b.keys[i].ns), append(scope, b.keys[i].scope), append(vh, []byte(b.keys[i].vh))
	}
	return ns, scope, vh
}

// unsafeRows is look-up-and-insert on the product's tables in three round trips: it looks identifiers up, inserts those it
// did not find, unites in memory what the batch says, and writes births, evidence, history, members, reach and feed. It
// takes no lock before it reads, knows no limits, denials or devices, and leaves out what another transaction inserted
// meanwhile: what loses links.
func unsafeRows(ctx context.Context, tx pgx.Tx, ring *crypt.Ring, batch []identity.Observation) error {
	b := newRowsBatch(ring, batch)
	all := make([]int, len(b.keys))
	for i := range all {
		all[i], b.parent[i] = i, i
	}
	ns, scope, vh := b.columns(all)
	var q pgx.Batch
	var key rowsKey
	var token []byte
	var birth, root int64
	q.Queue(`SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`)
	q.Queue(`INSERT INTO rows.evidence_events (hash, at) SELECT h, $2 FROM unnest($1::bytea[]) AS e (h) ORDER BY h ON CONFLICT DO NOTHING`, b.hashes, b.at)
	q.Queue(`SELECT i.ns, i.scope, i.vh, i.birth, b.root
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS k (ns, scope, vh)
JOIN rows.identifiers i USING (ns, scope, vh)
JOIN rows.births b USING (birth)`, ns, scope, vh).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&key.ns, &key.scope, &token, &birth, &root}, func() error {
			key.vh = string(token)
			b.birth[b.index[key]], b.root[b.index[key]] = birth, root
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &q).Close(); err != nil {
		return err
	}
	fresh := slices.DeleteFunc(all, func(i int) bool { return b.birth[i] != 0 })
	if len(fresh) > 0 {
		ns, scope, vh := b.columns(fresh)
		rows, err := tx.Query(ctx, `INSERT INTO rows.identifiers (ns, scope, vh, epoch, first_seen)
SELECT ns, scope, vh, 0, $4 FROM unnest($1::text[], $2::text[], $3::bytea[]) AS k (ns, scope, vh)
ORDER BY ns, scope, vh ON CONFLICT DO NOTHING RETURNING ns, scope, vh, birth`, ns, scope, vh, b.at)
		if err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, []any{&key.ns, &key.scope, &token, &birth}, func() error {
			key.vh = string(token)
			b.birth[b.index[key]] = birth
			return nil
		}); err != nil {
			return err
		}
	}
	return b.write(ctx, tx, fresh)
}

// unite returns, per group of keys, the smallest root known or else the smallest birth.
func (b *rowsBatch) unite() map[int]int64 {
	byRoot := map[int64]int{}
	for i, r := range b.root {
		if r != 0 {
			if j, ok := byRoot[r]; ok {
				b.parent[b.find(i)] = b.find(j)
			}
			byRoot[r] = i
		}
	}
	for _, p := range b.pairs {
		if b.birth[p[0]] != 0 && b.birth[p[1]] != 0 {
			b.parent[b.find(p[0])] = b.find(p[1])
		}
	}
	best, born := map[int]int64{}, map[int]int64{}
	for i, r := range b.root {
		g := b.find(i)
		if old := best[g]; r != 0 && (old == 0 || r < old) {
			best[g] = r
		}
		if old := born[g]; b.birth[i] != 0 && (old == 0 || b.birth[i] < old) {
			born[g] = b.birth[i]
		}
	}
	for g, r := range born {
		if best[g] == 0 {
			best[g] = r
		}
	}
	return best
}

func (b *rowsBatch) write(ctx context.Context, tx pgx.Tx, fresh []int) error {
	best := b.unite()
	var births, roots, olds, news, born, reachRoots, reachBirths []int64
	var ns, scopes, channels []string
	changed, merged, grown := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	for _, i := range fresh {
		if b.birth[i] == 0 {
			continue // another transaction was first: a lost link
		}
		r := best[b.find(i)]
		births, roots, ns, scopes = append(births, b.birth[i]), append(roots, r), append(ns, b.keys[i].ns), append(scopes, b.keys[i].scope)
		changed[r] = true
		if r == b.birth[i] {
			born = append(born, r)
		} else {
			grown[r] = true
		}
		if ch := map[string]string{"phone": "sms", "device": "push"}[b.keys[i].ns]; ch != "" {
			reachRoots, reachBirths, channels = append(reachRoots, r), append(reachBirths, b.birth[i]), append(channels, ch)
		}
	}
	for i, old := range b.root {
		if r := best[b.find(i)]; old != 0 && old != r && !merged[old] {
			merged[old], grown[r], changed[r] = true, true, true
			olds, news = append(olds, old), append(news, r)
		}
	}
	for _, r := range born {
		delete(grown, r)
	}
	type pair struct{ a, b int64 }
	var pairs []pair
	for _, p := range b.pairs {
		if x, y := b.birth[p[0]], b.birth[p[1]]; x != 0 && y != 0 && x != y {
			pairs = append(pairs, pair{min(x, y), max(x, y)})
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int { return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b)) })
	pairs = slices.Compact(pairs)
	as, bs := make([]int64, len(pairs)), make([]int64, len(pairs))
	for i, p := range pairs {
		as[i], bs[i] = p.a, p.b
	}
	var q pgx.Batch
	q.Queue(`INSERT INTO rows.births (birth, root, raw_root, ns, scope, person, first_fact_at, created_at)
SELECT b, r, r, ns, scope, true, $5, $5 FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS v (b, r, ns, scope)`, births, roots, ns, scopes, b.at)
	q.Queue(`WITH moved AS (
    UPDATE rows.births b SET root = v.new, raw_root = v.new
    FROM unnest($1::bigint[], $2::bigint[]) AS v (old, new)
    WHERE b.root = v.old
    RETURNING b.birth, v.old, v.new
)
INSERT INTO rows.cluster_history (birth, at, old_root, new_root, cause) SELECT birth, $3, old, new, 'observed' FROM moved`, olds, news, b.at)
	q.Queue(`INSERT INTO rows.evidence AS e (a_birth, b_birth, kind, source, trust, first_at, last_at)
SELECT a, b, 'import', 'bench', 2, $3, $3 FROM unnest($1::bigint[], $2::bigint[]) AS v (a, b)
ON CONFLICT (a_birth, b_birth, kind, source) WHERE revoked_at IS NULL DO UPDATE
SET first_at = LEAST(e.first_at, EXCLUDED.first_at), last_at = GREATEST(e.last_at, EXCLUDED.last_at), n = e.n + 1`, as, bs, b.at)
	q.Queue(`DELETE FROM rows.members WHERE id = ANY($1::bigint[])`, olds)
	q.Queue(`DELETE FROM rows.reach WHERE id = ANY($1::bigint[])`, olds)
	q.Queue(`INSERT INTO rows.members (id, is_member, first_fact_at, updated_at) SELECT r, true, $2, $2 FROM unnest($1::bigint[]) AS v (r) ON CONFLICT DO NOTHING`, born, b.at)
	q.Queue(`UPDATE rows.members m SET first_fact_at = LEAST(first_fact_at, $2), version = version + 1, updated_at = $2
FROM unnest($1::bigint[]) AS v (r) WHERE m.id = v.r`, sortedIDs(grown), b.at)
	q.Queue(`INSERT INTO rows.reach (id, channel, birth, granted) SELECT r, c, b, false FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS v (r, c, b) ON CONFLICT DO NOTHING`,
		reachRoots, channels, reachBirths)
	q.Queue(`INSERT INTO rows.feed_inbox (birth, key, occurred_at, mode) SELECT r, '$identity', $2, 'backfill' FROM unnest($1::bigint[]) AS v (r)`,
		append(sortedIDs(changed), olds...), b.at)
	return tx.SendBatch(ctx, &q).Close()
}

func sortedIDs(set map[int64]bool) []int64 {
	out := make([]int64, 0, len(set))
	for id := range set {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// rowsBaseline is unsafeRows in a transaction of its own.
func rowsBaseline(db *pg.Pool, ring *crypt.Ring) func(context.Context, []identity.Observation) error {
	return func(ctx context.Context, batch []identity.Observation) error {
		return retryForever(ctx, func() error {
			return pg.InTx(ctx, db, func(tx pgx.Tx) error { return unsafeRows(ctx, tx, ring, batch) })
		})
	}
}
