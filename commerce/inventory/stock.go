package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Arrival is goods that come: a purchase, or what a customer brought back.
type Arrival struct {
	Line int
	Place
	Quantity int64
	// UnitCost is what one unit cost; nil takes the owner's average.
	UnitCost *money.Fen
}

// Receive puts goods on the shelf. reason is ReasonReceipt or ReasonReturn; at is when they came. It returns what they are
// worth, in order.
func (s *Service) Receive(ctx context.Context, tx pgx.Tx, ref Ref, reason Reason, actor string, at time.Time, goods []Arrival) ([]money.Fen, error) {
	changes := make([]change, len(goods))
	for i, g := range goods {
		if err := checkPlace(fmt.Sprintf("lines[%d]", i), g.Place, g.Quantity); err != nil {
			return nil, err
		}
		changes[i] = change{Place: g.Place, OnHand: g.Quantity, Reason: reason, Line: g.Line}
		if g.UnitCost != nil {
			if *g.UnitCost < 0 {
				return nil, invalid(fmt.Sprintf("lines[%d].unit_cost_fen", i), "成本不能为负", "a cost is not negative")
			}
			value := *g.UnitCost * money.Fen(g.Quantity)
			changes[i].Value = &value
		}
	}
	values, err := s.post(ctx, tx, posting{ref, actor, at}, changes)
	if err != nil {
		return nil, fmt.Errorf("receive goods of %s: %w", ref, err)
	}
	return values, nil
}

// Correction changes a level by what was found, lost or spoilt.
type Correction struct {
	Line int
	Place
	Delta int64
}

// Adjust corrects levels for a reason that people give (AdjustReasons). It fails with ErrShort or ErrPromised where a level
// cannot go down so far.
func (s *Service) Adjust(ctx context.Context, tx pgx.Tx, ref Ref, reason Reason, actor string, at time.Time, corrections []Correction) error {
	if !slices.Contains(adjustReasons, reason) && reason != ReasonCount {
		return invalid("reason", "不是允许的原因", "is not a reason for an adjustment")
	}
	changes := make([]change, len(corrections))
	for i, c := range corrections {
		if err := checkPlace(fmt.Sprintf("lines[%d]", i), c.Place, max(c.Delta, -c.Delta)); err != nil {
			return err
		}
		changes[i] = change{Place: c.Place, OnHand: c.Delta, Reason: reason, Line: c.Line, Counted: reason == ReasonCount}
	}
	if _, err := s.post(ctx, tx, posting{ref, actor, at}, changes); err != nil {
		return fmt.Errorf("adjust stock by %s: %w", ref, err)
	}
	return nil
}

// Restatus is goods that turn out to be in another state.
type Restatus struct {
	Line int
	Place
	To       Status
	Quantity int64
}

// ChangeStatus moves goods between states: good ones found damaged, inspected ones released for sale.
func (s *Service) ChangeStatus(ctx context.Context, tx pgx.Tx, ref Ref, actor string, at time.Time, goods []Restatus) error {
	changes := make([]change, 0, 2*len(goods))
	for i, g := range goods {
		path := fmt.Sprintf("lines[%d]", i)
		if err := checkPlace(path, g.Place, g.Quantity); err != nil {
			return err
		}
		if g.To == g.Status || !slices.Contains(statuses, g.To) {
			return invalid(path+".to", "目标状态无效或未变", "give another of the statuses good, damaged, inspecting, frozen")
		}
		to := g.Place
		to.Status = g.To
		changes = append(changes,
			change{Place: g.Place, OnHand: -g.Quantity, Reason: ReasonStatus, Line: g.Line, Within: true},
			change{Place: to, OnHand: g.Quantity, Reason: ReasonStatus, Line: g.Line, Within: true})
	}
	if _, err := s.post(ctx, tx, posting{ref, actor, at}, changes); err != nil {
		return fmt.Errorf("change status by %s: %w", ref, err)
	}
	return nil
}

func checkPlace(path string, p Place, quantity int64) error {
	switch {
	case p.SKU == "" || p.Location == "" || p.Owner == "":
		return invalid(path, "缺少商品、地点或货主", "name SKU, location and owner")
	case !slices.Contains(statuses, p.Status):
		return invalid(path+".status", "状态须为 good、damaged、inspecting 或 frozen", "the status is good, damaged, inspecting or frozen")
	case quantity <= 0 || quantity > maxQuantity:
		return invalid(path+".quantity", "数量须在 1 到 1000000 之间", "the quantity is from 1 to 1,000,000")
	}
	return nil
}

const setSafetySQL = `
UPDATE commerce.stock_levels
SET safety = @safety, updated_at = @now
WHERE sku = @sku AND location = @location AND owner = @owner AND status = 'good'`

// SetSafety keeps so many good units back from sale.
func (s *Service) SetSafety(ctx context.Context, tx pgx.Tx, p Place, safety int64) error {
	p.Status = StatusGood
	if safety < 0 || safety > maxQuantity {
		return invalid("safety", "安全库存须在 0 到 1000000 之间", "safety stock is from 0 to 1,000,000")
	}
	if err := checkPlace("place", p, 1); err != nil {
		return err
	}
	if _, err := lockLevels(ctx, tx, []Place{p}, s.clock.Now()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, setSafetySQL, pg.Args{"sku": p.SKU, "location": p.Location, "owner": p.Owner, "safety": safety, "now": s.clock.Now()}); err != nil {
		return fmt.Errorf("set safety stock: %w", err)
	}
	return nil
}

// Revalue states what an owner's units of a SKU cost each, as opening balances come without cost.
func (s *Service) Revalue(ctx context.Context, tx pgx.Tx, ref Ref, actor, location string, sku, owner string, unit money.Fen) error {
	if unit < 0 {
		return invalid("unit_cost_fen", "成本不能为负", "a cost is not negative")
	}
	now := s.clock.Now()
	key := costKey{sku, owner}
	costs, err := lockCosts(ctx, tx, []costKey{key}, now)
	if err != nil {
		return err
	}
	c := costs[key]
	value := unit * money.Fen(c.Quantity)
	delta := value - c.ValueFen
	c.ValueFen = value
	place := Place{sku, location, owner, StatusGood}
	if err := write(ctx, tx, posting{ref, actor, now}, []change{{Place: place, Reason: ReasonRevalue}}, []money.Fen{delta}, nil, now); err != nil {
		return err
	}
	return putCosts(ctx, tx, costs, now)
}
