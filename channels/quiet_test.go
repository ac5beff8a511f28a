package channels_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
)

// The stricter of the account's and the message's own quiet hours holds, also where one begins before the other ends.
func TestOwnQuietHours(t *testing.T) {
	t.Parallel()
	account := channels.Quiet{Window: channels.Window{From: 21 * 60, To: 8 * 60}, Lanes: []channels.Lane{channels.LaneMarketing}}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour-8, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		lane  channels.Lane
		own   channels.Window
		now   time.Time
		until time.Time // zero: sent
	}{
		"none at noon":                 {channels.LaneMarketing, channels.Window{}, at(23, 12, 0), time.Time{}},
		"the account's at night":       {channels.LaneMarketing, channels.Window{}, at(23, 22, 0), at(24, 8, 0)},
		"its own at noon":              {channels.LaneMarketing, channels.Window{From: 11 * 60, To: 14 * 60}, at(23, 12, 0), at(23, 14, 0)},
		"the account's, then its own":  {channels.LaneMarketing, channels.Window{From: 7 * 60, To: 10 * 60}, at(23, 22, 0), at(24, 10, 0)},
		"its own, then the account's":  {channels.LaneMarketing, channels.Window{From: 19 * 60, To: 21*60 + 30}, at(23, 19, 30), at(24, 8, 0)},
		"the ends themselves are free": {channels.LaneMarketing, channels.Window{From: 11 * 60, To: 12 * 60}, at(23, 12, 0), time.Time{}},
		"its own bind every lane":      {channels.LaneTransaction, channels.Window{From: 11 * 60, To: 14 * 60}, at(23, 12, 0), at(23, 14, 0)},
		"the account's only its lanes": {channels.LaneTransaction, channels.Window{}, at(23, 22, 0), time.Time{}},
		"over midnight":                {channels.LaneService, channels.Window{From: 23 * 60, To: 6 * 60}, at(24, 1, 0), at(24, 6, 0)},
	} {
		f := channels.Facts{Channel: channels.ChannelSMS, Lane: c.lane, Quiet: c.own, Identity: true, Granted: true, ExpiresAt: c.now.Add(48 * time.Hour)}
		d := channels.Decide(f, channels.Policy{Quiet: account}, c.now)
		if c.until.IsZero() {
			require.Equal(t, channels.ActionSend, d.Action, name)
			continue
		}
		require.Equal(t, channels.Decision{Action: channels.ActionDefer, Reason: channels.ReasonQuietHours, Until: c.until.In(d.Until.Location())}, d, name)
	}
}

func TestOwnQuietHoursThroughTheLedger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, "x")
	who := b.members(1)[0]
	held, free := intent(who, "held", channels.ChannelEmail, "news"), intent(who, "free", channels.ChannelEmail, "news")
	held.Quiet = channels.Window{From: 11 * 60, To: 14*60 + 30}
	b.plan(held, free)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(free).State)
	m := b.get(held)
	require.Equal(t, channels.StatePlanned, m.State)
	require.Equal(t, channels.ReasonQuietHours, m.Reason)
	require.Equal(t, noon.Add(150*time.Minute), m.DueAt.UTC())

	b.clock.Set(noon.Add(150 * time.Minute))
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(held).State)

	wrong := intent(who, "wrong", channels.ChannelEmail, "news")
	wrong.Quiet = channels.Window{From: -1, To: 5}
	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	require.ErrorIs(t, b.svc.Plan(t.Context(), tx, []channels.Intent{wrong}), channels.ErrIntent)
}
