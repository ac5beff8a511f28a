package identity_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

// same asserts which keys are one member: each list is one, and all lists differ.
func (b *bundle) same(groups ...[]identity.Key) {
	b.t.Helper()
	seen := map[member.ID]int{}
	for i, g := range groups {
		for _, k := range g {
			_, c, err := b.svc.Lookup(b.t.Context(), b.db, k, at(9_999))
			require.NoError(b.t, err)
			if j, ok := seen[c.Root]; ok {
				require.Equal(b.t, i, j, "%v shares a member with group %d", k, j)
			} else {
				for _, other := range seen {
					require.NotEqual(b.t, i, other, "%v is apart from its group %d", k, i)
				}
				seen[c.Root] = i
			}
		}
	}
	b.audit()
}

type keys = []identity.Key

func user(v string) identity.Key { return identity.Key{NS: identity.NSUser, Value: v} }

func TestSharedTabletInAStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.observe(see(1, user("lin"), dev("ipad")), see(2, user("he"), dev("ipad")), see(3, user("shen"), dev("ipad")))
	b.same(keys{user("lin")}, keys{user("he")}, keys{user("shen"), dev("ipad")})
	b.observe(see(4, user("lin"), dev("ipad")))
	b.same(keys{user("lin"), dev("ipad")}, keys{user("he")}, keys{user("shen")})
}

func TestMotherRegistersHerChild(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.observe(see(1, src("app", "mother"), ph("13800000001"), uni("m")))
	b.observe(see(2, src("app", "child"), ph("13800000001"), uni("c")))
	b.same(keys{src("app", "mother"), uni("m")}, keys{src("app", "child"), uni("c"), ph("13800000001")})
}

func TestPhoneIsSoldAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	otp := func(h int, account identity.Key) identity.Observation {
		o := see(h, account, ph("13800000001"))
		o.Kind = identity.KindOTP
		return o
	}
	old := b.observe(otp(1, src("app", "old")))
	again := b.observe(otp(2, src("app", "old")))
	require.Equal(t, old[0].Keys, again[0].Keys, "the same account proves its phone again")
	other := b.observe(otp(3, src("mini", "old")))
	require.Equal(t, old[0].Root, other[0].Root, "another system of the same person")

	fresh := b.observe(otp(2000, src("app", "new")))
	require.NotEqual(t, old[0].Root, fresh[0].Root)
	require.NotEqual(t, old[0].Keys[1], fresh[0].Keys[1], "the number has a new birth")

	// Late facts find the owner of their time; new facts the new one. Replays open nothing more.
	late := b.observe(see(1000, ph("13800000001")))
	require.Equal(t, old[0].Root, late[0].Root)
	b.observe(otp(2000, src("app", "new")), otp(1, src("app", "old")))
	require.Equal(t, 2, b.count(`SELECT count(*) FROM member.identifiers WHERE ns = 'phone'`))
	b.same(keys{src("app", "old"), src("mini", "old")}, keys{src("app", "new"), ph("13800000001")})

	// The carrier says so.
	b.observe(identity.Observation{Keys: keys{ph("13800000001")}, Kind: identity.KindReissued, Source: "carrier", At: at(4000), EventKey: "r1"})
	next := b.observe(see(4001, src("pos", "third"), ph("13800000001")))
	require.Len(t, next[0].Births, 2)
	b.audit()
}

func TestWeChatIsBoundAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.observe(see(1, src("mini", "shen"), ph("13800000001"), uni("old")))
	b.observe(see(50, src("mini", "shen"), ph("13800000001"), uni("new")))
	b.same(keys{src("mini", "shen"), uni("old"), uni("new"), ph("13800000001")})
	b.observe(see(90, src("mini", "daughter"), uni("old"))) // who got her old phone and its WeChat
	b.same(keys{src("mini", "shen"), uni("new"), ph("13800000001")}, keys{src("mini", "daughter"), uni("old")})
}

