package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Use is what an order takes of one promotion.
type Use struct {
	Promotion string
	Version   int
	Amount    money.Fen
}

// Uses returns what the result takes of each promotion, by code; coupons are coupon's business. Gifts count their worth.
func (r Result) Uses() []Use {
	var uses []Use
	add := func(promotion string, version int, amount money.Fen) {
		i := slices.IndexFunc(uses, func(u Use) bool { return u.Promotion == promotion })
		if i < 0 {
			uses = append(uses, Use{promotion, version, amount})
		} else {
			uses[i].Amount += amount
		}
	}
	for _, a := range r.Adjustments {
		if a.Coupon == "" {
			add(a.Promotion, a.Version, a.Amount)
		}
	}
	for _, g := range r.Gifts {
		if g.Coupon == "" {
			add(g.Promotion, g.Version, g.Worth)
		}
	}
	slices.SortFunc(uses, func(a, b Use) int { return strings.Compare(a.Promotion, b.Promotion) })
	return uses
}

// Claim is an order that takes promotions.
type Claim struct {
	OrderNo string
	Birth   member.Birth // who buys; a guest's order has a birth too
	At      time.Time
	Uses    []Use
}

// Counts each use in its slots, one statement for all: a row that has reached its limit is not updated, and then misses in
// the answer. Rows are locked in their order; the conditions are evaluated on the row as it is once the lock is held.
const claimSQL = `
WITH want AS MATERIALIZED (
    SELECT *
    FROM unnest(@promotions::text[], @versions::integer[], @amounts::bigint[]) AS w (promotion, version, amount)),
live AS MATERIALIZED (
    SELECT w.promotion, w.version, w.amount, v.max_uses, v.max_per_day, v.budget_fen
    FROM want w
    JOIN commerce.promotions p ON p.code = w.promotion AND p.live_version = w.version
    JOIN commerce.promotion_versions v ON v.code = w.promotion AND v.version = w.version),
slots AS MATERIALIZED (
    SELECT promotion, '' AS slot, amount, max_uses AS max_used, budget_fen
    FROM live
    WHERE max_uses IS NOT NULL OR budget_fen IS NOT NULL
    UNION ALL
    SELECT promotion, @day, amount, max_per_day, NULL
    FROM live
    WHERE max_per_day IS NOT NULL),
counted AS (
    INSERT INTO commerce.promotion_counters AS c (promotion, slot, used, spent_fen, max_used, budget_fen)
    SELECT promotion, slot, 1, amount, max_used, budget_fen
    FROM slots
    WHERE coalesce(max_used >= 1, true) AND coalesce(amount <= budget_fen, true)
    ORDER BY promotion, slot
    ON CONFLICT ON CONSTRAINT promotion_counters_pkey DO UPDATE
    SET used = c.used + 1, spent_fen = c.spent_fen + excluded.spent_fen, max_used = excluded.max_used, budget_fen = excluded.budget_fen
    WHERE coalesce(c.used + 1 <= excluded.max_used, true) AND coalesce(c.spent_fen + excluded.spent_fen <= excluded.budget_fen, true)
    RETURNING c.promotion),
kept AS (
    INSERT INTO commerce.promotion_uses AS u (order_no, promotion, version, birth, amount_fen, slots, state, claimed_at)
    SELECT @order, l.promotion, l.version, @birth, l.amount, ARRAY(SELECT s.slot FROM slots s WHERE s.promotion = l.promotion), 'claimed', @now
    FROM live l
    ORDER BY l.promotion
    ON CONFLICT ON CONSTRAINT promotion_uses_pkey DO UPDATE
    SET version = excluded.version, birth = excluded.birth, amount_fen = excluded.amount_fen, slots = excluded.slots, state = 'claimed',
        claimed_at = excluded.claimed_at, released_at = NULL
    WHERE u.state = 'released'
    RETURNING u.promotion)
SELECT w.promotion, w.version, EXISTS (SELECT 1 FROM live l WHERE l.promotion = w.promotion) AS live,
       (SELECT count(*) FROM slots s WHERE s.promotion = w.promotion) = (SELECT count(*) FROM counted c WHERE c.promotion = w.promotion) AS counted,
       EXISTS (SELECT 1 FROM kept k WHERE k.promotion = w.promotion) AS kept
FROM want w
ORDER BY w.promotion`

