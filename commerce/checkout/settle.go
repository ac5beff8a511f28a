package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
	"github.com/lianke/lianke/member/points"
)

const heldSQL = `
SELECT order_no, birth, coupons, programme, points
FROM commerce.checkouts
WHERE order_no = @order_no`

// holdings reads what an order holds; an order that did not go through checkout holds nothing.
func holdings(ctx context.Context, tx pgx.Tx, o order.Order) (held, error) {
	rows, err := tx.Query(ctx, heldSQL, pg.Args{"order_no": o.OrderNo})
	if err != nil {
		return held{}, fmt.Errorf("read what order %s holds: %w", o.OrderNo, err)
	}
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[held])
	if pg.NoRows(err) {
		return held{OrderNo: o.OrderNo, Birth: o.Birth}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("read what order %s holds: %w", o.OrderNo, err)
	}
	return h, nil
}

// lockHolder locks the member whose coupons and points are about to change.
func (h held) lockHolder(ctx context.Context, tx pgx.Tx) error {
	if len(h.Coupons) == 0 && h.Points == 0 {
		return nil
	}
	_, err := cluster.Lock(ctx, tx, []member.Birth{h.Birth})
	return err
}

// Arrived takes money in for an order. The payment's row is locked by the caller, and whoever ends an order locks it too: so
// the order is either paid here, with its stock, or the verdict is Late and the money goes back.
func (s *Service) Arrived(ctx context.Context, tx pgx.Tx, p payment.Payment, at time.Time) (payment.Verdict, error) {
	o, err := s.orders.Get(ctx, tx, p.OrderNo)
	if errors.Is(err, order.ErrNotFound) {
		return payment.Late, nil
	}
	if err != nil {
		return "", err
	}
	if o.Status != order.StatusPlaced {
		return payment.Late, s.orders.Record(ctx, tx, order.Change{
			OrderNo: o.OrderNo, Kind: "late_payment", Actor: "payment", At: at, Detail: map[string]any{"transaction_id": p.TransactionID, "amount_fen": p.ReceivedFen},
		})
	}
	h, err := holdings(ctx, tx, o)
	if err != nil {
		return "", err
	}
	if err := h.lockHolder(ctx, tx); err != nil {
		return "", err
	}
	err = pg.InTx(ctx, tx, func(tx pgx.Tx) error { return s.pay(ctx, tx, o, h, "payment", *p.TransactionID, at) })
	if !errors.Is(err, ErrStockLost) {
		if err != nil {
			return "", err
		}
		return payment.Accepted, nil
	}
	// The hold ran out and the goods went to somebody else: the order ends, and everything goes back.
	return payment.Late, s.end(ctx, tx, o, h, order.Change{To: order.StatusCancelled, Kind: "stock_lost", Actor: "payment", At: at})
}

// pay makes an order paid with everything that follows: coupons committed, points and cards captured, money booked,
// activities and events written, and last the stock confirmed. Repeating it fails with order.ErrTransition.
func (s *Service) pay(ctx context.Context, tx pgx.Tx, o order.Order, h held, actor, reference string, at time.Time) error {
	for _, code := range h.Coupons {
		if _, err := s.coupons.Commit(ctx, tx, code, o.OrderNo, at); err != nil {
			return err
		}
	}
	if h.Points > 0 {
		if err := s.points.Capture(ctx, tx, []points.Spend{h.spend(at)}); err != nil {
			return err
		}
	}
	if err := s.payments.CaptureCards(ctx, tx, o.OrderNo, at); err != nil {
		return err
	}
	terms, err := s.freeze(ctx, tx, o)
	if err != nil {
		return err
	}
	if err := s.orders.Pay(ctx, tx, o, order.Payment{Terms: terms, Reference: reference, Actor: actor, At: at}); err != nil {
		return err
	}
	if err := s.book(ctx, tx, o, "order.paid", 1, at); err != nil {
		return err
	}
	err = s.stock.Confirm(ctx, tx, ref(o.OrderNo))
	if !errors.Is(err, inventory.ErrExpired) && !errors.Is(err, inventory.ErrNoReservation) {
		return err
	}
	// The hold ran out; what is still there is good enough.
	_, err = s.stock.Reserve(ctx, tx, basket(o, time.Time{}))
	if errors.Is(err, inventory.ErrShort) {
		return ErrStockLost.With("order", o.OrderNo).Because(err)
	}
	return err
}

func (s *Service) freeze(ctx context.Context, tx pgx.Tx, o order.Order) (json.RawMessage, error) {
	if s.freezer != nil {
		return s.freezer.Freeze(ctx, tx, o)
	}
	text, err := json.Marshal(map[string]any{"seller_unit": o.SellerUnit, "seller_entity": o.SellerEntity, "lead_unit": o.LeadUnit, "lead_associate": o.LeadAssociate})
	if err != nil {
		return nil, fmt.Errorf("freeze terms: %w", err)
	}
	return text, nil
}

// Book is the book of what members pay, in fen: tenders by kind and collector, discounts by bearer, sales and freight by
// the entity that sells.
const Book = "trade"

// book posts an order, or with sign −1 takes it back: what tenders bring and bearers give is what was sold.
func (s *Service) book(ctx context.Context, tx pgx.Tx, o order.Order, kind string, sign int64, at time.Time) error {
	sums := map[string]money.Fen{}
	for _, t := range o.Tenders {
		account := "tender:" + string(t.Kind) + ":" + t.Collector
		if t.Kind == order.TenderPoints {
			account = "tender:points:" + t.Account
		}
		sums[account] += t.AmountFen
	}
	for _, l := range o.Lines {
		if l.Kind.Goods() {
			sums["sales:"+o.SellerEntity] -= l.ListFen
		} else {
			sums[string(l.Kind)+":"+o.SellerEntity] -= l.ListFen
		}
		for _, u := range l.Units {
			for _, d := range u.Discounts {
				for _, b := range d.Bearers {
					sums["discount:"+b.Bearer] += b.Fen
				}
			}
		}
	}
	x := ledger.Transaction{Key: id.Derived(kind, o.OrderNo), Book: Book, Kind: kind, Ref: o.OrderNo, At: at}
	var accounts []ledger.Account
	for _, code := range sortedKeys(sums) {
		if sums[code] == 0 {
			continue
		}
		x.Postings = append(x.Postings, ledger.Posting{Account: code, Amount: sign * int64(sums[code])})
		accounts = append(accounts, ledger.Account{Code: code, Lane: ledger.LaneHot})
	}
	if len(x.Postings) == 0 {
		return nil // a gift
	}
	_, err := s.ledger.Post(ctx, tx, []ledger.Transaction{x})
	if errors.Is(err, ledger.ErrNoAccount) {
		if err := s.ledger.Open(ctx, tx, Book, "fen", at, accounts...); err != nil {
			return err
		}
		_, err = s.ledger.Post(ctx, tx, []ledger.Transaction{x})
	}
	if err != nil {
		return fmt.Errorf("book order %s: %w", o.OrderNo, err)
	}
	return nil
}
