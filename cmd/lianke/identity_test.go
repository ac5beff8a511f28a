package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

func TestRecordsAreFoundAndShownByTheirSource(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	var out bytes.Buffer
	c, f := console{out: &out, err: &out}, identityFlags{common: &common{}}
	require.NoError(t, identityFind(t.Context(), c, b.app, f, "pos:p3"))
	require.Contains(t, out.String(), b.ids["p3"])
	require.NotContains(t, out.String(), "13800132003")
	out.Reset()
	require.NoError(t, identityShow(t.Context(), c, b.app, f, "pos:p3"))
	require.Contains(t, out.String(), "member "+b.ids["p3"])
	require.Regexp(t, `source +pos +p3 `, out.String())
	require.NotContains(t, out.String(), "13800132003")
	require.Error(t, identityShow(t.Context(), c, b.app, f, "pos:p99"))

	require.Len(t, b.key(auth.RoleAgent, "").get("/members?q=pos:p3").ok().items(), 1)
	require.Empty(t, b.key(auth.RoleManager, "S1").get("/members?q=pos:p3").ok().items(), "a member of another store")
	graph := b.key(auth.RoleAgent, "").get("/members/" + b.ids["p3"] + "/identity").ok()
	require.Contains(t, graph.text, `"value":"p3"`)
	require.NotContains(t, graph.text, "13800132003")
}

func TestHotIdentifiersAreReleasedByAdministrators(t *testing.T) {
	t.Parallel()
	b := openBrand(t)
	hot := func(ns, value string) member.Birth {
		persons := make([]capture.Person, 51)
		for i := range persons {
			persons[i] = capture.Person{Keys: []identity.Key{{NS: identity.NSSource, Scope: fmt.Sprint(ns, "-", i), Value: "1"}, {NS: ns, Value: value}},
				Source: "pos", At: b.clock.Now()}
		}
		var held member.Birth
		require.NoError(t, pg.InTx(t.Context(), b.db, func(tx pgx.Tx) error {
			got, err := b.door.Observe(t.Context(), tx, persons)
			if err == nil {
				held = got[0].Keys[1]
			}
			return err
		}))
		return held
	}
	quarantined := func(birth member.Birth) (yes bool) {
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT quarantined FROM member.births WHERE birth = $1`, birth).Scan(&yes))
		return yes
	}
	card, mail := hot("card", "STAFF-1"), hot("email", "desk@lianke.test")
	require.True(t, quarantined(card))

	admin, path := b.key(auth.RoleAdmin, ""), "/members/"+card.String()+"/identity/release"
	b.key(auth.RoleManager, "").post(path, `{"reason":"x"}`).fails(403, "auth.forbidden")
	admin.post(path, `{}`).fails(422, "identity.reason_required")
	admin.post("/members/"+b.ids["p1"]+"/identity/release", `{"reason":"x"}`).fails(412, "identity.not_quarantined")
	preview := admin.post(path, `{"reason":"one tester","preview":true}`).ok()
	require.Len(t, preview.at("before"), 52)
	require.Len(t, preview.at("after"), 1)
	require.True(t, quarantined(card), "a preview changes nothing")
	require.Zero(t, b.audited("member.identifier_released"))
	admin.post(path, `{"reason":"one tester"}`).ok()
	require.False(t, quarantined(card))
	require.Equal(t, 1, b.audited("member.identifier_released"))

	var out bytes.Buffer
	c, f := console{out: &out, err: &out}, identityFlags{common: &common{}, reason: "the desk's own"}
	ctx := auth.WithActor(t.Context(), auth.System)
	require.NoError(t, identityOperate(ctx, c, b.app, f, "release", []string{"email=desk@lianke.test"}))
	require.False(t, quarantined(mail))
	require.Equal(t, 2, b.audited("member.identifier_released"))
}
