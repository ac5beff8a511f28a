package segments

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/fault"
)

// Each malformed rule is refused with the path of the fault; every fault has both languages.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"not":`, MaxDepth+1) + `{"tag":"x"}` + strings.Repeat(`}`, MaxDepth+1)
	wide := `{"any":[` + strings.TrimSuffix(strings.Repeat(`{"tag":"x"},`, MaxLeaves+1), ",") + `]}`
	for text, want := range map[string]string{
		``:                                " syntax",
		`{"tag":"x"`:                      " syntax",
		`{"tag":"x"} {}`:                  " trailing",
		`{"tag":"x","tag":"y"}`:           "tag duplicate",
		`[]`:                              " object",
		`null`:                            " object",
		`{}`:                              " kind",
		`{"colour":"red"}`:                " kind",
		`{"all":[]}`:                      "all empty",
		`{"all":[{"tag":"x"},{"tag":7}]}`: "all[1].tag name",
		`{"any":[{"not":{"tag":"x","extra":1}}]}`:                                 "any[0].not.extra unknown_key",
		`{"tag":"x","list":"y"}`:                                                  " ambiguous",
		`{"attr":"city","op":"is","value":"上海"}`:                                  "op operator",
		`{"attr":"city","value":"上海"}`:                                            "op required",
		`{"attr":"city","op":"eq"}`:                                               "value required",
		`{"attr":"city","op":"eq","value":null}`:                                  "value scalar",
		`{"attr":"city","op":"in","value":"上海"}`:                                  "value values",
		`{"attr":"city","op":"in","value":["上海",{}]}`:                             "value[1] scalar",
		`{"attr":"age","op":"between","value":[9,1]}`:                             "value order",
		`{"attr":"age","op":"between","value":[9,"a"]}`:                           "value between",
		`{"attr":"age","op":"gt","value":true}`:                                   "value scalar",
		`{"attr":"age","op":"gt","value":1e999}`:                                  "value number",
		`{"attr":"birthday","op":"anniversary","value":-1}`:                       "value days",
		`{"attr":"birthday","op":"before","value":"2026-02-30"}`:                  "value time",
		`{"attr":"registered_at","op":"contains","value":"2026"}`:                 "op operator",
		`{"attr":"registered_at","op":"gte","value":5}`:                           "value time",
		`{"event":"order_paid","within":"30"}`:                                    "within duration",
		`{"event":"order_paid","within":"30y"}`:                                   "within duration",
		`{"event":"order_paid","within":"0d"}`:                                    "within duration",
		`{"event":"order_paid","within":{"from":"2026-02-01","to":"2026-01-01"}}`: "within order",
		`{"event":"order_paid","within":{"since":"2026-02-01"}}`:                  "within.since unknown_key",
		`{"event":"$identity"}`:                                                   "event event",
		`{"event":"order_paid","count":2}`:                                        "count count",
		`{"event":"order_paid","count":{}}`:                                       "count count",
		`{"event":"order_paid","count":{"above":2}}`:                              "count.above operator",
		`{"event":"order_paid","count":{"gte":"2"}}`:                              "count.gte number",
		`{"event":"order_paid","sum":"amount_fen"}`:                               " operator",
		`{"event":"order_paid","sum":"amount_fen","gte":1,"avg":"x"}`:             " ambiguous",
		`{"event":"order_paid","gte":1}`:                                          "gte unknown_key",
		`{"event":"order_paid","last":{}}`:                                        "last empty",
		`{"event":"order_paid","last":{"within":"1d"},"within":"2d"}`:             "within unknown_key",
		`{"event":"order_paid","where":{"prop":"sku"}}`:                           "where where",
		`{"event":"order_paid","where":[{"prop":"sku","op":"eq"}]}`:               "where[0].value required",
		`{"event":"order_paid","where":[{"attr":"sku","op":"eq","value":1}]}`:     "where[0].attr unknown_key",
		`{"sequence":[]}`: "sequence steps",
		`{"sequence":[{"event":"a","within":"1d"}]}`:          "sequence[0].within unknown_key",
		`{"sequence":[{"event":"a"}],"unless":{"event":"b"}}`: "within required",
		`{"rfm":{}}`:                              "rfm empty",
		`{"rfm":{"r":[0]}}`:                       "rfm.r score",
		`{"rfm":{"x":[1]}}`:                       "rfm.x unknown_key",
		`{"stage":["gone"]}`:                      "stage[0] choice",
		`{"stage":"share"}`:                       "stage empty",
		`{"reachable":"pigeon"}`:                  "reachable choice",
		`{"sample":{"percent":101,"salt":"x"}}`:   "sample.percent percent",
		`{"sample":{"percent":0.001,"salt":"x"}}`: "sample.percent percent",
		`{"sample":{"percent":10}}`:               "sample.salt text",
		deep:                                      strings.TrimPrefix(strings.Repeat(".not", MaxDepth), ".") + " depth",
		wide:                                      fmt.Sprintf("any[%d] leaves", MaxLeaves),
		`"` + strings.Repeat("x", MaxRuleBytes) + `"`:         " size",
		strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000): strings.Repeat("[0]", 4*MaxDepth+1) + " depth",
	} {
		_, err := Parse([]byte(text))
		require.ErrorIs(t, err, ErrRule, "%.80s", text)
		var f *fault.Error
		require.True(t, errors.As(err, &f))
		var found []string
		for _, field := range f.Fields {
			found = append(found, field.Path+" "+field.Code)
			require.NotEmpty(t, field.Text.ZH)
			require.NotEmpty(t, field.Text.EN)
		}
		require.Contains(t, found, want, "%.80s", text)
	}
}

