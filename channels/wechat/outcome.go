package wechat

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/lianke/lianke/channels"
)

// verdict is what a provider code means for a message.
type verdict struct {
	outcome channels.Outcome
	reason  channels.Reason
	after   time.Duration
}

// verdicts is the whole table. A code that is not here is rejected as unmapped, with its text kept.
var verdicts = map[int64]verdict{
	-1:    {channels.OutcomeRetry, channels.ReasonBusy, 5 * time.Second},
	40001: {channels.OutcomeRetry, channels.ReasonCredential, time.Minute},
	40014: {channels.OutcomeRetry, channels.ReasonCredential, time.Minute},
	42001: {channels.OutcomeRetry, channels.ReasonCredential, time.Minute},
	40013: {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute}, // invalid appid
	40125: {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute}, // invalid appsecret
	40164: {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute}, // our IP is not on the list
	41001: {channels.OutcomeRetry, channels.ReasonCredential, time.Minute},
	40003: {channels.OutcomeRejected, channels.ReasonNoAddress, 0}, // invalid openid
	40037: {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	41028: {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	41029: {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	41030: {channels.OutcomeRejected, channels.ReasonContent, 0}, // invalid page
	43004: {channels.OutcomeRejected, channels.ReasonRefused, 0}, // does not follow
	43101: {channels.OutcomeRejected, channels.ReasonRefused, 0}, // no grant left
	43107: {channels.OutcomeRejected, channels.ReasonAccount, 0}, // the ability is blocked
	43117: {channels.OutcomeRetry, channels.ReasonRecipient, 6 * time.Hour},
	45002: {channels.OutcomeRejected, channels.ReasonContent, 0},
	45009: {channels.OutcomeRetry, channels.ReasonQuota, time.Hour}, // day quota: the account waits
	45011: {channels.OutcomeRetry, channels.ReasonThrottled, time.Minute},
	45015: {channels.OutcomeRejected, channels.ReasonWindow, 0},
	45047: {channels.OutcomeRejected, channels.ReasonWindow, 0},
	47001: {channels.OutcomeRejected, channels.ReasonContent, 0},
	47003: {channels.OutcomeRejected, channels.ReasonContent, 0},
	48001: {channels.OutcomeRejected, channels.ReasonAccount, 0},
	50002: {channels.OutcomeRejected, channels.ReasonRefused, 0}, // user limited
}

// result maps an error of a send to what the pipeline does. A nil error is accepted.
func result(err error, providerID string) channels.Result {
	if err == nil {
		return channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: providerID}
	}
	var api *APIError
	if errors.As(err, &api) {
		v, known := verdicts[api.Code]
		if !known {
			v = verdict{channels.OutcomeRejected, channels.ReasonUnmapped, 0}
		}
		return channels.Result{
			Outcome: v.outcome, Reason: v.reason, RetryAfter: v.after, Code: strconv.FormatInt(api.Code, 10), Text: api.Text,
		}
	}
	var transport *TransportError
	if errors.As(err, &transport) {
		r := channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout, Text: transport.Text}
		if transport.Status != 0 {
			r.Code = "http " + strconv.Itoa(transport.Status)
		}
		// 429 and 503 say in so many words that nothing was done; other errors of a gateway do not.
		if transport.Unsent || transport.Status == 429 || transport.Status == 503 {
			r.Outcome, r.Reason, r.RetryAfter = channels.OutcomeRetry, channels.ReasonNetwork, 10*time.Second
			if transport.Status != 0 {
				r.Reason = channels.ReasonBusy
			}
		}
		return r
	}
	if errors.Is(err, context.Canceled) {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonCanceled}
	}
	return channels.Result{Outcome: channels.OutcomeRejected, Reason: channels.ReasonInput, Text: err.Error()}
}
