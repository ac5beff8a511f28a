package sandbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/internal/clock"
)

// Options shape a sandbox. The zero value listens on free loopback ports, on the wall clock, and reacts to nothing.
type Options struct {
	Clock     clock.Clock
	Log       *slog.Logger
	Ledger    string // file that receives one JSON line for each accepted send
	CAFile    string // where the CA certificate was written, for Route
	Keep      int    // exchanges kept for assertions; default 10,000
	Manual    bool   // deliver callbacks only in Pump
	Addr      string // host to listen on; default 127.0.0.1
	Reactions Reactions
	Seed      uint64
	Public    string // host:port of lianke: taps on addresses that are not loopback go there
}

// Server is a running sandbox.
type Server struct {
	opt      Options
	clock    clock.Clock
	log      *slog.Logger
	ca       *authority
	route    provider.Route
	outgoing *http.Client // callbacks and members' taps
	ledger   *ledger
	queue    *queue

	listeners    []net.Listener
	https, admin *http.Server
	smtp         *smtp.Server
	stop         context.CancelFunc
	running      sync.WaitGroup

	mu        sync.Mutex // guards everything below
	people    map[string]*Person
	apps      map[string]*app
	sms       map[string]*smsAccount
	phones    map[string]*phoneState
	mail      mailState
	pay       wechatPay
	faults    []*Fault
	exchanges []Exchange
	seq       int64
	shift     time.Duration // how far Advance has moved us ahead of the clock
	reactions Reactions
	seed      uint64
}

