package order_test

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

const header = "order_no,line_no,touchpoint,store,associate,placed_at,paid_at,source,source_id,sku,quantity,unit_price_fen,discount_fen,coupon_code,return_of,kind"

func service(t testing.TB, db *pg.Pool) *importer.Service {
	t.Helper()
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	discard := slog.New(slog.DiscardHandler)
	log := activity.NewLog(db, clock.System{}, discard)
	graph := identity.New(db, clock.System{}, ring, log, events.New(db, clock.System{}, jobs.New(db, discard)))
	return importer.New(db, clock.System{}, order.NewImport(graph, log))
}

func load(t testing.TB, s *importer.Service, lines ...string) importer.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orders.csv")
	require.NoError(t, os.WriteFile(path, []byte(header+"\n"+strings.Join(lines, "\n")+"\n"), 0o600))
	rep, err := s.Run(t.Context(), importer.Input{Kind: "orders", Path: path})
	require.NoError(t, err)
	return rep
}

// act is an activity as the tests compare it: whose is said by the identifier, not by its birth.
type act struct {
	Who, Key, Order, SKU, Return string
	At                           time.Time
	Touchpoint, Store            string
	Amount, Quantity             int64
}

func activities(t testing.TB, db *pg.Pool, source string) []act {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		SELECT b.ns, a.key, a.props->>'order_no', coalesce(a.props->>'sku', ''), coalesce(a.props->>'return_of', ''), a.occurred_at, a.touchpoint,
		       a.props->>'store', (a.props->>'amount_fen')::bigint, (a.props->>'quantity')::bigint
		FROM member.activities a
		JOIN member.births b USING (birth)
		WHERE a.source = $1`, source)
	require.NoError(t, err)
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (a act, err error) {
		err = r.Scan(&a.Who, &a.Key, &a.Order, &a.SKU, &a.Return, &a.At, &a.Touchpoint, &a.Store, &a.Amount, &a.Quantity)
		a.At = a.At.UTC()
		return a, err
	})
	require.NoError(t, err)
	sortActs(out)
	return out
}

func sortActs(acts []act) {
	slices.SortFunc(acts, func(a, b act) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// oracle computes from the raw lines, with encoding/csv alone, what must be logged: the last version of each line counts.
func oracle(t testing.TB, lines []string) (acts []act, net int64) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(strings.Join(lines, "\n"))).ReadAll()
	require.NoError(t, err)
	last := map[[2]string][]string{}
	for _, r := range records {
		last[[2]string{r[0], r[1]}] = r
	}
	orders := map[string][][]string{}
	for _, r := range last {
		orders[r[0]] = append(orders[r[0]], r)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04:05", s, clock.Shanghai)
		require.NoError(t, err)
		return v.UTC()
	}
	number := func(s string) int64 {
		if s == "" {
			return 0
		}
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		return n
	}
	for no, ls := range orders {
		slices.SortFunc(ls, func(a, b []string) int { return cmp.Compare(number(a[1]), number(b[1])) })
		who := "order"
		for _, l := range ls {
			if l[8] != "" {
				who = "source"
			}
		}
		paid, returned := act{Who: who, Key: "order_paid", Order: no}, act{Who: who, Key: "order_returned", Order: no}
		bought, brought := false, false
		for _, l := range ls {
			q := number(l[10])
			amount := q*number(l[11]) - number(l[12])
			net += amount
			if q < 0 {
				when := l[5]
				if l[6] != "" {
					when = l[6]
				}
				if !brought {
					returned.Touchpoint, returned.Store, returned.At = l[2], l[3], at(when)
				}
				if at(when).Before(returned.At) {
					returned.At = at(when)
				}
				if returned.Return == "" {
					returned.Return = l[14]
				}
				brought = true
				returned.Amount += amount
				returned.Quantity += q
				continue
			}
			if !bought {
				paid.Touchpoint, paid.Store = l[2], l[3]
			}
			bought = true
			paid.Amount += amount
			paid.Quantity += q
			if l[6] != "" {
				if paid.At.IsZero() || at(l[6]).Before(paid.At) {
					paid.At = at(l[6])
				}
				acts = append(acts, act{Who: who, Key: "product_purchased", Order: no, SKU: l[9], At: at(l[6]), Touchpoint: l[2], Store: l[3], Amount: amount, Quantity: q})
			}
		}
		if bought && !paid.At.IsZero() {
			acts = append(acts, paid)
		}
		if brought {
			acts = append(acts, returned)
		}
	}
	sortActs(acts)
	return acts, net
}

// A line that would pay its buyer is a mistake in the file; an unknown word is kept, and said with those that are known.
func TestImplausibleLines(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	path := filepath.Join(t.TempDir(), "orders.csv")
	require.NoError(t, os.WriteFile(path, []byte(header+"\n"+strings.Join([]string{
		"A1,1,tmall,,,2026-01-01,,,,22423,2,100,201,,,sale",
		"A1,2,tmall,,,2026-01-01,,,,22423,2,100,200,,,sale",
		"A1,3,taobao,,,2026-01-01,,,,22423,-1,100,-50,,,refund",
	}, "\n")+"\n"), 0o600))
	var rejected []string
	var warned []importer.Warning
	rep, err := service(t, db).Run(t.Context(), importer.Input{
		Kind: "orders", Path: path,
		Rejected: func(line int, problems []fault.Field) {
			rejected = append(rejected, fmt.Sprintf("%d %s %s", line, problems[0].Path, problems[0].Text.EN))
		},
		Warned: func(w importer.Warning) {
			if w.Code == "value.unknown" {
				warned = append(warned, w)
			}
		},
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, rep.Accepted)
	require.EqualValues(t, -50, rep.NetFen)
	require.Equal(t, []string{"2 discount_fen the discount is larger than the line"}, rejected)
	require.Equal(t, []string{"touchpoint=taobao", "kind=refund"}, []string{warned[0].Subject, warned[1].Subject})
	require.Contains(t, warned[0].Hint, "pos, miniprogram")
	require.Contains(t, warned[1].Hint, "sale, gift, return")
}

func TestOrdersBecomeTheActivityOfTheirBuyers(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := service(t, db)
	lines := []string{
		"A1,1,tmall,T1,zk,2026-01-01 10:00:00,2026-01-01 10:05:00,tmall-flagship,100,22423,2,12750,500,,,",
		"A1,2,tmall,T1,zk,2026-01-01 10:00:00,2026-01-01 10:05:00,tmall-flagship,100,22699,1,0,0,,,gift",
		"C1,1,tmall,T1,,2026-01-03 09:00:00,,tmall-flagship,100,22423,-1,12750,-250,,A1,return",
		"G1,1,pos,HZ01,,2026-01-02 12:00:00,2026-01-02 12:00:00,,,85123A,3,2550,0,,,sale",
		"U1,1,miniprogram,,,2026-01-04 12:00:00,,mp,7,85123A,1,2550,0,,,sale",
		"F1,1,app,,,2026-01-05 12:00:00,2026-01-05 12:00:00,app,9,85123A,1,0,0,,,sale",
	}
	rep := load(t, s, lines...)
	require.EqualValues(t, 6, rep.Accepted)
	want, net := oracle(t, lines)
	require.EqualValues(t, net, rep.NetFen)
	require.Equal(t, want, activities(t, db, order.Source))
	require.Equal(t, map[string]int64{"sku.stub": 3, "store.stub": 2}, rep.Warnings)
	var people, guests int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE ns = 'source'), count(*) FILTER (WHERE ns = 'order') FROM member.births`).Scan(&people, &guests))
	require.Equal(t, []int{3, 1}, []int{people, guests})

	// The guest's order is claimed, a line of A1 is corrected, U1 is paid, the return of C1 was a mistake.
	changed := []string{
		"G1,1,pos,HZ01,,2026-01-02 12:00:00,2026-01-02 12:00:00,pos,555,85123A,3,2550,0,,,sale",
		"A1,1,tmall,T1,zk,2026-01-01 10:00:00,2026-01-01 10:05:00,tmall-flagship,100,22423,1,12750,0,,,",
		"U1,1,miniprogram,,,2026-01-04 12:00:00,2026-01-04 12:09:00,mp,7,85123A,1,2550,0,,,sale",
		"C1,1,tmall,T1,,2026-01-03 09:00:00,2026-01-03 09:00:00,tmall-flagship,100,22423,1,12750,0,,,sale",
		"F1,1,app,,,2026-01-05 12:00:00,,app,9,85123A,1,0,0,,,sale",
		lines[1],
	}
	rep = load(t, s, changed...)
	require.Equal(t, [3]int64{5, 0, 1}, [3]int64{rep.Accepted, rep.Rejected, rep.Duplicates})
	want, _ = oracle(t, append(slices.Clone(lines), changed...))
	require.Equal(t, want, activities(t, db, order.Source))
	// The guest was this person all along.
	var root int
	require.NoError(t, db.QueryRow(t.Context(), `
		SELECT count(DISTINCT root) FROM member.births
		WHERE birth IN (SELECT birth FROM commerce.order_imports WHERE order_no = 'G1' UNION SELECT guest_birth FROM commerce.order_imports WHERE order_no = 'G1')`).Scan(&root))
	require.Equal(t, 1, root)
}

