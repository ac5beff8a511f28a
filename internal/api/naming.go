package api

import (
	"path"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// schemaName names the schema of a type in the OpenAPI document: its package and its name, coupon.Template is
// CouponTemplate, because packages name their things without asking each other. A name that begins with that of its
// package stands alone (coupon.Coupon is Coupon), as do the types of this package. hint names types without name, which
// belong to the package module.
func schemaName(t reflect.Type, hint, module string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := t.Name()
	if name == "" {
		name = hint
		if module != "" && hint != "" && !strings.ContainsAny(hint, ".[") {
			name = module + "." + hint
		}
	} else if t.PkgPath() != "" {
		name = t.PkgPath() + "." + name
	}
	name = strings.ReplaceAll(name, "[]", "List[")
	var out strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("[]*,", r) }) {
		pkg, base := "", part
		if dot := strings.LastIndex(part, "."); dot >= 0 {
			pkg, base = path.Base(part[:dot]), part[dot+1:]
		}
		pkg, base = capital(pkg), capital(base)
		if pkg != "Api" && !strings.HasPrefix(base, pkg) {
			out.WriteString(pkg)
		}
		out.WriteString(base)
	}
	return out.String()
}

func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(r)) + s[size:]
}
