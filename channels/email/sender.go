package email

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/mail"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	gomail "github.com/wneessen/go-mail"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/internal/clock"
)

// Config is one account: a relay that takes our mail.
type Config struct {
	Account  string `json:"account"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	TLS      string `json:"tls"` // starttls (default), implicit, none
	Username string `json:"username"`
	Password string `json:"password"`
	From     string `json:"from"`     // 连客 <news@brand.example>
	ReplyTo  string `json:"reply_to"` // optional
	Domain   string `json:"domain"`   // of envelope senders and Message-IDs; its MX is Receiver
	Secret   string `json:"secret"`   // signs envelope senders
	Conns    int    `json:"conns"`    // connections at once; default 4
	DKIM     struct {
		Domain   string `json:"domain"`
		Selector string `json:"selector"`
		Key      string `json:"key"` // PEM, RSA or Ed25519; empty = unsigned
	} `json:"dkim"`
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("account", c.Account), slog.String("host", c.Host), slog.Int("port", c.Port))
}

// Sender sends through one account. It is a channels.Sender.
type Sender struct {
	cfg    Config
	head   []byte // the headers that all mails share
	dkim   *dkim.SignOptions
	client *gomail.Client
	clock  clock.Clock
	idle   chan *conn
}

const (
	defaultConns = 4
	// stepTimeout bounds one exchange; RFC 5321 allows ten minutes for the final answer, which no relay needs.
	stepTimeout = 30 * time.Second
	// maxIdle is how long a connection may rest in the pool; relays close theirs after one to five minutes.
	maxIdle = 30 * time.Second
)

// New opens an account; nothing is dialled until the first message.
func New(cfg Config, network *provider.Network, c clock.Clock) (*Sender, error) {
	wrong := func(what string) error { return ErrConfig.With("account", cfg.Account, "what", what) }
	if cfg.Account == "" || cfg.Host == "" || cfg.Port == 0 {
		return nil, wrong("account, host, port")
	}
	if cfg.Domain == "" || cfg.Secret == "" {
		return nil, wrong("domain, secret")
	}
	if cfg.Conns <= 0 {
		cfg.Conns = defaultConns
	}
	s := &Sender{cfg: cfg, clock: c, idle: make(chan *conn, cfg.Conns)}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, wrong("from")
	}
	s.head = append(append(append(s.head, "From: "...), from.String()...), "\r\n"...)
	if cfg.ReplyTo != "" {
		to, err := mail.ParseAddress(cfg.ReplyTo)
		if err != nil {
			return nil, wrong("reply_to")
		}
		s.head = append(append(append(s.head, "Reply-To: "...), to.String()...), "\r\n"...)
	}
	if cfg.DKIM.Key != "" {
		key, err := parseKey(cfg.DKIM.Key)
		if err != nil || cfg.DKIM.Domain == "" || cfg.DKIM.Selector == "" {
			return nil, wrong("dkim")
		}
		s.dkim = &dkim.SignOptions{
			Domain: cfg.DKIM.Domain, Selector: cfg.DKIM.Selector, Signer: key, Hash: crypto.SHA256, HeaderKeys: signedHeaders,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		}
	}
	tlsConfig := &tls.Config{ServerName: cfg.Host, RootCAs: network.RootCAs(), MinVersion: tls.VersionTLS12}
	options := []gomail.Option{
		gomail.WithPort(cfg.Port), gomail.WithTimeout(stepTimeout), gomail.WithHELO(cfg.Domain), gomail.WithTLSConfig(tlsConfig),
	}
	dial, auth := gomail.DialContextFunc(network.DialContext), gomail.SMTPAuthAutoDiscover
	switch cfg.TLS {
	case "", "starttls":
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case "implicit":
		options = append(options, gomail.WithSSL())
		auth = gomail.SMTPAuthPlainNoEnc // go-mail cannot see that our dial function encrypts
		dial = func(ctx context.Context, family, addr string) (net.Conn, error) {
			raw, err := network.DialContext(ctx, family, addr)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(raw, tlsConfig)
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, raw.Close())
			}
			return secure, nil
		}
	case "none":
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, wrong("tls")
	}
	options = append(options, gomail.WithDialContextFunc(dial))
	if cfg.Username != "" {
		options = append(options, gomail.WithUsername(cfg.Username), gomail.WithPassword(cfg.Password), gomail.WithSMTPAuth(auth))
	}
	if s.client, err = gomail.NewClient(cfg.Host, options...); err != nil {
		return nil, ErrConfig.With("account", cfg.Account, "what", "host, port").Because(err)
	}
	return s, nil
}

func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a signing key")
	}
	return signer, nil
}

// Close ends the pooled connections.
func (s *Sender) Close() {
	for {
		select {
		case c := <-s.idle:
			c.quit()
		default:
			return
		}
	}
}

// perConn is how many messages make another connection worth its handshake.
const perConn = 50

// Send implements channels.Sender: the batch is spread over the account's connections.
func (s *Sender) Send(ctx context.Context, batch []channels.Outgoing) []channels.Result {
	w := &work{sender: s, batch: batch, results: make([]channels.Result, len(batch))}
	var wait sync.WaitGroup
	for range min(s.cfg.Conns, (len(batch)+perConn-1)/perConn) {
		wait.Go(func() { w.run(ctx) })
	}
	wait.Wait()
	return w.results
}

// work is a batch in progress; connections take messages from it one by one.
type work struct {
	sender  *Sender
	batch   []channels.Outgoing
	results []channels.Result
	next    atomic.Int64
}

// item is one message on its way.
type item struct {
	index int
	mail  composed
	again bool // it already failed once, before its content left
}

// take composes the next message; those that cannot be composed are settled here.
func (w *work) take(ctx context.Context, k *composer) *item {
	for {
		i := int(w.next.Add(1)) - 1
		if i >= len(w.batch) {
			return nil
		}
		if ctx.Err() != nil {
			w.results[i] = channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonCanceled}
			continue
		}
		m, err := k.compose(w.batch[i], w.sender.clock.Now())
		if err != nil {
			w.results[i] = channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonInput, Text: err.Error()}
			continue
		}
		return &item{index: i, mail: m}
	}
}

// run drives one connection through the batch.
func (w *work) run(ctx context.Context) {
	var c *conn
	k := w.sender.composer()
	pending := w.take(ctx, k)
	for pending != nil {
		if c == nil {
			var err error
			if c, err = w.sender.connect(ctx); err != nil {
				w.results[pending.index] = dialResult(err)
				pending = w.take(ctx, k)
				continue
			}
		}
		var broken error
		pending, broken = w.stream(ctx, c, k, pending)
		if broken != nil {
			c.close()
			c = nil
			if pending != nil && pending.again {
				w.results[pending.index] = channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonNetwork, RetryAfter: 30 * time.Second, Text: "the connection broke"}
				pending = w.take(ctx, k)
			} else if pending != nil {
				pending.again = true
			}
		}
	}
	if c != nil {
		w.sender.release(c)
	}
}

// stream sends messages over a connection until the batch or the connection ends. It returns the message whose envelope
// was lost with the connection: nothing of its content left, so it can be sent again.
func (w *work) stream(ctx context.Context, c *conn, k *composer, current *item) (*item, error) {
	if err := c.envelope(current.mail); err != nil {
		return current, err
	}
	for {
		refused, err := c.answers()
		if err != nil {
			return current, err
		}
		if refused != nil && refused.code == 421 { // the relay ends the session; the message was not taken
			if current.again {
				w.results[current.index] = refused.result(current.mail.id)
				return w.take(ctx, k), refused
			}
			return current, refused
		}
		next := w.take(ctx, k)
		if refused != nil {
			w.results[current.index] = refused.result(current.mail.id)
		} else {
			c.content(current.mail)
		}
		if next != nil && c.pipelining {
			c.writeEnvelope(next.mail)
		}
		if err := c.flush(); err != nil && refused == nil {
			w.results[current.index] = lost()
			return next, err
		} else if err != nil {
			return next, err
		}
		if refused == nil {
			final, err := c.reply()
			if err != nil {
				w.results[current.index] = lost()
				return next, err
			}
			w.results[current.index] = final.result(current.mail.id)
		}
		if next == nil {
			return nil, nil
		}
		if !c.pipelining {
			if err := c.envelope(next.mail); err != nil {
				return next, err
			}
		}
		current = next
	}
}

// lost is a message whose content left and whose answer did not come.
func lost() channels.Result {
	return channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout, Text: "the connection broke before the answer"}
}

// connect takes a rested connection from the pool or dials.
func (s *Sender) connect(ctx context.Context) (*conn, error) {
	for {
		select {
		case c := <-s.idle:
			if time.Since(c.rested) < maxIdle {
				return c, nil
			}
			c.quit()
			continue
		default:
		}
		client, err := s.client.DialToSMTPClientWithContext(ctx)
		if err != nil {
			return nil, err
		}
		return newConn(client), nil
	}
}

// release puts a connection back, or ends it when the pool is full.
func (s *Sender) release(c *conn) {
	c.rested = time.Now()
	select {
	case s.idle <- c:
	default:
		c.quit()
	}
}
