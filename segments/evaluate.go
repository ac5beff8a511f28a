package segments

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Evaluate tells for each of the ids whether the rule holds at the instant: facts up to it, today's graph and attributes.
// Ids that are not members then, or no roots, are false. db may be a transaction. ErrRule names references that do not
// exist, ErrCycle references that run in a circle.
func (s *Service) Evaluate(ctx context.Context, db pg.DB, rule Rule, at time.Time, ids []member.ID) (map[member.ID]bool, error) {
	out := make(map[member.ID]bool, len(ids))
	for _, id := range ids {
		out[id] = false
	}
	if len(ids) == 0 {
		return out, nil
	}
	refs, err := resolve(ctx, db, rule)
	if err != nil {
		return nil, err
	}
	held, err := run(ctx, db, compile(rule, at, ids, refs))
	if err != nil {
		return nil, err
	}
	for _, id := range held {
		out[id] = true
	}
	return out, nil
}

// Members returns everybody for whom the rule holds at the instant, in ascending order. Errors as Evaluate.
func (s *Service) Members(ctx context.Context, db pg.DB, rule Rule, at time.Time) ([]member.ID, error) {
	refs, err := resolve(ctx, db, rule)
	if err != nil {
		return nil, err
	}
	var ids []member.ID
	err = whole(ctx, db, func(tx pgx.Tx) (err error) {
		ids, err = run(ctx, tx, compile(rule, at, nil, refs).wrap("%s\nORDER BY id"))
		return err
	})
	return ids, err
}

// wholeMemorySQL lets the hashes of a statement over everybody stay in memory; more than that is kept where it is configured.
const wholeMemorySQL = `
SELECT set_config('work_mem', greatest(65536, pg_size_bytes(current_setting('work_mem')) / 1024) || 'kB', true)`

// whole runs fn in a transaction whose statements may look at everybody.
func whole(ctx context.Context, db pg.DB, fn func(tx pgx.Tx) error) error {
	return pg.InTx(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, wholeMemorySQL); err != nil {
			return err
		}
		return fn(tx)
	})
}

// Count returns how many Members would return.
func (s *Service) Count(ctx context.Context, db pg.DB, rule Rule, at time.Time) (int64, error) {
	refs, err := resolve(ctx, db, rule)
	if err != nil {
		return 0, err
	}
	st := compile(rule, at, nil, refs).wrap("SELECT count(*) FROM (%s) s")
	var n int64
	text, args := st.query()
	err = whole(ctx, db, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, text, pgx.QueryExecModeCacheDescribe, args).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("count segment: %w", err)
	}
	return n, nil
}

// run executes a statement that selects ids. It is planned each time with its real parameters: a generic plan cannot know
// how wide a window or how common a key is.
func run(ctx context.Context, db pg.DB, st statement) ([]member.ID, error) {
	text, args := st.query()
	rows, err := db.Query(ctx, text, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return nil, fmt.Errorf("evaluate segment: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
	if err != nil {
		return nil, fmt.Errorf("evaluate segment: %w", err)
	}
	return ids, nil
}

const refsSQL = `
SELECT code, rule, status
FROM segments.segments
WHERE code = ANY(@codes)`

const listsSQL = `
SELECT code
FROM segments.lists
WHERE code = ANY(@codes)`

// resolve loads the rules of all segments the rule refers to, directly or through others.
func resolve(ctx context.Context, db pg.DB, rule Rule) (map[string]Rule, error) {
	refs := map[string]Rule{}
	lists := rule.terms.Lists
	for want := rule.terms.Segments; len(want) > 0; {
		rows, err := db.Query(ctx, refsSQL, pg.Args{"codes": want})
		if err != nil {
			return nil, fmt.Errorf("load referenced segments: %w", err)
		}
		var code, status string
		var r Rule
		found := map[string]Rule{}
		if _, err := pgx.ForEachRow(rows, []any{&code, &r, &status}, func() error {
			if status != string(StatusArchived) {
				found[code] = r
			}
			r = Rule{}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("load referenced segments: %w", err)
		}
		var next []string
		for _, code := range want {
			r, ok := found[code]
			if !ok {
				return nil, missing(rule, code)
			}
			refs[code] = r
			lists = append(lists, r.terms.Lists...)
			for _, c := range r.terms.Segments {
				if _, known := refs[c]; !known && !slices.Contains(next, c) && !slices.Contains(want, c) {
					next = append(next, c)
				}
			}
		}
		want = next
	}
	if path := cycle(rule, refs); path != nil {
		return nil, ErrCycle.With("path", trail(path))
	}
	if len(lists) > 0 {
		rows, err := db.Query(ctx, listsSQL, pg.Args{"codes": lists})
		if err != nil {
			return nil, fmt.Errorf("load referenced lists: %w", err)
		}
		known, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("load referenced lists: %w", err)
		}
		for _, code := range lists {
			if !slices.Contains(known, code) {
				return nil, missingList(rule, code)
			}
		}
	}
	return refs, nil
}

// cycle returns the codes along a circle of references, or nil.
func cycle(rule Rule, refs map[string]Rule) []string {
	done := map[string]bool{}
	var walk func(r Rule, trail []string) []string
	walk = func(r Rule, trail []string) []string {
		for _, code := range r.terms.Segments {
			if i := slices.Index(trail, code); i >= 0 {
				return append(trail[i:], code)
			}
			if done[code] {
				continue
			}
			if path := walk(refs[code], append(slices.Clone(trail), code)); path != nil {
				return path
			}
			done[code] = true
		}
		return nil
	}
	return walk(rule, nil)
}

func trail(path []string) string { return strings.Join(path, " → ") }

// missing is the fault of a reference to a segment that does not exist, at its place if the rule itself has it.
func missing(rule Rule, code string) error {
	f := fault.Field{
		Path: "", Code: "segment",
		Text: fault.Text{ZH: "没有编码为 " + code + " 的人群", EN: "there is no segment " + code},
		Hint: fault.Text{ZH: "请检查编码,或先创建该人群", EN: "check the code, or create that segment first"},
	}
	visit(rule.root, func(n node) {
		if s, ok := n.(segmentNode); ok && s.Segment == code {
			f.Path = s.path
		}
	})
	return ErrRule.WithFields(f)
}

func missingList(rule Rule, code string) error {
	f := fault.Field{
		Path: "", Code: "list",
		Text: fault.Text{ZH: "没有编码为 " + code + " 的名单", EN: "there is no list " + code},
		Hint: fault.Text{ZH: "请检查编码,或先上传该名单", EN: "check the code, or upload that list first"},
	}
	visit(rule.root, func(n node) {
		if l, ok := n.(listNode); ok && l.List == code {
			f.Path = l.path
		}
	})
	return ErrRule.WithFields(f)
}

// visit calls fn for every node of the tree, parents first.
func visit(n node, fn func(node)) {
	fn(n)
	switch n := n.(type) {
	case allNode:
		for _, c := range n.All {
			visit(c, fn)
		}
	case anyNode:
		for _, c := range n.Any {
			visit(c, fn)
		}
	case notNode:
		visit(n.Not, fn)
	}
}
