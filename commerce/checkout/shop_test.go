package checkout_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/cart"
	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/points"
)

var noon = time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC)

// shop is everything that checkout touches, on a database of the test's own.
type shop struct {
	*checkout.Service
	pool     *pg.Pool
	wrapped  *tapped
	clock    *clock.Virtual
	orders   *order.Service
	coupons  *coupon.Service
	points   *points.Service
	payments *payment.Service
	carts    *cart.Service
	graph    *identity.Service
	ledger   *ledger.Ledger
	stock    *inventory.Service
}

const (
	cakeStand = "22423"
	bag       = "85099B"
)

func openShop(t testing.TB) *shop {
	t.Helper()
	ctx := t.Context()
	pool := pgtest.DB(t)
	db := &tapped{Pool: pool}
	clk := clock.NewVirtual(noon)
	discard := slog.New(slog.DiscardHandler)
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	log := activity.NewLog(pool, clk, discard)
	bus := events.New(db, clk, jobs.New(pool, discard))
	graph := identity.New(pool, clk, ring, log, bus)
	secrets := member.NewSecrets(ring, nil)
	l := ledger.New()
	s := &shop{
		pool: pool, wrapped: db, clock: clk, graph: graph, ledger: l,
		orders: order.New(db, clk, log, bus, secrets), coupons: coupon.New(db, clk, l, log, rand.Reader), points: points.New(db, clk, l, log),
		payments: payment.NewService(db, clk, discard, nil, l), carts: cart.New(db, clk, log), stock: inventory.New(pool, clk, bus, nil),
	}
	matrix, err := org.NewMatrix(db, clk)
	require.NoError(t, err)
	s.Service = checkout.New(db, clk, checkout.Modules{
		Orders: s.orders, Carts: s.carts, Coupons: s.coupons, Points: s.points, Payments: s.payments, Ledger: l, Log: log, Bus: bus,
		Graph: graph, Secrets: secrets, Ring: ring, Stock: s.stock, Touchpoints: matrix,
	})
	retail := func(n money.Fen) *money.Fen { return &n }
	require.NoError(t, pg.InTx(ctx, pool, func(tx pgx.Tx) error {
		err := product.Put(ctx, tx, []product.SKU{
			{SKU: cakeStand, SPU: "CAKE", Name: "三层蛋糕架", Category: "餐具", RetailPrice: retail(29_900), Status: product.StatusActive},
			{SKU: bag, SPU: "BAG", Name: "红色波点购物袋", Category: "包袋", RetailPrice: retail(4_900), Status: product.StatusActive},
			{SKU: "old", SPU: "OLD", Name: "旧款", RetailPrice: retail(100), Status: product.StatusArchived},
		}, noon)
		if err != nil {
			return err
		}
		if _, err := org.Ensure(ctx, tx, []string{"S1"}, org.KindStore, noon); err != nil {
			return err
		}
		if _, err := s.points.CreateProgramme(ctx, tx, points.Programme{Code: "points", Name: "积分", ValuePoints: 1, ValueFen: 1, EarnFen: 100}); err != nil {
			return err
		}
		until := noon.Add(365 * 24 * time.Hour)
		_, err = s.coupons.CreateTemplate(ctx, tx, coupon.Template{
			Code: "full-300-less-40", Name: "满300减40", Kind: coupon.KindAmountOff, AmountFen: 4_000, ThresholdFen: 30_000, ValidTo: &until,
			Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 6_000}, {Bearer: "performer", Bp: 4_000}}, Status: coupon.StatusActive,
		})
		return err
	}))
	_, err = s.PutTerms(ctx, pool, checkout.SellingTerms{
		Touchpoint: member.TouchpointMiniProgram, SellerUnit: "HQ", SellerEntity: "hq", Collector: "hq", Location: "W1", Programme: "points",
		Merchant: "main", FreightFen: 1_000, PayMinutes: 30,
	})
	require.NoError(t, err)
	s.fill(t, cakeStand, 50)
	s.fill(t, bag, 50)
	return s
}

