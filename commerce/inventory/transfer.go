package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// TransferState is where a transfer is.
type TransferState string

// The states. Approving reserves the goods, shipping takes them off the shelf, and what was shipped is in transit until it is
// received.
//
//	requested ──▶ approved ──▶ shipped ──▶ received
//	    │  └▶ rejected  └▶ cancelled
//	    └───▶ cancelled
const (
	TransferRequested TransferState = "requested"
	TransferApproved  TransferState = "approved"
	TransferShipped   TransferState = "shipped"
	TransferReceived  TransferState = "received"
	TransferRejected  TransferState = "rejected"
	TransferCancelled TransferState = "cancelled"
)

// Transfer is goods that go from one location to another. Between entities they go back to the principal at the return price
// and are sold by it at the sale price; an owner that is the principal itself has only the other leg.
type Transfer struct {
	ID           id.UUID        `json:"id"`
	FromLocation string         `json:"from_location"`
	FromOwner    string         `json:"from_owner"`
	ToLocation   string         `json:"to_location"`
	ToOwner      string         `json:"to_owner"`
	Principal    string         `json:"principal" doc:"the entity between two others; empty within one entity"`
	State        TransferState  `json:"state" enum:"requested,approved,shipped,received,rejected,cancelled"`
	Note         string         `json:"note"`
	Carrier      string         `json:"carrier"`
	TrackingNo   string         `json:"tracking_no"`
	Difference   string         `json:"difference" doc:"why less was received than shipped"`
	RequestedBy  string         `json:"requested_by"`
	ApprovedBy   string         `json:"approved_by"`
	ShippedBy    string         `json:"shipped_by"`
	ReceivedBy   string         `json:"received_by"`
	RequestedAt  time.Time      `json:"requested_at"`
	ApprovedAt   *time.Time     `json:"approved_at,omitempty"`
	ShippedAt    *time.Time     `json:"shipped_at,omitempty"`
	ReceivedAt   *time.Time     `json:"received_at,omitempty"`
	Version      int64          `json:"version"`
	Lines        []TransferLine `json:"lines" db:"-"`
}

// TransferLine is one SKU of a transfer.
type TransferLine struct {
	Line           int       `json:"line"`
	SKU            string    `json:"sku"`
	Requested      int64     `json:"requested"`
	Approved       int64     `json:"approved"`
	Shipped        int64     `json:"shipped"`
	Received       int64     `json:"received" doc:"in good state"`
	Damaged        int64     `json:"damaged"`
	ReturnPriceFen money.Fen `json:"return_price_fen" doc:"per unit, from the sender's entity to the principal"`
	SalePriceFen   money.Fen `json:"sale_price_fen" doc:"per unit, from the principal to the receiver's entity"`
	CostFen        money.Fen `json:"cost_fen" doc:"of all received units, at the sender's average"`
}

// RequestTransferInput asks for goods.
type RequestTransferInput struct {
	FromLocation string                `json:"from_location" validate:"required,max=100"`
	FromOwner    string                `json:"from_owner" validate:"max=100" doc:"empty: the entity of the location"`
	ToLocation   string                `json:"to_location" validate:"required,max=100"`
	ToOwner      string                `json:"to_owner" validate:"max=100" doc:"empty: the entity of the location"`
	Note         string                `json:"note" validate:"max=500"`
	Lines        []RequestTransferLine `json:"lines" validate:"required,min=1,max=500,dive"`
}

// RequestTransferLine is one SKU that is asked for.
type RequestTransferLine struct {
	SKU            string    `json:"sku" validate:"required,max=100"`
	Quantity       int64     `json:"quantity" validate:"min=1,max=1000000"`
	ReturnPriceFen money.Fen `json:"return_price_fen,omitempty" validate:"min=0" doc:"between entities; empty: the sale price"`
	SalePriceFen   money.Fen `json:"sale_price_fen,omitempty" validate:"min=0" doc:"between entities"`
}

// LineQuantity says how many of a line of a transfer.
type LineQuantity struct {
	Line     int   `json:"line"`
	Quantity int64 `json:"quantity" validate:"min=0,max=1000000"`
	Damaged  int64 `json:"damaged,omitempty" validate:"min=0,max=1000000" doc:"of those received"`
}

