package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// client calls the API of a wired program as one actor.
type client struct {
	t      *testing.T
	h      http.Handler
	secret string // of an API key
	cookie string // of an operator's session
}

// answer is what came back; body is the decoded JSON object, if it is one.
type answer struct {
	t    *testing.T
	code int
	text string
	body map[string]any
}

func (c client) do(method, path, body string, header ...string) answer {
	c.t.Helper()
	if c.cookie != "" {
		header = append(header, "Cookie", c.cookie)
	}
	var w *httptest.ResponseRecorder = request(c.t, c.h, method, "/api/v1"+path, c.secret, body, header...)
	a := answer{t: c.t, code: w.Code, text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

func (c client) get(path string) answer { c.t.Helper(); return c.do("GET", path, "") }

func (c client) post(path, body string, header ...string) answer {
	c.t.Helper()
	return c.do("POST", path, body, header...)
}

// ok requires a status of success.
func (a answer) ok() answer {
	a.t.Helper()
	require.Less(a.t, a.code, 300, a.text)
	return a
}

// fails requires a status and a stable code, and a problem document with it.
func (a answer) fails(status int, code string) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.code, a.text)
	require.Equal(a.t, code, a.body["code"], a.text)
	return a
}

// at follows keys and, for lists, their first element.
func (a answer) at(path ...string) any {
	a.t.Helper()
	var v any = a.body
	for _, p := range path {
		for {
			list, ok := v.([]any)
			if !ok {
				break
			}
			require.NotEmpty(a.t, list, "%s: %s", p, a.text)
			v = list[0]
		}
		m, ok := v.(map[string]any)
		require.True(a.t, ok, "%s: %s", p, a.text)
		v = m[p]
	}
	return v
}

func (a answer) items() []any {
	a.t.Helper()
	list, ok := a.body["items"].([]any)
	require.True(a.t, ok, a.text)
	return list
}

// brand is a wired program with two stores and two members at each of them.
type brand struct {
	*app
	t   *testing.T
	h   http.Handler
	ids map[string]string // by source id
}

func openBrand(t *testing.T) *brand {
	a := wired(t)
	b := &brand{app: a, t: t, h: a.api.Handler(), ids: map[string]string{}}
	for _, m := range []struct{ source, store, name, phone string }{
		{"p1", "S1", "王小明", "13800131001"}, {"p2", "S1", "王晓明", "13800131002"},
		{"p3", "S2", "李雷", "13800132003"}, {"p4", "S2", "韩梅梅", "13800132004"},
	} {
		require.NoError(t, pg.InTx(t.Context(), a.db, func(tx pgx.Tx) error {
			now := a.clock.Now()
			if _, err := org.Ensure(t.Context(), tx, []string{m.store}, org.KindStore, now); err != nil {
				return err
			}
			got, err := a.door.Observe(t.Context(), tx, []capture.Person{{
				Keys:  []identity.Key{{NS: identity.NSSource, Scope: "pos", Value: m.source}, {NS: identity.NSPhone, Value: m.phone}},
				Name:  crypt.Name(m.name),
				Attrs: map[string]any{"home_store": m.store}, Source: "pos", At: now, RegisteredAt: now,
			}})
			if err == nil {
				b.ids[m.source] = got[0].Root.String()
			}
			return err
		}))
	}
	return b
}

// key acts with an API key of the role at the unit.
func (b *brand) key(role auth.Role, unit string) client {
	b.t.Helper()
	return client{t: b.t, h: b.h, secret: as(b.t, b.app, role, unit)}
}

// operator acts in the session of an operator.
func (b *brand) operator(role auth.Role, unit string) client {
	b.t.Helper()
	login := string(role) + "-" + strings.ToLower(unit) + "-x"
	_, err := b.auth.CreateOperator(b.t.Context(), auth.System, auth.CreateOperatorInput{
		Login: login, Name: login, Password: "long enough", Roles: []auth.Role{role}, Org: unit,
	})
	require.NoError(b.t, err)
	s, err := b.auth.SignIn(b.t.Context(), login, "long enough", "10.0.0.1", "test")
	require.NoError(b.t, err)
	return client{t: b.t, h: b.h, cookie: auth.SessionCookie + "=" + s.Token}
}

func (b *brand) audited(action string) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRow(b.t.Context(), `SELECT count(*) FROM core.audit WHERE action = $1`, action).Scan(&n))
	return n
}

