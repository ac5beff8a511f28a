package email

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/clock"
)

// Receiver is the SMTP server for the return addresses of all accounts. It takes mail for bounce+… and unsubscribe+…
// addresses that we made, and nothing else: it cannot relay and has no mailboxes.
type Receiver struct {
	find   Finder
	inbox  channels.Inbox
	clock  clock.Clock
	log    *slog.Logger
	server *smtp.Server
}

// Finder returns the accounts whose envelope senders have this domain.
type Finder func(ctx context.Context, domain string) ([]Config, error)

// NewReceiver returns a receiver. domain is what it calls itself in its greeting.
func NewReceiver(domain string, find Finder, inbox channels.Inbox, c clock.Clock, log *slog.Logger) *Receiver {
	r := &Receiver{find: find, inbox: inbox, clock: c, log: log}
	r.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{r: r}, nil }))
	r.server.Domain = domain
	r.server.MaxMessageBytes = maxReport
	r.server.MaxRecipients = 10
	r.server.ReadTimeout, r.server.WriteTimeout = time.Minute, time.Minute
	r.server.ErrorLog = smtpLog{log}
	return r
}

// Serve takes connections until ctx ends.
func (r *Receiver) Serve(ctx context.Context, l net.Listener) error {
	// The listener too: a server closed before it began to serve does not know it yet.
	stop := context.AfterFunc(ctx, func() { _, _ = r.server.Close(), l.Close() })
	defer stop()
	if err := r.server.Serve(l); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

type smtpLog struct{ log *slog.Logger }

func (l smtpLog) Printf(string, ...any) { l.log.Warn("mail receiver: connection failed") } // the text may quote mail
func (l smtpLog) Println(...any)        { l.log.Warn("mail receiver: connection failed") }

type target struct{ account, kind, key string }

type session struct {
	r  *Receiver
	to []target
}

func (s *session) Reset() { s.to = nil }

func (s *session) Logout() error { return nil }

func (s *session) Mail(string, *smtp.MailOptions) error { s.to = nil; return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	_, domain, _ := strings.Cut(to, "@")
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	accounts, err := s.r.find(ctx, strings.ToLower(domain))
	if err != nil {
		s.r.log.Warn("mail receiver: accounts cannot be read", "error", err)
		return errLater
	}
	for _, cfg := range accounts {
		if kind, key, ok := cfg.sendKey(to); ok && (kind == "bounce" || kind == "unsubscribe") {
			s.to = append(s.to, target{cfg.Account, kind, key})
			return nil
		}
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such address"}
}

var errLater = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try again later"}

// Data answers 250 once the receipts are durable, 451 when they could not be stored. What is no report is taken and
// dropped: nobody reads these addresses.
func (s *session) Data(body io.Reader) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	now := s.r.clock.Now()
	var receipts []channels.Receipt
	for _, t := range s.to {
		if t.kind == "unsubscribe" {
			receipts = append(receipts, channels.Receipt{Account: t.account, SendKey: t.key, Kind: channels.ReceiptUnsubscribed, Code: "mailto", At: now})
			continue
		}
		rep, err := parseReport(raw)
		if errors.Is(err, errNoReport) {
			s.r.log.Info("mail receiver: not a report", "account", t.account)
			continue
		}
		receipts = append(receipts, rep.receipt(t.account, t.key, now))
	}
	if len(receipts) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	if err := s.r.inbox.Receipts(ctx, receipts); err != nil {
		s.r.log.Warn("mail receiver: not stored", "error", err)
		return errLater
	}
	return nil
}
