package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/segments"
	"github.com/lianke/lianke/templates/demo"
)

// check looks at what the demo left behind and compares it with what must hold, each time by another way than the one
// that made it.
func (r *demoRun) check(ctx context.Context) (demoReport, error) {
	rep := demoReport{
		Seed: r.world.Seed, Days: demo.LiveDays, People: len(r.world.People), Imported: r.imported, SetAside: map[demo.Reason]int64{},
		Journeys: map[string]demoJourney{}, Segments: map[string]int64{}, Points: map[string]demoPoints{}, Checks: map[string]demoCheck{},
	}
	for _, l := range r.world.Aside {
		rep.SetAside[l.Aside]++
	}
	for _, step := range []func(context.Context, *demoReport) error{
		r.figures, r.checkSource, r.checkActivities, r.checkIdentity, r.checkSegments, r.checkLedger, r.checkSends, r.checkManners,
		r.checkRehearsal, r.checkFeed, r.checkLeaks,
	} {
		if err := step(ctx, &rep); err != nil {
			return rep, err
		}
	}
	rep.OK = true
	for _, c := range rep.Checks {
		rep.OK = rep.OK && c.OK
	}
	rep.Seconds = time.Since(r.began).Seconds()
	r.say("%d checks done", len(rep.Checks))
	return rep, nil
}

// Figures of the report.
const (
	demoPeopleSQL      = `SELECT count(*) FILTER (WHERE is_member), count(*) FILTER (WHERE NOT is_member) FROM member.members`
	demoMergedSQL      = `SELECT count(*) FROM member.births WHERE birth <> root AND person`
	demoIdentifiersSQL = `SELECT ns, count(*) FROM member.identifiers GROUP BY ns`
	demoActivitiesSQL  = `SELECT key, count(*) FROM member.activities GROUP BY key`
	demoNetSQL         = `SELECT coalesce(sum(amount_fen), 0)::bigint FROM commerce.order_import_lines`
	demoMessagesSQL    = `SELECT state, count(*) FROM channels.messages GROUP BY state`
	demoCouponsSQL     = `SELECT state, count(*) FROM commerce.coupons GROUP BY state`
	demoByJourneySQL   = `SELECT node || ':' || state, count(*) FROM channels.messages WHERE journey = $1 GROUP BY 1`
)

func countBy(ctx context.Context, db pg.DB, sql string, args ...any) (map[string]int64, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	var key string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error { out[key] = n; return nil })
	return out, err
}

func (r *demoRun) figures(ctx context.Context, rep *demoReport) error {
	var err error
	collect := func(into *map[string]int64, sql string) {
		if err == nil {
			*into, err = countBy(ctx, r.db, sql)
		}
	}
	collect(&rep.Identifiers, demoIdentifiersSQL)
	collect(&rep.Activities, demoActivitiesSQL)
	collect(&rep.Messages, demoMessagesSQL)
	collect(&rep.Coupons, demoCouponsSQL)
	if err != nil {
		return fmt.Errorf("count for the report: %w", err)
	}
	err = errors.Join(
		r.db.QueryRow(ctx, demoPeopleSQL).Scan(&rep.Members, &rep.Visitors),
		r.db.QueryRow(ctx, demoMergedSQL).Scan(&rep.Merges.Merged),
		r.db.QueryRow(ctx, demoNetSQL).Scan(&rep.NetFen),
	)
	if err != nil {
		return fmt.Errorf("count for the report: %w", err)
	}
	for _, code := range demo.JourneyCodes {
		status, err := r.journeys.Status(ctx, code)
		if err != nil {
			return err
		}
		j := demoJourney{Started: status.Started, Active: status.Active, Goals: status.Goals, Nodes: map[string]int64{}, Ended: map[string]int64{}}
		for _, n := range status.Nodes {
			j.Nodes[n.Node] = n.Entered
		}
		for _, e := range status.Ended {
			j.Ended[e.Detail] += e.N
		}
		if j.Messages, err = countBy(ctx, r.db, demoByJourneySQL, code); err != nil {
			return fmt.Errorf("count messages of %s: %w", code, err)
		}
		rep.Journeys[code] = j
	}
	return nil
}

const demoLinesSQL = `
SELECT order_no, sku, sum(quantity)::bigint, sum(amount_fen)::bigint
FROM commerce.order_import_lines
GROUP BY order_no, sku`

type invoiceSKU struct{ invoice, sku string }

type unitsFen struct {
	units int64
	fen   money.Fen
}

