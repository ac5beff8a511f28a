package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/internal/sheet"
)

// importGolden are small files of every kind, and what comes of them.
var importGolden = []struct {
	kind, text string
	want       importer.Report
}{
	{"entities", "code,name,tax_no,taxpayer_kind\nE1,知更集商贸,91330100MA2XXXXX1X,general\n", importer.Report{Rows: 1, Accepted: 1}},
	{"org", "code,parent,name,kind,entity,province,city,district,address,longitude,latitude\nHQ,,总部,hq,E1,,,,,,\nHZ01,HQ,湖滨路店,store,E1,浙江,杭州,上城,湖滨路 1 号,120.153576,30.2584\n",
		importer.Report{Rows: 2, Accepted: 2}},
	{"products", "sku,spu,barcode,name,category,brand,unit,tag_price_fen,retail_price_fen,status\n22423,CAKE,6901,三层蛋糕架,餐具,知更集,个,15000,12750,active\n22699,CUP,,玫瑰茶杯,餐具,知更集,个,,free,active\n",
		importer.Report{Rows: 2, Accepted: 1, Rejected: 1}},
	{"members", "source,source_id,registered_at,name,gender,birthday,phone,home_store,tags,consent.sms,attr.职业\n" +
		"pos,1001,2025-03-01 10:00:00,沈若溪,女,1992-02-29,138 0013 8001,HZ01,下午茶|会员,granted@2025-03-01,设计师\n" +
		"tmall-flagship,t1,2025-04-01,沈若溪,f,,13800138001,,,denied,\n" +
		"pos,1002,昨天,某某,x,1990-13-01,139****0000,,,maybe,\n" +
		"jd,j1,2025-04-02,,,,139****0000,,,,\n", importer.Report{Rows: 4, Accepted: 3, Rejected: 1, Warnings: map[string]int64{"identifier.unusable": 1}}},
	{"stock", "sku,location,owner,status,quantity,as_of\n" +
		"22423,HZ01,,,12,2025-06-01\n22423,HZ01,,,12,2025-06-01\n22423,HZ01,,残次,1,\n22423,HZ01,,,-1,\n", importer.Report{Rows: 4, Accepted: 2, Duplicates: 1, Rejected: 1}},
	{"orders", "order_no,line_no,touchpoint,store,associate,placed_at,paid_at,source,source_id,sku,quantity,unit_price_fen,discount_fen,coupon_code,return_of,kind\n" +
		"A1,1,pos,HZ01,周可,2025-05-01 10:00:00,2025-05-01 10:00:00,pos,1001,22423,2,12750,500,,,sale\n" +
		"A1,1,pos,HZ01,周可,2025-05-01 10:00:00,2025-05-01 10:00:00,pos,1001,22423,2,12750,500,,,sale\n" +
		"A2,1,pos,HZ01,周可,2025-05-02 10:00:00,2025-05-02 10:00:00,,,22423,-1,12750,0,,A1,return\n" +
		"A3,1,pos,HZ01,周可,2025-05-02 10:00:00,2025-05-02 10:00:00,,,22423,1,-1,0,,,sale\n" +
		"A4,1,pos,HZ01,周可,2025-05-02 10:00:00,2025-05-02 10:00:00,,,22423,1,100,101,,,sale\n" +
		"A5,1,shop,HZ01,周可,2025-05-02 10:00:00,2025-05-02 10:00:00,,,22423,1,100,100,,,sales\n",
		importer.Report{Rows: 6, Accepted: 3, Duplicates: 1, Rejected: 2, NetFen: 2*12750 - 500 - 12750, Warnings: map[string]int64{"value.unknown": 2}}},
	{"events", "message_id,event,occurred_at,touchpoint,source,source_id,props\n" +
		`m1,Product Viewed,2025-05-03 10:00:00,miniprogram,pos,1001,"{""product_id"":""22423"",""price"":127.5,""category"":""餐具""}"` + "\n" +
		"m2,打卡,2025-05-03 11:00:00,miniprogram,pos,1001,{}\n" + "m2,打卡,2025-05-03 11:00:00,miniprogram,pos,1001,{}\n" + "m3,$identity,now,miniprogram,pos,1001,[]\n",
		importer.Report{Rows: 4, Accepted: 2, Duplicates: 1, Rejected: 1}},
	{"coupons", "code,template,source,source_id,issued_at,expires_at,used_order_no,used_at\n" +
		"C-1,TEA50,pos,1001,2025-05-01,2099-01-01,,\nC-2,TEA50,,,2025-05-01,,A1,2025-05-02 10:00:00\nC-3,第二杯茶,pos,1001,2025-05-01,2025-06-01,,\nC-1,TEA50,pos,1001,2025-05-01,2099-01-01,,\n" +
		"C-4,TEA50,pos,1001,2025-05-01,2025-04-01,,\nLK,,pos,1001,soon,,,\n",
		importer.Report{Rows: 6, Accepted: 3, Duplicates: 1, Rejected: 2, Warnings: map[string]int64{"template.stub": 2}}},
	{"campaigns", "campaign,source,source_id,start_at,end_at,kind\n五一,pos,1001,2025-05-01,2025-05-05,TypeA\n五一,tmall-flagship,t1,2025-05-01,2025-05-05,TypeA\n五一,pos,1001,2025-05-01,2025-04-05,TypeA\n",
		importer.Report{Rows: 3, Accepted: 2, Rejected: 1}},
}

