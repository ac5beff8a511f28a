package importer

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// batch is one attempt at storing some rows.
type batch struct {
	run      *run
	tx       pgx.Tx
	job      job
	bad      []badRow
	warnings []Warning

	known   map[hash16]hash16
	wave    []row          // rows with different keys, to be loaded together
	repeats map[int][]row  // duplicates of rows in the wave, by index: they share its fate
	pending map[hash16]int // key → index in wave
}

// load takes the rows in the order of the file. Rows with the same key and other content go to different waves, so that
// the later one updates the earlier.
func (b *batch) load(ctx context.Context, rows []row) error {
	var keys [][]byte
	for i := range rows {
		if len(rows[i].problems) == 0 {
			keys = append(keys, rows[i].key[:])
		}
	}
	if err := b.look(ctx, keys); err != nil {
		return err
	}
	b.repeats = map[int][]row{}
	for _, r := range rows {
		b.job.Rows++
		if len(r.problems) > 0 {
			b.reject(r)
			continue
		}
		if i, ok := b.pending[r.key]; ok {
			if b.wave[i].content == r.content {
				b.repeats[i] = append(b.repeats[i], r)
				continue
			}
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
		if content, ok := b.known[r.key]; ok && content == r.content {
			b.job.Duplicates++
			continue
		}
		b.pending[r.key] = len(b.wave)
		b.wave = append(b.wave, r)
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	// Rejected rows in the order of the file, whichever step rejected them.
	slices.SortStableFunc(b.bad, func(x, y badRow) int { return x.line - y.line })
	return nil
}

func (b *batch) look(ctx context.Context, keys [][]byte) (err error) {
	s := b.run.service.store
	if b.known, err = s.known(ctx, b.tx, b.run.kind.Name(), keys); err != nil {
		return err
	}
	if !b.run.in.DryRun {
		return nil
	}
	seen, err := s.seen(ctx, b.tx, keys)
	for key, content := range seen {
		b.known[key] = content
	}
	return err
}

// flush loads the wave and remembers what was taken.
func (b *batch) flush(ctx context.Context) error {
	if len(b.wave) == 0 {
		return nil
	}
	in := Batch{Live: b.run.in.Live, Now: b.run.service.clock.Now(), Records: make([]Record, len(b.wave))}
	for i := range b.wave {
		in.Records[i] = b.wave[i].record
		_, in.Records[i].Update = b.known[b.wave[i].key]
	}
	results, err := b.store(ctx, in)
	if err != nil {
		return err
	}
	if len(results) != len(b.wave) {
		return fmt.Errorf("kind %s returned %d results for %d records", b.run.kind.Name(), len(results), len(b.wave))
	}
	var keys, contents [][]byte
	for i, res := range results {
		r := b.wave[i]
		b.warn(res.Warnings)
		if res.Reject != nil {
			for _, r := range append([]row{r}, b.repeats[i]...) {
				r.problems = append(r.problems, *res.Reject)
				b.reject(r)
			}
			continue
		}
		b.warn(r.warnings)
		b.job.Accepted++
		b.job.Duplicates += int64(len(b.repeats[i]))
		b.job.NetFen += res.NetFen
		b.known[r.key] = r.content
		keys, contents = append(keys, r.key[:]), append(contents, r.content[:])
	}
	b.wave = b.wave[:0]
	clear(b.pending)
	clear(b.repeats)
	if b.run.in.DryRun {
		return b.run.service.store.rememberSeen(ctx, b.tx, keys, contents)
	}
	return b.run.service.store.remember(ctx, b.tx, b.run.kind.Name(), keys, contents)
}

// store hands the wave to the kind; in a dry run what it writes is rolled back at once.
func (b *batch) store(ctx context.Context, in Batch) (results []Result, err error) {
	if !b.run.in.DryRun {
		return b.run.kind.Load(ctx, b.tx, in)
	}
	sp, err := b.tx.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin dry run: %w", err)
	}
	results, err = b.run.kind.Load(ctx, sp, in)
	if err != nil {
		return nil, err
	}
	if err := sp.Rollback(ctx); err != nil {
		return nil, fmt.Errorf("roll dry run back: %w", err)
	}
	return results, nil
}

func (b *batch) warn(warnings []Warning) {
	for _, w := range warnings {
		b.job.Warnings[w.Code]++
		b.warnings = append(b.warnings, w)
	}
}

func (b *batch) reject(r row) {
	b.job.Rejected++
	b.bad = append(b.bad, badRow{line: r.Line, cells: r.Cells, problems: r.problems})
}
