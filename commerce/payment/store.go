package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

const paymentColumns = `id, order_no, tender_no, provider, account, out_trade_no, amount_fen, received_fen, refunded_fen, state, prepay_id,
    prepared_at, transaction_id, expires_at, paid_at, created_at`

const insertPaymentSQL = `
INSERT INTO commerce.payments (id, order_no, tender_no, provider, account, out_trade_no, amount_fen, state, expires_at, checked_at, created_at, updated_at)
VALUES (@id, @order_no, @tender, @provider, @account, @out_trade_no, @amount, 'created', @expires, @now, @now, @now)`

// QueueCreate stores a new payment by a statement of the caller's batch: it comes into being with its order.
func QueueCreate(b *pgx.Batch, p Payment) {
	b.Queue(insertPaymentSQL, pg.Args{
		"id": p.ID, "order_no": p.OrderNo, "tender": p.TenderNo, "provider": p.Provider, "account": p.Account, "out_trade_no": p.OutTradeNo,
		"amount": p.AmountFen, "expires": p.ExpiresAt, "now": p.CreatedAt,
	})
}

const lockPaymentSQL = `
SELECT ` + paymentColumns + `
FROM commerce.payments
WHERE provider = @provider AND out_trade_no = @out_trade_no
FOR NO KEY UPDATE`

const orderPaymentsSQL = `
SELECT ` + paymentColumns + `
FROM commerce.payments
WHERE order_no = @order_no
ORDER BY created_at, id`

const lockOrderPaymentsSQL = orderPaymentsSQL + `
FOR NO KEY UPDATE`

const openPaymentsSQL = `
SELECT ` + paymentColumns + `
FROM commerce.payments
WHERE state IN ('prepared', 'closing') AND checked_at <= @before
ORDER BY checked_at
LIMIT @limit`

func payments(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Payment, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read payments: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Payment])
	if err != nil {
		return nil, fmt.Errorf("read payments: %w", err)
	}
	return all, nil
}

const prepareSQL = `
UPDATE commerce.payments
SET state = 'prepared', prepay_id = @prepay_id, prepared_at = @now, updated_at = @now, checked_at = @now
WHERE id = @id AND state IN ('created', 'prepared')`

const receiveSQL = `
UPDATE commerce.payments
SET state = @state, received_fen = @amount, transaction_id = @transaction, paid_at = @at, updated_at = @now
WHERE id = @id`

const closingSQL = `
UPDATE commerce.payments
SET state = CASE WHEN state = 'created' THEN 'closed' ELSE 'closing' END, checked_at = @now, updated_at = @now
WHERE order_no = @order_no AND state IN ('created', 'prepared')`

const closedSQL = `
UPDATE commerce.payments
SET state = 'closed', updated_at = @now
WHERE id = @id AND state = 'closing'`

const checkedSQL = `
UPDATE commerce.payments
SET checked_at = @now
WHERE id = @id`

const insertNoticeSQL = `
INSERT INTO commerce.payment_notices (provider, notice_id, kind, out_trade_no, outcome, amount_fen, received_at)
VALUES (@provider, @notice, @kind, @out_trade_no, @outcome, @amount, @now)
ON CONFLICT ON CONSTRAINT payment_notices_pkey DO NOTHING`

const refundColumns = `id, payment, order_no, amount_fen, reason, state, provider_id, attempts, last_error, next_at, done_at, created_at`

const insertRefundSQL = `
INSERT INTO commerce.payment_refunds (id, payment, order_no, amount_fen, reason, state, next_at, created_at)
VALUES (@id, @payment, @order_no, @amount, @reason, 'due', @now, @now)
ON CONFLICT ON CONSTRAINT payment_refunds_pkey DO NOTHING`

const countRefundSQL = `
UPDATE commerce.payments
SET refunded_fen = refunded_fen + @amount, updated_at = @now
WHERE id = @payment`

const getRefundSQL = `
SELECT ` + refundColumns + `
FROM commerce.payment_refunds
WHERE id = @id`

const orderRefundsSQL = `
SELECT ` + refundColumns + `
FROM commerce.payment_refunds
WHERE order_no = @order_no
ORDER BY created_at, id`

// claimRefundsSQL leases refunds that are due to one worker.
const claimRefundsSQL = `
UPDATE commerce.payment_refunds
SET attempts = attempts + 1, next_at = @lease
WHERE id = ANY(ARRAY(
    SELECT id
    FROM commerce.payment_refunds
    WHERE state IN ('due', 'asked') AND next_at <= @now
    ORDER BY next_at
    LIMIT @limit
    FOR UPDATE SKIP LOCKED
))
RETURNING ` + refundColumns

const setRefundSQL = `
UPDATE commerce.payment_refunds
SET state = @state, provider_id = coalesce(nullif(@provider_id, ''), provider_id), last_error = @error, next_at = @next,
    done_at = CASE WHEN @state = 'done' THEN @now::timestamptz END
WHERE id = @id AND state IN ('due', 'asked')`

const getPaymentSQL = `
SELECT ` + paymentColumns + `
FROM commerce.payments
WHERE id = @id`

func refunds(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Refund, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Refund])
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	return all, nil
}

// insertRefund makes a refund due. The same id again changes nothing if it is the same refund.
func insertRefund(ctx context.Context, tx pgx.Tx, key id.UUID, p Payment, amount money.Fen, reason string, now time.Time) error {
	tag, err := tx.Exec(ctx, insertRefundSQL, pg.Args{"id": key, "payment": p.ID, "order_no": p.OrderNo, "amount": amount, "reason": reason, "now": now})
	if err != nil {
		return fmt.Errorf("store refund: %w", err)
	}
	if tag.RowsAffected() == 0 {
		known, err := refunds(ctx, tx, getRefundSQL, pg.Args{"id": key})
		if err != nil {
			return err
		}
		if len(known) != 1 || known[0].Payment != p.ID || known[0].AmountFen != amount {
			return ErrKeyReused
		}
		return nil
	}
	err = pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, countRefundSQL, pg.Args{"payment": p.ID, "amount": amount, "now": now})
		return err
	})
	if pg.Constraint(err) == "payments_amounts" {
		return ErrExceeds
	}
	if err != nil {
		return fmt.Errorf("count refund: %w", err)
	}
	return nil
}
