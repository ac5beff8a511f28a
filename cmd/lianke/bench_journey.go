package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/segments"
)

func journeyMassBench() benchmark {
	return benchmark{
		name:  "journey-mass",
		about: "members (1,000,000, or the number given as DIR) through 10 nodes, beside one SQL script and a per-member loop",
		run:   journeyMass,
	}
}

// massJourney has ten nodes, two splits, a condition on a tag, four messages and a wait of a day.
const massJourney = `{"name":"mass","settings":{"trigger":{"kind":"schedule","schedule":{"every":"once","at":"2026-12-01T01:00:00Z"}},
	"audience":{"not":{"tag":"blocked"}},"reentry":{"policy":"never"}},"start":"n1","nodes":[
	{"id":"n1","kind":"split","split":{"paths":[{"name":"a","weight_bp":5000,"next":"m1"},{"name":"b","weight_bp":3000,"next":"m2"},{"name":"c","weight_bp":2000,"next":"w1"}]}},
	{"id":"m1","kind":"message","message":{"channel":"sms","template":"a"},"next":"w1"},
	{"id":"m2","kind":"message","message":{"channel":"sms","template":"b"},"next":"w1"},
	{"id":"w1","kind":"wait","wait":{"for":"1d"},"next":"c1"},
	{"id":"c1","kind":"condition","condition":{"rule":{"tag":"vip"},"then":"m3","else":"s2"}},
	{"id":"m3","kind":"message","message":{"channel":"sms","template":"c"},"next":"g1"},
	{"id":"g1","kind":"goal","next":"x1"},
	{"id":"s2","kind":"split","split":{"paths":[{"name":"a","weight_bp":5000,"next":"m4"},{"name":"b","weight_bp":5000,"next":"x1"}]}},
	{"id":"m4","kind":"message","message":{"channel":"sms","template":"d"},"next":"x1"},
	{"id":"x1","kind":"exit"}]}`

const massSetup = `
INSERT INTO member.births (birth, root, raw_root, ns, person, registered_at, created_at)
SELECT n, n, n, 'source', true, '2026-01-01', '2026-01-01' FROM generate_series(1, %[1]d) n;
INSERT INTO member.members (id, is_member, registered_at, tags, updated_at)
SELECT n, true, '2026-01-01', CASE WHEN n %% 3 = 0 THEN '{vip}'::text[] ELSE '{}' END, '2026-01-01' FROM generate_series(1, %[1]d) n;
INSERT INTO member.tags (birth, tag, source, at)
SELECT n, 'vip', 'bench', '2026-01-01' FROM generate_series(1, %[1]d) n WHERE n %% 3 = 0;
CREATE TABLE public.sends (
    send_key uuid NOT NULL, birth bigint NOT NULL, template text NOT NULL, journey text NOT NULL, version integer NOT NULL,
    node text NOT NULL, run uuid NOT NULL, at timestamptz NOT NULL, state text NOT NULL, CONSTRAINT sends_pkey PRIMARY KEY (birth, send_key));
CREATE INDEX sends_due ON public.sends (at) WHERE state = 'planned';
CREATE SCHEMA base;
CREATE TABLE base.runs (LIKE journeys.runs INCLUDING ALL) PARTITION BY HASH (birth);
CREATE TABLE base.runs_0 PARTITION OF base.runs FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 85);
CREATE TABLE base.runs_1 PARTITION OF base.runs FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 85);
CREATE TABLE base.runs_2 PARTITION OF base.runs FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 85);
CREATE TABLE base.runs_3 PARTITION OF base.runs FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 85);
CREATE TABLE base.sends (LIKE public.sends INCLUDING ALL);
ANALYZE member.births; ANALYZE member.members; ANALYZE member.tags`

// The same durable rows from one hand-written script: enter and walk to the wait, then walk on to the end. Splits use
// PostgreSQL's own hash, which costs less than the engine's SHA-256.
const (
	baseEnter = `
WITH entered AS (
    INSERT INTO base.runs (birth, id, seed, journey, version, parked, since, due_at, entered_at, status, node, history)
    SELECT id, gen_random_uuid(), id, 1, 1, true, $1::timestamptz, $1::timestamptz + interval '1 day', $1, 'waiting', 'w1',
           CASE WHEN abs(hashint8(id)) % 10000 < 8000 THEN '\x026e3100000002026d31000000'::bytea ELSE '\x026e3100000200'::bytea END
    FROM member.members
    WHERE is_member AND registered_at <= $1 AND NOT tags @> '{blocked}'
    RETURNING birth, id
)
INSERT INTO base.sends (send_key, birth, template, journey, version, node, run, at, state)
SELECT gen_random_uuid(), birth, CASE WHEN abs(hashint8(birth)) % 10000 < 5000 THEN 'a' ELSE 'b' END, 'mass', 1,
       CASE WHEN abs(hashint8(birth)) % 10000 < 5000 THEN 'm1' ELSE 'm2' END, id, $1, 'planned'
FROM entered
WHERE abs(hashint8(birth)) % 10000 < 8000`
	baseFinish = `
WITH ended AS (
    UPDATE base.runs r
    SET status = 'ended', node = 'x1', parked = false, since = $1, due_at = NULL, ended_at = $1, reason = 'exit',
        goal_at = CASE WHEN m.tags @> '{vip}' THEN $1::timestamptz END,
        history = r.history || CASE WHEN m.tags @> '{vip}' THEN '\x027731000000026331000000026d33000000026731000000027831000000fe00'::bytea
                                    ELSE '\x0277310000000263310000010273320000000278310000fe00'::bytea END
    FROM member.members m
    WHERE m.id = r.birth AND r.status = 'waiting' AND r.due_at <= $1
    RETURNING r.birth, r.id, m.tags @> '{vip}' AS vip
)
INSERT INTO base.sends (send_key, birth, template, journey, version, node, run, at, state)
SELECT gen_random_uuid(), birth, CASE WHEN vip THEN 'c' ELSE 'd' END, 'mass', 1, CASE WHEN vip THEN 'm3' ELSE 'm4' END, id, $1, 'planned'
FROM ended
WHERE vip OR abs(hashint8(birth)) % 2 = 0`
)

