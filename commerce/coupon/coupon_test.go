package coupon_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

var start = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

type house struct {
	t      testing.TB
	db     pg.DB
	clock  *clock.Virtual
	ledger *ledger.Ledger
	s      *coupon.Service
}

func open(t testing.TB, db pg.DB, n int) house {
	_, err := db.Exec(t.Context(), `
		INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
		SELECT i, i, i, 'source', true, now() FROM generate_series(1, $1) i`, n)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `INSERT INTO member.members (id, is_member, updated_at) SELECT i, true, now() FROM generate_series(1, $1) i`, n)
	require.NoError(t, err)
	h := house{t: t, db: db, clock: clock.NewVirtual(start), ledger: ledger.New()}
	h.s = coupon.New(db, h.clock, h.ledger, activity.NewLog(db, h.clock, slog.New(slog.DiscardHandler)), rand.Reader)
	return h
}

func (h house) tx(fn func(tx pgx.Tx) error) error { return pg.InTx(context.Background(), h.db, fn) }

func (h house) template(t coupon.Template) coupon.Template {
	if t.Name == "" {
		t.Name = t.Code
	}
	if t.Kind == "" {
		t.Kind, t.AmountFen = coupon.KindAmountOff, 987
	}
	if t.Bearers == nil {
		t.Bearers = []coupon.Bearer{{Bearer: "HQ", Bp: 6667}, {Bearer: "mall", Bp: 3333}}
	}
	if t.ValidTo == nil && t.ValidDays == 0 {
		t.ValidDays = 7
	}
	require.NoError(h.t, h.tx(func(tx pgx.Tx) (err error) {
		t, err = h.s.CreateTemplate(context.Background(), tx, t)
		return err
	}))
	return t
}

func (h house) issue(in ...coupon.Issue) (out []coupon.Result, err error) {
	err = h.tx(func(tx pgx.Tx) (err error) {
		out, err = h.s.Issue(context.Background(), tx, in)
		return err
	})
	return out, err
}

func (h house) sound() {
	require.NoError(h.t, h.s.Check(context.Background(), h.db))
	report, err := h.ledger.Verify(context.Background(), h.db)
	require.NoError(h.t, err)
	require.True(h.t, report.OK(), "%+v", report)
}

func wish(birth member.Birth, template string) coupon.Issue {
	return coupon.Issue{Key: id.New(), Birth: birth, Template: template, At: start, Source: "test"}
}

func ptr[T any](v T) *T { return &v }