func TestWrongLinesAreRejectedWithColumnAndFix(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := service(t, db)
	path := filepath.Join(t.TempDir(), "orders.csv")
	text := header + "\n" +
		"A1,1,pos,,,2026-01-01,2026-01-01,,,S,1,-100,0,,,\n" +
		"A1,2,pos,,,yesterday,2026-01-01,,,S,1,100,0,,,\n" +
		"A1,3,pos,,,2026-01-01,2026-01-01,,,S,0,100,0,,,\n" +
		"A1,4,pos,,,2026-01-01,2026-01-01,,77,S,1,100,0,,,\n" +
		",5,pos,,,2026-01-01,2026-01-01,,,,one,1.5,0,,,\n" +
		"A1,6,pos,,,2026-01-01,2026-01-01,,,S,100000000000,100000000000,0,,,\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	rejects := path + ".rejects.csv"
	rep, err := s.Run(t.Context(), importer.Input{Kind: "orders", Path: path, RejectsPath: rejects})
	require.NoError(t, err)
	require.EqualValues(t, 6, rep.Rejected)
	require.Zero(t, rep.NetFen)
	f, err := os.Open(rejects)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var got []string
	for _, r := range rows[1:] {
		got = append(got, r[1]+"="+r[2])
	}
	require.Equal(t, []string{
		"unit_price_fen=negative", "placed_at=time", "quantity=zero", "source=empty",
		"order_no; sku; quantity; unit_price_fen=empty; empty; number; number", "unit_price_fen=too_large",
	}, got)
	require.Empty(t, activities(t, db, order.Source))
}

