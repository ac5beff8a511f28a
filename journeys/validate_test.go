package journeys_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/journeys"
)

func TestValidationNamesEveryFault(t *testing.T) {
	t.Parallel()
	wait := `{"id":"w1","kind":"wait","wait":{"for":"1h"},"next":"end"}`
	var many []string
	for i := range 201 {
		many = append(many, strings.Replace(wait, "w1", "w"+strings.Repeat("x", i%30)+string(rune('a'+i%26)), 1))
	}
	for name, c := range map[string]struct{ raw, path, code string }{
		"unknown kind":          {doc(onPaid, `{"id":"a","kind":"teleport","next":"end"}`, end), "nodes[0].kind", "unknown_kind"},
		"dangling edge":         {doc(onPaid, `{"id":"a","kind":"goal","next":"gone"}`, end), "nodes[0].next", "edge_dangling"},
		"edge left out":         {doc(onPaid, `{"id":"a","kind":"goal"}`), "nodes[0].next", "edge_missing"},
		"unreachable":           {doc(onPaid, end, wait), "nodes[1]", "unreachable"},
		"cycle without wait":    {doc(onPaid, `{"id":"a","kind":"goal","next":"b"}`, `{"id":"b","kind":"goal","next":"a"}`), "nodes[0]", "cycle_without_wait"},
		"weights":               {doc(onPaid, `{"id":"a","kind":"split","split":{"paths":[{"name":"x","weight_bp":5000,"next":"end"},{"name":"y","weight_bp":4999,"next":"end"}]}}`, end), "nodes[0].split.paths", "weights"},
		"negative weight":       {doc(onPaid, `{"id":"a","kind":"split","split":{"paths":[{"name":"x","weight_bp":-1,"next":"end"},{"name":"y","weight_bp":10001,"next":"end"}]}}`, end), "nodes[0].split.paths[0].weight_bp", "weights"},
		"too many nodes":        {doc(onPaid, append(many, end)...), "nodes", "too_many_nodes"},
		"duplicate id":          {doc(onPaid, wait, wait, end), "nodes[1].id", "duplicate_id"},
		"no start":              {strings.Replace(doc(onPaid, wait, end), `"start":"w1"`, `"start":"zz"`, 1), "start", "start"},
		"rule inside condition": {doc(onPaid, `{"id":"a","kind":"condition","condition":{"rule":{"bad":1},"then":"end","else":"end"}}`, end), "nodes[0].condition.rule.all[0].op", "op"},
		"two waits in one":      {doc(onPaid, `{"id":"a","kind":"wait","wait":{"for":"1h","until":{"time":"09:00"}},"next":"end"}`, end), "nodes[0].wait", "wait"},
		"weekday":               {doc(onPaid, `{"id":"a","kind":"wait","wait":{"until":{"time":"09:00","days":[8]}},"next":"end"}`, end), "nodes[0].wait.until.days", "weekday"},
		"event without timeout": {doc(onPaid, `{"id":"a","kind":"wait","wait":{"event":{"key":"x"},"timeout_next":"end"},"next":"end"}`, end), "nodes[0].wait.timeout", "duration"},
		"settings of other":     {doc(onPaid, `{"id":"a","kind":"goal","wait":{"for":"1h"},"next":"end"}`, end), "nodes[0].wait", "body"},
		"no settings":           {doc(onPaid, `{"id":"a","kind":"message","next":"end"}`, end), "nodes[0].message", "body"},
		"predicate":             {doc(`{"trigger":{"kind":"activity","key":"x","where":[{"prop":"p","op":"like","value":1}]},"reentry":{}}`, end), "settings.trigger.where[0]", "predicate"},
		"trigger kind":          {doc(`{"trigger":{"kind":"magic"},"reentry":{}}`, end), "settings.trigger.kind", "trigger"},
		"reserved key":          {doc(`{"trigger":{"kind":"activity","key":"$identity"},"reentry":{}}`, end), "settings.trigger.key", "key"},
		"schedule of nobody":    {doc(`{"trigger":{"kind":"schedule","schedule":{"every":"day","time":"09:00"}},"reentry":{}}`, end), "settings.audience", "audience"},
		"points":                {doc(onPaid, `{"id":"a","kind":"grant_points","grant_points":{"programme":"p","points":0},"next":"end"}`, end), "nodes[0].grant_points.points", "points"},
		"attribute of identity": {doc(onPaid, `{"id":"a","kind":"attribute","attribute":{"name":"phone","value":"1"},"next":"end"}`, end), "nodes[0].attribute.name", "attribute"},
		"url":                   {doc(onPaid, `{"id":"a","kind":"webhook","webhook":{"url":"ftp://x"},"next":"end"}`, end), "nodes[0].webhook.url", "url"},
		"holdout":               {doc(`{"trigger":{"kind":"api"},"reentry":{},"holdout_bp":9999}`, end), "settings.holdout_bp", "holdout"},
		"missing template":      {doc(onPaid, `{"id":"a","kind":"message","message":{"channel":"sms","template":"missing"},"next":"end"}`, end), "nodes[0].message.template", "missing_template"},
		"missing coupon":        {doc(onPaid, `{"id":"a","kind":"grant_coupon","grant_coupon":{"template":"missing"},"next":"end"}`, end), "nodes[0].grant_coupon.template", "missing_coupon"},
		"missing segment":       {doc(`{"trigger":{"kind":"segment_entered","segment":"missing"},"reentry":{}}`, end), "settings.trigger.segment", "missing_segment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := journeys.ParseDocument([]byte(c.raw))
			require.NoError(t, err)
			err = errors.Join(journeys.Validate(&d, rules{}), journeys.CheckReferences(t.Context(), nil, &d, catalogue{}))
			require.ErrorIs(t, err, journeys.ErrInvalid)
			require.NotContains(t, err.Error(), "1 faults")
			found := false
			for _, e := range unjoin(err) {
				for _, f := range fault.From(e).Fields {
					require.NotEmpty(t, f.Text.ZH+f.Text.EN+f.Code, f.Path)
					found = found || f.Path == c.path && f.Code == c.code
				}
			}
			require.True(t, found, "%v", err)
		})
	}
}