// checkSource compares what is stored with the source file, per invoice and SKU, to the unit and the fen.
func (r *demoRun) checkSource(ctx context.Context, rep *demoReport) error {
	want, got := map[invoiceSKU]unitsFen{}, map[invoiceSKU]unitsFen{}
	add := func(m map[invoiceSKU]unitsFen, invoice, sku string, units int64, fen money.Fen) {
		k := invoiceSKU{invoice, sku}
		m[k] = unitsFen{m[k].units + units, m[k].fen + fen}
	}
	for _, l := range r.world.Source {
		add(want, l.Invoice, l.SKU, l.Quantity, l.Amount())
	}
	for _, l := range r.world.Aside {
		add(got, l.Invoice, l.SKU, l.Quantity, l.Amount())
	}
	rows, err := r.db.Query(ctx, demoLinesSQL)
	if err != nil {
		return fmt.Errorf("read order lines: %w", err)
	}
	var invoice, sku string
	var units int64
	var fen money.Fen
	if _, err := pgx.ForEachRow(rows, []any{&invoice, &sku, &units, &fen}, func() error {
		add(got, invoice, sku, units, fen)
		return nil
	}); err != nil {
		return fmt.Errorf("read order lines: %w", err)
	}
	v := verdict{looked: int64(len(want))}
	for k, w := range want {
		if g := got[k]; g != w {
			v.fail("invoice %s SKU %s: %d units %s in the file, %d units %s here", k.invoice, k.sku, w.units, w.fen, g.units, g.fen)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			v.fail("invoice %s SKU %s is not in the file", k.invoice, k.sku)
		}
	}
	rep.add("orders_equal_source", v, "units and money per invoice and SKU equal the source file, set-aside lines included")
	return nil
}

// demoActivityMoneySQL compares, order by order, the activities with the lines.
const demoActivityMoneySQL = `
WITH lines AS (
    SELECT order_no,
           sum(amount_fen) FILTER (WHERE quantity > 0) AS paid,
           sum(amount_fen) FILTER (WHERE quantity < 0) AS returned,
           count(*) FILTER (WHERE quantity > 0) AS bought
    FROM commerce.order_import_lines
    GROUP BY order_no
), logged AS (
    SELECT props->>'order_no' AS order_no,
           sum((props->>'amount_fen')::bigint) FILTER (WHERE key = 'order_paid') AS paid,
           sum((props->>'amount_fen')::bigint) FILTER (WHERE key = 'order_returned') AS returned,
           count(*) FILTER (WHERE key = 'product_purchased') AS bought,
           coalesce(sum((props->>'amount_fen')::bigint) FILTER (WHERE key = 'product_purchased'), 0) AS products,
           count(*) FILTER (WHERE key = 'order_paid') AS times
    FROM member.activities
    WHERE key IN ('order_paid', 'order_returned', 'product_purchased')
    GROUP BY 1
)
SELECT count(*),
       count(*) FILTER (WHERE l.paid IS DISTINCT FROM a.paid OR l.returned IS DISTINCT FROM a.returned
                           OR l.bought <> a.bought OR coalesce(l.paid, 0) <> a.products OR a.times > 1 OR a.order_no IS NULL OR l.order_no IS NULL)
FROM lines l
FULL JOIN logged a USING (order_no)`

func (r *demoRun) checkActivities(ctx context.Context, rep *demoReport) error {
	var v verdict
	if err := r.db.QueryRow(ctx, demoActivityMoneySQL).Scan(&v.looked, &v.n); err != nil {
		return fmt.Errorf("compare activities: %w", err)
	}
	rep.add("activities_equal_orders", v, "each order was paid once, with its lines' money, and every line is one purchase")
	return nil
}

