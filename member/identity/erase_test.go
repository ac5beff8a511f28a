package identity_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/cluster"
	"github.com/lianke/lianke/member/identity"
)

// people is the graph with its door, secrets and search.
type people struct {
	*bundle
	secrets *member.Secrets
	door    *capture.Door
	finder  *identity.Finder
}

func setupPeople(t *testing.T) *people {
	t.Helper()
	b := setup(t)
	secrets := member.NewSecrets(b.ring, func(context.Context, pgx.Tx, member.Birth, string, string) error { return nil })
	log := activity.NewLog(b.db, b.clock, slog.New(slog.DiscardHandler))
	return &people{b, secrets, capture.New(b.svc, secrets, log, b.clock), identity.NewFinder(b.svc, secrets)}
}

func (p *people) cluster(birth member.Birth) cluster.Cluster {
	p.t.Helper()
	c, err := cluster.Get(p.t.Context(), p.db, birth)
	require.NoError(p.t, err)
	return c
}

func (p *people) capture(persons ...capture.Person) []identity.Resolved {
	p.t.Helper()
	var out []identity.Resolved
	require.NoError(p.t, pg.InTx(p.t.Context(), p.db, func(tx pgx.Tx) (err error) {
		out, err = p.door.Observe(p.t.Context(), tx, persons)
		return err
	}))
	return out
}

func shen() capture.Person {
	return capture.Person{
		Keys: keys{src("pos", "CUST-77001"), ph("13812345678"), open("oShenRuoXi0001"), {NS: "email", Value: "ruoxi@example.com"}, {NS: "card", Value: "CARD-90210"}},
		Name: crypt.Name("沈若溪"), Attrs: map[string]any{"home_store": "HZ01", "city": "杭州"}, Tags: []string{"tea"},
		Consents: []capture.Consent{{Channel: "sms", Granted: true}}, RegisteredAt: at(1), Source: "pos", At: at(1), EventKey: "row1",
	}
}