// However the versions of lines are cut into files, interleaved and replayed, the same activities stand.
func TestAnyCutAndReplayOfAFileGivesTheSameActivities(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := service(t, db)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		var lines []string
		for range rapid.IntRange(1, 25).Draw(rt, "lines") {
			o := rapid.IntRange(0, 3).Draw(rt, "order")
			id := fmt.Sprintf("%d", 7000+o)
			if o == 0 {
				id = ""
			}
			paid := rapid.SampledFrom([]string{"2026-01-01 10:05:00", "2026-01-02 10:05:00", ""}).Draw(rt, "paid")
			q := rapid.SampledFrom([]int{1, 2, -1}).Draw(rt, "quantity")
			lines = append(lines, fmt.Sprintf("R%d-%d,%d,pos,S%d,,2026-01-01 10:00:00,%s,pos,%s,K%d,%d,%d,%d,,,", n, o,
				rapid.IntRange(1, 3).Draw(rt, "line"), o, paid, id, rapid.IntRange(1, 2).Draw(rt, "sku"), q,
				rapid.IntRange(3, 300).Draw(rt, "price"), rapid.IntRange(0, 3).Draw(rt, "discount")))
		}
		cut := rapid.IntRange(0, len(lines)).Draw(rt, "cut")
		load(t, s, lines[:cut]...)
		load(t, s, lines[cut:]...)
		replay := load(t, s, lines[cut:]...)
		want, _ := oracle(t, lines)
		var got []act
		for _, a := range activities(t, db, order.Source) {
			if strings.HasPrefix(a.Order, fmt.Sprintf("R%d-", n)) {
				got = append(got, a)
			}
		}
		if len(want) == 0 {
			require.Empty(t, got)
		} else {
			require.Equal(t, want, got)
		}
		require.EqualValues(t, len(lines)-cut, replay.Accepted+replay.Duplicates)
	})
}

// A file of several batches whose orders are interleaved throughout.
func TestInterleavedOrdersOverBatches(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	s := service(t, db)
	random := rand.New(rand.NewPCG(1, 2))
	var lines []string
	for i := range 6000 {
		o := i % 1500
		who := strconv.Itoa(o % 400)
		if o%400 == 0 {
			who = ""
		}
		q := 1 + random.IntN(4)
		if o%9 == 0 {
			q = -q
		}
		lines = append(lines, fmt.Sprintf("N%d,%d,web,S%d,,2026-01-01 10:00:00,2026-01-%02d 10:00:00,shop,%s,K%d,%d,%d,%d,,,", o, i/1500+1, o%7, 1+o%28, who, random.IntN(50), q, 10+random.IntN(9999), random.IntN(10)))
	}
	rep := load(t, s, lines...)
	want, net := oracle(t, lines)
	require.EqualValues(t, 6000, rep.Accepted)
	require.Equal(t, money.Fen(net), rep.NetFen)
	require.Equal(t, want, activities(t, db, order.Source))
	random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	rep = load(t, s, lines...)
	require.EqualValues(t, 6000, rep.Duplicates)
}
