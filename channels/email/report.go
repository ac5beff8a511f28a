package email

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/lianke/lianke/channels"
)

// errNoReport says that a mail is not a report about one of ours: an answer by hand, an absence note, spam.
var errNoReport = errors.New("email: not a report")

// The bounds of a report.
const (
	maxReport = 1 << 20
	maxParts  = 20
	maxNested = 4
)

// report is what a machine says about a message.
type report struct {
	kind      channels.ReceiptKind
	reason    channels.Reason
	permanent bool
	code      string
	key       string // X-Send-Key of the quoted message; empty if it is not quoted
}

// parseReport reads a delivery status notification (RFC 3464) or an abuse report (RFC 5965).
func parseReport(raw []byte) (report, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return report{}, errNoReport
	}
	var r report
	parts := 0
	if err := r.walk(textproto.MIMEHeader(m.Header), m.Body, &parts, 0); err != nil {
		return report{}, err
	}
	if r.kind == "" {
		return report{}, errNoReport
	}
	return r, nil
}

func (r *report) walk(h textproto.MIMEHeader, body io.Reader, parts *int, depth int) error {
	if *parts++; *parts > maxParts || depth > maxNested {
		return errNoReport
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		if params["boundary"] == "" {
			return errNoReport
		}
		reader := multipart.NewReader(body, params["boundary"])
		for {
			p, err := reader.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return errNoReport
			}
			if err := r.walk(p.Header, p, parts, depth+1); err != nil {
				return err
			}
		}
	case kind == "message/delivery-status":
		return r.delivery(body)
	case kind == "message/feedback-report":
		r.kind, r.code = channels.ReceiptComplained, "abuse"
		fields := header(body)
		if v := fields.Get("Feedback-Type"); v != "" {
			r.code = v
		}
	case kind == "message/rfc822", kind == "text/rfc822-headers":
		if key := header(body).Get("X-Send-Key"); key != "" {
			r.key = key
		}
	}
	return nil
}

// header reads a block of header fields, as far as it can be read.
func header(body io.Reader) textproto.MIMEHeader {
	h, _ := textproto.NewReader(bufio.NewReader(io.LimitReader(body, 64<<10))).ReadMIMEHeader()
	return h
}

// delivery reads the per-message block and the blocks of the recipients. We send to one recipient at a time.
func (r *report) delivery(body io.Reader) error {
	reader := textproto.NewReader(bufio.NewReader(io.LimitReader(body, 64<<10)))
	for range maxParts {
		fields, err := reader.ReadMIMEHeader()
		if action := strings.ToLower(strings.TrimSpace(fields.Get("Action"))); action != "" {
			status, _, _ := strings.Cut(strings.TrimSpace(fields.Get("Status")), " ")
			r.take(action, status, fields.Get("Diagnostic-Code"))
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

func (r *report) take(action, status, diagnostic string) {
	_, said, _ := strings.Cut(diagnostic, ";")
	code := 550
	if strings.HasPrefix(status, "4") {
		code = 450
	}
	switch action {
	case "failed":
		_, reason, _ := judge(code, enhanced.FindString(status), said)
		r.kind, r.reason, r.code = channels.ReceiptBounced, reason, status
		r.permanent = reason == channels.ReasonNoAddress
	case "delivered", "relayed", "expanded":
		r.kind, r.code = channels.ReceiptDelivered, status
	}
	// "delayed" is not an outcome: a failed or delivered follows.
}

// receipt gives the report its message.
func (r report) receipt(account, key string, at time.Time) channels.Receipt {
	return channels.Receipt{Account: account, SendKey: key, Kind: r.kind, Reason: r.reason, Permanent: r.permanent, Code: r.code, At: at}
}
