package tracking_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/tracking"
)

const writeKey = "lk_write_test"

var now = time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)

type bundle struct {
	t     testing.TB
	db    *pg.Pool
	clock *clock.Virtual
	log   *activity.Log
	graph *identity.Service
	url   string
}

func setup(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{t: t, db: pgtest.DB(t), clock: clock.NewVirtual(now)}
	discard := slog.New(slog.DiscardHandler)
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	b.log = activity.NewLog(b.db, b.clock, discard)
	b.graph = identity.New(b.db, b.clock, ring, b.log, events.New(b.db, b.clock, jobs.New(b.db, discard)))
	secrets := member.NewSecrets(ring, func(context.Context, pgx.Tx, member.Birth, string, string) error { return nil })
	door := capture.New(b.graph, secrets, b.log, b.clock)
	keys := auth.New(b.db, b.clock, discard, nil)
	_, _, err = keys.CreateKey(t.Context(), auth.System, auth.CreateKeyInput{Kind: auth.KeyWrite, Name: "app", Source: "app", PerSecond: 1_000_000, Secret: writeKey})
	require.NoError(t, err)
	server := httptest.NewServer(tracking.NewHandler(keys, tracking.NewWriter(b.db, b.clock, door, b.log)))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// send posts a body as SDKs do, and returns status and answer.
func (b *bundle) send(path, body string, with ...func(*http.Request)) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+"/v1/"+path, strings.NewReader(body))
	require.NoError(b.t, err)
	req.SetBasicAuth(writeKey, "")
	req.Header.Set("Content-Type", "application/json")
	for _, f := range with {
		f(req)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return resp.StatusCode, string(answer)
}

func (b *bundle) ok(path, body string, with ...func(*http.Request)) {
	b.t.Helper()
	code, answer := b.send(path, body, with...)
	require.Equal(b.t, http.StatusOK, code, answer)
	require.JSONEq(b.t, `{"success":true}`, answer)
}

// rows returns what was logged: key, time, touchpoint, properties, and the namespace of the birth.
func (b *bundle) rows() []string {
	b.t.Helper()
	rows, err := b.db.Query(b.t.Context(), `
		SELECT concat_ws(' ', b.ns, a.key, to_char(a.occurred_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'), a.touchpoint, a.source, a.mode, a.props)
		FROM member.activities a JOIN member.births b USING (birth)
		ORDER BY a.occurred_at, a.key, a.props::text`)
	require.NoError(b.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return out
}

// state is everything but the feed, which only grows.
func (b *bundle) state() string {
	b.t.Helper()
	var s string
	require.NoError(b.t, b.db.QueryRow(b.t.Context(), `
		SELECT concat_ws(E'\n',
		    (SELECT string_agg(a::text, E'\n' ORDER BY a.id) FROM member.activities a),
		    (SELECT string_agg(concat_ws(' ', birth, name, value, at), E'\n' ORDER BY birth, name) FROM member.attributes),
		    (SELECT string_agg(concat_ws(' ', birth, root), E'\n' ORDER BY birth) FROM member.births),
		    (SELECT string_agg(concat_ws(' ', id, is_member, registered_at, first_fact_at, attrs), E'\n' ORDER BY id) FROM member.members),
		    (SELECT count(*) FROM member.feed_inbox) + (SELECT count(*) FROM member.feed))`).Scan(&s))
	return s
}

func zipped(t testing.TB, body string) func(*http.Request) {
	return func(r *http.Request) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, body)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		r.Body, r.ContentLength = io.NopCloser(&b), int64(b.Len())
		r.Header.Set("Content-Encoding", "gzip")
	}
}

