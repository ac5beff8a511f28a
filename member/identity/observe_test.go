package identity_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
	"github.com/lianke/lianke/member/identity"
)

func TestObserveJoinsWhatEvidenceConnects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.observe(
		see(1, src("pos", "1"), ph("13800000001"), uni("u1")),
		see(2, src("tmall", "9"), omid("m1")),
		see(3, src("pos", "2"), ph("13800000002")),
		see(4, ord("SO-1")),
	)
	require.Len(t, r, 4)
	require.True(t, r[0].Created)
	require.Len(t, r[0].Births, 3)
	require.Equal(t, member.ID(r[0].Births[0]), r[0].Root)
	require.Equal(t, 4, b.count(`SELECT count(*) FROM member.members`))
	require.Equal(t, 3, b.count(`SELECT count(*) FROM member.members WHERE is_member`), "a guest order is a visitor")

	// The Tmall account turns out to have the first phone: two members become one, under the smaller root.
	again := b.observe(see(5, src("tmall", "9"), ph("+86 138-0000-0001")))
	require.Equal(t, r[0].Root, again[0].Root)
	require.False(t, again[0].Created)
	require.Len(t, again[0].Births, 5)
	require.Equal(t, 3, b.count(`SELECT count(*) FROM member.members`))
	require.Equal(t, 2, b.count(`SELECT count(*) FROM member.cluster_history`))
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
		locked, err := cluster.Lock(t.Context(), tx, []member.Birth{r[1].Birth})
		require.NoError(t, err)
		require.Equal(t, r[0].Root, locked[r[1].Birth].Root)
		return nil
	}))

	// The guest order is claimed.
	claimed := b.observe(see(6, src("pos", "2"), ord("SO-1")))
	require.Len(t, claimed[0].Births, 3)
	require.Equal(t, min(r[2].Root, r[3].Root), claimed[0].Root)
	require.Equal(t, 2, b.count(`SELECT count(*) FROM member.members`))
}

func TestReplayChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := []identity.Observation{
		see(1, src("pos", "1"), ph("13800000001")),
		see(1, src("pos", "1"), ph("13800000001")), // twice in one batch
		see(2, src("app", "1"), ph("13800000001")),
	}
	first := b.observe(batch...)
	require.Equal(t, first[0].Root, first[1].Root)
	require.Equal(t, first[0].Root, first[2].Root)
	before := b.count(`SELECT sum(n) FROM member.evidence`)
	require.Equal(t, 2, before)
	second := b.observe(batch...)
	require.Equal(t, before, b.count(`SELECT sum(n) FROM member.evidence`))
	require.Equal(t, first[2].Births, second[2].Births)
	require.False(t, second[0].Created)
}

func TestUnusableKeysAreLeftOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.observe(
		see(1, ph("null"), src("pos", "1"), open("undefined")),
		see(1, ph("0000"), identity.Key{NS: "shoe", Value: "42"}),
		see(1, src("pos", "2")),
	)
	require.NoError(t, r[0].Err)
	require.Len(t, r[0].Births, 1)
	require.Zero(t, r[0].Keys[0])
	require.Equal(t, r[0].Birth, r[0].Keys[1])
	require.ErrorIs(t, r[1].Err, identity.ErrNoKey)
	require.NoError(t, r[2].Err)
}

func TestCountedIdsOfEqualDigitsAreIds(t *testing.T) {
	t.Parallel()
	for _, ns := range []string{identity.NSSource, identity.NSUser, identity.NSOrder} {
		k, err := identity.Key{NS: ns, Scope: "crm", Value: " 2222 "}.Normalise()
		require.NoError(t, err)
		require.Equal(t, "2222", k.Value)
		_, err = identity.Key{NS: ns, Scope: "crm", Value: "0000"}.Normalise()
		require.ErrorIs(t, err, identity.ErrKey)
	}
}

func TestReachIsThePhoneInUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	meet := func(hour int, phone string) identity.Resolved {
		o := see(hour, src("pos", "1"), ph(phone))
		return b.observe(o)[0]
	}
	reach := func(root member.ID) (birth member.Birth) {
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT birth FROM member.reach WHERE id = $1 AND channel = 'sms'`, root).Scan(&birth))
		return birth
	}
	old := meet(1, "13800000001")
	fresh := meet(5, "13800000002")
	require.Equal(t, fresh.Keys[1], reach(old.Root))
	meet(3, "13800000001") // late, and older than the other phone
	require.Equal(t, fresh.Keys[1], reach(old.Root))
	meet(9, "13800000001") // she uses the first phone again
	require.Equal(t, old.Keys[1], reach(old.Root))
	b.observe(see(11, open("o1"), ph("13800000002"))) // and the second with a new openid
	require.Equal(t, fresh.Keys[1], reach(old.Root))
	b.audit()
}
