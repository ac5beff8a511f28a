package capture_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// stranger draws somebody of a small world, so that people grow, merge, share phones and carry each other's devices, with
// or without anything to say.
func stranger(t *rapid.T) capture.Person {
	digit := func(n int) string { return fmt.Sprint(rapid.IntRange(1, n).Draw(t, "value")) }
	var keys []identity.Key
	for range rapid.IntRange(1, 3).Draw(t, "keys") {
		keys = append(keys, rapid.SampledFrom([]func() identity.Key{
			func() identity.Key { return key("source", "pos", digit(6)) },
			func() identity.Key { return key("source", "tmall", digit(6)) },
			func() identity.Key { return key("user", "", digit(6)) },
			func() identity.Key { return key("phone", "", "1380000000"+digit(6)) },
			func() identity.Key { return key("email", "", "a"+digit(6)+"@lianke.test") },
			func() identity.Key { return key("wechat_openid", "wx1", "openid-"+digit(6)) },
			func() identity.Key { return key("device", "", "phone-"+digit(4)) },
			func() identity.Key { return key("order", "", "SO-"+digit(6)) },
		}).Draw(t, "key")())
	}
	hour := func() time.Time { return t0.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "hour")) * time.Hour) }
	p := capture.Person{Keys: keys, Source: "crm", At: hour(), EventKey: fmt.Sprint(rapid.Uint64().Draw(t, "event")),
		Kind: rapid.SampledFrom([]string{identity.KindImport, identity.KindImport, identity.KindTrack, identity.KindOTP}).Draw(t, "kind")}
	if rapid.IntRange(0, 3).Draw(t, "attrs") == 0 {
		p.Attrs = map[string]any{"city": digit(3), "home_store": rapid.SampledFrom([]any{"HZ01", "SH02", nil}).Draw(t, "store")}
	}
	if rapid.IntRange(0, 3).Draw(t, "tags") == 0 {
		p.Tags = []string{"tag-" + digit(3)}
	}
	if rapid.IntRange(0, 2).Draw(t, "consent") == 0 {
		p.Consents = []capture.Consent{{Channel: rapid.SampledFrom(member.Channels).Draw(t, "channel"),
			Granted: rapid.Bool().Draw(t, "granted"), At: hour()}}
	}
	if rapid.IntRange(0, 4).Draw(t, "registered") == 0 {
		p.RegisteredAt = hour()
	}
	return p
}

// derived is what the database says about every member.
func derived(ctx context.Context, t require.TestingT, db pg.DB) (members, reach []string, roots []member.ID) {
	text := func(sql string) []string {
		rows, err := db.Query(ctx, sql)
		require.NoError(t, err)
		out, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return out
	}
	rows, err := db.Query(ctx, `SELECT id FROM member.members ORDER BY id`)
	require.NoError(t, err)
	roots, err = pgx.CollectRows(rows, pgx.RowTo[member.ID])
	require.NoError(t, err)
	return text(`SELECT concat_ws(' ', id, is_member, registered_at, first_fact_at, home_store, attrs, tags) FROM member.members ORDER BY id`),
		text(`SELECT concat_ws(' ', id, channel, birth, granted) FROM member.reach ORDER BY id, channel`), roots
}

func TestMembersAreWhatRefreshDerives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		tx, err := b.db.Begin(t.Context())
		require.NoError(rt, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		for range rapid.IntRange(1, 6).Draw(rt, "batches") {
			persons := rapid.SliceOfN(rapid.Custom(stranger), 1, 8).Draw(rt, "persons")
			found, err := b.door.Observe(t.Context(), tx, persons)
			require.NoError(rt, err)
			if first := found[0]; rapid.IntRange(0, 3).Draw(rt, "operator") == 0 && first.Err == nil {
				last := found[len(found)-1]
				switch {
				case len(first.Births) > 1:
					_, err = b.graph.Split(t.Context(), tx, identity.SplitInput{Births: first.Births[:1], Actor: "wu", Reason: "test"})
				case last.Err == nil:
					_, err = b.graph.Merge(t.Context(), tx, identity.MergeInput{A: first.Birth, B: last.Birth, Actor: "wu", Reason: "test"})
				}
				require.NoError(rt, err)
			}
		}
		wrong, err := identity.Audit(t.Context(), tx)
		require.NoError(rt, err)
		require.Empty(rt, wrong, "births in another cluster than all evidence says")

		members, reach, roots := derived(t.Context(), rt, tx)
		_, err = tx.Exec(t.Context(), `
			UPDATE member.members SET is_member = false, registered_at = NULL, first_fact_at = NULL, home_store = 'no', attrs = '{}', tags = '{}'`)
		require.NoError(rt, err)
		_, err = tx.Exec(t.Context(), `DELETE FROM member.reach`)
		require.NoError(rt, err)
		require.NoError(rt, b.graph.Refresh(t.Context(), tx, roots))
		again, reachAgain, _ := derived(t.Context(), rt, tx)
		require.Equal(rt, again, members)
		require.Equal(rt, reachAgain, reach)
	})
}
