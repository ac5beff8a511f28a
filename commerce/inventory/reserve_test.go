package inventory_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
)

func TestReservationLivesAndEnds(t *testing.T) {
	t.Parallel()
	s := open(t)
	tea, cup := good("tea", "S1", "hq"), good("cup", "S1", "hq")
	s.stock(map[inventory.Place]int64{tea: 10, cup: 3})

	got, err := s.reserve(s.basket(1, want(1, "tea", "S1", 4), want(2, "cup", "S1", 3)))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, []any{"tea", "hq", int64(4), inventory.StateHeld}, []any{got[0].SKU, got[0].Owner, got[0].Quantity, got[0].State})
	require.Equal(t, 1, s.published("commerce.stock.sold_out"))

	// A basket is taken whole or not at all, and the refusal says what is missing.
	_, err = s.reserve(s.basket(2, want(1, "tea", "S1", 7), want(2, "cup", "S1", 1), want(3, "tea", "S2", 1)))
	require.ErrorIs(t, err, inventory.ErrShort)
	require.ElementsMatch(t, inventory.Shortages{
		{SKU: "tea", Location: "S1", Wanted: 7, Available: 6}, {SKU: "cup", Location: "S1", Wanted: 1}, {SKU: "tea", Location: "S2", Wanted: 1},
	}, shortages(err))
	require.ErrorContains(t, err, "7 of tea wanted at S1, 6 available")

	// The same request again is the same reservation; another quantity is a conflict.
	again, err := s.reserve(s.basket(1, want(1, "tea", "S1", 4), want(2, "cup", "S1", 3)))
	require.NoError(t, err)
	require.Equal(t, got, again)
	_, err = s.reserve(s.basket(1, want(1, "tea", "S1", 5)))
	require.ErrorIs(t, err, inventory.ErrKeyReused)
	s.books()

	// Paid, then shipped in two parcels.
	require.NoError(t, s.confirm(order(1)))
	require.NoError(t, s.confirm(order(1)))
	parcel, err := s.ship(order(1), inventory.Part{Line: 1, Quantity: 1})
	require.NoError(t, err)
	require.EqualValues(t, 10, parcel[0].CostFen)
	parcel, err = s.ship(order(1))
	require.NoError(t, err)
	require.Len(t, parcel, 2)
	_, err = s.ship(order(1))
	require.ErrorIs(t, err, inventory.ErrNoReservation)
	onHand, reserved := s.level(tea)
	require.Equal(t, []int64{6, 0}, []int64{onHand, reserved})
	s.books()

	// Released stock is back on sale; releasing twice is fine.
	s.stock(map[inventory.Place]int64{cup: 1})
	require.Equal(t, 1, s.published("commerce.stock.back_in_stock"))
	_, err = s.reserve(s.basket(3, want(1, "cup", "S1", 1)))
	require.NoError(t, err)
	require.NoError(t, s.release(order(3)))
	require.NoError(t, s.release(order(3)))
	require.Equal(t, 2, s.published("commerce.stock.back_in_stock"))
	_, reserved = s.level(cup)
	require.Zero(t, reserved)
	require.ErrorIs(t, s.confirm(order(3)), inventory.ErrNoReservation)
	s.books()
}

func TestHoldsExpireWholeAndPayingDecides(t *testing.T) {
	t.Parallel()
	s := open(t)
	tea := good("tea", "S1", "hq")
	s.stock(map[inventory.Place]int64{tea: 3})
	for i := range 3 {
		_, err := s.reserve(s.basket(i, want(1, "tea", "S1", 1)))
		require.NoError(t, err)
	}
	// Paid in time; paid late but before the sweep; not paid.
	require.NoError(t, s.confirm(order(0)))
	s.clock.Advance(time.Hour)
	require.NoError(t, s.confirm(order(1)))
	refs, err := s.Expire(t.Context())
	require.NoError(t, err)
	require.Equal(t, []inventory.Ref{order(2)}, refs)
	require.Equal(t, 1, s.published("commerce.stock.hold_expired"))

	// Paid after the sweep: the stock is somebody else's, unless it can be had again.
	require.ErrorIs(t, s.confirm(order(2)), inventory.ErrExpired)
	_, err = s.reserve(s.basket(2, want(1, "tea", "S1", 1)))
	require.NoError(t, err)
	require.NoError(t, s.confirm(order(2)))
	_, reserved := s.level(tea)
	require.EqualValues(t, 3, reserved)
	s.books()
}

func TestOwners(t *testing.T) {
	t.Parallel()
	s := open(t)
	a, b := good("tea", "S1", "a"), good("tea", "S1", "b")
	s.stock(map[inventory.Place]int64{a: 2, b: 3})

	// Who names an owner comes first; who does not takes what is left and may be split.
	named := want(1, "tea", "S1", 2)
	named.Owner = "b"
	got, err := s.reserve(s.basket(1, want(2, "tea", "S1", 3), named))
	require.NoError(t, err)
	parts := map[string]int64{}
	for _, r := range got {
		parts[r.Owner+string(rune('0'+r.Line))] = r.Quantity
	}
	require.Equal(t, map[string]int64{"b1": 2, "a2": 2, "b2": 1}, parts)
	_, err = s.reserve(s.basket(2, named))
	require.Equal(t, inventory.Shortages{{SKU: "tea", Location: "S1", Wanted: 2}}, shortages(err))
	s.books()
}
