package inventory

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// ownersOf returns the entities behind locations, which must be known.
func (s *Service) ownersOf(ctx context.Context, db pg.DB, locations ...string) ([]org.Behind, error) {
	found, err := org.EntitiesOf(ctx, db, locations)
	if err != nil {
		return nil, err
	}
	out := make([]org.Behind, len(locations))
	for i, l := range locations {
		b, ok := found[l]
		if !ok {
			return nil, ErrNoLocation.With("location", l)
		}
		if b.Entity == "" {
			b.Entity = unowned
		}
		out[i] = b
	}
	return out, nil
}

const transferColumnsCTE = `id, from_location, from_owner, to_location, to_owner, principal, state, note, carrier, tracking_no, difference,
       requested_by, approved_by, shipped_by, received_by, requested_at, approved_at, shipped_at, received_at, version`

const insertTransferSQL = `
INSERT INTO commerce.stock_transfers (id, from_location, from_owner, to_location, to_owner, principal, state, note, requested_by, requested_at)
VALUES (@id, @from_location, @from_owner, @to_location, @to_owner, @principal, @state, @note, @actor, @now)`

const insertTransferLinesSQL = `
INSERT INTO commerce.stock_transfer_lines (transfer, line, sku, requested, return_price_fen, sale_price_fen)
SELECT @id, line, sku, requested, return_price, sale_price
FROM unnest(@lines::int[], @skus::text[], @requested::bigint[], @returns::bigint[], @sales::bigint[]) AS t (line, sku, requested, return_price, sale_price)`

func insertTransfer(ctx context.Context, tx pgx.Tx, t Transfer) error {
	var lines []int
	var skus []string
	var requested, returns, sales []int64
	for _, l := range t.Lines {
		lines, skus, requested = append(lines, l.Line), append(skus, l.SKU), append(requested, l.Requested)
		returns, sales = append(returns, int64(l.ReturnPriceFen)), append(sales, int64(l.SalePriceFen))
	}
	var b pgx.Batch
	b.Queue(insertTransferSQL, pg.Args{
		"id": t.ID, "from_location": t.FromLocation, "from_owner": t.FromOwner, "to_location": t.ToLocation, "to_owner": t.ToOwner,
		"principal": t.Principal, "state": string(t.State), "note": t.Note, "actor": t.RequestedBy, "now": t.RequestedAt,
	})
	b.Queue(insertTransferLinesSQL, pg.Args{"id": t.ID, "lines": lines, "skus": skus, "requested": requested, "returns": returns, "sales": sales})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("insert transfer: %w", err)
	}
	return nil
}

const getTransferSQL = `
SELECT ` + transferColumnsCTE + `
FROM commerce.stock_transfers
WHERE id = @id`

const lockTransferSQL = getTransferSQL + `
FOR NO KEY UPDATE`

const transferLinesSQL = `
SELECT line, sku, requested, approved, shipped, received, damaged, return_price_fen, sale_price_fen, cost_fen
FROM commerce.stock_transfer_lines
WHERE transfer = @id
ORDER BY line`

func getTransfer(ctx context.Context, db pg.DB, transfer id.UUID, lock bool) (Transfer, error) {
	sql := getTransferSQL
	if lock {
		sql = lockTransferSQL
	}
	rows, err := db.Query(ctx, sql, pg.Args{"id": transfer})
	if err != nil {
		return Transfer{}, fmt.Errorf("read transfer: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Transfer])
	if pg.NoRows(err) {
		return t, ErrNoTransfer.With("transfer", transfer)
	}
	if err != nil {
		return t, fmt.Errorf("read transfer: %w", err)
	}
	if rows, err = db.Query(ctx, transferLinesSQL, pg.Args{"id": transfer}); err != nil {
		return t, fmt.Errorf("read transfer lines: %w", err)
	}
	if t.Lines, err = pgx.CollectRows(rows, pgx.RowToStructByName[TransferLine]); err != nil {
		return t, fmt.Errorf("read transfer lines: %w", err)
	}
	return t, nil
}

const updateTransferSQL = `
UPDATE commerce.stock_transfers
SET state = @state, carrier = @carrier, tracking_no = @tracking, difference = @difference, approved_by = @approved_by, shipped_by = @shipped_by,
    received_by = @received_by, approved_at = @approved_at, shipped_at = @shipped_at, received_at = @received_at, version = version + 1
WHERE id = @id`

const updateTransferLinesSQL = `
UPDATE commerce.stock_transfer_lines l
SET approved = t.approved, shipped = t.shipped, received = t.received, damaged = t.damaged, cost_fen = t.cost
FROM unnest(@lines::int[], @approved::bigint[], @shipped::bigint[], @received::bigint[], @damaged::bigint[], @costs::bigint[])
     AS t (line, approved, shipped, received, damaged, cost)
WHERE l.transfer = @id AND l.line = t.line`

func updateTransfer(ctx context.Context, tx pgx.Tx, t *Transfer) error {
	var lines []int
	var approved, shipped, received, damaged, costs []int64
	for _, l := range t.Lines {
		lines, approved, shipped = append(lines, l.Line), append(approved, l.Approved), append(shipped, l.Shipped)
		received, damaged, costs = append(received, l.Received), append(damaged, l.Damaged), append(costs, int64(l.CostFen))
	}
	var b pgx.Batch
	b.Queue(updateTransferSQL, pg.Args{
		"id": t.ID, "state": string(t.State), "carrier": t.Carrier, "tracking": t.TrackingNo, "difference": t.Difference,
		"approved_by": t.ApprovedBy, "shipped_by": t.ShippedBy, "received_by": t.ReceivedBy,
		"approved_at": t.ApprovedAt, "shipped_at": t.ShippedAt, "received_at": t.ReceivedAt,
	})
	b.Queue(updateTransferLinesSQL, pg.Args{
		"id": t.ID, "lines": lines, "approved": approved, "shipped": shipped, "received": received, "damaged": damaged, "costs": costs,
	})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("update transfer: %w", err)
	}
	t.Version++
	return nil
}

const findTransfersSQL = `
SELECT ` + transferColumnsCTE + `
FROM commerce.stock_transfers
WHERE (@before = '' OR id < nullif(@before, '')::uuid)
  AND (@state = '' OR state = @state)
  AND (@anywhere OR from_location = ANY (@locations) OR to_location = ANY (@locations))
ORDER BY id DESC
LIMIT @limit`

func findTransfers(ctx context.Context, db pg.DB, in FindTransfersInput) ([]Transfer, error) {
	if _, err := id.Parse(in.Before); err != nil {
		in.Before = ""
	}
	rows, err := db.Query(ctx, findTransfersSQL, pg.Args{
		"before": strings.ToLower(in.Before), "state": string(in.State), "anywhere": in.Locations == nil, "locations": in.Locations, "limit": in.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("find transfers: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[Transfer])
	if err != nil {
		return nil, fmt.Errorf("find transfers: %w", err)
	}
	return out, nil
}
