package points_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/points"
)

var start = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)

type house struct {
	db     pg.DB
	clock  *clock.Virtual
	ledger *ledger.Ledger
	points *points.Service
}

// open sets up members 1…n, one birth each, and programme "main": valid 30 days, no grace.
func open(t testing.TB, db pg.DB, n int) house {
	ctx := t.Context()
	_, err := db.Exec(ctx, `
		INSERT INTO member.births (birth, root, raw_root, ns, person, created_at)
		SELECT i, i, i, 'source', true, now() FROM generate_series(1, $1) i`, n)
	require.NoError(t, err)
	_, err = db.Exec(ctx, `
		INSERT INTO member.members (id, is_member, updated_at) SELECT i, true, now() FROM generate_series(1, $1) i`, n)
	require.NoError(t, err)
	h := house{db: db, clock: clock.NewVirtual(start), ledger: ledger.New()}
	h.points = points.New(db, h.clock, h.ledger, activity.NewLog(db, h.clock, slog.New(slog.DiscardHandler)))
	require.NoError(t, h.tx(ctx, func(tx pgx.Tx) error {
		_, err := h.points.CreateProgramme(ctx, tx, points.Programme{
			Code: "main", Name: "主积分", ValuePoints: 100, ValueFen: 100, EarnFen: 100, Validity: points.ValidityDays, ValidityN: 30})
		return err
	}))
	return h
}

func (h house) tx(ctx context.Context, fn func(tx pgx.Tx) error) error { return pg.InTx(ctx, h.db, fn) }

// regroup makes the groups of births the members, as identity does.
func (h house) regroup(t require.TestingT, groups [][]member.Birth) {
	ctx := context.Background()
	for _, g := range groups {
		_, err := h.db.Exec(ctx, `UPDATE member.births SET root = $1 WHERE birth = ANY($2)`, slices.Min(g), g)
		require.NoError(t, err)
	}
	_, err := h.db.Exec(ctx, `DELETE FROM member.members WHERE id NOT IN (SELECT root FROM member.births)`)
	require.NoError(t, err)
	_, err = h.db.Exec(ctx, `
		INSERT INTO member.members (id, is_member, updated_at) SELECT DISTINCT root, true, now() FROM member.births
		ON CONFLICT DO NOTHING`)
	require.NoError(t, err)
}

func (h house) grant(t require.TestingT, birth member.Birth, n int64, at time.Time) id.UUID {
	key := id.New()
	require.NoError(t, h.tx(context.Background(), func(tx pgx.Tx) error {
		_, err := h.points.Grant(context.Background(), tx, []points.Grant{{Key: key, Birth: birth, Programme: "main", Points: n, At: at}})
		return err
	}))
	return key
}

func (h house) spend(birth member.Birth, n int64, at time.Time) (key id.UUID, draws []points.Draw, err error) {
	key = id.New()
	err = h.tx(context.Background(), func(tx pgx.Tx) (err error) {
		draws, err = h.points.Spend(context.Background(), tx, points.Spend{Key: key, Birth: birth, Programme: "main", Points: n, At: at})
		return err
	})
	return key, draws, err
}

func (h house) refund(spend id.UUID, n int64, at time.Time) error {
	return h.tx(context.Background(), func(tx pgx.Tx) error {
		_, err := h.points.Refund(context.Background(), tx, points.Refund{Key: id.New(), Spend: spend, Points: n, At: at})
		return err
	})
}

func (h house) revoke(grant id.UUID, n int64, at time.Time) error {
	return h.tx(context.Background(), func(tx pgx.Tx) error {
		_, err := h.points.Revoke(context.Background(), tx, points.Revoke{Key: id.New(), Grant: grant, Points: n, At: at})
		return err
	})
}

func (h house) untangle(t require.TestingT, births []member.Birth, at time.Time) int64 {
	var n int64
	require.NoError(t, h.tx(context.Background(), func(tx pgx.Tx) (err error) {
		n, err = h.points.Untangle(context.Background(), tx, births, at)
		return err
	}))
	return n
}

