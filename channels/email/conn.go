package email

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/lianke/lianke/channels"
)

// outBuffer holds most mails whole.
const outBuffer = 16 << 10

// conn is one SMTP session after TLS and AUTH.
type conn struct {
	client     *smtp.Client
	text       *textproto.Conn
	out        *bufio.Writer // in front of text's own, so that a mail and the next envelope leave in one packet
	pipelining bool
	eightBit   bool
	rested     time.Time

	stale bool      // the last transaction was refused half-way: RSET before the next
	reset bool      // an RSET is under way with the envelope
	early []*answer // replies already read, when the server cannot pipeline
	err   error     // first write error
}

func newConn(client *smtp.Client) *conn {
	c := &conn{client: client, text: client.Text, out: bufio.NewWriterSize(client.Text.W, outBuffer)}
	c.pipelining, _ = client.Extension("PIPELINING")
	c.eightBit, _ = client.Extension("8BITMIME")
	return c
}

// envelope writes MAIL, RCPT and DATA and sends them.
func (c *conn) envelope(m composed) error {
	c.writeEnvelope(m)
	return c.flush()
}

func (c *conn) writeEnvelope(m composed) {
	from := "MAIL FROM:<" + m.from + ">"
	if c.eightBit {
		from += " BODY=8BITMIME"
	}
	lines := []string{from, "RCPT TO:<" + m.to + ">", "DATA"}
	if c.reset = c.stale; c.stale {
		lines = append([]string{"RSET"}, lines...)
		c.stale = false
	}
	for _, line := range lines {
		c.write(line + "\r\n")
		if !c.pipelining {
			c.step()
		}
	}
}

// step sends one command to a server that cannot pipeline and keeps its reply for answers.
func (c *conn) step() {
	if c.flush() != nil {
		return
	}
	a, err := c.read()
	if err != nil {
		c.err = err
		return
	}
	c.early = append(c.early, a)
}

// content writes the message and its end.
func (c *conn) content(m composed) {
	if c.err == nil {
		_, c.err = c.out.Write(m.raw)
	}
	c.write(".\r\n")
}

func (c *conn) write(s string) {
	if c.err == nil {
		_, c.err = c.out.WriteString(s)
	}
}

func (c *conn) flush() error {
	if c.err == nil {
		c.err = c.client.UpdateDeadline(stepTimeout)
	}
	if c.err == nil {
		c.err = c.out.Flush()
	}
	if c.err == nil {
		c.err = c.text.W.Flush()
	}
	return c.err
}

// answers reads the replies to an envelope: nil when the server waits for the content, else the refusal.
func (c *conn) answers() (*answer, error) {
	var refused *answer
	if c.reset {
		if a, err := c.reply(); err != nil || a.code == 421 {
			return a, err
		}
	}
	for step := range 3 {
		a, err := c.reply()
		if err != nil {
			return nil, err
		}
		good := a.code/100 == 2
		if step == 2 {
			good = a.code == 354
		}
		if !good && refused == nil {
			refused = a
		}
		if a.code == 421 {
			return a, nil
		}
		if step == 2 && a.code == 354 && refused != nil {
			// A server that opens DATA without a recipient: end it empty. It refuses that in turn.
			c.write(".\r\n")
			if err := c.flush(); err != nil {
				return nil, err
			}
			if _, err := c.reply(); err != nil {
				return nil, err
			}
		}
	}
	c.stale = refused != nil
	return refused, nil
}

// reply returns the next reply.
func (c *conn) reply() (*answer, error) {
	if len(c.early) > 0 {
		a := c.early[0]
		c.early = c.early[1:]
		return a, nil
	}
	return c.read()
}