// forms are the ways people keep a table.
var forms = []struct {
	name  string
	write func(t *testing.T, text string) []byte
}{
	{"utf8.csv", func(_ *testing.T, text string) []byte { return []byte(text) }},
	{"bom.csv", func(_ *testing.T, text string) []byte {
		return []byte("\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"))
	}},
	{"gb.csv", func(t *testing.T, text string) []byte {
		out, err := simplifiedchinese.GB18030.NewEncoder().String(text)
		require.NoError(t, err)
		return []byte(out)
	}},
	{"utf8.csv.gz", func(t *testing.T, text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}},
	{"book.xlsx", func(t *testing.T, text string) []byte {
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		require.NoError(t, err)
		var b bytes.Buffer
		x, err := sheet.NewXLSX(&b)
		require.NoError(t, err)
		for _, r := range rows {
			require.NoError(t, x.Write(r))
		}
		require.NoError(t, x.Close())
		return b.Bytes()
	}},
}

func TestImportEveryKindInEveryForm(t *testing.T) {
	t.Parallel()
	var states []string
	for _, form := range forms {
		o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
		db, err := pg.Open(t.Context(), o.DatabaseURL, 2)
		require.NoError(t, err)
		t.Cleanup(db.Close)
		for _, g := range importGolden {
			path := filepath.Join(t.TempDir(), g.kind+"-"+form.name)
			require.NoError(t, os.WriteFile(path, form.write(t, g.text), 0o600))
			before := importState(t, db)
			p, code := harness.Run(t, o, "import", g.kind, path, "--json", "--dry-run")
			require.Zero(t, code, p.Log())
			var dry, got importer.Report
			p.JSON(&dry)
			require.Equal(t, before, importState(t, db), "a dry run wrote")
			p, code = harness.Run(t, o, "import", g.kind, path, "--json")
			require.Zero(t, code, p.Log())
			p.JSON(&got)
			dry.DryRun, got.Rejects, g.want.Kind = false, "", g.kind
			require.Equal(t, g.want, got, "%s as %s", g.kind, form.name)
			require.Equal(t, got, dry, "%s as %s", g.kind, form.name)
			p, code = harness.Run(t, o, "import", "--json", g.kind, path)
			require.Zero(t, code, p.Log())
			p.JSON(&got)
			require.Equal(t, [4]int64{g.want.Rows, 0, g.want.Rejected, g.want.Accepted + g.want.Duplicates}, [4]int64{got.Rows, got.Accepted, got.Rejected, got.Duplicates})
		}
		states = append(states, importState(t, db))
	}
	for _, s := range states {
		require.Equal(t, states[0], s)
		require.Contains(t, s, "product_viewed")
	}
}

