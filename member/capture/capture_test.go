package capture_test

import (
	"context"
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
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

var t0 = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

type bundle struct {
	t       *testing.T
	db      *pg.Pool
	clock   *clock.Virtual
	secrets *member.Secrets
	graph   *identity.Service
	door    *capture.Door
	reveals []string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, db: pgtest.DB(t), clock: clock.NewVirtual(t0.Add(1000 * time.Hour))}
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	discard := slog.New(slog.DiscardHandler)
	log := activity.NewLog(b.db, b.clock, discard)
	b.graph = identity.New(b.db, b.clock, ring, log, events.New(b.db, b.clock, jobs.New(b.db, discard)))
	b.secrets = member.NewSecrets(ring, func(_ context.Context, _ pgx.Tx, birth member.Birth, kind, why string) error {
		b.reveals = append(b.reveals, fmt.Sprintf("%s %s %s", birth, kind, why))
		return nil
	})
	b.door = capture.New(b.graph, b.secrets, log, b.clock)
	return b
}

func (b *bundle) observe(persons ...capture.Person) []identity.Resolved {
	b.t.Helper()
	var out []identity.Resolved
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, func(tx pgx.Tx) (err error) {
		out, err = b.door.Observe(b.t.Context(), tx, persons)
		return err
	}))
	return out
}

func key(ns, scope, v string) identity.Key { return identity.Key{NS: ns, Scope: scope, Value: v} }

func TestCaptureWritesEverythingAPersonSaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shen := capture.Person{
		Keys: []identity.Key{key("source", "pos", "1"), key("phone", "", "13812345678"), key("wechat_openid", "wx1", "oShen")},
		Name: crypt.Name("沈若溪"), Attrs: map[string]any{"gender": "f", "home_store": "HZ01"}, Tags: []string{"vip"},
		Consents:     []capture.Consent{{Channel: "sms", Granted: true}},
		RegisteredAt: t0, Source: "pos", At: t0.Add(time.Hour), Mode: member.ModeBackfill, Touchpoint: member.TouchpointPOS,
	}
	tmall := capture.Person{
		Keys: []identity.Key{key("source", "tmall", "9"), key("phone", "", "+8613812345678")},
		Name: crypt.Name("沈若曦"), Attrs: map[string]any{"gender": "F", "city": "杭州"}, RegisteredAt: t0.Add(-time.Hour),
		Source: "tmall", At: t0.Add(2 * time.Hour), Mode: member.ModeBackfill,
	}
	r := b.observe(shen, tmall, capture.Person{Source: "pos", At: t0})
	require.ErrorIs(t, r[2].Err, identity.ErrNoKey)
	require.Equal(t, r[0].Root, r[1].Root)

	var isMember bool
	var registered time.Time
	var attrs map[string]any
	var tags []string
	var store string
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT is_member, registered_at, attrs, tags, home_store FROM member.members WHERE id = $1`, r[0].Root).
		Scan(&isMember, &registered, &attrs, &tags, &store))
	require.True(t, isMember)
	require.True(t, registered.Equal(t0.Add(-time.Hour)), "the earliest registration of the cluster")
	require.Equal(t, map[string]any{"gender": "F", "city": "杭州", "home_store": "HZ01"}, attrs)
	require.Equal(t, []string{"vip"}, tags)
	require.Equal(t, "HZ01", store)

	var granted bool
	var phoneBirth member.Birth
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT birth, granted FROM member.reach WHERE id = $1 AND channel = 'sms'`, r[0].Root).Scan(&phoneBirth, &granted))
	require.True(t, granted)
	clear, err := b.secrets.Open(t.Context(), b.db, []member.Birth{phoneBirth}, "phone")
	require.NoError(t, err)
	require.Equal(t, "+8613812345678", clear[phoneBirth]["phone"].Reveal())
	require.Equal(t, "138****5678", clear[phoneBirth]["phone"].String())

	var acts, feed int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*) FROM member.activities WHERE key = 'member_registered'`).Scan(&acts))
	require.Equal(t, 2, acts)
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*) FROM member.feed_inbox WHERE mode = 'live'`).Scan(&feed))
	require.Zero(t, feed, "backfill stays backfill")

	// A refusal under the phone itself decides, whatever the record says; replaying the import does not undo it.
	b.observe(capture.Person{Keys: []identity.Key{key("phone", "", "13812345678")}, Consents: []capture.Consent{{Channel: "sms"}}, Source: "sms", At: t0.Add(3 * time.Hour)})
	b.observe(shen, tmall)
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT granted FROM member.reach WHERE id = $1 AND channel = 'sms'`, r[0].Root).Scan(&granted))
	require.False(t, granted)
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*) FROM member.activities`).Scan(&acts))
	require.Equal(t, 2, acts)
}

func TestRealNamesTellAFamilyApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	person := func(system, id, name string, h int) capture.Person {
		return capture.Person{Keys: []identity.Key{key("source", system, id), key("phone", "", "13800001111")}, Name: crypt.Name(name),
			Source: system, At: t0.Add(time.Duration(h) * time.Hour)}
	}
	r := b.observe(
		person("pos", "mother", "林晚晴", 1), person("tmall", "daughter", "何小雨", 2),
		person("app", "mother", "林晚晴", 3), person("jd", "daughter", "何 小 雨", 4), person("weibo", "x", "快乐的小鱼", 5),
	)
	require.Equal(t, r[0].Root, r[2].Root)
	require.Equal(t, r[1].Root, r[3].Root)
	require.NotEqual(t, r[0].Root, r[1].Root)
	require.Len(t, r[4].Births, 2, "a nickname says nothing about whose phone it is; the phone is the newest user's")
}
