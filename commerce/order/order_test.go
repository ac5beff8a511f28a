package order_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

var noon = time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC)

type orderBench struct {
	db    pgx.Tx
	s     *order.Service
	birth member.Birth
}

func open(t *testing.T) orderBench {
	t.Helper()
	db := pgtest.Tx(t)
	clk := clock.NewVirtual(noon)
	discard := slog.New(slog.DiscardHandler)
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	log := activity.NewLog(db, clk, discard)
	bus := events.New(db, clk, jobs.New(nil, discard))
	graph := identity.New(db, clk, ring, log, bus)
	b := orderBench{db: db, s: order.New(db, clk, log, bus, member.NewSecrets(ring, nil))}
	got, err := graph.Observe(t.Context(), db, []identity.Observation{{
		Keys: []identity.Key{{NS: identity.NSPhone, Value: "13800138000"}}, Kind: identity.KindOrder, Source: "test", At: noon, EventKey: "1", Mode: member.ModeLive,
	}})
	require.NoError(t, err)
	b.birth = got[0].Birth
	return b
}

// sample is the common order of the study, two bags and a cake stand with coupon, points and freight.
func (b orderBench) sample(t *testing.T, no string) order.Order {
	t.Helper()
	payBy := noon.Add(30 * time.Minute)
	o := order.Order{
		OrderNo: no, Touchpoint: member.TouchpointMiniProgram, Store: "S1", LeadUnit: "S2", Birth: b.birth, Status: order.StatusPlaced,
		Source: "test", PlacedAt: noon, PayBy: &payBy, Receiver: order.Address{Name: "沈若溪", Phone: "13800138000", City: "杭州", Street: "湖滨路 1 号 2 幢"}.Masked(),
		Lines: []order.Line{
			{LineNo: 1, Kind: order.LineSale, SKU: "22423", Category: "餐具", UnitPriceFen: 29_900, Quantity: 1},
			{LineNo: 2, Kind: order.LineSale, SKU: "85099B", UnitPriceFen: 4_900, Quantity: 2},
			{LineNo: 3, Kind: order.LineFreight, SKU: "freight", UnitPriceFen: 1_000, Quantity: 1},
		},
	}
	require.NoError(t, o.Allocate([]order.Reduction{{
		Kind: "coupon", Source: "c", Amount: 4_000, Bearers: []order.Share{{Bearer: "hq", Bp: 6_000}, {Bearer: "performer", Bp: 4_000}},
	}}, 1_000, 1_000))
	o.Tenders = []order.Tender{
		{TenderNo: 1, Kind: order.TenderPoints, Collector: "hq", Account: "points", AmountFen: 1_000, Points: 1_000, State: order.TenderHeld},
		{TenderNo: 2, Kind: order.TenderWeChat, Collector: "hq", AmountFen: 35_700, State: order.TenderPlanned},
	}
	return o
}

