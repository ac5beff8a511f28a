package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/clock"
)

// MemberFields are what a template may read of a member, besides member.attrs.*. Name is personal data and is bound only
// for templates that use it.
var MemberFields = []string{"name", "gender", "province", "city", "home_store"}

const maxValue = 2000 // runes of one text value

// bind turns given values into Liquid bindings: declared variables only, of their kind, the absent ones empty.
func bind(variables []Variable, given map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(variables)+2)
	for _, v := range variables {
		value, ok := given[v.Name]
		if !ok || value == nil {
			if v.Required {
				return nil, fmt.Errorf("the variable %q has no value", v.Name)
			}
			out[v.Name] = nil
			continue
		}
		bound, err := bindValue(v, value)
		if err != nil {
			return nil, fmt.Errorf("the variable %q: %w", v.Name, err)
		}
		out[v.Name] = bound
	}
	return out, nil
}

func bindValue(v Variable, value any) (any, error) {
	switch v.Kind {
	case KindText:
		return bindText(value)
	case KindNumber:
		return bindNumber(value)
	case KindFen:
		n, err := bindNumber(value)
		if err != nil {
			return nil, err
		}
		if _, whole := n.(int); !whole {
			return nil, errors.New("an amount in fen is a whole number")
		}
		return n, nil
	case KindTime:
		return bindTime(value)
	case KindURL:
		s, ok := value.(string)
		if !ok {
			return nil, errors.New("must be an address")
		}
		return s, checkURL(s)
	case KindList:
		items, ok := value.([]any)
		if !ok {
			return nil, errors.New("must be a list")
		}
		if len(items) > maxItems {
			return nil, fmt.Errorf("more than %d items", maxItems)
		}
		out := make([]any, len(items))
		for i, item := range items {
			bound, err := bindItem(item)
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			out[i] = bound
		}
		return out, nil
	default:
		return nil, fmt.Errorf("unknown kind %q", v.Kind)
	}
}

func bindItem(item any) (any, error) {
	object, ok := item.(map[string]any)
	if !ok {
		return bindScalar(item)
	}
	if len(object) > 20 {
		return nil, errors.New("more than 20 fields")
	}
	out := make(map[string]any, len(object))
	for k, v := range object {
		bound, err := bindScalar(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = bound
	}
	return out, nil
}

func bindScalar(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool:
		return v, nil
	case string:
		return bindText(v)
	default:
		return bindNumber(v)
	}
}

func bindText(value any) (any, error) {
	s, ok := value.(string)
	if !ok {
		n, err := bindNumber(value)
		if err != nil {
			return nil, errors.New("must be a text")
		}
		return n, nil
	}
	if !utf8.ValidString(s) {
		return nil, errors.New("is not valid UTF-8")
	}
	if utf8.RuneCountInString(s) > maxValue {
		return nil, fmt.Errorf("longer than %d characters", maxValue)
	}
	if strings.IndexFunc(s, control) >= 0 {
		s = strings.Map(func(r rune) rune {
			if control(r) {
				return -1
			}
			return r
		}, s)
	}
	return s, nil
}

func control(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

func bindNumber(value any) (any, error) {
	switch v := value.(type) {
	case int:
		return v, nil
	case int64:
		return int(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("is not a number")
		}
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v), nil
		}
		return v, nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n), nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, errors.New("is not a number")
		}
		return f, nil
	default:
		return nil, errors.New("must be a number")
	}
}

func bindTime(value any) (any, error) {
	switch v := value.(type) {
	case time.Time:
		return v.In(clock.Shanghai), nil
	case string:
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
			if t, err := time.ParseInLocation(layout, v, clock.Shanghai); err == nil {
				return t.In(clock.Shanghai), nil
			}
		}
	}
	return nil, errors.New("must be a time such as 2026-11-23T09:00:00+08:00")
}

// checkURL accepts absolute http(s) addresses without credentials.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || len(s) > 2<<10 {
		return errors.New("must be an http or https address")
	}
	return nil
}
