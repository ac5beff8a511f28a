package segments

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// object is a JSON object that remembers the order of its keys. A value is an object, []any, string, json.Number, bool
// or nil.
type object struct {
	keys   []string
	values map[string]any
}

func (o object) has(key string) bool { _, ok := o.values[key]; return ok }
func (o object) get(key string) any  { return o.values[key] }

var (
	errDuplicate = errors.New("duplicate key")
	errNested    = errors.New("nested too deep")
)

// decode reads exactly one JSON value, refusing duplicate keys, which encoding/json would resolve silently.
func (p *parser) decode(data []byte) (any, bool) {
	if len(data) > MaxRuleBytes {
		p.fail("", "size", fmt.Sprintf("规则超过 %d KB", MaxRuleBytes>>10), fmt.Sprintf("the rule is over %d KiB", MaxRuleBytes>>10),
			"长名单请上传为名单再引用", `upload long lists and refer to them with {"list":CODE}`)
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, path, err := decodeValue(d, "", 0)
	if err == nil {
		if _, extra := d.Token(); extra != io.EOF {
			p.fail("", "trailing", "规则之后还有内容", "there is more after the rule", "一个文件只放一个规则", "give exactly one JSON object")
			return nil, false
		}
		return v, true
	}
	switch {
	case errors.Is(err, errDuplicate):
		p.fail(path, "duplicate", "键重复", "the key stands twice", "请保留一个", "keep one of them")
	case errors.Is(err, errNested):
		p.fail(path, "depth", "嵌套过深", "nested too deep", "请合并层级", "flatten it")
	default:
		p.fail(path, "syntax", fmt.Sprintf("不是合法的 JSON(第 %d 字节附近)", d.InputOffset()),
			fmt.Sprintf("not valid JSON near byte %d", d.InputOffset()), "请检查引号、逗号和括号", "check quotes, commas and brackets")
	}
	return nil, false
}

func decodeValue(d *json.Decoder, path string, depth int) (any, string, error) {
	if depth > 4*MaxDepth {
		return nil, path, errNested
	}
	tok, err := d.Token()
	if err != nil {
		return nil, path, err
	}
	switch tok {
	case json.Delim('{'):
		o := object{values: map[string]any{}}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, path, err
			}
			key, ok := k.(string)
			if !ok {
				return nil, path, errors.New("key is not a string")
			}
			at := join(path, key)
			if o.has(key) {
				return nil, at, errDuplicate
			}
			v, where, err := decodeValue(d, at, depth+1)
			if err != nil {
				return nil, where, err
			}
			o.keys = append(o.keys, key)
			o.values[key] = v
		}
		_, err := d.Token()
		return o, path, err
	case json.Delim('['):
		list := []any{}
		for i := 0; d.More(); i++ {
			v, where, err := decodeValue(d, index(path, i), depth+1)
			if err != nil {
				return nil, where, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, path, err
	}
	return tok, path, nil
}

func (p *parser) object(path string, v any) (object, bool) {
	o, ok := v.(object)
	if !ok {
		p.fail(path, "object", "须是对象", "must be an object", "写成 {…}", "write {…}")
	}
	return o, ok
}

// closed refuses keys that are not named.
func (p *parser) closed(path string, o object, allowed ...string) {
	for _, k := range o.keys {
		if !slices.Contains(allowed, k) {
			p.fail(join(path, k), "unknown_key", "未知的键 "+show(k), "unknown key "+show(k),
				"这里可用:"+strings.Join(allowed, "、"), "here stand "+strings.Join(allowed, ", "))
		}
	}
}

func (p *parser) text(path string, v any) string {
	s, ok := v.(string)
	if !ok || len([]rune(s)) > MaxText || !validText(s) {
		p.fail(path, "text", fmt.Sprintf("须是不超过 %d 字的文本", MaxText), fmt.Sprintf("must be a string of at most %d characters", MaxText), "", "")
	}
	return s
}

func (p *parser) name(path string, v any) string {
	s, ok := v.(string)
	if !ok || s == "" || strings.TrimSpace(s) != s || len([]rune(s)) > MaxName || !validText(s) {
		p.fail(path, "name", fmt.Sprintf("须是 1–%d 字、首尾无空格的名称", MaxName), fmt.Sprintf("must be a name of 1–%d characters without space around it", MaxName), "", "")
	}
	return s
}

func (p *parser) key(path string, v any) string {
	s := p.name(path, v)
	if strings.HasPrefix(s, "$") {
		p.fail(path, "event", "以 $ 开头的是内部信号,不是行为", "names that begin with $ are internal signals, not activities",
			"请用行为键,例如 order_paid", "use an activity key, for example order_paid")
	}
	return s
}

func (p *parser) choice(path string, v any, from []string) string {
	s, _ := v.(string)
	if !slices.Contains(from, s) {
		p.fail(path, "choice", "未知的取值 "+show(v), "unknown value "+show(v), "可用:"+strings.Join(from, "、"), "use one of "+strings.Join(from, ", "))
	}
	return s
}

func list(ops []op) string {
	out := make([]string, len(ops))
	for i, o := range ops {
		out[i] = string(o)
	}
	return strings.Join(out, ", ")
}

// show renders an offending value for a message, cut short.
func show(v any) string {
	s := fmt.Sprint(v)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return s
}

func validText(s string) bool { return !strings.ContainsRune(s, 0) }

var numberForm = regexp.MustCompile(`^-?(\d{1,30})(\.\d{1,20})?([eE][+-]?\d{1,2})?$`)

func validNumber(s string) bool { return numberForm.MatchString(s) }

func rat(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic("segments: number passed validation but does not parse: " + s)
	}
	return r
}

// timeForm is what counts as a time, in rules and in stored values alike (segments.instant in SQL): a bare date, or a
// date and time with or without seconds, fraction and offset.
var timeForm = regexp.MustCompile(`^[1-9]\d{3}-\d\d-\d\d([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?$`)

// parseTime reads a time; without an offset it is Shanghai's, a bare date its midnight.
func parseTime(s string) (time.Time, bool) {
	if !timeForm.MatchString(s) {
		return time.Time{}, false
	}
	layout := "2006-01-02"
	if len(s) > len(layout) {
		layout += s[10:11] + "15:04"
		if len(s) > 16 && s[16] == ':' {
			layout += ":05"
		}
		if s[len(s)-1] == 'Z' || strings.ContainsAny(s[11:], "+-") {
			layout += "Z07:00"
		}
	}
	t, err := time.ParseInLocation(layout, s, clock.Shanghai)
	if err != nil {
		return time.Time{}, false
	}
	return t.UTC().Truncate(time.Microsecond), true
}