// importState is everything imports write, as text without surrogate numbers.
func importState(t *testing.T, db *pg.Pool) string {
	t.Helper()
	var s string
	require.NoError(t, db.QueryRow(context.Background(), `
		SELECT concat_ws(E'\n',
		    (SELECT string_agg(concat_ws(' ', b.ns, a.key, a.occurred_at, a.touchpoint, a.mode, a.source, a.props), E'\n' ORDER BY a.key, a.occurred_at, a.props::text, a.source)
		     FROM member.activities a JOIN member.births b USING (birth)),
		    (SELECT string_agg(concat_ws(' ', m.is_member, m.registered_at, m.home_store, m.attrs, m.tags), E'\n' ORDER BY m.registered_at, m.attrs::text, m.first_fact_at) FROM member.members m),
		    (SELECT string_agg(concat_ws(' ', channel, granted, at), E'\n' ORDER BY channel, at, granted) FROM member.consents),
		    (SELECT string_agg(concat_ws(' ', code, path, name, kind, entity, longitude, stub), E'\n' ORDER BY code) FROM commerce.org_units),
		    (SELECT string_agg(concat_ws(' ', code, name, taxpayer_kind, stub), E'\n' ORDER BY code) FROM commerce.entities),
		    (SELECT string_agg(concat_ws(' ', sku, spu, name, retail_price_fen, status, stub), E'\n' ORDER BY sku) FROM commerce.skus),
		    (SELECT string_agg(concat_ws(' ', code, template, state, issued_at, expires_at, used_at, order_no, source), E'\n' ORDER BY code) FROM commerce.coupons),
		    (SELECT string_agg(concat_ws(' ', code, kind, start_at, end_at), E'\n' ORDER BY code) FROM journeys.campaigns))`).Scan(&s))
	return s
}

func TestImportRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	path := filepath.Join(t.TempDir(), "orders.csv")
	require.NoError(t, os.WriteFile(path, []byte("order_no,sku\n1,2\n"), 0o600))
	p, code := harness.Run(t, o, "import", "orders", path, "--json")
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "import.columns")
	require.Contains(t, p.Log(), "unit_price_fen")
	p, code = harness.Run(t, o, "import", "oders", path)
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "import.kind")
	_, code = harness.Run(t, o, "import", "orders")
	require.Equal(t, 2, code)
}

// A file of which nothing was taken is a failure, dry or not, alone or among others; a file whose good rows had been taken
// before is none.
func TestImportOfNothingFails(t *testing.T) {
	t.Parallel()
	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("sku,spu,name,retail_price_fen\n"+text), 0o600))
		return path
	}
	bad, good, mixed, empty := write("bad.csv", "1,1,a,free\n2,2,b,-\n"), write("good.csv", "3,3,c,100\n"), write("mixed.csv", "3,3,c,100\n4,4,d,free\n"), write("empty.csv", "")
	for _, c := range []struct {
		args                     []string
		code                     int
		rows, accepted, rejected int64
	}{
		{[]string{bad, "--dry-run"}, 1, 2, 0, 2},
		{[]string{bad}, 1, 2, 0, 2},
		{[]string{bad, good}, 1, 3, 1, 2},
		{[]string{mixed}, 0, 2, 0, 1},
		{[]string{good}, 0, 1, 0, 0},
		{[]string{empty}, 0, 0, 0, 0},
	} {
		p, code := harness.Run(t, o, append([]string{"import", "products", "--json"}, c.args...)...)
		require.Equal(t, c.code, code, p.Log())
		var rep importer.Report
		p.JSON(&rep)
		require.Equal(t, [3]int64{c.rows, c.accepted, c.rejected}, [3]int64{rep.Rows, rep.Accepted, rep.Rejected}, c.args)
		if c.code != 0 {
			require.Contains(t, p.Log(), "nothing of bad.csv was imported: rows rejected: 2")
		}
	}
}