func (c *conn) read() (*answer, error) {
	code, text, err := c.text.ReadResponse(0)
	var protocol *textproto.Error
	if err != nil && !errors.As(err, &protocol) {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	if protocol != nil {
		code, text = protocol.Code, protocol.Msg
	}
	return &answer{code: code, text: text}, nil
}

func (c *conn) quit() { _ = c.client.Quit() } // courtesy; the session is over either way

func (c *conn) close() { _ = c.client.Close() }

// answer is one SMTP reply.
type answer struct {
	code int
	text string
}

// Error makes a 421 a reason to end the session.
func (a *answer) Error() string { return "smtp " + strconv.Itoa(a.code) }

var (
	enhanced  = regexp.MustCompile(`^([245])\.(\d{1,3})\.(\d{1,3})\b`)
	addresses = regexp.MustCompile(`[^\s<>]+@[^\s<>]+`)
)

const maxText = 200

// result maps a reply (RFC 5321, RFC 3463) to what the pipeline does.
func (a *answer) result(messageID string) channels.Result {
	if a.code/100 == 2 {
		return channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: "<" + messageID + ">"}
	}
	status := enhanced.FindString(a.text)
	r := channels.Result{Code: strings.TrimSpace(strconv.Itoa(a.code) + " " + status)}
	r.Text = addresses.ReplaceAllString(strings.TrimSpace(strings.TrimPrefix(a.text, status)), "…")
	if len(r.Text) > maxText {
		r.Text = strings.ToValidUTF8(r.Text[:maxText], "")
	}
	r.Outcome, r.Reason, r.RetryAfter = judge(a.code, status, a.text)
	return r
}

// judge is the table of reply codes. Enhanced codes decide where there is one.
func judge(code int, status, text string) (channels.Outcome, channels.Reason, time.Duration) {
	lower := strings.ToLower(text)
	_, detail, _ := strings.Cut(status, ".")
	switch code {
	case 530, 534, 535, 538, 454:
		return channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute
	case 421:
		return channels.OutcomeRetry, channels.ReasonThrottled, time.Minute
	}
	if code/100 == 4 {
		switch {
		case detail == "2.2", code == 452 && detail == "":
			return channels.OutcomeRetry, channels.ReasonMailbox, time.Hour
		case strings.HasPrefix(detail, "7."), strings.Contains(lower, "greylist"):
			return channels.OutcomeRetry, channels.ReasonBusy, 5 * time.Minute
		default:
			return channels.OutcomeRetry, channels.ReasonBusy, 10 * time.Minute
		}
	}
	switch {
	case detail == "1.1", detail == "1.2", detail == "1.3", detail == "1.6", detail == "1.10", detail == "2.1":
		return channels.OutcomeRejected, channels.ReasonNoAddress, 0
	case detail == "2.2":
		return channels.OutcomeRejected, channels.ReasonMailbox, 0
	case detail == "3.4", detail == "2.3", code == 552:
		return channels.OutcomeRejected, channels.ReasonContent, 0
	case strings.HasPrefix(detail, "7."), strings.Contains(lower, "spam"), strings.Contains(lower, "blocked"):
		return channels.OutcomeRejected, channels.ReasonReputation, 0
	case detail == "" && (code == 550 || code == 551 || code == 553):
		return channels.OutcomeRejected, channels.ReasonNoAddress, 0
	case strings.HasPrefix(detail, "6."):
		return channels.OutcomeRejected, channels.ReasonContent, 0
	default:
		return channels.OutcomeRejected, channels.ReasonUnmapped, 0
	}
}

// dialResult is what it means that no session came about: the message has not left in any case.
func dialResult(err error) channels.Result {
	r := channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonNetwork, RetryAfter: 30 * time.Second, Text: "no connection"}
	var protocol *textproto.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &protocol):
		a := &answer{code: protocol.Code, text: protocol.Msg}
		r = a.result("")
		if r.Outcome != channels.OutcomeRetry { // greeting or AUTH refused for good: the account's trouble, not the message's
			r.Outcome, r.Reason, r.RetryAfter = channels.OutcomeRetry, channels.ReasonCredential, 10*time.Minute
		}
	case errors.As(err, &certificate):
		r.Text = "the server's certificate is not trusted"
	}
	return r
}