func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func TestDocumentsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"broken":        `{"name":`,
		"unknown field": `{"name":"x","colour":1}`,
		"wrong type":    `{"name":"x","nodes":{}}`,
		"two values":    `{"name":"x"}{}`,
		"duration":      `{"settings":{"max_lateness":"soon"}}`,
		"overflow":      `{"settings":{"max_lateness":"99999999w"}}`,
		"time of day":   `{"nodes":[{"wait":{"until":{"time":"25:00"}}}]}`,
	} {
		_, err := journeys.ParseDocument([]byte(raw))
		require.ErrorIs(t, err, journeys.ErrUndecodable, name)
		require.NotEmpty(t, fault.From(err).Fields[0].Hint.ZH, name)
	}
	_, err := journeys.ParseDocument(make([]byte, 10<<20))
	require.ErrorIs(t, err, journeys.ErrTooLarge)
}

// FuzzParseDocument: whatever is sent, parsing and validation answer with a fault, and what is valid compiles.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(winback))
	f.Add([]byte(doc(onPaid, message, end)))
	f.Add([]byte(`{"start":"a","nodes":[{"id":"a","kind":"split","split":{"paths":[]}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := journeys.ParseDocument(raw)
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err))
			return
		}
		if journeys.Validate(&d, rules{}) != nil {
			return
		}
		v, err := journeys.Compile(journeys.Journey{Code: "f"}, 1, d)
		require.NoError(t, err)
		fact := func(string) (bool, bool) { return true, true }
		_, _ = journeys.Step(v, journeys.Run{Birth: 1, Seed: 1, EnteredAt: t0}, fact, t0)
		again, err := json.Marshal(d)
		require.NoError(t, err)
		_, err = journeys.ParseDocument(again)
		require.NoError(t, err)
	})
}