// Start listens on loopback ports and serves until Close.
func Start(opt Options) (*Server, error) {
	if opt.Clock == nil {
		opt.Clock = clock.System{}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Keep == 0 {
		opt.Keep = 10_000
	}
	if opt.Addr == "" {
		opt.Addr = "127.0.0.1"
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	ledger, err := openLedger(opt.Ledger)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opt: opt, clock: opt.Clock, log: opt.Log, ca: ca, ledger: ledger,
		people: map[string]*Person{}, apps: map[string]*app{}, sms: map[string]*smsAccount{}, phones: map[string]*phoneState{},
		mail: newMailState(), reactions: opt.Reactions, seed: opt.Seed,
	}
	s.outgoing = &http.Client{
		Timeout:       5 * time.Second, // WeChat cuts a callback after five seconds
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.queue = newQueue()
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) listen() error {
	listeners := make([]net.Listener, 4)
	for i := range listeners {
		l, err := net.Listen("tcp", net.JoinHostPort(s.opt.Addr, "0"))
		if err != nil {
			return fmt.Errorf("start sandbox: %w", err)
		}
		listeners[i] = l
	}
	s.listeners = listeners
	s.route = provider.Route{
		HTTPS: listeners[0].Addr().String(), Admin: listeners[1].Addr().String(),
		SMTP: listeners[2].Addr().String(), SMTPS: listeners[3].Addr().String(),
		CAFile: s.opt.CAFile, CAPEM: s.ca.pem, Ledger: s.opt.Ledger,
	}
	quiet := log.New(io.Discard, "", 0)
	s.https = &http.Server{Handler: s.record(s.routes()), TLSConfig: s.ca.config(), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
	s.admin = &http.Server{Handler: s.adminRoutes(), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
	s.smtp = s.newSMTP()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { _ = s.https.ServeTLS(listeners[0], "", "") })
	s.running.Go(func() { _ = s.admin.Serve(listeners[1]) })
	s.running.Go(func() { _ = s.smtp.Serve(listeners[2]) })
	s.running.Go(func() { _ = s.smtp.Serve(tls.NewListener(listeners[3], s.ca.config())) })
	if !s.opt.Manual {
		s.running.Go(func() { s.pumpLoop(ctx) })
	}
	return nil
}

// Route tells provider.Open how to reach this sandbox.
func (s *Server) Route() *provider.Route {
	r := s.route
	return &r
}

// CA returns the certificate to trust, as PEM.
func (s *Server) CA() []byte { return s.ca.pem }

// Close stops all servers and drops what was still to be delivered.
func (s *Server) Close() error {
	var errs []error
	if s.stop != nil {
		s.stop()
		errs = append(errs, s.https.Close(), s.admin.Close())
		if err := s.smtp.Close(); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			errs = append(errs, err)
		}
		// A server that is closed before its goroutine began to serve does not know its listener yet.
		for _, l := range s.listeners {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	s.running.Wait()
	return errors.Join(append(errs, s.ledger.close())...)
}

// Now is the sandbox's time: the injected clock plus whatever Advance added.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is Now under the lock.
func (s *Server) now() time.Time { return s.clock.Now().Add(s.shift) }

// Advance moves the sandbox's time forward, beyond its clock, and wakes the delivery loop.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	s.shift += d
	s.mu.Unlock()
	s.queue.wake()
}

// Exchange is one request a provider stand-in answered.
type Exchange struct {
	Seq      int64     `json:"seq"`
	At       time.Time `json:"at"`
	Route    string    `json:"route"` // "POST api.weixin.qq.com/cgi-bin/message/template/send"
	Query    string    `json:"query,omitempty"`
	Request  string    `json:"request,omitempty"`
	Status   int       `json:"status"`
	Response string    `json:"response,omitempty"`
	Fault    string    `json:"fault,omitempty"`
}

// Exchanges returns the kept exchanges whose route contains the text, oldest first.
func (s *Server) Exchanges(route string) []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Exchange
	for _, e := range s.exchanges {
		if bytes.Contains([]byte(e.Route), []byte(route)) {
			out = append(out, e)
		}
	}
	return out
}

func (s *Server) keep(e Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.Seq = s.seq
	if len(s.exchanges) >= 2*s.opt.Keep { // trim in halves: no copy for each request
		s.exchanges = append(s.exchanges[:0:0], s.exchanges[s.opt.Keep:]...)
	}
	s.exchanges = append(s.exchanges, e)
}

// maxBody bounds what the sandbox reads from a client and from a callback's answer.
const maxBody = 2 << 20

// capture remembers what a handler answered.
type capture struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *capture) WriteHeader(status int) { c.status = status }

func (c *capture) Write(p []byte) (int, error) { return c.body.Write(p) }

// record applies faults around the provider's handler and keeps the exchange.
func (s *Server) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "request entity too large", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		r.Host = host
		e := Exchange{At: s.Now(), Route: r.Method + " " + host + r.URL.Path, Query: r.URL.RawQuery, Request: string(body)}
		account := s.accountOf(r, body)
		f := s.takeFault(e.Route + " " + account)
		c := &capture{ResponseWriter: w, status: http.StatusOK}
		if f != nil {
			e.Fault = string(f.Kind)
			f.delay(r.Context())
		}
		if f == nil || !f.answer(c, s, account) {
			next.ServeHTTP(c, r)
		}
		e.Status, e.Response = c.status, c.body.String()
		s.keep(e)
		if f != nil && f.Kind == FaultAcceptThenTimeout {
			panic(http.ErrAbortHandler) // the work is done, the answer never arrives
		}
		w.WriteHeader(c.status)
		answer := c.body.Bytes()
		if f != nil && f.Kind == FaultTruncate {
			w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
			answer = answer[:len(answer)/2]
		}
		_, _ = w.Write(answer)
	})
}

// accountOf names the app or access key that a request is made for, so that a fault can hit one account.
func (s *Server) accountOf(r *http.Request, body []byte) string {
	q := r.URL.Query()
	if v := q.Get("appid"); v != "" {
		return v
	}
	if m := authorization.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		return m[1]
	}
	var in struct {
		AppID string `json:"appid"`
	}
	if json.Unmarshal(body, &in) == nil && in.AppID != "" {
		return in.AppID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if a.tokens.all[q.Get("access_token")] != nil {
			return a.AppID
		}
	}
	return ""
}

// routes is the list of everything the HTTPS side plays, by host.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.weixinRoutes(mux)
	s.miniProgramRoutes(mux)
	s.aliyunRoutes(mux)
	s.wechatPayRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "sandbox: nothing plays "+r.Method+" "+r.Host+r.URL.Path, http.StatusNotFound)
	})
	return mux
}
