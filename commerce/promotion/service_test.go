package promotion

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
)

type history []Past

func (h history) Past(context.Context, pg.DB, time.Time, time.Time, int) ([]Past, error) {
	return h, nil
}

func draft(code string) Rule {
	return Rule{Promotion: code, Name: code, Kind: KindThreshold, Bearers: hq, Benefit: Benefit{Tiers: []Tier{{MinAmount: 10000, Amount: 1000}}}}
}

type house struct {
	t  testing.TB
	db pg.DB
	s  *Service
}

func open(t testing.TB, db pg.DB, members int) house {
	_, err := db.Exec(t.Context(), `
		INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
		SELECT i, i, i, 'source', true, now() FROM generate_series(1, $1) i`, members)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `INSERT INTO member.members (id, is_member, updated_at) SELECT i, true, now() FROM generate_series(1, $1) i`, members)
	require.NoError(t, err)
	return house{t, db, New(db, clock.NewVirtual(noon), nil)}
}

func (h house) tx(fn func(tx pgx.Tx) error) error { return pg.InTx(context.Background(), h.db, fn) }

func (h house) publish(r Rule) {
	h.t.Helper()
	require.NoError(h.t, h.tx(func(tx pgx.Tx) error {
		p, err := h.s.Get(h.t.Context(), tx, r.Promotion)
		if errors.Is(err, ErrNotFound) {
			_, err = h.s.Create(h.t.Context(), tx, "ann", r)
		} else if err == nil {
			_, err = h.s.Update(h.t.Context(), tx, r, p.Revision)
		}
		if err != nil {
			return err
		}
		if _, err = h.s.Approve(h.t.Context(), tx, "bob", r.Promotion); err != nil {
			return err
		}
		_, err = h.s.Publish(h.t.Context(), tx, "bob", r.Promotion)
		return err
	}))
}

func (h house) claim(order string, birth member.Birth, uses ...Use) error {
	return h.tx(func(tx pgx.Tx) error {
		return h.s.Claim(context.Background(), tx, Claim{OrderNo: order, Birth: birth, At: noon, Uses: uses})
	})
}

func (h house) release(order string) {
	require.NoError(h.t, h.tx(func(tx pgx.Tx) error { return h.s.Release(context.Background(), tx, order, noon) }))
}

func (h house) check() {
	h.t.Helper()
	wrong, err := h.s.Check(context.Background(), h.db)
	require.NoError(h.t, err)
	require.Empty(h.t, wrong)
}

