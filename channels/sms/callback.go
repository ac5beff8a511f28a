package sms

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/clock"
)

// Callback receives Aliyun's pushes for one account, at …/receipts/{token} and …/replies/{token}.
type Callback struct {
	cfg   Config
	inbox channels.Inbox
	log   *slog.Logger
}

// The bounds of a push.
const (
	maxPush      = 1 << 20
	maxPushItems = 5_000
	ackWithin    = 8 * time.Second
	minToken     = 32
)

// NewCallback returns the receiver of an account. Aliyun does not sign pushes, so the token is the only proof.
func NewCallback(cfg Config, inbox channels.Inbox, log *slog.Logger) (*Callback, error) {
	if cfg.Account == "" || len(cfg.Token) < minToken {
		return nil, ErrConfig.With("account", cfg.Account)
	}
	return &Callback{cfg: cfg, inbox: inbox, log: log}, nil
}

// Receipts is the handler of the SmsReport address. token is what the request's path holds.
func (c *Callback) Receipts(token func(*http.Request) string) http.Handler {
	return c.handler(token, func(ctx context.Context, body []byte) error {
		items, err := decodeReceipts(c.cfg, body)
		if err != nil {
			return err
		}
		return durable(c.inbox.Receipts(ctx, items))
	})
}

// Replies is the handler of the SmsUp address.
func (c *Callback) Replies(token func(*http.Request) string) http.Handler {
	return c.handler(token, func(ctx context.Context, body []byte) error {
		items, err := decodeReplies(c.cfg, body)
		if err != nil {
			return err
		}
		return durable(c.inbox.Inbound(ctx, items))
	})
}

// errStore marks what the provider should bring again.
var errStore = errors.New("not stored")

func durable(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

// handler answers {"code":0} once the items are durable. 403: wrong token; 400: unreadable; 413; 503: come again.
func (c *Callback) handler(token func(*http.Request) string, take func(context.Context, []byte) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			c.answer(w, r, http.StatusMethodNotAllowed, nil)
			return
		}
		if subtle.ConstantTimeCompare([]byte(token(r)), []byte(c.cfg.Token)) != 1 {
			c.answer(w, r, http.StatusForbidden, errors.New("wrong token"))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPush))
		if err != nil {
			c.answer(w, r, http.StatusRequestEntityTooLarge, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), ackWithin)
		defer cancel()
		switch err := take(ctx, body); {
		case err == nil:
			c.answer(w, r, http.StatusOK, nil)
		case errors.Is(err, errStore):
			c.answer(w, r, http.StatusServiceUnavailable, err)
		default:
			c.answer(w, r, http.StatusBadRequest, err)
		}
	})
}

func (c *Callback) answer(w http.ResponseWriter, r *http.Request, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = io.WriteString(w, `{"code":0,"msg":"成功"}`)
		return
	}
	c.log.WarnContext(r.Context(), "sms callback refused", "account", c.cfg.Account, "status", status, "error", err)
	fmt.Fprintf(w, `{"code":%d,"msg":%q}`, status, http.StatusText(status))
}

var errBody = errors.New("sms callback: not an array of pushes")

// parseTime reads a time of day in Shanghai, within the years that a database and JSON can hold.
func parseTime(s string) (time.Time, error) {
	at, err := time.ParseInLocation(time.DateTime, s, clock.Shanghai)
	if err != nil || at.Year() < 2000 || at.Year() > 2100 {
		return time.Time{}, errBody
	}
	return at.UTC(), nil
}

// decodeReceipts reads SmsReport: an array of delivery reports.
func decodeReceipts(cfg Config, body []byte) ([]channels.Receipt, error) {
	var in []struct {
		ReportTime string `json:"report_time"`
		Success    bool   `json:"success"`
		ErrCode    string `json:"err_code"`
		BizID      string `json:"biz_id"`
		OutID      string `json:"out_id"`
	}
	if json.Unmarshal(body, &in) != nil || len(in) == 0 || len(in) > maxPushItems {
		return nil, errBody
	}
	out := make([]channels.Receipt, 0, len(in))
	for _, i := range in {
		at, err := parseTime(i.ReportTime)
		if err != nil || i.BizID == "" && i.OutID == "" {
			return nil, errBody
		}
		r := channels.Receipt{Account: cfg.Account, ProviderID: i.BizID, SendKey: i.OutID, Kind: channels.ReceiptDelivered, Code: i.ErrCode, At: at}
		if !i.Success {
			r.Kind, r.Reason = channels.ReceiptFailed, channels.ReasonMailbox
			if known, ok := receiptReasons[i.ErrCode]; ok {
				r.Reason, r.Permanent = known.reason, known.permanent
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// optOutWords are the replies by which a member leaves; anything else is a text to somebody.
var optOutWords = map[string]bool{"R": true, "T": true, "TD": true, "N": true, "退订": true, "拒收": true, "QX": true, "取消": true}

// decodeReplies reads SmsUp: an array of what members wrote back.
func decodeReplies(cfg Config, body []byte) ([]channels.Inbound, error) {
	var in []struct {
		Phone    string      `json:"phone_number"`
		SendTime string      `json:"send_time"`
		Content  string      `json:"content"`
		Sequence json.Number `json:"sequence_id"`
	}
	if json.Unmarshal(body, &in) != nil || len(in) == 0 || len(in) > maxPushItems {
		return nil, errBody
	}
	out := make([]channels.Inbound, 0, len(in))
	for _, i := range in {
		at, err := parseTime(i.SendTime)
		if err != nil || !mobile.MatchString(i.Phone) {
			return nil, errBody
		}
		phone := i.Phone[len(i.Phone)-11:]
		item := channels.Inbound{
			Account: cfg.Account, From: channels.Key{NS: "phone", Value: phone}, Kind: channels.InboundText, Value: i.Content, At: at,
			DedupeKey: strings.Join([]string{"up", i.Sequence.String(), phone, i.SendTime, i.Content}, "|"),
		}
		word := strings.ToUpper(strings.Trim(i.Content, " \t\r\n。.!！“”\"'"))
		if optOutWords[word] {
			item.Kind = channels.InboundOptOut
		}
		out = append(out, item)
	}
	return out, nil
}
