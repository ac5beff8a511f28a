package inventory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// Paper says why stock was moved by hand. Its lines are the moves that refer to it.
type Paper struct {
	ID        id.UUID   `json:"id"`
	Kind      string    `json:"kind" enum:"receipt,adjustment,status_change"`
	Location  string    `json:"location"`
	Reason    Reason    `json:"reason"`
	Reference string    `json:"reference" doc:"a number of somebody else's: delivery note, complaint"`
	Note      string    `json:"note"`
	Actor     string    `json:"actor"`
	Units     int64     `json:"units"`
	CreatedAt time.Time `json:"created_at"`
}

// WritePaperInput is what people fill in: a receipt, an adjustment or a change of status at one location.
type WritePaperInput struct {
	Location  string      `json:"location" validate:"required,max=100"`
	Reason    Reason      `json:"reason,omitempty" validate:"max=30" doc:"of an adjustment: damage, theft, found, sample, gift, scrap, other"`
	Reference string      `json:"reference,omitempty" validate:"max=100"`
	Note      string      `json:"note,omitempty" validate:"max=500"`
	Lines     []PaperLine `json:"lines" validate:"required,min=1,max=500,dive"`
}

// PaperLine is one SKU of a paper.
type PaperLine struct {
	SKU         string     `json:"sku" validate:"required,max=100"`
	Owner       string     `json:"owner,omitempty" validate:"max=100" doc:"empty: the entity of the location"`
	Status      Status     `json:"status,omitempty" doc:"empty: good" enum:"good,damaged,inspecting,frozen"`
	To          Status     `json:"to,omitempty" doc:"of a change of status" enum:"good,damaged,inspecting,frozen"`
	Quantity    int64      `json:"quantity" validate:"min=-1000000,max=1000000" doc:"of an adjustment: by how much, with its sign"`
	UnitCostFen *money.Fen `json:"unit_cost_fen,omitempty" doc:"of a receipt; empty: the owner's average"`
}

const insertPaperSQL = `
INSERT INTO commerce.stock_papers (id, kind, location, reason, reference, note, actor, units, created_at)
VALUES (@id, @kind, @location, @reason, @reference, @note, @actor, @units, @now)`

// WritePaper carries out a receipt, an adjustment or a change of status and keeps its paper.
func (s *Service) WritePaper(ctx context.Context, tx pgx.Tx, kind string, in WritePaperInput, actor string) (Paper, error) {
	behind, err := s.ownersOf(ctx, tx, in.Location)
	if err != nil {
		return Paper{}, err
	}
	p := Paper{
		ID: id.New(), Kind: kind, Location: in.Location, Reason: in.Reason, Reference: in.Reference, Note: in.Note, Actor: actor, CreatedAt: s.clock.Now(),
	}
	for i := range in.Lines {
		l := &in.Lines[i]
		if l.Owner == "" {
			l.Owner = behind[0].Entity
		}
		if l.Status == "" {
			l.Status = StatusGood
		}
		p.Units += l.Quantity
	}
	if _, err := tx.Exec(ctx, insertPaperSQL, pg.Args{
		"id": p.ID, "kind": p.Kind, "location": p.Location, "reason": string(p.Reason), "reference": p.Reference, "note": p.Note, "actor": actor,
		"units": p.Units, "now": p.CreatedAt,
	}); err != nil {
		return p, fmt.Errorf("keep paper: %w", err)
	}
	ref := Ref{kind, p.ID.String()}
	var arrivals []Arrival
	var corrections []Correction
	var changes []Restatus
	for i, l := range in.Lines {
		place := Place{l.SKU, in.Location, l.Owner, l.Status}
		arrivals = append(arrivals, Arrival{i + 1, place, l.Quantity, l.UnitCostFen})
		corrections = append(corrections, Correction{i + 1, place, l.Quantity})
		changes = append(changes, Restatus{i + 1, place, l.To, l.Quantity})
	}
	switch kind {
	case "receipt":
		_, err = s.Receive(ctx, tx, ref, ReasonReceipt, actor, p.CreatedAt, arrivals)
	case "adjustment":
		if in.Reason == ReasonCount {
			return p, invalid("reason", "盘点差异请用盘点单", "differences of a count are posted by the count")
		}
		err = s.Adjust(ctx, tx, ref, in.Reason, actor, p.CreatedAt, corrections)
	default:
		err = s.ChangeStatus(ctx, tx, ref, actor, p.CreatedAt, changes)
	}
	return p, err
}