// fill makes a level n units.
func (s *shop) fill(t testing.TB, sku string, n int64) {
	t.Helper()
	ctx := t.Context()
	place := inventory.Place{SKU: sku, Location: "W1", Owner: "hq", Status: inventory.StatusGood}
	require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var have int64
		if err := tx.QueryRow(ctx, `SELECT coalesce(sum(on_hand), 0)::bigint FROM commerce.stock_levels WHERE sku = $1`, sku).Scan(&have); err != nil {
			return err
		}
		by := inventory.Ref{Kind: "receipt", ID: "test"}
		switch unit := money.Fen(100); {
		case n > have:
			_, err := s.stock.Receive(ctx, tx, by, inventory.ReasonReceipt, "test", s.clock.Now(), []inventory.Arrival{{Line: 1, Place: place, Quantity: n - have, UnitCost: &unit}})
			return err
		case n < have:
			return s.stock.Adjust(ctx, tx, by, inventory.ReasonCount, "test", s.clock.Now(), []inventory.Correction{{Line: 1, Place: place, Delta: n - have}})
		}
		return nil
	}))
}

// expire lets the holds of the order run out.
func (s *shop) expire(t testing.TB, orderNo string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), `UPDATE commerce.stock_reservations SET expires_at = $2 WHERE id = $1`, orderNo, s.clock.Now().Add(-time.Second))
	require.NoError(t, err)
	ended, err := s.stock.Expire(t.Context())
	require.NoError(t, err)
	require.Len(t, ended, 1)
}

// member makes a member with points and a coupon.
func (s *shop) member(t testing.TB, phone string, pts int64) (birth member.Birth, code string) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		got, err := s.graph.Observe(ctx, tx, []identity.Observation{{
			Keys: []identity.Key{{NS: identity.NSPhone, Value: phone}}, Kind: identity.KindOrder, Source: "test", At: noon, EventKey: phone, Mode: member.ModeLive,
		}})
		if err != nil {
			return err
		}
		birth = got[0].Birth
		if pts > 0 {
			if _, err := s.points.Grant(ctx, tx, []points.Grant{{Key: id.New(), Birth: birth, Programme: "points", Points: pts, At: noon.Add(-time.Hour)}}); err != nil {
				return err
			}
		}
		issued, err := s.coupons.Issue(ctx, tx, []coupon.Issue{{Key: id.New(), Birth: birth, Template: "full-300-less-40", At: noon.Add(-time.Hour), Source: "test"}})
		if err == nil {
			code = issued[0].Code
		}
		return err
	}))
	return birth, code
}

// common is the order of the settlement study: a cake stand and two bags with coupon and 1,000 points.
func (s *shop) common(birth member.Birth, code, request string) checkout.Place {
	return checkout.Place{
		Basket: checkout.Basket{
			Birth: birth, Touchpoint: member.TouchpointMiniProgram, Items: []checkout.Item{{SKU: cakeStand, Quantity: 1}, {SKU: bag, Quantity: 2}},
			Coupons: []string{code}, Points: 1_000,
		},
		Caller: "test", Request: request, Actor: "test", LeadUnit: "S1", LeadAssociate: "zhou",
		Address: order.Address{Name: "沈若溪", Phone: "13800138000", City: "杭州市", Street: "湖滨路 1 号 2 幢 301"},
	}
}

// paid is what WeChat says when the member has paid the order.
func (s *shop) paid(t testing.TB, orderNo string) payment.Receipt {
	t.Helper()
	all, err := s.payments.OfOrder(t.Context(), s.pool, orderNo)
	require.NoError(t, err)
	require.Len(t, all, 1)
	return payment.Receipt{
		Provider: payment.ProviderWeChat, Account: all[0].Account, OutTradeNo: all[0].OutTradeNo, TransactionID: "4200" + orderNo,
		AmountFen: all[0].AmountFen, PaidAt: s.clock.Now(),
	}
}

// tapped is a pool whose transactions can be watched, and made to fail at the n-th round trip.
type tapped struct {
	*pg.Pool
	tap func(n int) error // called before each round trip of a transaction; nil: not watched
	n   int
}

var (
	errKilled = errors.New("killed at a failpoint")
	errLost   = errors.New("done, but the answer was lost")
)

func (d *tapped) hit() error {
	if d.tap == nil {
		return nil
	}
	d.n++
	return d.tap(d.n)
}

func (d *tapped) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := d.hit(); err != nil {
		return nil, err // without an answer there is no transaction
	}
	tx, err := d.Pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &tappedTx{tx, d}, nil
}