func (h house) balance(t require.TestingT, at time.Time, births ...member.Birth) points.Balance {
	all, err := h.points.Balance(context.Background(), h.db, births, at, 7*24*time.Hour)
	require.NoError(t, err)
	i := slices.IndexFunc(all, func(b points.Balance) bool { return b.Programme == "main" })
	return all[i]
}

func (h house) sound(t require.TestingT) {
	_, err := h.points.Check(context.Background(), h.db)
	require.NoError(t, err)
}

// point is one point of the naive model: a model without lots, sums or SQL.
type point struct {
	lot   int // in order of granting
	until time.Time
	spend int // 0: not spent
	order int // in which it was spent
	gone  bool
}

// Grants, spends, refunds, expiry and merges at random, against points counted one by one.
func TestSpendingEqualsCountingPoints(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	h := open(t, db, 4)
	rapid.Check(t, func(rt *rapid.T) {
		require.NoError(rt, h.tx(t.Context(), func(tx pgx.Tx) error {
			naive(rt, house{tx, h.clock, h.ledger, points.New(tx, h.clock, h.ledger, activity.NewLog(tx, h.clock, slog.New(slog.DiscardHandler)))})
			return nil
		}))
		// The next case starts afresh.
		_, err := db.Exec(t.Context(), `DELETE FROM member.point_lots WHERE programme = 'main'`)
		require.NoError(rt, err)
		_, err = db.Exec(t.Context(), `DELETE FROM member.point_allocations`)
		require.NoError(rt, err)
		_, err = db.Exec(t.Context(), `UPDATE member.births SET root = birth`)
		require.NoError(rt, err)
		h.regroup(rt, [][]member.Birth{{1}, {2}, {3}, {4}})
	})
}