// dump is every row of every table of the house as text.
func (p *people) dump() string {
	p.t.Helper()
	rows, err := p.db.Query(p.t.Context(), `
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = ANY($1)`, pg.Schemas)
	require.NoError(p.t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(p.t, err)
	var all strings.Builder
	for _, table := range tables {
		rows, err := p.db.Query(p.t.Context(), `SELECT x::text FROM `+table+` x`)
		require.NoError(p.t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(p.t, err)
		all.WriteString(strings.Join(lines, "\n"))
	}
	return all.String()
}

func TestNoPersonalDataInPlainText(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.capture(shen())
	text := p.dump()
	require.Contains(t, text, "HZ01")
	for _, secret := range []string{"13812345678", "沈若溪", "若溪", "shen-ruo-xi", "oShenRuoXi0001", "ruoxi@example.com", "CARD-90210", "CUST-77001",
		"\\\\x" + hexOf("13812345678"), hexOf("沈若溪"), hexOf("oShenRuoXi0001")} {
		require.NotContains(t, text, secret)
	}
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(s))
	for _, c := range []byte(s) {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func TestErasureMovesNobodyElse(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	// Records of one system share phones at one instant, so that nothing but ties decides whose each phone is.
	var births []member.Birth
	for i := range 12 {
		r := p.observe(see(5, src("pos", fmt.Sprint(i)), ph(fmt.Sprintf("1380000000%d", i%3)), ph(fmt.Sprintf("1390000000%d", i%4))))
		births = append(births, r[0].Birth)
	}
	before := map[member.Birth]cluster.Cluster{}
	for _, b := range births {
		before[b] = p.cluster(b)
	}
	for _, b := range births[:6] {
		require.NoError(t, pg.InTx(t.Context(), p.db, func(tx pgx.Tx) error {
			_, err := p.svc.Erase(t.Context(), tx, p.secrets, b, "wu", "asked for it")
			return err
		}))
		p.audit()
		for _, other := range births {
			require.Equal(t, before[other], p.cluster(other))
		}
	}
	require.Zero(t, p.count(`SELECT count(*) FROM member.births b JOIN member.identifiers i USING (birth)
WHERE b.erased_at IS NOT NULL AND int8send(b.tie) = substr(i.vh, 1, 8)`))
}

func TestErasedPeopleStayErased(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	r := p.capture(shen())
	other := p.capture(capture.Person{Keys: keys{src("pos", "CUST-2")}, Name: crypt.Name("何思齐"), Source: "pos", At: at(2)})
	require.NoError(t, pg.InTx(t.Context(), p.db, func(tx pgx.Tx) error {
		_, err := p.svc.Erase(t.Context(), tx, p.secrets, r[0].Birth, "wu", "asked for it")
		return err
	}))
	require.Zero(t, p.count(`SELECT count(*) FROM member.keys WHERE birth = ANY($1)`, r[0].Births))
	require.Zero(t, p.count(`SELECT count(*) FROM member.secrets WHERE birth = ANY($1)`, r[0].Births))
	require.Zero(t, p.count(`SELECT count(*) FROM member.attributes WHERE birth = ANY($1)`, r[0].Births))
	require.Zero(t, p.count(`SELECT count(*) FROM member.reach WHERE id = $1`, r[0].Root))
	require.Equal(t, 1, p.count(`SELECT count(*) FROM member.members WHERE is_member`))
	require.Equal(t, len(r[0].Births), p.count(`SELECT count(*) FROM member.births WHERE erased_at IS NOT NULL`), "the skeleton stays")

	replay := p.capture(shen())
	require.ErrorIs(t, replay[0].Err, identity.ErrErased)
	_, _, err := p.svc.Lookup(t.Context(), p.db, ph("13812345678"), at(9_999))
	require.ErrorIs(t, err, cluster.ErrUnknown)

	// She comes back a year later, as somebody new; old facts still find nobody.
	again := shen()
	again.At, again.RegisteredAt, again.EventKey = at(20_000), at(20_000), "row2"
	old := shen()
	old.EventKey = "row3"
	back := p.capture(again, old)
	require.NoError(t, back[0].Err)
	require.True(t, back[0].Created)
	require.NotContains(t, r[0].Births, back[0].Birth)
	require.ErrorIs(t, back[1].Err, identity.ErrErased)
	require.NotEqual(t, other[0].Root, back[0].Root)
	p.audit()
}

// A record of somebody that is being written while they are erased waits for the erasure, and then begins somebody new.
func TestAnErasureInFlightWins(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	r := p.capture(shen())
	again := shen()
	again.At, again.RegisteredAt, again.EventKey = at(20_000), at(20_000), "row2"
	back := make(chan []identity.Resolved, 1)
	failed := make(chan error, 1)
	require.NoError(t, pg.InTx(t.Context(), p.db, func(tx pgx.Tx) error {
		if _, err := p.svc.Erase(t.Context(), tx, p.secrets, r[0].Birth, "wu", "asked for it"); err != nil {
			return err
		}
		go func() {
			var out []identity.Resolved
			err := pg.InTx(context.Background(), p.db, func(tx pgx.Tx) (err error) {
				out, err = p.door.Observe(context.Background(), tx, []capture.Person{again})
				return err
			})
			back <- out
			failed <- err
		}()
		require.Eventually(t, func() bool {
			return p.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
		}, 30*time.Second, 5*time.Millisecond, "the record waits")
		return nil
	}))
	out := <-back
	require.NoError(t, <-failed)
	require.NoError(t, out[0].Err)
	require.True(t, out[0].Created)
	require.NotContains(t, r[0].Births, out[0].Birth)
	require.Zero(t, p.count(`SELECT count(*) FROM member.keys WHERE birth = ANY($1)`, r[0].Births), "nothing of the erased can be read again")
	require.Zero(t, p.count(`SELECT count(*) FROM member.attributes WHERE birth = ANY($1)`, r[0].Births))
	p.audit()
}

func TestFindWithinScope(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	r := p.capture(shen(),
		capture.Person{Keys: keys{src("pos", "2"), ph("13987655678")}, Name: crypt.Name("单雄信"), Attrs: map[string]any{"home_store": "SH01"}, Source: "pos", At: at(1)},
		capture.Person{Keys: keys{src("pos", "3"), {NS: "order", Value: "SO-2026-1"}}, Name: crypt.Name("Mary Ann Smith"), Attrs: map[string]any{"home_store": "SH01"}, Source: "pos", At: at(1)},
	)
	find := func(scope auth.Scope, text string) []member.ID {
		found, err := p.finder.Find(t.Context(), p.db, scope, identity.Query{Text: text})
		require.NoError(t, err)
		ids := []member.ID{}
		for _, m := range found {
			ids = append(ids, m.ID)
		}
		return ids
	}
	all := auth.Scope{All: true}
	for text, want := range map[string][]member.ID{
		"13812345678": {r[0].Root}, "5678": {r[0].Root, r[1].Root}, "沈若溪": {r[0].Root}, "若溪": {r[0].Root}, "shenruoxi": {r[0].Root},
		"srx": {r[0].Root}, "shen": {r[0].Root}, "shanxiong": {r[1].Root}, "card-90210": {r[0].Root}, "SO-2026-1": {r[2].Root},
		"Ruoxi@Example.com": {r[0].Root}, "mary": {r[2].Root}, "不存在": {}, "9999": {},
	} {
		require.ElementsMatch(t, want, find(all, text), text)
	}
	require.Len(t, find(all, ""), 3)
	require.Empty(t, find(auth.Scope{}, "5678"), "the zero scope sees nobody")
	require.Equal(t, []member.ID{r[1].Root}, find(auth.Scope{Stores: []string{"SH01"}}, "5678"))

	found, err := p.finder.Find(t.Context(), p.db, all, identity.Query{Text: "沈若溪"})
	require.NoError(t, err)
	require.Equal(t, "沈**", found[0].Name.String())
	require.Equal(t, "138****5678", found[0].Phone.String())
	_, err = p.finder.Find(t.Context(), p.db, all, identity.Query{Text: "x"})
	require.ErrorIs(t, err, identity.ErrQuery)
	require.NoError(t, p.finder.Inside(t.Context(), p.db, auth.Scope{Stores: []string{"SH01"}}, r[1].Root))
	require.ErrorIs(t, p.finder.Inside(t.Context(), p.db, auth.Scope{Stores: []string{"SH01"}}, r[0].Root), cluster.ErrUnknown)
}