func TestMembersAreFoundMaskedAndWithinScope(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	agent, store := b.key(auth.RoleAgent, ""), b.key(auth.RoleManager, "S1")
	for q, want := range map[string]string{"13800131001": "p1", "1001": "p1", "王小明": "p1", "hanmeimei": "p4", "hmm": "p4"} {
		found := agent.get("/members?q=" + q).ok()
		require.Contains(t, found.text, `"`+b.ids[want]+`"`, q)
		for _, clear := range []string{"13800131001", "王小明", "韩梅梅"} {
			require.NotContains(t, found.text, clear, "lists are masked")
		}
	}
	require.Empty(t, store.get("/members?q=13800132003").ok().items(), "a member of another store")
	require.Len(t, store.get("/members").ok().items(), 2)
	agent.get("/members?q=x").fails(422, "identity.query")

	page := agent.get("/members?limit=3").ok()
	require.Len(t, page.items(), 3)
	rest := agent.get("/members?limit=3&cursor=" + page.at("next_cursor").(string)).ok()
	require.Len(t, rest.items(), 1)

	graph := agent.get("/members/" + b.ids["p1"] + "/identity").ok()
	require.NotContains(t, graph.text, "13800131001")
	require.Equal(t, b.ids["p1"], graph.at("id"))
	store.get("/members/"+b.ids["p3"]+"/identity").fails(404, "member.unknown")
	store.get("/members/no-number/identity").fails(404, "member.unknown")
	store.get("/members/999999999/identity").fails(404, "member.unknown")
}

func TestTimelineOfAMember(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	agent, store := b.key(auth.RoleAgent, ""), b.key(auth.RoleManager, "S1")
	one, two := b.ids["p1"], b.ids["p2"]
	agent.post("/members/"+one+"/merge", `{"other":"`+two+`","reason":"same person"}`).ok()

	// Six facts of two births, two of them in the same instant.
	start := b.clock.Now().Add(-24 * time.Hour).Truncate(time.Second)
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
		var items []activity.Activity
		for i := range 6 {
			birth, err := strconv.ParseInt([]string{one, two}[i%2], 10, 64)
			if err != nil {
				return err
			}
			items = append(items, activity.Activity{
				Birth: member.Birth(birth), Key: []string{"order_paid", "试用反馈", "product_viewed"}[i%3], OccurredAt: start.Add(time.Duration(i/2) * time.Minute),
				Mode: member.ModeLive, Source: "pos", DedupeKey: strconv.Itoa(i),
				Props: map[string]any{
					"n": i, "order_no": "13800138000", "note": "call 138 0013 8001 or wang@example.com", "deep": []any{map[string]any{"tel": 13800138002}},
				},
			})
		}
		_, err := b.activity.Append(t.Context(), tx, items)
		return err
	}))

	var seen []string
	path := "/members/" + two + "/timeline?key=order_paid,试用反馈,product_viewed&limit=4"
	for cursor := ""; ; {
		page := agent.get(path + "&cursor=" + cursor).ok()
		for _, clear := range []string{"13800138001", "138 0013 8001", "13800138002", "wang@example.com"} {
			require.NotContains(t, page.text, clear)
		}
		for _, item := range page.items() {
			props := item.(map[string]any)["props"].(map[string]any)
			seen = append(seen, fmt.Sprint(props["n"]))
			masked := props["order_no"] != "13800138000"
			require.Equal(t, item.(map[string]any)["key"] != "order_paid", masked, "the house's own properties stay as they are")
		}
		if cursor = page.at("next_cursor").(string); cursor == "" {
			break
		}
	}
	require.Len(t, seen, 6)
	require.ElementsMatch(t, []string{"5", "4"}, seen[:2], "newest first")
	require.ElementsMatch(t, []string{"1", "0"}, seen[4:], "of all births of the member, each once")

	paid := agent.get("/members/" + one + "/timeline?key=order_paid").ok()
	require.Len(t, paid.items(), 2)
	require.Empty(t, agent.get("/members/"+one+"/timeline?key=never_happened").ok().items())
	require.NotEmpty(t, store.get("/members/"+one+"/timeline").ok().items(), "a member of the store")
	store.get("/members/"+b.ids["p3"]+"/timeline").fails(404, "member.unknown")
	agent.get("/members/"+one+"/timeline?cursor=nonsense").fails(422, "activity.cursor")
	agent.get("/members/no-number/timeline").fails(404, "member.unknown")
	b.key(auth.RoleFinance, "").get("/members/"+one+"/timeline").fails(403, "auth.forbidden")
}

func TestMergeAndSplitThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	agent, store := b.key(auth.RoleAgent, ""), b.key(auth.RoleManager, "S1")
	one, two := b.ids["p1"], b.ids["p2"]
	same := func() any {
		return agent.get("/members/" + one + "/identity/explain?other=" + two).ok().at("same")
	}
	require.Equal(t, false, same())

	preview := agent.post("/members/"+one+"/merge", `{"other":"`+two+`","reason":"same person","preview":true}`).ok()
	require.Len(t, preview.at("before"), 2)
	require.Len(t, preview.at("after"), 1, preview.text)
	require.Equal(t, false, same(), "a preview changes nothing")
	require.Zero(t, b.audited("member.merged"))

	store.post("/members/"+one+"/merge", `{"other":"`+b.ids["p3"]+`","reason":"x"}`).fails(404, "member.unknown")
	agent.post("/members/"+one+"/merge", `{"other":"`+two+`"}`).fails(422, "identity.reason_required")
	b.key(auth.RoleMarketer, "").post("/members/"+one+"/merge", `{"other":"`+two+`","reason":"x"}`).fails(403, "auth.forbidden")
	agent.post("/members/"+one+"/merge", `{"other":"`+two+`","reason":"same person"}`).ok()
	require.Equal(t, true, same())
	require.Equal(t, 1, b.audited("member.merged"))
	explained := agent.get("/members/" + one + "/identity/explain?other=" + two).ok()
	require.NotEmpty(t, explained.at("path"))
	require.NotEmpty(t, agent.get("/members/"+one+"/identity").ok().at("history"))
	require.Len(t, store.get("/members").ok().items(), 1)

	var moved []string
	for _, c := range preview.at("before").([]any) {
		if m := c.(map[string]any); m["id"] == two {
			for _, birth := range m["births"].([]any) {
				moved = append(moved, birth.(string))
			}
		}
	}
	births, err := json.Marshal(moved)
	require.NoError(t, err)
	preview = agent.post("/members/"+one+"/split", `{"births":`+string(births)+`,"reason":"wrong","preview":true}`).ok()
	require.Len(t, preview.at("after"), 2)
	require.Equal(t, true, same())
	agent.post("/members/"+one+"/split", `{"births":["`+b.ids["p3"]+`"],"reason":"wrong"}`).fails(422, "identity.split")
	agent.post("/members/"+one+"/split", `{"births":`+string(births)+`,"reason":"wrong"}`).ok()
	require.Equal(t, false, same())
	require.Equal(t, 1, b.audited("member.split"))
}

func TestRevealIsForSomeAndOnTheRecord(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	agent, other := b.operator(auth.RoleAgent, ""), b.operator(auth.RoleManager, "S2")
	path := "/members/" + b.ids["p1"] + "/reveal"
	ids := agent.get("/members/" + b.ids["p1"] + "/identity").ok().at("identifiers").([]any)
	phone := ""
	for _, i := range ids {
		if m := i.(map[string]any); m["namespace"] == "phone" {
			phone = m["birth"].(string)
		}
	}
	ask := `{"birth":"` + phone + `","kind":"phone","purpose":"call back about order 7"}`
	require.Equal(t, "+8613800131001", agent.post(path, ask).ok().at("value"))
	require.Equal(t, 1, b.audited("member.revealed"))
	agent.post(path, `{"birth":"`+phone+`","kind":"phone"}`).fails(422, "identity.reason_required")
	agent.post(path, `{"birth":"`+b.ids["p3"]+`","kind":"name","purpose":"x"}`).fails(404, "member.unknown")
	other.post(path, ask).fails(404, "member.unknown")
	b.key(auth.RoleAgent, "").post(path, ask).fails(403, "auth.forbidden")
	b.operator(auth.RoleMarketer, "").post(path, ask).fails(403, "auth.forbidden")
	require.Equal(t, 1, b.audited("member.revealed"))
	kind := agent.post(path, `{"birth":"`+phone+`","kind":"shoe size","purpose":"x"}`)
	require.GreaterOrEqual(t, kind.code, 400, kind.text)
	require.Less(t, kind.code, 500, kind.text)
}

func TestPointsThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	marketer, finance, agent := b.key(auth.RoleMarketer, ""), b.key(auth.RoleFinance, ""), b.key(auth.RoleAgent, "S1")
	programme := `{"code":"club","name":"会员","value_points":100,"value_fen":100,"earn_fen":100,"rounding":"floor","validity":"days","validity_n":30,` +
		`"pending_days":0,"grace_days":0,"tiers":[{"code":"gold","name":"金","growth":100,"window_days":365}],"status":"active","version":%}`
	created := marketer.post("/programmes", strings.ReplaceAll(programme, "%", "0")).ok()
	require.Equal(t, 201, created.code)
	marketer.post("/programmes", strings.ReplaceAll(programme, "%", "0")).fails(409, "points.programme_exists")
	require.Equal(t, 422, marketer.post("/programmes", `{"code":"NO CODE"}`).code)
	marketer.do("PUT", "/programmes/club", strings.ReplaceAll(programme, "%", "1")).ok()
	marketer.do("PUT", "/programmes/club", strings.ReplaceAll(programme, "%", "1")).fails(409, "points.stale")
	agent.post("/programmes", strings.ReplaceAll(programme, "%", "0")).fails(403, "auth.forbidden")

	me := "/members/" + b.ids["p1"]
	give := `{"programme":"club","points":500,"reason":"sorry"}`
	agent.post(me+"/points/grant", give).fails(422, "points.invalid")
	granted := agent.post(me+"/points/grant", give, "Idempotency-Key", "g1").ok()
	agent.post(me+"/points/grant", give, "Idempotency-Key", "g1").ok()
	require.EqualValues(t, 500, agent.get(me+"/points").ok().at("items", "active"))
	agent.post(me+"/points/grant", `{"programme":"club","points":1001,"reason":"x"}`, "Idempotency-Key", "g2").fails(403, "points.limit")
	agent.post(me+"/points/grant", `{"programme":"none","points":1,"reason":"x"}`, "Idempotency-Key", "g3").fails(404, "points.no_programme")
	spent := agent.post(me+"/points/spend", `{"programme":"club","points":200,"reason":"gift"}`, "Idempotency-Key", "s1").ok()
	require.NotEmpty(t, spent.at("draws"))
	agent.post(me+"/points/spend", `{"programme":"club","points":301,"reason":"gift"}`, "Idempotency-Key", "s2").fails(412, "points.insufficient")
	require.Equal(t, "active", agent.get(me+"/point-lots").ok().at("items", "state"))
	finance.post("/point-spends/"+spent.at("key").(string)+"/refund", `{"points":50,"reason":"x"}`, "Idempotency-Key", "r1").ok()
	finance.post("/point-grants/"+granted.at("key").(string)+"/revoke", `{"points":100,"reason":"x"}`, "Idempotency-Key", "v1").ok()
	finance.post("/point-grants/not-a-key/revoke", `{"points":100,"reason":"x"}`, "Idempotency-Key", "v2").fails(422, "api.malformed")
	require.EqualValues(t, 250, agent.get(me+"/points").ok().at("items", "active"))
	require.Equal(t, true, finance.get("/programmes-check").ok().at("ok"))

	_, err := b.activity.Drain(t.Context(), "tiers", b.points.HandleTiers)
	require.NoError(t, err)
	require.Equal(t, "gold", agent.get(me+"/tiers").ok().at("items", "tier"))

	far := "/members/" + b.ids["p3"]
	for _, path := range []string{"/points", "/point-lots", "/tiers"} {
		agent.get(far+path).fails(404, "member.unknown")
	}
	agent.post(far+"/points/grant", give, "Idempotency-Key", "g9").fails(404, "member.unknown")
	require.Equal(t, 1, b.audited("points.granted"))
}

func TestCouponsThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	marketer, manager := b.key(auth.RoleMarketer, ""), b.key(auth.RoleManager, "S1")
	template := `{"code":"tea","name":"奶茶","kind":"amount_off","amount_fen":500,"valid_days":7,"member_limit":1,"bearers":[{"bearer":"HQ","bp":10000}]}`
	require.Equal(t, 201, marketer.post("/coupon-templates", template).ok().code)
	require.Equal(t, 409, marketer.post("/coupon-templates", template).code)
	wrong := marketer.post("/coupon-templates", strings.Replace(template, "10000", "9999", 1))
	require.Equal(t, 422, wrong.code, wrong.text)
	require.Contains(t, wrong.text, "bearers")
	manager.post("/coupon-templates", template).fails(403, "auth.forbidden")

	me := "/members/" + b.ids["p1"]
	body := `{"template":"tea","reason":"sorry"}`
	require.Equal(t, 422, manager.post(me+"/coupons", body).code, "without a key")
	given := manager.post(me+"/coupons", body, "Idempotency-Key", "c1").ok()
	require.Equal(t, "granted", given.at("outcome"))
	code := given.at("code").(string)
	require.Equal(t, code, manager.post(me+"/coupons", body, "Idempotency-Key", "c1").ok().at("code"))
	require.Equal(t, "limit_reached", manager.post(me+"/coupons", body, "Idempotency-Key", "c2").ok().at("outcome"))
	require.Equal(t, 404, manager.post(me+"/coupons", `{"template":"none","reason":"x"}`, "Idempotency-Key", "c3").code)
	require.Len(t, manager.get(me+"/coupons").ok().items(), 1)
	require.Equal(t, code, manager.get("/coupons/"+strings.ToLower(code)).ok().at("code"))
	far := b.key(auth.RoleManager, "S2")
	far.get("/coupons/"+code).fails(404, "coupon.unknown")
	far.get(me+"/coupons").fails(404, "member.unknown")
	far.post(me+"/coupons", body, "Idempotency-Key", "c9").fails(404, "member.unknown")
	require.EqualValues(t, 1, marketer.post("/coupon-templates/tea/recall", `{}`).ok().at("recalled"))
	require.Equal(t, "recalled", manager.get("/coupons/"+code).ok().at("state"))
	b.key(auth.RoleFinance, "").get("/coupon-costs").ok()
}

func TestJourneysThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	marketer := b.key(auth.RoleMarketer, "")
	doc := func(next string) string {
		return `{"name":"hello","settings":{"trigger":{"kind":"api"},"reentry":{"policy":"always"}},"start":"a",` +
			`"nodes":[{"id":"a","kind":"tag","tag":{"add":["hello"]},"next":"` + next + `"},{"id":"end","kind":"exit"}]}`
	}
	require.Equal(t, 201, marketer.post("/journeys", `{"code":"hello","document":`+doc("nowhere")+`}`).ok().code)
	marketer.post("/journeys", `{"code":"hello","document":`+doc("end")+`}`).fails(409, "journey.code_taken")
	marketer.post("/journeys", `{"document":{}}`).fails(422, "input.invalid")
	faults := marketer.post("/journeys/hello/check", "").fails(422, "journey.invalid")
	require.Contains(t, faults.text, "nodes[0].next")
	marketer.post("/journeys/hello/publish", `{"revision":1}`).fails(422, "journey.invalid")
	marketer.do("PUT", "/journeys/hello", `{"revision":9,"document":`+doc("end")+`}`).fails(409, "journey.stale")
	marketer.do("PUT", "/journeys/hello", `{"revision":1,"document":`+doc("end")+`}`).ok()
	require.Equal(t, true, marketer.post("/journeys/hello/check", "").ok().at("valid"))
	marketer.post("/journeys/hello/publish", `{"revision":1}`).fails(409, "journey.stale")
	published := marketer.post("/journeys/hello/publish", `{"revision":2}`).ok()
	require.EqualValues(t, 1, published.at("version"))
	require.Equal(t, "live", marketer.get("/journeys/hello").ok().at("status"))

	members := `{"members":["` + b.ids["p1"] + `","` + b.ids["p3"] + `"]}`
	marketer.post("/journeys/hello/runs", members).fails(422, "journey.no_key")
	require.EqualValues(t, 2, marketer.post("/journeys/hello/runs", members, "Idempotency-Key", "k1").ok().at("count"))
	again := marketer.post("/journeys/hello/runs", members, "Idempotency-Key", "k1").ok()
	status := marketer.get("/journeys/hello/status").ok()
	require.EqualValues(t, 2, status.at("started"), "begun once, whatever is answered the second time: "+again.text)
	require.Len(t, marketer.get("/members/"+b.ids["p1"]+"/journeys").ok().items(), 1)
	marketer.get("/members/" + b.ids["p1"] + "/journeys?limit=-5").ok()
	marketer.post("/journeys/hello/runs", `{"members":[]}`, "Idempotency-Key", "k2").fails(422, "input.invalid")
	marketer.post("/journeys/hello/runs", `{"members":["999999999"]}`, "Idempotency-Key", "k3").fails(404, "journey.no_member")
	marketer.post("/journeys/none/runs", members, "Idempotency-Key", "k4").fails(404, "journey.not_found")
	local := b.key(auth.RoleMarketer, "S1")
	local.post("/journeys/hello/runs", members, "Idempotency-Key", "k5").fails(404, "journey.no_member")
	b.key(auth.RoleManager, "S1").get("/members/"+b.ids["p3"]+"/journeys").fails(404, "journey.no_member")

	marketer.post("/journeys-stop", `{"stop":true}`).ok()
	marketer.post("/journeys-stop", `{"stop":false}`).ok()
	marketer.post("/journeys/hello/pause", "").ok()
	require.Equal(t, "paused", marketer.get("/journeys/hello").ok().at("status"))
	marketer.post("/journeys/hello/resume", "").ok()
	for _, path := range []string{"/figures", "/figures?by_cohort=true&by_hour=true&by_version=true", "/in-flight", "/status"} {
		marketer.get("/journeys/hello" + path).ok()
		marketer.get("/journeys/none"+path).fails(404, "journey.not_found")
	}
	require.Len(t, marketer.get("/journeys?status=live&limit=1").ok().items(), 1)
	marketer.post("/journeys/hello/copy", `{"code":"hello-2"}`).ok()
	marketer.post("/journeys/hello/archive", "").ok()
	marketer.post("/journeys/hello/publish", `{"revision":2}`).fails(412, "journey.status")
}

func TestSegmentsThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	marketer, manager := b.key(auth.RoleMarketer, ""), b.key(auth.RoleManager, "S1")
	rule := `{"attr":"home_store","op":"in","value":["S1","S2"]}`
	require.Equal(t, 201, marketer.post("/segments", `{"code":"both","name":"Both","rule":`+rule+`}`).ok().code)
	marketer.post("/segments", `{"code":"both","name":"Both","rule":`+rule+`}`).fails(409, "segments.code_taken")
	bad := marketer.post("/segments", `{"code":"bad","name":"Bad","rule":{"all":[{"attr":"x","op":"like","value":1}]}}`).fails(422, "segments.rule")
	require.Contains(t, bad.text, "all[0]")
	require.Equal(t, 422, marketer.post("/segments", `{"code":"bad","name":"Bad"}`).code)
	require.Equal(t, 422, marketer.post("/segments", `{"code":"bad","rule":`+rule+`}`).code)
	require.EqualValues(t, 4, marketer.post("/segment-preview", `{"rule":`+rule+`}`).ok().at("count"))
	require.EqualValues(t, 0, marketer.post("/segment-preview", `{"rule":`+rule+`,"at":"2020-01-01T00:00:00Z"}`).ok().at("count"))

	require.Len(t, marketer.get("/segments/both/members").ok().items(), 4)
	mine := manager.get("/segments/both/members").ok()
	require.Len(t, mine.items(), 2)
	require.NotContains(t, mine.text, `"`+b.ids["p3"]+`"`)
	page := marketer.get("/segments/both/members?limit=3").ok()
	require.Len(t, page.items(), 3)
	require.Len(t, marketer.get("/segments/both/members?limit=3&cursor="+page.at("next_cursor").(string)).ok().items(), 1)

	why := manager.get("/segments/both/members/" + b.ids["p1"]).ok()
	require.Equal(t, true, why.at("holds"))
	require.Equal(t, 404, manager.get("/segments/both/members/"+b.ids["p3"]).code)
	require.Equal(t, 404, marketer.get("/segments/none/members/"+b.ids["p3"]).code)

	current := marketer.get("/segments/both").ok()
	version, err := json.Marshal(current.at("version"))
	require.NoError(t, err)
	marketer.do("PATCH", "/segments/both", `{"version":`+string(version)+`,"name":"Two"}`).ok()
	marketer.do("PATCH", "/segments/both", `{"version":`+string(version)+`,"name":"Three"}`).fails(409, "segments.stale")
	missing := marketer.do("PATCH", "/segments/both", `{"name":"Three"}`)
	require.GreaterOrEqual(t, missing.code, 400, missing.text)
	marketer.post("/segments/both/archive", `{"version":`+string(version)+`}`).fails(409, "segments.stale")
	manager.do("PATCH", "/segments/both", `{"version":1}`).fails(403, "auth.forbidden")
	require.Equal(t, "Two", marketer.get("/segments/both").ok().at("name"))
	marketer.get("/segments/none").fails(404, "segments.not_found")
	marketer.get("/segments?limit=1").ok()
}
