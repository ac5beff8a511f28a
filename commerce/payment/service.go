package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Verdict is what an order says to the money that comes for it.
type Verdict string

// The verdicts.
const (
	Accepted Verdict = "accepted"
	Late     Verdict = "late" // the order has ended, or its stock is gone: the money goes back
)

// Orders are told of money that arrived, in the transaction that records it; the payment's row is locked.
type Orders interface {
	Arrived(ctx context.Context, tx pgx.Tx, p Payment, at time.Time) (Verdict, error)
}

// Gateway is a provider as the service uses it: WeChatPay in production.
type Gateway interface {
	Prepay(ctx context.Context, p Payment, description, openid string) (prepayID string, err error)
	Invoke(account, prepayID string, now time.Time) (Invocation, error)
	Query(ctx context.Context, p Payment) (*Receipt, error) // nil: not paid
	Close(ctx context.Context, p Payment) error
	Refund(ctx context.Context, p Payment, r Refund) (state RefundState, providerID string, err error)
}

// Service collects money and gives it back.
type Service struct {
	db      pg.DB
	clock   clock.Clock
	log     *slog.Logger
	gateway Gateway
	ledger  *ledger.Ledger
	orders  Orders
}

// NewService returns the service; Attach gives it the orders before it receives anything.
func NewService(db pg.DB, clk clock.Clock, log *slog.Logger, gateway Gateway, l *ledger.Ledger) *Service {
	return &Service{db: db, clock: clk, log: log, gateway: gateway, ledger: l}
}

// Attach says whom to tell of money that arrived.
func (s *Service) Attach(orders Orders) { s.orders = orders }

// OfOrder returns the payments of an order, oldest first.
func (s *Service) OfOrder(ctx context.Context, db pg.DB, orderNo string) ([]Payment, error) {
	return payments(ctx, db, orderPaymentsSQL, pg.Args{"order_no": orderNo})
}

// LockOrder is OfOrder with the rows locked. Payments are locked before the member, coupons and the order.
func (s *Service) LockOrder(ctx context.Context, tx pgx.Tx, orderNo string) ([]Payment, error) {
	return payments(ctx, tx, lockOrderPaymentsSQL, pg.Args{"order_no": orderNo})
}

// Refunds returns the refunds of an order, oldest first.
func (s *Service) Refunds(ctx context.Context, db pg.DB, orderNo string) ([]Refund, error) {
	return refunds(ctx, db, orderRefundsSQL, pg.Args{"order_no": orderNo})
}

// Prepare makes the payment of an order payable at the provider and returns what the member's device needs to pay. It may
// be called again, and asks the provider again once what it said is about to run out. It fails with ErrNotFound, ErrState, ErrNoMerchant or ErrProvider.
func (s *Service) Prepare(ctx context.Context, orderNo, description, openid string) (Invocation, error) {
	all, err := s.OfOrder(ctx, s.db, orderNo)
	if err != nil {
		return Invocation{}, err
	}
	if len(all) == 0 {
		return Invocation{}, ErrNotFound
	}
	p := all[len(all)-1]
	now := s.clock.Now()
	if (p.State != StateCreated && p.State != StatePrepared) || !now.Before(p.ExpiresAt) {
		return Invocation{}, ErrState.With("state", p.State)
	}
	if s.gateway == nil {
		return Invocation{}, ErrNoMerchant.With("account", p.Account)
	}
	if !p.prepared(now) {
		if p.PrepayID, err = s.gateway.Prepay(ctx, p, description, openid); err != nil {
			return Invocation{}, fmt.Errorf("prepare payment of order %s: %w", orderNo, err)
		}
		// The callback may have been faster: then the payment is paid, and stays so.
		tag, err := s.db.Exec(ctx, prepareSQL, pg.Args{"id": p.ID, "prepay_id": p.PrepayID, "now": now})
		if err != nil {
			return Invocation{}, fmt.Errorf("keep prepared payment of order %s: %w", orderNo, err)
		}
		if tag.RowsAffected() == 0 {
			return Invocation{}, ErrState.With("state", "paid or closed")
		}
	}
	return s.gateway.Invoke(p.Account, p.PrepayID, now)
}

