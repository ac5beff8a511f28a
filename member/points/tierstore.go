package points

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const everybodySQL = `
SELECT id
FROM member.members
WHERE id > @after
ORDER BY id
LIMIT @limit`

func everybody(ctx context.Context, db pg.DB, after member.ID, _ time.Time) ([]member.ID, error) {
	return roots(ctx, db, everybodySQL, pg.Args{"after": after, "limit": tierBatch})
}

const periodsOverSQL = `
SELECT DISTINCT b.root
FROM member.tiers t
JOIN member.births b USING (birth)
WHERE t.until <= @now AND b.root > @after
ORDER BY b.root
LIMIT @limit`

func periodsOver(ctx context.Context, db pg.DB, after member.ID, now time.Time) ([]member.ID, error) {
	return roots(ctx, db, periodsOverSQL, pg.Args{"after": after, "now": now, "limit": tierBatch})
}

// In the order of ids, as member/cluster locks. Members that merged away since are missing: their identity row follows.
const lockPeopleSQL = `
SELECT id
FROM member.members
WHERE id = ANY(@roots)
ORDER BY id
FOR NO KEY UPDATE`

func lockPeople(ctx context.Context, tx pgx.Tx, list []member.ID) ([]member.ID, error) {
	return roots(ctx, tx, lockPeopleSQL, pg.Args{"roots": list})
}

func roots(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]member.ID, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	return out, nil
}

// The highest tier whose growth each member reaches, 0 for none; members without points or orders in the widest window are
// missing. A revocation counts against the grant it takes back, whenever it happened.
const earnedTiersSQL = `
WITH people AS (
    SELECT root, birth
    FROM member.births
    WHERE root = ANY(@roots)
), facts AS (
    SELECT p.root, g.at, (g.points - coalesce((
               SELECT sum(r.points) FROM member.point_moves r WHERE r.of = g.key AND r.kind = 'revoke'), 0))::numeric AS n
    FROM people p
    JOIN member.point_moves g ON g.birth = p.birth AND g.programme = @programme AND g.at > @widest AND g.at <= @now
    WHERE NOT @paid AND g.kind = 'grant'
    UNION ALL
    SELECT p.root, a.occurred_at,
           CASE WHEN jsonb_typeof(a.props -> 'amount_fen') = 'number' THEN (a.props ->> 'amount_fen')::numeric ELSE 0 END
    FROM people p
    JOIN member.activities a ON a.birth = p.birth AND a.occurred_at > @widest AND a.occurred_at <= @now
    -- As an array, so that the log is never scanned for a handful of members.
    WHERE @paid AND a.key IN ('order_paid', 'order_returned') AND a.birth = ANY(ARRAY(SELECT birth FROM people))
), sums AS (
    SELECT f.root, t.rank, t.growth, coalesce(sum(f.n) FILTER (WHERE f.at > t.since), 0) AS n
    FROM facts f
    CROSS JOIN unnest(@sinces::timestamptz[], @growths::bigint[]) WITH ORDINALITY AS t (since, growth, rank)
    GROUP BY f.root, t.rank, t.growth
)
SELECT root, coalesce(max(rank) FILTER (WHERE n >= growth), 0)::integer
FROM sums
GROUP BY root`

