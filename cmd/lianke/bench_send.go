package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/email"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/contact"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/templates"
)

const (
	sendMails  = 32_000
	sendRounds = 4
	sendConns  = 8
	sendBatch  = 1_000
)

func sendBench() benchmark {
	return benchmark{
		name: "send",
		about: "bulk mail with ledger, consent, caps, personal fields and tracked links to a local SMTP sink, beside loops without " +
			"any of that",
		run: benchSend,
	}
}

// benchSend sends campaigns through the whole pipeline, in rounds; in each round the loops send as many mails of the same
// size to the same sink:
//   - bare: what a bulk mailer without a ledger does, as listmonk does it: render the mail of each recipient (html/template),
//     compose it (quoted-printable), speak SMTP over kept connections (net/smtp). The ratio is against this loop;
//   - ready: the same connections, but one finished text for everybody: nothing is rendered or composed;
//   - sender: the product's own mail sender with rendered contents, without anything around it.
func benchSend(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, 12)
	if err != nil {
		return err
	}
	defer drop()
	sink, err := openMailSink()
	if err != nil {
		return err
	}
	defer sink.Close()
	w, err := newSendWorld(ctx, b, db, sink)
	if err != nil {
		return err
	}
	f := figures{"mails": sendMails, "connections": sendConns, "batch": sendBatch}
	const n = sendMails / sendRounds
	var sample *channels.Outgoing
	var size int64
	ways := []*sendWay{
		{name: "", send: func(ctx context.Context, _ []string) error { return w.channels.Drain(ctx) }},
		{name: "bare", send: func(ctx context.Context, to []string) error { return mailerLoop(ctx, sink.addr(), to) }},
		{name: "ready", send: func(ctx context.Context, to []string) error { return readyLoop(ctx, sink.addr(), to, int(size)) }},
		{name: "sender", send: func(ctx context.Context, to []string) error {
			return senderLoop(ctx, w.sender, to, sample.Content)
		}},
	}
	for round := range sendRounds {
		b.progress("round %d of %d: %d mails each way", round+1, sendRounds, n)
		part := w.births[round*n : (round+1)*n]
		if err := w.plan(ctx, db, part); err != nil {
			return err
		}
		for _, way := range ways {
			before := sink.count.Load()
			if err := way.measure(ctx, db, w.recipients[round*n:(round+1)*n]); err != nil {
				return fmt.Errorf("send %s: %w", way.name, err)
			}
			if got := sink.count.Load() - before; got != n {
				return fmt.Errorf("send %s: the sink took %d of %d mails", way.name, got, n)
			}
			if sample == nil {
				sample, size = w.sample.Load(), sink.bytes.Load()/sink.count.Load()
			}
		}
	}
	states, err := w.channels.CountStates(ctx, "", time.Time{})
	if err != nil {
		return err
	}
	f["accepted"], f["mail_bytes"] = states[channels.StateAccepted], size
	ours := ways[0]
	f["per_second"], f["cpu_ms_per_unit"] = round(median(ours.rates), 0), round(median(ours.cpu), 4)
	for _, way := range ways[1:] {
		f[way.name+"_per_second"], f[way.name+"_cpu_ms_per_unit"] = round(median(way.rates), 0), round(median(way.cpu), 4)
		ours.compare(f, "ratio_"+way.name, way)
	}
	f["ratio"] = f["ratio_bare"]
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("mail", f)
}

// sendWay is one way to send, and what it took in each round.
type sendWay struct {
	name       string
	send       func(ctx context.Context, recipients []string) error
	rates, cpu []float64
}

func (x *sendWay) measure(ctx context.Context, db *pg.Pool, recipients []string) error {
	meter, start := startCPU(ctx, db), time.Now()
	if err := x.send(ctx, recipients); err != nil {
		return err
	}
	took := time.Since(start)
	used, _ := meter.since()
	x.rates = append(x.rates, float64(len(recipients))/took.Seconds())
	x.cpu = append(x.cpu, used.Seconds()*1000/float64(len(recipients)))
	return nil
}

// compare adds the median ratio over the rounds, its spread, and the ratio of processor time.
func (x *sendWay) compare(f figures, key string, other *sendWay) {
	ratios, cpu := make([]float64, len(x.rates)), make([]float64, len(x.rates))
	for i := range x.rates {
		ratios[i], cpu[i] = x.rates[i]/other.rates[i], other.cpu[i]/x.cpu[i]
	}
	f[key], f[key+"_cpu"] = round(median(ratios), 2), round(median(cpu), 2)
	f[key+"_least"], f[key+"_most"] = round(slices.Min(ratios), 2), round(slices.Max(ratios), 2)
}

// sendWorld is a brand with members who want mail, and one campaign to all of them, planned.
type sendWorld struct {
	channels   *channels.Service
	sender     channels.Sender
	recipients []string
	births     []member.Birth
	sample     atomic.Pointer[channels.Outgoing] // one mail as the pipeline made it
}

