package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/points"
	"github.com/lianke/lianke/segments"
	"github.com/lianke/lianke/templates/demo"
)

// demoTick is how far the virtual clock moves at once. What happens within a tick keeps its own time.
const demoTick = 2 * time.Hour

// live plays the last thirty days: what happened in each tick is imported as live, then everything reacts until it is
// quiet: segments, journeys, senders, providers, and the members who read and tap.
func (r *demoRun) live(ctx context.Context) error {
	end := r.world.Today.Start()
	dir := filepath.Join(r.dir, "live")
	for from := r.world.LiveFrom; from.Before(end); from = from.Add(demoTick) {
		to := from.Add(demoTick)
		r.now.Set(to)
		files, err := r.world.WriteSlice(filepath.Join(dir, from.UTC().Format("20060102T15")), from, to)
		if err != nil {
			return err
		}
		if err := r.importFiles(ctx, files, true); err != nil {
			return err
		}
		if err := r.follow(from, to); err != nil {
			return err
		}
		if err := r.settle(ctx); err != nil {
			return fmt.Errorf("at %s: %w", to.Format(time.RFC3339), err)
		}
		if to.Equal(demoMidnight(to)) {
			if err := r.endDay(ctx, to); err != nil {
				return err
			}
		}
	}
	r.say("lived through %d days", demo.LiveDays)
	return nil
}

func demoMidnight(t time.Time) time.Time { return t.Truncate(24 * time.Hour).Add(16 * time.Hour) }

// endDay lets what is past its date run out.
func (r *demoRun) endDay(ctx context.Context, now time.Time) error {
	if _, err := r.points.Expire(ctx, now, member.ModeLive); err != nil {
		return err
	}
	if _, err := r.coupons.Expire(ctx, now, member.ModeLive); err != nil {
		return err
	}
	if _, err := r.points.ExpireTiers(ctx); err != nil {
		return err
	}
	if day := int(now.Sub(r.world.LiveFrom) / (24 * time.Hour)); day%5 == 0 {
		r.say("day %d of %d", day, demo.LiveDays)
	}
	return r.settle(ctx)
}

// follow lets new followers and mini-program users of the tick act at WeChat, which tells us by callback.
func (r *demoRun) follow(from, to time.Time) error {
	var errs []error
	for _, p := range r.world.People {
		for _, a := range p.Accounts {
			for _, row := range a.Rows {
				if row.WeChat == "" || row.At.Before(from) || !row.At.Before(to) {
					continue
				}
				switch a.Source {
				case demo.SourceOfficial:
					errs = append(errs, r.box.Follow(row.WeChat, demo.OfficialAppID, ""))
				case demo.SourceMini:
					r.box.AddPerson(sandbox.Person{ID: row.WeChat, Phone: p.Phone, Email: p.Email})
					if row.ConsentMini == "granted" {
						errs = append(errs, r.box.Grant(row.WeChat, demo.MiniAppID, "TPL_COUPON", 1))
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// settle lets everything react to everything until nothing moves any more.
func (r *demoRun) settle(ctx context.Context) error {
	const rounds = 1000
	for range rounds {
		moved, err := r.segments.CatchUp(ctx)
		if err != nil {
			return err
		}
		turned, err := r.segments.AdvanceTo(ctx, r.now.Now())
		if err != nil {
			return err
		}
		if err := r.journeys.Engine().Drain(ctx); err != nil {
			return err
		}
		tiered, err := r.activity.Drain(ctx, points.TierConsumer, r.points.HandleTiers)
		if err != nil {
			return err
		}
		if err := r.channels.Drain(ctx); err != nil {
			return err
		}
		pumped := r.box.Pump(ctx)
		behind, err := r.activity.Lag(ctx, segments.Consumer)
		if err != nil {
			return err
		}
		waiting, err := r.activity.Lag(ctx, journeys.Consumer)
		if err != nil {
			return err
		}
		if moved+turned+tiered+pumped == 0 && behind+waiting == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("nothing came to rest in %d rounds", rounds)
}
