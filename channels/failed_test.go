package channels_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
)

// message_failed is the provider's no. What we hold back ourselves is in the ledger and is no activity of the member.
func TestOnlyProvidersFailMessages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, "x")
	who := b.members(3)
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonNoAddress, Code: "550"}
	}
	refused, silent := intent(who[0], "a", channels.ChannelEmail, "news"), intent(who[1], "b", channels.ChannelEmail, "news")
	unknown := intent(who[2], "c", channels.ChannelEmail, "no-such-template")
	b.consent(who[1], "email", false)
	b.plan(refused, silent, unknown)
	b.drain()
	require.Equal(t, channels.StateFailed, b.get(refused).State)
	require.Equal(t, channels.StateSuppressed, b.get(silent).State)
	require.Equal(t, channels.ReasonNoTemplate, b.get(unknown).Reason)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.activities WHERE key LIKE 'message_%'`))
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.activities WHERE key = 'message_failed' AND birth = $1 AND props ->> 'reason' = $2`,
		who[0], string(channels.ReasonNoAddress)))
}
