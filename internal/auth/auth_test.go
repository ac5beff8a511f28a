package auth_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

type tree struct{}

func (tree) Stores(_ context.Context, _ pg.DB, org string) ([]string, error) {
	return []string{org + "-1", org + "-2"}, nil
}

func setup(t *testing.T) (*auth.Service, *clock.Virtual) {
	clk := clock.NewVirtual(time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC))
	return auth.New(pgtest.Tx(t), clk, slog.New(slog.DiscardHandler), tree{}), clk
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, clk := setup(t)
	op, err := s.CreateOperator(ctx, auth.System, auth.CreateOperatorInput{
		Login: "ZhouKe", Name: "周可", Password: "correct horse", Roles: []auth.Role{auth.RoleAssociate}, Org: "hubin",
	})
	require.NoError(t, err)
	_, err = s.CreateOperator(ctx, auth.System, auth.CreateOperatorInput{
		Login: "zhouke", Name: "x", Password: "correct horse", Roles: []auth.Role{auth.RoleAgent},
	})
	require.ErrorIs(t, err, auth.ErrLoginTaken)
	_, err = s.CreateOperator(ctx, auth.System, auth.CreateOperatorInput{Login: "x", Name: "x", Password: "short", Roles: []auth.Role{"king"}})
	require.ErrorContains(t, err, "password")

	// a session gives the actor with their scope
	session, err := s.SignIn(ctx, "zhouke", "correct horse", "10.0.0.1", "test")
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", auth.SessionCookie+"="+session.Token)
	actor, err := s.Authenticate(r)
	require.NoError(t, err)
	require.Equal(t, auth.Scope{Org: "hubin", Stores: []string{"hubin-1", "hubin-2"}, Associate: &op.ID, Reveal: true}, actor.Scope)

	// it ends with time, with sign-out, and at once when the operator changes
	clk.Advance(13 * time.Hour)
	_, err = s.Authenticate(r)
	require.ErrorIs(t, err, auth.ErrUnauthenticated)
	session, err = s.SignIn(ctx, "zhouke", "correct horse", "10.0.0.1", "test")
	require.NoError(t, err)
	r.Header.Set("Cookie", auth.SessionCookie+"="+session.Token)
	resigned := false
	_, err = s.UpdateOperator(ctx, auth.System, op.ID, auth.UpdateOperatorInput{Version: op.Version, Active: &resigned})
	require.NoError(t, err)
	_, err = s.UpdateOperator(ctx, auth.System, op.ID, auth.UpdateOperatorInput{Version: op.Version})
	require.ErrorIs(t, err, auth.ErrStale)
	_, err = s.Authenticate(r)
	require.ErrorIs(t, err, auth.ErrUnauthenticated)
	_, err = s.SignIn(ctx, "zhouke", "correct horse", "10.0.0.1", "test")
	require.ErrorIs(t, err, auth.ErrBadCredentials)

	// guessing is throttled
	for range 12 {
		_, err = s.SignIn(ctx, "nobody", "guess guess", "10.0.0.9", "test")
	}
	require.ErrorIs(t, err, auth.ErrThrottled)
	clk.Advance(16 * time.Minute)
	_, err = s.SignIn(ctx, "nobody", "guess guess", "10.0.0.9", "test")
	require.ErrorIs(t, err, auth.ErrBadCredentials)

	entries, err := s.FindAudit(ctx, auth.AuditFilter{Object: "operator/" + op.ID.String(), Limit: 10})
	require.NoError(t, err)
	require.Equal(t, "operator.updated", entries[0].Action)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, clk := setup(t)
	write, secret, err := s.CreateKey(ctx, auth.System, auth.CreateKeyInput{Kind: auth.KeyWrite, Name: "shop", Source: "web-shop", PerSecond: 2})
	require.NoError(t, err)
	got, err := s.CheckKey(ctx, auth.KeyWrite, secret)
	require.NoError(t, err)
	require.Equal(t, write.ID, got.ID)
	_, err = s.CheckKey(ctx, auth.KeyAPI, secret)
	require.ErrorIs(t, err, auth.ErrBadKey, "a write key opens no API")
	_, err = s.CheckKey(ctx, auth.KeyWrite, secret+"x")
	require.ErrorIs(t, err, auth.ErrBadKey)
	for range 10 {
		_, err = s.CheckKey(ctx, auth.KeyWrite, secret)
	}
	require.ErrorIs(t, err, auth.ErrRateLimited)
	require.NoError(t, s.RevokeKey(ctx, auth.System, write.ID))
	_, err = s.CheckKey(ctx, auth.KeyWrite, secret)
	require.ErrorIs(t, err, auth.ErrBadKey)
	clk.Advance(time.Second)

	_, _, err = s.CreateKey(ctx, auth.System, auth.CreateKeyInput{Kind: auth.KeyAPI, Name: "erp", Source: "erp"})
	require.ErrorContains(t, err, "roles")
	_, secret, err = s.CreateKey(ctx, auth.System, auth.CreateKeyInput{Kind: auth.KeyAPI, Name: "erp", Source: "erp", Roles: []auth.Role{auth.RoleFinance}})
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	actor, err := s.Authenticate(r)
	require.NoError(t, err)
	require.True(t, actor.Has(auth.RoleFinance))
	require.False(t, actor.Scope.Reveal)
}
