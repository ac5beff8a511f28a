package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"html/template"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/id"
)

// mailerLoop renders, composes and sends a mail for each recipient.
func mailerLoop(ctx context.Context, addr string, recipients []string) error {
	page, err := template.New("newsletter").Parse(`<h1>{{ .Name }}</h1><p>{{ .City }}</p>` + newsletter +
		`<a href="{{ .Link }}">Have a look</a> <a href="{{ .Unsubscribe }}">unsubscribe</a>`)
	if err != nil {
		return err
	}
	return smtpLoop(ctx, addr, recipients, func() func(b *bytes.Buffer, i int, to string) error {
		var html bytes.Buffer
		return func(b *bytes.Buffer, i int, to string) error {
			name, key := "会员"+strconv.Itoa(i), id.New().String()
			html.Reset()
			if err := page.Execute(&html, map[string]string{
				"Name": name, "City": "上海", "Link": "https://m.brand.example/link/autumn/" + key,
				"Unsubscribe": "https://m.brand.example/subscription/" + key,
			}); err != nil {
				return err
			}
			fmt.Fprintf(b, "From: news@brand.example\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@brand.example>\r\n"+
				"List-Unsubscribe: <https://m.brand.example/subscription/%s>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"+
				"MIME-Version: 1.0\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
				to, mime.QEncoding.Encode("UTF-8", name+", the autumn collection"), time.Now().Format(time.RFC1123Z), key, key)
			w := quotedprintable.NewWriter(b)
			if _, err := w.Write(html.Bytes()); err != nil {
				return err
			}
			return w.Close()
		}
	})
}

// readyLoop sends the same text of a size to everybody.
func readyLoop(ctx context.Context, addr string, recipients []string, size int) error {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", max(1, (size-150)/72))
	return smtpLoop(ctx, addr, recipients, func() func(b *bytes.Buffer, i int, to string) error {
		return func(b *bytes.Buffer, i int, to string) error {
			fmt.Fprintf(b, "From: news@brand.example\r\nTo: %s\r\nSubject: autumn\r\n\r\n%s", to, body)
			return nil
		}
	})
}

// smtpLoop speaks SMTP through net/smtp over several connections, each with a writer of mails of its own.
func smtpLoop(ctx context.Context, addr string, recipients []string, writer func() func(b *bytes.Buffer, i int, to string) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range sendConns {
		g.Go(func() error {
			c, err := smtp.Dial(addr)
			if err != nil {
				return err
			}
			defer c.Close()
			write := writer()
			var mail bytes.Buffer
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(recipients) {
					return c.Quit()
				}
				mail.Reset()
				if err := write(&mail, i, recipients[i]); err != nil {
					return err
				}
				if err := c.Mail("news@brand.example"); err != nil {
					return err
				}
				if err := c.Rcpt(recipients[i]); err != nil {
					return err
				}
				w, err := c.Data()
				if err != nil {
					return err
				}
				if _, err := w.Write(mail.Bytes()); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
			}
			return ctx.Err()
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
