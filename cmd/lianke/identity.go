package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
	"github.com/lianke/lianke/member/identity"
)

func identityCommand() command {
	return command{
		name:  "identity",
		args:  "show|explain|merge|split|release|find|export|audit …",
		about: "the graph of who is one person: show ID · explain ID ID · merge ID ID · split BIRTH… · release BIRTH · find TEXT · export DIR · audit",
		run:   identityMain,
	}
}

var errBirth = fault.New(fault.Invalid, "identity.argument", "{value} 不是编号,也不是 来源:编号 或 命名空间[:作用域]=值", "{value} is neither a number nor SOURCE:ID nor NAMESPACE[:SCOPE]=VALUE").
	WithHint("例: 42 · pos:A17 · phone=13812345678", "for example 42, pos:A17 or phone=13812345678")

// identityFlags are the flags of all verbs.
type identityFlags struct {
	*common
	reason  string
	preview bool
}

func identityMain(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, identityCommand())
	f := identityFlags{common: commonFlags(fs)}
	fs.StringVar(&f.reason, "reason", "", "why (merge, split, release): kept with the evidence and in the audit log")
	fs.BoolVar(&f.preview, "preview", false, "only say what would happen (merge, split, release)")
	words, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	want := map[string]int{"show": 1, "explain": 2, "merge": 2, "split": 1, "release": 1, "find": 1, "export": 1, "audit": 0}
	if len(words) == 0 || len(words)-1 < want[words[0]] {
		fs.Usage()
		return errUsage
	}
	if _, known := want[words[0]]; !known {
		fs.Usage()
		return errUsage
	}
	app, err := openApp(ctx, c, f.common)
	if err != nil {
		return err
	}
	defer app.Close()
	ctx = auth.WithActor(ctx, auth.System)
	switch verb, rest := words[0], words[1:]; verb {
	case "show":
		return identityShow(ctx, c, app, f, rest[0])
	case "explain":
		return identityExplain(ctx, c, app, f, rest[0], rest[1])
	case "find":
		return identityFind(ctx, c, app, f, strings.Join(rest, " "))
	case "export":
		return identityExport(ctx, c, app, f, rest[0])
	case "audit":
		return identityAudit(ctx, c, app, f)
	default:
		return identityOperate(ctx, c, app, f, verb, rest)
	}
}

// resolveBirth reads a birth, a member id, SOURCE:ID, or NAMESPACE[:SCOPE]=VALUE.
func resolveBirth(ctx context.Context, app *app, text string) (member.Birth, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return member.Birth(n), nil
	}
	name, value, ok := strings.Cut(text, "=")
	ns, scope, scoped := strings.Cut(name, ":")
	if !ok && scoped {
		ns, scope, value, ok = identity.NSSource, ns, scope, true
	}
	if !ok {
		return 0, errBirth.With("value", text)
	}
	birth, _, err := app.graph.Lookup(ctx, app.db, identity.Key{NS: ns, Scope: scope, Value: value}, app.clock.Now())
	return birth, err
}

func identityShow(ctx context.Context, c console, app *app, f identityFlags, who string) error {
	birth, err := resolveBirth(ctx, app, who)
	if err != nil {
		return err
	}
	cl, err := cluster.Get(ctx, app.db, birth)
	if err != nil {
		return err
	}
	v, err := app.finder.View(ctx, app.db, cl)
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(c.out).Encode(v)
	}
	fmt.Fprintf(c.out, "member %s\n", v.ID)
	tw := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  birth\tnamespace\tscope\tvalue\tfirst seen\t")
	for _, i := range v.Identifiers {
		note := ""
		if i.Quarantined {
			note = "quarantined"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\n", i.Birth, i.Namespace, i.Scope, i.Value, i.FirstSeen.In(clock.Shanghai).Format("2006-01-02"), note)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return printEvidence(c.out, "evidence", v.Evidence)
}

func printEvidence(w io.Writer, title string, list []identity.EvidenceView) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(w, title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range list {
		why := ""
		if e.Rejected != "" {
			why = strings.TrimSpace("not followed: " + string(e.Rejected) + " " + e.Limit)
		}
		fmt.Fprintf(tw, "  %s – %s\t%s\t%s\t%s\t×%d\t%s\n", e.A, e.B, e.Kind, e.Source, e.Last.In(clock.Shanghai).Format("2006-01-02 15:04"), e.Count, why)
	}
	return tw.Flush()
}

func identityExplain(ctx context.Context, c console, app *app, f identityFlags, x, y string) error {
	a, err := resolveBirth(ctx, app, x)
	if err != nil {
		return err
	}
	b, err := resolveBirth(ctx, app, y)
	if err != nil {
		return err
	}
	why, err := app.graph.Explain(ctx, app.db, a, b)
	if err != nil {
		return err
	}
	v := why.View()
	if f.json {
		return json.NewEncoder(c.out).Encode(v)
	}
	if v.Same {
		fmt.Fprintf(c.out, "%s and %s are one person\n", a, b)
	} else {
		fmt.Fprintf(c.out, "%s and %s are two\n", a, b)
	}
	for title, list := range map[string][]identity.EvidenceView{"because": v.Path, "denied": v.Denied, "not followed": v.Rejected} {
		if err := printEvidence(c.out, title, list); err != nil {
			return err
		}
	}
	return nil
}

func identityOperate(ctx context.Context, c console, app *app, f identityFlags, verb string, words []string) error {
	births := make([]member.Birth, len(words))
	for i, w := range words {
		var err error
		if births[i], err = resolveBirth(ctx, app, w); err != nil {
			return err
		}
	}
	do := func(tx pgx.Tx) (out identity.Outcome, err error) {
		action := "member." + verb
		switch verb {
		case "merge":
			out, err = app.graph.Merge(ctx, tx, identity.MergeInput{A: births[0], B: births[1], Actor: auth.System.Name, Reason: f.reason})
		case "release":
			action = "member.identifier_released"
			out, err = app.graph.Release(ctx, tx, identity.ReleaseInput{Birth: births[0], Actor: auth.System.Name, Reason: f.reason})
		default:
			out, err = app.graph.Split(ctx, tx, identity.SplitInput{Births: births, Actor: auth.System.Name, Reason: f.reason})
		}
		if err != nil || f.preview {
			return out, err
		}
		return out, app.auth.Audit(ctx, tx, auth.System, action, "member/"+out.Before[0].Root.String(), map[string]any{"reason": f.reason})
	}
	var out identity.Outcome
	var err error
	if f.preview {
		out, err = app.graph.Preview(ctx, app.db, do)
	} else {
		err = pg.InTx(ctx, app.db, func(tx pgx.Tx) (err error) {
			out, err = do(tx)
			return err
		})
	}
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(c.out).Encode(out.View())
	}
	for _, cl := range out.View().After {
		fmt.Fprintf(c.out, "member %s: %s\n", cl.ID, strings.Join(cl.Births, " "))
	}
	return nil
}