// check is what must hold whatever happened: books agree, nothing is held without an order that waits or is paid, nothing is
// paid without stock, and nothing came in without an order or a refund that is due.
func (s *shop) check(t testing.TB, why string) {
	t.Helper()
	ctx := t.Context()
	for name, sql := range map[string]string{
		"no hold of stock without order": `SELECT count(*) FROM commerce.stock_reservations h WHERE state IN ('held', 'confirmed') AND NOT EXISTS (
			SELECT FROM commerce.orders o WHERE o.order_no = h.id AND o.status NOT IN ('cancelled', 'closed_unpaid'))`,
		"no paid order without stock": `SELECT count(*) FROM commerce.order_lines l JOIN commerce.orders o USING (order_no)
			WHERE o.paid_at IS NOT NULL AND o.status NOT IN ('cancelled') AND l.kind IN ('sale', 'gift') AND l.quantity <> (
			SELECT coalesce(sum(quantity - consumed - released), 0) FROM commerce.stock_reservations h WHERE h.id = l.order_no AND h.line = l.line_no AND h.state = 'confirmed')`,
		"no coupon held without order": `SELECT count(*) FROM commerce.coupons c WHERE state = 'locked' AND NOT EXISTS (
			SELECT FROM commerce.orders o WHERE o.order_no = c.order_no AND o.status = 'placed')`,
		"no coupon used without paid order": `SELECT count(*) FROM commerce.coupons c WHERE state = 'used' AND NOT EXISTS (
			SELECT FROM commerce.orders o WHERE o.order_no = c.order_no AND o.paid_at IS NOT NULL AND o.status <> 'cancelled')`,
		"no points spent without order": `SELECT coalesce(sum(spent), 0) - (SELECT coalesce(sum(points), 0) FROM commerce.orders WHERE status NOT IN ('cancelled', 'closed_unpaid'))
			FROM member.point_lots`,
		"no payment without order": `SELECT count(*) FROM commerce.payments p WHERE NOT EXISTS (SELECT FROM commerce.orders o WHERE o.order_no = p.order_no)`,
		"money has an order or goes back": `SELECT count(*) FROM commerce.payments p JOIN commerce.orders o USING (order_no)
			WHERE p.received_fen > p.refunded_fen AND NOT (o.paid_at IS NOT NULL AND o.status <> 'cancelled')`,
		"a request is an order": `SELECT count(*) FROM commerce.checkouts c WHERE NOT EXISTS (SELECT FROM commerce.orders o WHERE o.order_no = c.order_no)`,
		"paid is logged once": `SELECT count(*) FROM commerce.orders o WHERE (paid_at IS NOT NULL)::int <> (
			SELECT count(*) FROM member.activities a WHERE a.key = 'order_paid' AND a.props->>'order_no' = o.order_no)`,
		"paid is booked once": `SELECT count(*) FROM commerce.orders o WHERE (paid_at IS NOT NULL)::int <> (
			SELECT count(*) FROM core.ledger_transactions t WHERE t.book = 'trade' AND t.kind = 'order.paid' AND t.ref = o.order_no)`,
		"history has no gaps": `SELECT count(*) FROM commerce.orders o WHERE events <> (SELECT count(*) FROM commerce.order_events e WHERE e.order_no = o.order_no)`,
	} {
		var n int64
		require.NoError(t, s.pool.QueryRow(ctx, sql).Scan(&n), name)
		require.Zero(t, n, "%s: %s", why, name)
	}
	stock, err := s.stock.Check(ctx, s.pool)
	require.NoError(t, err)
	require.True(t, stock.OK(), "%s: %+v", why, stock)
	_, err = s.points.Check(ctx, s.pool)
	require.NoError(t, err, why)
	report, err := s.ledger.Verify(ctx, s.pool)
	require.NoError(t, err)
	require.True(t, report.OK(), "%s: %+v", why, report)
}

func (s *shop) reserved(t testing.TB, sku string) (n int64) {
	t.Helper()
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT reserved FROM commerce.stock_levels WHERE sku = $1`, sku).Scan(&n))
	return n
}

func (s *shop) spendable(t testing.TB, birth member.Birth) int64 {
	t.Helper()
	all, err := s.points.Balance(t.Context(), s.pool, []member.Birth{birth}, s.clock.Now(), 0)
	require.NoError(t, err)
	return all[0].Spendable
}

func (s *shop) couponState(t testing.TB, code string) coupon.State {
	t.Helper()
	c, err := s.coupons.Get(t.Context(), s.pool, code)
	require.NoError(t, err)
	return c.State
}

func phone(n int) string { return fmt.Sprintf("138%08d", n) }
