package journeys

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
)

// figure is the key of one count. Metrics per node: entered, passed (detail: branch), left (detail: reason), sent, coupon,
// coupon_refused, points, tag, attribute, task, webhook, quarantined, absorbed, reopened. Per journey, with no node:
// started, ended (detail: reason), goal (detail: holdout for the control group), skipped (detail: why nobody entered).
type figure struct {
	journey, version int
	node             string
	metric, detail   string
	cohort           int64 // unix seconds of the Shanghai day of entry
	hour             int64
}

// figures are the deltas of one batch.
type figures struct{ counts map[figure]int64 }

func newFigures() *figures { return &figures{counts: map[figure]int64{}} }

func (f *figures) add(k figure, n int64) { f.counts[k] += n }

func dayOf(at time.Time) int64 {
	return (at.Unix()+8*3600)/86400*86400 - 8*3600
}

func hourOf(at time.Time) int64 { return at.Unix() / 3600 * 3600 }

// run counts what happened to one run in this batch.
func (f *figures) run(v *Version, l *live) {
	k := figure{journey: l.Journey, version: l.Version, cohort: dayOf(l.EnteredAt)}
	put := func(node, metric, detail string, at time.Time) {
		k.node, k.metric, k.detail, k.hour = node, metric, detail, hourOf(at)
		f.counts[k]++
	}
	if l.isNew {
		put("", "started", "", l.EnteredAt)
	}
	for _, m := range l.moves {
		n := v.nodes[m.node]
		if m.arrived {
			put(m.node, "entered", "", m.at)
		}
		switch {
		case !m.left:
		case m.branch == branchLeft:
			put(m.node, "left", m.reason, m.at)
			put("", "ended", m.reason, m.at)
		case n != nil && m.branch < len(n.out):
			put(m.node, "passed", n.out[m.branch].name, m.at)
		}
	}
	for i := range l.effects {
		if metric := metricOf[l.effects[i].Node.Kind]; metric != "" {
			put(l.effects[i].Node.ID, metric, "", l.effects[i].At)
		}
	}
	for _, n := range l.notes {
		put(n.node, n.metric, n.detail, n.at)
	}
}

const appendFiguresSQL = `
INSERT INTO journeys.node_deltas (journey, version, node, metric, detail, cohort, hour, n)
SELECT journey, version, node, metric, detail, cohort, hour, n
FROM unnest(@journeys::integer[], @versions::integer[], @nodes::text[], @metrics::text[], @details::text[],
            @cohorts::date[], @hours::timestamptz[], @ns::bigint[])
     AS t (journey, version, node, metric, detail, cohort, hour, n)`

func (f *figures) append(ctx context.Context, tx pgx.Tx) error {
	if len(f.counts) == 0 {
		return nil
	}
	n := len(f.counts)
	journeys, versions := make([]int32, 0, n), make([]int32, 0, n)
	nodes, metrics, details := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	cohorts, hours, ns := make([]time.Time, 0, n), make([]time.Time, 0, n), make([]int64, 0, n)
	for k, c := range f.counts {
		journeys, versions = append(journeys, int32(k.journey)), append(versions, int32(k.version))
		nodes, metrics, details = append(nodes, k.node), append(metrics, k.metric), append(details, k.detail)
		// A date travels as midnight UTC of its civil day.
		cohorts = append(cohorts, time.Unix(k.cohort+8*3600, 0).UTC())
		hours, ns = append(hours, time.Unix(k.hour, 0).UTC()), append(ns, c)
	}
	_, err := tx.Exec(ctx, appendFiguresSQL, pg.Args{"journeys": journeys, "versions": versions, "nodes": nodes, "metrics": metrics,
		"details": details, "cohorts": cohorts, "hours": hours, "ns": ns})
	if err != nil {
		return fmt.Errorf("append journey figures: %w", err)
	}
	return nil
}

const foldFiguresSQL = `
WITH taken AS (
    DELETE FROM journeys.node_deltas
    RETURNING journey, version, node, metric, detail, cohort, hour, n
)
INSERT INTO journeys.node_stats AS s (journey, version, node, metric, detail, cohort, hour, n)
SELECT journey, version, node, metric, detail, cohort, hour, sum(n)
FROM taken
GROUP BY journey, version, node, metric, detail, cohort, hour
ON CONFLICT ON CONSTRAINT node_stats_pkey DO UPDATE
    SET n = s.n + excluded.n`

// foldFigures adds the deltas to the totals. Deltas that commit meanwhile stay for the next time.
func foldFigures(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, foldFiguresSQL); err != nil {
		return fmt.Errorf("fold journey figures: %w", err)
	}
	return nil
}

// Count is one figure of a journey's statistics.
type Count struct {
	Version int    `json:"version,omitempty"`
	Node    string `json:"node"`
	Metric  string `json:"metric"`
	Detail  string `json:"detail,omitempty"`
	Cohort  string `json:"cohort,omitempty"`
	Hour    string `json:"hour,omitempty"`
	N       int64  `json:"n"`
}

// FiguresQuery selects and groups figures. Zero times and empty fields select all.
type FiguresQuery struct {
	From, To  time.Time // of the event
	CohortOf  clock.Day
	ByCohort  bool
	ByHour    bool
	ByVersion bool
}

const figuresSQL = `
SELECT CASE WHEN @by_version::boolean THEN version ELSE 0 END AS version, node, metric, detail,
       CASE WHEN @by_cohort::boolean THEN cohort::text ELSE '' END AS cohort,
       CASE WHEN @by_hour::boolean THEN to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') ELSE '' END AS hour,
       sum(n)::bigint AS n
FROM (
    SELECT version, node, metric, detail, cohort, hour, n
    FROM journeys.node_stats
    WHERE journey = @journey
    UNION ALL
    SELECT version, node, metric, detail, cohort, hour, n
    FROM journeys.node_deltas
    WHERE journey = @journey
) f
WHERE (@from::timestamptz IS NULL OR hour >= @from) AND (@to::timestamptz IS NULL OR hour < @to)
  AND (@cohort::date IS NULL OR cohort = @cohort)
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3, 4, 5, 6`

func queryFigures(ctx context.Context, db pg.DB, journey int, q FiguresQuery) ([]Count, error) {
	var cohort *string
	if q.CohortOf != (clock.Day{}) {
		s := q.CohortOf.String()
		cohort = &s
	}
	rows, err := db.Query(ctx, figuresSQL, pg.Args{"journey": journey, "from": orNil(q.From), "to": orNil(q.To), "cohort": cohort,
		"by_cohort": q.ByCohort, "by_hour": q.ByHour, "by_version": q.ByVersion})
	if err != nil {
		return nil, fmt.Errorf("read journey figures: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Count])
	if err != nil {
		return nil, fmt.Errorf("read journey figures: %w", err)
	}
	return out, nil
}
