package channels

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// One-time subscriptions: each acceptance in the mini-program's dialog is worth one message of one provider template. A
// message takes its grant in the handover's transaction and gives it back when it certainly did not leave; when the
// provider says there is none (43101), the count is set to what the provider knows: zero.

const grantsSQL = `
SELECT birth, template, left_n
FROM channels.grants
WHERE account = @account AND birth = ANY(@births)
ORDER BY birth, template
FOR UPDATE`

func (store) grants(ctx context.Context, tx pgx.Tx, account string, births []member.Birth) (map[grantKey]int, error) {
	rows, err := tx.Query(ctx, grantsSQL, pg.Args{"account": account, "births": births})
	if err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	out := map[grantKey]int{}
	var (
		k grantKey
		n int
	)
	_, err = pgx.ForEachRow(rows, []any{&k.birth, &k.template, &n}, func() error {
		out[k] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	return out, nil
}

// A negative change never takes more than there is; an absolute value is written with replace.
const moveGrantsSQL = `
INSERT INTO channels.grants AS g (birth, account, template, left_n, at)
SELECT t.birth, @account, t.template, GREATEST(t.n, 0), @now
FROM unnest(@births::bigint[], @templates::text[], @ns::int[]) AS t (birth, template, n)
ORDER BY t.birth, t.template
ON CONFLICT ON CONSTRAINT grants_pkey DO UPDATE
    SET left_n = CASE WHEN @replace THEN excluded.left_n ELSE GREATEST(g.left_n + @sign * excluded.left_n, 0) END, at = excluded.at`

func (store) moveGrants(ctx context.Context, tx pgx.Tx, account string, moves map[grantKey]int, sign int, replace bool, now time.Time) error {
	if len(moves) == 0 {
		return nil
	}
	var (
		births    []int64
		templates []string
		ns        []int
	)
	for k, n := range moves {
		births, templates, ns = append(births, int64(k.birth)), append(templates, k.template), append(ns, n)
	}
	if _, err := tx.Exec(ctx, moveGrantsSQL, pg.Args{
		"account": account, "births": births, "templates": templates, "ns": ns, "sign": sign, "replace": replace, "now": now,
	}); err != nil {
		return fmt.Errorf("move grants: %w", err)
	}
	return nil
}

func (st store) takeGrants(ctx context.Context, tx pgx.Tx, account string, list []outbound, now time.Time) error {
	taken := map[grantKey]int{}
	for _, o := range list {
		if o.grant != "" {
			taken[grantKey{o.address, o.grant}]++
		}
	}
	return st.moveGrants(ctx, tx, account, taken, -1, false, now)
}

func (st store) settleGrants(ctx context.Context, tx pgx.Tx, account string, results []settled, now time.Time) error {
	back, none := map[grantKey]int{}, map[grantKey]int{}
	for _, r := range results {
		if r.grant == "" {
			continue
		}
		k := grantKey{r.address, r.grant}
		switch {
		case r.Outcome == OutcomeRejected && r.Reason == ReasonRefused:
			none[k] = 0
		case r.Outcome == OutcomeRejected || r.Outcome == OutcomeRetry:
			back[k]++
		}
	}
	if err := st.moveGrants(ctx, tx, account, back, 1, false, now); err != nil {
		return err
	}
	return st.moveGrants(ctx, tx, account, none, 1, true, now)
}