// checkIdentity scores the partition against the truth and compares it with the pure function over all evidence.
func (r *demoRun) checkIdentity(ctx context.Context, rep *demoReport) error {
	v := verdict{}
	var lookupErr error
	end := r.world.Today.Start()
	known := map[identity.Key]int64{} // the score asks for each identifier twice
	rep.Merges.Score = r.world.ScorePartition(func(ns, scope, value string) (int64, bool) {
		if lookupErr != nil {
			return 0, false
		}
		v.looked++
		key := identity.Key{NS: ns, Scope: scope, Value: value}
		if root, ok := known[key]; ok {
			return root, true
		}
		_, cluster, err := r.graph.Lookup(ctx, r.db, key, end)
		if err != nil {
			v.fail("%s of %s is unknown: %v", ns, scope, err)
			return 0, false
		}
		known[key] = int64(cluster.Root)
		return int64(cluster.Root), true
	})
	if lookupErr != nil {
		return lookupErr
	}
	if rep.Merges.Precision < 1 {
		v.fail("precision %.6f: %d of %d pairs are two people", rep.Merges.Precision, rep.Merges.FoundPairs-rep.Merges.CorrectPairs, rep.Merges.FoundPairs)
	}
	for _, m := range rep.Merges.Mistakes {
		v.wrong = append(v.wrong, m)
	}
	if rep.Merges.Recall < 0.99 {
		v.fail("recall %.6f", rep.Merges.Recall)
	}
	rep.add("identity_equals_truth", v, fmt.Sprintf("precision %.6f, recall %.6f", rep.Merges.Precision, rep.Merges.Recall))
	return nil
}

// checkSegments compares the membership that was kept current with a computation from nothing.
func (r *demoRun) checkSegments(ctx context.Context, rep *demoReport) error {
	all, err := demo.Segments()
	if err != nil {
		return err
	}
	var v verdict
	for _, s := range all {
		rule, err := segments.Parse(s.Rule)
		if err != nil {
			return err
		}
		fresh, err := r.segments.Members(ctx, r.db, rule, r.now.Now())
		if err != nil {
			return err
		}
		want := map[member.ID]bool{}
		for _, id := range fresh {
			want[id] = true
		}
		var kept int64
		after := member.ID(0)
		for {
			page, err := r.segments.FindMembers(ctx, auth.Everything, s.Code, after, 1000)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				kept++
				if !want[m.MemberID] {
					v.fail("%s holds member %s, who does not match", s.Code, m.MemberID)
				}
				after = m.MemberID
			}
		}
		if kept != int64(len(want)) {
			v.fail("%s holds %d members, %d match", s.Code, kept, len(want))
		}
		v.looked += int64(len(want)) + 1
		rep.Segments[s.Code] = kept
	}
	rep.add("segments_equal_recount", v, "membership kept event by event equals a computation from nothing")
	return nil
}

// checkLedger: debit = credit, balances = postings, lots = balances.
func (r *demoRun) checkLedger(ctx context.Context, rep *demoReport) error {
	var v verdict
	report, err := r.ledger.Verify(ctx, r.db)
	if err != nil {
		return err
	}
	v.looked = report.Postings
	if !report.OK() {
		v.fail("%+v", report)
	}
	rep.add("debit_equals_credit", v, fmt.Sprintf("%d transactions balance, and every balance is the sum of its postings", report.Transactions))

	figures, err := r.points.Check(ctx, r.db)
	v = verdict{looked: int64(len(figures))}
	if err != nil {
		v.fail("%v", err)
	}
	for _, f := range figures {
		rep.Points[f.Programme] = demoPoints{f.Issued, f.Outstanding, f.Spent, f.Expired}
		if f.Issued != f.Outstanding+f.Spent+f.Expired {
			v.fail("%s: issued %d is not outstanding %d + spent %d + expired %d", f.Programme, f.Issued, f.Outstanding, f.Spent, f.Expired)
		}
		if f.Issued == 0 || f.Expired == 0 {
			v.fail("%s: nothing was issued or nothing expired; the check would be empty", f.Programme)
		}
	}
	rep.add("lots_equal_balances", v, "point lots, balances and ledger agree")

	v = verdict{looked: rep.Coupons["issued"] + rep.Coupons["expired"]}
	if err := r.coupons.Check(ctx, r.db); err != nil {
		v.fail("%v", err)
	}
	if rep.Coupons["issued"] == 0 || rep.Coupons["expired"] == 0 {
		v.fail("no coupon was issued or none expired; the check would be empty")
	}
	rep.add("coupons_add_up", v, "codes, template counters and promised cost agree")
	return nil
}

const demoHandedSQL = `
SELECT birth, id, channel, state
FROM channels.messages
WHERE handed_at IS NOT NULL`

