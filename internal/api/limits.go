package api

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describeLimits copies the limits of validate tags into the schemas of the OpenAPI document, so that clients see what the
// use cases enforce. It is idempotent and runs after each registration.
func describeLimits(registry huma.Registry) {
	for name, schema := range registry.Map() {
		t := registry.TypeFromRef("#/components/schemas/" + name)
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("validate")
			field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			property := schema.Properties[field]
			if tag == "" || property == nil || property.Ref != "" {
				continue
			}
			for _, rule := range strings.Split(tag, ",") {
				if rule == "dive" {
					break
				}
				limit(property, f.Type, rule)
			}
		}
	}
}

func limit(s *huma.Schema, t reflect.Type, rule string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, arg, _ := strings.Cut(rule, "=")
	n, err := strconv.Atoi(arg)
	numeric := err == nil
	switch {
	case name == "oneof":
		s.Enum = nil
		for _, v := range strings.Fields(arg) {
			s.Enum = append(s.Enum, v)
		}
	case name == "email" || name == "uuid" || name == "url":
		s.Format = map[string]string{"email": "email", "uuid": "uuid", "url": "uri"}[name]
	case !numeric:
	case t.Kind() == reflect.String:
		switch name {
		case "min":
			s.MinLength = &n
		case "max":
			s.MaxLength = &n
		case "len":
			s.MinLength, s.MaxLength = &n, &n
		}
	case t.Kind() == reflect.Slice:
		switch name {
		case "min":
			s.MinItems = &n
		case "max":
			s.MaxItems = &n
		}
	default:
		f := float64(n)
		switch name {
		case "min", "gte":
			s.Minimum = &f
		case "max", "lte":
			s.Maximum = &f
		case "gt":
			s.ExclusiveMinimum = &f
		case "lt":
			s.ExclusiveMaximum = &f
		}
	}
}
