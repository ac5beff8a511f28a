package importer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/sheet"
)

// A batch ends at whichever comes first, up to twice as far if that keeps a group together.
const (
	BatchRows  = 2_000
	BatchBytes = 8 << 20
)

// Service runs imports.
type Service struct {
	db    *pg.Pool
	clock clock.Clock
	kinds map[string]Kind
	store store
}

// New returns a service for the kinds.
func New(db *pg.Pool, clk clock.Clock, kinds ...Kind) *Service {
	s := &Service{db: db, clock: clk, kinds: map[string]Kind{}}
	for _, k := range kinds {
		s.kinds[k.Name()] = k
	}
	return s
}

// Kinds returns the names of the kinds, sorted.
func (s *Service) Kinds() []string { return slices.Sorted(maps.Keys(s.kinds)) }

// Columns returns what a kind reads; nil if there is no such kind.
func (s *Service) Columns(kind string) []Column {
	k, ok := s.kinds[kind]
	if !ok {
		return nil
	}
	return k.Columns()
}

// Run imports one file, or resumes it. Errors: ErrKind, ErrColumns, ErrConcurrent, ErrRejectsPath and those of sheet, all
// before or between batches: what the report counts is stored, nothing else.
func (s *Service) Run(ctx context.Context, in Input) (Report, error) {
	kind, ok := s.kinds[in.Kind]
	if !ok {
		return Report{}, ErrKind.With("kind", in.Kind, "kinds", strings.Join(s.Kinds(), ", "))
	}
	if same(in.Path, in.RejectsPath) {
		return Report{}, ErrRejectsPath
	}
	info, err := sheet.Inspect(in.Path)
	if err != nil {
		return Report{}, err
	}
	table, err := sheet.Open(info)
	if err != nil {
		return Report{}, err
	}
	defer table.Close()
	r := &run{service: s, in: in, kind: kind, info: info, table: table, warned: map[Warning]bool{}}
	if err := r.mapColumns(); err != nil {
		return Report{}, err
	}
	if err := r.all(ctx); err != nil {
		return Report{}, fmt.Errorf("import %s from %s: %w", in.Kind, filepath.Base(in.Path), err)
	}
	return r.report(), nil
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// run is one pass over one file.
type run struct {
	service *Service
	in      Input
	kind    Kind
	info    sheet.Info
	table   *sheet.Reader
	index   map[string]int
	open    []Column // of the file's, those whose other values are kept with a warning
	rejects *rejects
	db      pg.DB // the pool; for a dry run the one connection that has the table of seen keys
	job     job
	held    *row // read, but for the next batch
	resumed int64
	warned  map[Warning]bool
}

// mapColumns matches the header with the kind's columns.
func (r *run) mapColumns() error {
	r.index = map[string]int{}
	known := func(name string) bool {
		return slices.ContainsFunc(r.kind.Columns(), func(c Column) bool {
			return c.Name == name || strings.HasSuffix(c.Name, ".") && strings.HasPrefix(name, c.Name) && len(name) > len(c.Name)
		})
	}
	header := r.table.Header()
	mended := len(header) > len(rejectColumns) && slices.Equal(header[:len(rejectColumns)], rejectColumns)
	for i, name := range header {
		switch {
		case known(name):
			r.index[name] = i
		case name == "" || mended && i < len(rejectColumns):
		default:
			r.warn(Warning{Code: "column.unknown", Subject: name})
		}
	}
	var missing, all []string
	for _, c := range r.kind.Columns() {
		_, ok := r.index[c.Name]
		if c.Required && !ok {
			missing = append(missing, c.Name)
		}
		if ok && c.Open {
			r.open = append(r.open, c)
		}
		if strings.HasSuffix(c.Name, ".") {
			c.Name += "NAME"
		}
		all = append(all, c.Name)
	}
	if len(missing) == 0 {
		return nil
	}
	err := ErrColumns.With("columns", strings.Join(missing, ", "), "known", strings.Join(all, ","))
	for _, name := range missing {
		err = err.WithFields(fault.Field{
			Path: name, Code: "missing",
			Text: fault.Text{ZH: "缺少该列", EN: "the column is missing"},
			Hint: fault.Text{ZH: "请在表头加入 " + name, EN: "add " + name + " to the header row"},
		})
	}
	return err
}

// all takes the whole file.
func (r *run) all(ctx context.Context) (err error) {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if c, ok := r.db.(*dryConn); ok {
		defer c.release()
	}
	r.rejects, err = openRejects(r.in.RejectsPath, r.table.Header(), r.job.RejectsBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.rejects.close()) }()
	started := r.service.clock.Now()
	for range r.resumed {
		if _, err := r.table.Next(); err != nil {
			return fmt.Errorf("find the row to resume at: %w", err)
		}
	}
	for {
		rows, err := r.read()
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		if err := r.take(ctx, rows); err != nil {
			return err
		}
		if r.in.Progress != nil {
			r.in.Progress(Progress{
				Rows: r.job.Rows, Read: r.table.Read(), Bytes: r.info.Size, Resumed: r.resumed,
				Elapsed: r.service.clock.Now().Sub(started),
			})
		}
	}
	if r.in.DryRun {
		return nil
	}
	return pg.InTx(ctx, r.db, func(tx pgx.Tx) error {
		return r.service.store.finish(ctx, tx, r.job, r.service.clock.Now())
	})
}