func earnedTiers(ctx context.Context, tx pgx.Tx, p Programme, people []member.ID, now time.Time) (map[member.ID]int, error) {
	if len(p.Tiers) == 0 {
		return nil, nil
	}
	widest := now
	sinces, growths := make([]time.Time, len(p.Tiers)), make([]int64, len(p.Tiers))
	for i, t := range p.Tiers {
		sinces[i], growths[i] = now.Add(-time.Duration(t.WindowDays)*24*time.Hour), t.Growth
		if sinces[i].Before(widest) {
			widest = sinces[i]
		}
	}
	rows, err := tx.Query(ctx, earnedTiersSQL, pg.Args{
		"roots": people, "programme": p.Code, "paid": p.Tiers[0].by() == ByPaid, "widest": widest, "now": now, "sinces": sinces, "growths": growths,
	})
	if err != nil {
		return nil, fmt.Errorf("read growth: %w", err)
	}
	out := make(map[member.ID]int, len(people))
	var root member.ID
	var rank int
	if _, err := pgx.ForEachRow(rows, []any{&root, &rank}, func() error {
		out[root] = rank
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read growth: %w", err)
	}
	return out, nil
}

const heldTiersSQL = `
SELECT b.root, t.birth, t.programme, t.tier, t.since, t.until
FROM member.births b
JOIN member.tiers t ON t.birth = b.birth AND (@programme = '' OR t.programme = @programme)
WHERE b.root = ANY(@roots)
ORDER BY t.birth, t.programme`

// heldTiers returns the rows of all births of the members; programme "" means of any.
func heldTiers(ctx context.Context, db pg.DB, programme string, people []member.ID) (map[member.ID][]Standing, error) {
	rows, err := db.Query(ctx, heldTiersSQL, pg.Args{"roots": people, "programme": programme})
	if err != nil {
		return nil, fmt.Errorf("read tiers: %w", err)
	}
	out := map[member.ID][]Standing{}
	var root member.ID
	var s Standing
	if _, err := pgx.ForEachRow(rows, []any{&root, &s.Birth, &s.Programme, &s.Tier, &s.Since, &s.Until}, func() error {
		out[root] = append(out[root], s)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read tiers: %w", err)
	}
	return out, nil
}

const dropTiersSQL = `
DELETE FROM member.tiers
WHERE programme = @programme AND birth = ANY(@births)`

// Rows that are as they should be are not written again.
const keepTiersSQL = `
INSERT INTO member.tiers AS t (birth, programme, tier, since, until)
SELECT birth, @programme, tier, since, until
FROM unnest(@births::bigint[], @tiers::text[], @sinces::timestamptz[], @untils::timestamptz[]) AS n (birth, tier, since, until)
ORDER BY birth
ON CONFLICT ON CONSTRAINT tiers_pkey DO UPDATE
SET tier = excluded.tier, since = excluded.since, until = excluded.until
WHERE (t.tier, t.since, t.until) IS DISTINCT FROM (excluded.tier, excluded.since, excluded.until)`

func writeTiers(ctx context.Context, tx pgx.Tx, programme string, keep []Standing, drop []member.Birth) error {
	if len(drop) > 0 {
		if _, err := tx.Exec(ctx, dropTiersSQL, pg.Args{"programme": programme, "births": drop}); err != nil {
			return fmt.Errorf("write tiers: %w", err)
		}
	}
	if len(keep) == 0 {
		return nil
	}
	n := len(keep)
	births, tiers, sinces, untils := make([]member.Birth, n), make([]string, n), make([]time.Time, n), make([]time.Time, n)
	for i, s := range keep {
		births[i], tiers[i], sinces[i], untils[i] = s.Birth, s.Tier, s.Since, s.Until
	}
	if _, err := tx.Exec(ctx, keepTiersSQL, pg.Args{"programme": programme, "births": births, "tiers": tiers, "sinces": sinces, "untils": untils}); err != nil {
		return fmt.Errorf("write tiers: %w", err)
	}
	return nil
}

// Tiers returns the tiers of a member, one per programme in which it holds one. A period that is over
// counts until it has been decided what follows.
func (s *Service) Tiers(ctx context.Context, db pg.DB, root member.ID) ([]Standing, error) {
	held, err := heldTiers(ctx, db, "", []member.ID{root})
	if err != nil {
		return nil, err
	}
	programmes, err := s.Programmes(ctx, db)
	if err != nil {
		return nil, err
	}
	out := []Standing{}
	for _, p := range programmes {
		var ours []Standing
		for _, h := range held[root] {
			if h.Programme == p.Code {
				ours = append(ours, h)
			}
		}
		if b := p.best(ours); b != nil {
			out = append(out, *b)
		}
	}
	return out, nil
}