// All faults are reported at once.
func TestParseReportsEverything(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(`{"all":[{"tag":""},{"attr":"a","op":"x","value":1},{"reachable":"pigeon"}]}`))
	var f *fault.Error
	require.True(t, errors.As(err, &f))
	require.Len(t, f.Fields, 3)
}

func TestCanonicalFormAndTerms(t *testing.T) {
	t.Parallel()
	r, err := Parse([]byte(` { "all" : [
		{ "where":[{"value":"茶具","op":"eq","prop":"category"}], "within":"30d", "count":{"lt":9,"gte":2}, "event":"product_purchased" },
		{ "gte":100.50, "sum":"amount_fen", "event":"order_paid", "within":{"to":"2026-02-01","from":"2026-01-01"} },
		{ "last":{"within":"90d"}, "event":"order_paid" },
		{ "unless":{"event":"order_paid"}, "within":"48h", "sequence":[{"event":"cart_added"}] },
		{ "attr":"birthday", "op":"anniversary", "value":7 }, {"segment":"vip"}, {"not":{"list":"staff"}}, {"rfm":{"m":[5,4,5]}},
		{ "reachable":"sms" }, {"sample":{"salt":"x","percent":12.5}}, {"attr":"vip","op":"eq","value":true}, {"tag":"a<b"} ] } `))
	require.NoError(t, err)
	require.Equal(t, `{"all":[`+
		`{"event":"product_purchased","count":{"gte":2,"lt":9},"within":"30d","where":[{"prop":"category","op":"eq","value":"茶具"}]},`+
		`{"event":"order_paid","sum":"amount_fen","gte":100.50,"within":{"from":"2026-01-01","to":"2026-02-01"}},`+
		`{"event":"order_paid","last":{"within":"90d"}},`+
		`{"sequence":[{"event":"cart_added"}],"within":"48h","unless":{"event":"order_paid"}},`+
		`{"attr":"birthday","op":"anniversary","value":7},{"segment":"vip"},{"not":{"list":"staff"}},{"rfm":{"m":[4,5]}},`+
		`{"reachable":"sms"},{"sample":{"percent":12.5,"salt":"x"}},{"attr":"vip","op":"eq","value":true},{"tag":"a\u003cb"}]}`, r.String())
	require.Equal(t, Terms{
		Events: []string{"cart_added", "order_paid", "product_purchased"}, Attrs: []string{"birthday", "vip"}, Tags: []string{"a<b"},
		Segments: []string{"vip"}, Lists: []string{"staff"}, Channels: []string{"sms"}, Daily: true, RFM: true,
	}, r.Terms())
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-31":                          "2026-01-30T16:00:00Z",
		"2026-01-31T08:00":                    "2026-01-31T00:00:00Z",
		"2026-01-31 08:00:01.5":               "2026-01-31T00:00:01.5Z",
		"2026-01-31T08:00:00Z":                "2026-01-31T08:00:00Z",
		"2026-01-31T08:00:00.123456789-01:30": "2026-01-31T09:30:00.123456Z",
	} {
		at, ok := parseTime(text)
		require.True(t, ok, text)
		require.Equal(t, want, at.Format(time.RFC3339Nano), text)
	}
	for _, text := range []string{"", "2026", "2026-1-31", "2026-02-30", "2026-01-31T25:00", "2026-01-31T08:00:00+15:00", "0026-01-31", "20260131", "2026-01-31T08:00:60Z"} {
		_, ok := parseTime(text)
		require.False(t, ok, text)
	}
}

// Whatever is parsed has a canonical form that parses to itself.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"all":[{"event":"order_paid","count":{"gte":2},"within":"30d"},{"not":{"tag":"x"}}]}`))
	f.Add([]byte(`{"sequence":[{"event":"a","where":[{"prop":"p","op":"in","value":[1,"x",true]}]}],"within":"7d","unless":{"event":"b"}}`))
	f.Add([]byte(`{"attr":"registered_at","op":"between","value":["2026-01-01","2026-02-01T08:00:00Z"]}`))
	f.Add([]byte(`{"sample":{"percent":1.25,"salt":""}}`))
	f.Add([]byte(`{"rfm":{"r":[5,1]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			require.ErrorIs(t, err, ErrRule)
			return
		}
		again, err := Parse([]byte(r.String()))
		require.NoError(t, err)
		require.Equal(t, r.String(), again.String())
		if len(r.Terms().Segments) > 0 {
			return
		}
		compile(r, origin, nil, map[string]Rule{}) // panics on a shape it does not know
	})
}