func naive(rt *rapid.T, h house) {
	now := start
	root := map[member.Birth]member.Birth{1: 1, 2: 2, 3: 3, 4: 4}
	owner := map[int]member.Birth{} // lot → birth
	lots := map[id.UUID]int{}
	var pool []*point
	type bought struct {
		key  id.UUID
		n    int
		left int64
	}
	var spends []*bought
	orders := 0
	births := rapid.SampledFrom([]member.Birth{1, 2, 3, 4})
	usable := func(b member.Birth) (out []*point) {
		for _, p := range pool {
			if root[owner[p.lot]] == root[b] && p.spend == 0 && !p.gone && now.Before(p.until) {
				out = append(out, p)
			}
		}
		return out
	}
	for range rapid.IntRange(1, 12).Draw(rt, "steps") {
		switch rapid.SampledFrom([]string{"grant", "grant", "spend", "spend", "refund", "expire", "merge"}).Draw(rt, "op") {
		case "grant":
			b, n := births.Draw(rt, "birth"), rapid.Int64Range(1, 9).Draw(rt, "points")
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 40, 400}).Draw(rt, "hours")) * time.Hour)
			lot := len(lots) + 1
			lots[h.grant(rt, b, n, now)] = lot
			owner[lot] = b
			day := now.In(clock.Shanghai)
			until := time.Date(day.Year(), day.Month(), day.Day()+31, 0, 0, 0, 0, clock.Shanghai)
			for range n {
				pool = append(pool, &point{lot: lot, until: until})
			}
		case "spend":
			b, n := births.Draw(rt, "birth"), rapid.Int64Range(1, 15).Draw(rt, "points")
			can := usable(b)
			key, draws, err := h.spend(b, n, now)
			if int64(len(can)) < n {
				require.ErrorIs(rt, err, points.ErrInsufficient)
				continue
			}
			require.NoError(rt, err)
			// pool is in the order of granting, which is the order of equal expiries.
			slices.SortStableFunc(can, func(a, b *point) int { return a.until.Compare(b.until) })
			want := map[int]int64{}
			for _, p := range can[:n] {
				orders++
				p.spend, p.order = len(spends)+1, orders
				want[p.lot]++
			}
			got := map[int]int64{}
			for _, d := range draws {
				got[lots[d.Lot]] += d.Points
			}
			require.Equal(rt, want, got)
			spends = append(spends, &bought{key, len(spends) + 1, n})
		case "refund":
			if len(spends) == 0 {
				continue
			}
			s, n := rapid.SampledFrom(spends).Draw(rt, "spend"), rapid.Int64Range(1, 9).Draw(rt, "points")
			err := h.refund(s.key, n, now)
			if n > s.left {
				require.ErrorIs(rt, err, points.ErrExceeds)
				continue
			}
			require.NoError(rt, err)
			s.left -= n
			var mine []*point
			for _, p := range pool {
				if p.spend == s.n {
					mine = append(mine, p)
				}
			}
			slices.SortFunc(mine, func(a, b *point) int { return b.order - a.order })
			for _, p := range mine[:n] {
				p.spend, p.gone = 0, !now.Before(p.until)
			}
		case "expire":
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "hours")) * time.Hour)
			var want int64
			for _, p := range pool {
				if p.spend == 0 && !p.gone && !now.Before(p.until) {
					p.gone = true
					want++
				}
			}
			got, err := h.points.Expire(context.Background(), now, member.ModeBackfill)
			require.NoError(rt, err)
			require.Equal(rt, want, got)
		case "merge":
			a, b := births.Draw(rt, "a"), births.Draw(rt, "b")
			to := min(root[a], root[b])
			from := max(root[a], root[b])
			groups := map[member.Birth][]member.Birth{}
			for x := member.Birth(1); x <= 4; x++ {
				if root[x] == from {
					root[x] = to
				}
				groups[root[x]] = append(groups[root[x]], x)
			}
			var all [][]member.Birth
			for _, g := range groups {
				all = append(all, g)
			}
			h.regroup(rt, all)
		}
	}
	for b := member.Birth(1); b <= 4; b++ {
		var cluster []member.Birth
		for x, r := range root {
			if r == root[b] {
				cluster = append(cluster, x)
			}
		}
		require.EqualValues(rt, len(usable(b)), h.balance(rt, now, cluster...).Spendable)
	}
}

