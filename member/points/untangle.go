package points

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// Untangle settles what a split left between the members of the births and others: points that one side spent from lots
// of the other go back to those lots (or run out, if the lot has) and become a debt of the spender; debts that were paid
// from the other side's lots are open again. It returns the points concerned. Running it again changes nothing.
func (s *Service) Untangle(ctx context.Context, tx pgx.Tx, births []member.Birth, at time.Time) (int64, error) {
	n, err := s.untangle(ctx, tx, births, at)
	if err != nil {
		return 0, fmt.Errorf("untangle points: %w", err)
	}
	return n, nil
}

func (s *Service) untangle(ctx context.Context, tx pgx.Tx, births []member.Birth, at time.Time) (int64, error) {
	clusters, err := cluster.Of(ctx, tx, births)
	if err != nil {
		return 0, err
	}
	var ours []member.Birth
	for _, c := range clusters {
		ours = append(ours, c.Births...)
	}
	before, err := foreign(ctx, tx, ours)
	if err != nil || len(before) == 0 {
		return 0, err
	}
	for _, a := range before {
		ours = append(ours, a.Birth, a.Spender)
	}
	if _, err := cluster.Lock(ctx, tx, ours); err != nil {
		return 0, err
	}
	all, err := foreign(ctx, tx, ours)
	if err != nil {
		return 0, err
	}
	lots, err := lotsOf(ctx, tx, all)
	if err != nil {
		return 0, err
	}

	c := newChanges()
	var total int64
	for _, a := range all {
		n := a.left()
		total += n
		// No grace here: nothing was refunded, the points only return to where they would be.
		g := giving{changes: c, at: at, lots: lots}
		ch := c.lot(a.Birth, a.Lot)
		var key, of = a.chargeKey(), a.Spend
		k := allocationKey{lotKey{a.Birth, a.Lot}, a.Spend, a.N}
		if a.Purpose == purposeSettle {
			key = id.Derived("points.unsettle", key.String(), fmt.Sprint(a.Refunded))
			c.refunded[k] += n
			c.settled[lotKey{a.Spender, a.Spend}] -= n
			ch.revoked -= n
		} else {
			c.charged[k] += n
			c.debts = append(c.debts, debt{Birth: a.Spender, Key: key, Programme: a.Programme, Points: n, At: at})
			ch.spent -= n
		}
		g.put(a, ch, n)
		m := move{Key: key, Kind: moveCharge, Birth: a.Spender, Programme: a.Programme, Points: n, At: at, Of: &of}.seal()
		c.book(m,
			ledger.Posting{Account: accountOutstanding, Amount: g.outstanding},
			ledger.Posting{Account: accountExpired, Amount: g.expired},
			ledger.Posting{Account: accountDebt, Amount: -n})
	}
	return total, s.write(ctx, tx, c)
}

// Claims lots that have run out. Locked lots belong to a spend that is under way and are left for the next run.
const claimExpiredSQL = `
SELECT ` + lotColumns + `
FROM member.point_lots
WHERE remaining > 0 AND expires_at <= @now
ORDER BY expires_at, birth, key
LIMIT @limit
FOR NO KEY UPDATE SKIP LOCKED`

// Expire books the points of all lots that have run out by now, in batches with a transaction each, and returns how many
// points that were. mode says whether the points_expired activities may set journeys in motion.
func (s *Service) Expire(ctx context.Context, now time.Time, mode member.Mode) (int64, error) {
	const limit = 2000
	var total int64
	for {
		var n int
		var points int64
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) (err error) {
			n, points, err = s.expire(ctx, tx, now, mode, limit)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("expire points: %w", err)
		}
		total += points
		if n < limit {
			return total, nil
		}
	}
}

func (s *Service) expire(ctx context.Context, tx pgx.Tx, now time.Time, mode member.Mode, limit int) (n int, points int64, err error) {
	rows, err := tx.Query(ctx, claimExpiredSQL, pg.Args{"now": now, "limit": limit})
	if err != nil {
		return 0, 0, err
	}
	lots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lot])
	if err != nil {
		return 0, 0, err
	}
	c := newChanges()
	for _, l := range lots {
		ch := c.lot(l.Birth, l.Key)
		ch.remaining, ch.expired = -l.Remaining, l.Remaining
		// A lot may run out twice, when a refund gave it a grace.
		key := id.Derived("points.expire", l.Birth.String(), l.Key.String(), l.ExpiresAt.UTC().Format(time.RFC3339Nano))
		m := move{Key: key, Kind: moveExpire, Birth: l.Birth, Programme: l.Programme, Points: l.Remaining, At: *l.ExpiresAt, Of: &l.Key}.seal()
		c.book(m, ledger.Posting{Account: accountOutstanding, Amount: -l.Remaining}, ledger.Posting{Account: accountExpired, Amount: l.Remaining})
		c.tell(m, activity.KeyPointsExpired, l.Remaining, mode)
		points += l.Remaining
	}
	return len(lots), points, s.write(ctx, tx, c)
}
