package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

const crashMembers = 30_000

const crashSetup = `
INSERT INTO member.births (birth, root, raw_root, ns, person, registered_at, created_at)
SELECT n, n, n, 'source', true, '2026-01-01', '2026-01-01' FROM generate_series(1, %[1]d) n;
INSERT INTO member.members (id, is_member, registered_at, tags, updated_at)
SELECT n, true, '2026-01-01', CASE WHEN n %% 3 = 0 THEN '{vip}'::text[] ELSE '{}' END, '2026-01-01' FROM generate_series(1, %[1]d) n;
INSERT INTO member.tags (birth, tag, source, at)
SELECT n, 'vip', 'test', '2026-01-01' FROM generate_series(1, %[1]d) n WHERE n %% 3 = 0;
INSERT INTO channels.accounts (code, channel, name, created_at, updated_at) VALUES ('sms', 'sms', 'sms', '2026-01-01', '2026-01-01')`

// crashJourney is a mass journey: two splits, four messages, a condition, and a wait in the middle.
const crashJourney = `{"name":"mass","settings":{"trigger":{"kind":"schedule","schedule":{"every":"once","at":%q}},"audience":{"not":{"tag":"blocked"}},"reentry":{"policy":"never"}},"start":"n1","nodes":[
	{"id":"n1","kind":"split","split":{"paths":[{"name":"a","weight_bp":5000,"next":"m1"},{"name":"b","weight_bp":3000,"next":"m2"},{"name":"c","weight_bp":2000,"next":"w1"}]}},
	{"id":"m1","kind":"message","message":{"channel":"sms","template":"text"},"next":"w1"},
	{"id":"m2","kind":"message","message":{"channel":"sms","template":"text"},"next":"w1"},
	{"id":"w1","kind":"wait","wait":{"for":"1s"},"next":"c1"},
	{"id":"c1","kind":"condition","condition":{"rule":{"tag":"vip"},"then":"m3","else":"s2"}},
	{"id":"m3","kind":"message","message":{"channel":"sms","template":"text"},"next":"x1"},
	{"id":"s2","kind":"split","split":{"paths":[{"name":"a","weight_bp":5000,"next":"m4"},{"name":"b","weight_bp":5000,"next":"x1"}]}},
	{"id":"m4","kind":"message","message":{"channel":"sms","template":"text"},"next":"x1"},
	{"id":"x1","kind":"exit"}]}`

// massPath is the way of a member through crashJourney, computed without the engine.
func massPath(journey id.UUID, birth int64) []string {
	bucket := func(node string) int {
		b := append(append(journey[:len(journey):len(journey)], node...), 0)
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(birth)))
		return int(binary.BigEndian.Uint64(sum[:8]) % 10000)
	}
	path := []string{"n1"}
	switch n := bucket("n1"); {
	case n < 5000:
		path = append(path, "m1")
	case n < 8000:
		path = append(path, "m2")
	}
	path = append(path, "w1", "c1")
	switch {
	case birth%3 == 0:
		path = append(path, "m3")
	case bucket("s2") < 5000:
		path = append(path, "s2", "m4")
	default:
		path = append(path, "s2")
	}
	return append(path, "x1")
}

