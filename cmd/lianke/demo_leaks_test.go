package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/templates/demo"
)

func TestTheSieveSeesEveryKindOfPersonalData(t *testing.T) {
	t.Parallel()
	w, err := demo.New(demo.Options{Seed: 1, Today: clock.DayOf(time.Date(2026, 11, 23, 0, 0, 0, 0, clock.Shanghai)), OpenID: sandbox.OpenID, UnionID: sandbox.UnionID})
	require.NoError(t, err)
	row := demo.Row{}
	for _, p := range w.People {
		for _, a := range p.Accounts {
			for _, r := range a.Rows {
				for _, f := range []struct{ to, from *string }{
					{&row.Phone, &r.Phone}, {&row.Email, &r.Email}, {&row.Card, &r.Card}, {&row.UnionID, &r.UnionID},
					{&row.OpenID, &r.OpenID}, {&row.OUID, &r.OUID}, {&row.OMID, &r.OMID},
				} {
					if *f.to == "" {
						*f.to = *f.from
					}
				}
				if len([]rune(row.Name)) < 3 {
					row.Name = r.Name
				}
			}
		}
	}
	for name, secret := range map[string]string{
		"phone": row.Phone, "email": row.Email, "card": row.Card, "unionid": row.UnionID, "openid": row.OpenID,
		"ouid": row.OUID, "omid": row.OMID, "name": row.Name,
	} {
		require.NotEmpty(t, secret, name)
		s := newLeakSieve(w)
		_, err := s.Write([]byte(`{"msg":"refused","input":"会员` + secret + `"}` + "\n"))
		require.NoError(t, err)
		require.Len(t, s.tally().Leaks, 1, name)
		require.Positive(t, s.tally().Bytes)
	}
	s := newLeakSieve(w)
	_, err = s.Write([]byte("nothing of anybody, 13800000000\n"))
	require.NoError(t, err)
	require.Empty(t, s.tally().Leaks)
}
