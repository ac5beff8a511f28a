// Package fault is the one error model of the house. A fault has a kind (which decides the HTTP status and whether the
// text may be shown), a stable code that clients and translations key on, a safe text in Chinese and English, a hint
// that says how to mend it, and the fields it concerns. Domain packages declare theirs as variables in errors.go:
//
//	var ErrExpired = fault.New(fault.Precondition, "coupon.expired",
//		"优惠券 {code} 已于 {at} 过期", "coupon {code} expired at {at}")
//
// and return ErrExpired.With("code", c, "at", t), wrapped with the operation: fmt.Errorf("redeem coupon %s: %w", c, err).
// Any other error is internal: its text is logged, never shown.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind classifies a fault.
type Kind string

// The kinds, and the HTTP status each becomes.
const (
	Invalid         Kind = "invalid"         // 422: the input is wrong; Fields say where
	NotFound        Kind = "not_found"       // 404
	Conflict        Kind = "conflict"        // 409: stale version, duplicate key with other content
	Forbidden       Kind = "forbidden"       // 403: role or scope
	Unauthenticated Kind = "unauthenticated" // 401
	Precondition    Kind = "precondition"    // 412: the state does not allow it (expired, used up, closed)
	TooLarge        Kind = "too_large"       // 413
	RateLimited     Kind = "rate_limited"    // 429
	Unavailable     Kind = "unavailable"     // 503: retry later
	Internal        Kind = "internal"        // 500: a defect or a foreign error
)

// Text is one sentence in both languages of the product.
type Text struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

// Field names one offending input: a JSON pointer-like path ("nodes[3].wait.for"), what is wrong, and the fix.
type Field struct {
	Path string `json:"path"`
	Code string `json:"code"`
	Text Text   `json:"text"`
	Hint Text   `json:"hint"`
}

// Error is a fault. Values are immutable; the With methods return copies, so package variables are safe to share.
type Error struct {
	Kind   Kind
	Code   string
	Text   Text
	Hint   Text
	Fields []Field
	cause  error
}

// New declares a fault. Texts may hold {name} slots that With fills.
func New(kind Kind, code, zh, en string) *Error {
	return &Error{Kind: kind, Code: code, Text: Text{zh, en}}
}

// With fills the {name} slots from name/value pairs. Values must be safe to show: ids, codes, counts, times. A Text fills
// each language with its own words.
func (e *Error) With(pairs ...any) *Error {
	c := *e
	for i := 0; i+1 < len(pairs); i += 2 {
		slot := fmt.Sprintf("{%v}", pairs[i])
		value, both := pairs[i+1].(Text)
		if !both {
			value = Text{fmt.Sprint(pairs[i+1]), fmt.Sprint(pairs[i+1])}
		}
		c.Text = Text{strings.ReplaceAll(c.Text.ZH, slot, value.ZH), strings.ReplaceAll(c.Text.EN, slot, value.EN)}
		c.Hint = Text{strings.ReplaceAll(c.Hint.ZH, slot, value.ZH), strings.ReplaceAll(c.Hint.EN, slot, value.EN)}
	}
	return &c
}

// WithHint says how to mend it.
func (e *Error) WithHint(zh, en string) *Error {
	c := *e
	c.Hint = Text{zh, en}
	return &c
}

// WithFields attaches the offending inputs.
func (e *Error) WithFields(fields ...Field) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), c.Fields...), fields...)
	return &c
}

// Because records the cause, for logs and errors.Is; it is never shown.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error returns the code, the English text, the offending fields and the cause, for logs and the command line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code + ": " + e.Text.EN)
	for _, f := range e.Fields {
		b.WriteString("; ")
		if f.Path != "" {
			b.WriteString(f.Path + ": ")
		}
		b.WriteString(f.Text.EN)
		if f.Hint.EN != "" {
			fmt.Fprintf(&b, " (%s)", f.Hint.EN)
		}
	}
	if e.Hint.EN != "" {
		b.WriteString(" (" + e.Hint.EN + ")")
	}
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is matches faults by code, whatever their slots, fields and cause.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// From returns the fault inside err, or an internal fault that hides it. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	return New(Internal, "internal", "系统内部错误,请稍后重试", "internal error, please try again later").Because(err)
}

// KindOf returns the kind of err; foreign errors are Internal.
func KindOf(err error) Kind { return From(err).Kind }