func TestLimitsHoldUnderConcurrentIssuers(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.DB(t), 64)
	h.template(coupon.Template{Code: "few", Quantity: ptr(int64(100))})
	h.template(coupon.Template{Code: "budget", BudgetFen: ptr(money.Fen(987*50 + 986))})
	h.template(coupon.Template{Code: "one", MemberLimit: 1})
	// Births 1 … 8 are one person.
	_, err := h.db.Exec(t.Context(), `UPDATE member.births SET root = 1 WHERE birth <= 8`)
	require.NoError(t, err)
	_, err = h.db.Exec(t.Context(), `DELETE FROM member.members WHERE id BETWEEN 2 AND 8`)
	require.NoError(t, err)

	// The first activity of a month makes its partition on a connection of its own.
	h.template(coupon.Template{Code: "first"})
	_, err = h.issue(wish(9, "first"))
	require.NoError(t, err)

	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 64 {
		wg.Go(func() {
			b := member.Birth(i + 1)
			for range 2 {
				in := []coupon.Issue{wish(b, "few"), wish(b, "budget"), wish(b, "one"), wish(b, "few")}
				out, err := h.issue(in...)
				require.NoError(t, err)
				again, err := h.issue(in...)
				require.NoError(t, err)
				mu.Lock()
				for j, r := range out {
					got[in[j].Template+" "+string(r.Outcome)]++
					require.Equal(t, coupon.Result{Outcome: r.Outcome, Code: r.Code, Replayed: true}, again[j])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[string]int{
		"few granted": 100, "few exhausted": 156,
		"budget granted": 50, "budget exhausted": 78,
		"one granted": 57, "one limit_reached": 71,
	}, got)
	h.sound()

	costs, err := h.s.Costs(t.Context(), h.db, "budget")
	require.NoError(t, err)
	require.Equal(t, []coupon.Cost{{Template: "budget", Bearer: "HQ", LiabilityFen: 50 * 658}, {Template: "budget", Bearer: "mall", LiabilityFen: 50 * 329}}, costs)
}

func TestLifeOfACoupon(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := open(t, pgtest.Tx(t), 3)
	h.template(coupon.Template{Code: "tenner", Kind: coupon.KindAmountOff, AmountFen: 1000, ThresholdFen: 5000,
		Scope: coupon.Scope{Touchpoints: []member.Touchpoint{member.TouchpointPOS}}})
	out, err := h.issue(wish(1, "tenner"), wish(1, "tenner"), wish(2, "tenner"))
	require.NoError(t, err)
	a, b := out[0].Code, out[1].Code

	redeem := func(fn func(context.Context, pgx.Tx, coupon.Redemption) (coupon.Coupon, error), r coupon.Redemption) (c coupon.Coupon, err error) {
		err = h.tx(func(tx pgx.Tx) (err error) { c, err = fn(ctx, tx, r); return err })
		return c, err
	}
	good := coupon.Redemption{Code: strings.ToLower(a[:4] + "-" + a[4:]), Birth: 1, OrderNo: "o1", AmountFen: 6000, Touchpoint: member.TouchpointPOS, At: start}
	for _, c := range []struct {
		change func(*coupon.Redemption)
		want   error
	}{
		{func(r *coupon.Redemption) { r.AmountFen = 4999 }, coupon.ErrThreshold},
		{func(r *coupon.Redemption) { r.Touchpoint = member.TouchpointTmall }, coupon.ErrScope},
		{func(r *coupon.Redemption) { r.Birth = 2 }, coupon.ErrNotTheirs},
		{func(r *coupon.Redemption) { r.At = start.Add(-time.Second) }, coupon.ErrNotYet},
		{func(r *coupon.Redemption) { r.At = start.Add(9 * 24 * time.Hour) }, coupon.ErrExpired},
		{func(r *coupon.Redemption) { r.Code = a[:len(a)-1] + "?" }, coupon.ErrNoCoupon},
		{func(r *coupon.Redemption) { r.OrderNo = "" }, coupon.ErrInvalid},
	} {
		r := good
		c.change(&r)
		_, err := redeem(h.s.Lock, r)
		require.ErrorIs(t, err, c.want)
	}

	c, err := redeem(h.s.Lock, good)
	require.NoError(t, err)
	require.EqualValues(t, 1000, c.DiscountFen)
	other := good
	other.OrderNo = "o2"
	_, err = redeem(h.s.Use, other)
	require.ErrorIs(t, err, coupon.ErrState)
	for range 2 {
		require.NoError(t, h.tx(func(tx pgx.Tx) error { _, err := h.s.Commit(ctx, tx, a, "o1", start); return err }))
	}
	h.sound()
	costs, err := h.s.Costs(ctx, h.db, "tenner")
	require.NoError(t, err)
	require.Equal(t, []coupon.Cost{
		{Template: "tenner", Bearer: "HQ", LiabilityFen: 2 * 667, CostFen: 667}, {Template: "tenner", Bearer: "mall", LiabilityFen: 2 * 333, CostFen: 333}}, costs)

	// The order is cancelled, the coupon used again in another one.
	for range 2 {
		require.NoError(t, h.tx(func(tx pgx.Tx) error { _, err := h.s.Reverse(ctx, tx, a, "o1", start); return err }))
	}
	_, err = redeem(h.s.Use, other)
	require.NoError(t, err)
	h.sound()

	n := 0
	require.NoError(t, h.tx(func(tx pgx.Tx) (err error) { n, err = h.s.Recall(ctx, tx, "tenner", []string{b}, start); return err }))
	require.Equal(t, 1, n)
	n, err = h.s.Expire(ctx, start.Add(9*24*time.Hour), member.ModeBackfill)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	h.sound()
	costs, err = h.s.Costs(ctx, h.db, "tenner")
	require.NoError(t, err)
	require.Zero(t, costs[0].LiabilityFen+costs[1].LiabilityFen)

	var keys []string
	rows, err := h.db.Query(ctx, `SELECT key FROM member.activities WHERE source = 'coupon' ORDER BY key`)
	require.NoError(t, err)
	keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"coupon_expired", "coupon_issued", "coupon_issued", "coupon_issued", "coupon_used", "coupon_used"}, keys)
}

func TestTemplatesRefuse(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := open(t, pgtest.Tx(t), 2)
	base := h.template(coupon.Template{Code: "base", Quantity: ptr(int64(5))})
	create := func(t coupon.Template) error {
		return h.tx(func(tx pgx.Tx) error { _, err := h.s.CreateTemplate(ctx, tx, t); return err })
	}
	require.ErrorIs(t, create(base), coupon.ErrTemplateExists)
	for path, change := range map[string]func(*coupon.Template){
		"bearers":    func(x *coupon.Template) { x.Bearers = []coupon.Bearer{{Bearer: "HQ", Bp: 9999}} },
		"code":       func(x *coupon.Template) { x.Code = "Bad Code" },
		"amount_fen": func(x *coupon.Template) { x.AmountFen = 0 },
		"valid_to":   func(x *coupon.Template) { x.ValidDays = 0 },
		"kind":       func(x *coupon.Template) { x.Kind = "cash" },
		"quantity":   func(x *coupon.Template) { x.Quantity = ptr(int64(-1)) },
	} {
		x := base
		x.Code = "other"
		change(&x)
		err := create(x)
		require.ErrorIs(t, err, coupon.ErrInvalid)
		require.Equal(t, path, fault.From(err).Fields[0].Path)
	}
	update := func(x coupon.Template) error {
		return h.tx(func(tx pgx.Tx) error { _, err := h.s.UpdateTemplate(ctx, tx, x); return err })
	}
	dearer := base
	dearer.AmountFen++
	require.ErrorIs(t, update(dearer), coupon.ErrFixed)
	in := wish(1, "base")
	_, err := h.issue(in, wish(2, "base"), wish(2, "base"))
	require.NoError(t, err)
	in.Birth = 2
	_, err = h.issue(in)
	require.ErrorIs(t, err, coupon.ErrKeyReused)
	fewer := base
	fewer.Quantity = ptr(int64(2))
	require.ErrorIs(t, update(fewer), coupon.ErrBelowIssued)
	fewer.Quantity, fewer.Status = ptr(int64(3)), coupon.StatusPaused
	require.NoError(t, update(fewer))
	require.ErrorIs(t, update(fewer), coupon.ErrStale)
	out, err := h.issue(wish(1, "base"))
	require.NoError(t, err)
	require.Equal(t, coupon.Inactive, out[0].Outcome)
	_, err = h.issue(wish(1, "nowhere"))
	require.ErrorIs(t, err, coupon.ErrNoTemplate)
}

func TestImportCodes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := open(t, pgtest.Tx(t), 3)
	h.template(coupon.Template{Code: "real"})
	load := func(in ...coupon.Import) (out []coupon.ImportResult) {
		require.NoError(t, h.tx(func(tx pgx.Tx) (err error) {
			out, err = h.s.ImportCodes(ctx, tx, in, member.ModeBackfill)
			return err
		}))
		return out
	}
	past := start.Add(-30 * 24 * time.Hour)
	used := past.Add(time.Hour)
	in := []coupon.Import{
		{Code: "A-1", Template: "real", Birth: 1, Source: "old", IssuedAt: past, ExpiresAt: start.Add(time.Hour)},
		{Code: "A-2", Template: "real", Birth: 2, Source: "old", IssuedAt: past, ExpiresAt: start.Add(-time.Hour)},
		{Code: "A-3", Template: "strange", Birth: 0, Source: "old", IssuedAt: past, ExpiresAt: start, UsedOrderNo: "o9", UsedAt: &used},
		{Code: "A-4", Template: "real", Birth: 1, Source: "old", IssuedAt: past, ExpiresAt: past},
		{Code: "LK00000000000" + "00", Template: "real", Birth: 1, Source: "old", IssuedAt: past, ExpiresAt: start},
	}
	out := load(in...)
	outcomes := func(rs []coupon.ImportResult) (s []string) {
		for _, r := range rs {
			s = append(s, string(r.Outcome))
		}
		return s
	}
	require.Equal(t, []string{"inserted", "inserted", "inserted", "rejected", "rejected"}, outcomes(out))
	require.True(t, out[2].NewTemplate)
	require.Equal(t, "expires_at", out[3].Reject.Path)
	require.Equal(t, "code", out[4].Reject.Path)
	h.sound()
	require.Equal(t, []string{"duplicate", "duplicate", "duplicate", "rejected", "rejected"}, outcomes(load(in...)))

	// The source corrects itself: A-1 belongs to member 3 and was used.
	in[0].Birth, in[0].UsedAt, in[0].UsedOrderNo = 3, &used, "o8"
	require.Equal(t, []string{"updated"}, outcomes(load(in[0])))
	require.Equal(t, []string{"duplicate"}, outcomes(load(in[0])))
	c, err := h.s.Get(ctx, h.db, "A-1")
	require.NoError(t, err)
	require.Equal(t, coupon.StateUsed, c.State)
	require.EqualValues(t, 3, c.Birth)
	h.sound()
}