func TestOrderFromPlacedToCompleted(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx := t.Context()
	want := b.sample(t, "N1")
	require.NoError(t, b.s.Create(ctx, b.db, want, "test"))
	got, err := b.s.Get(ctx, b.db, "N1")
	require.NoError(t, err)
	require.Equal(t, want.Lines, got.Lines)
	require.Equal(t, want.Tenders, got.Tenders)
	require.Equal(t, "138****8000", got.Receiver.Phone)

	_, err = b.s.Advance(ctx, b.db, []order.Progress{{LineNo: 1, Allocated: 1}}, order.Change{OrderNo: "N1", Kind: "sourced", Actor: "test"})
	require.ErrorIs(t, err, order.ErrTransition, "nobody sends what is not paid")
	terms := json.RawMessage(`{"contract": "c1"}`)
	got, err = b.s.Lock(ctx, b.db, "N1")
	require.NoError(t, err)
	require.NoError(t, b.s.Pay(ctx, b.db, got, order.Payment{Terms: terms, Reference: "wx1", Actor: "test", At: noon}))
	require.ErrorIs(t, b.s.Pay(ctx, b.db, got, order.Payment{Terms: terms, Actor: "test", At: noon}), order.ErrTransition)

	steps := []struct {
		steps []order.Progress
		want  order.Status
	}{
		{[]order.Progress{{LineNo: 1, Allocated: 1}}, order.StatusSourcing},
		{[]order.Progress{{LineNo: 2, Allocated: 2}}, order.StatusAllocated},
		{[]order.Progress{{LineNo: 2, Allocated: -1}}, order.StatusSourcing},
		{[]order.Progress{{LineNo: 1, Shipped: 1}}, order.StatusPartiallyShipped},
		{[]order.Progress{{LineNo: 2, Shipped: 1, Cancelled: 1}}, order.StatusShipped},
		{[]order.Progress{{LineNo: 1, Delivered: 1}}, order.StatusShipped},
		{[]order.Progress{{LineNo: 2, Refused: 1}}, order.StatusDelivered},
		{[]order.Progress{{LineNo: 2, Returned: 1}}, order.StatusDelivered},
	}
	for i, step := range steps {
		o, err := b.s.Advance(ctx, b.db, step.steps, order.Change{OrderNo: "N1", Kind: "moved", Actor: "test", At: noon.Add(time.Duration(i+1) * time.Hour)})
		require.NoError(t, err, i)
		require.Equal(t, step.want, o.Status, i)
	}
	for name, bad := range map[string]order.Progress{
		"ship more than allocated":    {LineNo: 1, Shipped: 1},
		"return more than delivered":  {LineNo: 2, Returned: 1},
		"cancel what is sent":         {LineNo: 1, Cancelled: 1},
		"deliver more than shipped":   {LineNo: 1, Delivered: 1},
		"take back what is delivered": {LineNo: 1, Shipped: -1},
	} {
		_, err := b.s.Advance(ctx, b.db, []order.Progress{bad}, order.Change{OrderNo: "N1", Kind: "moved", Actor: "test", At: noon})
		require.ErrorIs(t, err, order.ErrCounters, name)
	}
	require.NoError(t, b.s.MarkUnits(ctx, b.db, "N1", []order.UnitRef{{LineNo: 2, UnitNo: 1}}, order.UnitReturned))
	require.ErrorIs(t, b.s.MarkUnits(ctx, b.db, "N1", []order.UnitRef{{LineNo: 1, UnitNo: 1}, {LineNo: 2, UnitNo: 1}}, order.UnitReturned), order.ErrUnits)
	require.NoError(t, b.s.RefundTenders(ctx, b.db, "N1", []order.TenderRefund{{TenderNo: 2, Fen: 4_284}, {TenderNo: 1, Fen: 123, Points: 123}}, noon))
	require.ErrorIs(t, b.s.RefundTenders(ctx, b.db, "N1", []order.TenderRefund{{TenderNo: 2, Fen: 35_000}}, noon), order.ErrTenders)
	require.NoError(t, b.s.Transition(ctx, b.db, order.Change{OrderNo: "N1", From: order.StatusDelivered, To: order.StatusCompleted, Kind: "completed", Actor: "test", At: noon}))

	got, err = b.s.Get(ctx, b.db, "N1")
	require.NoError(t, err)
	require.Equal(t, order.StatusCompleted, got.Status)
	require.EqualValues(t, 4_284, got.RefundedFen)
	require.JSONEq(t, string(terms), string(got.Terms))
	require.Equal(t, order.UnitReturned, got.Line(2).Units[0].State)
	require.Equal(t, order.UnitOpen, got.Line(2).Units[1].State)
	require.Equal(t, order.TenderCaptured, got.Tenders[0].State)
	require.Equal(t, "wx1", got.Tenders[1].Reference)
	history, err := b.s.Events(ctx, b.db, "N1")
	require.NoError(t, err)
	require.Len(t, history, got.Events)
	for i, e := range history {
		require.Equal(t, i+1, e.Seq)
	}
	var logged []string
	rows, err := b.db.Query(ctx, `SELECT key || ' ' || coalesce(props->>'amount_fen', '') FROM member.activities WHERE birth = $1 AND source = 'commerce.order' ORDER BY 1`, int64(b.birth))
	require.NoError(t, err)
	logged, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"order_paid 36700", "order_received ", "order_shipped ", "product_purchased 26887", "product_purchased 8813"}, logged)
	var published int
	require.NoError(t, b.db.QueryRow(ctx, `SELECT count(*) FROM core.events WHERE name IN ('commerce.order.paid', 'commerce.order.moved')`).Scan(&published))
	require.Equal(t, 7, published)
}