// Everything at random, splits and revocations included: whatever happens, tables and ledger agree, nothing is negative,
// and once untangled each member has what its births earned less what they spent.
func TestConservationUnderMergeAndSplit(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	h := open(t, db, 4)
	all := []member.Birth{1, 2, 3, 4}
	rapid.Check(t, func(rt *rapid.T) {
		now := start
		groups := map[int][]member.Birth{}
		regroup := func() {
			clear(groups)
			var list [][]member.Birth
			for _, b := range all {
				i := rapid.IntRange(0, 2).Draw(rt, "group")
				groups[i] = append(groups[i], b)
			}
			for _, g := range groups {
				list = append(list, g)
			}
			h.regroup(rt, list)
		}
		regroup()
		var grants, spends []id.UUID
		births := rapid.SampledFrom(all)
		for range rapid.IntRange(1, 16).Draw(rt, "steps") {
			n := rapid.Int64Range(1, 12).Draw(rt, "points")
			switch rapid.SampledFrom([]string{"grant", "grant", "spend", "spend", "refund", "revoke", "expire", "regroup", "untangle"}).Draw(rt, "op") {
			case "grant":
				grants = append(grants, h.grant(rt, births.Draw(rt, "birth"), n, now))
			case "spend":
				key, _, err := h.spend(births.Draw(rt, "birth"), n, now)
				if err == nil {
					spends = append(spends, key)
				} else {
					require.ErrorIs(rt, err, points.ErrInsufficient)
				}
			case "refund":
				if len(spends) > 0 {
					if err := h.refund(rapid.SampledFrom(spends).Draw(rt, "spend"), n, now); err != nil {
						require.ErrorIs(rt, err, points.ErrExceeds)
					}
				}
			case "revoke":
				if len(grants) > 0 {
					if err := h.revoke(rapid.SampledFrom(grants).Draw(rt, "grant"), n, now); err != nil {
						require.ErrorIs(rt, err, points.ErrExceeds)
					}
				}
			case "expire":
				now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "hours")) * time.Hour)
				_, err := h.points.Expire(context.Background(), now, member.ModeBackfill)
				require.NoError(rt, err)
			case "regroup":
				regroup()
			case "untangle":
				h.untangle(rt, []member.Birth{births.Draw(rt, "birth")}, now)
			}
			h.sound(rt)
		}
		h.untangle(rt, all, now)
		require.Zero(rt, h.untangle(rt, all, now), "untangling twice")
		h.sound(rt)
		for _, g := range groups {
			b := h.balance(rt, now, g...)
			require.Zero(rt, b.Owed)
			require.Zero(rt, b.Receivable)
			var earned, spent, lapsed, remaining int64
			require.NoError(rt, db.QueryRow(context.Background(), `
				SELECT
					coalesce(sum(points) FILTER (WHERE kind = 'grant'), 0) - coalesce(sum(points) FILTER (WHERE kind = 'revoke'), 0),
					coalesce(sum(points) FILTER (WHERE kind = 'spend'), 0) - coalesce(sum(points) FILTER (WHERE kind = 'refund'), 0)
				FROM member.point_moves WHERE birth = ANY($1)`, g).Scan(&earned, &spent))
			require.NoError(rt, db.QueryRow(context.Background(), `
				SELECT coalesce(sum(expired), 0), coalesce(sum(remaining), 0) FROM member.point_lots WHERE birth = ANY($1)`, g).Scan(&lapsed, &remaining))
			require.Equal(rt, earned-spent, remaining+lapsed-b.Debt, "members %v", g)
		}
	})
	report, err := h.ledger.Verify(t.Context(), db)
	require.NoError(t, err)
	require.True(t, report.OK(), "%+v", report)
}

func TestKeysAndLimits(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), pgtest.Tx(t)
	h := open(t, db, 2)
	g := points.Grant{Key: id.New(), Birth: 1, Programme: "main", Points: 100, At: start}
	grant := func(gs ...points.Grant) (out []points.Outcome, err error) {
		err = h.tx(ctx, func(tx pgx.Tx) (err error) { out, err = h.points.Grant(ctx, tx, gs); return err })
		return out, err
	}
	out, err := grant(g, g)
	require.NoError(t, err)
	require.Equal(t, []points.Outcome{points.Done, points.Duplicate}, out)
	later := g
	later.At = start.Add(time.Hour)
	out, err = grant(later)
	require.NoError(t, err)
	require.Equal(t, []points.Outcome{points.Duplicate}, out)
	other := g
	other.Points = 101
	_, err = grant(other)
	require.ErrorIs(t, err, points.ErrKeyReused)

	for name, bad := range map[string]points.Grant{
		"zero":      {Key: id.New(), Birth: 1, Programme: "main", Points: 0, At: start},
		"negative":  {Key: id.New(), Birth: 1, Programme: "main", Points: -5, At: start},
		"too many":  {Key: id.New(), Birth: 1, Programme: "main", Points: points.MaxPoints + 1, At: start},
		"no key":    {Birth: 1, Programme: "main", Points: 1, At: start},
		"no member": {Key: id.New(), Programme: "main", Points: 1, At: start},
	} {
		_, err := grant(bad)
		require.ErrorIs(t, err, points.ErrInvalid, name)
	}
	_, err = grant(points.Grant{Key: id.New(), Birth: 1, Programme: "none", Points: 1, At: start})
	require.ErrorIs(t, err, points.ErrNoProgramme)

	s := points.Spend{Key: id.New(), Birth: 1, Programme: "main", Points: 40, At: start}
	var first, again []points.Draw
	require.NoError(t, h.tx(ctx, func(tx pgx.Tx) (err error) { first, err = h.points.Spend(ctx, tx, s); return err }))
	require.NoError(t, h.tx(ctx, func(tx pgx.Tx) (err error) { again, err = h.points.Spend(ctx, tx, s); return err }))
	require.Equal(t, first, again)
	s.Points = 41
	err = h.tx(ctx, func(tx pgx.Tx) error { _, err := h.points.Spend(ctx, tx, s); return err })
	require.ErrorIs(t, err, points.ErrKeyReused)
	require.EqualValues(t, 60, h.balance(t, start, 1).Spendable)
	h.sound(t)
}

