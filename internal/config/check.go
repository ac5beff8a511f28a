package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"

	"github.com/lianke/lianke/internal/fault"
)

// wrong is a variable, what was given and what may be.
func wrong(name, given, zh, en string) fault.Field {
	return fault.Field{
		Path: name, Code: "invalid",
		Text: fault.Text{ZH: fmt.Sprintf("%q 无效", given), EN: fmt.Sprintf("%q is not valid", given)},
		Hint: fault.Text{ZH: zh, EN: en},
	}
}

// unreadable says which variables are not of their type.
func unreadable(err error, vars map[string]string) error {
	names := map[string]Variable{}
	for _, v := range Variables() {
		names[v.field] = v
	}
	var fields []fault.Field
	var all env.AggregateError
	if errors.As(err, &all) {
		for _, e := range all.Errors {
			var p env.ParseError
			if !errors.As(e, &p) {
				continue
			}
			v := names[p.Name]
			zh, en := formOf(p.Type)
			fields = append(fields, wrong(v.Name, mask(vars[v.Name], v.secret), zh, en))
		}
	}
	if len(fields) == 0 {
		return errInvalid.Because(err)
	}
	return errInvalid.WithFields(fields...)
}

// formOf says how a value of the type is written.
func formOf(t reflect.Type) (zh, en string) {
	switch {
	case t.PkgPath() == "log/slog":
		return "可用值:DEBUG、INFO、WARN、ERROR", "use DEBUG, INFO, WARN or ERROR"
	case t.PkgPath() == "time":
		return "请写时长,如 20s、5m、1h30m", "write a duration such as 20s, 5m or 1h30m"
	case t.Kind() == reflect.Bool:
		return "可用值:true、false", "use true or false"
	case t.Kind() == reflect.Float64:
		return "请写数字,如 0.05", "write a number such as 0.05"
	default:
		return "请写整数", "write a whole number"
	}
}

func (c Config) validate(vars map[string]string) error {
	var fields []fault.Field
	bad := func(name, zh, en string) {
		fields = append(fields, wrong(Prefix+name, vars[Prefix+name], zh, en))
	}
	if err := CheckRoles(c.Roles); err != nil {
		fields = append(fields, fault.From(err).Fields...)
	}
	if err := CheckAddr(Prefix+"ADDR", c.Addr); err != nil {
		fields = append(fields, fault.From(err).Fields...)
	}
	if c.AdminAddr != "off" {
		if err := CheckAddr(Prefix+"ADMIN_ADDR", c.AdminAddr); err != nil {
			fields = append(fields, fault.From(err).Fields...)
		}
	}
	if c.MailAddr != "" {
		if err := CheckAddr(Prefix+"MAIL_ADDR", c.MailAddr); err != nil {
			fields = append(fields, fault.From(err).Fields...)
		}
	}
	for name, value := range map[string]string{"PUBLIC_URL": c.PublicURL, "OTLP_ENDPOINT": c.OTLPEndpoint} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			fields = append(fields, wrong(Prefix+name, mask(value, "url"), "请写 http:// 或 https:// 开头的完整地址", "write a whole address with http:// or https://"))
		}
	}
	if c.LogFormat != "json" && c.LogFormat != "text" {
		bad("LOG_FORMAT", "可用值:json、text", "use json or text")
	}
	if c.TraceSample < 0 || c.TraceSample > 1 {
		bad("TRACE_SAMPLE", "必须在 0 与 1 之间", "it must lie between 0 and 1")
	}
	if c.DatabaseConns < 0 || c.DatabaseConns > 10_000 {
		bad("DATABASE_CONNS", "必须在 0 与 10000 之间", "it must lie between 0 and 10000")
	}
	if c.ShutdownTimeout <= 0 {
		bad("SHUTDOWN_TIMEOUT", "必须为正,如 20s", "it must be positive, such as 20s")
	}
	if c.Blob.S3Endpoint != "" && c.Blob.S3Bucket == "" {
		bad("BLOB_S3_BUCKET", "设置了 LIANKE_BLOB_S3_ENDPOINT 时必须填写桶名", "name the bucket: LIANKE_BLOB_S3_ENDPOINT is set")
	}
	if c.Blob.S3Endpoint == "" && c.Blob.S3Bucket != "" {
		bad("BLOB_S3_ENDPOINT", "设置了 LIANKE_BLOB_S3_BUCKET 时必须填写 主机:端口", "name the store as host:port: LIANKE_BLOB_S3_BUCKET is set")
	}
	if strings.Contains(c.Blob.S3Endpoint, "/") {
		bad("BLOB_S3_ENDPOINT", "请写 主机:端口,不带 http://(明文请设 LIANKE_BLOB_S3_INSECURE=true)", "write host:port without http:// (LIANKE_BLOB_S3_INSECURE=true for plain HTTP)")
	}
	known := map[string]bool{}
	for _, v := range Variables() {
		known[v.Name] = true
	}
	for name := range vars {
		// The LIANKE_TEST_ variables belong to the tests.
		if strings.HasPrefix(name, Prefix) && !strings.HasPrefix(name, Prefix+"TEST_") && !known[name] {
			fields = append(fields, fault.Field{
				Path: name, Code: "unknown",
				Text: fault.Text{ZH: "没有这个设置", EN: "there is no such setting"},
				Hint: fault.Text{ZH: "请检查拼写;lianke config 列出全部设置", EN: "check its spelling; `lianke config` lists all settings"},
			})
		}
	}
	if len(fields) == 0 {
		return nil
	}
	slices.SortStableFunc(fields, func(a, b fault.Field) int { return strings.Compare(a.Path, b.Path) })
	return errInvalid.WithFields(fields...)
}

// CheckRoles says whether every role exists and at least one is named.
func CheckRoles(roles []string) error {
	all := strings.Join(Roles, ",")
	if len(roles) == 0 {
		roles = []string{""}
	}
	for _, r := range roles {
		if !slices.Contains(Roles, r) {
			return errInvalid.WithFields(wrong(Prefix+"ROLES", r, "可用角色(逗号分隔):"+all, "roles, separated by commas: "+all))
		}
	}
	return nil
}

// CheckAddr says whether a listener can have the address; name is the variable or flag that gave it.
func CheckAddr(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		if _, err = strconv.ParseUint(port, 10, 16); err == nil {
			return nil
		}
	}
	return errInvalid.WithFields(wrong(name, addr, "请写 主机:端口,如 127.0.0.1:8080 或 :8080", "write HOST:PORT such as 127.0.0.1:8080 or :8080"))
}
