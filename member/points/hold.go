package points

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// A hold is a spend of an order that waits for its money: the points are drawn from their lots at once, so that nobody
// spends them twice, and Release gives them back if the order ends. Only Capture, when the order is paid, logs points_spent.

// ofMember are the births of the member of @birth.
const ofMember = `ARRAY(SELECT c.birth FROM member.births r JOIN member.births c ON c.root = r.root WHERE r.birth = @birth)`

const holdLotsSQL = `
SELECT ` + lotColumns + `
FROM member.point_lots
WHERE birth = ANY(` + ofMember + `) AND programme = @programme AND remaining > 0
ORDER BY birth, key
FOR NO KEY UPDATE`

const holdDebtsSQL = `
SELECT ` + debtColumns + `
FROM member.point_debts d
WHERE birth = ANY(` + ofMember + `) AND programme = @programme AND settled + cancelled < points
ORDER BY at, birth, key
FOR NO KEY UPDATE`

const holdOwedSQL = `
SELECT coalesce(sum(points - refunded - charged), 0)::bigint
FROM member.point_allocations
WHERE spender = ANY(` + ofMember + `) AND spender <> birth AND birth <> ALL(` + ofMember + `) AND programme = @programme`

// Hold is a hold in the making.
type Hold struct {
	s         *Service
	move      move
	programme *Programme
	lots      []Lot
	debts     []debt
	owed      int64
}

// QueueHold asks in a batch of the caller's for what a hold needs to know. The member is locked by a statement before it in
// the same transaction (cluster.QueueLock), and the key is new, which the caller knows from an idempotency key of its own.
// Points may be 0: then only Programme and Available are of use. It fails with ErrInvalid.
func (s *Service) QueueHold(b *pgx.Batch, in Spend) (*Hold, error) {
	h := &Hold{s: s, move: move{Key: in.Key, Kind: moveSpend, Birth: in.Birth, Programme: in.Programme, Points: in.Points, At: in.At, Reason: in.Reason}.seal()}
	if in.Points != 0 {
		if err := h.move.validate(); err != nil {
			return nil, fmt.Errorf("hold points: %w", err)
		}
	}
	b.Queue(programmesSQL, pg.Args{"codes": []string{in.Programme}}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Programme])
		if err == nil && len(all) == 1 {
			h.programme = &all[0]
		}
		return err
	})
	args := pg.Args{"birth": in.Birth, "programme": in.Programme}
	b.Queue(holdLotsSQL, args).Query(func(rows pgx.Rows) (err error) {
		h.lots, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Lot])
		return err
	})
	b.Queue(holdDebtsSQL, args).Query(func(rows pgx.Rows) (err error) {
		h.debts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[debt])
		return err
	})
	b.Queue(holdOwedSQL, args).QueryRow(func(row pgx.Row) error { return row.Scan(&h.owed) })
	return h, nil
}

// Programme returns the programme of the hold once the batch has been sent, or ErrNoProgramme.
func (h *Hold) Programme() (Programme, error) {
	if h.programme == nil {
		return Programme{}, ErrNoProgramme.With("programme", h.move.Programme)
	}
	return *h.programme, nil
}

// Queue draws the points by statements of a batch that the caller sends in the same transaction. It fails with
// ErrNoProgramme or ErrInsufficient.
func (h *Hold) Queue(b *pgx.Batch) error {
	if _, err := h.Programme(); err != nil {
		return err
	}
	c := newChanges()
	settle(c, h.lots, h.debts, h.move)
	available := max(spendable(h.lots, h.move.At)-h.owed, 0)
	if available < h.move.Points {
		return ErrInsufficient.With("available", available, "points", h.move.Points)
	}
	draws, _ := draw(h.lots, h.move.Points, h.move.At)
	for n, d := range draws {
		ch := c.lot(d.Birth, d.Lot)
		ch.remaining -= d.Points
		ch.spent += d.Points
		c.allocations = append(c.allocations, allocation{Draw: d, Spend: h.move.Key, N: n, Purpose: purposeSpend, Programme: h.move.Programme, Spender: h.move.Birth})
	}
	c.book(h.move, ledger.Posting{Account: accountOutstanding, Amount: -h.move.Points}, ledger.Posting{Account: accountSpent, Amount: h.move.Points})
	queueMoves(b, c.moves).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(len(c.moves)) {
			return errors.Join(errMoveRace, pg.ErrRetry)
		}
		return nil
	})
	queueLotChanges(b, c.lotChanges)
	queueAllocations(b, c.allocations)
	queueDebtChanges(b, c.settled, c.cancelled)
	for _, t := range c.ledger {
		if err := h.s.ledger.Queue(b, t); err != nil {
			return err
		}
	}
	return nil
}

// Capture logs points_spent for holds whose orders are paid. Capturing again changes nothing.
func (s *Service) Capture(ctx context.Context, tx pgx.Tx, holds []Spend) error {
	items := make([]activity.Activity, len(holds))
	for i, h := range holds {
		props := map[string]any{"programme": h.Programme, "points": h.Points}
		if h.Reason != "" {
			props["reason"] = h.Reason
		}
		items[i] = activity.Activity{
			Birth: h.Birth, Key: activity.KeyPointsSpent, OccurredAt: h.At, Mode: member.ModeLive, Source: "points", DedupeKey: h.Key.String(),
			Props: props, FirstStands: true,
		}
	}
	if _, err := s.log.Append(ctx, tx, items); err != nil {
		return fmt.Errorf("capture points: %w", err)
	}
	return nil
}
