package sms

import (
	"errors"
	"strings"
	"time"

	"github.com/lianke/lianke/channels"
)

type verdict struct {
	outcome channels.Outcome
	reason  channels.Reason
	after   time.Duration
}

// verdicts is the whole table of Aliyun's codes; isv.BUSINESS_LIMIT_CONTROL is refined by its text.
var verdicts = map[string]verdict{
	"isv.BUSINESS_LIMIT_CONTROL":        {channels.OutcomeRetry, channels.ReasonRecipient, 24 * time.Hour},
	"isv.DAY_LIMIT_CONTROL":             {channels.OutcomeRetry, channels.ReasonQuota, 6 * time.Hour},
	"isv.MONTH_LIMIT_CONTROL":           {channels.OutcomeRetry, channels.ReasonQuota, 24 * time.Hour},
	"isv.AMOUNT_NOT_ENOUGH":             {channels.OutcomeRetry, channels.ReasonAccount, time.Hour},
	"isv.OUT_OF_SERVICE":                {channels.OutcomeRetry, channels.ReasonAccount, time.Hour},
	"isv.ACCOUNT_ABNORMAL":              {channels.OutcomeRetry, channels.ReasonAccount, time.Hour},
	"isv.PRODUCT_UN_SUBSCRIPT":          {channels.OutcomeRetry, channels.ReasonAccount, time.Hour},
	"isp.RAM_PERMISSION_DENY":           {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"isv.DENY_IP_RANGE":                 {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"InvalidAccessKeyId.NotFound":       {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"InvalidAccessKeyId.Inactive":       {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"SignatureDoesNotMatch":             {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"IncompleteSignature":               {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"MissingAuthorization":              {channels.OutcomeRetry, channels.ReasonCredential, 10 * time.Minute},
	"InvalidTimeStamp.Expired":          {channels.OutcomeRetry, channels.ReasonCredential, time.Minute}, // our clock is wrong
	"SignatureNonceUsed":                {channels.OutcomeUnknown, channels.ReasonTimeout, 0},            // somebody sent it already
	"Throttling":                        {channels.OutcomeRetry, channels.ReasonThrottled, 30 * time.Second},
	"Throttling.User":                   {channels.OutcomeRetry, channels.ReasonThrottled, 30 * time.Second},
	"Throttling.Api":                    {channels.OutcomeRetry, channels.ReasonThrottled, 30 * time.Second},
	"ServiceUnavailable":                {channels.OutcomeRetry, channels.ReasonBusy, 10 * time.Second},
	"isp.SYSTEM_ERROR":                  {channels.OutcomeUnknown, channels.ReasonBusy, 0}, // it may have been taken
	"isp.GATEWAY_ERROR":                 {channels.OutcomeUnknown, channels.ReasonBusy, 0},
	"InternalError":                     {channels.OutcomeUnknown, channels.ReasonBusy, 0},
	"isv.MOBILE_NUMBER_ILLEGAL":         {channels.OutcomeRejected, channels.ReasonNoAddress, 0},
	"isv.MOBILE_COUNT_OVER_LIMIT":       {channels.OutcomeRejected, channels.ReasonInput, 0},
	"isv.BLACK_KEY_CONTROL_LIMIT":       {channels.OutcomeRejected, channels.ReasonContent, 0},
	"isv.SMS_CONTENT_ILLEGAL":           {channels.OutcomeRejected, channels.ReasonContent, 0},
	"isv.PARAM_LENGTH_LIMIT":            {channels.OutcomeRejected, channels.ReasonContent, 0},
	"isv.PARAM_NOT_SUPPORT_URL":         {channels.OutcomeRejected, channels.ReasonContent, 0},
	"isv.INVALID_JSON_PARAM":            {channels.OutcomeRejected, channels.ReasonInput, 0},
	"isv.INVALID_PARAMETERS":            {channels.OutcomeRejected, channels.ReasonInput, 0},
	"isv.TEMPLATE_MISSING_PARAMETERS":   {channels.OutcomeRejected, channels.ReasonInput, 0},
	"isv.TEMPLATE_PARAMS_ILLEGAL":       {channels.OutcomeRejected, channels.ReasonContent, 0},
	"isv.SMS_TEMPLATE_ILLEGAL":          {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	"isv.SMS_SIGNATURE_ILLEGAL":         {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	"isv.SMS_SIGN_ILLEGAL":              {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	"isv.SMS_SIGNATURE_SCENE_ILLEGAL":   {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	"isv.EXTEND_CODE_ERROR":             {channels.OutcomeRejected, channels.ReasonInput, 0},
	"isv.DOMESTIC_NUMBER_NOT_SUPPORTED": {channels.OutcomeRejected, channels.ReasonNoAddress, 0},
	"InvalidVersion":                    {channels.OutcomeRejected, channels.ReasonInput, 0},
	"InvalidAction.NotFound":            {channels.OutcomeRejected, channels.ReasonInput, 0},
	"MissingTemplateCode":               {channels.OutcomeRejected, channels.ReasonTemplate, 0},
	"MissingPhoneNumbers":               {channels.OutcomeRejected, channels.ReasonInput, 0},
}

// result maps the outcome of a call. A nil error is accepted.
func result(err error, bizID string) channels.Result {
	if err == nil {
		return channels.Result{Outcome: channels.OutcomeAccepted, ProviderID: bizID}
	}
	var api *APIError
	if errors.As(err, &api) {
		v, known := verdicts[api.Code]
		if !known {
			v = verdict{channels.OutcomeRejected, channels.ReasonUnmapped, 0}
		}
		if api.Code == "isv.BUSINESS_LIMIT_CONTROL" {
			switch {
			case strings.Contains(api.Text, "分钟级"):
				v.after = time.Minute
			case strings.Contains(api.Text, "小时级"):
				v.after = time.Hour
			}
		}
		return channels.Result{Outcome: v.outcome, Reason: v.reason, RetryAfter: v.after, Code: api.Code, Text: api.Text}
	}
	var transport *transportError
	if errors.As(err, &transport) && transport.unsent {
		return channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonNetwork, RetryAfter: 10 * time.Second, Text: transport.text}
	}
	return channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout, Text: err.Error()}
}

// receiptReasons are the carriers' codes in receipts that say more than "failed". The rest counts as passing trouble.
var receiptReasons = map[string]struct {
	reason    channels.Reason
	permanent bool
}{
	"MOBILE_NOT_ON_SERVICE":   {channels.ReasonNoAddress, true}, // 空号, 停机
	"UNDELIV":                 {channels.ReasonMailbox, false},
	"EXPIRED":                 {channels.ReasonMailbox, false},
	"REJECTED":                {channels.ReasonOptOut, true},
	"BLACK":                   {channels.ReasonOptOut, true},
	"REJECT":                  {channels.ReasonOptOut, true},
	"CONTENT_KEYWORD":         {channels.ReasonContent, false},
	"CONTENT_ERROR":           {channels.ReasonContent, false},
	"SIGNATURE_BLACKLIST":     {channels.ReasonTemplate, false},
	"MOBILE_IN_BLACK":         {channels.ReasonOptOut, true},
	"MOBILE_SEND_LIMIT":       {channels.ReasonRecipient, false},
	"MOBILE_TERMINAL_ERROR":   {channels.ReasonMailbox, false},
	"MOBILE_ACCOUNT_ABNORMAL": {channels.ReasonMailbox, false},
}
