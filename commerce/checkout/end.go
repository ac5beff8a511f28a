package checkout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/points"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// end takes a placed order to cancelled or closed_unpaid and gives everything back that it holds. Its payments, and the
// member if coupons or points are concerned, are locked.
func (s *Service) end(ctx context.Context, tx pgx.Tx, o order.Order, h held, c order.Change) error {
	if err := s.release(ctx, tx, h, c.At, s.points.Release); err != nil {
		return err
	}
	if err := s.payments.ReleaseCards(ctx, tx, o.OrderNo, c.At); err != nil {
		return err
	}
	if err := s.orders.End(ctx, tx, o, c); err != nil {
		return err
	}
	if err := s.payments.Abandon(ctx, tx, o.OrderNo); err != nil {
		return err
	}
	return s.stock.Release(ctx, tx, ref(o.OrderNo))
}

// release gives coupons back, and points by Release before they were captured and by Refund afterwards.
func (s *Service) release(ctx context.Context, tx pgx.Tx, h held, at time.Time,
	refund func(context.Context, pgx.Tx, points.Refund) (points.Outcome, error),
) error {
	for _, code := range h.Coupons {
		if _, err := s.coupons.Reverse(ctx, tx, code, h.OrderNo, at); err != nil {
			return err
		}
	}
	if h.Points == 0 {
		return nil
	}
	spend := h.spend(at)
	_, err := refund(ctx, tx, points.Refund{
		Key: id.Derived("order.points.release", h.OrderNo), Spend: spend.Key, Points: h.Points, At: at, Reason: h.OrderNo,
	})
	return err
}

const unpaidSQL = `
SELECT order_no
FROM commerce.orders
WHERE status = 'placed' AND pay_by <= @before
ORDER BY pay_by
LIMIT @limit`

// CloseUnpaid ends orders whose time to pay is over, each in a transaction of its own, and returns how many. Whoever pays in
// the same instant wins or loses at the row of the payment; if they lose, their money goes back.
func (s *Service) CloseUnpaid(ctx context.Context) (int, error) {
	rows, err := s.db.Query(ctx, unpaidSQL, pg.Args{"before": s.clock.Now().Add(-closeAfter), "limit": 500})
	if err != nil {
		return 0, fmt.Errorf("find unpaid orders: %w", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("find unpaid orders: %w", err)
	}
	n := 0
	var errs []error
	for _, no := range due {
		closed, err := s.endPlaced(ctx, no, order.Change{To: order.StatusClosedUnpaid, Kind: "closed_unpaid", Actor: "clock"})
		if err != nil {
			errs = append(errs, fmt.Errorf("close order %s: %w", no, err))
		}
		if closed {
			n++
		}
	}
	return n, errors.Join(errs...)
}

// endPlaced ends an order if it is still placed, and reports whether it was.
func (s *Service) endPlaced(ctx context.Context, orderNo string, c order.Change) (bool, error) {
	ended := false
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		ended = false
		o, h, err := s.lock(ctx, tx, orderNo)
		if err != nil || o.Status != order.StatusPlaced {
			return err
		}
		c.At = s.clock.Now()
		ended = true
		return s.end(ctx, tx, o, h, c)
	})
	return ended && err == nil, err
}

// lock takes the locks of an order in their order: payments, member. Its status cannot leave placed meanwhile.
func (s *Service) lock(ctx context.Context, tx pgx.Tx, orderNo string) (order.Order, held, error) {
	if _, err := s.payments.LockOrder(ctx, tx, orderNo); err != nil {
		return order.Order{}, held{}, err
	}
	o, err := s.orders.Get(ctx, tx, orderNo)
	if err != nil {
		return order.Order{}, held{}, err
	}
	h, err := holdings(ctx, tx, o)
	if err != nil {
		return order.Order{}, held{}, err
	}
	return o, h, h.lockHolder(ctx, tx)
}