// RequestTransfer writes a transfer down. Between entities each line needs a sale price.
func (s *Service) RequestTransfer(ctx context.Context, tx pgx.Tx, in RequestTransferInput, actor string) (Transfer, error) {
	owner, err := s.ownersOf(ctx, tx, in.FromLocation, in.ToLocation)
	if err != nil {
		return Transfer{}, err
	}
	t := Transfer{
		ID: id.New(), FromLocation: in.FromLocation, FromOwner: in.FromOwner, ToLocation: in.ToLocation, ToOwner: in.ToOwner, State: TransferRequested,
		Note: in.Note, RequestedBy: actor, RequestedAt: s.clock.Now(), Version: 1,
	}
	if t.FromOwner == "" {
		t.FromOwner = owner[0].Entity
	}
	if t.ToOwner == "" {
		t.ToOwner = owner[1].Entity
	}
	if t.FromLocation == t.ToLocation && t.FromOwner == t.ToOwner {
		return Transfer{}, invalid("to_location", "调出与调入相同", "the goods would stay where they are")
	}
	if t.FromOwner != t.ToOwner {
		t.Principal = owner[0].Principal
		if t.Principal == "" {
			t.Principal = unowned
		}
	}
	for i, l := range in.Lines {
		line := TransferLine{Line: i + 1, SKU: l.SKU, Requested: l.Quantity}
		if t.Principal != "" {
			if l.SalePriceFen <= 0 {
				return Transfer{}, invalid(fmt.Sprintf("lines[%d].sale_price_fen", i), "跨法人调拨须填写结算价", "between entities each line needs a price")
			}
			line.SalePriceFen, line.ReturnPriceFen = l.SalePriceFen, l.ReturnPriceFen
			if line.ReturnPriceFen == 0 {
				line.ReturnPriceFen = l.SalePriceFen
			}
		}
		t.Lines = append(t.Lines, line)
	}
	return t, insertTransfer(ctx, tx, t)
}

func (t Transfer) ref() Ref { return Ref{"transfer", t.ID.String()} }

// step locks the transfer, which must be in the state from.
func (s *Service) step(ctx context.Context, tx pgx.Tx, transfer id.UUID, from ...TransferState) (Transfer, error) {
	t, err := getTransfer(ctx, tx, transfer, true)
	if err != nil {
		return t, err
	}
	if !slices.Contains(from, t.State) {
		return t, ErrTransferState.With("state", t.State, "wanted", from[0])
	}
	return t, nil
}

// quantities sets what a step says of each line; without lines it is all that may be. It fails where a line gets more.
func (t *Transfer) quantities(lines []LineQuantity, most func(*TransferLine) int64, set func(*TransferLine, LineQuantity)) error {
	for i := range t.Lines {
		l := &t.Lines[i]
		q := LineQuantity{Line: l.Line, Quantity: most(l)}
		if len(lines) > 0 {
			q.Quantity = 0
		}
		for _, given := range lines {
			if given.Line == l.Line {
				q = given
			}
		}
		if q.Quantity < 0 || q.Damaged < 0 || q.Damaged > q.Quantity || q.Quantity > most(l) {
			return invalid(fmt.Sprintf("lines[%d].quantity", i), fmt.Sprintf("数量须在 0 到 %d 之间", most(l)), fmt.Sprintf("the quantity is from 0 to %d", most(l)))
		}
		set(l, q)
	}
	return nil
}

// ApproveTransfer reserves the goods, or what is given of each line. It fails with ErrShort where they are not there.
func (s *Service) ApproveTransfer(ctx context.Context, tx pgx.Tx, transfer id.UUID, lines []LineQuantity, actor string) (Transfer, error) {
	t, err := s.step(ctx, tx, transfer, TransferRequested)
	if err != nil {
		return t, err
	}
	if err := t.quantities(lines, func(l *TransferLine) int64 { return l.Requested }, func(l *TransferLine, q LineQuantity) { l.Approved = q.Quantity }); err != nil {
		return t, err
	}
	b := Basket{Ref: t.ref()}
	for _, l := range t.Lines {
		if l.Approved > 0 {
			b.Lines = append(b.Lines, Want{Line: l.Line, SKU: l.SKU, Location: t.FromLocation, Owner: t.FromOwner, Quantity: l.Approved})
		}
	}
	if _, err := s.Reserve(ctx, tx, b); err != nil {
		return t, err
	}
	now := s.clock.Now()
	t.State, t.ApprovedBy, t.ApprovedAt = TransferApproved, actor, &now
	return t, updateTransfer(ctx, tx, &t)
}

// RejectTransfer says no to a request; CancelTransfer withdraws one that has not been shipped and gives the goods back to sale.
func (s *Service) RejectTransfer(ctx context.Context, tx pgx.Tx, transfer id.UUID, actor string) (Transfer, error) {
	t, err := s.step(ctx, tx, transfer, TransferRequested)
	if err != nil {
		return t, err
	}
	t.State, t.ApprovedBy = TransferRejected, actor
	return t, updateTransfer(ctx, tx, &t)
}

