package channels_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/email"
	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// envSender makes the test binary a sending process: it holds the database to send from.
const envSender = "LIANKE_TEST_SENDER"

func TestMain(m *testing.M) {
	if url := os.Getenv(envSender); url != "" {
		if err := runSender(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runSender sends with the real mail sender until it is killed.
func runSender(url string) error {
	ctx := context.Background()
	db, err := pg.Open(ctx, url, 8)
	if err != nil {
		return err
	}
	b, err := wire(db, clock.NewVirtual(noon), mailOpener)
	if err != nil {
		return err
	}
	return b.svc.Run(ctx)
}

func mailOpener(a channels.Account) (channels.Sender, error) {
	var cfg email.Config
	if err := json.Unmarshal(a.Config, &cfg); err != nil {
		return nil, err
	}
	network, err := provider.Open(nil)
	if err != nil {
		return nil, err
	}
	cfg.Account = a.Code
	return email.New(cfg, network, clock.System{})
}

// sink is an SMTP server that accepts everything and counts messages by the key in their envelope sender.
type sink struct {
	listener net.Listener
	mu       sync.Mutex
	got      map[string]int
	total    int
}

func newSink(t testing.TB) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &sink{listener: l, got: map[string]int{}}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	say := func(line string) {
		_, _ = w.WriteString(line + "\r\n")
		if r.Buffered() == 0 {
			_ = w.Flush()
		}
	}
	say("220 sink")
	key := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(verb, "EHLO"):
			say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
		case strings.HasPrefix(verb, "MAIL FROM:"):
			key = envelopeKey(line)
			say("250 ok")
		case verb == "DATA":
			say("354 go")
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
			}
			s.mu.Lock()
			s.got[key]++
			s.total++
			s.mu.Unlock()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			_ = w.Flush()
			return
		default:
			say("250 ok")
		}
	}
}

// envelopeKey reads the message's reference from bounce+KEY.MAC@domain.
func envelopeKey(line string) string {
	_, after, _ := strings.Cut(line, "+")
	key, _, _ := strings.Cut(after, ".")
	return key
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// TestKilledSenders kills the sending process twice in the middle of 20,000 messages to a provider that cannot dedupe.
// Afterwards sink and ledger agree: nothing is lost, nothing is sent twice, and what nobody knows is listed and fits into
// the in-flight window.
func TestKilledSenders(t *testing.T) {
	t.Parallel()
	const people, each, batch = 1000, 20, 500
	url := pgtest.URL(t)
	db, err := pg.Open(t.Context(), url, 8)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	b, err := wire(db, clock.NewVirtual(noon), mailOpener)
	require.NoError(t, err)
	b.t = t

	mailbox := newSink(t)
	host, port, err := net.SplitHostPort(mailbox.listener.Addr().String())
	require.NoError(t, err)
	_, err = b.svc.SaveAccount(t.Context(), channels.Account{
		Code: "mail", Channel: channels.ChannelEmail, Name: "mail", Settings: channels.AccountSettings{Batch: batch},
		Config: json.RawMessage(fmt.Sprintf(`{"host":%q,"port":%s,"tls":"none","from":"a@brand.example","domain":"brand.example","secret":"0123456789abcdef0123456789abcdef"}`, host, port)),
	})
	require.NoError(t, err)
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "hello {{ member.name }}")
	who := b.members(people)
	var intents []channels.Intent
	for k := range each {
		for _, w := range who {
			intents = append(intents, intent(w, fmt.Sprint(k), channels.ChannelEmail, "code"))
		}
	}
	b.plan(intents...)

	kills := 0
	for _, until := range []int{len(intents) / 4, len(intents) / 2} {
		kill := startSender(t, url)
		require.Eventually(t, func() bool { return mailbox.count() > until }, time.Minute, time.Millisecond)
		kill()
		kills++
		// The lease of a dead holder runs out after a while; the test does not wait for it.
		_, err := db.Exec(t.Context(), `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 second'`)
		require.NoError(t, err)
	}
	startSender(t, url)
	require.Eventually(t, func() bool {
		return b.count(`SELECT count(*) FROM channels.messages WHERE state IN ('planned', 'handed_over')`) == 0
	}, 2*time.Minute, 100*time.Millisecond)

	ledger := map[string]channels.State{}
	for _, in := range intents {
		m := channels.RefOf(in.Birth, in.SendKey)
		ledger[m.String()] = ""
	}
	rows, err := db.Query(t.Context(), `SELECT birth, id, state FROM channels.messages`)
	require.NoError(t, err)
	states := map[channels.State]int{}
	for rows.Next() {
		var (
			ref   channels.Ref
			state channels.State
		)
		require.NoError(t, rows.Scan(&ref.Birth, &ref.ID, &state))
		ledger[ref.String()] = state
		states[state]++
	}
	require.NoError(t, rows.Err())
	require.Len(t, ledger, len(intents))
	t.Logf("after %d kills: %v, %d in the sink", kills, states, mailbox.count())
	mailbox.mu.Lock()
	defer mailbox.mu.Unlock()
	for ref, state := range ledger {
		switch n := mailbox.got[ref]; state {
		case channels.StateAccepted:
			require.Equal(t, 1, n, "accepted means sent, once: %s", ref)
		case channels.StateUnknown:
			require.LessOrEqual(t, n, 1, "unknown was sent at most once: %s", ref)
		default:
			t.Fatalf("%s is %s", ref, state)
		}
	}
	for ref := range mailbox.got {
		require.Contains(t, ledger, ref, "the sink got nothing the ledger does not know")
	}
	require.NotZero(t, states[channels.StateUnknown], "the kills hit messages in flight")
	require.LessOrEqual(t, states[channels.StateUnknown], kills*3*batch)
	require.Zero(t, b.count(`SELECT count(*) FROM channels.handovers`))
	listed, err := b.svc.CountStates(t.Context(), "mail", time.Time{})
	require.NoError(t, err)
	require.EqualValues(t, states[channels.StateUnknown], listed[channels.StateUnknown])
}

// startSender starts a sending process and returns how to kill it.
func startSender(t *testing.T, url string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envSender+"="+url)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(syscall.SIGKILL)
			_ = cmd.Wait()
		})
	}
	t.Cleanup(kill)
	return kill
}