func TestPendingGraceAndDebt(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), pgtest.Tx(t)
	h := open(t, db, 1)
	require.NoError(t, h.tx(ctx, func(tx pgx.Tx) error {
		p, err := h.points.Programme(ctx, tx, "main")
		require.NoError(t, err)
		p.PendingDays, p.GraceDays = 7, 3
		stale := p
		_, err = h.points.UpdateProgramme(ctx, tx, p)
		require.NoError(t, err)
		_, err = h.points.UpdateProgramme(ctx, tx, stale)
		require.ErrorIs(t, err, points.ErrStale)
		return nil
	}))
	grant := h.grant(t, 1, 100, start)
	b := h.balance(t, start, 1)
	require.EqualValues(t, 100, b.Pending)
	_, _, err := h.spend(1, 1, start)
	require.ErrorIs(t, err, points.ErrInsufficient)

	active := start.Add(7 * 24 * time.Hour)
	spent, _, err := h.spend(1, 70, active)
	require.NoError(t, err)

	// The order behind the grant is returned: 30 are still there, 70 are owed and paid by the next lot.
	require.NoError(t, h.revoke(grant, 100, active))
	b = h.balance(t, active, 1)
	require.EqualValues(t, 70, b.Debt)
	require.Zero(t, b.Spendable)
	require.ErrorIs(t, h.revoke(grant, 1, active), points.ErrExceeds)
	h.grant(t, 1, 100, start)
	require.EqualValues(t, 30, h.balance(t, active, 1).Spendable)
	_, _, err = h.spend(1, 31, active)
	require.ErrorIs(t, err, points.ErrInsufficient)
	_, _, err = h.spend(1, 30, active)
	require.NoError(t, err)
	require.Zero(t, h.balance(t, active, 1).Debt)

	// Long after, the first spend is refunded: its lot has run out and lives three days more.
	late := active.Add(60 * 24 * time.Hour)
	require.NoError(t, h.refund(spent, 70, late))
	require.EqualValues(t, 70, h.balance(t, late, 1).Spendable)
	n, err := h.points.Expire(ctx, late.Add(4*24*time.Hour), member.ModeBackfill)
	require.NoError(t, err)
	require.EqualValues(t, 70, n)
	h.sound(t)
}

// 32 buyers spend 10 of 100 at once, from two births of one member, beside expiry runs: ten succeed.
func TestConcurrentSpends(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	h := open(t, db, 2)
	h.regroup(t, [][]member.Birth{{1, 2}})
	h.grant(t, 1, 55, start)
	h.grant(t, 2, 45, start)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 32 {
		wg.Go(func() {
			_, _, err := h.spend(member.Birth(i%2+1), 10, start)
			if err != nil {
				require.ErrorIs(t, err, points.ErrInsufficient)
				return
			}
			mu.Lock()
			done++
			mu.Unlock()
		})
	}
	for range 4 {
		wg.Go(func() {
			_, err := h.points.Expire(context.Background(), start, member.ModeBackfill)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Equal(t, 10, done)
	require.Zero(t, h.balance(t, start, 1, 2).Active)
	h.sound(t)
}
