package segments

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
)

// The size of the brand that BenchmarkScale makes. docs/measurements.md has the figures of the large one.
var (
	scaleMembers    = flag.Int("scale.members", 2000, "members to generate")
	scaleActivities = flag.Int("scale.activities", 20000, "activities to generate")
	scaleURL        = flag.String("scale.url", "", "a migrated database: filled if it is empty, and kept")
	scaleExplain    = flag.String("scale.explain", "", "a file for the plan of every statement")
)

// scaleAt is the instant of the measurements: the generated facts end there.
var scaleAt = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

// scaleRules has one rule for each kind of leaf, and some as marketers combine them.
var scaleRules = []struct{ name, rule string }{
	{"attr eq", `{"attr":"gender","op":"eq","value":"male"}`},
	{"attr number", `{"attr":"score","op":"gte","value":990}`},
	{"attr registered", `{"attr":"registered_at","op":"after","value":"2026-10-01"}`},
	{"anniversary", `{"attr":"birthday","op":"anniversary","value":7}`},
	{"tag", `{"tag":"tag-9"}`},
	{"sample", `{"sample":{"percent":10,"salt":"x"}}`},
	{"reachable", `{"reachable":"wechat"}`},
	{"event", `{"event":"order_paid","within":"90d"}`},
	{"event ever", `{"event":"product_viewed"}`},
	{"count", `{"event":"product_viewed","count":{"gte":3},"within":"30d"}`},
	{"count ever", `{"event":"order_paid","count":{"gte":5}}`},
	{"count none", `{"event":"order_paid","count":{"eq":0},"within":"90d"}`},
	{"count where", `{"event":"product_purchased","count":{"gte":2},"within":"180d","where":[{"prop":"category","op":"eq","value":"category-3"}]}`},
	{"where rare", `{"event":"product_purchased","where":[{"prop":"sku","op":"eq","value":"sku-1500"}]}`},
	{"sum", `{"event":"order_paid","sum":"amount_fen","gte":100000,"within":"90d"}`},
	{"sum ever", `{"event":"order_paid","sum":"amount_fen","gte":1000000}`},
	{"avg", `{"event":"order_paid","avg":"amount_fen","gte":50000,"within":"365d"}`},
	{"distinct", `{"event":"product_purchased","distinct":"category","gte":3,"within":"90d"}`},
	{"first", `{"event":"order_paid","first":{"after":"2026-08-01"}}`},
	{"last", `{"event":"order_paid","last":{"before":"2026-05-01"}}`},
	{"last within", `{"event":"order_paid","last":{"within":"30d"}}`},
	{"sequence", `{"sequence":[{"event":"product_viewed"},{"event":"cart_added"},{"event":"order_paid"}],"within":"7d"}`},
	{"sequence unless", `{"sequence":[{"event":"cart_added"}],"within":"3d","unless":{"event":"order_paid"}}`},
	{"rfm", `{"rfm":{"r":[4,5],"f":[4,5],"m":[4,5]}}`},
	{"stage", `{"stage":["interest"]}`},
	{"three leaves", `{"all":[{"event":"order_paid","count":{"gte":2},"within":"90d"},{"event":"product_purchased","sum":"amount_fen","gte":30000,"within":"180d"},{"not":{"event":"order_returned","within":"60d"}}]}`},
	{"twelve leaves", `{"all":[{"attr":"gender","op":"eq","value":"female"},{"any":[{"attr":"province","op":"in","value":["province-1","province-2"]},{"tag":"tag-1"},{"tag":"tag-2"}]},{"reachable":"wechat"},{"event":"order_paid","count":{"gte":1},"within":"365d"},{"event":"order_paid","sum":"amount_fen","gte":10000},{"not":{"event":"order_returned","within":"90d"}},{"not":{"event":"message_opened","within":"7d"}},{"event":"product_viewed","within":"90d"},{"event":"product_viewed","last":{"within":"60d"}},{"sample":{"percent":50,"salt":"x"}}]}`},
}