func TestTmallAccountArrivesBeforeThePhone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.observe(see(1, src("tmall", "t1"), omid("m1")))
	b.observe(see(2, src("pos", "p1"), ph("13800000001")))
	b.same(keys{src("tmall", "t1"), omid("m1")}, keys{src("pos", "p1"), ph("13800000001")})
	joined := b.observe(see(3, omid("m1"), ph("13800000001")))
	require.Equal(t, first[0].Root, joined[0].Root)
	b.same(keys{src("tmall", "t1"), omid("m1"), src("pos", "p1"), ph("13800000001")})
	root, err := b.svc.RootAt(t.Context(), b.db, first[0].Birth, at(0))
	require.NoError(t, err)
	require.Equal(t, first[0].Root, root)
}

func TestOperatorSplitsAndTheNextImportArrives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.observe(
		see(1, src("pos", "a"), ph("13800000001")),
		see(2, src("tmall", "b"), ph("13800000001"), omid("mb")),
	)
	require.Equal(t, r[0].Root, r[1].Root)
	split := func(tx pgx.Tx) (identity.Outcome, error) {
		return b.svc.Split(t.Context(), tx, identity.SplitInput{Births: []member.Birth{r[1].Keys[0], r[1].Keys[2]}, Actor: "吴静", Reason: "two customers"})
	}
	preview, err := b.svc.Preview(t.Context(), b.db, split)
	require.NoError(t, err)
	require.Len(t, preview.After, 2)
	b.same(keys{src("pos", "a"), src("tmall", "b")})

	done := b.operate(split)
	require.Equal(t, preview.After, done.After)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM core.events WHERE name = 'member.identity.split'`))
	b.same(keys{src("pos", "a"), ph("13800000001")}, keys{src("tmall", "b"), omid("mb")})
	why, err := b.svc.Explain(t.Context(), b.db, r[0].Birth, r[1].Birth)
	require.NoError(t, err)
	require.False(t, why.Same)
	require.Len(t, why.Denied, 1)

	// Tomorrow's import says the same again; the operator's word holds.
	b.observe(see(30, src("tmall", "b"), ph("13800000001"), omid("mb")), see(29, src("pos", "a"), ph("13800000001")))
	b.same(keys{src("pos", "a")}, keys{src("tmall", "b"), omid("mb"), ph("13800000001")})

	// Another operator knows better.
	b.operate(func(tx pgx.Tx) (identity.Outcome, error) {
		return b.svc.Merge(t.Context(), tx, identity.MergeInput{A: r[0].Birth, B: r[1].Birth, Actor: "周可", Reason: "checked the receipt"})
	})
	b.same(keys{src("pos", "a"), src("tmall", "b"), ph("13800000001"), omid("mb")})
	why, err = b.svc.Explain(t.Context(), b.db, r[0].Birth, r[1].Keys[2])
	require.NoError(t, err)
	require.True(t, why.Same)
	require.Len(t, why.Path, 2)
	require.Equal(t, identity.KindOperator, why.Path[0].Kind)

	_, err = b.svc.Preview(t.Context(), b.db, func(tx pgx.Tx) (identity.Outcome, error) {
		return b.svc.Split(t.Context(), tx, identity.SplitInput{Births: r[0].Births[:1]})
	})
	require.ErrorIs(t, err, identity.ErrReason)
	require.ErrorIs(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
		_, err := b.svc.Revoke(t.Context(), tx, 1<<40, "x", "y")
		return err
	}), identity.ErrEvidence)
}

// Whichever identifier an operator names, whole members come together, and what either is seen with later still joins them.
func TestOperatorMergesWholeMembers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := keys{src("pos", "1"), ph("13800000001")}
	two := keys{src("pos", "2"), ph("13800000002"), user("two")}
	b.observe(see(1, one...))
	b.observe(see(2, two...))
	b.same(one, two)
	phone := func(k identity.Key) member.Birth {
		birth, _, err := b.svc.Lookup(b.t.Context(), b.db, k, at(9_999))
		require.NoError(t, err)
		return birth
	}
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
		_, err := b.svc.Merge(t.Context(), tx, identity.MergeInput{A: phone(one[1]), B: phone(two[1]), Actor: "周可", Reason: "same person"})
		return err
	}))
	b.same(append(one, two...))
	b.observe(see(3, user("two"), ph("13800000001")))
	b.same(append(one, two...))
}
