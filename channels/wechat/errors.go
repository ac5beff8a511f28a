package wechat

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"

	"github.com/silenceper/wechat/v2/util"

	"github.com/lianke/lianke/internal/fault"
)

// Faults of this package.
var (
	ErrConfig = fault.New(fault.Invalid, "wechat.config",
		"微信账号 {account} 的配置不完整", "the settings of WeChat account {account} are incomplete").
		WithHint("请填写 appid、appsecret,以及回调的 Token 和 43 位 EncodingAESKey", "give appid, appsecret, and for callbacks Token and the 43-character EncodingAESKey")
	ErrCode = fault.New(fault.Invalid, "wechat.code",
		"微信登录凭证无效或已使用", "the WeChat code is invalid, expired or used").
		WithHint("请重新获取 code(5 分钟内有效,只能用一次)", "get a new code: it lives five minutes and works once")
	ErrUnavailable = fault.New(fault.Unavailable, "wechat.unavailable",
		"微信接口暂时不可用", "WeChat cannot be reached at the moment").
		WithHint("请稍后重试;lianke 会自动重试发送", "try again later; messages are retried by themselves")
)

// APIError is an answer of WeChat with errcode ≠ 0.
type APIError struct {
	Code int64
	Text string // without the request id
	RID  string // what WeChat's support asks for
}

// Error returns code, text and request id.
func (e *APIError) Error() string {
	return fmt.Sprintf("wechat %d: %s (rid %s)", e.Code, e.Text, e.RID)
}

// TransportError says that no usable answer came.
type TransportError struct {
	Status int  // HTTP status, if there was one
	Unsent bool // the request certainly never reached WeChat
	Text   string
}

// Error returns what happened, without the address of the request.
func (e *TransportError) Error() string { return "wechat: " + e.Text }

var (
	codeForm   = regexp.MustCompile(`errcode=(-?\d+)\s*,\s*err(?:or)?msg=(.*)$`)
	ridForm    = regexp.MustCompile(`\s*rid:\s*([0-9a-f]{4,}(?:-[0-9a-f]{4,})+)\s*$`)
	statusForm = regexp.MustCompile(`statusCode=(\d{3})$`)
)

// ParseErr turns any error of the SDK into *APIError, *TransportError or, for what is not the network's, itself. The
// SDK returns most API errors as plain text, some as *util.CommonError, and puts addresses with tokens into others.
func ParseErr(err error) error {
	if err == nil {
		return nil
	}
	var api *APIError
	var transport *TransportError
	if errors.As(err, &api) || errors.As(err, &transport) {
		return err
	}
	var common *util.CommonError
	if errors.As(err, &common) {
		return apiError(common.ErrCode, common.ErrMsg)
	}
	if m := codeForm.FindStringSubmatch(err.Error()); m != nil {
		if code, numErr := strconv.ParseInt(m[1], 10, 64); numErr == nil {
			return apiError(code, m[2])
		}
	}
	if m := statusForm.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1]) // three digits
		return &TransportError{Status: status, Text: "HTTP status " + m[1]}
	}
	return transportError(err)
}

func apiError(code int64, text string) *APIError {
	e := &APIError{Code: code, Text: text}
	if m := ridForm.FindStringSubmatchIndex(text); m != nil {
		e.RID, e.Text = text[m[2]:m[3]], text[:m[0]]
	}
	return e
}

// transportError tells failures before the request left from those after.
func transportError(err error) error {
	var (
		op         *net.OpError
		authority  x509.UnknownAuthorityError
		invalid    x509.CertificateInvalidError
		host       x509.HostnameError
		verify     *tls.CertificateVerificationError
		record     tls.RecordHeaderError
		dns        *net.DNSError
		syntax     *json.SyntaxError
		typeError  *json.UnmarshalTypeError
		urlError   *url.Error
		timeout    interface{ Timeout() bool }
		unreadable = errors.As(err, &syntax) || errors.As(err, &typeError) || errors.Is(err, io.ErrUnexpectedEOF)
	)
	switch {
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return &TransportError{Unsent: true, Text: "no connection"}
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &host), errors.As(err, &record):
		return &TransportError{Unsent: true, Text: "the server's certificate is not trusted"}
	case unreadable:
		return &TransportError{Text: "unreadable answer"}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.Canceled):
		return &TransportError{Text: "no answer in time"}
	case errors.As(err, &urlError), errors.Is(err, io.EOF):
		return &TransportError{Text: "the connection broke"}
	}
	return err
}
