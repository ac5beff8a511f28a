package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
)

// Variable is one setting, as documented and shown.
type Variable struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Doc     string `json:"doc"`
	secret  string
	field   string // of the struct
}

// Variables lists every setting in the order of the struct, without values.
func Variables() []Variable { return walk(reflect.ValueOf(Config{}), Prefix, nil) }

// Effective lists every setting with its value; secrets are masked.
func (c Config) Effective() []Variable {
	vars := walk(reflect.ValueOf(c), Prefix, nil)
	for i := range vars {
		vars[i].Value = mask(vars[i].Value, vars[i].secret)
	}
	return vars
}

func walk(v reflect.Value, prefix string, out []Variable) []Variable {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if p, ok := f.Tag.Lookup("envPrefix"); ok {
			out = walk(v.Field(i), prefix+p, out)
			continue
		}
		out = append(out, Variable{
			Name: prefix + f.Tag.Get("env"), Value: show(v.Field(i).Interface()), Default: f.Tag.Get("envDefault"),
			Doc: f.Tag.Get("doc"), secret: f.Tag.Get("secret"), field: f.Name,
		})
	}
	return out
}

func show(v any) string {
	if list, ok := v.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v)
}

func mask(value, secret string) string {
	if value == "" || secret == "" {
		return value
	}
	if secret == "url" {
		// A connection string that does not parse as a URL ("host=… password=…") is masked as a whole.
		if u, err := url.Parse(value); err == nil && (u.Scheme != "" || value == "off") {
			q := u.Query()
			if q.Has("password") {
				q.Set("password", "xxxxx")
				u.RawQuery = q.Encode()
			}
			return u.Redacted()
		}
	}
	return "********"
}

// Markdown is docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\nGenerated from internal/config by `make gen`; do not edit. Everything is set by environment variables; `lianke config`\nprints the effective values with secrets masked. Without any of them lianke runs on its embedded stack.\n\n")
	b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
	for _, v := range Variables() {
		def := v.Default
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, def, strings.ReplaceAll(v.Doc, "|", `\|`))
	}
	return b.String()
}
