package settlement_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/settlement"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

type house struct {
	t      *testing.T
	db     pg.DB
	clock  *clock.Virtual
	ledger *ledger.Ledger
	s      *settlement.Service
}

func open(t *testing.T, db pg.DB) house {
	t.Helper()
	_, err := db.Exec(t.Context(), `
		INSERT INTO commerce.entities (code, name, created_at, updated_at)
		SELECT e, e, now(), now() FROM unnest(ARRAY['robin', 'linghe', 'hangzhou', 'shanghai']) e`)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `
		INSERT INTO commerce.org_units (code, parent, path, name, kind, entity, created_at, updated_at) VALUES
			('HQ', NULL, ARRAY['HQ'], '总部', 'hq', 'robin', now(), now()),
			('south', 'HQ', ARRAY['HQ', 'south'], '岭南礼和', 'partner', 'linghe', now(), now()),
			('gz01', 'south', ARRAY['HQ', 'south', 'gz01'], '东山口店', 'store', 'linghe', now(), now()),
			('hz01', 'HQ', ARRAY['HQ', 'hz01'], '湖滨路店', 'store', 'hangzhou', now(), now())`)
	require.NoError(t, err)
	h := house{t: t, db: db, clock: clock.NewVirtual(time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)), ledger: ledger.New()}
	h.s = settlement.New(db, h.clock, h.ledger)
	return h
}

func (h house) tx(fn func(tx pgx.Tx) error) error { return pg.InTx(context.Background(), h.db, fn) }

func (h house) record(o settlement.Order) (posted int) {
	h.t.Helper()
	require.NoError(h.t, h.tx(func(tx pgx.Tx) (err error) {
		posted, err = h.s.Record(context.Background(), tx, o, h.clock.Now())
		return err
	}))
	return posted
}

func (h house) sound() {
	h.t.Helper()
	wrong, err := h.s.Check(context.Background(), h.db)
	require.NoError(h.t, err)
	require.Empty(h.t, wrong)
	rep, err := h.ledger.Verify(context.Background(), h.db)
	require.NoError(h.t, err)
	require.True(h.t, rep.OK(), "%+v", rep)
}

var partner = auth.Scope{Org: "south", Stores: []string{"gz01"}}

