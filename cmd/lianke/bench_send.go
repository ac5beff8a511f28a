package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/smtp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

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
	sendMails = 20_000
	sendConns = 8
	sendBatch = 1_000
)

func sendBench() benchmark {
	return benchmark{
		name: "send",
		about: "bulk mail with ledger, consent, caps, personal fields and tracked links to a local SMTP sink, beside two bare loops " +
			"that only speak SMTP",
		run: benchSend,
	}
}

// benchSend sends one campaign through the whole pipeline, then mails of the same size through a net/smtp loop and through
// the product's own pipelined sender without anything around it. The ratio is against the faster of the two.
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

	b.progress("sending %d mails through the pipeline", sendMails)
	before := sink.count.Load()
	cpu := startCPU(ctx, db)
	start := time.Now()
	if err := w.channels.Drain(ctx); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	took := time.Since(start)
	f["per_second"] = round(sendMails/took.Seconds(), 0)
	cpu.perUnit(f, "cpu_ms_per_unit", sendMails)
	states, err := w.channels.CountStates(ctx, "", time.Time{})
	if err != nil {
		return err
	}
	f["accepted"], f["in_sink"] = states[channels.StateAccepted], sink.count.Load()-before

	sample, size := w.sample.Load(), sink.bytes.Load()/max(1, sink.count.Load())
	f["mail_bytes"] = size
	best := 0.0
	for name, loop := range map[string]func(context.Context) error{
		"net_smtp": func(ctx context.Context) error { return bareLoop(ctx, sink.addr(), w.recipients, int(size)) },
		"bare":     func(ctx context.Context) error { return senderLoop(ctx, w.sender, w.recipients, sample.Content) },
	} {
		b.progress("sending %d mails through the loop %s", sendMails, name)
		cpu, start := startCPU(ctx, db), time.Now()
		if err := loop(ctx); err != nil {
			return fmt.Errorf("loop %s: %w", name, err)
		}
		rate := sendMails / time.Since(start).Seconds()
		f[name+"_per_second"] = round(rate, 0)
		cpu.perUnit(f, name+"_cpu_ms_per_unit", sendMails)
		f["ratio_"+name] = round(f["per_second"].(float64)/rate, 2)
		best = max(best, rate)
	}
	f["ratio"] = round(f["per_second"].(float64)/best, 2)
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("mail", f)
}

// sendWorld is a brand with members who want mail, and one campaign to all of them, planned.
type sendWorld struct {
	channels   *channels.Service
	sender     channels.Sender
	recipients []string
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
			intents := make([]channels.Intent, len(found))
			for i, who := range found {
				if who.Err != nil {
					return who.Err
				}
				intents[i] = channels.Intent{SendKey: id.New(), Birth: who.Birth, Channel: channels.ChannelEmail, Template: "newsletter", Campaign: "bench"}
			}
			return w.channels.Plan(ctx, tx, intents)
		})
		if err != nil {
			return fmt.Errorf("create members: %w", err)
		}
	}
	_, err := db.Exec(ctx, `ANALYZE`)
	return err
}

// sendTemplate publishes a mail of about 4 kB with the member's name and city and a tracked link.
func sendTemplate(ctx context.Context, texts *templates.Service) error {
	paragraph := "<p>" + strings.Repeat("Autumn has come to the shop, and with it the new collection. ", 10) + "</p>\n"
	html := `<h1>{{ member.name }}</h1><p>{{ member.city }}</p>` + strings.Repeat(paragraph, 6) +
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

// bareLoop speaks SMTP through net/smtp over several connections; the mail is a ready text of the same size.
func bareLoop(ctx context.Context, addr string, recipients []string, size int) error {
	next := make(chan string, sendConns)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(next)
		for _, r := range recipients {
			select {
			case next <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", max(1, (size-150)/72))
	for range sendConns {
		g.Go(func() error {
			c, err := smtp.Dial(addr)
			if err != nil {
				return err
			}
			defer c.Close()
			for to := range next {
				if err := c.Mail("news@brand.example"); err != nil {
					return err
				}
				if err := c.Rcpt(to); err != nil {
					return err
				}
				w, err := c.Data()
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(w, "From: news@brand.example\r\nTo: %s\r\nSubject: autumn\r\n\r\n%s", to, body); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
			}
			return c.Quit()
		})
	}
	return g.Wait()
}

// senderLoop hands ready contents to the product's own mail sender, with nothing around it.
func senderLoop(ctx context.Context, sender channels.Sender, recipients []string, content channels.Content) error {
	for part := range slices.Chunk(recipients, sendBatch) {
		batch := make([]channels.Outgoing, len(part))
		for i, to := range part {
			batch[i] = channels.Outgoing{MessageID: id.New(), SendKey: "1-" + strconv.Itoa(i), To: to, Content: content}
		}
		for _, r := range sender.Send(ctx, batch) {
			if r.Outcome != channels.OutcomeAccepted {
				return fmt.Errorf("the sink answered %s %s %s", r.Outcome, r.Reason, r.Text)
			}
		}
	}
	return nil
}

// mailSink is an SMTP server that takes everything and keeps nothing.
type mailSink struct {
	listener     net.Listener
	serving      sync.WaitGroup
	count, bytes atomic.Int64
}

func openMailSink() (*mailSink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open mail sink: %w", err)
	}
	s := &mailSink{listener: l}
	s.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	})
	return s, nil
}

func (s *mailSink) addr() string { return s.listener.Addr().String() }

// Close stops taking connections.
func (s *mailSink) Close() {
	_ = s.listener.Close()
	s.serving.Wait()
}

func (s *mailSink) serve(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReaderSize(conn, 16<<10), bufio.NewWriter(conn)
	say := func(line string) {
		_, _ = w.WriteString(line + "\r\n")
		if r.Buffered() == 0 {
			_ = w.Flush()
		}
	}
	say("220 sink")
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(string(line[:min(4, len(line))])); verb {
		case "EHLO":
			say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
		case "DATA":
			say("354 go")
			for {
				l, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				s.bytes.Add(int64(len(l)))
				if len(l) == 3 && l[0] == '.' {
					break
				}
			}
			s.count.Add(1)
			say("250 taken")
		case "QUIT":
			say("221 bye")
			_ = w.Flush()
			return
		default:
			say("250 ok")
		}
	}
}
