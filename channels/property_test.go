package channels_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/id"
)

var states = []channels.State{
	channels.StatePlanned, channels.StateHandedOver, channels.StateAccepted, channels.StateDelivered, channels.StateRead,
	channels.StateClicked, channels.StateFailed, channels.StateSuppressed, channels.StateUnknown,
}

// reachable says whether a state can follow another in any number of steps that the program takes by itself: sending a
// failed message again and settling an unknown one are acts of an operator.
func reachable(from, to channels.State) bool {
	seen := []channels.State{from}
	for i := 0; i < len(seen); i++ {
		if seen[i] == to {
			return true
		}
		for _, next := range states {
			operator := (seen[i] == channels.StateFailed || seen[i] == channels.StateUnknown) && next == channels.StatePlanned
			if channels.May(seen[i], next) && !operator && !slices.Contains(seen, next) {
				seen = append(seen, next)
			}
		}
	}
	return false
}

func TestStatesNeverGoBack(t *testing.T) {
	t.Parallel()
	arrived := []channels.State{channels.StateAccepted, channels.StateDelivered, channels.StateRead, channels.StateClicked}
	for i, from := range arrived {
		for j, to := range arrived {
			require.Equal(t, j >= i, reachable(from, to), "%s → %s", from, to)
		}
		require.False(t, reachable(from, channels.StatePlanned))
		require.False(t, reachable(from, channels.StateHandedOver))
	}
	for _, to := range states {
		require.Equal(t, to == channels.StateSuppressed, reachable(channels.StateSuppressed, to))
	}
}

// Whatever providers answer and report, in whatever order: states only move forward, and no key is accepted twice.
func TestLedgerUnderRandomHistories(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{MaxAttempts: 3, Batch: 7})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	who := b.members(12)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		accepted := map[string]int{}
		b.provider.answer = func(o channels.Outgoing) channels.Result {
			r := channels.Result{Outcome: rapid.SampledFrom([]channels.Outcome{
				channels.OutcomeAccepted, channels.OutcomeAccepted, channels.OutcomeRejected, channels.OutcomeRetry, channels.OutcomeUnknown,
			}).Draw(rt, "outcome"), Reason: channels.ReasonBusy}
			if r.Outcome == channels.OutcomeAccepted || r.Outcome == channels.OutcomeUnknown {
				accepted[o.SendKey]++
			}
			return r
		}
		// one connection at a time: the generator is not for concurrent use
		var intents []channels.Intent
		for _, w := range who[:rapid.IntRange(1, len(who)).Draw(rt, "n")] {
			intents = append(intents, channels.Intent{SendKey: id.Derived("r", fmt.Sprint(round), w.String()), Birth: w, Channel: channels.ChannelEmail, Template: "code"})
		}
		b.plan(intents...)
		before := map[channels.Ref]channels.State{}
		for range rapid.IntRange(3, 8).Draw(rt, "steps") {
			in := rapid.SampledFrom(intents).Draw(rt, "which")
			ref := channels.RefOf(in.Birth, in.SendKey)
			switch rapid.SampledFrom([]string{"drain", "drain", "receipt", "plan", "withdraw", "wait"}).Draw(rt, "step") {
			case "drain":
				b.drain()
			case "receipt":
				kind := rapid.SampledFrom([]channels.ReceiptKind{channels.ReceiptDelivered, channels.ReceiptRead, channels.ReceiptClicked, channels.ReceiptFailed}).Draw(rt, "kind")
				require.NoError(rt, b.svc.Receipts(t.Context(), []channels.Receipt{{Account: "mail", SendKey: ref.String(), Kind: kind, At: b.clock.Now()}}))
				_, err := b.svc.ApplyInbound(t.Context())
				require.NoError(rt, err)
			case "plan":
				b.plan(intents...)
			case "withdraw":
				b.tx(func(tx pgx.Tx) error {
					_, err := b.svc.Withdraw(t.Context(), tx, []channels.Ref{ref})
					return err
				})
			case "wait":
				b.clock.Advance(10 * time.Minute)
			}
			for _, in := range intents {
				m := b.get(in)
				if was, ok := before[m.Ref()]; ok {
					require.True(rt, reachable(was, m.State), "%s → %s", was, m.State)
				}
				before[m.Ref()] = m.State
				require.LessOrEqual(rt, accepted[m.Ref().String()], 1, "sent twice")
			}
		}
	})
}

// Decide allows exactly Max marketing messages in any rolling window.
func TestCapsOverAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit, window := rapid.IntRange(1, 4).Draw(rt, "max"), time.Duration(rapid.IntRange(1, 48).Draw(rt, "hours"))*time.Hour
		p := channels.Policy{Caps: []channels.Cap{{Max: limit, Window: channels.Duration(window), Defer: true}}}
		f := channels.Facts{Channel: channels.ChannelEmail, Lane: channels.LaneMarketing, Identity: true, Granted: true, ExpiresAt: noon.Add(1000 * time.Hour)}
		now := noon
		for range rapid.IntRange(5, 60).Draw(rt, "tries") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "minutes")) * time.Minute)
			d := channels.Decide(f, p, now)
			inside := 0
			for _, past := range f.Past {
				if past.At.After(now.Add(-window)) {
					inside++
				}
			}
			if inside < limit {
				require.Equal(rt, channels.ActionSend, d.Action)
				f.Past = append(f.Past, channels.Past{At: now, Channel: channels.ChannelEmail})
				continue
			}
			require.Equal(rt, channels.ActionDefer, d.Action)
			require.True(rt, d.Until.After(now))
			require.Equal(rt, channels.ActionSend, channels.Decide(f, p, d.Until).Action, "there is room when it says so")
			require.NotEqual(rt, channels.ActionSend, channels.Decide(f, p, d.Until.Add(-time.Microsecond)).Action, "and not before")
		}
	})
}