func TestAStatementFromOrderToPayment(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t))
	o := settlement.Order{Sale: common(shared), Partner: "south"}
	o.Terms.ReturnDays = 7
	require.Positive(t, h.record(o))
	require.Zero(t, h.record(o), "the same state again posts nothing")

	// Nothing is payable before the return window has closed.
	draft := func(month string) (n int) {
		require.NoError(t, h.tx(func(tx pgx.Tx) (err error) { n, err = h.s.Draft(context.Background(), tx, month); return err }))
		return n
	}
	require.Zero(t, draft("2026-03"))
	received := o.PaidAt.Add(48 * time.Hour)
	o.ReceivedAt = &received
	require.Zero(t, h.record(o))
	require.Zero(t, draft("2026-03"), "nor while it is open")
	h.clock.Advance(20 * 24 * time.Hour)
	require.Equal(t, 2, draft("2026-03"), "the franchisee and the store of another entity; never HQ")

	list, err := h.s.Statements(t.Context(), h.db, partner, settlement.StatementQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1, "a partner sees its own")
	st := list[0]
	require.EqualValues(t, 26_845, st.TotalFen)
	require.EqualValues(t, 2, st.Lines)
	lines, err := h.s.Lines(t.Context(), h.db, st, settlement.StatementLine{}, 10)
	require.NoError(t, err)
	require.Len(t, lines, 2)
	require.Contains(t, lines[0].WhyZH+lines[1].WhyZH, "先还货主成本 ¥198.50")
	require.Contains(t, lines[0].WhyEN+lines[1].WhyEN, "40% of the distributable ¥174.89")

	move := func(to settlement.State, version int, note string) (settlement.Statement, error) {
		var out settlement.Statement
		err := h.tx(func(tx pgx.Tx) (err error) {
			out, err = h.s.Move(context.Background(), tx, partner, st.ID, version, to, note)
			return err
		})
		return out, err
	}
	_, err = move(settlement.StateConfirmed, 1, "")
	require.ErrorIs(t, err, settlement.ErrMove, "a draft cannot be confirmed")
	st, err = move(settlement.StateSent, 1, "")
	require.NoError(t, err)
	_, err = move(settlement.StateDisputed, 2, "")
	require.ErrorIs(t, err, settlement.ErrNote)
	_, err = move(settlement.StateConfirmed, 1, "")
	require.ErrorIs(t, err, settlement.ErrStale)
	st, err = move(settlement.StateConfirmed, 2, "")
	require.NoError(t, err)

	// A bag comes back after the statement was confirmed: the difference goes onto the next one.
	h.clock.Advance(40 * 24 * time.Hour)
	o.Sale = returned(o.Sale, f1, org.GoodsToOwner)
	require.Positive(t, h.record(o))
	require.Equal(t, 2, draft("2026-04"))
	list, err = h.s.Statements(t.Context(), h.db, partner, settlement.StatementQuery{Period: "2026-04", Limit: 10})
	require.NoError(t, err)
	require.EqualValues(t, 17_400+6_122-26_845, list[0].TotalFen, "target minus posted")
	again, err := h.s.Statement(t.Context(), h.db, auth.Everything, st.ID)
	require.NoError(t, err)
	require.EqualValues(t, 26_845, again.TotalFen, "a confirmed statement is never edited")
	_, err = h.s.Statement(t.Context(), h.db, auth.Scope{Org: "hz01", Stores: []string{"hz01"}}, st.ID)
	require.ErrorIs(t, err, settlement.ErrNoStatement)
	_, err = h.s.Statement(t.Context(), h.db, auth.Scope{Org: "gz01", Stores: []string{"gz01"}}, st.ID)
	require.ErrorIs(t, err, settlement.ErrNoStatement, "a store does not see what its distributor is owed")

	sums, err := h.s.Performance(t.Context(), h.db, auth.Everything, settlement.PerformanceQuery{From: o.PaidAt.Add(-time.Hour), To: h.clock.Now().Add(time.Hour), Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []settlement.PerformanceSum{
		{Unit: "gz01", Kind: "performance", Fen: 10_019, Orders: 1},
		{Unit: "hz01", Kind: "performance", Fen: 23_378, Orders: 1},
		{Unit: "hz01", Associate: "zhouke", Kind: "commission", Fen: 608, Orders: 1},
	}, sums)
	settled, err := h.s.Order(t.Context(), h.db, partner, "S1")
	require.NoError(t, err)
	for _, l := range settled.Lines {
		require.Equal(t, "gz01", l.Unit, "a partner sees its own lines")
	}
	h.sound()
}

func TestSimulationOfOtherTerms(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t))
	o := settlement.Order{Sale: common(shared), Partner: "south"}
	h.record(o)
	terms := exclusive
	terms.PaymentFeeBp, terms.PointsPerFen = 60, 100
	sim, err := h.s.Simulate(t.Context(), h.db, "south", o.PaidAt, o.PaidAt.Add(time.Hour), terms)
	require.NoError(t, err)
	require.EqualValues(t, 1, sim.Orders)
	require.Contains(t, sim.Parties, settlement.SimulatedParty{Entity: "linghe", BeforeFen: 26_845, AfterFen: 35_434, Better: 1})
	require.Contains(t, sim.Parties, settlement.SimulatedParty{Entity: "hangzhou", BeforeFen: 6_996, AfterFen: 0, Worse: 1})
	terms.Performer = org.RoleService
	sim, err = h.s.Simulate(t.Context(), h.db, "south", o.PaidAt, o.PaidAt.Add(time.Hour), terms)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"settlement.sale": 1}, sim.Reasons)
}

func TestManyReturnsAtOnceSettleOnce(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.DB(t))
	o := settlement.Order{Sale: common(exclusive), Partner: "south"}
	h.record(o)
	after := settlement.Order{Sale: returned(o.Sale, f1, org.GoodsToOwner), Partner: "south"}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			errs[i] = h.tx(func(tx pgx.Tx) error {
				_, err := h.s.Record(context.Background(), tx, after, h.clock.Now())
				return err
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	settled, err := h.s.Order(t.Context(), h.db, auth.Everything, "S1")
	require.NoError(t, err)
	var margin int64
	for _, l := range settled.Lines {
		if l.Kind == settlement.KindMargin {
			margin += int64(l.Fen)
		}
	}
	require.EqualValues(t, 31_035, margin)
	h.sound()
}
