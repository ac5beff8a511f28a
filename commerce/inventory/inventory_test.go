package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

var start = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

// shop is a service on a database with a clock that stands still.
type shop struct {
	*inventory.Service
	t     testing.TB
	db    *pg.Pool
	clock *clock.Virtual
}

func open(t testing.TB) *shop {
	t.Helper()
	return openOn(t, pgtest.DB(t))
}

func openOn(t testing.TB, db *pg.Pool) *shop {
	t.Helper()
	clk := clock.NewVirtual(start)
	return &shop{inventory.New(db, clk, events.New(db, clk, jobs.New(nil, slog.New(slog.DiscardHandler))), nil), t, db, clk}
}

func (s *shop) tx(fn func(tx pgx.Tx) error) error { return pg.InTx(s.t.Context(), s.db, fn) }

func good(sku, location, owner string) inventory.Place {
	return inventory.Place{SKU: sku, Location: location, Owner: owner, Status: inventory.StatusGood}
}

// stock puts units of SKUs on the shelf: "sku@location/owner" → quantity, at 10 fen each.
func (s *shop) stock(places map[inventory.Place]int64) {
	s.t.Helper()
	unit := money.Fen(10)
	var goods []inventory.Arrival
	for p, n := range places {
		goods = append(goods, inventory.Arrival{Place: p, Quantity: n, UnitCost: &unit})
	}
	require.NoError(s.t, s.tx(func(tx pgx.Tx) error {
		_, err := s.Receive(s.t.Context(), tx, inventory.Ref{Kind: "receipt", ID: "r"}, inventory.ReasonReceipt, "test", s.clock.Now(), goods)
		return err
	}))
}

func order(n any) inventory.Ref { return inventory.Ref{Kind: "order", ID: fmt.Sprint(n)} }

func (s *shop) basket(n any, lines ...inventory.Want) inventory.Basket {
	return inventory.Basket{Ref: order(n), Touchpoint: "web", ExpiresAt: s.clock.Now().Add(15 * time.Minute), Lines: lines}
}

func want(line int, sku, location string, quantity int64) inventory.Want {
	return inventory.Want{Line: line, SKU: sku, Location: location, Quantity: quantity}
}

func (s *shop) reserve(b inventory.Basket) (out []inventory.Reservation, err error) {
	err = s.tx(func(tx pgx.Tx) error {
		out, err = s.Reserve(s.t.Context(), tx, b)
		return err
	})
	return out, err
}

func (s *shop) confirm(ref inventory.Ref) error {
	return s.tx(func(tx pgx.Tx) error { return s.Confirm(s.t.Context(), tx, ref) })
}

func (s *shop) release(ref inventory.Ref, parts ...inventory.Part) error {
	return s.tx(func(tx pgx.Tx) error { return s.Release(s.t.Context(), tx, ref, parts...) })
}

func (s *shop) ship(ref inventory.Ref, parts ...inventory.Part) (out []inventory.Issue, err error) {
	err = s.tx(func(tx pgx.Tx) error {
		out, err = s.Consume(s.t.Context(), tx, ref, parts...)
		return err
	})
	return out, err
}

// level returns on hand and reserved.
func (s *shop) level(p inventory.Place) (onHand, reserved int64) {
	s.t.Helper()
	err := s.db.QueryRow(s.t.Context(), `SELECT on_hand, reserved FROM commerce.stock_levels WHERE sku = $1 AND location = $2 AND owner = $3 AND status = $4`,
		p.SKU, p.Location, p.Owner, p.Status).Scan(&onHand, &reserved)
	if !errors.Is(err, pgx.ErrNoRows) {
		require.NoError(s.t, err)
	}
	return onHand, reserved
}

// books requires that the books agree.
func (s *shop) books() {
	s.t.Helper()
	r, err := s.Check(context.Background(), s.db)
	require.NoError(s.t, err)
	require.True(s.t, r.OK(), "%+v", r)
}

func shortages(err error) inventory.Shortages {
	var out inventory.Shortages
	errors.As(err, &out)
	return out
}

func (s *shop) published(name string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM core.events WHERE name = $1`, name).Scan(&n))
	return n
}
