package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lianke/lianke/internal/fault"
)

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type   string        `json:"type" doc:"stable URI of the code" example:"urn:lianke:fault:coupon.expired"`
	Title  string        `json:"title" doc:"what went wrong, in English"`
	Status int           `json:"status" doc:"HTTP status"`
	Code   string        `json:"code" doc:"stable code that clients and translations key on" example:"coupon.expired"`
	Text   fault.Text    `json:"text" doc:"what went wrong, in both languages"`
	Hint   *fault.Text   `json:"hint,omitempty" doc:"how to mend it"`
	Fields []fault.Field `json:"fields,omitempty" doc:"the offending inputs"`
	cause  error
}

// Error returns the English text.
func (p *Problem) Error() string { return p.Code + ": " + p.Title }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names the media type of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// Unwrap returns what happened underneath, for the log.
func (p *Problem) Unwrap() error { return p.cause }

// NewProblem turns any error into a problem document. This is the one place where kinds become statuses; foreign errors
// become an opaque 500.
func NewProblem(err error) *Problem {
	f := fault.From(err)
	p := &Problem{
		Type:   "urn:lianke:fault:" + f.Code,
		Title:  f.Text.EN,
		Status: status(f.Kind),
		Code:   f.Code,
		Text:   f.Text,
		Fields: f.Fields,
		cause:  err,
	}
	if f.Hint != (fault.Text{}) {
		p.Hint = &f.Hint
	}
	return p
}

func status(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Precondition:
		return http.StatusPreconditionFailed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.RateLimited:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// WriteProblem answers a plain handler's request with the error.
func WriteProblem(w http.ResponseWriter, err error) {
	p := NewProblem(err)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}

// Errors of the door itself.
var (
	errMalformed = fault.New(fault.Invalid, "api.malformed", "请求无法解析", "the request cannot be read").
			WithHint("请按字段提示修改;格式见 /docs", "correct the fields named; /docs shows the form")
	errTooLarge = fault.New(fault.TooLarge, "api.too_large", "请求内容过大", "the request body is too large").
			WithHint("请分批提交", "send it in smaller parts")
	errNotAcceptable = fault.New(fault.Invalid, "api.not_acceptable", "只提供 JSON", "only JSON is served").
				WithHint("请将 Accept 设为 application/json", "ask for application/json in Accept")
	errNotFound = fault.New(fault.NotFound, "api.not_found", "没有这个地址", "there is nothing at this address").
			WithHint("可用地址见 /docs", "/docs lists the addresses")
	errOtherRole = fault.New(fault.NotFound, "api.other_role", "此地址由角色 {role} 的进程提供", "processes with the role {role} answer at this address").
			WithHint("请将该地址转发到以 --roles {role} 运行的进程", "send it to a process that runs with --roles {role}")
	errRejected = fault.New(fault.Forbidden, "api.cross_origin", "拒绝跨站请求", "cross-origin requests are refused").
			WithHint("请在 lianke 自己的页面上操作,或用 API 密钥从服务器调用", "act on a page of this address, or call from a server with an API key")
)

// unknownField begins encoding/json's message about a field that the operation does not take.
const unknownField = `json: unknown field "`

// parameter says what is wrong with one input.
func parameter(d *huma.ErrorDetail) fault.Field {
	if name, ok := strings.CutPrefix(d.Message, unknownField); ok {
		name = strings.TrimSuffix(name, `"`)
		return fault.Field{
			Path: name, Code: "api.unknown_field",
			Text: fault.Text{ZH: "没有名为 " + name + " 的字段", EN: "unknown field " + name},
			Hint: fault.Text{ZH: "请改正字段名或删除该字段,可用字段见 /docs", EN: "correct its name or remove it; /docs lists the fields"},
		}
	}
	return fault.Field{
		Path: d.Location, Code: "api.parameter", Text: fault.Text{ZH: "参数无效:" + d.Message, EN: d.Message}, Hint: parameterHint(d.Location),
	}
}

func parameterHint(at string) fault.Text {
	if at == "body" {
		return fault.Text{ZH: "请检查 JSON 的括号、引号与逗号,格式见 /docs", EN: "check brackets, quotation marks and commas of the JSON; /docs shows the form"}
	}
	return fault.Text{ZH: "请按 /docs 中的类型与范围填写", EN: "give it the type and range that /docs shows"}
}

// fromHuma translates huma's own errors (unreadable body, bad parameter) into problems.
func fromHuma(code int, msg string, errs ...error) huma.StatusError {
	f := errMalformed
	switch code {
	case http.StatusRequestEntityTooLarge:
		f = errTooLarge
	case http.StatusNotAcceptable:
		f = errNotAcceptable
	case http.StatusInternalServerError:
		return NewProblem(errors.Join(append([]error{errors.New(msg)}, errs...)...))
	}
	var fields []fault.Field
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			fields = append(fields, parameter(d))
		} else if err != nil {
			fields = append(fields, fault.Field{Path: "body", Code: "api.body", Text: fault.Text{ZH: "内容无效", EN: err.Error()}, Hint: parameterHint("body")})
		}
	}
	return NewProblem(f.WithFields(fields...))
}
