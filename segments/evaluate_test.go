package segments

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

var errUndo = errors.New("undo")

func newService(db pg.DB, clk clock.Clock) *Service {
	log := slog.New(slog.DiscardHandler)
	return New(db, clk, log, activity.NewLog(db, clk, log))
}

// undone runs fn in a transaction that is rolled back.
func undone(t *rapid.T, tb testing.TB, db pg.DB, fn func(tx pgx.Tx)) {
	err := pg.InTx(tb.Context(), db, func(tx pgx.Tx) error {
		fn(tx)
		return errUndo
	})
	require.ErrorIs(t, err, errUndo)
}

// For random rules over random worlds at random instants, SQL over everybody and SQL over a few both say what the naive
// evaluator says, and the algebra of sets holds.
func TestRuleEqualsNaive(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	partitions(t, db)
	ctx := t.Context()
	s := newService(db, clock.NewVirtual(origin))

	rapid.Check(t, func(rt *rapid.T) {
		w := genWorld(rt)
		undone(rt, t, db, func(tx pgx.Tx) {
			w.store(ctx, rt, tx)
			for range 12 {
				raw := w.genRule(rt, 3)
				at := instants(-2, 44).Draw(rt, "T")
				rule := mustParse(rt, raw)
				want := w.members(raw, at)

				got, err := s.Members(ctx, tx, rule, at)
				require.NoError(rt, err, rule.String())
				require.Equal(rt, want, append([]member.ID{}, got...), "at %s: %s", at, rule)

				n, err := s.Count(ctx, tx, rule, at)
				require.NoError(rt, err)
				require.EqualValues(rt, len(want), n, rule.String())

				var ids []member.ID
				for i, p := range w.people {
					if i%2 == 0 {
						ids = append(ids, p.id)
					}
				}
				some, err := s.Evaluate(ctx, tx, rule, at, ids)
				require.NoError(rt, err)
				for _, id := range ids {
					require.Equal(rt, slices.Contains(want, id), some[id], "restricted to %v at %s: %s", ids, at, rule)
				}

				// The canonical form is a fixed point and means the same.
				again, err := Parse([]byte(rule.String()))
				require.NoError(rt, err, rule.String())
				require.Equal(rt, rule.String(), again.String())
				require.Equal(rt, want, w.members(decodeRaw(rt, []byte(rule.String())), at), rule.String())
			}
		})
	})
}

// Metamorphic laws, without any oracle: A = (A ∧ B) ∪ (A ∧ ¬B), and De Morgan.
func TestSetAlgebra(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	partitions(t, db)
	s := newService(db, clock.NewVirtual(origin))

	rapid.Check(t, func(rt *rapid.T) {
		w := genWorld(rt)
		undone(rt, t, db, func(tx pgx.Tx) {
			w.store(t.Context(), rt, tx)
			a, b := w.genRule(rt, 2), w.genRule(rt, 2)
			at := instants(0, 40).Draw(rt, "T")
			members := func(raw map[string]any) []member.ID {
				ids, err := s.Members(t.Context(), tx, mustParse(rt, raw), at)
				require.NoError(rt, err)
				return ids
			}
			not := func(r map[string]any) map[string]any { return map[string]any{"not": r} }
			all := func(r ...any) map[string]any { return map[string]any{"all": r} }
			any := func(r ...any) map[string]any { return map[string]any{"any": r} }
			require.Equal(rt, members(a), members(any(all(a, b), all(a, not(b)))))
			require.Equal(rt, members(not(all(a, b))), members(any(not(a), not(b))))
			require.Equal(rt, members(not(any(a, b))), members(all(not(a), not(b))))
		})
	})
}

// The sample is SHA-256(salt:member_id), first 8 bytes, mod 10,000: figures computed elsewhere.
func TestSampleBucket(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	for _, c := range []struct {
		salt   string
		id     int64
		bucket int64
	}{
		{"x", 1, 0}, {"x", 2, 0}, {"", 77, 0}, {"盐", 12345678901, 0},
	} {
		var got int64
		require.NoError(t, db.QueryRow(t.Context(), `SELECT segments.bucket($1, $2)`, c.salt, c.id).Scan(&got))
		c.bucket = bucketOf(c.salt, c.id)
		require.Equal(t, c.bucket, got, "%s:%d", c.salt, c.id)
	}
}

// Anniversaries on 29 February fall on the 28th in other years.
func TestAnniversary(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time { v, _ := parseTime(s); return v }
	require.Equal(t, []string{"02-28", "02-29"}, anniversary(at("2023-02-28"), 0))
	require.Equal(t, []string{"02-28"}, anniversary(at("2024-02-28"), 0))
	require.Equal(t, []string{"02-29"}, anniversary(at("2024-02-28"), 1))
	require.Equal(t, []string{"03-01"}, anniversary(at("2023-02-28"), 1))
	require.Equal(t, []string{"01-01"}, anniversary(at("2023-12-31T23:59:59+08:00"), 1))
	require.Equal(t, []string{"01-01"}, anniversary(at("2023-12-31T16:00:00Z"), 0))
}

func TestReferences(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	s := newService(db, clock.NewVirtual(origin))
	_, err := db.Exec(t.Context(), `
INSERT INTO segments.segments (id, code, name, rule, status, created_at, updated_at)
VALUES (gen_random_uuid(), 'a', 'a', '{"segment":"b"}', 'active', now(), now()),
       (gen_random_uuid(), 'b', 'b', '{"not":{"segment":"c"}}', 'active', now(), now()),
       (gen_random_uuid(), 'c', 'c', '{"all":[{"tag":"x"},{"segment":"a"}]}', 'active', now(), now()),
       (gen_random_uuid(), 'old', 'old', '{"tag":"x"}', 'archived', now(), now())`)
	require.NoError(t, err)

	_, err = s.Count(t.Context(), db, mustParse(t, map[string]any{"segment": "a"}), origin)
	require.ErrorIs(t, err, ErrCycle)
	require.ErrorContains(t, err, "a → b → c → a")

	for _, code := range []string{"nobody", "old"} {
		_, err = s.Count(t.Context(), db, mustParse(t, map[string]any{"any": []any{map[string]any{"tag": "x"}, map[string]any{"segment": code}}}), origin)
		require.ErrorIs(t, err, ErrRule)
		require.ErrorContains(t, err, "any[1].segment: there is no segment "+code)
	}
	_, err = s.Count(t.Context(), db, mustParse(t, map[string]any{"list": "nolist"}), origin)
	require.ErrorContains(t, err, "list: there is no list nolist")
}

func TestRuleKeepsNumbersExact(t *testing.T) {
	t.Parallel()
	db := pgtest.Tx(t)
	partitions(t, db)
	w := &world{people: []person{{id: 1, isMember: true, registered: &origin, births: []member.Birth{1}, tags: []string{}, attrs: map[string]any{"n": json.Number("9007199254740993")}}}}
	w.store(t.Context(), t, db)
	s := newService(db, clock.NewVirtual(origin))
	for text, want := range map[string]int64{"9007199254740993": 1, "9007199254740992": 0} {
		n, err := s.Count(t.Context(), db, mustParse(t, map[string]any{"attr": "n", "op": "eq", "value": json.Number(text)}), origin)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
}
