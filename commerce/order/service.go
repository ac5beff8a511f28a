package order

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Service keeps orders.
type Service struct {
	db      pg.DB
	clock   clock.Clock
	log     *activity.Log
	bus     *events.Bus
	secrets *member.Secrets
}

// New returns the service; db is the pool that reads run on.
func New(db pg.DB, clk clock.Clock, log *activity.Log, bus *events.Bus, secrets *member.Secrets) *Service {
	return &Service{db: db, clock: clk, log: log, bus: bus, secrets: secrets}
}

// Get returns an order with lines, units and tenders, or ErrNotFound.
func (s *Service) Get(ctx context.Context, db pg.DB, orderNo string) (Order, error) {
	return load(ctx, db, orderNo, false)
}

// Lock is Get with the row of the order locked until tx ends. Whoever changes an order locks it first.
func (s *Service) Lock(ctx context.Context, tx pgx.Tx, orderNo string) (Order, error) {
	return load(ctx, tx, orderNo, true)
}

// Events returns the history of an order, oldest first.
func (s *Service) Events(ctx context.Context, db pg.DB, orderNo string) ([]Event, error) {
	rows, err := db.Query(ctx, eventsSQL, pg.Args{"order_no": orderNo})
	if err != nil {
		return nil, fmt.Errorf("read events of order %s: %w", orderNo, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Event])
	if err != nil {
		return nil, fmt.Errorf("read events of order %s: %w", orderNo, err)
	}
	return all, nil
}

// Queue adds the statements that store a new order to a batch of the caller's transaction. The order has gone through
// Allocate, and its tenders sum to what it costs: ErrUnbalanced otherwise. A number that exists fails the batch with the
// constraint orders_pkey.
func (s *Service) Queue(b *pgx.Batch, o Order, actor string) error {
	if err := o.balanced(); err != nil {
		return err
	}
	o.UpdatedAt = o.PlacedAt
	return queueInsert(b, o, actor)
}

// Create stores a new order. It fails like Queue, with ErrExists if the number is taken.
func (s *Service) Create(ctx context.Context, tx pgx.Tx, o Order, actor string) error {
	var b pgx.Batch
	if err := s.Queue(&b, o, actor); err != nil {
		return err
	}
	err := tx.SendBatch(ctx, &b).Close()
	if pg.Constraint(err) == "orders_pkey" {
		return ErrExists.With("order", o.OrderNo)
	}
	if err != nil {
		return fmt.Errorf("create order %s: %w", o.OrderNo, err)
	}
	return nil
}

func (o *Order) balanced() error {
	var points int64
	var worth, cash money.Fen
	for _, t := range o.Tenders {
		if t.Kind == TenderPoints {
			points, worth = points+t.Points, worth+t.AmountFen
		} else {
			cash += t.AmountFen
		}
	}
	if points != o.Points || worth != o.PointsFen || cash != o.CashFen {
		return ErrUnbalanced.With("tenders", worth+cash, "due", o.PointsFen+o.CashFen)
	}
	return nil
}

// Change is a transition of an order, or with Kind alone an entry in its history.
type Change struct {
	OrderNo  string
	From, To Status
	Kind     string // what happened: "paid", "cancelled"
	Actor    string
	Detail   any // JSON-encodable; no personal data
	At       time.Time
}

func (c Change) args() pg.Args {
	detail := c.Detail
	if detail == nil {
		detail = struct{}{}
	}
	return pg.Args{
		"order_no": c.OrderNo, "from": string(c.From), "to": string(c.To), "kind": c.Kind, "actor": c.Actor, "detail": detail, "at": c.At,
	}
}

