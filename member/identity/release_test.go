package identity_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

func TestReleaseTakesAHotIdentifierOutOfQuarantine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var obs []identity.Observation
	for i := range 55 { // half of the accounts are older than the card, half younger
		obs = append(obs, see(1, src(fmt.Sprint("shop-", i), fmt.Sprint(i))))
	}
	card := identity.Key{NS: identity.NSCard, Value: "STAFF-1"}
	obs = append(obs, see(1, card))
	b.observe(obs[:30]...)
	held := b.observe(obs[55])[0].Birth
	b.observe(obs[30:55]...)
	for i := range 55 {
		b.observe(see(2+i, obs[i].Keys[0], card))
	}
	hot := func() (hot bool) {
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT quarantined FROM member.births WHERE birth = $1`, held).Scan(&hot))
		return hot
	}
	require.True(t, hot())
	require.Equal(t, 56, b.count(`SELECT count(*) FROM member.members`))
	b.audit()

	release := func(birth member.Birth, reason string) (out identity.Outcome, err error) {
		err = pg.InTx(t.Context(), b.db, func(tx pgx.Tx) (err error) {
			out, err = b.svc.Release(t.Context(), tx, identity.ReleaseInput{Birth: birth, Actor: "wu", Reason: reason})
			return err
		})
		return out, err
	}
	_, err := release(held, "")
	require.ErrorIs(t, err, identity.ErrReason)
	out, err := release(held, "one tester has all of these accounts")
	require.NoError(t, err)
	require.Len(t, out.Before, 56)
	require.Len(t, out.After, 1, "records of different systems may be one person")
	require.False(t, hot())
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.members`))
	b.audit()
	_, err = release(held, "again")
	require.ErrorIs(t, err, identity.ErrRelease)

	// More accounts do not bring it back.
	b.observe(see(99, src("shop-new", "1"), card))
	require.False(t, hot())
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.members`))
	b.audit()
}