func TestCallsOfTheSpecBecomeMembersAndActivity(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ok("identify", `{"messageId":"1","anonymousId":"a-1","userId":"u1","traits":{"name":"沈若溪","email":"ruoxi@example.com","gender":"female","vip":true,"level":3,"address":{"city":"杭州"}},"timestamp":"2026-06-01T03:00:00Z"}`)
	b.ok("track", `{"messageId":"2","userId":"u1","event":"Product Viewed","properties":{"product_id":"22423","price":127.5,"category":"餐具"},"context":{"library":{"name":"analytics.js"}},"timestamp":"2026-06-01T03:01:00.5Z"}`)
	b.ok("page", `{"messageId":"3","anonymousId":"a-1","name":"首页","properties":{"path":"/"},"timestamp":"2026-06-01T03:02:00Z"}`,
		func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	b.ok("screen", `{"messageId":"4","userId":"u1","name":"会员码","timestamp":"2026-06-01T03:03:00Z","context":{"touchpoint":"miniprogram"}}`)
	b.ok("group", `{"userId":"u1","groupId":"g"}`)
	order := `{"type":"track","messageId":"5","userId":"u1","event":"Order Completed","timestamp":"2026-06-01T03:04:00Z","properties":{"order_id":"A1","total":157.00,"affiliation":"HZ01","products":[
		{"sku":"22423","price":127.5,"quantity":1,"category":"餐具","brand":"知更集"},{"product_id":"22699","price":"29.50","quantity":1}]}}`
	b.ok("batch", "", zipped(t, `{"batch":[`+order+`,{"type":"track","messageId":"6","anonymousId":"a-2","event":"打卡","timestamp":"2026-06-01T03:05:00Z"},{"type":"group","userId":"u1"}],"sentAt":"2026-06-01T04:00:00Z"}`))
	b.ok("alias", `{"messageId":"7","userId":"u1","previousId":"a-2"}`)

	require.Equal(t, []string{
		`user product_viewed 06-01 03:01:00 web app live {"sku": "22423", "category": "餐具", "quantity": 1, "price_fen": 12750}`,
		`anonymous page_viewed 06-01 03:02:00  app live {"name": "首页", "path": "/"}`,
		`user screen_viewed 06-01 03:03:00 miniprogram app live {"name": "会员码"}`,
		`user order_paid 06-01 03:04:00  app live {"store": "HZ01", "order_no": "A1", "quantity": 2, "amount_fen": 15700, "touchpoint": ""}`,
		`user product_purchased 06-01 03:04:00  app live {"sku": "22423", "brand": "知更集", "store": "HZ01", "category": "餐具", "order_no": "A1", "quantity": 1, "amount_fen": 12750, "touchpoint": ""}`,
		`user product_purchased 06-01 03:04:00  app live {"sku": "22699", "store": "HZ01", "order_no": "A1", "quantity": 1, "amount_fen": 2950, "touchpoint": ""}`,
		`anonymous 打卡 06-01 03:05:00  app live {}`,
	}, b.rows())
	var roots int
	var attrs string
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(DISTINCT root) FROM member.births WHERE ns IN ('user', 'anonymous')`).Scan(&roots))
	require.Equal(t, 1, roots)
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT attrs FROM member.members WHERE is_member`).Scan(&attrs))
	require.JSONEq(t, `{"gender":"female","city":"杭州","attr.vip":true,"attr.level":3}`, attrs)
	var plain int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*) FROM member.attributes WHERE value::text LIKE '%ruoxi%' OR value::text LIKE '%沈%'`).Scan(&plain))
	require.Zero(t, plain)
}

func TestReplayOfAnyBatchChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := `{"sentAt":"2026-06-01T03:59:58Z","batch":[
		{"type":"identify","messageId":"i1","userId":"u1","anonymousId":"a","traits":{"level":1},"timestamp":"2026-06-01T03:00:00Z"},
		{"type":"track","messageId":"t1","userId":"u1","event":"打卡","timestamp":"2026-06-01T03:00:00Z"},
		{"type":"track","userId":"u1","event":"no id","timestamp":"2026-06-01T03:00:00Z"},
		{"type":"alias","messageId":"al","userId":"u1","previousId":"b"}]}`
	second := `{"messageId":"i2","userId":"u1","traits":{"level":2},"timestamp":"2026-06-01T03:30:00Z","sentAt":"2026-06-01T03:30:00Z"}`
	b.ok("batch", first)
	b.ok("identify", second)
	before := b.state()
	require.Contains(t, before, `"attr.level": 2`)
	for _, later := range []time.Duration{time.Second, time.Hour, 20 * 24 * time.Hour} {
		b.clock.Set(now.Add(later))
		b.ok("batch", first)
		b.ok("batch", "", zipped(t, first))
		require.Equal(t, before, b.state())
	}
}

func TestAClientsClockIsCorrected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// The client's clock is a year ahead: what it did 90 s before sending was done 90 s ago.
	b.ok("track", `{"messageId":"1","userId":"u","event":"a","timestamp":"2027-06-01T04:00:00Z","sentAt":"2027-06-01T04:01:30Z"}`)
	// Without sentAt a fact keeps its own time, however late, but nothing happens in the future.
	b.ok("track", `{"messageId":"2","userId":"u","event":"b","timestamp":"2025-01-01T00:00:00+08:00"}`)
	b.ok("track", `{"messageId":"3","userId":"u","event":"c","timestamp":"2030-01-01T00:00:00Z"}`)
	b.ok("track", `{"messageId":"4","userId":"u","event":"d","timestamp":1780286340000}`)
	b.ok("track", `{"messageId":"5","userId":"u","event":"e"}`)
	require.Equal(t, []string{
		"user b 12-31 16:00:00  app live {}", "user a 06-01 03:58:30  app live {}", "user d 06-01 03:59:00  app live {}",
		"user c 06-01 04:00:00  app live {}", "user e 06-01 04:00:00  app live {}",
	}, b.rows())
}

func TestBadInputNamesTheFieldAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.state()
	for name, c := range map[string]struct {
		path, body string
		code       int
		says       string
	}{
		"not json":       {"track", `{"userId":`, 400, "tracking.json"},
		"an array":       {"track", `[]`, 400, "tracking.json"},
		"nul":            {"track", `{"userId":"a\u0000b","event":"x"}`, 400, "tracking.json"},
		"nobody":         {"track", `{"event":"x"}`, 400, `"userId"`},
		"blocked id":     {"track", `{"userId":"undefined","event":"x"}`, 400, `"userId"`},
		"no event":       {"track", `{"userId":"u"}`, 400, `"event"`},
		"reserved":       {"track", `{"userId":"u","event":"segment_entered"}`, 400, `"event"`},
		"reserved $":     {"track", `{"userId":"u","event":"$identity"}`, 400, `"event"`},
		"time":           {"track", `{"userId":"u","event":"x","timestamp":"yesterday"}`, 400, `"timestamp"`},
		"alias":          {"alias", `{"userId":"u"}`, 400, `"previousId"`},
		"one in a batch": {"batch", `{"batch":[{"type":"track","userId":"u","event":"x"},{"type":"trak","userId":"u"}]}`, 400, `"batch[1].type"`},
		"no batch":       {"batch", `{}`, 400, `"batch"`},
		"call too large": {"track", `{"userId":"u","event":"x","properties":{"p":"` + strings.Repeat("x", tracking.MaxCall) + `"}}`, 413, "32 KB"},
		"10 MB of JSON":  {"batch", `{"batch":["` + strings.Repeat("x", 10<<20) + `"]}`, 413, "500 KB"},
		"call in batch":  {"batch", `{"batch":[{"type":"track","userId":"u","event":"x","properties":{"p":"` + strings.Repeat("x", tracking.MaxCall) + `"}}]}`, 400, `"batch[0]."`},
	} {
		code, answer := b.send(c.path, c.body)
		require.Equal(t, c.code, code, "%s: %s", name, answer)
		require.Contains(t, answer, c.says, name)
	}
	bomb := strings.Repeat("0", 50<<20)
	code, _ := b.send("batch", "", zipped(t, bomb))
	require.Equal(t, 413, code)
	for _, f := range []func(*http.Request){
		func(r *http.Request) { r.Header.Del("Authorization") },
		func(r *http.Request) { r.SetBasicAuth("wrong", "") },
	} {
		code, answer := b.send("track", `{"userId":"u","event":"x"}`, f)
		require.Equal(t, 401, code, answer)
	}
	require.Equal(t, before, b.state())
	b.ok("t", `{"userId":"u","event":"x","writeKey":"`+writeKey+`"}`, func(r *http.Request) { r.Header.Del("Authorization") })
}

// An anonymous device hangs on its newest login, also while its resolution is remembered.
func TestASharedDeviceFollowsItsNewestLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	login := func(n int, user string) {
		b.clock.Advance(time.Second)
		b.ok("track", fmt.Sprintf(`{"messageId":"l%d","userId":"%s","anonymousId":"tablet","event":"打卡"}`, n, user))
	}
	owner := func() (ns string) {
		var user, device int64
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT birth, root FROM member.births WHERE ns = 'anonymous'`).Scan(&device, &user))
		var n int64
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT min(birth) FROM member.births WHERE root = $1 AND ns = 'user'`, user).Scan(&n))
		return fmt.Sprint(n)
	}
	login(1, "mother")
	mother := owner()
	login(2, "daughter")
	require.NotEqual(t, mother, owner())
	login(3, "mother")
	require.Equal(t, mother, owner())
	login(4, "mother")
	require.Equal(t, mother, owner())
}

func TestAnOpenTransactionElsewhereDelaysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn, err := b.db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	// It has a transaction id and a snapshot, and stays open until all is done.
	_, err = tx.Exec(t.Context(), `INSERT INTO core.events (id, name, payload, occurred_at) VALUES (gen_random_uuid(), 'x', '{}', now())`)
	require.NoError(t, err)
	for i := range 20 {
		b.ok("track", fmt.Sprintf(`{"messageId":"%d","userId":"u%d","event":"打卡"}`, i, i%3))
	}
	seen := 0
	_, err = b.log.Drain(t.Context(), "test", func(_ context.Context, _ pgx.Tx, rows []activity.Row) error {
		for _, r := range rows {
			if r.Key == "打卡" {
				seen++
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 20, seen)
	require.NoError(t, tx.Rollback(t.Context()))
}

func TestConcurrentClientsAreCommittedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var g errgroup.Group
	for c := range 16 {
		g.Go(func() error {
			for i := range 40 {
				var batch []string
				for k := range 5 {
					// Every message is sent by two clients.
					batch = append(batch, fmt.Sprintf(`{"type":"track","messageId":"%d-%d-%d","userId":"u%d","anonymousId":"d%d","event":"打卡","properties":{"n":%d}}`, c/2, i, k, (i*5+k)%50, (i*5+k)%50, k))
				}
				code, answer := b.send("batch", `{"batch":[`+strings.Join(batch, ",")+`]}`)
				if code != 200 {
					return fmt.Errorf("%d: %s", code, answer)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	var n, people int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*), (SELECT count(*) FROM member.members) FROM member.activities`).Scan(&n, &people))
	require.Equal(t, 8*40*5, n)
	require.Equal(t, 50, people)
}

func FuzzRead(f *testing.F) {
	f.Add("batch", `{"batch":[{"type":"track","userId":1,"event":"x","properties":{"a":[1,{"b":null}]}}],"sentAt":"2026-06-01T04:00:00Z"}`)
	f.Add("identify", `{"anonymousId":"a","traits":{"address":{"city":"x"},"createdAt":1},"context":{"externalIds":[{"id":"o1","type":"wechat_openid","collection":"wx1"}]}}`)
	f.Add("track", `{"userId":"u","event":"Order Completed","properties":{"products":[{"price":"1e400","quantity":-1},7],"total":{}}}`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		messages, err := tracking.Read(kind, []byte(body), "app", now)
		if err != nil {
			return
		}
		for _, m := range messages {
			if m == "" {
				t.Fatal("a message without a name")
			}
		}
		if !json.Valid([]byte(strings.TrimSpace(body))) {
			t.Fatal("accepted what is not JSON")
		}
	})
}