func TestOrderRefuses(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx := t.Context()
	o := b.sample(t, "N2")
	o.Tenders[1].AmountFen--
	require.ErrorIs(t, b.s.Create(ctx, b.db, o, "test"), order.ErrUnbalanced)
	require.NoError(t, b.s.Create(ctx, b.db, b.sample(t, "N2"), "test"))
	err := pg.InTx(ctx, b.db, func(tx pgx.Tx) error { return b.s.Create(ctx, tx, b.sample(t, "N2"), "test") })
	require.ErrorIs(t, err, order.ErrExists)
	_, err = b.s.Get(ctx, b.db, "N0")
	require.ErrorIs(t, err, order.ErrNotFound)
	require.ErrorIs(t, b.s.Transition(ctx, b.db, order.Change{OrderNo: "N2", From: order.StatusPaid, To: order.StatusSourcing, Kind: "x", Actor: "t", At: noon}), order.ErrTransition)
	require.ErrorIs(t, b.s.Transition(ctx, b.db, order.Change{OrderNo: "N2", From: order.StatusPlaced, To: order.StatusShipped, Kind: "x", Actor: "t", At: noon}), order.ErrTransition)
	for _, sql := range []string{`UPDATE commerce.order_events SET kind = 'x'`, `DELETE FROM commerce.order_events`} {
		err := pg.InTx(ctx, b.db, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
		require.Equal(t, "order_events_append_only", pg.Constraint(err))
	}
	for sql, want := range map[string]string{
		`UPDATE commerce.order_units SET cash_fen = cash_fen + 1`:       "order_units_amounts",
		`UPDATE commerce.order_lines SET discount_fen = 0`:              "order_lines_amounts",
		`UPDATE commerce.orders SET status = 'paid'`:                    "orders_paid_at",
		`UPDATE commerce.orders SET points_fen = 0`:                     "orders_amounts",
		`UPDATE commerce.order_tenders SET refunded_fen = 1000000`:      "order_tenders_amounts",
		`UPDATE commerce.order_lines SET delivered = 1 WHERE line_no=1`: "order_lines_counters",
	} {
		err := pg.InTx(ctx, b.db, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
		require.Equal(t, want, pg.Constraint(err), sql)
	}
}

func TestFindKeepsToTheScope(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx := t.Context()
	for _, no := range []string{"F1", "F2", "F3"} {
		o := b.sample(t, no)
		if no == "F3" {
			o.Store, o.LeadUnit = "S3", "S3"
		}
		require.NoError(t, b.s.Create(ctx, b.db, o, "test"))
	}
	numbers := func(scope auth.Scope, f order.Filter) (out []string) {
		f.Limit, f.Births = 10, []member.Birth{b.birth}
		all, err := b.s.Find(ctx, b.db, scope, f)
		require.NoError(t, err)
		for _, o := range all {
			out = append(out, o.OrderNo)
		}
		return out
	}
	require.Equal(t, []string{"F3", "F2", "F1"}, numbers(auth.Everything, order.Filter{}))
	require.Empty(t, numbers(auth.Scope{}, order.Filter{}))
	require.Equal(t, []string{"F2", "F1"}, numbers(auth.Scope{Stores: []string{"S1"}}, order.Filter{}))
	require.Equal(t, []string{"F2", "F1"}, numbers(auth.Scope{Stores: []string{"S2"}}, order.Filter{}), "who led the sale sees it")
	require.Equal(t, []string{"F2", "F1"}, numbers(auth.Everything, order.Filter{Cursor: "1794369600000000.F3"}))
	require.Equal(t, []string{"F3"}, numbers(auth.Everything, order.Filter{Number: "F3", SKU: "22423", Status: order.StatusPlaced, Store: "S3"}))
	require.Empty(t, numbers(auth.Everything, order.Filter{SKU: "other"}))
	_, err := b.s.Within(ctx, b.db, auth.Scope{Stores: []string{"S1"}}, "F3")
	require.ErrorIs(t, err, order.ErrNotFound)
	_, err = b.s.Within(ctx, b.db, auth.Scope{Stores: []string{"S1"}}, "F1")
	require.NoError(t, err)
}

// Having led a sale shows the order and lets nobody change it.
func TestLeadingGrantsReadingOnly(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx := t.Context()
	o := b.sample(t, "L1")
	o.SellerUnit = "P1"
	require.NoError(t, b.s.Create(ctx, b.db, o, "test"))
	for unit, want := range map[string]error{"S1": nil, "P1": nil, "S2": auth.ErrForbidden, "S3": order.ErrNotFound} {
		_, err := b.s.Managed(ctx, b.db, auth.Scope{Stores: []string{unit}}, "L1")
		require.ErrorIs(t, err, want, unit)
	}
	_, err := b.s.Within(ctx, b.db, auth.Scope{Stores: []string{"S2"}}, "L1")
	require.NoError(t, err)
	_, err = b.s.Managed(ctx, b.db, auth.Everything, "L1")
	require.NoError(t, err)
}

func TestContractAndCostAreForThoseConcerned(t *testing.T) {
	t.Parallel()
	cost := money.Fen(1_000)
	o := order.Order{SellerUnit: "P1", Store: "S1", LeadUnit: "S2", Terms: []byte(`{"contract":{}}`), Lines: []order.Line{{SKU: "bag", CostPriceFen: &cost}}}
	all, own := auth.Scope{All: true}, auth.Scope{Stores: []string{"P1", "S1"}}
	for name, c := range map[string]struct {
		role  auth.Role
		scope auth.Scope
		sees  bool
	}{
		"finance":                    {auth.RoleFinance, all, true},
		"admin":                      {auth.RoleAdmin, all, true},
		"finance of a part":          {auth.RoleFinance, own, false},
		"the partner who sells":      {auth.RolePartner, own, true},
		"a partner below":            {auth.RolePartner, auth.Scope{Stores: []string{"S1"}}, false},
		"the store":                  {auth.RoleManager, own, false},
		"a shop front of everything": {auth.RoleShop, all, false},
		"merchandisers":              {auth.RoleMerchandiser, all, false},
	} {
		got := o.For(auth.Actor{Roles: []auth.Role{c.role}, Scope: c.scope})
		require.Equal(t, c.sees, got.Terms != nil, name)
		require.Equal(t, c.sees, got.Lines[0].CostPriceFen != nil, name)
	}
	require.NotNil(t, o.Lines[0].CostPriceFen, "the order itself stays as it is")
}

func TestSplitAndMerge(t *testing.T) {
	t.Parallel()
	b := open(t)
	o := b.sample(t, "P")
	parts := order.Split(o, func(l order.Line, u order.Unit) string {
		if l.LineNo == 2 && u.UnitNo == 2 {
			return "S2"
		}
		return "S1"
	})
	require.Len(t, parts, 2)
	require.EqualValues(t, 4_284, parts[0].Lines[1].CashFen)
	require.EqualValues(t, 1, parts[0].Lines[1].Quantity)
	require.EqualValues(t, 4_282, parts[1].Lines[0].CashFen)
	require.Equal(t, o.Lines, order.Merge(parts...).Lines)
	a, c := b.sample(t, "A"), b.sample(t, "C")
	require.False(t, order.Together(a, c), "unpaid")
	a.Status, c.Status = order.StatusPaid, order.StatusSourcing
	require.True(t, order.Together(a, c))
	c.Receiver.Street = "else"
	require.False(t, order.Together(a, c))
}
