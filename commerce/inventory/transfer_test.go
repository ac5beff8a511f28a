package inventory_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/money"
)

// chain is HQ with a warehouse and two franchisees of entities of their own.
func chain(t *testing.T) *shop {
	t.Helper()
	s := open(t)
	require.NoError(t, s.tx(func(tx pgx.Tx) error {
		if err := org.PutEntities(t.Context(), tx, []org.Entity{{Code: "hq"}, {Code: "f1"}, {Code: "f2"}}, start); err != nil {
			return err
		}
		return org.PutUnits(t.Context(), tx, []org.Unit{
			{Code: "HQ", Kind: org.KindHQ, Entity: "hq"}, {Code: "W1", Parent: "HQ", Kind: org.KindWarehouse}, {Code: "S0", Parent: "HQ", Kind: org.KindStore},
			{Code: "S1", Parent: "HQ", Kind: org.KindStore, Entity: "f1"}, {Code: "S2", Parent: "HQ", Kind: org.KindStore, Entity: "f2"},
		}, start)
	}))
	return s
}

// send takes a transfer from request to shipping.
func (s *shop) send(in inventory.RequestTransferInput) (tr inventory.Transfer) {
	s.t.Helper()
	ctx := s.t.Context()
	require.NoError(s.t, s.tx(func(tx pgx.Tx) (err error) {
		if tr, err = s.RequestTransfer(ctx, tx, in, "ann"); err != nil {
			return err
		}
		if tr, err = s.ApproveTransfer(ctx, tx, tr.ID, nil, "bob"); err != nil {
			return err
		}
		tr, err = s.ShipTransfer(ctx, tx, tr.ID, inventory.ShipTransferInput{Carrier: "SF"}, "cat")
		return err
	}))
	return tr
}

func TestTransferWithinAnEntityWithADifference(t *testing.T) {
	t.Parallel()
	s := chain(t)
	s.stock(map[inventory.Place]int64{good("tea", "W1", "hq"): 10})
	tr := s.send(inventory.RequestTransferInput{FromLocation: "W1", ToLocation: "S0", Lines: []inventory.RequestTransferLine{{SKU: "tea", Quantity: 6}}})
	s.books() // with six in transit
	found, err := s.Available(t.Context(), s.db, []string{"tea"}, nil, "web")
	require.NoError(t, err)
	require.EqualValues(t, 6, found[0].Arriving)
	require.EqualValues(t, 4, found[1].Available)

	receive := func(in inventory.ReceiveTransferInput) error {
		return s.tx(func(tx pgx.Tx) error { _, err := s.ReceiveTransfer(t.Context(), tx, tr.ID, in, "dan"); return err })
	}
	few := inventory.ReceiveTransferInput{Lines: []inventory.LineQuantity{{Line: 1, Quantity: 5, Damaged: 1}}}
	require.ErrorIs(t, receive(few), inventory.ErrInvalid, "a difference needs a reason")
	few.Difference = "one was broken, one is missing"
	require.NoError(t, receive(few))
	require.ErrorIs(t, receive(few), inventory.ErrTransferState)
	onHand, _ := s.level(good("tea", "S0", "hq"))
	require.EqualValues(t, 4, onHand)
	onHand, _ = s.level(inventory.Place{SKU: "tea", Location: "S0", Owner: "hq", Status: inventory.StatusDamaged})
	require.EqualValues(t, 1, onHand)
	s.books()
}

func TestTransferBetweenEntitiesIsReturnAndSale(t *testing.T) {
	t.Parallel()
	s := chain(t)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "f1"): 3})
	in := inventory.RequestTransferInput{FromLocation: "S1", ToLocation: "S2", Lines: []inventory.RequestTransferLine{{SKU: "tea", Quantity: 2}}}
	err := s.tx(func(tx pgx.Tx) error { _, err := s.RequestTransfer(t.Context(), tx, in, "ann"); return err })
	require.ErrorIs(t, err, inventory.ErrInvalid, "between entities there is a price")
	in.Lines[0].SalePriceFen, in.Lines[0].ReturnPriceFen = 65, 60
	tr := s.send(in)
	require.NoError(t, s.tx(func(tx pgx.Tx) error {
		_, err := s.ReceiveTransfer(t.Context(), tx, tr.ID, inventory.ReceiveTransferInput{}, "dan")
		return err
	}))
	var payload inventory.Transferred
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT payload FROM core.events WHERE name = 'commerce.stock.transferred'`).Scan(&payload))
	require.Equal(t, []inventory.Leg{
		{Kind: "return", From: "f1", To: "hq", AmountFen: 120, CostFen: 20}, {Kind: "sale", From: "hq", To: "f2", AmountFen: 130, CostFen: 120},
	}, payload.Legs)
	var value money.Fen
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT value_fen FROM commerce.stock_costs WHERE owner = 'f2'`).Scan(&value))
	require.EqualValues(t, 130, value)
	s.books()
}