// sends is the messenger of the benchmark: a plain ledger table with the indexes a ledger needs, the same for all.
type sends struct{}

func (sends) Plan(ctx context.Context, tx pgx.Tx, messages []journeys.Message) error {
	n := len(messages)
	keys, runs, births := make([][16]byte, n), make([][16]byte, n), make([]int64, n)
	templates, nodes, ats := make([]string, n), make([]string, n), make([]time.Time, n)
	for i, m := range messages {
		keys[i], runs[i], births[i], templates[i], nodes[i], ats[i] = m.SendKey, m.Run, int64(m.Birth), m.Template, m.Node, m.At
	}
	_, err := tx.Exec(ctx, `
INSERT INTO public.sends (send_key, birth, template, journey, version, node, run, at, state)
SELECT k, b, t, 'mass', 1, n, r, at, 'planned'
FROM unnest(@keys::uuid[], @births::bigint[], @templates::text[], @nodes::text[], @runs::uuid[], @ats::timestamptz[]) AS x (k, b, t, n, r, at)
ON CONFLICT DO NOTHING`, pg.Args{"keys": keys, "births": births, "templates": templates, "nodes": nodes, "runs": runs, "ats": ats})
	return err
}

type nothingMissing struct{}

func (nothingMissing) Missing(context.Context, pg.DB, []journeys.Ref) ([]journeys.Ref, error) {
	return nil, nil
}

