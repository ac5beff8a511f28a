package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/egress"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member/points"
	"github.com/lianke/lianke/segments"
	"github.com/lianke/lianke/templates"
)

// wireJourneys constructs journeys on the modules that their effects go to.
func (a *app) wireJourneys(rules *segments.Service, pts *points.Service, coupons journeys.Coupons) {
	caller := journeys.NewCaller(a.db, a.clock, egress.New(egress.Options{Private: a.cfg.WebhookPrivate}), a.webhookSecret())
	out := journeys.Outside{Messenger: messenger{a.channels}, Coupons: coupons, Points: pointsOf{pts},
		Profiles: journeys.ProfileWriter{Profile: a.profile}, Tasks: journeys.TaskBook{}, Webhooks: caller}
	engine := journeys.NewEngine(journeys.Config{DB: a.db, Clock: a.clock, Log: a.log, Feed: a.activity,
		Rules: journeys.NewSegmentRules(rules), People: journeys.Graph{}, Holder: processName(), Outside: out})
	a.journeys = journeys.NewService(engine, catalogue{a.templates, pts, a.coupons})
	journeys.Routes(a.api, a.journeys)
	a.loop("journeys", "journey engine", engine.Run)
	a.loop("journeys", "journey webhooks", caller.Run)
}

// webhookSecret signs the webhooks of this installation; it follows from the master key, so it needs no keeping of its own
// and is in every backup. `lianke journey webhook-secret` prints it for those who verify.
func (a *app) webhookSecret() []byte {
	one, two := a.ring.Token("webhook secret", "1"), a.ring.Token("webhook secret", "2")
	return []byte(hex.EncodeToString(append(one[:], two[:]...)))
}

// processName tells this process from all others, those before it on this machine included.
func processName() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), hex.EncodeToString(b[:]))
}

// messenger plans journeys' messages in the send pipeline.
type messenger struct{ channels *channels.Service }

func (m messenger) Plan(ctx context.Context, tx pgx.Tx, messages []journeys.Message) error {
	intents := make([]channels.Intent, len(messages))
	for i, x := range messages {
		intents[i] = channels.Intent{SendKey: x.SendKey, Birth: x.Birth, Channel: channels.Channel(x.Channel), Account: x.Account,
			Template: x.Template, Vars: x.Vars, Lane: channels.Lane(x.Lane), Campaign: x.Caps, Journey: x.Journey, Version: x.Version,
			Node: x.Node, Run: x.Run.String(), At: x.At}
		if q := x.QuietHours; q != nil {
			intents[i].Quiet = channels.Window{From: int(q.From), To: int(q.To)}
		}
	}
	return m.channels.Plan(ctx, tx, intents)
}

// pointsOf grants journeys' points.
type pointsOf struct{ points *points.Service }

func (p pointsOf) Grant(ctx context.Context, tx pgx.Tx, grants []journeys.PointsGrant) error {
	list := make([]points.Grant, len(grants))
	for i, g := range grants {
		list[i] = points.Grant{Key: g.Key, Birth: g.Birth, Programme: g.Programme, Points: g.Points, At: g.At, Reason: g.Reason}
		if list[i].Reason == "" {
			list[i].Reason = "journey:" + g.Journey
		}
	}
	_, err := p.points.Grant(ctx, tx, list)
	return err
}

// catalogue knows what journeys may name.
type catalogue struct {
	templates *templates.Service
	points    *points.Service
	coupons   *coupon.Service
}

func (c catalogue) Missing(ctx context.Context, db pg.DB, refs []journeys.Ref) ([]journeys.Ref, error) {
	var missing []journeys.Ref
	for _, r := range refs {
		var err error
		switch {
		case r.Kind == journeys.RefTemplate:
			var t templates.Template
			if t, err = c.templates.Get(ctx, r.Code, -1); err == nil && string(t.Channel) != r.Channel {
				missing = append(missing, r)
			}
		case r.Kind == journeys.RefProgramme:
			_, err = c.points.Programme(ctx, db, r.Code)
		case r.Kind == journeys.RefCoupon:
			var t coupon.Template
			if t, err = c.coupons.Template(ctx, db, r.Code); err == nil && t.Status == coupon.StatusArchived {
				missing = append(missing, r)
			}
		}
		switch {
		case err == nil:
		case fault.KindOf(err) == fault.NotFound:
			missing = append(missing, r)
		default:
			return nil, err
		}
	}
	return missing, nil
}
