package channels_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

func TestAMessageFromPlanToClick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{BaseURL: "https://m.example.com", TrackClicks: true})
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, `<p>{{ member.name }}</p><a href="https://shop.example.com/?a=1&amp;b=2">x</a>`)
	who := b.members(1)[0]
	in := intent(who, "k", channels.ChannelEmail, "news")
	in.Journey, in.Node = "j1", "n1"

	b.plan(in)
	b.plan(in, in)
	require.Equal(t, channels.StatePlanned, b.get(in).State)
	b.drain()
	m := b.get(in)
	require.Equal(t, channels.StateAccepted, m.State)
	require.Equal(t, 1, b.provider.total(), "planned thrice, sent once")
	out := b.provider.last[m.Ref().String()]
	require.Equal(t, "m000000@example.com", out.To)
	require.Contains(t, out.Content.HTML, "王0")
	require.Contains(t, out.Content.HTML, `href="https://m.example.com/t/`)
	require.NotContains(t, out.Content.HTML, "shop.example.com")
	require.True(t, out.Content.Marketing)
	require.NotEmpty(t, out.Content.Unsubscribe)

	// receipts come in any order and more than once; the state moves forward only
	receipt := func(k channels.ReceiptKind) channels.Receipt {
		return channels.Receipt{Account: "mail", SendKey: m.Ref().String(), Kind: k, At: b.clock.Now()}
	}
	for _, k := range []channels.ReceiptKind{channels.ReceiptClicked, channels.ReceiptDelivered, channels.ReceiptRead, channels.ReceiptClicked, channels.ReceiptFailed} {
		require.NoError(t, b.svc.Receipts(t.Context(), []channels.Receipt{receipt(k), receipt(k)}))
		b.drain()
		require.Equal(t, channels.StateClicked, b.get(in).State)
	}
	for _, key := range []string{"message_sent", "message_clicked", "message_delivered", "message_opened"} {
		require.Equal(t, 1, b.count(`SELECT count(*) FROM member.activities WHERE key = $1 AND birth = $2 AND props->>'journey' = 'j1'`, key, who), key)
	}
	require.Zero(t, b.count(`SELECT count(*) FROM member.activities WHERE key = 'message_failed'`))

	// what was sent can be shown again, and is not in the database in clear
	shown, err := b.svc.Show(t.Context(), m.Ref(), true)
	require.NoError(t, err)
	require.Contains(t, shown.Content.HTML, "王0")
	masked, err := b.svc.Show(t.Context(), m.Ref(), false)
	require.NoError(t, err)
	require.NotContains(t, masked.Content.HTML, "王0")
	require.Zero(t, b.count(`SELECT count(*) FROM channels.messages m WHERE m::text LIKE '%王0%' OR m::text LIKE '%example.com%'`))
	require.Zero(t, b.count(`SELECT count(*) FROM channels.accounts a WHERE encode(a.secrets, 'escape') LIKE '%s3cret%'`))
}

func TestConsentRevokedBetweenPlanAndHandover(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, "x")
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	who := b.members(2)
	news, code, other := intent(who[0], "a", channels.ChannelEmail, "news"), intent(who[0], "b", channels.ChannelEmail, "code"), intent(who[1], "a", channels.ChannelEmail, "news")
	b.plan(news, code, other)
	b.consent(who[0], "email", false)
	b.drain()
	require.Equal(t, channels.ReasonNoConsent, b.get(news).Reason)
	require.Equal(t, channels.StateSuppressed, b.get(news).State)
	require.Equal(t, channels.StateAccepted, b.get(code).State, "a transaction message needs no marketing consent")
	require.Equal(t, channels.StateAccepted, b.get(other).State)

	// a lane cannot be raised above the template's
	raised := intent(who[0], "c", channels.ChannelEmail, "news")
	raised.Lane = channels.LaneTransaction
	b.plan(raised)
	b.drain()
	require.Equal(t, channels.StateSuppressed, b.get(raised).State)
}