const countUsesSQL = `
SELECT promotion, count(*)
FROM commerce.promotion_uses
WHERE birth = ANY(@births) AND promotion = ANY(@promotions) AND state = 'claimed' AND order_no <> @order
GROUP BY promotion`

const claimedSQL = `
SELECT promotion, version, amount_fen
FROM commerce.promotion_uses
WHERE order_no = @order AND state = 'claimed'
ORDER BY promotion`

// Claim takes what the order uses out of limits and budgets, or fails as a whole, and then the caller's transaction must
// not be committed: ErrNotLive when a version is not live any more, ErrExhausted when a limit or budget leaves too little.
// The same claim again changes nothing; another one for the same order is ErrClaimed. Locks: the member's row if a
// promotion is limited per member, then counters in the order of promotions.
func (s *Service) Claim(ctx context.Context, tx pgx.Tx, c Claim) error {
	if len(c.Uses) == 0 {
		return nil
	}
	if err := s.claim(ctx, tx, c); err != nil {
		return fmt.Errorf("claim promotions: %w", err)
	}
	return nil
}

func (s *Service) claim(ctx context.Context, tx pgx.Tx, c Claim) error {
	if err := s.checkMember(ctx, tx, c); err != nil {
		return err
	}
	n := len(c.Uses)
	promotions, versions, amounts := make([]string, n), make([]int, n), make([]money.Fen, n)
	for i, u := range c.Uses {
		promotions[i], versions[i], amounts[i] = u.Promotion, u.Version, u.Amount
	}
	// In a savepoint: nothing of a claim that fails, or that was made before, stays.
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, claimSQL, pg.Args{
			"promotions": promotions, "versions": versions, "amounts": amounts, "day": clock.DayOf(c.At).String(), "order": c.OrderNo, "birth": c.Birth, "now": c.At,
		})
		if err != nil {
			return err
		}
		type outcome struct {
			Promotion string
			Version   int
			Live      bool
			Counted   bool
			Kept      bool
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[outcome])
		if err != nil {
			return err
		}
		again := false
		for _, o := range all {
			switch {
			case !o.Live:
				return ErrNotLive.With("code", o.Promotion, "version", o.Version)
			case !o.Kept:
				again = true
			}
		}
		if again {
			return s.replayed(ctx, tx, c)
		}
		for _, o := range all {
			if !o.Counted {
				return ErrExhausted.With("code", o.Promotion)
			}
		}
		return nil
	})
	if errors.Is(err, errReplayed) {
		return nil
	}
	return err
}

// errReplayed rolls a repeated claim back, which was counted once more.
var errReplayed = errors.New("promotion: claimed before")

// replayed decides about an order that holds promotions already.
func (s *Service) replayed(ctx context.Context, tx pgx.Tx, c Claim) error {
	rows, err := tx.Query(ctx, claimedSQL, pg.Args{"order": c.OrderNo})
	if err != nil {
		return err
	}
	held, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Use])
	if err != nil {
		return err
	}
	want := slices.SortedFunc(slices.Values(c.Uses), func(a, b Use) int { return strings.Compare(a.Promotion, b.Promotion) })
	if slices.Equal(held, want) {
		return errReplayed
	}
	return ErrClaimed.With("order", c.OrderNo)
}

