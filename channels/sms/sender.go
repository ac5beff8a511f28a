package sms

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/clock"
)

// Config is one account.
type Config struct {
	Account   string `json:"account"` // our code of it
	AccessKey string `json:"access_key"`
	Secret    string `json:"secret"`
	Sign      string `json:"sign"`     // approved signature, without brackets
	Token     string `json:"token"`    // in the path of the callback addresses, at least 32 characters
	Endpoint  string `json:"endpoint"` // default dysmsapi.aliyuncs.com
	Parallel  int    `json:"parallel"` // calls at once; default 16
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value { return slog.GroupValue(slog.String("account", c.Account)) }

const (
	defaultEndpoint = "dysmsapi.aliyuncs.com"
	defaultParallel = 16
	apiVersion      = "2017-05-25"
	maxAnswer       = 1 << 20
	// OptOutText is what every marketing message must end with.
	OptOutText = "拒收请回复R"
)

// Sender sends through one account. It is a channels.Sender.
type Sender struct {
	cfg    Config
	client *http.Client
	clock  clock.Clock
}

// New opens an account; nothing is called until the first message. An account whose callbacks would be refused does not
// open: it would send and never learn who replied R.
func New(cfg Config, client *http.Client, c clock.Clock) (*Sender, error) {
	if cfg.Account == "" || cfg.AccessKey == "" || cfg.Secret == "" || cfg.Sign == "" || len(cfg.Token) < minToken {
		return nil, ErrConfig.With("account", cfg.Account)
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = defaultEndpoint
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = defaultParallel
	}
	return &Sender{cfg: cfg, client: client, clock: c}, nil
}

// Send implements channels.Sender.
func (s *Sender) Send(ctx context.Context, batch []channels.Outgoing) []channels.Result {
	results := make([]channels.Result, len(batch))
	var g errgroup.Group
	g.SetLimit(s.cfg.Parallel)
	for i, m := range batch {
		g.Go(func() error {
			results[i] = s.send(ctx, m)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return results
}

func (s *Sender) send(ctx context.Context, m channels.Outgoing) channels.Result {
	if ctx.Err() != nil {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonCanceled}
	}
	if err := Check(m.To, m.Content); err != nil {
		return channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonInput, Text: err.Error()}
	}
	params := map[string]string{
		"PhoneNumbers": m.To, "SignName": m.Content.Sign, "TemplateCode": m.Content.Template, "OutId": m.SendKey,
	}
	if params["SignName"] == "" {
		params["SignName"] = s.cfg.Sign
	}
	if len(m.Content.Fields) > 0 {
		fields, err := json.Marshal(m.Content.Fields)
		if err != nil {
			return channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonInput, Text: "template fields"}
		}
		params["TemplateParam"] = string(fields)
	}
	var answer struct{ BizId string }
	err := s.call(ctx, "SendSms", params, &answer)
	return result(err, answer.BizId)
}

var mobile = regexp.MustCompile(`^(?:\+?86)?1[3-9]\d{9}$`)

// Check holds a message against the rules that are ours to keep: number, brackets, opt-out text.
func Check(to string, c channels.Content) error {
	text := strings.TrimRight(c.Text, " 。.!！")
	switch {
	case !mobile.MatchString(to):
		return ErrNumber
	case strings.ContainsAny(c.Text, "【】"):
		return ErrBrackets
	case c.Marketing && !strings.HasSuffix(strings.ToUpper(text), OptOutText) && !strings.HasSuffix(strings.ToUpper(text), "拒收请回复T"):
		return ErrOptOutText
	}
	return nil
}

// APIError is a refusal by the gateway or the service.
type APIError struct {
	Status    int
	Code      string
	Text      string
	RequestID string
}

// Error returns code, text and request id.
func (e *APIError) Error() string {
	return "aliyun " + e.Code + ": " + e.Text + " (" + e.RequestID + ")"
}

// transportError says that no usable answer came.
type transportError struct {
	unsent bool
	text   string
}

func (e *transportError) Error() string { return "aliyun: " + e.text }

// call makes one signed request and decodes an answer with Code OK into out.
func (s *Sender) call(ctx context.Context, action string, params map[string]string, out any) error {
	address := "https://" + s.cfg.Endpoint + "/?" + canonicalQuery(params)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("aliyun %s: %w", action, err)
	}
	sign(r, s.cfg.AccessKey, s.cfg.Secret, action, apiVersion, s.clock.Now())
	res, err := s.client.Do(r)
	if err != nil {
		return classify(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return &transportError{text: "the answer broke off"}
	}
	var head struct{ Code, Message, RequestId string }
	if json.Unmarshal(body, &head) != nil || head.Code == "" {
		if res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests {
			return &APIError{Status: res.StatusCode, Code: "ServiceUnavailable", Text: res.Status}
		}
		return &transportError{text: "unreadable answer, HTTP " + res.Status}
	}
	if head.Code != "OK" {
		text, _, _ := strings.Cut(head.Message, " server string to sign") // it may quote our parameters
		return &APIError{Status: res.StatusCode, Code: head.Code, Text: text, RequestID: head.RequestId}
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &transportError{text: "unreadable answer"}
	}
	return nil
}

// classify tells failures before the request left from those after; the address, which names the number, is dropped.
func classify(err error) error {
	var (
		op      *net.OpError
		dns     *net.DNSError
		verify  *tls.CertificateVerificationError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return &transportError{unsent: true, text: "no connection"}
	case errors.As(err, &verify):
		return &transportError{unsent: true, text: "the server's certificate is not trusted"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &transportError{text: "no answer in time"}
	default:
		return &transportError{text: "the connection broke"}
	}
}

// Reconcile asks the provider about messages whose outcome is unknown, sent on the day of at: accepted if it has a
// message with that send key, retry if it certainly has none, and unknown if it cannot be asked. Give it a minute after
// the attempt; the provider's list is not immediate.
func (s *Sender) Reconcile(ctx context.Context, batch []channels.Outgoing, at time.Time) []channels.Result {
	results := make([]channels.Result, len(batch))
	for i, m := range batch {
		results[i] = s.reconcile(ctx, m, at)
	}
	return results
}

const queryPage = 50

func (s *Sender) reconcile(ctx context.Context, m channels.Outgoing, at time.Time) channels.Result {
	unknown := channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout}
	for page := 1; page <= 20; page++ {
		var answer struct {
			TotalCount        int
			SmsSendDetailDTOs struct {
				SmsSendDetailDTO []struct{ OutId, BizId, ErrCode string }
			}
		}
		err := s.call(ctx, "QuerySendDetails", map[string]string{
			"PhoneNumber": m.To, "SendDate": at.In(clock.Shanghai).Format("20060102"), "PageSize": fmt.Sprint(queryPage), "CurrentPage": fmt.Sprint(page),
		}, &answer)
		if err != nil {
			return unknown
		}
		for _, d := range answer.SmsSendDetailDTOs.SmsSendDetailDTO {
			if d.OutId == m.SendKey {
				return channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: d.BizId}
			}
		}
		if page*queryPage >= answer.TotalCount {
			return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonNetwork, Text: "the provider does not have it"}
		}
	}
	return unknown
}