func TestQuietHoursPauseAndExpiry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("sms", channels.ChannelSMS, channels.AccountSettings{})
	b.template("promo", channels.ChannelSMS, channels.LaneMarketing, "x")
	b.template("code", channels.ChannelSMS, channels.LaneTransaction, "x")
	who := b.members(1)[0]
	b.clock.Set(time.Date(2026, 11, 23, 13, 30, 0, 0, time.UTC)) // 21:30 in Shanghai
	promo, code := intent(who, "a", channels.ChannelSMS, "promo"), intent(who, "b", channels.ChannelSMS, "code")
	b.plan(promo, code)
	b.drain()
	m := b.get(promo)
	require.Equal(t, channels.StatePlanned, m.State)
	require.Equal(t, channels.ReasonQuietHours, m.Reason)
	require.Equal(t, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), m.DueAt.UTC())
	require.Equal(t, channels.StateAccepted, b.get(code).State)

	// at eight everything is paused, a minute after the pause it goes
	b.clock.Set(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	require.NoError(t, b.svc.SetPaused(t.Context(), true))
	b.drain()
	require.Equal(t, channels.ReasonPaused, b.get(promo).Reason)
	require.NoError(t, b.svc.SetPaused(t.Context(), false))
	b.clock.Advance(time.Minute)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(promo).State)

	// a message whose time ends in the quiet hours is not sent late
	b.clock.Set(time.Date(2026, 11, 24, 13, 30, 0, 0, time.UTC))
	late := intent(who, "c", channels.ChannelSMS, "promo")
	late.ExpiresAt = b.clock.Now().Add(time.Hour)
	b.plan(late)
	b.drain()
	require.Equal(t, channels.ReasonExpired, b.get(late).Reason)
}

func TestCapsAreExactUnderRaces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const accounts, planners, people = 4, 50, 40
	for i := range accounts {
		b.account("mail"+string(rune('a'+i)), channels.ChannelEmail, channels.AccountSettings{Batch: 50})
	}
	b.template("news", channels.ChannelEmail, channels.LaneMarketing, "x")
	who := b.members(people)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var senders sync.WaitGroup
	for range 2 {
		process := setupOn(t, b.db, b.clock, b.provider)
		senders.Go(func() { _ = process.svc.Run(ctx) })
	}
	var wg sync.WaitGroup
	for p := range planners {
		wg.Go(func() {
			var list []channels.Intent
			for _, w := range who {
				in := intent(w, "p"+string(rune('0'+p)), channels.ChannelEmail, "news")
				in.Account = "mail" + string(rune('a'+p%accounts))
				list = append(list, in)
			}
			require.NoError(t, pg.InTx(ctx, b.db, func(tx pgx.Tx) error { return b.svc.Plan(ctx, tx, list) }))
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		return b.count(`SELECT count(*) FROM channels.messages WHERE state IN ('planned', 'handed_over')`) == 0
	}, 30*time.Second, 50*time.Millisecond)
	cancel()
	senders.Wait()
	require.Equal(t, 2*people, b.provider.total(), "two a day each, exactly")
	require.Zero(t, b.count(`SELECT count(*) FROM (SELECT birth FROM channels.messages WHERE state = 'accepted' GROUP BY birth HAVING count(*) <> 2) x`))
	require.Equal(t, (planners-2)*people, b.count(`SELECT count(*) FROM channels.messages WHERE state = 'suppressed' AND reason = 'cap'`))

	// the window rolls: a day later there is room again
	b.clock.Advance(24*time.Hour + time.Second)
	again := intent(who[0], "again", channels.ChannelEmail, "news")
	b.plan(again)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(again).State)
}

func TestRetriesAndDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{MaxAttempts: 3})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	who := b.members(2)
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonBusy, Code: "421"}
	}
	in := intent(who[0], "a", channels.ChannelEmail, "code")
	b.plan(in)
	for range 3 {
		b.drain()
		b.drain() // nothing is due: nothing happens
		b.clock.Advance(10 * time.Minute)
	}
	m := b.get(in)
	require.Equal(t, channels.StateFailed, m.State)
	require.Equal(t, channels.ReasonAttempts, m.Reason)
	require.Equal(t, 3, b.provider.total())
	failures, err := b.svc.Find(t.Context(), channels.Query{States: []channels.State{channels.StateFailed}})
	require.NoError(t, err)
	require.Len(t, failures, 1)

	// resending takes failures only
	b.provider.answer = nil
	ok := intent(who[1], "a", channels.ChannelEmail, "code")
	b.plan(ok)
	b.drain()
	n, err := b.svc.Resend(t.Context(), []channels.Ref{m.Ref(), b.get(ok).Ref()})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(in).State)
	require.Equal(t, 5, b.provider.total())

	// trouble of the whole account holds all of it and costs no attempt
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonThrottled, RetryAfter: time.Minute}
	}
	held := intent(who[0], "held", channels.ChannelEmail, "code")
	b.plan(held)
	b.drain()
	a, err := b.svc.GetAccount(t.Context(), "mail")
	require.NoError(t, err)
	require.Equal(t, string(channels.ReasonThrottled), a.Health)
	require.Zero(t, b.get(held).Attempts)
	b.provider.answer = nil
	b.drain()
	require.Equal(t, channels.StatePlanned, b.get(held).State)
	b.clock.Advance(2 * time.Minute)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(held).State)
	a, err = b.svc.GetAccount(t.Context(), "mail")
	require.NoError(t, err)
	require.Empty(t, a.Health)
}

func TestAZombieWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	in := intent(b.members(1)[0], "a", channels.ChannelEmail, "code")
	b.plan(in)
	// while the message is with the provider, another process takes over
	b.provider.before = func() {
		_, err := b.db.Exec(context.Background(), `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 hour'`)
		require.NoError(t, err)
		_, ok, err := lease.Acquire(context.Background(), b.db, "channels/mail/0", "successor", time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
	}
	require.ErrorIs(t, b.svc.Drain(t.Context()), lease.ErrLost)
	require.Equal(t, channels.StateHandedOver, b.get(in).State, "the zombie recorded nothing")
	require.Equal(t, 1, b.provider.total())

	// the successor lists it as unknown and does not send it again
	b.provider.before = nil
	_, err := b.db.Exec(t.Context(), `UPDATE core.leases SET expires_at = clock_timestamp() - interval '1 hour'`)
	require.NoError(t, err)
	b.drain()
	m := b.get(in)
	require.Equal(t, channels.StateUnknown, m.State)
	require.Equal(t, channels.ReasonCrash, m.Reason)
	require.Equal(t, 1, b.provider.total())
	_, err = b.svc.Resend(t.Context(), []channels.Ref{m.Ref()})
	require.ErrorIs(t, err, channels.ErrNotResendable)

	// a receipt settles it
	require.NoError(t, b.svc.Receipts(t.Context(), []channels.Receipt{{Account: "mail", SendKey: m.Ref().String(), Kind: channels.ReceiptDelivered, At: b.clock.Now()}}))
	b.drain()
	require.Equal(t, channels.StateDelivered, b.get(in).State)
}

func TestUnknownOutcomesStayUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout}
	}
	in := intent(b.members(1)[0], "a", channels.ChannelEmail, "code")
	b.plan(in)
	b.drain()
	b.clock.Advance(24 * time.Hour)
	b.drain()
	require.Equal(t, channels.StateUnknown, b.get(in).State)
	require.Equal(t, 1, b.provider.total())
	require.NoError(t, b.svc.Resolve(t.Context(), b.get(in).Ref(), channels.StateFailed))
	require.Error(t, b.svc.Resolve(t.Context(), b.get(in).Ref(), channels.StateAccepted))
}

func TestGrantsOfTheMiniProgram(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mp", channels.ChannelMiniProgram, channels.AccountSettings{AppID: "wx1"})
	b.template("ship", channels.ChannelMiniProgram, channels.LaneTransaction, "x")
	who := b.members(1)[0]
	openid := channels.Key{NS: "wechat_openid", Scope: "wx1", Value: "o000000000000000000000000000"}
	grant := func(key string) channels.Inbound {
		return channels.Inbound{Account: "mp", From: openid, Kind: channels.InboundSubscribeGrant, Value: "TPL", At: b.clock.Now(), DedupeKey: key}
	}
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{grant("1"), grant("2"), grant("1")}))
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{grant("1")}))
	b.drain()
	require.Equal(t, 2, b.count(`SELECT left_n FROM channels.grants`), "a replayed grant counts once")
	a, c, d := intent(who, "a", channels.ChannelMiniProgram, "ship"), intent(who, "b", channels.ChannelMiniProgram, "ship"), intent(who, "c", channels.ChannelMiniProgram, "ship")
	b.plan(a, c, d)
	b.drain()
	require.Equal(t, 2, b.provider.total())
	require.Equal(t, 1, b.count(`SELECT count(*) FROM channels.messages WHERE reason = 'no_grant'`))
	require.Zero(t, b.count(`SELECT left_n FROM channels.grants`))

	// the provider knows of none although we count some: none it is
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{grant("3"), grant("4"), grant("5")}))
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonRefused, Code: "43101"}
	}
	b.plan(intent(who, "d", channels.ChannelMiniProgram, "ship"))
	b.drain()
	require.Zero(t, b.count(`SELECT left_n FROM channels.grants`))

	// a retry gives the grant back
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{grant("6")}))
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonBusy, RetryAfter: time.Hour}
	}
	b.plan(intent(who, "e", channels.ChannelMiniProgram, "ship"))
	b.drain()
	require.Equal(t, 1, b.count(`SELECT left_n FROM channels.grants`))
}

func TestFollowUnfollowAndOptOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("oa", channels.ChannelWeChat, channels.AccountSettings{AppID: "wx1"})
	b.account("sms", channels.ChannelSMS, channels.AccountSettings{})
	b.template("hello", channels.ChannelWeChat, channels.LaneService, "x")
	b.template("promo", channels.ChannelSMS, channels.LaneMarketing, "x")
	stranger := channels.Key{NS: "wechat_openid", Scope: "wx1", Value: "oStranger000000000000000000"}
	follow := channels.Inbound{Account: "oa", From: stranger, Kind: channels.InboundFollow, At: b.clock.Now(), DedupeKey: "f1"}
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{follow, follow}))
	b.drain()
	var birth member.Birth
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT birth FROM member.activities WHERE key = 'account_followed'`).Scan(&birth))
	in := intent(birth, "a", channels.ChannelWeChat, "hello")
	b.plan(in)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(in).State)
	require.Equal(t, stranger.Value, b.provider.last[b.get(in).Ref().String()].To)

	b.clock.Advance(time.Minute)
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{{Account: "oa", From: stranger, Kind: channels.InboundUnfollow, At: b.clock.Now(), DedupeKey: "u1"}}))
	b.drain()
	after := intent(birth, "b", channels.ChannelWeChat, "hello")
	b.plan(after)
	b.drain()
	require.Equal(t, channels.ReasonNoConsent, b.get(after).Reason)

	// a reply of T refuses SMS for the number
	who := b.members(1)[0]
	require.NoError(t, b.svc.Inbound(t.Context(), []channels.Inbound{{Account: "sms", From: channels.Key{NS: "phone", Value: "13912345678"}, Kind: channels.InboundOptOut, Value: "T", At: b.clock.Now(), DedupeKey: "o1"}}))
	b.drain()
	sms := intent(who, "c", channels.ChannelSMS, "promo")
	b.plan(sms)
	b.drain()
	require.Equal(t, channels.ReasonNoConsent, b.get(sms).Reason)
	require.Zero(t, b.count(`SELECT count(*) FROM channels.inbound WHERE state <> 'applied' OR payload IS NOT NULL`))
}

func TestReceiptsByProviderIDMayComeFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("sms", channels.ChannelSMS, channels.AccountSettings{})
	b.template("code", channels.ChannelSMS, channels.LaneTransaction, "x")
	in := intent(b.members(1)[0], "a", channels.ChannelSMS, "code")
	ref := channels.RefOf(in.Birth, in.SendKey)
	early := channels.Receipt{Account: "sms", ProviderID: "p-" + ref.String(), Kind: channels.ReceiptFailed, Reason: channels.ReasonNoAddress, Permanent: true, At: b.clock.Now()}
	require.NoError(t, b.svc.Receipts(t.Context(), []channels.Receipt{early}))
	b.drain()
	b.plan(in)
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(in).State)
	b.clock.Advance(time.Minute)
	b.drain()
	require.Equal(t, channels.StateFailed, b.get(in).State)
	// the dead number is not used again
	next := intent(in.Birth, "b", channels.ChannelSMS, "code")
	b.plan(next)
	b.drain()
	require.Equal(t, channels.ReasonBlocked, b.get(next).Reason)
	// a message nobody knows is given up, not forgotten
	require.NoError(t, b.svc.Receipts(t.Context(), []channels.Receipt{{Account: "sms", ProviderID: "nobody", Kind: channels.ReceiptDelivered, At: b.clock.Now()}}))
	for range 14 {
		b.clock.Advance(7 * time.Hour)
		b.drain()
	}
	require.Equal(t, 1, b.count(`SELECT count(*) FROM channels.inbound WHERE state = 'dead'`))
}

func TestPlanRecordsWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	who := b.members(1)[0]
	missing, nowhere, ghost := intent(who, "a", channels.ChannelEmail, "none"), intent(who, "b", channels.ChannelPush, "code"), intent(member.Birth(999999), "c", channels.ChannelEmail, "code")
	b.plan(missing, nowhere, ghost)
	b.drain()
	require.Equal(t, channels.ReasonNoTemplate, b.get(missing).Reason)
	require.Equal(t, channels.ReasonNoAccount, b.get(nowhere).Reason)
	require.Equal(t, channels.ReasonNoIdentity, b.get(ghost).Reason)
	require.Zero(t, b.provider.total())
	require.Error(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
		return b.svc.Plan(t.Context(), tx, []channels.Intent{{Birth: who}})
	}))
	var caps []channels.Cap
	require.NoError(t, json.Unmarshal([]byte(`[{"max":1,"window":"7d","campaign":"double11","defer":true}]`), &caps))
	require.NoError(t, b.svc.SetCaps(t.Context(), caps))
	require.ErrorIs(t, b.svc.SetCaps(t.Context(), []channels.Cap{{Max: 1}}), channels.ErrCaps)
}

// asked is a provider that can be asked what it has.
type asked struct {
	*fakeProvider
	has map[string]bool
}

func (a *asked) Reconcile(_ context.Context, batch []channels.Outgoing, _ time.Time) []channels.Result {
	out := make([]channels.Result, len(batch))
	for i, o := range batch {
		out[i] = channels.Result{Outcome: channels.OutcomeRetry}
		if a.has[o.SendKey] {
			out[i] = channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: "found-" + o.SendKey}
		}
	}
	return out
}

func TestUnknownOutcomesAreReconciled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	provider := &asked{b.provider, map[string]bool{}}
	w, err := wire(b.db, b.clock, func(channels.Account) (channels.Sender, error) { return provider, nil })
	require.NoError(t, err)
	b.svc = w.svc
	b.account("sms", channels.ChannelSMS, channels.AccountSettings{})
	b.template("code", channels.ChannelSMS, channels.LaneTransaction, "x")
	who := b.members(2)
	arrived, lost := intent(who[0], "a", channels.ChannelSMS, "code"), intent(who[1], "a", channels.ChannelSMS, "code")
	provider.has[channels.RefOf(arrived.Birth, arrived.SendKey).String()] = true
	b.provider.answer = func(channels.Outgoing) channels.Result {
		return channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout}
	}
	b.plan(arrived, lost)
	b.drain()
	require.NoError(t, b.svc.Reconcile(t.Context()))
	require.Equal(t, channels.StateUnknown, b.get(arrived).State, "the provider's list is not immediate")
	b.clock.Advance(2 * time.Minute)
	require.NoError(t, b.svc.Reconcile(t.Context()))
	require.Equal(t, channels.StateAccepted, b.get(arrived).State)
	require.Equal(t, channels.StatePlanned, b.get(lost).State, "the provider certainly does not have it")
	b.provider.answer = nil
	b.drain()
	require.Equal(t, channels.StateAccepted, b.get(lost).State)
	require.Equal(t, 1, b.provider.got[channels.RefOf(arrived.Birth, arrived.SendKey).String()])
	require.Equal(t, 1, b.count(`SELECT count(*) FROM member.activities WHERE key = 'message_sent' AND birth = $1`, who[0]))
	require.NoError(t, b.svc.Reconcile(t.Context()))
	require.Zero(t, b.count(`SELECT count(*) FROM channels.unknowns`))
}

func TestOnePersonUnderTwoBirthsGetsAJourneysMessageOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("mail", channels.ChannelEmail, channels.AccountSettings{})
	b.template("code", channels.ChannelEmail, channels.LaneTransaction, "x")
	who := b.members(1)[0]
	var twin member.Birth
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT max(birth) FROM member.births WHERE root = (SELECT root FROM member.births WHERE birth = $1)`, who).Scan(&twin))
	require.NotEqual(t, who, twin)
	at := func(birth member.Birth, key, node string) channels.Intent {
		in := intent(birth, key, channels.ChannelEmail, "code")
		in.Journey, in.Node = "welcome", node
		return in
	}
	first, second, later, again := at(who, "a", "n1"), at(twin, "a", "n1"), at(twin, "b", "n2"), at(who, "c", "n1")
	b.plan(first, second)
	b.drain()
	b.plan(later, again)
	b.drain()
	got := map[channels.State]int{b.get(first).State: 1}
	got[b.get(second).State]++
	require.Equal(t, map[channels.State]int{channels.StateAccepted: 1, channels.StateSuppressed: 1}, got)
	require.Equal(t, channels.StateAccepted, b.get(later).State, "another node is another message")
	require.Equal(t, 1, b.count(`SELECT count(*) FROM channels.messages WHERE reason = 'duplicate' AND node = 'n1' AND birth IN ($1, $2) AND send_key <> $3`, who, twin, again.SendKey))
}