// Outcome is what became of a receipt.
type Outcome string

// The outcomes.
const (
	OutcomePaid        Outcome = "paid"
	OutcomeDuplicate   Outcome = "duplicate"
	OutcomeLate        Outcome = "late"         // the order had ended: a refund is due
	OutcomeWrongAmount Outcome = "wrong_amount" // a refund of what came is due
	OutcomeUnknown     Outcome = "unknown"      // no payment of that name: somebody has to look
)

// Receive takes in what a provider says was paid, however often it says so, and returns what became of it. Money is
// never lost silently: what cannot be used for its order becomes a refund that is due, in the same transaction. notice names
// the provider's message; it is empty when we asked ourselves.
func (s *Service) Receive(ctx context.Context, r Receipt, notice string) (Outcome, error) {
	var out Outcome
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) (err error) {
		if out, err = s.receive(ctx, tx, r); err != nil || notice == "" {
			return err
		}
		_, err = tx.Exec(ctx, insertNoticeSQL, pg.Args{
			"provider": r.Provider, "notice": notice, "kind": "paid", "out_trade_no": r.OutTradeNo, "outcome": string(out), "amount": r.AmountFen, "now": s.clock.Now(),
		})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("receive payment %s: %w", r.OutTradeNo, err)
	}
	if out == OutcomeUnknown || out == OutcomeWrongAmount {
		s.log.ErrorContext(ctx, "money arrived that belongs to no order", "outcome", out, "out_trade_no", r.OutTradeNo, "transaction_id", r.TransactionID, "amount_fen", int64(r.AmountFen))
	}
	return out, nil
}

func (s *Service) receive(ctx context.Context, tx pgx.Tx, r Receipt) (Outcome, error) {
	found, err := payments(ctx, tx, lockPaymentSQL, pg.Args{"provider": r.Provider, "out_trade_no": r.OutTradeNo})
	if err != nil {
		return "", err
	}
	if len(found) == 0 || found[0].Account != r.Account {
		return OutcomeUnknown, nil
	}
	p := found[0]
	if p.State == StatePaid || p.State == StateMismatched {
		return OutcomeDuplicate, nil
	}
	now := s.clock.Now()
	state := StatePaid
	if r.AmountFen != p.AmountFen {
		state = StateMismatched
	}
	if _, err := tx.Exec(ctx, receiveSQL, pg.Args{
		"id": p.ID, "state": string(state), "amount": r.AmountFen, "transaction": r.TransactionID, "at": r.PaidAt, "now": now,
	}); err != nil {
		return "", fmt.Errorf("store receipt: %w", err)
	}
	p.State, p.ReceivedFen, p.TransactionID, p.PaidAt = state, r.AmountFen, &r.TransactionID, &r.PaidAt
	if state == StateMismatched {
		return OutcomeWrongAmount, insertRefund(ctx, tx, id.Derived("payment.mismatch", p.ID.String()), p, r.AmountFen, "wrong_amount", now)
	}
	verdict, err := s.orders.Arrived(ctx, tx, p, now)
	if err != nil {
		return "", err
	}
	if verdict == Late {
		return OutcomeLate, insertRefund(ctx, tx, id.Derived("payment.late", p.ID.String()), p, r.AmountFen, "late", now)
	}
	return OutcomePaid, nil
}

// Abandon tells that an order ended unpaid: its payments that nobody paid are closed, at the provider by the next Reconcile.
func (s *Service) Abandon(ctx context.Context, tx pgx.Tx, orderNo string) error {
	if _, err := tx.Exec(ctx, closingSQL, pg.Args{"order_no": orderNo, "now": s.clock.Now()}); err != nil {
		return fmt.Errorf("close payments of order %s: %w", orderNo, err)
	}
	return nil
}

