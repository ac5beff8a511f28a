package activity

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/lianke/lianke/internal/crypt"
)

var (
	phoneLike = regexp.MustCompile(`(?:\+?86[- ]?)?\b1[3-9]\d(?:[- ]?\d{4}){2}\b`)
	emailLike = regexp.MustCompile(`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`)
)

// masked hides what looks like a phone number or a mail address in the properties of an activity. Personal data does not
// belong there, but sources send what they like. The properties that the house defines for the key are its own and stay.
func masked(key string, props json.RawMessage) json.RawMessage {
	if !phoneLike.Match(props) && !emailLike.Match(props) {
		return props
	}
	dec := json.NewDecoder(bytes.NewReader(props))
	dec.UseNumber()
	var all map[string]any
	if err := dec.Decode(&all); err != nil {
		return json.RawMessage(`{}`)
	}
	typed := map[string]bool{}
	for _, spec := range Specs() {
		if spec.Key == key {
			for _, p := range spec.Props {
				typed[p.Name] = true
			}
		}
	}
	for name, v := range all {
		if !typed[name] {
			all[name] = maskValue(v)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return out
}

func maskValue(v any) any {
	switch v := v.(type) {
	case string:
		v = emailLike.ReplaceAllStringFunc(v, func(s string) string { return crypt.Mask(crypt.KindEmail, s) })
		return phoneLike.ReplaceAllStringFunc(v, func(s string) string {
			return crypt.Mask(crypt.KindPhone, strings.NewReplacer(" ", "", "-", "").Replace(s))
		})
	case json.Number:
		if s := v.String(); phoneLike.MatchString(s) {
			return crypt.Mask(crypt.KindPhone, s)
		}
	case []any:
		for i := range v {
			v[i] = maskValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = maskValue(v[k])
		}
	}
	return v
}