func journeyMass(ctx context.Context, b *benchRun) error {
	members, loopMembers := 1_000_000, 10_000
	if b.dir != "" {
		n, err := strconv.Atoi(b.dir)
		if err != nil || n < 100 {
			return errNoBench.With("name", b.name+" "+b.dir, "names", "a number of members")
		}
		members, loopMembers = n, min(loopMembers, n)
	}
	db, drop, err := b.scratch(ctx, 8)
	if err != nil {
		return err
	}
	defer drop()
	b.progress("creating %d members", members)
	if _, err := db.Exec(ctx, fmt.Sprintf(massSetup, members), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	enter := time.Date(2026, 12, 1, 1, 0, 0, 0, time.UTC)
	finish := enter.Add(24 * time.Hour)

	b.progress("engine")
	vc := clock.NewVirtual(enter.Add(-time.Hour))
	feed := activity.NewLog(db, vc, b.app.log)
	engine := journeys.NewEngine(journeys.Config{DB: db, Clock: vc, Log: slog.New(slog.DiscardHandler), Feed: feed,
		Rules: journeys.NewSegmentRules(segments.New(db, vc, slog.New(slog.DiscardHandler), feed)), People: journeys.Graph{}, Holder: "bench", Outside: journeys.Outside{Messenger: sends{}}})
	service := journeys.NewService(engine, nothingMissing{})
	info, err := service.Create(ctx, "mass", []byte(massJourney))
	if err != nil {
		return err
	}
	if _, err := service.Publish(ctx, "mass", info.Revision, "bench", journeys.Plan{}); err != nil {
		return err
	}
	cpu, begin := startCPU(ctx, db), time.Now()
	vc.Set(enter)
	if err := engine.Drain(ctx); err != nil {
		return err
	}
	entered := time.Since(begin)
	vc.Set(finish)
	if err := engine.Drain(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	f := figures{"members": members, "nodes": 10, "seconds": round(took.Seconds(), 3), "enter_seconds": round(entered.Seconds(), 3),
		"members_per_second": round(float64(members)/took.Seconds(), 0)}
	cpu.perUnit(f, "cpu_ms_per_unit", members)
	var ended, sent, bytes int64
	var history float64
	err = db.QueryRow(ctx, `SELECT (SELECT count(*) FROM journeys.runs WHERE status = 'ended'), (SELECT count(*) FROM public.sends),
		(SELECT sum(pg_table_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'journeys.runs'::regclass),
		(SELECT avg(pg_column_size(history))::float8 FROM journeys.runs)`).Scan(&ended, &sent, &bytes, &history)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if int(ended) != members {
		return fmt.Errorf("%d of %d runs ended", ended, members)
	}
	f["messages"], f["table_bytes_per_run"] = sent, bytes/int64(members)
	f["history_bytes_per_run"] = round(history, 1)

	b.progress("one SQL script")
	cpu, begin = startCPU(ctx, db), time.Now()
	for i, sql := range []string{baseEnter, baseFinish} {
		if _, err := db.Exec(ctx, sql, []time.Time{enter, finish}[i]); err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
	}
	base := time.Since(begin)
	f["baseline_seconds"] = round(base.Seconds(), 3)
	cpu.perUnit(f, "baseline_cpu_ms_per_unit", members)
	f["ratio"] = round(took.Seconds()/base.Seconds(), 2)

	for _, form := range []struct {
		key     string
		perNode bool
		members int
	}{{"loop", true, max(loopMembers/4, 100)}, {"loop_by_wait", false, loopMembers}} {
		b.progress("per-member loop over %d members (%s)", form.members, form.key)
		if _, err := db.Exec(ctx, `TRUNCATE base.runs, base.sends`); err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
		cpu, begin = startCPU(ctx, db), time.Now()
		if err := loopMembersThrough(ctx, db, form.members, enter, finish, form.perNode); err != nil {
			return fmt.Errorf("per-member loop: %w", err)
		}
		loop := time.Since(begin).Seconds() / float64(form.members) * float64(members)
		f[form.key+"_seconds_extrapolated"], f["ratio_"+form.key] = round(loop, 1), round(loop/took.Seconds(), 1)
		cpu.perUnit(f, form.key+"_cpu_ms_per_unit", form.members)
		f[form.key+"_members"] = form.members
	}
	return b.report(strconv.Itoa(members)+" members", f)
}

// loopMembersThrough takes members one by one, as engines without sets do: load, decide, write. With perNode, each node that
// a member visits is a transaction, as in engines that run a job per member and step; otherwise a member walks from wait to
// wait in one, which is the least that a durable loop can do.
func loopMembersThrough(ctx context.Context, db *pg.Pool, n int, enter, finish time.Time, perNode bool) error {
	for i, at := range []time.Time{enter, finish} {
		for birth := int64(1); birth <= int64(n); birth++ {
			for done := false; !done; {
				err := pg.InTx(ctx, db, func(tx pgx.Tx) (err error) {
					for done = false; !done; {
						if done, err = loopVisit(ctx, tx, birth, at, finish, i == 0); err != nil || perNode {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// loopVisit takes one member through the node it stands at; done says that the member waits or has ended.
func loopVisit(ctx context.Context, tx pgx.Tx, birth int64, at, finish time.Time, first bool) (done bool, err error) {
	run, node := id.Derived("loop", member.Birth(birth).String()), ""
	var parked bool
	err = tx.QueryRow(ctx, `SELECT node, parked FROM base.runs WHERE birth = $1 AND id = $2 FOR UPDATE`, birth, run).Scan(&node, &parked)
	if pg.NoRows(err) {
		_, err = tx.Exec(ctx, `INSERT INTO base.runs (birth, id, seed, journey, version, parked, since, due_at, entered_at, status, node)
			VALUES ($1, $2, $1, 1, 1, false, $3, $3, $3, 'waiting', 'n1')`, birth, run, at)
		node = "n1"
	}
	if err != nil {
		return false, err
	}
	next := map[string]string{"m1": "w1", "m2": "w1", "w1": "c1", "m3": "g1", "g1": "x1", "m4": "x1"}[node]
	switch node {
	case "n1":
		if next = "m1"; birth%10 >= 8 {
			next = "w1"
		} else if birth%10 >= 5 {
			next = "m2"
		}
	case "c1":
		var tags []string
		if err := tx.QueryRow(ctx, `SELECT tags FROM member.members WHERE id = $1`, birth).Scan(&tags); err != nil {
			return false, err
		}
		if next = "s2"; len(tags) > 0 {
			next = "m3"
		}
	case "s2":
		if next = "x1"; birth%2 == 1 {
			next = "m4"
		}
	case "m1", "m2", "m3", "m4":
		_, err := tx.Exec(ctx, `INSERT INTO base.sends (send_key, birth, template, journey, version, node, run, at, state)
			VALUES ($1, $2, $3, 'mass', 1, $3, $4, $5, 'planned')`, journeys.EffectKey(run, node, 1), birth, node, run, at)
		if err != nil {
			return false, err
		}
	}
	switch {
	case node == "x1":
		_, err = tx.Exec(ctx, `UPDATE base.runs SET status = 'ended', due_at = NULL, ended_at = $3, reason = 'exit' WHERE birth = $1 AND id = $2`, birth, run, at)
		return true, err
	case node == "w1" && first:
		_, err = tx.Exec(ctx, `UPDATE base.runs SET parked = true, since = $3, due_at = $4 WHERE birth = $1 AND id = $2`, birth, run, at, finish)
		return true, err
	}
	_, err = tx.Exec(ctx, `UPDATE base.runs SET node = $3, parked = false, since = $4, due_at = $4 WHERE birth = $1 AND id = $2`, birth, run, next, at)
	return false, err
}