func newSendWorld(ctx context.Context, b *benchRun, db *pg.Pool, sink *mailSink) (*sendWorld, error) {
	log := activity.NewLog(db, b.app.clock, b.app.log)
	graph := identity.New(db, b.app.clock, b.app.ring, log, events.New(db, b.app.clock, jobs.New(nil, b.app.log)))
	secrets := member.NewSecrets(b.app.ring, b.app.auditReveal)
	book := contact.New(secrets)
	texts := templates.New(db, b.app.clock, book)
	w := &sendWorld{}
	w.channels = channels.New(channels.Deps{
		DB: db, Clock: b.app.clock, Log: b.app.log, Ring: b.app.ring, Contact: book, Door: capture.New(graph, secrets, log, b.app.clock),
		Profile: member.NewProfile(log, graph.Refresh), Templates: texts, Activity: log,
		Open: func(a channels.Account) (channels.Sender, error) {
			sender, err := b.app.openSender(a)
			if err != nil {
				return nil, err
			}
			return &sampling{sender, &w.sample}, nil
		},
	})
	host, port, err := net.SplitHostPort(sink.addr())
	if err != nil {
		return nil, err
	}
	config := json.RawMessage(fmt.Sprintf(`{"host":%q,"port":%s,"tls":"none","from":"news@brand.example","domain":"brand.example","secret":%q,"conns":%d}`,
		host, port, strings.Repeat("s", 32), sendConns))
	account := channels.Account{
		Code: "mail", Channel: channels.ChannelEmail, Name: "bench", Config: config,
		Settings: channels.AccountSettings{Batch: sendBatch, BaseURL: "https://m.brand.example", TrackClicks: true},
	}
	if _, err := w.channels.SaveAccount(ctx, account); err != nil {
		return nil, err
	}
	var cfg email.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		return nil, err
	}
	cfg.Account = "bare"
	if w.sender, err = email.New(cfg, b.app.network, b.app.clock); err != nil {
		return nil, err
	}
	if err := sendTemplate(ctx, texts); err != nil {
		return nil, err
	}
	b.progress("creating %d members with mail addresses and consent", sendMails)
	return w, w.populate(ctx, b, db, capture.New(graph, secrets, log, b.app.clock))
}

func (w *sendWorld) populate(ctx context.Context, b *benchRun, db *pg.Pool, door *capture.Door) error {
	now := b.app.clock.Now()
	for from := 0; from < sendMails; from += 500 {
		persons := make([]capture.Person, 500)
		for i := range persons {
			n := from + i
			address := fmt.Sprintf("member%06d@mail.example", n)
			w.recipients = append(w.recipients, address)
			persons[i] = capture.Person{
				Keys: []identity.Key{{NS: identity.NSSource, Scope: "crm", Value: strconv.Itoa(n)}, {NS: identity.NSEmail, Value: address}},
				Name: crypt.Name("会员" + strconv.Itoa(n)), Attrs: map[string]any{"city": "上海"}, Source: "crm", At: now.Add(-time.Hour),
				Consents: []capture.Consent{{Channel: "email", Granted: true}},
			}
		}
		err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
			found, err := door.Observe(ctx, tx, persons)
			if err != nil {
				return err
			}
			for _, who := range found {
				if who.Err != nil {
					return who.Err
				}
				w.births = append(w.births, who.Birth)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("create members: %w", err)
		}
	}
	_, err := db.Exec(ctx, `ANALYZE`)
	return err
}

// plan intends one mail to each.
func (w *sendWorld) plan(ctx context.Context, db *pg.Pool, births []member.Birth) error {
	for part := range slices.Chunk(births, 1000) {
		intents := make([]channels.Intent, len(part))
		for i, birth := range part {
			intents[i] = channels.Intent{SendKey: id.New(), Birth: birth, Channel: channels.ChannelEmail, Template: "newsletter", Campaign: "bench"}
		}
		if err := pg.InTx(ctx, db, func(tx pgx.Tx) error { return w.channels.Plan(ctx, tx, intents) }); err != nil {
			return fmt.Errorf("plan mails: %w", err)
		}
	}
	return nil
}

// newsletter is the part of the mail that is the same for all.
var newsletter = strings.Repeat("<p>"+strings.Repeat("Autumn has come to the shop, and with it the new collection. ", 10)+"</p>\n", 6)

// sendTemplate publishes a mail of about 4 kB with the member's name and city and a tracked link.
func sendTemplate(ctx context.Context, texts *templates.Service) error {
	html := `<h1>{{ member.name }}</h1><p>{{ member.city }}</p>` + newsletter +
		`<a href="https://shop.brand.example/autumn">Have a look</a> <a href="{{ unsubscribe_url }}">unsubscribe</a>`
	t := templates.Template{Code: "newsletter", Channel: templates.ChannelEmail, Lane: templates.LaneMarketing, Name: "bench"}
	t.Body.Variants = map[templates.Locale]templates.Content{templates.ZH: {Subject: "{{ member.name }}, the autumn collection", HTML: html}}
	if _, err := texts.Save(ctx, auth.System, templates.SaveInput{Template: t}); err != nil {
		return err
	}
	_, err := texts.Publish(ctx, t.Code, 0)
	return err
}

// sampling keeps one mail that passes.
type sampling struct {
	channels.Sender
	sample *atomic.Pointer[channels.Outgoing]
}

func (s *sampling) Send(ctx context.Context, batch []channels.Outgoing) []channels.Result {
	if s.sample.Load() == nil {
		one := batch[0]
		s.sample.Store(&one)
	}
	return s.Sender.Send(ctx, batch)
}
