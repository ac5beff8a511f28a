package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// members are the modules of the root folder member.
type members struct {
	ring     *crypt.Ring
	activity *activity.Log
	graph    *identity.Service
	profile  *member.Profile
	secrets  *member.Secrets
	door     *capture.Door
	finder   *identity.Finder
}

// wireMembers constructs them on the stack.
func (a *app) wireMembers(ctx context.Context) (err error) {
	if a.ring, err = a.openRing(ctx); err != nil {
		return err
	}
	a.activity = activity.NewLog(a.db, a.clock, a.log)
	a.graph = identity.New(a.db, a.clock, a.ring, a.activity, a.bus)
	a.profile = member.NewProfile(a.activity, a.graph.Refresh)
	a.secrets = member.NewSecrets(a.ring, a.auditReveal)
	a.finder = identity.NewFinder(a.graph, a.secrets)
	identity.Routes(a.api, a.graph, a.finder, a.secrets, a.auth.Audit)
	activity.Routes(a.api, a.activity)
	a.door = capture.New(a.graph, a.secrets, a.activity, a.clock)
	a.loop("jobs", "feed sequencer", a.activity.RunSequencer)
	return nil
}

// auditReveal records who looked at personal data in clear.
func (a *app) auditReveal(ctx context.Context, tx pgx.Tx, birth member.Birth, kind, purpose string) error {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	return a.auth.Audit(ctx, tx, by, "member.revealed", "member/"+birth.String(), map[string]any{"kind": kind, "purpose": purpose})
}