func (r *run) begin(ctx context.Context) error {
	if r.in.DryRun {
		conn, err := r.service.db.Acquire(ctx)
		if err != nil {
			return fmt.Errorf("prepare dry run: %w", err)
		}
		r.db = &dryConn{conn.Conn(), conn.Release}
		r.job.Warnings = map[string]int64{}
		return r.service.store.createSeen(ctx, r.db)
	}
	r.db = r.service.db
	return pg.InTx(ctx, r.db, func(tx pgx.Tx) (err error) {
		r.job, err = r.service.store.open(ctx, tx, r.kind.Name(), r.mode(), r.info.Hash[:], filepath.Base(r.in.Path), r.info.Size, r.service.clock.Now())
		r.resumed = r.job.Rows
		return err
	})
}

type dryConn struct {
	*pgx.Conn
	release func()
}

func (r *run) mode() string {
	if r.in.Live {
		return "live"
	}
	return "backfill"
}

// row is one row on its way: bad already, or parsed.
type row struct {
	sheet.Row
	record   Record
	key      hash16
	content  hash16
	problems []fault.Field
	warnings []Warning
}

// read returns the next batch, parsed; none at the end of the file.
func (r *run) read() ([]row, error) {
	var out []row
	if r.held != nil {
		out, r.held = append(out, *r.held), nil
	}
	grouper, grouped := r.kind.(Grouper)
	for size := 0; size < 2*BatchBytes && len(out) < 2*BatchRows; {
		full := len(out) >= BatchRows || size >= BatchBytes
		if full && !grouped {
			break
		}
		next, err := r.readRow()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if full {
			last := out[len(out)-1]
			if len(last.problems)+len(next.problems) > 0 || grouper.Group(last.record.Value) != grouper.Group(next.record.Value) {
				r.held = &next
				break
			}
		}
		for _, c := range next.Cells {
			size += len(c) + 16
		}
		out = append(out, next)
	}
	return out, nil
}

func (r *run) readRow() (row, error) {
	line, err := r.table.Next()
	if err != nil {
		return row{}, err
	}
	p := row{Row: line}
	if line.Err != nil {
		p.problems = problemsOf(line.Err)
		return p, nil
	}
	return p, r.parse(&p)
}

func (r *run) parse(p *row) error {
	f := &Fields{index: r.index, cells: p.Cells, serial: r.info.Format == sheet.FormatXLSX}
	key, value := r.kind.Parse(f)
	if p.problems = f.problems; len(p.problems) > 0 {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("line %d: %w", p.Line, err)
	}
	for _, c := range r.open {
		if v := f.Text(c.Name); v != "" && !slices.Contains(c.Values, v) {
			p.warnings = append(p.warnings, Warning{Code: "value.unknown", Subject: c.Name + "=" + shorten(v), Hint: strings.Join(c.Values, ", ")})
		}
	}
	p.record = Record{Line: p.Line, Key: key, Value: value}
	k, c := sha256.Sum256([]byte(key)), sha256.Sum256(text)
	p.key, p.content = hash16(k[:16]), hash16(c[:16])
	return nil
}

// take stores one batch and its checkpoint in one transaction.
func (r *run) take(ctx context.Context, rows []row) error {
	var b *batch
	err := pg.InTx(ctx, r.db, func(tx pgx.Tx) error {
		b = &batch{run: r, tx: tx, job: r.job, pending: map[hash16]int{}}
		b.job.Warnings = maps.Clone(r.job.Warnings)
		if b.job.Warnings == nil {
			b.job.Warnings = map[string]int64{}
		}
		if err := b.load(ctx, rows); err != nil {
			return err
		}
		text, size, err := r.rejects.render(b.bad)
		if err != nil {
			return err
		}
		b.job.RejectsBytes = size
		if !r.in.DryRun {
			// Before the file is touched: it may be another process's by now.
			if err := r.service.store.checkpoint(ctx, tx, b.job, r.job.Rows, r.service.clock.Now()); err != nil {
				return err
			}
		}
		return r.rejects.write(text)
	})
	if err != nil {
		return err
	}
	r.job, r.rejects.size = b.job, b.job.RejectsBytes
	for _, w := range b.warnings {
		r.warn(w)
	}
	if r.in.Rejected != nil {
		for _, bad := range b.bad {
			r.in.Rejected(bad.line, bad.problems)
		}
	}
	return nil
}

func (r *run) warn(w Warning) {
	if r.in.Warned == nil || r.warned[w] || len(r.warned) >= 1000 {
		return
	}
	r.warned[w] = true
	r.in.Warned(w)
}

// shorten keeps what stands in a wrong column from filling a screen.
func shorten(v string) string {
	if r := []rune(v); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return v
}

func (r *run) report() Report {
	rep := Report{
		Kind: r.kind.Name(), Rows: r.job.Rows, Accepted: r.job.Accepted, Rejected: r.job.Rejected,
		Duplicates: r.job.Duplicates, NetFen: r.job.NetFen, Warnings: r.job.Warnings, Resumed: r.resumed, DryRun: r.in.DryRun,
	}
	if r.rejects.size > 0 {
		rep.Rejects = r.in.RejectsPath
	}
	return rep
}