// Killed in the middle of entering an audience, and again in the middle of its timers: afterwards every run has passed each
// node of its way once, each message is in the ledger once, and the figures count every visit once.
func TestKilledInTheMiddleOfAMassJourney(t *testing.T) {
	t.Parallel()
	a := wired(t)
	ctx := t.Context()
	_, err := a.db.Exec(ctx, fmt.Sprintf(crashSetup, crashMembers), pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	text := templates.Template{Code: "text", Channel: "sms", Lane: channels.LaneMarketing, Name: "t"}
	text.Body.Variants = map[templates.Locale]templates.Content{templates.ZH: {Text: "你好,拒收请回复R"}}
	_, err = a.templates.Save(ctx, auth.System, templates.SaveInput{Template: text})
	require.NoError(t, err)
	_, err = a.templates.Publish(ctx, "text", 0)
	require.NoError(t, err)
	at := time.Now().UTC().Truncate(time.Second).Add(5 * time.Second)
	info, err := a.journeys.Create(ctx, "mass", fmt.Appendf(nil, crashJourney, at.Format(time.RFC3339)))
	require.NoError(t, err)
	_, err = a.journeys.Publish(ctx, "mass", info.Revision, "test", journeys.Plan{})
	require.NoError(t, err)
	runOf := func(birth int64) id.UUID {
		return journeys.RunID(journeys.Journey{ID: info.ID, No: info.No, Code: info.Code}, fmt.Sprintf("s:%d:%s", at.Unix(), member.ID(birth)))
	}
	count := func(sql string) (n int) {
		require.NoError(t, a.db.QueryRow(ctx, sql).Scan(&n))
		return n
	}
	process := harness.Options{DatabaseURL: a.db.Config().ConnString(), DataDir: a.cfg.DataDir, Roles: []string{"journeys"}}
	// killedWhile starts a process that comes to a stop at a lock, in the middle of its work, and kills it there.
	killedWhile := func(lock, when string, args ...any) {
		tx, err := a.db.Begin(ctx)
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(ctx)) }()
		_, err = tx.Exec(ctx, lock, args...)
		require.NoError(t, err)
		p := harness.Start(t, process)
		p.Await("the process is in the middle", func() bool { return count(when) > 0 })
		p.Kill()
	}

	killedWhile(`INSERT INTO journeys.runs (birth, id, seed, journey, version, parked, since, entered_at, status, node)
		VALUES ($1, $2, $1, 1, 1, false, $3, $3, 'waiting', '')`, `
		SELECT count(*) FROM journeys.runs`, crashMembers/2, runOf(crashMembers/2), at)
	require.Less(t, count(`SELECT count(*) FROM journeys.runs`), crashMembers)
	_, err = a.db.Exec(ctx, `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 second'`)
	require.NoError(t, err)

	killedWhile(`LOCK TABLE journeys.runs_3 IN SHARE MODE`, fmt.Sprintf(`
		SELECT count(*) FROM (SELECT) one WHERE (SELECT count(*) FROM journeys.runs WHERE status = 'ended') > %d
		           AND EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'journeys.runs_3'::regclass)`, crashMembers/10))
	require.Less(t, count(`SELECT count(*) FROM journeys.runs WHERE status = 'ended'`), crashMembers)
	_, err = a.db.Exec(ctx, `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 second'`)
	require.NoError(t, err)

	last := harness.Start(t, process)
	last.Await("all runs end", func() bool { return count(`SELECT count(*) FROM journeys.runs WHERE status = 'ended'`) == crashMembers })
	last.Stop()

	entered, sends := map[string]int64{}, map[id.UUID]string{}
	paths := map[int64]string{}
	for birth := int64(1); birth <= crashMembers; birth++ {
		path := massPath(info.ID, birth)
		paths[birth] = strings.Join(path, " ")
		for _, node := range path {
			entered[node]++
			if node[0] == 'm' {
				sends[journeys.EffectKey(runOf(birth), node, 1)] = fmt.Sprintf("%d %s", birth, node)
			}
		}
	}
	got := map[int64][]string{}
	require.NoError(t, a.journeys.Traces(ctx, "mass", func(p journeys.TracePoint) error {
		got[int64(p.Birth)] = append(got[int64(p.Birth)], p.Node)
		return nil
	}))
	require.Len(t, got, crashMembers)
	for birth, want := range paths {
		require.Equal(t, want, strings.Join(got[birth], " "), "member %d", birth)
	}
	rows, err := a.db.Query(ctx, `SELECT send_key, birth || ' ' || node FROM channels.messages`)
	require.NoError(t, err)
	planned := 0
	var key id.UUID
	var what string
	_, err = pgx.ForEachRow(rows, []any{&key, &what}, func() error {
		planned++
		require.Equal(t, sends[key], what)
		delete(sends, key)
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, sends, "messages that were lost")
	report, err := a.journeys.Status(ctx, "mass")
	require.NoError(t, err)
	require.EqualValues(t, crashMembers, report.Started)
	require.Zero(t, report.Active)
	for _, n := range report.Nodes {
		require.Equal(t, entered[n.Node], n.Entered, n.Node)
	}
	require.Len(t, report.Nodes, len(entered))
}
