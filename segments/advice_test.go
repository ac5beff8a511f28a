package segments

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
)

func TestAdvise(t *testing.T) {
	t.Parallel()
	s, clk, db := live(t, nil)
	s.say(t, db, 1, member.ModeLive, "order_paid", "1", clk.Now())
	s.say(t, db, 1, member.ModeLive, "打卡", "2", clk.Now())
	for _, sql := range []string{
		`UPDATE member.activities SET props = '{"coin": 1, "amount_fen": 5}' WHERE key = '打卡'`,
		`UPDATE member.members SET attrs = '{"职业": "设计师", "level": 3}' WHERE id = 1`,
	} {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	type advice struct{ path, code, near string }
	for name, c := range map[string]struct {
		rule string
		want []advice
	}{
		"all known": {`{"all":[{"event":"order_paid","sum":"amount_fen","gte":1,"where":[{"prop":"store","op":"eq","value":"x"}]},{"event":"ticket_opened"},
			{"event":"打卡","where":[{"prop":"coin","op":"eq","value":1}]},{"attr":"level","op":"eq","value":1},{"attr":"birthday","op":"anniversary","value":1},
			{"attr":"registered_at","op":"exists","value":true},{"attr":"home_store","op":"exists","value":true},{"tag":"x"},{"rfm":{"r":[5]}}]}`, nil},
		"slip of a key":      {`{"any":[{"tag":"x"},{"event":"oder_paid"}]}`, []advice{{"any[1].event", "unknown_event", "order_paid"}}},
		"another spelling":   {`{"not":{"event":"orderPaid","last":{"within":"3d"}}}`, []advice{{"not.event", "unknown_event", "order_paid"}}},
		"nothing like it":    {`{"event":"spaceship_landed"}`, []advice{{"event", "unknown_event", ""}}},
		"part of a prop":     {`{"event":"order_paid","sum":"amount","gte":1}`, []advice{{"sum", "unknown_prop", "amount_fen"}}},
		"in where":           {`{"event":"order_paid","where":[{"prop":"store","op":"eq","value":"a"},{"prop":"amuont_fen","op":"gt","value":1}]}`, []advice{{"where[1].prop", "unknown_prop", "amount_fen"}}},
		"of a key of ours":   {`{"event":"打卡","distinct":"coins","gt":1}`, []advice{{"distinct", "unknown_prop", "coin"}}},
		"props of no key":    {`{"event":"打咔","where":[{"prop":"x","op":"eq","value":1}]}`, []advice{{"event", "unknown_event", "打卡"}}},
		"in a sequence":      {`{"sequence":[{"event":"cart_added"},{"event":"cart_aded"}],"unless":{"event":"order_payed"}}`, []advice{{"sequence[1].event", "unknown_event", "cart_added"}, {"unless.event", "unknown_event", "order_paid"}}},
		"slip of an attr":    {`{"attr":"birthdy","op":"exists","value":true}`, []advice{{"attr", "unknown_attr", "birthday"}}},
		"attr nobody has":    {`{"attr":"shoe_size","op":"eq","value":39}`, []advice{{"attr", "unknown_attr", ""}}},
		"attr of our own":    {`{"attr":"职位","op":"eq","value":"a"}`, []advice{{"attr", "unknown_attr", "职业"}}},
		"letter case counts": {`{"event":"Order_Paid"}`, []advice{{"event", "unknown_event", "order_paid"}}},
	} {
		rule, err := Parse([]byte(c.rule))
		require.NoError(t, err, name)
		fields, err := s.Advise(t.Context(), db, rule)
		require.NoError(t, err, name)
		var got []advice
		for _, f := range fields {
			near := ""
			for _, w := range c.want {
				if w.path == f.Path && w.near != "" && f.Hint.EN == "did you mean "+w.near+"?" {
					near = w.near
				}
			}
			require.NotEmpty(t, f.Text.ZH+f.Text.EN+f.Hint.ZH, name)
			got = append(got, advice{f.Path, f.Code, near})
		}
		require.Equal(t, c.want, got, "%s: %+v", name, fields)
	}
}

// Sizes, previews, members and reasons are those of the scope: a store's, or an associate's own members.
func TestScopeOfSegments(t *testing.T) {
	t.Parallel()
	s, clk, db := live(t, map[string]string{"everybody": `{"not":{"tag":"nobody has it"}}`})
	ctx := t.Context()
	mine := id.New()
	for _, sql := range []string{
		`UPDATE member.members SET home_store = 'S1' WHERE id IN (1, 11)`,
		`UPDATE member.members SET home_store = 'S2' WHERE id = 21`,
		`UPDATE member.members SET attrs = jsonb_build_object('associate', '` + mine.String() + `') WHERE id IN (11, 21)`,
		`INSERT INTO member.reach (id, channel, birth, granted) VALUES (1, 'sms', 1, true), (11, 'sms', 11, false), (21, 'sms', 21, true)`,
	} {
		_, err := db.Exec(ctx, sql)
		require.NoError(t, err)
	}
	rule := mustParse(t, map[string]any{"not": map[string]any{"tag": "nobody has it"}})
	for name, c := range map[string]struct {
		scope auth.Scope
		want  []member.ID
		reach []Reach
	}{
		"brand":                 {auth.Everything, []member.ID{1, 11, 21, 31}, []Reach{{"sms", 3, 2}}},
		"store":                 {auth.Scope{Stores: []string{"S1"}}, []member.ID{1, 11}, []Reach{{"sms", 2, 1}}},
		"associate":             {auth.Scope{Stores: []string{"S1", "S2"}, Associate: &mine}, []member.ID{11, 21}, []Reach{{"sms", 2, 1}}},
		"associate of a store":  {auth.Scope{Stores: []string{"S1"}, Associate: &mine}, []member.ID{11}, []Reach{{"sms", 1, 0}}},
		"associate of no store": {auth.Scope{All: true, Associate: &mine}, []member.ID{11, 21}, []Reach{{"sms", 2, 1}}},
		"nothing":               {auth.Scope{}, nil, nil},
	} {
		found, err := s.Find(ctx, "", false, 10)
		require.NoError(t, err)
		seen, err := s.Within(ctx, c.scope, found...)
		require.NoError(t, err)
		require.EqualValues(t, len(c.want), seen[0].Size, name)

		est, err := s.Estimate(ctx, db, c.scope, rule, clk.Now())
		require.NoError(t, err)
		require.EqualValues(t, len(c.want), est.Count, name)
		require.Equal(t, c.reach, est.Reach, name)

		rows, err := s.FindMembers(ctx, c.scope, "everybody", 0, 10)
		require.NoError(t, err)
		var got []member.ID
		for _, r := range rows {
			got = append(got, r.MemberID)
		}
		require.Equal(t, c.want, got, name)

		in := map[member.ID]bool{}
		for _, who := range c.want {
			in[who] = true
		}
		for _, who := range []member.ID{1, 11, 21, 31} {
			of, err := s.FindOf(ctx, c.scope, member.Birth(who))
			_, why := s.Explain(ctx, c.scope, rule, clk.Now(), member.Birth(who))
			if !in[who] {
				require.ErrorIs(t, err, ErrMember, "%s %s", name, who)
				require.ErrorIs(t, why, ErrMember, "%s %s", name, who)
				continue
			}
			require.NoError(t, err)
			require.NoError(t, why)
			require.Len(t, of, 1)
			text, err := json.Marshal(of[0])
			require.NoError(t, err)
			require.Contains(t, string(text), `"code":"everybody"`)
		}
	}
}
