package inventory

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/pg"
)

func (h handlers) openCount(ctx context.Context, in *api.Body[OpenCountInput]) (*api.Body[Count], error) {
	return audited(ctx, h, "stock.count_opened", in.Body, func(tx pgx.Tx, actor string) (Count, string, error) {
		if err := within(ctx, in.Body.Location); err != nil {
			return Count{}, "", err
		}
		c, err := h.s.OpenCount(ctx, tx, in.Body, actor)
		return c, "stock-count/" + c.ID.String(), err
	})
}

// countOf returns the count of the path, if it is one of the actor's locations.
func (h handlers) countOf(ctx context.Context, db pg.DB, in api.ItemPath) (Count, error) {
	count, err := in.UUID()
	if err != nil {
		return Count{}, err
	}
	c, err := h.s.GetCount(ctx, db, count)
	if err != nil {
		return c, err
	}
	if within(ctx, c.Location) != nil {
		return Count{}, ErrNoCount.With("count", count)
	}
	return c, nil
}

func (h handlers) count(ctx context.Context, in *api.ItemPath) (*api.Body[Count], error) {
	c, err := h.countOf(ctx, h.s.db, *in)
	if err != nil {
		return nil, err
	}
	return &api.Body[Count]{Body: c}, nil
}

type recordStockCountInput struct {
	api.ItemPath
	Body struct {
		Lines []Counted `json:"lines" validate:"required,min=1,max=1000,dive"`
	}
}

func (h handlers) record(ctx context.Context, in *recordStockCountInput) (*api.Body[Count], error) {
	return audited(ctx, h, "stock.count_recorded", in.Body, func(tx pgx.Tx, actor string) (Count, string, error) {
		c, err := h.countOf(ctx, tx, in.ItemPath)
		if err != nil {
			return c, "", err
		}
		c, err = h.s.RecordCount(ctx, tx, c.ID, in.Body.Lines, actor)
		return c, "stock-count/" + c.ID.String(), err
	})
}

func (h handlers) moveCount(to string) func(context.Context, *api.ItemPath) (*api.Body[Count], error) {
	return func(ctx context.Context, in *api.ItemPath) (*api.Body[Count], error) {
		return audited(ctx, h, "stock.count_"+to, *in, func(tx pgx.Tx, actor string) (Count, string, error) {
			c, err := h.countOf(ctx, tx, *in)
			if err != nil {
				return c, "", err
			}
			c, err = h.s.MoveCount(ctx, tx, c.ID, to, actor)
			return c, "stock-count/" + c.ID.String(), err
		})
	}
}