// CancelTransfer withdraws a transfer that has not been shipped.
func (s *Service) CancelTransfer(ctx context.Context, tx pgx.Tx, transfer id.UUID) (Transfer, error) {
	t, err := s.step(ctx, tx, transfer, TransferRequested, TransferApproved)
	if err != nil {
		return t, err
	}
	t.State = TransferCancelled
	if err := s.Release(ctx, tx, t.ref()); err != nil {
		return t, err
	}
	return t, updateTransfer(ctx, tx, &t)
}

// ShipTransferInput says what left.
type ShipTransferInput struct {
	Lines      []LineQuantity `json:"lines,omitempty" validate:"dive" doc:"empty: all that was approved"`
	Carrier    string         `json:"carrier" validate:"max=100"`
	TrackingNo string         `json:"tracking_no" validate:"max=100"`
}

// ShipTransfer takes the goods off the shelf; what was approved and not shipped goes back to sale.
func (s *Service) ShipTransfer(ctx context.Context, tx pgx.Tx, transfer id.UUID, in ShipTransferInput, actor string) (Transfer, error) {
	t, err := s.step(ctx, tx, transfer, TransferApproved)
	if err != nil {
		return t, err
	}
	if err := t.quantities(in.Lines, func(l *TransferLine) int64 { return l.Approved }, func(l *TransferLine, q LineQuantity) { l.Shipped = q.Quantity }); err != nil {
		return t, err
	}
	var parts []Part
	for _, l := range t.Lines {
		if l.Shipped > 0 {
			parts = append(parts, Part{Line: l.Line, SKU: l.SKU, Quantity: l.Shipped})
		}
	}
	if len(parts) == 0 {
		return t, invalid("lines", "没有发出任何商品", "nothing was shipped; cancel the transfer instead")
	}
	if _, err := s.end(ctx, tx, t.ref(), parts, StateConsumed, ReasonTransferOut); err != nil {
		return t, err
	}
	if err := s.Release(ctx, tx, t.ref()); err != nil {
		return t, err
	}
	now := s.clock.Now()
	t.State, t.ShippedBy, t.ShippedAt, t.Carrier, t.TrackingNo = TransferShipped, actor, &now, in.Carrier, in.TrackingNo
	return t, updateTransfer(ctx, tx, &t)
}

// ReceiveTransferInput says what came.
type ReceiveTransferInput struct {
	Lines      []LineQuantity `json:"lines,omitempty" validate:"dive" doc:"empty: all that was shipped"`
	Difference string         `json:"difference" validate:"max=500" doc:"needed when less came, or damaged goods did"`
}

// ReceiveTransfer puts the goods on the shelf of the receiver. What is missing is the sender's loss; damaged goods come as
// damaged. Between entities the goods change hands now, and Transferred says at what amounts.
func (s *Service) ReceiveTransfer(ctx context.Context, tx pgx.Tx, transfer id.UUID, in ReceiveTransferInput, actor string) (Transfer, error) {
	t, err := s.step(ctx, tx, transfer, TransferShipped)
	if err != nil {
		return t, err
	}
	different := false
	if err := t.quantities(in.Lines, func(l *TransferLine) int64 { return l.Shipped }, func(l *TransferLine, q LineQuantity) {
		l.Received, l.Damaged = q.Quantity-q.Damaged, q.Damaged
		different = different || l.Received < l.Shipped
	}); err != nil {
		return t, err
	}
	if different && strings.TrimSpace(in.Difference) == "" {
		return t, invalid("difference", "实收与发出不符,请填写差异说明", "less came than was shipped: say why")
	}
	now := s.clock.Now()
	t.State, t.ReceivedBy, t.ReceivedAt, t.Difference = TransferReceived, actor, &now, in.Difference
	event, err := s.arrive(ctx, tx, &t, now)
	if err != nil {
		return t, err
	}
	if err := updateTransfer(ctx, tx, &t); err != nil {
		return t, err
	}
	return t, s.bus.Publish(ctx, tx, event)
}

