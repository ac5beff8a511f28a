package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
)

func importCommand() command {
	return command{
		name: "import", args: "KIND FILE…",
		about: "load CSV, CSV.gz or XLSX files: products, prices, org, entities, members, stock, orders, events, coupons, campaigns",
		run:   runImport,
	}
}

func runImport(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, importCommand())
	common := commonFlags(fs)
	dryRun := fs.Bool("dry-run", false, "validate everything and write nothing")
	live := fs.Bool("live", false, "facts may start journeys, grants and messages; otherwise they are history")
	rejects := fs.String("rejects", "", "where bad rows go (default FILE.rejects.csv; a folder if there are several files)")
	words, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		fs.Usage()
		return errUsage
	}
	kind, files := words[0], words[1:]
	app, err := openOrMakeApp(ctx, c, common)
	if err != nil {
		return err
	}
	defer app.Close()

	total := importer.Report{Kind: kind, DryRun: *dryRun}
	var refused []error
	for _, file := range files {
		in := importer.Input{
			Kind: kind, Path: file, RejectsPath: rejectsPath(file, *rejects, len(files) > 1, *dryRun), DryRun: *dryRun, Live: *live,
			Rejected: firstRejects(c.err, file), Warned: func(w importer.Warning) {
				fmt.Fprintf(c.err, "%s: warning: %s %s%s", filepath.Base(file), w.Code, w.Subject, warningText(w.Code))
				if w.Hint != "" {
					fmt.Fprintf(c.err, " (%s)", w.Hint)
				}
				fmt.Fprintln(c.err)
			},
		}
		bar := newBar(c.err, filepath.Base(file))
		if bar != nil {
			in.Progress = bar.draw
		}
		rep, err := app.importer.Run(ctx, in)
		if bar != nil {
			bar.end()
		}
		if err != nil {
			return err
		}
		total = total.Add(rep)
		if !common.json {
			printReport(c.out, file, rep)
		}
		// A file whose good rows had all been taken before is no failure.
		if rep.Rejected > 0 && rep.Accepted+rep.Duplicates == 0 {
			refused = append(refused, errNothingTaken.With("file", filepath.Base(file), "n", rep.Rejected))
		}
	}
	if _, err := app.catalogue.Index(ctx); err != nil {
		app.log.WarnContext(ctx, "products are not in the search index yet; serve will put them there", "error", err)
	}
	if common.json {
		if err := json.NewEncoder(c.out).Encode(total); err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

var errNothingTaken = fault.New(fault.Invalid, "import.nothing_taken", "{file} 没有导入任何数据:{n} 行全部被拒绝", "nothing of {file} was imported: rows rejected: {n}").
	WithHint("拒绝原因见上方输出;除试运行外,拒绝文件中有每一行的原因", "the first reasons stand above; unless this was a dry run, the reject file has them all")

// warningText says what a warning means and what to do about it.
func warningText(code string) string {
	switch code {
	case "column.unknown":
		return " — 该列未导入,请检查列名 the column was not imported: check its name"
	case "value.unknown":
		return " — 不是已知值,已照原样导入,请检查 not a value that lianke knows; it was taken as it is: check it"
	case "identifier.unusable":
		return " — 该标识无效或为占位值,已忽略,其余列已导入 the identifier is malformed or a placeholder and was left out; the rest of the row was taken"
	case "sku.stub", "store.stub", "org.stub", "entity.stub", "template.stub":
		return " — 编码尚不存在,已建占位,请随后导入 the code did not exist: a stub was made, import its record later"
	}
	return ""
}

// parseMixed reads flags before, between and behind the words.
func parseMixed(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := parse(fs, args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return words, nil
		}
		words = append(words, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// rejectsPath says where the bad rows of a file go. A dry run writes none unless it is told where.
func rejectsPath(file, flag string, several, dryRun bool) string {
	name := filepath.Base(file) + ".rejects.csv"
	switch st, err := os.Stat(flag); {
	case flag == "" && dryRun:
		return ""
	case flag == "":
		return filepath.Join(filepath.Dir(file), name)
	case several || err == nil && st.IsDir():
		return filepath.Join(flag, name)
	default:
		return flag
	}
}

// firstRejects tells the first few bad rows of a file; the reject file has them all.
func firstRejects(w io.Writer, file string) func(int, []fault.Field) {
	told := 0
	return func(line int, problems []fault.Field) {
		if told++; told > 10 {
			return
		}
		for _, p := range problems {
			at := ""
			if p.Path != "" {
				at = " " + p.Path
			}
			fmt.Fprintf(w, "%s:%d:%s %s → %s\n", filepath.Base(file), line, at, p.Text.ZH, p.Hint.ZH)
			fmt.Fprintf(w, "%s:%d:%s %s → %s\n", filepath.Base(file), line, at, p.Text.EN, p.Hint.EN)
		}
	}
}

func printReport(w io.Writer, file string, r importer.Report) {
	what := ""
	if r.DryRun {
		what = " (试运行 dry run)"
	}
	fmt.Fprintf(w, "%s%s: %d 行 rows, %d 接受 accepted, %d 重复 duplicates, %d 拒绝 rejected", filepath.Base(file), what, r.Rows, r.Accepted, r.Duplicates, r.Rejected)
	if r.NetFen != 0 {
		fmt.Fprintf(w, ", 净额 net %s", r.NetFen)
	}
	fmt.Fprintln(w)
	for _, code := range slices.Sorted(maps.Keys(r.Warnings)) {
		fmt.Fprintf(w, "  提示 warning %s × %d%s\n", code, r.Warnings[code], warningText(code))
	}
	if r.Resumed > 0 {
		fmt.Fprintf(w, "  续传 resumed behind row %d\n", r.Resumed)
	}
	if r.Rejects != "" {
		fmt.Fprintf(w, "  拒绝文件 rejects: %s\n", r.Rejects)
	}
}

// bar draws progress on a terminal, a few times a second.
type bar struct {
	w     io.Writer
	name  string
	drawn time.Duration
}

// newBar returns nil where nobody is watching.
func newBar(w io.Writer, name string) *bar {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &bar{w: w, name: name}
}

func (b *bar) draw(p importer.Progress) {
	if p.Elapsed-b.drawn < 200*time.Millisecond && p.Read < p.Bytes {
		return
	}
	b.drawn = p.Elapsed
	done := float64(p.Read) / float64(max(p.Bytes, 1))
	const width = 30
	full := min(int(done*width), width)
	rate := float64(p.Rows-p.Resumed) / max(p.Elapsed.Seconds(), 0.001)
	left := "—"
	if done > 0 {
		left = time.Duration(float64(p.Elapsed) * (1 - done) / done).Round(time.Second).String()
	}
	fmt.Fprintf(b.w, "\r\033[K%s [%s%s] %3.0f%% %d 行 rows, %.0f/s, 剩余 left %s", b.name, strings.Repeat("█", full), strings.Repeat("░", width-full), done*100, p.Rows, rate, left)
}

func (b *bar) end() { fmt.Fprint(b.w, "\r\033[K") }
