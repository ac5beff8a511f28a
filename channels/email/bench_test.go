package email

import (
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
)

// discard is an SMTP sink that keeps nothing.
type discard struct{}

func (discard) Reset()                               {}
func (discard) Logout() error                        { return nil }
func (discard) Mail(string, *smtp.MailOptions) error { return nil }
func (discard) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (discard) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }

func sink(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return discard{}, nil }))
	s.Domain = "sink.test"
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// BenchmarkSend puts our sender (composing each message) beside a bare SMTP loop (one finished text, no composing, no
// results) with the same number of connections to the same sink. The target is half of the bare loop.
func BenchmarkSend(b *testing.B) {
	const conns = 4
	b.Run("bare", func(b *testing.B) {
		addr := sink(b)
		raw := plainMail(b)
		work := make(chan int)
		var wait sync.WaitGroup
		for range conns {
			wait.Go(func() {
				c, err := netsmtp.Dial(addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				for i := range work {
					if err := bareSend(c, fmt.Sprintf("m%d@mail.test", i), raw); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		for i := 0; b.Loop(); i++ {
			work <- i
		}
		close(work)
		wait.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("sender", func(b *testing.B) {
		bun := setup(b)
		s, err := New(Config{Account: "a", Host: "sink.test", Port: 25, TLS: "none", From: "连客 <a@b.test>", Domain: "b.test", Secret: "s", Conns: conns}, bun.Network, bun.Clock)
		require.NoError(b, err)
		require.NoError(b, (&directDial{addr: sink(b)}).apply(s))
		b.Cleanup(s.Close)
		batch := make([]channels.Outgoing, 0, 500)
		flush := func() {
			for _, r := range s.Send(b.Context(), batch) {
				if r.Outcome != channels.OutcomeAccepted {
					b.Fatalf("%+v", r)
				}
			}
			batch = batch[:0]
		}
		for i := 0; b.Loop(); i++ {
			batch = append(batch, message(fmt.Sprintf("m%d@mail.test", i)))
			if len(batch) == cap(batch) {
				flush()
			}
		}
		if len(batch) > 0 {
			flush()
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

func plainMail(b *testing.B) []byte {
	bun := setup(b)
	m, err := bun.sender.composer().compose(message("x@mail.test"), bun.Now())
	require.NoError(b, err)
	return m.raw
}

func bareSend(c *netsmtp.Client, to string, raw []byte) error {
	if err := c.Mail("a@b.test"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return w.Close()
}