// arrive moves goods and value of a transfer that was received.
func (s *Service) arrive(ctx context.Context, tx pgx.Tx, t *Transfer, now time.Time) (Transferred, error) {
	p := posting{t.ref(), t.ReceivedBy, now}
	event := Transferred{Transfer: t.ID, From: t.FromLocation, To: t.ToLocation, Legs: []Leg{}}
	back, sale := Leg{Kind: "return", From: t.FromOwner, To: t.Principal}, Leg{Kind: "sale", From: t.Principal, To: t.ToOwner}

	// The sender's book: what changes hands and what is lost leaves it. The goods left the shelf when they were shipped.
	var keys []costKey
	for _, l := range t.Lines {
		keys = append(keys, costKey{l.SKU, t.FromOwner})
	}
	places := make([]Place, 0, 3*len(t.Lines))
	for _, l := range t.Lines {
		places = append(places, Place{l.SKU, t.ToLocation, t.ToOwner, StatusGood}, Place{l.SKU, t.ToLocation, t.ToOwner, StatusDamaged},
			Place{l.SKU, t.FromLocation, t.FromOwner, StatusGood})
	}
	levels, err := lockLevels(ctx, tx, places, now)
	if err != nil {
		return event, err
	}
	costs, err := lockCosts(ctx, tx, sortedKeys(keys, t), now)
	if err != nil {
		return event, err
	}
	var changes, losses []change
	var values []money.Fen
	for i := range t.Lines {
		l := &t.Lines[i]
		came, missing := l.Received+l.Damaged, l.Shipped-l.Received-l.Damaged
		event.Units += came
		event.Missing += missing
		sender := costs[costKey{l.SKU, t.FromOwner}]
		from := Place{l.SKU, t.FromLocation, t.FromOwner, StatusGood}
		if missing > 0 {
			losses = append(losses, change{Place: from, Reason: ReasonTransferGap, Line: l.Line})
			values = append(values, -sender.out(missing))
		}
		if t.Principal != "" && came > 0 {
			l.CostFen = sender.out(came)
			losses = append(losses, change{Place: from, Reason: ReasonTransferOut, Line: l.Line})
			values = append(values, -l.CostFen)
			back.AmountFen += l.ReturnPriceFen * money.Fen(came)
			back.CostFen += l.CostFen
			sale.AmountFen += l.SalePriceFen * money.Fen(came)
			sale.CostFen += l.ReturnPriceFen * money.Fen(came)
		}
		for status, n := range map[Status]int64{StatusGood: l.Received, StatusDamaged: l.Damaged} {
			if n == 0 {
				continue
			}
			c := change{Place: Place{l.SKU, t.ToLocation, t.ToOwner, status}, OnHand: n, Reason: ReasonTransferIn, Line: l.Line, Within: t.Principal == ""}
			if t.Principal != "" {
				value := l.SalePriceFen * money.Fen(n)
				c.Value = &value
			}
			changes = append(changes, c)
		}
	}
	if err := putCosts(ctx, tx, costs, now); err != nil {
		return event, err
	}
	if len(losses) > 0 {
		if err := write(ctx, tx, p, losses, values, levels, now); err != nil {
			return event, err
		}
	}
	if len(changes) > 0 {
		slices.SortFunc(changes, func(a, b change) int { return comparePlaces(a.Place, b.Place) })
		if _, err := s.postLocked(ctx, tx, p, changes, levels); err != nil {
			return event, err
		}
	}
	if t.Principal != "" {
		if t.FromOwner != t.Principal {
			event.Legs = append(event.Legs, back)
		}
		if t.ToOwner != t.Principal {
			if t.FromOwner == t.Principal {
				sale.CostFen = back.CostFen
			}
			event.Legs = append(event.Legs, sale)
		}
	}
	return event, nil
}

// sortedKeys are the costs of both sides, in the order of their locks.
func sortedKeys(keys []costKey, t *Transfer) []costKey {
	all := slices.Clone(keys)
	if t.FromOwner != t.ToOwner {
		for _, k := range keys {
			all = append(all, costKey{k.sku, t.ToOwner})
		}
	}
	slices.SortFunc(all, compareCostKeys)
	return slices.Compact(all)
}

// FindTransfersInput narrows the list; empty fields do not.
type FindTransfersInput struct {
	Locations []string // either end; nil is every one
	State     TransferState
	Before    string // id of the last one read
	Limit     int
}

// FindTransfers lists transfers, newest first, without their lines.
func (s *Service) FindTransfers(ctx context.Context, db pg.DB, in FindTransfersInput) ([]Transfer, error) {
	return findTransfers(ctx, db, in)
}

// GetTransfer returns a transfer with its lines.
func (s *Service) GetTransfer(ctx context.Context, db pg.DB, transfer id.UUID) (Transfer, error) {
	return getTransfer(ctx, db, transfer, false)
}
