// Package validate checks the inputs of use cases by their validate tags (go-playground/validator) and reports every
// offending field at once, as a fault with the JSON path, what is wrong and the fix. The API, imports and callbacks share
// it; cross-field rules belong into the input's own Validate method, which calls Struct first.
package validate

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"github.com/go-playground/validator/v10"

	"github.com/lianke/lianke/internal/fault"
)

// ErrInvalid rejects an input; its fields name what is wrong.
var ErrInvalid = fault.New(fault.Invalid, "input.invalid", "输入无效", "the input is invalid").
	WithHint("请按字段提示修改", "correct the fields named")

// CodePattern is what codes (of segments, journeys, templates, programmes…) look like.
var CodePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

var engine = sync.OnceValue(func() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			return f.Name
		}
		return name
	})
	if err := v.RegisterValidation("code", func(fl validator.FieldLevel) bool {
		return CodePattern.MatchString(fl.Field().String())
	}); err != nil {
		panic(err)
	}
	return v
})

// Struct validates a struct by its tags.
func Struct(v any) error {
	err := engine().Struct(v)
	if err == nil {
		return nil
	}
	var found validator.ValidationErrors
	if !errors.As(err, &found) {
		return fmt.Errorf("validate %T: %w", v, err)
	}
	fields := make([]fault.Field, len(found))
	for i, f := range found {
		path := f.Namespace()
		if _, inside, named := strings.Cut(path, "."); named {
			path = inside // the first part is the name of the Go type, if it has one
		}
		fields[i] = field(path, f.Tag(), f.Param())
	}
	return ErrInvalid.WithFields(fields...)
}

// Field makes the fault field for one offending path, for rules that tags cannot express.
func Field(path, code, zh, en, hintZH, hintEN string) fault.Field {
	return fault.Field{Path: path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}}
}

func field(path, tag, param string) fault.Field {
	code := "input." + tag
	switch tag {
	case "required", "required_if", "required_without":
		return Field(path, code, "必填", "is required", "请填写此项", "give a value")
	case "max", "lte":
		return Field(path, code, "超过上限 "+param, "is above the limit of "+param, "不超过 "+param, "at most "+param)
	case "min", "gte":
		return Field(path, code, "低于下限 "+param, "is below the limit of "+param, "不少于 "+param, "at least "+param)
	case "gt":
		return Field(path, code, "必须大于 "+param, "must be greater than "+param, "", "")
	case "lt":
		return Field(path, code, "必须小于 "+param, "must be less than "+param, "", "")
	case "oneof":
		return Field(path, code, "不是允许的取值", "is not an allowed value", "可选:"+param, "one of: "+param)
	case "code":
		return Field(path, code, "代码格式不对", "is not a valid code",
			"以小写字母或数字开头,只含 a-z 0-9 _ . -,最长 63", "begin with a-z or 0-9, then a-z 0-9 _ . -, at most 63")
	case "email":
		return Field(path, code, "邮箱格式不对", "is not an e-mail address", "例如 a@b.cn", "for example a@b.cn")
	}
	return Field(path, code, "不符合规则 "+tag, "breaks the rule "+strings.TrimSpace(tag+" "+param), "", "")
}
