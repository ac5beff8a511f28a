package journeys

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// predicate is a Predicate made ready: the same language as `where` in segment leaves (docs: segment rules).
type predicate struct {
	prop   string
	op     string
	values []any
	exists bool
}

var predicateOps = []string{"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "between", "exists", "contains", "before", "after"}

func compilePredicate(p Predicate) (predicate, error) {
	c := predicate{prop: p.Prop, op: p.Op}
	if p.Prop == "" {
		return c, fmt.Errorf("prop is empty")
	}
	if !slices.Contains(predicateOps, p.Op) {
		return c, fmt.Errorf("op %q is not one of %s", p.Op, strings.Join(predicateOps, " "))
	}
	var v any
	if len(p.Value) > 0 {
		if err := json.Unmarshal(p.Value, &v); err != nil {
			return c, fmt.Errorf("value: %w", err)
		}
	}
	switch p.Op {
	case "exists":
		b, ok := v.(bool)
		if v != nil && !ok {
			return c, fmt.Errorf("exists takes true or false")
		}
		c.exists = v == nil || b
		return c, nil
	case "in", "nin", "between":
		list, ok := v.([]any)
		if !ok || len(list) == 0 || p.Op == "between" && len(list) != 2 {
			return c, fmt.Errorf("%s takes a list%s", p.Op, map[bool]string{true: " of two"}[p.Op == "between"])
		}
		c.values = list
	default:
		if v == nil {
			return c, fmt.Errorf("%s takes a value", p.Op)
		}
		c.values = []any{v}
	}
	for _, v := range c.values {
		switch v.(type) {
		case string, float64, bool:
		default:
			return c, fmt.Errorf("values are strings, numbers or booleans")
		}
		if c.op == "before" || c.op == "after" {
			if _, ok := instant(v); !ok {
				return c, fmt.Errorf("%s takes a time or a date", p.Op)
			}
		}
	}
	return c, nil
}

// matches applies the predicate to the properties of one activity. An absent property matches only exists:false, ne and
// nin; on a list, eq, in and contains mean any element.
func (c predicate) matches(props map[string]any) bool {
	v, present := props[c.prop]
	present = present && v != nil
	switch c.op {
	case "exists":
		return present == c.exists
	case "ne":
		return !present || !anyOf(v, c.values)
	case "nin":
		return !present || !anyOf(v, c.values)
	}
	if !present {
		return false
	}
	switch c.op {
	case "eq", "in":
		return anyOf(v, c.values)
	case "contains":
		if s, ok := v.(string); ok {
			w, ok := c.values[0].(string)
			return ok && strings.Contains(s, w)
		}
		return anyOf(v, c.values)
	case "before", "after":
		at, ok := instant(v)
		limit, _ := instant(c.values[0])
		return ok && (c.op == "before" && at.Before(limit) || c.op == "after" && at.After(limit))
	case "between":
		lo, ok1 := order(v, c.values[0])
		hi, ok2 := order(v, c.values[1])
		return ok1 && ok2 && lo >= 0 && hi <= 0
	}
	o, ok := order(v, c.values[0])
	if !ok {
		return false
	}
	switch c.op {
	case "gt":
		return o > 0
	case "gte":
		return o >= 0
	case "lt":
		return o < 0
	case "lte":
		return o <= 0
	}
	return false
}

func anyOf(v any, values []any) bool {
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, func(e any) bool { return anyOf(e, values) })
	}
	return slices.ContainsFunc(values, func(w any) bool { return same(v, w) })
}

func same(v, w any) bool {
	if n, ok := w.(float64); ok {
		m, ok := number(v)
		return ok && m == n
	}
	return v == w
}

// order compares v with a limit; a JSON number as limit reads v as a number, a string compares as text.
func order(v, limit any) (int, bool) {
	switch w := limit.(type) {
	case float64:
		n, ok := number(v)
		if !ok {
			return 0, false
		}
		switch {
		case n < w:
			return -1, true
		case n > w:
			return 1, true
		}
		return 0, true
	case string:
		s, ok := v.(string)
		return strings.Compare(s, w), ok
	}
	return 0, false
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case string:
		n, err := strconv.ParseFloat(x, 64)
		return n, err == nil
	}
	return 0, false
}

// instant reads RFC 3339; bare dates and times without an offset are Asia/Shanghai.
func instant(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return at, true
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, clock.Shanghai); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