func TestLife(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t), 1)
	ctx := t.Context()
	tx := h.db.(pgx.Tx)
	_, err := h.s.Create(ctx, tx, "ann", draft("full"))
	require.NoError(t, err)
	_, err = h.s.Create(ctx, tx, "ann", draft("full"))
	require.ErrorIs(t, err, ErrExists)
	_, err = h.s.Publish(ctx, tx, "ann", "full")
	require.ErrorIs(t, err, ErrState)
	require.ErrorContains(t, err, "is draft and cannot become published")
	_, err = h.s.Stop(ctx, tx, "ann", "full")
	require.ErrorIs(t, err, ErrState)
	_, err = h.s.Approve(ctx, tx, "ann", "nothing")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = h.s.Approve(ctx, tx, "bob", "full")
	require.NoError(t, err)
	p, err := h.s.Publish(ctx, tx, "bob", "full")
	require.NoError(t, err)
	require.Equal(t, 1, *p.LiveVersion)
	payable := func() money.Fen {
		live, err := h.s.Live(ctx, tx, nil, noon)
		require.NoError(t, err)
		return Evaluate(live.Rules, tea([2]int64{10000, 1})).Totals.Payable
	}
	require.EqualValues(t, 9000, payable())

	// Editing leaves the live version alone.
	next := draft("full")
	next.Benefit.Tiers[0].Amount = 2000
	_, err = h.s.Update(ctx, tx, next, p.Revision-1)
	require.ErrorIs(t, err, ErrStale)
	p, err = h.s.Update(ctx, tx, next, p.Revision)
	require.NoError(t, err)
	require.Equal(t, StatusDraft, p.Status)
	require.EqualValues(t, 9000, payable())
	h.publish(next)
	require.EqualValues(t, 8000, payable())
	versions, err := h.s.Versions(ctx, tx, "full")
	require.NoError(t, err)
	require.Len(t, versions, 2)
	require.NotNil(t, versions[1].StoppedAt)
	require.EqualValues(t, 1000, versions[1].Spec.Benefit.Tiers[0].Amount)
	p, err = h.s.Stop(ctx, tx, "ann", "full")
	require.NoError(t, err)
	require.Nil(t, p.LiveVersion)
	require.EqualValues(t, 10000, payable())

	// A promotion whose group does not exist is not published; groups that live promotions need stay.
	lost := draft("lost")
	lost.Group = "season"
	_, err = h.s.Create(ctx, tx, "ann", lost)
	require.NoError(t, err)
	_, err = h.s.Approve(ctx, tx, "ann", "lost")
	require.NoError(t, err)
	err = pg.InTx(ctx, tx, func(tx pgx.Tx) error { _, err := h.s.Publish(ctx, tx, "ann", "lost"); return err })
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "promotions.lost.group")
	st, err := h.s.Stacking(ctx, tx)
	require.NoError(t, err)
	st.Groups = []Group{{Code: "season", Name: "季节", Mode: ModeBest, Scope: ScopeOrder}}
	st, err = h.s.SetStacking(ctx, tx, st)
	require.NoError(t, err)
	_, err = h.s.Publish(ctx, tx, "ann", "lost")
	require.NoError(t, err)
	_, err = h.s.SetStacking(ctx, tx, st)
	require.ErrorIs(t, err, ErrStale)
	all, err := h.s.Find(ctx, tx, StatusPublished, "", 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// 60 orders of 12 members want promotions of which there are fewer, with two promotions named in either order; some are
// cancelled. What is counted is what is held, never above a limit.
func TestClaimsNeverPassALimit(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.DB(t), 12)
	a, b, c := draft("a"), draft("b"), draft("c")
	a.Limits = Limits{Total: 20, PerMember: 2}
	b.Limits = Limits{BudgetFen: 15_500, PerDay: 100}
	h.publish(a)
	h.publish(b)
	h.publish(c)
	var granted, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 5))
			order := fmt.Sprintf("o%d", i)
			uses := []Use{{"a", 1, 1000}, {"b", 1, 1000}, {"c", 1, 1000}}
			r.Shuffle(3, func(i, j int) { uses[i], uses[j] = uses[j], uses[i] })
			err := h.claim(order, member.Birth(1+i%12), uses...)
			switch {
			case err == nil:
				granted.Add(1)
				if r.IntN(3) == 0 {
					h.release(order)
					granted.Add(-1)
				}
			case errors.Is(err, ErrExhausted):
				refused.Add(1)
			default:
				t.Errorf("claim: %v", err)
			}
		})
	}
	wg.Wait()
	h.check()
	require.LessOrEqual(t, granted.Load(), int64(15))
	require.Positive(t, refused.Load())
	// What is left is given out to the last one, and then no more.
	for i := range 40 {
		err := h.claim(fmt.Sprintf("p%d", i), member.Birth(1+i%12), Use{"b", 1, 1000})
		if err == nil {
			granted.Add(1)
		}
	}
	require.EqualValues(t, 15, granted.Load())
	h.check()
	live, err := h.s.Live(t.Context(), h.db, nil, noon)
	require.NoError(t, err)
	require.False(t, live.Exhausted["b"], "500 of the budget are left")
}

