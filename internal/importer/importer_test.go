package importer_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// till is a kind of the tests: amounts under a code. Codes with "locked" are refused by the store.
type till struct{}

type entry struct {
	Code   string
	Amount money.Fen
}

func (till) Name() string { return "till" }

func (till) Columns() []importer.Column {
	return []importer.Column{{Name: "code", Required: true}, {Name: "amount", Required: true}, {Name: "at"}, {Name: "attr."}}
}

func (till) Parse(f *importer.Fields) (string, any) {
	f.Time("at")
	e := entry{Code: f.Need("code"), Amount: f.Fen("amount")}
	return e.Code, e
}

func (till) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	out := make([]importer.Result, len(b.Records))
	for i, rec := range b.Records {
		e := rec.Value.(entry)
		if strings.Contains(e.Code, "locked") {
			out[i].Reject = &fault.Field{Path: "code", Code: "locked", Text: fault.Text{ZH: "已锁定", EN: "is locked"}}
			continue
		}
		_, err := tx.Exec(ctx, `INSERT INTO public.till VALUES ($1, $2, 1) ON CONFLICT (code) DO UPDATE SET amount = $2, writes = till.writes + 1`, e.Code, e.Amount)
		if err != nil {
			return nil, err
		}
		out[i].NetFen = e.Amount
	}
	return out, nil
}

func open(t testing.TB, db *pg.Pool) *importer.Service {
	t.Helper()
	_, err := db.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS public.till (code text PRIMARY KEY, amount bigint NOT NULL, writes bigint NOT NULL)`)
	require.NoError(t, err)
	return importer.New(db, clock.System{}, till{})
}

func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "till.csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func content(t testing.TB, db *pg.Pool) map[string]int64 {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT code, amount FROM public.till`)
	require.NoError(t, err)
	out := map[string]int64{}
	var code string
	var amount int64
	_, err = pgx.ForEachRow(rows, []any{&code, &amount}, func() error { out[code] = amount; return nil })
	require.NoError(t, err)
	return out
}

func TestCountsAcceptedRejectedDuplicatesAndUpdates(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := open(t, db)
	path := file(t, "code,amount,at,colour\nA,100,,x\nB,200,2026-11-23,\nA,100,,\nA,150,,\nlocked,1,,\nlocked,1,,\nC,12.5,not a time,\nD\n,7,,\nB,200,2026-11-23,\n")
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	var warned []importer.Warning
	rep, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path, RejectsPath: rejects, Warned: func(w importer.Warning) { warned = append(warned, w) }})
	require.NoError(t, err)
	require.Equal(t, importer.Report{
		Kind: "till", Rows: 10, Accepted: 3, Rejected: 5, Duplicates: 2, NetFen: 450, Warnings: map[string]int64{}, Rejects: rejects,
	}, rep)
	require.Equal(t, []importer.Warning{{Code: "column.unknown", Subject: "colour"}}, warned)
	require.Equal(t, map[string]int64{"A": 150, "B": 200}, content(t, db))

	st, err := os.Stat(rejects)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	text, err := os.ReadFile(rejects)
	require.NoError(t, err)
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\uFEFF")))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 6)
	require.Equal(t, []string{"line", "column", "reason", "text_zh", "text_en", "code", "amount", "at", "colour"}, rows[0])
	require.Equal(t, []string{"6", "code", "locked"}, rows[1][:3])
	require.Equal(t, []string{"8", "at; amount", "time; number"}, rows[3][:3])
	require.Contains(t, rows[3][4], "amounts are in fen")
	require.Equal(t, "C", rows[3][5])
	require.Equal(t, []string{"9", "", "row.cells"}, rows[4][:3])
	require.Equal(t, []string{"10", "code", "empty"}, rows[5][:3])

	// The same file again: nothing is taken twice.
	rep, err = s.Run(t.Context(), importer.Input{Kind: "till", Path: path})
	require.NoError(t, err)
	require.EqualValues(t, 10, rep.Rows)
	require.EqualValues(t, 5, rep.Rejected)
	require.EqualValues(t, 3+2, rep.Accepted+rep.Duplicates)
	require.Equal(t, map[string]int64{"A": 150, "B": 200}, content(t, db))
}

func TestDryRunCountsLikeARealRunAndWritesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := open(t, db)
	var b strings.Builder
	b.WriteString("code,amount\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "K%d,%d\n", i%2500, i%2500+i/4000)
	}
	path := file(t, b.String())
	dry, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path, DryRun: true})
	require.NoError(t, err)
	require.Empty(t, content(t, db))
	var left int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM core.import_jobs) + (SELECT count(*) FROM core.import_rows)`).Scan(&left))
	require.Zero(t, left)
	real, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path})
	require.NoError(t, err)
	dry.DryRun = false
	require.Equal(t, real, dry)
	require.EqualValues(t, 5000, real.Rows)
	require.EqualValues(t, 1500, real.Duplicates)
}

func TestFilesThatAreRefusedNameColumnAndFixAndChangeNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := open(t, db)
	_, err := s.Run(t.Context(), importer.Input{Kind: "tills", Path: file(t, "code,amount\n")})
	require.ErrorIs(t, err, importer.ErrKind)
	_, err = s.Run(t.Context(), importer.Input{Kind: "till", Path: file(t, "code,sum\nA,1\n")})
	require.ErrorIs(t, err, importer.ErrColumns)
	require.Equal(t, "amount", fault.From(err).Fields[0].Path)
	path := file(t, "code,amount\nA,1\n")
	_, err = s.Run(t.Context(), importer.Input{Kind: "till", Path: path, RejectsPath: path})
	require.ErrorIs(t, err, importer.ErrRejectsPath)
	_, err = s.Run(t.Context(), importer.Input{Kind: "till", Path: filepath.Join(t.TempDir(), "absent.csv")})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Empty(t, content(t, db))
}

// However rows are cut into files, repeated and replayed, the last content of each key stands and the counts add up.
func TestAnySplitAndReplayGivesTheSameState(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := open(t, db)
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		_, err := db.Exec(t.Context(), `TRUNCATE public.till, core.import_rows, core.import_jobs`)
		require.NoError(t, err)
		want := map[string]int64{}
		var net money.Fen
		for range rapid.IntRange(1, 4).Draw(rt, "files") {
			n++
			path := filepath.Join(dir, strconv.Itoa(n)+".csv")
			var b strings.Builder
			b.WriteString("code,amount\n")
			var rep importer.Report
			for range rapid.IntRange(0, 12).Draw(rt, "rows") {
				code, amount := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(rt, "code"), rapid.Int64Range(0, 2).Draw(rt, "amount")
				fmt.Fprintf(&b, "%s,%d\n", code, amount)
				rep.Rows++
				if old, ok := want[code]; ok && old == amount {
					rep.Duplicates++
				} else {
					rep.Accepted++
					rep.NetFen += money.Fen(amount)
				}
				want[code] = amount
			}
			require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
			got, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path})
			require.NoError(t, err)
			require.Equal(t, [4]int64{rep.Rows, rep.Accepted, rep.Duplicates, int64(rep.NetFen)}, [4]int64{got.Rows, got.Accepted, got.Duplicates, int64(got.NetFen)})
			net += got.NetFen
			require.Equal(t, want, content(t, db))
		}
	})
}

const (
	envCrashURL  = "IMPORTER_TEST_CRASH_URL"
	envCrashFile = "IMPORTER_TEST_CRASH_FILE"
)

// TestMain lets the test binary stand in for the process that is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv(envCrashURL); url != "" {
		db, err := pg.Open(context.Background(), url, 2)
		if err == nil {
			_, err = importer.New(db, clock.System{}, till{}).Run(context.Background(), importer.Input{
				Kind: "till", Path: os.Getenv(envCrashFile), RejectsPath: os.Getenv(envCrashFile) + ".rejects.csv",
			})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKillAndResumeCountsEveryRowOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, err := pg.Open(t.Context(), url, 4)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	s := open(t, db)
	var b strings.Builder
	b.WriteString("code,amount\n")
	var sum, bad int64
	for i := range 30_000 {
		if i%100 == 7 {
			fmt.Fprintf(&b, "K%d,nothing\n", i)
			bad++
			continue
		}
		fmt.Fprintf(&b, "K%d,%d\n", i, i)
		sum += int64(i)
	}
	path := file(t, b.String())
	rejects := path + ".rejects.csv"
	kills := 0
	for target := int64(4_000); target <= 20_000; target += 8_000 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), envCrashURL+"="+url, envCrashFile+"="+path)
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			var rows int64
			err := db.QueryRow(context.Background(), `SELECT coalesce(max(rows), 0) FROM core.import_jobs`).Scan(&rows)
			return err == nil && rows >= target
		}, 60*time.Second, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		if cmd.Wait() != nil {
			kills++
		}
	}
	require.Positive(t, kills, "the process was never caught at work")
	rep, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path, RejectsPath: rejects})
	require.NoError(t, err)
	require.EqualValues(t, 30_000, rep.Rows)
	require.EqualValues(t, bad, rep.Rejected)
	require.EqualValues(t, 30_000-bad, rep.Accepted)
	require.Zero(t, rep.Duplicates)
	require.EqualValues(t, sum, rep.NetFen)
	var rows, total, writes int64
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*), sum(amount), sum(writes) FROM public.till`).Scan(&rows, &total, &writes))
	require.Equal(t, []int64{30_000 - bad, sum, 30_000 - bad}, []int64{rows, total, writes})
	text, err := os.ReadFile(rejects)
	require.NoError(t, err)
	require.EqualValues(t, bad+1, strings.Count(string(text), "\n"))
}

func TestTwoImportsOfOneFileTakeEveryRowOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := open(t, db)
	var b strings.Builder
	b.WriteString("code,amount\n")
	for i := range 9_000 {
		fmt.Fprintf(&b, "K%d,1\n", i)
	}
	path := file(t, b.String())
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path})
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			require.ErrorIs(t, err, importer.ErrConcurrent)
		}
	}
	rep, err := s.Run(t.Context(), importer.Input{Kind: "till", Path: path})
	require.NoError(t, err)
	require.EqualValues(t, 9_000, rep.Rows)
	var rows, writes int64
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*), sum(writes) FROM public.till`).Scan(&rows, &writes))
	require.Equal(t, []int64{9_000, 9_000}, []int64{rows, writes})
}
