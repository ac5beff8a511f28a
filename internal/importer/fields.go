package importer

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// MaxCell is the longest cell a kind takes, in characters, unless it asks for LongText.
const MaxCell = 500

// Fields reads the cells of one row by column name and collects what is wrong with them, so that a person mends a row once.
type Fields struct {
	index    map[string]int
	cells    []string
	serial   bool // numbers in time columns are spreadsheet dates
	problems []fault.Field
}

// NewFields returns a row outside a file, for tests of kinds.
func NewFields(row map[string]string) *Fields {
	f := &Fields{index: map[string]int{}}
	for _, name := range slices.Sorted(maps.Keys(row)) {
		f.index[name] = len(f.cells)
		f.cells = append(f.cells, row[name])
	}
	return f
}

// Problems returns what is wrong so far.
func (f *Fields) Problems() []fault.Field { return f.problems }

// Reject says what is wrong with a column and how to mend it.
func (f *Fields) Reject(column, code string, text, hint fault.Text) {
	f.problems = append(f.problems, fault.Field{Path: column, Code: code, Text: text, Hint: hint})
}

// Text returns the trimmed cell; empty if the column is absent.
func (f *Fields) Text(column string) string {
	v := f.LongText(column)
	if utf8.RuneCountInString(v) > MaxCell {
		f.Reject(column, "too_long", fault.Text{ZH: "超过 500 个字符", EN: "longer than 500 characters"},
			fault.Text{ZH: "请缩短内容", EN: "shorten it"})
		return ""
	}
	return v
}

// LongText is Text without its limit.
func (f *Fields) LongText(column string) string {
	i, ok := f.index[column]
	if !ok {
		return ""
	}
	return strings.TrimSpace(f.cells[i])
}

// Need is Text of a cell that must not be empty.
func (f *Fields) Need(column string) string {
	v := f.Text(column)
	if v == "" && !f.rejected(column) {
		f.Reject(column, "empty", fault.Text{ZH: "不能为空", EN: "must not be empty"}, fault.Text{ZH: "请填写该列", EN: "fill it in"})
	}
	return v
}

// Family returns the non-empty cells of the columns that begin with the prefix, by the rest of their name.
func (f *Fields) Family(prefix string) map[string]string {
	out := map[string]string{}
	for name := range f.index {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || rest == "" {
			continue
		}
		if v := f.Text(name); v != "" {
			out[rest] = v
		}
	}
	return out
}

// List returns the parts of a cell separated by "|", trimmed, sorted, without repetition.
func (f *Fields) List(column string) []string {
	var out []string
	for part := range strings.SplitSeq(f.Text(column), "|") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// OneOf is Text that must be among the allowed values; an empty cell is the fallback.
func (f *Fields) OneOf(column, fallback string, allowed ...string) string {
	v := f.Text(column)
	if v == "" {
		return fallback
	}
	if !slices.Contains(allowed, v) {
		list := strings.Join(allowed, ", ")
		f.Reject(column, "value", fault.Text{ZH: "不是允许的值", EN: "is not an allowed value"}, fault.Text{ZH: "可用值:" + list, EN: "allowed: " + list})
	}
	return v
}

// maxInt keeps products of two numbers within int64.
const maxInt = 1_000_000_000_000

// Int returns a whole number between ±10¹²; an empty cell is 0.
func (f *Fields) Int(column string) int64 {
	v := f.Text(column)
	if v == "" {
		return 0
	}
	if whole, fraction, ok := strings.Cut(v, "."); ok && strings.Trim(fraction, "0") == "" {
		v = whole
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > maxInt || n < -maxInt {
		f.Reject(column, "number", fault.Text{ZH: "不是整数", EN: "is not a whole number"},
			fault.Text{ZH: "请填写整数,不带单位、小数和千分位", EN: "write a whole number without unit, decimals or separators"})
		return 0
	}
	return n
}

// Fen returns an amount in fen; an empty cell is 0.
func (f *Fields) Fen(column string) money.Fen {
	n := len(f.problems)
	v := f.Int(column)
	if len(f.problems) > n {
		f.problems[n].Hint = fault.Text{ZH: "金额以分为单位,如 ¥12.50 写作 1250", EN: "amounts are in fen: write ¥12.50 as 1250"}
	}
	return money.Fen(v)
}

var timeForms = []string{
	time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00",
	"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	"2006/1/2 15:04:05", "2006/1/2 15:04", "2006/1/2",
}

// ParseTime reads a time as files write them: RFC 3339, or without an offset in Shanghai, or a date alone (its midnight).
func ParseTime(v string) (time.Time, bool) {
	for _, form := range timeForms {
		if at, err := time.ParseInLocation(form, v, clock.Shanghai); err == nil {
			return at.UTC().Truncate(time.Microsecond), true
		}
	}
	return time.Time{}, false
}

// serialTime reads the number of days since 1899-12-30 that spreadsheets store for a date.
func serialTime(v string) (time.Time, bool) {
	days, err := strconv.ParseFloat(v, 64)
	if err != nil || days < 1 || days > 2_958_465 {
		return time.Time{}, false
	}
	seconds := int64(days*86400 + 0.5)
	return time.Date(1899, 12, 30, 0, 0, 0, 0, clock.Shanghai).Add(time.Duration(seconds) * time.Second).UTC(), true
}

// Time returns an instant between 1970 and 2100; the zero time if the cell is empty.
func (f *Fields) Time(column string) time.Time {
	v := f.Text(column)
	if v == "" {
		return time.Time{}
	}
	at, ok := ParseTime(v)
	if !ok && f.serial {
		at, ok = serialTime(v)
	}
	if !ok || at.Year() < 1970 || at.Year() >= 2100 {
		f.Reject(column, "time", fault.Text{ZH: "不是可识别的时间", EN: "is not a time"},
			fault.Text{ZH: "请写作 2026-11-23T09:30:00+08:00 或 2026-11-23 09:30:00", EN: "write 2026-11-23T09:30:00+08:00 or 2026-11-23 09:30:00 (Shanghai)"})
		return time.Time{}
	}
	return at
}

// Date returns a civil date between 1900 and 2100 as YYYY-MM-DD; "" if the cell is empty.
func (f *Fields) Date(column string) string {
	v := f.Text(column)
	if v == "" {
		return ""
	}
	for _, form := range []string{"2006-01-02", "2006/1/2", "20060102", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if at, err := time.Parse(form, v); err == nil && at.Year() >= 1900 && at.Year() < 2100 {
			return at.Format("2006-01-02")
		}
	}
	if f.serial {
		if at, ok := serialTime(v); ok {
			return at.In(clock.Shanghai).Format("2006-01-02")
		}
	}
	f.Reject(column, "date", fault.Text{ZH: "不是可识别的日期", EN: "is not a date"}, fault.Text{ZH: "请写作 1990-05-17", EN: "write 1990-05-17"})
	return ""
}

func (f *Fields) rejected(column string) bool {
	return slices.ContainsFunc(f.problems, func(p fault.Field) bool { return p.Path == column })
}