// Cancel ends an order for somebody: at once while nobody has been asked to send it, with everything refunded; an order that
// a sender has accepted becomes cancel_requested. It returns the order as it is then. It fails with order.ErrNotFound, or
// ErrStages once goods are on their way. Cancelling again changes nothing.
func (s *Service) Cancel(ctx context.Context, orderNo, actor, reason string) (order.Order, error) {
	var out order.Order
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		o, h, err := s.lock(ctx, tx, orderNo)
		if err != nil {
			return err
		}
		c := order.Change{OrderNo: orderNo, From: o.Status, To: order.StatusCancelled, Kind: "cancelled", Actor: actor, At: s.clock.Now(), Detail: map[string]any{"reason": reason}}
		switch o.Status {
		case order.StatusPlaced:
			err = s.end(ctx, tx, o, h, c)
		case order.StatusPaid, order.StatusSourcing:
			err = s.cancelPaid(ctx, tx, o, h, c)
		case order.StatusAllocated:
			c.To, c.Kind = order.StatusCancelRequested, "cancel_requested"
			err = s.orders.Transition(ctx, tx, c)
		case order.StatusCancelled, order.StatusClosedUnpaid, order.StatusCancelRequested:
		case order.StatusDraft, order.StatusPartiallyShipped, order.StatusShipped, order.StatusDelivered, order.StatusCompleted:
			err = ErrStages.With("order", orderNo, "status", o.Status)
		}
		if err != nil {
			return err
		}
		out, err = s.orders.Get(ctx, tx, orderNo)
		return err
	})
	if err != nil {
		return order.Order{}, fmt.Errorf("cancel order %s: %w", orderNo, err)
	}
	return out, nil
}

// cancelPaid takes a paid order back before anybody sends it: units are cancelled, every tender is refunded in full, the
// booking is taken back, and the member's log says so.
func (s *Service) cancelPaid(ctx context.Context, tx pgx.Tx, o order.Order, h held, c order.Change) error {
	if err := s.release(ctx, tx, h, c.At, s.points.Refund); err != nil {
		return err
	}
	if err := s.refundCards(ctx, tx, o, c.At); err != nil {
		return err
	}
	var steps []order.Progress
	var units []order.UnitRef
	for _, l := range o.Lines {
		for _, u := range l.Units {
			units = append(units, order.UnitRef{LineNo: l.LineNo, UnitNo: u.UnitNo})
		}
		if l.Kind.Goods() {
			steps = append(steps, order.Progress{LineNo: l.LineNo, Allocated: -l.Allocated, Cancelled: l.Quantity - l.Cancelled})
		}
	}
	if _, err := s.orders.Advance(ctx, tx, steps, c); err != nil {
		return err
	}
	if err := s.orders.MarkUnits(ctx, tx, o.OrderNo, units, order.UnitCancelled); err != nil {
		return err
	}
	var refunds []order.TenderRefund
	var provider money.Fen
	for _, t := range o.Tenders {
		refunds = append(refunds, order.TenderRefund{TenderNo: t.TenderNo, Fen: t.AmountFen, Points: t.Points})
		if t.Kind == order.TenderWeChat {
			provider += t.AmountFen
		}
	}
	if err := s.orders.RefundTenders(ctx, tx, o.OrderNo, refunds, c.At); err != nil {
		return err
	}
	if provider > 0 {
		if err := s.payments.GiveBack(ctx, tx, id.Derived("order.cancel", o.OrderNo), o.OrderNo, provider, "cancelled"); err != nil {
			return err
		}
	}
	if err := s.book(ctx, tx, o, "order.cancelled", -1, c.At); err != nil {
		return err
	}
	if _, err := s.log.Append(ctx, tx, []activity.Activity{{
		Birth: o.Birth, Key: activity.KeyOrderReturned, OccurredAt: c.At, Touchpoint: o.Touchpoint, Mode: member.ModeLive,
		Source: order.Source, DedupeKey: order.ReturnedKey(o.OrderNo),
		Props: map[string]any{
			"order_no": o.OrderNo, "return_of": o.OrderNo, "touchpoint": o.Touchpoint, "store": o.Store,
			"amount_fen": -(o.PointsFen + o.CashFen), "quantity": -o.Quantity,
		},
	}}); err != nil {
		return fmt.Errorf("log cancelling of order %s: %w", o.OrderNo, err)
	}
	return s.stock.Release(ctx, tx, ref(o.OrderNo))
}

func (s *Service) refundCards(ctx context.Context, tx pgx.Tx, o order.Order, at time.Time) error {
	parts := map[string][2]money.Fen{}
	for _, t := range o.Tenders {
		p := parts[t.Account]
		switch t.Kind {
		case order.TenderStoredPrincipal:
			p[0] += t.AmountFen
		case order.TenderStoredBonus:
			p[1] += t.AmountFen
		case order.TenderWeChat, order.TenderPoints, order.TenderCoupon, order.TenderCash, order.TenderMall, order.TenderCredit, order.TenderPlatform, order.TenderSubsidy:
			continue
		}
		parts[t.Account] = p
	}
	for _, card := range sortedKeys(parts) {
		if err := s.payments.RefundCard(ctx, tx, id.Derived("order.cancel.card", o.OrderNo, card), card, o.OrderNo, parts[card][0], parts[card][1], at); err != nil {
			return err
		}
	}
	return nil
}