func TestPapersAndCounts(t *testing.T) {
	t.Parallel()
	s := chain(t)
	ctx := t.Context()
	cost := money.Fen(7)
	write := func(kind string, in inventory.WritePaperInput) error {
		return s.tx(func(tx pgx.Tx) error { _, err := s.WritePaper(ctx, tx, kind, in, "ann"); return err })
	}
	line := func(n int64) []inventory.PaperLine { return []inventory.PaperLine{{SKU: "tea", Quantity: n}} }
	require.NoError(t, write("receipt", inventory.WritePaperInput{Location: "W1", Lines: []inventory.PaperLine{{SKU: "tea", Quantity: 10, UnitCostFen: &cost}}}))
	require.ErrorIs(t, write("adjustment", inventory.WritePaperInput{Location: "W1", Lines: line(-1)}), inventory.ErrInvalid, "an adjustment has a reason")
	require.NoError(t, write("adjustment", inventory.WritePaperInput{Location: "W1", Reason: inventory.ReasonDamage, Lines: line(-1)}))
	require.ErrorIs(t, write("adjustment", inventory.WritePaperInput{Location: "W1", Reason: inventory.ReasonTheft, Lines: line(-10)}), inventory.ErrShort)
	require.NoError(t, write("status_change", inventory.WritePaperInput{Location: "W1", Lines: []inventory.PaperLine{{SKU: "tea", Quantity: 2, To: inventory.StatusDamaged}}}))
	s.books()

	// What is promised cannot be taken away.
	_, err := s.reserve(s.basket(1, want(1, "tea", "W1", 6)))
	require.NoError(t, err)
	require.ErrorIs(t, write("adjustment", inventory.WritePaperInput{Location: "W1", Reason: inventory.ReasonScrap, Lines: line(-2)}), inventory.ErrPromised)

	// A blind count: five are on the shelf that should hold seven, one is sold while others are counted, and one SKU was not on the list.
	var c inventory.Count
	step := func(fn func(tx pgx.Tx) error) { t.Helper(); require.NoError(t, s.tx(fn)) }
	step(func(tx pgx.Tx) (err error) {
		c, err = s.OpenCount(ctx, tx, inventory.OpenCountInput{Location: "W1"}, "ann")
		return err
	})
	require.Len(t, c.Lines, 1)
	step(func(tx pgx.Tx) (err error) {
		c, err = s.RecordCount(ctx, tx, c.ID, []inventory.Counted{{SKU: "tea", Quantity: 6}, {SKU: "cup", Quantity: 1}}, "ann")
		return err
	})
	require.Nil(t, c.Lines[1].Expected, "blind")
	_, err = s.ship(order(1), inventory.Part{Line: 1, Quantity: 1})
	require.NoError(t, err)
	require.ErrorIs(t, s.tx(func(tx pgx.Tx) error { _, err := s.MoveCount(ctx, tx, c.ID, "posted", "bob"); return err }), inventory.ErrCountState)
	step(func(tx pgx.Tx) (err error) { c, err = s.MoveCount(ctx, tx, c.ID, "counted", "ann"); return err })
	require.EqualValues(t, 7, *c.Lines[1].Expected)
	step(func(tx pgx.Tx) (err error) { c, err = s.MoveCount(ctx, tx, c.ID, "posted", "bob"); return err })
	onHand, reserved := s.level(good("tea", "W1", "hq"))
	require.Equal(t, []int64{5, 5}, []int64{onHand, reserved})
	onHand, _ = s.level(good("cup", "W1", "hq"))
	require.EqualValues(t, 1, onHand)
	s.books()
}