// GiveBack makes a refund of money that an order's provider payments received due, under the caller's key. The parts of
// several payments are taken in their order. It fails with ErrExceeds or ErrKeyReused.
func (s *Service) GiveBack(ctx context.Context, tx pgx.Tx, key id.UUID, orderNo string, amount money.Fen, reason string) error {
	all, err := s.LockOrder(ctx, tx, orderNo)
	if err != nil {
		return err
	}
	done, err := s.Refunds(ctx, tx, orderNo)
	if err != nil {
		return err
	}
	var already money.Fen
	for i := range all {
		for _, r := range done {
			if r.ID == id.Derived(key.String(), all[i].ID.String()) {
				already += r.AmountFen
			}
		}
	}
	if already > 0 {
		if already != amount {
			return ErrKeyReused
		}
		return nil
	}
	for _, p := range all {
		part := min(amount, p.ReceivedFen-p.RefundedFen)
		if part <= 0 {
			continue
		}
		if err := insertRefund(ctx, tx, id.Derived(key.String(), p.ID.String()), p, part, reason, s.clock.Now()); err != nil {
			return err
		}
		amount -= part
	}
	if amount > 0 {
		return ErrExceeds
	}
	return nil
}

const (
	reconcileAfter = 2 * time.Minute
	reconcileBatch = 100
	refundBatch    = 50
	refundLease    = 2 * time.Minute
)

// Reconcile asks the provider about payments whose callback has not come, and closes those whose orders ended. One that
// fails is asked about again later.
func (s *Service) Reconcile(ctx context.Context) error {
	if s.gateway == nil {
		return nil
	}
	open, err := payments(ctx, s.db, openPaymentsSQL, pg.Args{"before": s.clock.Now().Add(-reconcileAfter), "limit": reconcileBatch})
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range open {
		if err := s.reconcile(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("reconcile payment %s: %w", p.OutTradeNo, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) reconcile(ctx context.Context, p Payment) error {
	if _, err := s.db.Exec(ctx, checkedSQL, pg.Args{"id": p.ID, "now": s.clock.Now()}); err != nil {
		return err
	}
	receipt, err := s.gateway.Query(ctx, p)
	if err != nil {
		return err
	}
	if receipt != nil {
		_, err := s.Receive(ctx, *receipt, "")
		return err
	}
	if p.State != StateClosing {
		return nil
	}
	if err := s.gateway.Close(ctx, p); err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, closedSQL, pg.Args{"id": p.ID, "now": s.clock.Now()})
	return err
}

// RunRefunds asks the provider for refunds that are due, one attempt each. Asking again under the same name is the
// provider's to recognise, so a crash between asking and writing changes nothing.
func (s *Service) RunRefunds(ctx context.Context) error {
	if s.gateway == nil {
		return nil
	}
	now := s.clock.Now()
	due, err := refunds(ctx, s.db, claimRefundsSQL, pg.Args{"now": now, "lease": now.Add(refundLease), "limit": refundBatch})
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range due {
		if err := s.runRefund(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("refund %s of order %s: %w", r.ID, r.OrderNo, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) runRefund(ctx context.Context, r Refund) error {
	all, err := payments(ctx, s.db, getPaymentSQL, pg.Args{"id": r.Payment})
	if err != nil || len(all) != 1 {
		return errors.Join(err, ErrNotFound)
	}
	state, providerID, err := s.gateway.Refund(ctx, all[0], r)
	now := s.clock.Now()
	args := pg.Args{"id": r.ID, "state": string(state), "provider_id": providerID, "error": "", "now": now, "next": now.Add(backoff(r.Attempts))}
	if err != nil {
		// A refund is never given up by itself: the next attempt comes, later each time.
		args["state"], args["error"] = string(r.State), fault.From(err).Code
	}
	_, werr := s.db.Exec(ctx, setRefundSQL, args)
	return errors.Join(err, werr)
}

func backoff(attempts int) time.Duration {
	return min(time.Hour, 10*time.Second<<min(max(attempts-1, 0), 10))
}