// checkMember holds the limits per member over all births of the buyer, whose row is locked first.
func (s *Service) checkMember(ctx context.Context, tx pgx.Tx, c Claim) error {
	live := s.live.Load()
	if live == nil || slices.ContainsFunc(c.Uses, func(u Use) bool { return live.versions[u.Promotion] != u.Version }) {
		fresh, err := loadLive(ctx, tx)
		if err != nil {
			return err
		}
		live = fresh
	}
	var limited []string
	for _, u := range c.Uses {
		if live.limits[u.Promotion].PerMember > 0 {
			limited = append(limited, u.Promotion)
		}
	}
	if len(limited) == 0 {
		return nil
	}
	clusters, err := cluster.Lock(ctx, tx, []member.Birth{c.Birth})
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, countUsesSQL, pg.Args{"births": clusters[c.Birth].Births, "promotions": limited, "order": c.OrderNo})
	if err != nil {
		return err
	}
	var promotion string
	var n int64
	full := ""
	if _, err := pgx.ForEachRow(rows, []any{&promotion, &n}, func() error {
		if n >= live.limits[promotion].PerMember {
			full = promotion
		}
		return nil
	}); err != nil {
		return err
	}
	if full != "" {
		return ErrExhausted.With("code", full)
	}
	return nil
}

const releaseSQL = `
WITH gone AS (
    UPDATE commerce.promotion_uses
    SET state = 'released', released_at = @now
    WHERE order_no = @order AND state = 'claimed'
    RETURNING promotion, amount_fen, slots)
SELECT g.promotion, s.slot, g.amount_fen
FROM gone g, unnest(g.slots) AS s (slot)
ORDER BY g.promotion, s.slot`

const giveBackSQL = `
UPDATE commerce.promotion_counters c
SET used = c.used - 1, spent_fen = c.spent_fen - w.amount
FROM (SELECT k.promotion, k.slot, w.amount
      FROM unnest(@promotions::text[], @slots::text[], @amounts::bigint[]) AS w (promotion, slot, amount)
      JOIN commerce.promotion_counters k USING (promotion, slot)
      ORDER BY k.promotion, k.slot
      FOR NO KEY UPDATE OF k) w
WHERE c.promotion = w.promotion AND c.slot = w.slot`

// Release gives back what an order holds: it was cancelled or never paid. Again it changes nothing.
func (s *Service) Release(ctx context.Context, tx pgx.Tx, orderNo string, at time.Time) error {
	rows, err := tx.Query(ctx, releaseSQL, pg.Args{"order": orderNo, "now": at})
	if err != nil {
		return fmt.Errorf("release promotions: %w", err)
	}
	var promotions, slots []string
	var amounts []int64
	var promotion, slot string
	var amount int64
	if _, err := pgx.ForEachRow(rows, []any{&promotion, &slot, &amount}, func() error {
		promotions, slots, amounts = append(promotions, promotion), append(slots, slot), append(amounts, amount)
		return nil
	}); err != nil {
		return fmt.Errorf("release promotions: %w", err)
	}
	if len(promotions) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, giveBackSQL, pg.Args{"promotions": promotions, "slots": slots, "amounts": amounts}); err != nil {
		return fmt.Errorf("release promotions: %w", err)
	}
	return nil
}

const checkCountersSQL = `
SELECT coalesce(c.promotion, u.promotion) || '/' || coalesce(c.slot, u.slot)
FROM commerce.promotion_counters c
FULL JOIN (SELECT promotion, slot, count(*) AS used, sum(amount_fen)::bigint AS spent
           FROM commerce.promotion_uses, unnest(slots) AS s (slot)
           WHERE state = 'claimed'
           GROUP BY promotion, slot) u ON u.promotion = c.promotion AND u.slot = c.slot
WHERE coalesce(c.used, 0) <> coalesce(u.used, 0) OR coalesce(c.spent_fen, 0) <> coalesce(u.spent, 0)
   OR c.used > c.max_used OR c.spent_fen > c.budget_fen
ORDER BY 1
LIMIT 20`

// Check verifies that the counters are what the orders hold, and within their limits; it returns the slots that are not. A
// limit that was lowered below its use shows here.
func (s *Service) Check(ctx context.Context, db pg.DB) ([]string, error) {
	rows, err := db.Query(ctx, checkCountersSQL)
	if err != nil {
		return nil, fmt.Errorf("check promotions: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