// Real purchases, killed twice on the way, end exactly where an independent computation over the raw file ends.
func TestImportOfRealPurchasesSurvivesKills(t *testing.T) {
	t.Parallel()
	raw, err := os.Open("../../templates/demo/data/online_retail.csv.gz")
	require.NoError(t, err)
	defer raw.Close()
	unzipped, err := gzip.NewReader(raw)
	require.NoError(t, err)
	in := csv.NewReader(unzipped)
	_, err = in.Read()
	require.NoError(t, err)

	path := filepath.Join(t.TempDir(), "orders.csv")
	f, err := os.Create(path)
	require.NoError(t, err)
	out := csv.NewWriter(f)
	require.NoError(t, out.Write(strings.Split("order_no,line_no,touchpoint,store,placed_at,paid_at,source,source_id,sku,quantity,unit_price_fen,discount_fen", ",")))
	type sums struct{ paid, returned map[string]int64 }
	want := sums{map[string]int64{}, map[string]int64{}}
	bySKU := map[string]int64{}
	var rows, rejected, net int64
	lineOf := map[string]int{}
	for rows < 40_000 {
		r, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		rows++
		invoice, sku, when, who := r[0], r[1], r[4], r[6]
		lineOf[invoice]++
		price, ok := new(big.Rat).SetString(r[5])
		require.True(t, ok)
		fen := new(big.Rat).Mul(price, big.NewRat(1000, 1)) // £1 = ¥10
		require.True(t, fen.IsInt() || fen.Sign() > 0)
		unit := new(big.Int).Quo(fen.Num(), fen.Denom()).Int64()
		quantity, err := strconv.ParseInt(r[3], 10, 64)
		require.NoError(t, err)
		require.NoError(t, out.Write([]string{invoice, strconv.Itoa(lineOf[invoice]), "web", "S" + invoice[len(invoice)-1:], when, when, "shop", who, sku, r[3], strconv.FormatInt(unit, 10), ""}))
		if unit < 0 {
			rejected++
			continue
		}
		net += quantity * unit
		if quantity > 0 {
			want.paid[invoice] += quantity * unit
			bySKU[sku] += quantity * unit
		} else {
			want.returned[invoice] += quantity * unit
		}
	}
	out.Flush()
	require.NoError(t, out.Error())
	require.NoError(t, f.Close())

	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir()}
	db, err := pg.Open(t.Context(), o.DatabaseURL, 2)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	for _, target := range []int64{4_000, 12_000} {
		p := harness.Command(t, o, "import", "orders", path, "--json")
		p.Await("some batches are committed", func() bool {
			var n int64
			err := db.QueryRow(context.Background(), `SELECT coalesce(max(rows), 0) FROM core.import_jobs`).Scan(&n)
			return err == nil && n >= target
		})
		p.Kill()
	}
	p, code := harness.Run(t, o, "import", "orders", path, "--json")
	require.Zero(t, code, p.Log())
	var rep importer.Report
	p.JSON(&rep)
	require.Positive(t, rep.Resumed)
	require.Equal(t, [5]int64{rows, rows - rejected, rejected, 0, net}, [5]int64{rep.Rows, rep.Accepted, rep.Rejected, rep.Duplicates, int64(rep.NetFen)})

	got := sums{map[string]int64{}, map[string]int64{}}
	fold(t, db, got.paid, `SELECT props->>'order_no', sum((props->>'amount_fen')::bigint)::bigint FROM member.activities WHERE key = 'order_paid' GROUP BY 1`)
	fold(t, db, got.returned, `SELECT props->>'order_no', sum((props->>'amount_fen')::bigint)::bigint FROM member.activities WHERE key = 'order_returned' GROUP BY 1`)
	require.Equal(t, want, got)
	gotSKU := map[string]int64{}
	fold(t, db, gotSKU, `SELECT props->>'sku', sum((props->>'amount_fen')::bigint)::bigint FROM member.activities WHERE key = 'product_purchased' GROUP BY 1`)
	require.Equal(t, bySKU, gotSKU)

	p, code = harness.Run(t, o, "import", "orders", path, "--json")
	require.Zero(t, code, p.Log())
	rep = importer.Report{}
	p.JSON(&rep)
	require.Equal(t, [4]int64{rows, 0, rejected, rows - rejected}, [4]int64{rep.Rows, rep.Accepted, rep.Rejected, rep.Duplicates})
	require.Zero(t, rep.NetFen)
}

func fold(t *testing.T, db *pg.Pool, into map[string]int64, sql string) {
	t.Helper()
	rows, err := db.Query(t.Context(), sql)
	require.NoError(t, err)
	var key string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error { into[key] = n; return nil })
	require.NoError(t, err, fmt.Sprint(sql))
}