func identityFind(ctx context.Context, c console, app *app, f identityFlags, text string) error {
	scope := auth.Everything
	scope.Reveal = false
	found, err := app.finder.Find(ctx, app.db, scope, identity.Query{Text: text, Limit: 100})
	if err != nil {
		return err
	}
	if f.json {
		items := make([]map[string]any, len(found))
		for i, m := range found {
			items[i] = map[string]any{"id": m.ID.String(), "member": m.IsMember, "name": m.Name.String(), "phone": m.Phone.String(), "home_store": m.HomeStore}
		}
		return json.NewEncoder(c.out).Encode(map[string]any{"items": items})
	}
	tw := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, m := range found {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", m.ID, m.Name, m.Phone, m.HomeStore)
	}
	return tw.Flush()
}

func identityAudit(ctx context.Context, c console, app *app, f identityFlags) error {
	wrong, err := identity.Audit(ctx, app.db)
	if err != nil {
		return err
	}
	if f.json {
		if err := json.NewEncoder(c.out).Encode(map[string]any{"wrong": len(wrong), "ok": len(wrong) == 0}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.out, "%d births are in another cluster than the evidence says\n", len(wrong))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("identity: births in the wrong cluster: %d", len(wrong))
	}
	return nil
}

const exportBirthsSQL = `
COPY (
    SELECT b.birth, b.root, b.ns, b.scope, coalesce(i.epoch, 0) AS epoch, b.person, b.quarantined, b.erased_at IS NOT NULL AS erased
    FROM member.births b
    LEFT JOIN member.identifiers i ON i.birth = b.birth
    ORDER BY b.birth
) TO STDOUT WITH (FORMAT csv, HEADER)`

const exportEvidenceSQL = `
COPY (
    SELECT id, a_birth, b_birth, kind, source, trust, first_at, last_at, n, revoked_at IS NOT NULL AS revoked
    FROM member.evidence
    ORDER BY id
) TO STDOUT WITH (FORMAT csv, HEADER)`

// identityExport writes births.csv and evidence.csv: who is one person and why, without any identifier's value, to be
// scored against a truth.
func identityExport(ctx context.Context, c console, app *app, f identityFlags, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	rows := map[string]int64{}
	for name, sql := range map[string]string{"births": exportBirthsSQL, "evidence": exportEvidenceSQL} {
		n, err := exportCSV(ctx, app, filepath.Join(dir, name+".csv"), sql)
		if err != nil {
			return err
		}
		rows[name] = n
	}
	if f.json {
		return json.NewEncoder(c.out).Encode(map[string]any{"dir": dir, "births": rows["births"], "evidence": rows["evidence"]})
	}
	fmt.Fprintf(c.out, "%d births and %d rows of evidence in %s\n", rows["births"], rows["evidence"], dir)
	return nil
}

func exportCSV(ctx context.Context, app *app, path, sql string) (int64, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	defer file.Close()
	conn, err := app.db.Acquire(ctx)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	defer conn.Release()
	w := bufio.NewWriter(file)
	tag, err := conn.Conn().PgConn().CopyTo(ctx, w, sql)
	if err != nil {
		return 0, fmt.Errorf("export %s: %w", filepath.Base(path), err)
	}
	if err := w.Flush(); err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	return tag.RowsAffected(), file.Close()
}