// scaleWorld returns a database with the brand.
func scaleWorld(b *testing.B) *pg.Pool {
	url := *scaleURL
	if url == "" {
		url = pgtest.URL(b)
	}
	// One backend, whose CPU time can be told.
	db, err := pg.Open(b.Context(), url, 1, pg.Setting{Name: "max_parallel_workers_per_gather", Value: "0"})
	require.NoError(b, err)
	b.Cleanup(db.Close)
	var filled bool
	require.NoError(b, db.QueryRow(b.Context(), `SELECT EXISTS (SELECT FROM member.members)`).Scan(&filled))
	if filled {
		return db
	}
	sql, err := os.ReadFile("testdata/scale.sql")
	require.NoError(b, err)
	conn, err := db.Acquire(b.Context())
	require.NoError(b, err)
	defer conn.Release()
	for _, s := range []string{
		fmt.Sprintf(`SET scale.members = %d`, *scaleMembers), fmt.Sprintf(`SET scale.activities = %d`, *scaleActivities),
		string(sql), `VACUUM (ANALYZE) member.activities, member.births, member.members, member.reach`,
	} {
		_, err := conn.Conn().PgConn().Exec(b.Context(), s).ReadAll()
		require.NoError(b, err)
	}
	return db
}

func scaleExplained(b *testing.B, db pg.DB, st statement) {
	if *scaleExplain == "" {
		return
	}
	text, args := st.query()
	rows, err := db.Query(b.Context(), "EXPLAIN (ANALYZE, BUFFERS) "+text, pgx.QueryExecModeCacheDescribe, args)
	require.NoError(b, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b, err)
	f, err := os.OpenFile(*scaleExplain, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	defer f.Close()
	_, err = fmt.Fprintf(f, "\n== %s\n%s\n", b.Name(), strings.Join(lines, "\n"))
	require.NoError(b, err)
}

// backendCPU returns the CPU time that the one backend of the pool has used, 0 where the server is on another machine.
func backendCPU(b *testing.B, db pg.DB) time.Duration {
	var pid int
	require.NoError(b, db.QueryRow(b.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	var user, system int64 // in hundredths of a second, behind the name in brackets
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	require.Greater(b, len(fields), 12)
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	require.NoError(b, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// measured runs fn as often as b wants and reports the CPU time of the backend beside the wall clock's.
func measured(b *testing.B, db pg.DB, fn func()) {
	before := backendCPU(b, db)
	for b.Loop() {
		fn()
	}
	b.ReportMetric(float64((backendCPU(b, db)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// benchmarkLive settles and schedules the membership of some members in one segment, as the live engine does.
func benchmarkLive(b *testing.B, db pg.DB, rule Rule, ids []member.ID) {
	segment := id.New()
	require.NoError(b, pg.InTx(b.Context(), db, func(tx pgx.Tx) error {
		scaleExplained(b, tx, settle(segment, rule, scaleAt, ids, nil))
		scaleExplained(b, tx, schedule(segment, rule, scaleAt, ids, nil))
		measured(b, tx, func() {
			for _, st := range []statement{settle(segment, rule, scaleAt, ids, nil), schedule(segment, rule, scaleAt, ids, nil)} {
				text, args := st.query()
				_, err := tx.Exec(b.Context(), text, args)
				require.NoError(b, err)
			}
		})
		return nil
	}))
}

// BenchmarkScale measures every kind of leaf over everybody, and what touched members cost the live engine in one segment:
// one of them, and a full batch of the wheel.
func BenchmarkScale(b *testing.B) {
	db := scaleWorld(b)
	s := newService(db, clock.NewVirtual(scaleAt))
	var touched []member.ID // a batch of the wheel
	for i := range min(wheelBatch, *scaleMembers) {
		touched = append(touched, member.ID(1+(i**scaleMembers/wheelBatch+*scaleMembers/3)%*scaleMembers))
	}
	for _, r := range scaleRules {
		rule, err := Parse([]byte(r.rule))
		require.NoError(b, err)
		b.Run("count/"+r.name, func(b *testing.B) {
			scaleExplained(b, db, compile(rule, scaleAt, nil, nil).wrap("SELECT count(*) FROM (%s) s"))
			var n int64
			measured(b, db, func() {
				n, err = s.Count(b.Context(), db, rule, scaleAt)
				require.NoError(b, err)
			})
			b.ReportMetric(float64(n), "members")
		})
		for kind, ids := range map[string][]member.ID{"member/": touched[:1], "wheel/": touched} {
			b.Run(kind+r.name, func(b *testing.B) { benchmarkLive(b, db, rule, ids) })
		}
	}
}
