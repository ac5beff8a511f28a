package journeys_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/egress"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
)

// dying ends the transaction after the messages of a batch were planned, as a kill would: the connection goes away.
type dying struct {
	*world
	db    *pg.Pool
	after int32
	calls atomic.Int32
}

func (d *dying) Plan(ctx context.Context, tx pgx.Tx, messages []journeys.Message) error {
	for _, m := range messages {
		if _, err := tx.Exec(ctx, `INSERT INTO sent (key, birth) VALUES ($1, $2)`, m.SendKey, m.Birth); err != nil {
			return err
		}
	}
	if d.calls.Add(1)%d.after == 0 {
		_ = tx.Conn().Close(ctx)
		return errors.New("connection lost")
	}
	return nil
}

// A step that does not commit leaves nothing behind: not the state, not the message, not the figure.
func TestKilledBatchLeavesNothingAndIsDoneAgain(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	_, err := b.db.Exec(t.Context(), `CREATE TABLE sent (key uuid PRIMARY KEY, birth bigint)`)
	require.NoError(t, err)
	m := b.members(60)
	b.publish("j", doc(onPaid, `{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"m1"}`, message,
		end))
	for _, birth := range m {
		b.happen(fact{birth: birth, key: "order_paid"})
	}
	b.drain()
	b.clock.Advance(time.Hour)
	d := &dying{world: b.world, db: b.db, after: 3}
	out := b.world.outside()
	out.Messenger = d
	engine := b.engineWith(out, "dying", 5)
	for failed := 0; ; failed++ {
		require.Less(t, failed, 100)
		// Each attempt is a new process: what the last one held expires.
		_, err := b.db.Exec(t.Context(), `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 second'`)
		require.NoError(t, err)
		if engine.Drain(t.Context()) == nil {
			require.Positive(t, failed, "the test kills nothing")
			break
		}
	}
	var sent, distinct int
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT birth) FROM sent`).Scan(&sent, &distinct))
	require.Equal(t, 60, sent)
	require.Equal(t, 60, distinct)
	for _, n := range b.status("j").Nodes {
		require.EqualValues(t, 60, n.Entered, n.Node)
	}
}

// Two processes work at the same time on everything; each effect happens once.
func TestTwoEnginesSideBySide(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(200)
	b.publish("facts", doc(`{"trigger":{"kind":"activity","key":"a"},"reentry":{"policy":"never"}}`, message2("m1", "w1"), `{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"m2"}`, message2("m2", "end"), end))
	b.publish("daily", doc(`{"trigger":{"kind":"schedule","schedule":{"every":"day","time":"11:00"}},"audience":{"mod":[1,0]},"reentry":{"policy":"never"}}`, message2("m3", "end"), end))
	for range 2 {
		for _, birth := range m {
			b.happen(fact{birth: birth, key: "a"})
		}
	}
	work := func() {
		var wg sync.WaitGroup
		for _, holder := range []string{"one", "two", "three"} {
			e := b.newEngine(holder, 11)
			wg.Go(func() {
				if err := e.Drain(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	work()
	b.clock.Advance(time.Hour)
	work()
	b.drain()
	require.Len(t, b.world.messages, 600)
	require.Equal(t, 600, b.world.plans)
	require.EqualValues(t, 200, b.status("facts").Started)
	require.EqualValues(t, 200, b.status("daily").Started)
}

func TestWebhooksAreDeliveredWithTheirKey(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(1)
	var mu sync.Mutex
	keys := map[string]int{}
	fail, signed := true, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		signed = r.Header.Get(journeys.SignatureHeader) == journeys.Signature([]byte("secret"), b.clock.Now(), body)
		keys[r.Header.Get("Idempotency-Key")+" "+string(body)]++
		if fail {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	caller := journeys.NewCaller(b.db, b.clock, egress.New(egress.Options{Private: true}), []byte("secret"))
	out := b.world.outside()
	out.Webhooks = caller
	b.engine = b.engineWith(out, "engine-1", 0)
	b.publish("j", doc(onPaid, `{"id":"h1","kind":"webhook","webhook":{"url":"`+server.URL+`","body":{"n":1}},"next":"end"}`, end))
	b.happen(fact{birth: m[0], key: "order_paid"})
	b.drain()
	for _, want := range []int{1, 0} {
		n, err := caller.Deliver(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	b.clock.Advance(time.Minute)
	n, err := caller.Deliver(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.clock.Advance(time.Hour)
	n, err = caller.Deliver(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Len(t, keys, 1, "the same key and body each time")
	require.True(t, signed)
	runID, err := id.Parse(b.runs(m[0])[0].ID)
	require.NoError(t, err)
	for k := range keys {
		require.Contains(t, k, journeys.EffectKey(runID, "h1", 1).String())
	}

	// Without leave for the private network, and with a body that is too large, nothing is called.
	calls := []journeys.Webhook{
		{Origin: journeys.Origin{Journey: "j", Node: "h1", Birth: m[0], At: b.clock.Now()}, Key: id.New(), URL: server.URL},
		{Origin: journeys.Origin{Journey: "j", Node: "h1", Birth: m[0], At: b.clock.Now()}, Key: id.New(), URL: server.URL, Payload: map[string]any{"x": strings.Repeat("x", 300_000)}},
	}
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error { return caller.Queue(t.Context(), tx, calls) }))
	n, err = journeys.NewCaller(b.db, b.clock, egress.New(egress.Options{}), []byte("secret")).Deliver(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Len(t, keys, 1)
	why := map[string]string{}
	for _, c := range calls {
		var status, reason string
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT status, error FROM journeys.webhooks WHERE key = $1`, c.Key).Scan(&status, &reason))
		why[status] = reason
	}
	require.Contains(t, why["pending"], "not a public address")
	require.Contains(t, why["failed"], "larger than")
}

// The signature is a contract with those who verify it.
func TestWebhookSignature(t *testing.T) {
	t.Parallel()
	require.Equal(t, "t=1700000000,v1=d36d6ce71da26cb3ead69e45b2a02790c45c5d2a1513de8b1c72748922dd8747",
		journeys.Signature([]byte("secret"), time.Unix(1700000000, 0), []byte(`{"n":1}`)))
}

func TestHoldoutsGetNothingAndAreCompared(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	m := b.members(300)
	b.publish("j", doc(`{"trigger":{"kind":"activity","key":"order_paid"},"reentry":{"policy":"always"},"holdout_bp":3000,"goal":{"key":"cart_added","within":"2d"}}`, message, end))
	for range 2 {
		for _, birth := range m {
			b.happen(fact{birth: birth, key: "order_paid"})
		}
		b.drain()
	}
	held := 0
	for _, birth := range m {
		switch sent := len(b.world.sentTo(birth)); sent {
		case 0:
			held++
		default:
			require.Equal(t, 2, sent, "a member is on the same side every time")
		}
	}
	require.InDelta(t, 90, held, 40)
	for _, birth := range m {
		b.happen(fact{birth: birth, key: "cart_added"})
	}
	b.drain()
	r := b.status("j")
	require.EqualValues(t, 2*held, r.GoalsHeld)
	require.EqualValues(t, 2*(300-held), r.Goals)
	require.NoError(t, b.fold())
	again := b.status("j")
	require.Equal(t, r.Nodes, again.Nodes, "folding the deltas changes no figure")
	require.Equal(t, r.Goals, again.Goals)
}
