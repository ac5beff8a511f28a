package main

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/points"
)

// loyalty are the modules that keep value for members.
type loyalty struct {
	ledger  *ledger.Ledger
	points  *points.Service
	coupons *coupon.Service
}

// wireLoyalty constructs them after the members.
func (a *app) wireLoyalty() {
	a.ledger = ledger.New()
	a.points = points.New(a.db, a.clock, a.ledger, a.activity)
	a.coupons = coupon.New(a.db, a.clock, a.ledger, a.activity, rand.Reader)
	points.Routes(a.api, a.points, a.auth)
	coupon.Routes(a.api, a.coupons, a.auth)

	a.bus.Subscribe(identity.Split{}.EventName(), "points.untangle", func(ctx context.Context, tx pgx.Tx, e events.Envelope) error {
		split, err := events.Decode[identity.Split](e)
		if err != nil {
			return err
		}
		births := append([]member.Birth{member.Birth(split.Before)}, split.Moved...)
		for _, root := range split.Roots {
			births = append(births, member.Birth(root))
		}
		_, err = a.points.Untangle(ctx, tx, births, e.OccurredAt)
		return err
	})
	a.jobs.Every("points expiry", 5*time.Minute, func(ctx context.Context) error {
		_, err := a.points.Expire(ctx, a.clock.Now(), member.ModeLive)
		return err
	})
	a.jobs.Every("coupon expiry", 5*time.Minute, func(ctx context.Context) error {
		_, err := a.coupons.Expire(ctx, a.clock.Now(), member.ModeLive)
		return err
	})
	a.loop("jobs", "tiers", a.points.FollowTiers)
	a.jobs.Every("tier periods", 15*time.Minute, func(ctx context.Context) error {
		_, err := a.points.ExpireTiers(ctx)
		return err
	})
	a.jobs.Every("tier evaluation", 24*time.Hour, func(ctx context.Context) error {
		_, err := a.points.EvaluateTiers(ctx)
		return err
	})
	a.loop("api", "coupon filter", a.coupons.RunFilter)
	a.jobs.Every("ledger fold", 10*time.Second, func(ctx context.Context) error {
		_, err := a.ledger.Fold(ctx, a.db)
		return err
	})
}

// couponsOf grants journeys' coupons.
type couponsOf struct{ coupons *coupon.Service }

func (c couponsOf) Grant(ctx context.Context, tx pgx.Tx, grants []journeys.CouponGrant) ([]journeys.GrantResult, error) {
	list := make([]coupon.Issue, len(grants))
	for i, g := range grants {
		list[i] = coupon.Issue{Key: g.Key, Birth: g.Birth, Template: g.Template, At: g.At, Source: "journey/" + g.Journey}
	}
	results, err := c.coupons.Issue(ctx, tx, list)
	if err != nil {
		return nil, err
	}
	out := make([]journeys.GrantResult, len(results))
	for i, r := range results {
		if out[i].Granted = r.Outcome == coupon.Granted; !out[i].Granted {
			out[i].Reason = string(r.Outcome)
		}
	}
	return out, nil
}
