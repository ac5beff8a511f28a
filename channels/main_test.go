package channels_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/contact"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/templates"
)

// noon in Shanghai: no quiet hours.
var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// bundle is the pipeline on a database of the test's own, with a provider that remembers.
type bundle struct {
	t         testing.TB
	db        *pg.Pool
	clock     *clock.Virtual
	ring      *crypt.Ring
	log       *activity.Log
	door      *capture.Door
	profile   *member.Profile
	templates *templates.Service
	svc       *channels.Service
	provider  *fakeProvider
}

func setup(t testing.TB) *bundle {
	t.Helper()
	return setupOn(t, pgtest.DB(t), clock.NewVirtual(noon), &fakeProvider{got: map[string]int{}})
}

// setupOn wires one process's worth of modules on a database.
func setupOn(t testing.TB, db *pg.Pool, clk *clock.Virtual, p *fakeProvider) *bundle {
	t.Helper()
	b, err := wire(db, clk, func(channels.Account) (channels.Sender, error) { return p, nil })
	require.NoError(t, err)
	b.t, b.provider = t, p
	return b
}

func wire(db *pg.Pool, clk *clock.Virtual, open channels.Opener) (*bundle, error) {
	ring, err := crypt.New(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	discard := slog.New(slog.DiscardHandler)
	b := &bundle{db: db, clock: clk, ring: ring, log: activity.NewLog(db, clk, discard)}
	graph := identity.New(db, clk, ring, b.log, events.New(db, clk, jobs.New(db, discard)))
	secrets := member.NewSecrets(ring, nil)
	b.door = capture.New(graph, secrets, b.log, clk)
	b.profile = member.NewProfile(b.log, graph.Refresh)
	book := contact.New(secrets)
	b.templates = templates.New(db, clk, book)
	b.svc = channels.New(channels.Deps{
		DB: db, Clock: clk, Log: discard, Ring: ring, Contact: book, Door: b.door, Profile: b.profile, Templates: b.templates,
		Activity: b.log, Open: open,
	})
	return b, nil
}

// fakeProvider is a provider that accepts everything unless told otherwise, and counts per send key.
type fakeProvider struct {
	mu     sync.Mutex
	got    map[string]int
	last   map[string]channels.Outgoing
	answer func(o channels.Outgoing) channels.Result
	before func()
}

func (p *fakeProvider) Send(_ context.Context, batch []channels.Outgoing) []channels.Result {
	if p.before != nil {
		p.before()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]channels.Result, len(batch))
	for i, o := range batch {
		out[i] = channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: "p-" + o.SendKey}
		if p.answer != nil {
			out[i] = p.answer(o)
		}
		if p.last == nil {
			p.last = map[string]channels.Outgoing{}
		}
		p.last[o.SendKey] = o
		p.got[o.SendKey]++
	}
	return out
}

func (p *fakeProvider) total() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.got {
		n += c
	}
	return n
}

func (b *bundle) tx(fn func(tx pgx.Tx) error) {
	b.t.Helper()
	require.NoError(b.t, pg.InTx(b.t.Context(), b.db, fn))
}

// account creates an account of a channel.
func (b *bundle) account(code string, c channels.Channel, s channels.AccountSettings) channels.Account {
	b.t.Helper()
	a, err := b.svc.SaveAccount(b.t.Context(), channels.Account{Code: code, Channel: c, Name: code, Settings: s, Secrets: []byte(`{"key":"s3cret"}`)})
	require.NoError(b.t, err)
	return a
}

// template publishes a template; text is its subject, slot or text.
func (b *bundle) template(code string, c channels.Channel, lane channels.Lane, text string) {
	b.t.Helper()
	t := templates.Template{Code: code, Channel: string(c), Lane: lane, Name: code}
	content := templates.Content{Text: text}
	switch c {
	case channels.ChannelEmail:
		content = templates.Content{Subject: "hi", HTML: text + `<a href="{{ unsubscribe_url }}">u</a>`, Text: text}
	case channels.ChannelWeChat, channels.ChannelMiniProgram:
		content = templates.Content{ProviderTemplate: "TPL", Fields: map[string]string{"thing1": text}}
	case channels.ChannelSMS:
		content.Text += " 拒收请回复R"
	}
	t.Body.Variants = map[templates.Locale]templates.Content{templates.ZH: content}
	_, err := b.templates.Save(b.t.Context(), auth.System, templates.SaveInput{Template: t})
	require.NoError(b.t, err)
	_, err = b.templates.Publish(b.t.Context(), code, 0)
	require.NoError(b.t, err)
}

// members creates n members with phone, mail and openid who consented to everything, and returns their births.
func (b *bundle) members(n int) []member.Birth {
	b.t.Helper()
	var out []member.Birth
	for from := 0; from < n; from += 500 {
		var persons []capture.Person
		for i := from; i < min(n, from+500); i++ {
			persons = append(persons, capture.Person{
				Keys: []identity.Key{
					{NS: identity.NSSource, Scope: "crm", Value: fmt.Sprintf("m%06d", i)},
					{NS: identity.NSPhone, Value: fmt.Sprintf("139%08d", 12345678+i)},
					{NS: identity.NSEmail, Value: fmt.Sprintf("m%06d@example.com", i)},
					{NS: identity.NSWeChatOpenID, Scope: "wx1", Value: fmt.Sprintf("o%027d", i)},
				},
				Name: crypt.Name(fmt.Sprintf("王%d", i)), Source: "crm", At: noon.Add(-48 * time.Hour),
				Consents: []capture.Consent{
					{Channel: "email", Granted: true}, {Channel: "sms", Granted: true},
					{Channel: "wechat", Granted: true}, {Channel: "miniprogram", Granted: true},
				},
			})
		}
		b.tx(func(tx pgx.Tx) error {
			found, err := b.door.Observe(b.t.Context(), tx, persons)
			for _, f := range found {
				if err == nil {
					err = f.Err
				}
				out = append(out, f.Birth)
			}
			return err
		})
	}
	return out
}

func intent(birth member.Birth, key string, c channels.Channel, template string) channels.Intent {
	return channels.Intent{SendKey: id.Derived("test", key, birth.String()), Birth: birth, Channel: c, Template: template}
}

func (b *bundle) plan(intents ...channels.Intent) {
	b.t.Helper()
	for from := 0; from < len(intents); from += 2000 {
		b.tx(func(tx pgx.Tx) error {
			return b.svc.Plan(b.t.Context(), tx, intents[from:min(len(intents), from+2000)])
		})
	}
}

func (b *bundle) drain() {
	b.t.Helper()
	require.NoError(b.t, b.svc.Drain(b.t.Context()))
}

func (b *bundle) get(in channels.Intent) channels.Message {
	b.t.Helper()
	m, err := b.svc.Get(b.t.Context(), channels.RefOf(in.Birth, in.SendKey))
	require.NoError(b.t, err)
	return m
}

func (b *bundle) count(sql string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.db.QueryRow(b.t.Context(), sql, args...).Scan(&n))
	return n
}

func (b *bundle) consent(birth member.Birth, channel string, granted bool) {
	b.t.Helper()
	b.tx(func(tx pgx.Tx) error {
		return b.profile.RecordConsent(b.t.Context(), tx, []member.Consent{{Birth: birth, Channel: channel, Granted: granted, Source: "test", At: b.clock.Now()}}, member.ModeLive, b.clock.Now())
	})
}