// Transition moves an order from one status to another and writes its event. It fails with ErrTransition if the machine
// does not know the way or the order is elsewhere, and with ErrNotFound.
func (s *Service) Transition(ctx context.Context, tx pgx.Tx, c Change) error {
	if err := check(c.OrderNo, c.From, c.To); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, moveSQL, c.args())
	if err != nil {
		return fmt.Errorf("move order %s to %s: %w", c.OrderNo, c.To, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	o, err := load(ctx, tx, c.OrderNo, false)
	if err != nil {
		return err
	}
	return ErrTransition.With("order", c.OrderNo, "from", o.Status, "to", c.To)
}

// Record writes an event that changes no status.
func (s *Service) Record(ctx context.Context, tx pgx.Tx, c Change) error {
	args := c.args()
	delete(args, "from")
	delete(args, "to")
	tag, err := tx.Exec(ctx, recordSQL, args)
	if err != nil {
		return fmt.Errorf("record %s of order %s: %w", c.Kind, c.OrderNo, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotFound.With("order", c.OrderNo)
	}
	return nil
}

// Payment is what makes an order paid.
type Payment struct {
	Terms     json.RawMessage // frozen: contract version, roles, rates
	Reference string          // the provider's transaction, for the planned tender
	Actor     string
	At        time.Time
}

// Pay makes a placed order paid: terms are frozen, tenders captured, activities and the event commerce.order.paid
// written. o was read by Lock in tx. It fails with ErrTransition.
func (s *Service) Pay(ctx context.Context, tx pgx.Tx, o Order, p Payment) error {
	c := Change{OrderNo: o.OrderNo, From: o.Status, To: StatusPaid, Kind: "paid", Actor: p.Actor, At: p.At, Detail: map[string]any{"reference": p.Reference}}
	if o.Status == StatusCancelRequested {
		return ErrTransition.With("order", o.OrderNo, "from", o.Status, "to", StatusPaid)
	}
	if err := s.Transition(ctx, tx, c); err != nil {
		return err
	}
	var b pgx.Batch
	b.Queue(paySQL, pg.Args{"order_no": o.OrderNo, "terms": p.Terms, "paid": o.CashFen})
	states := make([]Tender, len(o.Tenders))
	for i, t := range o.Tenders {
		if t.State == TenderPlanned {
			t.Reference = p.Reference
		}
		t.State = TenderCaptured
		states[i] = t
	}
	queueTenders(&b, o.OrderNo, states)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("pay order %s: %w", o.OrderNo, err)
	}
	o.PaidAt = &p.At
	if _, err := s.log.Append(ctx, tx, o.paidActivities()); err != nil {
		return fmt.Errorf("log payment of order %s: %w", o.OrderNo, err)
	}
	return s.bus.Publish(ctx, tx, Paid{OrderNo: o.OrderNo, Birth: o.Birth, Touchpoint: o.Touchpoint, Store: o.Store, AmountFen: o.PointsFen + o.CashFen})
}

// End takes a placed order to cancelled or closed_unpaid and releases its tenders. o was read by Lock in tx.
func (s *Service) End(ctx context.Context, tx pgx.Tx, o Order, c Change) error {
	c.OrderNo, c.From = o.OrderNo, o.Status
	if err := s.Transition(ctx, tx, c); err != nil {
		return err
	}
	states := make([]Tender, len(o.Tenders))
	for i, t := range o.Tenders {
		t.State = TenderReleased
		states[i] = t
	}
	if err := s.SetTenders(ctx, tx, o.OrderNo, states); err != nil {
		return err
	}
	return s.bus.Publish(ctx, tx, Ended{OrderNo: o.OrderNo, Birth: o.Birth, Status: c.To})
}

func queueTenders(b *pgx.Batch, orderNo string, tenders []Tender) {
	if len(tenders) == 0 {
		return
	}
	var nos []int
	var states, references []string
	for _, t := range tenders {
		nos, states, references = append(nos, t.TenderNo), append(states, string(t.State)), append(references, t.Reference)
	}
	b.Queue(setTendersSQL, pg.Args{"order_no": orderNo, "tenders": nos, "states": states, "references": references})
}

// SetTenders stores state and, unless it is empty, reference of the tenders.
func (s *Service) SetTenders(ctx context.Context, tx pgx.Tx, orderNo string, tenders []Tender) error {
	var b pgx.Batch
	queueTenders(&b, orderNo, tenders)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("set tenders of order %s: %w", orderNo, err)
	}
	return nil
}

// TenderRefund is what goes back on one tender.
type TenderRefund struct {
	TenderNo int
	Fen      money.Fen
	Points   int64
}

// RefundTenders counts what goes back on the tenders. It fails with ErrTenders if more would go back than came.
func (s *Service) RefundTenders(ctx context.Context, tx pgx.Tx, orderNo string, refunds []TenderRefund, at time.Time) error {
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		o, err := load(ctx, tx, orderNo, true)
		if err != nil {
			return err
		}
		var b pgx.Batch
		var cash money.Fen
		for _, r := range refunds {
			b.Queue(refundTenderSQL, pg.Args{"order_no": orderNo, "tender": r.TenderNo, "fen": r.Fen, "points": r.Points})
			for _, t := range o.Tenders {
				if t.TenderNo == r.TenderNo && t.Kind != TenderPoints {
					cash += r.Fen
				}
			}
		}
		b.Queue(refundOrderSQL, pg.Args{"order_no": orderNo, "fen": cash, "at": at})
		return tx.SendBatch(ctx, &b).Close()
	})
	switch pg.Constraint(err) {
	case "order_tenders_amounts", "orders_paid":
		return ErrTenders.With("order", orderNo)
	}
	if err != nil {
		return fmt.Errorf("refund tenders of order %s: %w", orderNo, err)
	}
	return nil
}

// paidActivities are order_paid and a product_purchased per line of goods, under the names that an import gives them.
func (o *Order) paidActivities() []activity.Activity {
	out := []activity.Activity{{
		Birth: o.Birth, Key: activity.KeyOrderPaid, OccurredAt: *o.PaidAt, Touchpoint: o.Touchpoint, Mode: member.ModeLive,
		Source: Source, DedupeKey: PaidKey(o.OrderNo),
		Props: map[string]any{
			"order_no": o.OrderNo, "touchpoint": o.Touchpoint, "store": o.Store, "associate": o.LeadAssociate,
			"amount_fen": o.PointsFen + o.CashFen, "quantity": o.Quantity,
		},
	}}
	for _, l := range o.Lines {
		if !l.Kind.Goods() {
			continue
		}
		out = append(out, activity.Activity{
			Birth: o.Birth, Key: activity.KeyProductPurchased, OccurredAt: *o.PaidAt, Touchpoint: o.Touchpoint, Mode: member.ModeLive,
			Source: Source, DedupeKey: PurchasedKey(o.OrderNo, strconv.Itoa(l.LineNo)),
			Props: map[string]any{
				"order_no": o.OrderNo, "sku": l.SKU, "category": l.Category, "brand": l.Brand, "touchpoint": o.Touchpoint, "store": o.Store,
				"quantity": l.Quantity, "amount_fen": l.PointsFen + l.CashFen,
			},
		})
	}
	return out
}

// step is order_shipped or order_received.
func (o *Order) step(key, dedupe string, at time.Time) activity.Activity {
	return activity.Activity{
		Birth: o.Birth, Key: key, OccurredAt: at, Touchpoint: o.Touchpoint, Mode: member.ModeLive, Source: Source, DedupeKey: dedupe,
		Props: map[string]any{"order_no": o.OrderNo},
	}
}