func TestCodesAndFilter(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := open(t, pgtest.Tx(t), 1)
	h.template(coupon.Template{Code: "x"})
	var codes []string
	for range 20 {
		out, err := h.issue(wish(1, "x"))
		require.NoError(t, err)
		codes = append(codes, out[0].Code)
	}
	var f coupon.Filter
	rapid.Check(t, func(rt *rapid.T) {
		code := rapid.SampledFrom(codes).Draw(rt, "code")
		require.False(rt, f.Absent(code))
		i, j := rapid.IntRange(2, len(code)-1).Draw(rt, "i"), rapid.IntRange(2, len(code)-1).Draw(rt, "j")
		wrong := []byte(code)
		wrong[i], wrong[j] = wrong[j], wrong[i]
		if string(wrong) != code {
			require.True(rt, f.Absent(string(wrong)), "exchange")
		}
		wrong = []byte(code)
		wrong[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[rapid.IntRange(0, 31).Draw(rt, "digit")]
		if string(wrong) != code {
			require.True(rt, f.Absent(string(wrong)), "single error")
		}
		require.Equal(rt, code, coupon.Normalise(" "+strings.ToLower(code[:6])+"-"+code[6:]))
	})

	require.NoError(t, f.Fill(ctx, h.db, start.Add(14*24*time.Hour)))
	for _, c := range codes {
		require.False(t, f.Absent(c))
	}
	// Codes of the week after the one that was read, and of the week itself, which the filter does not know.
	other := h
	absent := 0
	for i := range 200 {
		other.clock.Set(start)
		if i%2 == 0 {
			other.clock.Set(start.Add(15 * 24 * time.Hour))
		}
		out, err := other.issue(wish(1, "x"))
		require.NoError(t, err)
		if f.Absent(out[0].Code) {
			require.Equal(t, 1, i%2, "a code of an open week is never absent")
			absent++
		}
	}
	require.Greater(t, absent, 90)
	require.False(t, f.Absent("FOREIGN-1"))
}

func TestATouchpointThatDoesNotCheckOutTakesNoCoupon(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Tx(t), 1)
	matrix, err := org.NewMatrix(h.db, h.clock)
	require.NoError(t, err)
	h.s.Guard(matrix)
	h.template(coupon.Template{Code: "spring"})
	issued, err := h.issue(wish(1, "spring"))
	require.NoError(t, err)
	use := func(touchpoint member.Touchpoint, s org.Service) error {
		return h.tx(func(tx pgx.Tx) error {
			_, err := h.s.Lock(t.Context(), tx, coupon.Redemption{
				Code: issued[0].Code, Birth: 1, OrderNo: "o-1", AmountFen: 9_900, Touchpoint: touchpoint, Service: s, At: start,
			})
			return err
		})
	}
	require.ErrorIs(t, use(member.TouchpointWeibo, org.ServiceCheckout), org.ErrNotOffered)
	require.ErrorIs(t, use(member.TouchpointCallCentre, org.ServiceCheckout), org.ErrHandedOver)
	require.NoError(t, use(member.TouchpointPOS, org.ServiceCheckout))
}