// checkSends compares the message ledger with what the providers' stand-ins wrote down themselves. Subscribe messages of
// mini-programs have no place for our key; of those the numbers must agree.
func (r *demoRun) checkSends(ctx context.Context, rep *demoReport) error {
	sent, err := sandbox.ReadLedger(filepath.Join(r.dir, "sends.jsonl"))
	if err != nil {
		return err
	}
	times, keyless := map[string]int{}, map[string]int{}
	for _, s := range sent {
		if s.Key == "" {
			keyless[s.Provider]++
		} else {
			times[s.Key]++
		}
	}
	rows, err := r.db.Query(ctx, demoHandedSQL)
	if err != nil {
		return fmt.Errorf("read the message ledger: %w", err)
	}
	v := verdict{looked: int64(len(sent))}
	known, unkeyed := map[string]bool{}, map[string]int{}
	var ref channels.Ref
	var channel, state string
	_, err = pgx.ForEachRow(rows, []any{&ref.Birth, &ref.ID, &channel, &state}, func() error {
		known[ref.String()] = true
		switch state {
		case "accepted", "delivered", "read", "clicked":
			if channel == string(channels.ChannelMiniProgram) {
				unkeyed[channel]++
			} else if n := times[ref.String()]; n != 1 {
				v.fail("message %s is %s, the provider has it %d times", ref, state, n)
			}
		case "handed_over", "unknown":
			v.fail("message %s is %s after everything came to rest", ref, state)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the message ledger: %w", err)
	}
	for key, n := range times {
		if n > 1 {
			v.fail("message %s reached the provider %d times", key, n)
		}
		if !known[key] {
			v.fail("message %s reached the provider, but is not in the ledger", key)
		}
	}
	for provider, n := range keyless {
		if unkeyed[provider] != n {
			v.fail("%s took %d messages, the ledger has %d", provider, n, unkeyed[provider])
		}
	}
	rep.add("sent_exactly_once", v, "the ledger's sends are the providers' sends, one to one")
	return nil
}

// demoMannersSQL counts marketing messages that went out without standing consent, in quiet hours, or as the third within
// 24 hours, computed from consent statements and send times rather than from decisions.
const demoMannersSQL = `
WITH sent AS (
    SELECT m.birth, b.root, m.channel, m.lane, m.address, m.handed_at
    FROM channels.messages m
    JOIN member.births b ON b.birth = m.birth
    WHERE m.handed_at IS NOT NULL AND m.lane = 'marketing' AND m.state NOT IN ('planned', 'suppressed')
), judged AS (
    SELECT s.*,
           (SELECT c.granted FROM member.consents c WHERE c.birth = s.address AND c.channel = s.channel AND c.at <= s.handed_at
            ORDER BY c.at DESC LIMIT 1) AS own,
           (SELECT bool_and(g.granted)
            FROM (SELECT DISTINCT ON (c.birth) c.granted
                  FROM member.consents c
                  JOIN member.births o ON o.birth = c.birth
                  WHERE o.root = s.root AND c.channel = s.channel AND c.at <= s.handed_at
                  ORDER BY c.birth, c.at DESC) g) AS cluster,
           EXTRACT(hour FROM s.handed_at AT TIME ZONE 'Asia/Shanghai') AS hour,
           (SELECT count(*) FROM sent o WHERE o.root = s.root AND o.handed_at <= s.handed_at AND o.handed_at > s.handed_at - interval '24 hours') AS within
    FROM sent s
)
SELECT count(*),
       count(*) FILTER (WHERE coalesce(own, cluster) IS NOT TRUE),
       count(*) FILTER (WHERE channel = 'sms' AND (hour >= 21 OR hour < 8)),
       count(*) FILTER (WHERE within > 2)
FROM judged`

func (r *demoRun) checkManners(ctx context.Context, rep *demoReport) error {
	var v verdict
	var noConsent, quiet, capped int64
	if err := r.db.QueryRow(ctx, demoMannersSQL).Scan(&v.looked, &noConsent, &quiet, &capped); err != nil {
		return fmt.Errorf("check consent: %w", err)
	}
	for what, n := range map[string]int64{"without consent": noConsent, "in quiet hours": quiet, "as the third within 24 h": capped} {
		if n > 0 {
			v.fail("%d marketing messages were sent %s", n, what)
		}
	}
	rep.add("nobody_bothered", v, "marketing went only to those who consented, by day, at most twice in 24 hours")
	return nil
}

// checkRehearsal plays the same thirty days again in the simulator and compares every step of every run. Members whose
// graph changed while they were on the way are counted and left aside: a rehearsal knows today's graph only.
func (r *demoRun) checkRehearsal(ctx context.Context, rep *demoReport) error {
	type point struct {
		run  string
		node string
		at   int64
	}
	changed, err := r.changedMembers(ctx)
	if err != nil {
		return err
	}
	roots, err := r.rootsOfRuns(ctx)
	if err != nil {
		return err
	}
	var v verdict
	for _, code := range demo.JourneyCodes {
		real, rehearsed := map[point]int{}, map[point]int{}
		aside := map[member.Birth]bool{}
		keep := func(into map[point]int) func(journeys.TracePoint) error {
			return func(t journeys.TracePoint) error {
				if changed[t.Birth] || changed[member.Birth(roots[t.Birth])] {
					aside[t.Birth] = true
					return nil
				}
				into[point{t.Birth.String() + "/" + t.Run.String(), t.Node, t.At.Unix()}]++
				return nil
			}
		}
		if err := r.journeys.Traces(ctx, code, keep(real)); err != nil {
			return err
		}
		// A simulation ends before To; what happened at the very instant at which the clock stands is to be in it.
		_, err := r.journeys.Simulate(ctx, code, journeys.SimulateOptions{
			From: r.world.LiveFrom, To: r.now.Now().Add(time.Microsecond), LiveOnly: true, Trace: keep(rehearsed),
		})
		if err != nil {
			return err
		}
		for p, n := range real {
			if rehearsed[p] != n {
				v.fail("%s: run %s came to %s at %s, not in the rehearsal", code, p.run, p.node, time.Unix(p.at, 0).UTC().Format(time.RFC3339))
			}
		}
		for p, n := range rehearsed {
			if real[p] != n {
				v.fail("%s: the rehearsal of %s came to %s at %s, the run did not", code, p.run, p.node, time.Unix(p.at, 0).UTC().Format(time.RFC3339))
			}
		}
		j := rep.Journeys[code]
		j.Compared, j.LeftAside = int64(len(real)), int64(len(aside))
		rep.Journeys[code] = j
		v.looked += j.Compared
	}
	rep.add("rehearsal_equals_run", v, "every member came to every node at the same time as in the simulation")
	return nil
}

const demoChangedSQL = `
SELECT b.birth
FROM member.births b
WHERE b.root IN (
    SELECT b2.root
    FROM member.births b2
    WHERE b2.created_at > @from AND b2.birth <> b2.root
    UNION
    SELECT b3.root
    FROM member.cluster_history h
    JOIN member.births b3 ON b3.birth = h.birth
    WHERE h.at > @from)`

func (r *demoRun) changedMembers(ctx context.Context) (map[member.Birth]bool, error) {
	rows, err := r.db.Query(ctx, demoChangedSQL, pg.Args{"from": r.world.LiveFrom})
	if err != nil {
		return nil, fmt.Errorf("members whose graph changed: %w", err)
	}
	births, err := pgx.CollectRows(rows, pgx.RowTo[member.Birth])
	if err != nil {
		return nil, fmt.Errorf("members whose graph changed: %w", err)
	}
	out := map[member.Birth]bool{}
	for _, b := range births {
		out[b] = true
	}
	return out, nil
}

const demoRunRootsSQL = `
SELECT birth, root
FROM member.births`

func (r *demoRun) rootsOfRuns(ctx context.Context) (map[member.Birth]member.ID, error) {
	rows, err := r.db.Query(ctx, demoRunRootsSQL)
	if err != nil {
		return nil, fmt.Errorf("read roots: %w", err)
	}
	out := map[member.Birth]member.ID{}
	var b member.Birth
	var root member.ID
	_, err = pgx.ForEachRow(rows, []any{&b, &root}, func() error { out[b] = root; return nil })
	return out, err
}

const demoFeedSQL = `
SELECT (SELECT count(*) FROM member.feed),
       (SELECT count(*) FROM member.feed_inbox),
       (SELECT count(*) FROM (SELECT shard, count(*) AS n, max(seq) AS top FROM member.feed GROUP BY shard) s WHERE n <> top),
       (SELECT count(*) FROM member.feed_cursors c JOIN member.feed_shards s USING (shard) WHERE c.seq <> s.last_seq)`

func (r *demoRun) checkFeed(ctx context.Context, rep *demoReport) error {
	var v verdict
	var inbox, gaps, behind int64
	if err := r.db.QueryRow(ctx, demoFeedSQL).Scan(&v.looked, &inbox, &gaps, &behind); err != nil {
		return fmt.Errorf("check the feed: %w", err)
	}
	for what, n := range map[string]int64{"rows not numbered": inbox, "shards with gaps": gaps, "consumers behind": behind} {
		if n > 0 {
			v.fail("%d %s", n, what)
		}
	}
	rep.add("feed_without_gaps", v, "every change was numbered without a gap and read by every consumer")
	return nil
}
