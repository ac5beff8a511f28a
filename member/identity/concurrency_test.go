package identity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

// storm is observations of few identifiers by many writers: everything overlaps, and every constraint is hit.
func storm(n int, seed uint64) [][]identity.Observation {
	r := rand.New(rand.NewPCG(seed, 5))
	pick := func() identity.Key {
		switch r.IntN(8) {
		case 0:
			return src("pos", fmt.Sprint("r", r.IntN(60)))
		case 1:
			return src("tmall", fmt.Sprint("r", r.IntN(60)))
		case 2:
			return uni(fmt.Sprint("u", r.IntN(60)))
		case 3:
			return dev(fmt.Sprint("d", r.IntN(20)))
		case 4:
			return omid(fmt.Sprint("o", r.IntN(60)))
		case 5:
			return ord(fmt.Sprint("so", r.IntN(60)))
		default:
			return ph(fmt.Sprintf("138%08d", 1+r.IntN(80)))
		}
	}
	var all []identity.Observation
	for i := range n {
		o := see(r.IntN(500), pick(), pick())
		if r.IntN(3) == 0 {
			o.Keys = append(o.Keys, pick())
		}
		o.EventKey = fmt.Sprint(i)
		all = append(all, o)
		if r.IntN(5) == 0 {
			all = append(all, all[r.IntN(len(all))]) // replays
		}
	}
	return slices.Collect(slices.Chunk(all, 20))
}

func (b *bundle) drive(writers int, batches [][]identity.Observation) {
	b.t.Helper()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(b.t.Context())
	for range writers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					return nil
				}
				if err := pg.InTx(ctx, b.db, func(tx pgx.Tx) error {
					_, err := b.svc.Observe(ctx, tx, batches[i])
					return err
				}); err != nil {
					return err
				}
			}
		})
	}
	require.NoError(b.t, g.Wait())
}

func (b *bundle) audit() {
	b.t.Helper()
	wrong, err := identity.Audit(b.t.Context(), b.db)
	require.NoError(b.t, err)
	require.Empty(b.t, wrong, "births in another cluster than the evidence says")
}

// export is the graph as sets of identifiers, whatever their births are numbered.
func (b *bundle) export() []string {
	b.t.Helper()
	rows, err := b.db.Query(b.t.Context(), `
SELECT string_agg(i.ns || i.scope || encode(i.vh, 'hex') || i.epoch, ' ' ORDER BY i.ns, i.scope, i.vh, i.epoch)
FROM member.births b JOIN member.identifiers i USING (birth) GROUP BY b.root`)
	require.NoError(b.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	slices.Sort(out)
	return out
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batches := storm(1500, 1)
	b.drive(16, batches)
	b.audit()
	var deadlocks int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)

	// Every link that was observed is there, once.
	type link struct{ x, y identity.Key }
	want := map[link]bool{}
	for _, o := range slices.Concat(batches...) {
		for _, k := range o.Keys[1:] {
			if k != o.Keys[0] {
				x, y := o.Keys[0], k
				if fmt.Sprint(y) < fmt.Sprint(x) {
					x, y = y, x
				}
				want[link{x, y}] = true
			}
		}
	}
	require.Equal(t, len(want), b.count(`SELECT count(*) FROM member.evidence`))

	// A replay of everything, in another order, changes nothing; a fresh database reaches the same people.
	before, counted := b.export(), b.count(`SELECT sum(n) FROM member.evidence`)
	slices.Reverse(batches)
	b.drive(8, batches)
	require.Equal(t, before, b.export())
	require.Equal(t, counted, b.count(`SELECT sum(n) FROM member.evidence`))
	b.audit()
}

func TestOneByOneEqualsAllAtOnce(t *testing.T) {
	t.Parallel()
	batches := storm(300, 2)
	one, all := setup(t), setup(t)
	for _, o := range slices.Concat(batches...) {
		one.observe(o)
	}
	all.observe(slices.Concat(batches...)...)
	one.audit()
	all.audit()
	require.Equal(t, one.count(`SELECT count(*) FROM member.births`), all.count(`SELECT count(*) FROM member.births`))
	require.Equal(t, one.count(`SELECT sum(n) FROM member.evidence`), all.count(`SELECT sum(n) FROM member.evidence`))
	require.Equal(t, one.export(), all.export())
}

func TestRevokingEverythingAddedIsIdentity(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.observe(slices.Concat(storm(150, 3)...)...)
	before := b.export()
	var last int64
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT max(id) FROM member.evidence`).Scan(&last))
	for i := range 40 { // merges that touch nothing but known identifiers
		b.operate(func(tx pgx.Tx) (identity.Outcome, error) {
			return b.svc.Merge(t.Context(), tx, identity.MergeInput{A: member.Birth(1 + i), B: member.Birth(90 - i), Actor: "wu", Reason: "test"})
		})
	}
	require.NotEqual(t, before, b.export())
	rows, err := b.db.Query(t.Context(), `SELECT id FROM member.evidence WHERE id > $1 ORDER BY random()`, last)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	for _, id := range ids {
		b.operate(func(tx pgx.Tx) (identity.Outcome, error) { return b.svc.Revoke(t.Context(), tx, id, "wu", "undo") })
		b.audit()
	}
	require.Equal(t, before, b.export())
}

func (b *bundle) operate(do func(tx pgx.Tx) (identity.Outcome, error)) identity.Outcome {
	b.t.Helper()
	var out identity.Outcome
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) (err error) {
		out, err = do(tx)
		return err
	}))
	return out
}
