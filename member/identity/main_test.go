package identity_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

var t0 = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// at is n hours after the beginning of the story.
func at(n int) time.Time { return t0.Add(time.Duration(n) * time.Hour) }

// bundle is the graph on a database of the test's own.
type bundle struct {
	t     *testing.T
	db    *pg.Pool
	clock *clock.Virtual
	ring  *crypt.Ring
	svc   *identity.Service
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := pgtest.DB(t)
	clk := clock.NewVirtual(at(10_000))
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	discard := slog.New(slog.DiscardHandler)
	log := activity.NewLog(db, clk, discard)
	return &bundle{t, db, clk, ring, identity.New(db, clk, ring, log, events.New(db, clk, jobs.New(db, discard)))}
}

func (b *bundle) observe(obs ...identity.Observation) []identity.Resolved {
	b.t.Helper()
	var out []identity.Resolved
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) (err error) {
		out, err = b.svc.Observe(b.t.Context(), tx, obs)
		return err
	}))
	return out
}

// root returns the member that a key belongs to now, by observing it alone.
func (b *bundle) root(k identity.Key) member.ID {
	b.t.Helper()
	r := b.observe(identity.Observation{Keys: []identity.Key{k}, Source: "test", At: at(9_999)})
	require.NoError(b.t, r[0].Err)
	return r[0].Root
}

func (b *bundle) count(sql string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.db.QueryRow(b.t.Context(), sql, args...).Scan(&n))
	return n
}

// see is an import observation of keys at an hour.
func see(hour int, keys ...identity.Key) identity.Observation {
	return identity.Observation{Keys: keys, Kind: identity.KindImport, Source: "crm", At: at(hour), EventKey: fmt.Sprint(hour, keys)}
}

func src(system, v string) identity.Key {
	return identity.Key{NS: identity.NSSource, Scope: system, Value: v}
}
func ph(v string) identity.Key { return identity.Key{NS: identity.NSPhone, Value: v} }
func uni(v string) identity.Key {
	return identity.Key{NS: identity.NSWeChatUnionID, Scope: "brand", Value: v}
}
func open(v string) identity.Key {
	return identity.Key{NS: identity.NSWeChatOpenID, Scope: "wx1", Value: v}
}
func dev(v string) identity.Key  { return identity.Key{NS: identity.NSDevice, Value: v} }
func ord(v string) identity.Key  { return identity.Key{NS: identity.NSOrder, Value: v} }
func omid(v string) identity.Key { return identity.Key{NS: identity.NSTmallOMID, Value: v} }