func TestClaimIsIdempotent(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.DB(t), 4)
	r := draft("a")
	r.Limits = Limits{Total: 3, PerMember: 1, PerDay: 2}
	h.publish(r)
	use := Use{"a", 1, 1000}
	require.NoError(t, h.claim("o1", 1, use))
	require.NoError(t, h.claim("o1", 1, use))
	require.ErrorIs(t, h.claim("o1", 1, Use{"a", 1, 999}), ErrClaimed)
	require.ErrorIs(t, h.claim("o2", 1, use), ErrExhausted, "once for each member")
	live, err := h.s.Live(t.Context(), h.db, []member.Birth{1}, noon)
	require.NoError(t, err)
	require.True(t, live.Exhausted["a"])
	require.NoError(t, h.claim("o2", 2, use))
	require.ErrorIs(t, h.claim("o3", 3, use), ErrExhausted, "twice a day")
	live, err = h.s.Live(t.Context(), h.db, []member.Birth{3}, noon)
	require.NoError(t, err)
	require.True(t, live.Exhausted["a"])
	h.check()
	h.release("o1")
	h.release("o1")
	h.check()
	require.NoError(t, h.claim("o1", 1, use), "an order may claim again what it released")
	h.check()

	// Another version is another promotion for whoever quoted the first one; higher limits let more in at once.
	r.Limits.PerDay = 5
	h.publish(r)
	require.ErrorIs(t, h.claim("o3", 3, use), ErrNotLive)
	live, err = h.s.Live(t.Context(), h.db, []member.Birth{3}, noon)
	require.NoError(t, err)
	require.False(t, live.Exhausted["a"])
	require.NoError(t, h.claim("o3", 3, Use{"a", 2, 1000}))
	require.NoError(t, h.tx(func(tx pgx.Tx) error { _, err := h.s.Stop(t.Context(), tx, "ann", "a"); return err }))
	require.ErrorIs(t, h.claim("o4", 4, Use{"a", 2, 1000}), ErrNotLive)
	h.check()
}

// A limit per member counts over all births of the member.
func TestMemberLimitCountsOverBirths(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t), 2)
	r := draft("a")
	r.Limits = Limits{PerMember: 1}
	h.publish(r)
	require.NoError(t, h.claim("o1", 2, Use{"a", 1, 1000}))
	_, err := h.db.Exec(t.Context(), `UPDATE member.births SET root = 1, raw_root = 1 WHERE birth = 2`)
	require.NoError(t, err)
	require.ErrorIs(t, h.claim("o2", 1, Use{"a", 1, 1000}), ErrExhausted)
}

func TestForecast(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t), 1)
	var past history
	for i := range 400 {
		past = append(past, Past{OrderNo: fmt.Sprint(i), Cart: tea([2]int64{int64(5000 + 50*i), 1}), Paid: money.Fen(5000 + 50*i)})
	}
	h.s.history = past
	live := draft("live")
	live.Benefit.Tiers[0] = Tier{MinAmount: 20000, Amount: 500}
	h.publish(live)
	in := ForecastInput{Draft: draft("new"), From: noon.Add(-time.Hour), To: noon}
	f, err := h.s.Forecast(t.Context(), h.db, in)
	require.NoError(t, err)
	require.Equal(t, 400, f.Orders)
	require.EqualValues(t, f.ListFen, f.PaidFen)
	require.EqualValues(t, 100*500, f.ListFen-f.BaselineFen) // from 20,000 on
	require.Equal(t, 300, f.Affected)                        // from 10,000 on
	require.Equal(t, 300, f.Applied)
	require.EqualValues(t, 300*1000, f.Extra.Value)
	require.Equal(t, f.BaselineFen-f.ForecastFen, f.Extra.Value)
	require.Less(t, f.Extra.Low, f.Extra.Value)
	require.Greater(t, f.Extra.High, f.Extra.Value)
	require.InDelta(t, 300, f.AffectedLow, 40)
	require.Equal(t, 40, f.NearMisses) // 8,000 to 9,950
	require.Equal(t, []Borne{{"hq", 180_000}, {"performer", 120_000}}, f.Bearers)
	require.Positive(t, f.BreakEvenBp)
	again, err := h.s.Forecast(t.Context(), h.db, in)
	require.NoError(t, err)
	require.Equal(t, f, again)

	// A draft of what is live is compared with it; what history does not know may be taken as given.
	in.Draft = live
	in.Draft.When.Tiers = []string{"gold"}
	f, err = h.s.Forecast(t.Context(), h.db, in)
	require.NoError(t, err)
	require.EqualValues(t, -100*500, f.Extra.Value)
	in.Assume = true
	f, err = h.s.Forecast(t.Context(), h.db, in)
	require.NoError(t, err)
	require.Zero(t, f.Extra.Value)
	in.To = in.From
	_, err = h.s.Forecast(t.Context(), h.db, in)
	require.ErrorContains(t, err, "to: does not lie after from")
	h.s.history = nil
	f = Replay(rules(t, Set{}), rules(t, Set{}), "x", func(func(Past) bool) {})
	require.Zero(t, f.Orders)
}