type stockTransfersInput struct {
	Location string        `query:"location" doc:"at either end"`
	State    TransferState `query:"state" enum:"requested,approved,shipped,received,rejected,cancelled"`
	Cursor   string        `query:"cursor"`
	Limit    int           `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) transfers(ctx context.Context, in *stockTransfersInput) (*api.PageOutput[Transfer], error) {
	locations, err := scoped(ctx, in.Location)
	if err != nil {
		return nil, err
	}
	found, err := h.s.FindTransfers(ctx, h.s.db, FindTransfersInput{Locations: locations, State: in.State, Before: in.Cursor, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, in.Limit, func(t Transfer) string { return t.ID.String() }), nil
}

func (h handlers) requestTransfer(ctx context.Context, in *api.Body[RequestTransferInput]) (*api.Body[Transfer], error) {
	return audited(ctx, h, "stock.transfer_requested", in.Body, func(tx pgx.Tx, actor string) (Transfer, string, error) {
		if err := within(ctx, in.Body.ToLocation, in.Body.FromLocation); err != nil {
			return Transfer{}, "", err
		}
		t, err := h.s.RequestTransfer(ctx, tx, in.Body, actor)
		return t, "stock-transfer/" + t.ID.String(), err
	})
}

// transferOf returns the transfer of the path, if the actor may act at the end that ends picks, or at either.
func (h handlers) transferOf(ctx context.Context, db pg.DB, in api.ItemPath, ends func(Transfer) []string) (Transfer, error) {
	transfer, err := in.UUID()
	if err != nil {
		return Transfer{}, err
	}
	t, err := h.s.GetTransfer(ctx, db, transfer)
	if err != nil {
		return t, err
	}
	if within(ctx, ends(t)...) != nil {
		return Transfer{}, ErrNoTransfer.With("transfer", transfer)
	}
	return t, nil
}

func eitherEnd(t Transfer) []string { return []string{t.FromLocation, t.ToLocation} }
func sender(t Transfer) []string    { return []string{t.FromLocation} }
func receiver(t Transfer) []string  { return []string{t.ToLocation} }

func (h handlers) transfer(ctx context.Context, in *api.ItemPath) (*api.Body[Transfer], error) {
	t, err := h.transferOf(ctx, h.s.db, *in, eitherEnd)
	if err != nil {
		return nil, err
	}
	return &api.Body[Transfer]{Body: t}, nil
}

// step carries out one step of a transfer.
func (h handlers) step(ctx context.Context, in api.ItemPath, body any, action string, ends func(Transfer) []string, fn func(tx pgx.Tx, t Transfer, actor string) (Transfer, error)) (*api.Body[Transfer], error) {
	return audited(ctx, h, "stock.transfer_"+action, body, func(tx pgx.Tx, actor string) (Transfer, string, error) {
		t, err := h.transferOf(ctx, tx, in, ends)
		if err != nil {
			return t, "", err
		}
		t, err = fn(tx, t, actor)
		return t, "stock-transfer/" + t.ID.String(), err
	})
}

type approveStockTransferInput struct {
	api.ItemPath
	Body struct {
		Lines []LineQuantity `json:"lines,omitempty" validate:"dive" doc:"empty: all that was requested"`
	}
}

func (h handlers) approve(ctx context.Context, in *approveStockTransferInput) (*api.Body[Transfer], error) {
	return h.step(ctx, in.ItemPath, in.Body, "approved", sender, func(tx pgx.Tx, t Transfer, actor string) (Transfer, error) {
		return h.s.ApproveTransfer(ctx, tx, t.ID, in.Body.Lines, actor)
	})
}

func (h handlers) reject(ctx context.Context, in *api.ItemPath) (*api.Body[Transfer], error) {
	return h.step(ctx, *in, *in, "rejected", sender, func(tx pgx.Tx, t Transfer, actor string) (Transfer, error) {
		return h.s.RejectTransfer(ctx, tx, t.ID, actor)
	})
}

func (h handlers) cancel(ctx context.Context, in *api.ItemPath) (*api.Body[Transfer], error) {
	return h.step(ctx, *in, *in, "cancelled", eitherEnd, func(tx pgx.Tx, t Transfer, _ string) (Transfer, error) {
		return h.s.CancelTransfer(ctx, tx, t.ID)
	})
}

type shipStockTransferInput struct {
	api.ItemPath
	Body ShipTransferInput
}

func (h handlers) ship(ctx context.Context, in *shipStockTransferInput) (*api.Body[Transfer], error) {
	return h.step(ctx, in.ItemPath, in.Body, "shipped", sender, func(tx pgx.Tx, t Transfer, actor string) (Transfer, error) {
		return h.s.ShipTransfer(ctx, tx, t.ID, in.Body, actor)
	})
}

type receiveStockTransferInput struct {
	api.ItemPath
	Body ReceiveTransferInput
}

func (h handlers) receive(ctx context.Context, in *receiveStockTransferInput) (*api.Body[Transfer], error) {
	return h.step(ctx, in.ItemPath, in.Body, "received", receiver, func(tx pgx.Tx, t Transfer, actor string) (Transfer, error) {
		return h.s.ReceiveTransfer(ctx, tx, t.ID, in.Body, actor)
	})
}
