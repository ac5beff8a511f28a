package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/email"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sms"
	"github.com/lianke/lianke/channels/wechat"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
	"github.com/lianke/lianke/member/points"
	"github.com/lianke/lianke/segments"
	"github.com/lianke/lianke/templates"
	"github.com/lianke/lianke/templates/demo"
)

// The demo's accounts at the stand-ins. The secrets open nothing outside this machine.
const (
	demoOfficial = "robin-oa"
	demoMini     = "robin-mini"
	demoSMS      = "robin-sms"
	demoMail     = "robin-mail"
	demoSign     = "知更集"
	demoToken    = "0123456789abcdef0123456789abcdef"
)

var demoAESKey = strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("robin-and-co-demo-encoding-aeskey"[:32])), "=")

// demoReactions say how the brand's members behave; the seed decides for each message.
func demoReactions() sandbox.Reactions {
	return sandbox.Reactions{
		"wechat":      {Fail: 0.01, Open: 0.8, Click: 0.4, Within: 20 * time.Hour},
		"miniprogram": {Open: 0.7, Click: 0.35, Within: 10 * time.Hour},
		"sms":         {Fail: 0.03, Click: 0.08, OptOut: 0.01, Within: 8 * time.Hour},
		"email":       {Fail: 0.02, Open: 0.5, Click: 0.2, OptOut: 0.01, Within: 40 * time.Hour},
	}
}

// build makes what the brand has before its first customer.
func (r *demoRun) build(ctx context.Context) error {
	files, err := r.world.WriteMasterData(r.dir)
	if err != nil {
		return err
	}
	if err := r.importFiles(ctx, files, false); err != nil {
		return err
	}
	if _, err := r.world.WriteTruth(r.dir); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.openProviders, r.openLoyalty, r.writeTemplates} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.say("brand: %d products, %d org units, %d people to meet, %d partners", len(r.world.Products), len(demo.Organisation), len(r.world.People), len(r.world.Partners))
	return nil
}

func (r *demoRun) importFiles(ctx context.Context, files []demo.File, live bool) error {
	for _, f := range files {
		report, err := r.importer.Run(ctx, importer.Input{Kind: f.Kind, Path: f.Path, Live: live})
		if err != nil {
			return err
		}
		if report.Rejected > 0 || report.Accepted != int64(f.Rows) {
			return fmt.Errorf("import of %s: %d of %d rows accepted, %d rejected", f.Path, report.Accepted, f.Rows, report.Rejected)
		}
		r.imported[f.Kind] += report.Accepted
	}
	return nil
}

func (r *demoRun) openProviders(ctx context.Context) error {
	callback := func(account string) string { return r.base + "/callbacks/wechat/" + account }
	apps := []struct {
		account channels.Account
		app     sandbox.App
	}{
		{channels.Account{Code: demoOfficial, Channel: channels.ChannelWeChat, Name: "知更来信"},
			sandbox.App{AppID: demo.OfficialAppID, Secret: "robin-oa-secret", Subject: demo.WeChatSubject, Token: demoToken, AESKey: demoAESKey, Mode: sandbox.ModeSafe, Callback: callback(demoOfficial)}},
		{channels.Account{Code: demoMini, Channel: channels.ChannelMiniProgram, Name: "知更集小程序"},
			sandbox.App{AppID: demo.MiniAppID, Secret: "robin-mini-secret", Mini: true, Subject: demo.WeChatSubject, Token: demoToken, AESKey: demoAESKey, Mode: sandbox.ModeSafe, Callback: callback(demoMini)}},
	}
	for _, a := range apps {
		if err := r.box.AddApp(a.app); err != nil {
			return fmt.Errorf("add %s to the stand-in: %w", a.account.Code, err)
		}
		a.account.Settings.AppID = a.app.AppID
		err := r.saveAccount(ctx, a.account, wechat.Config{
			AppID: a.app.AppID, AppSecret: a.app.Secret, Token: a.app.Token, AESKey: a.app.AESKey, Subject: a.app.Subject, MiniAppID: demo.MiniAppID,
		})
		if err != nil {
			return err
		}
	}
	reports := r.base + "/callbacks/sms/" + demoSMS + "/" + demoToken
	if err := r.box.AddSMSAccount(sandbox.SMSAccount{AccessKey: "robin-ak", Secret: "robin-sk", Signs: []string{demoSign}, ReceiptURL: reports + "/reports", ReplyURL: reports + "/replies"}); err != nil {
		return fmt.Errorf("add the SMS account to the stand-in: %w", err)
	}
	if err := r.saveAccount(ctx, channels.Account{Code: demoSMS, Channel: channels.ChannelSMS, Name: "知更集短信"},
		sms.Config{AccessKey: "robin-ak", Secret: "robin-sk", Sign: demoSign, Token: demoToken}); err != nil {
		return err
	}
	r.box.MailUser("robin", "robin-mail-secret")
	return r.saveAccount(ctx, channels.Account{Code: demoMail, Channel: channels.ChannelEmail, Name: "知更集邮件"}, email.Config{
		Host: "smtp.robin.example", Port: 587, TLS: "starttls", Username: "robin", Password: "robin-mail-secret",
		From: "知更集 <hello@robin.example>", Domain: "robin.example", Secret: demoToken,
	})
}

func (r *demoRun) saveAccount(ctx context.Context, a channels.Account, cfg any) error {
	raw, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encode account %s: %w", a.Code, err)
	}
	a.Secrets, a.Status = raw, channels.AccountActive
	a.Settings.BaseURL, a.Settings.TrackClicks = r.base, true
	if _, err := r.channels.SaveAccount(ctx, a); err != nil {
		return fmt.Errorf("save account %s: %w", a.Code, err)
	}
	return nil
}

func (r *demoRun) openLoyalty(ctx context.Context) error {
	return pg.InTx(ctx, r.db, func(tx pgx.Tx) error {
		_, err := r.points.CreateProgramme(ctx, tx, points.Programme{
			Code: "robin", Name: "知更积分", ValuePoints: 100, ValueFen: 100, EarnFen: 100, Rounding: points.RoundFloor,
			Validity: points.ValidityDays, ValidityN: 14, Status: points.StatusActive,
			Tiers: []points.Tier{
				{Code: "silver", Name: "银羽", By: points.ByPaid, Growth: 200_000, WindowDays: 365},
				{Code: "gold", Name: "金羽", By: points.ByPaid, Growth: 1_000_000, WindowDays: 365},
			},
		})
		if err != nil {
			return err
		}
		for _, t := range []coupon.Template{
			{Code: "robin-40", Name: "满300减40", Kind: coupon.KindAmountOff, AmountFen: 4000, ThresholdFen: 30000, ValidDays: 14, MemberLimit: 2,
				Bearers: []coupon.Bearer{{Bearer: "robin", Bp: 6000}, {Bearer: "performer", Bp: 4000}}, Status: coupon.StatusActive},
			{Code: "robin-cup-20", Name: "茶杯立减20", Kind: coupon.KindAmountOff, AmountFen: 2000, ThresholdFen: 2000, ValidDays: 30, MemberLimit: 1,
				Bearers: []coupon.Bearer{{Bearer: "robin", Bp: 10000}}, Status: coupon.StatusActive},
		} {
			if _, err := r.coupons.CreateTemplate(ctx, tx, t); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *demoRun) writeTemplates(ctx context.Context) error {
	var all []templates.Template
	if err := json.Unmarshal(demo.Messages(), &all); err != nil {
		return fmt.Errorf("read demo messages: %w", err)
	}
	for _, t := range all {
		if _, err := r.templates.Save(ctx, auth.System, templates.SaveInput{Template: t}); err != nil {
			return fmt.Errorf("save template %s: %w", t.Code, err)
		}
		if _, err := r.templates.Publish(ctx, t.Code, 0); err != nil {
			return fmt.Errorf("publish template %s: %w", t.Code, err)
		}
	}
	return nil
}

// importHistory brings in what happened before the live window, as any brand would on its first day.
func (r *demoRun) importHistory(ctx context.Context) error {
	files, err := r.world.WriteSlice(r.dir+"/history", time.Time{}, r.world.LiveFrom)
	if err != nil {
		return err
	}
	if err := r.importFiles(ctx, files, false); err != nil {
		return err
	}
	r.say("history: %d member records, %d order lines imported", r.imported["members"], r.imported["orders"])
	return r.seedProviders(ctx)
}

// seedProviders lets the stand-ins know the people: WeChat its users and followers, the networks their numbers.
func (r *demoRun) seedProviders(context.Context) error {
	var errs []error
	for _, p := range r.world.People {
		for _, a := range p.Accounts {
			for _, row := range a.Rows {
				if row.WeChat == "" {
					continue
				}
				r.box.AddPerson(sandbox.Person{ID: row.WeChat, Phone: p.Phone, Email: p.Email})
				if a.Source == demo.SourceOfficial && row.At.Before(r.world.LiveFrom) {
					errs = append(errs, r.box.SeedFollower(row.WeChat, demo.OfficialAppID))
				}
				if a.Source == demo.SourceMini && row.At.Before(r.world.LiveFrom) && row.ConsentMini == "granted" {
					errs = append(errs, r.box.Grant(row.WeChat, demo.MiniAppID, "TPL_COUPON", 1))
				}
			}
		}
		if p.Account(demo.SourceMini) == nil {
			r.box.AddPerson(sandbox.Person{ID: fmt.Sprintf("robin-%d", p.No), Phone: p.Phone, Email: p.Email})
		}
	}
	return errors.Join(errs...)
}

// buildSegments creates the brand's segments; their first build is no reason to send anything.
func (r *demoRun) buildSegments(ctx context.Context) error {
	all, err := demo.Segments()
	if err != nil {
		return err
	}
	// The feed of the history is read before there are rules, as by a program that ran during the import: a build sees all
	// of it at once.
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.say("history: followed by all consumers")
	for _, s := range all {
		rule, err := segments.Parse(s.Rule)
		if err != nil {
			return fmt.Errorf("rule of segment %s: %w", s.Code, err)
		}
		if _, err := r.segments.Create(ctx, segments.CreateInput{Code: s.Code, Name: s.Name, Rule: rule}); err != nil {
			return fmt.Errorf("create segment %s: %w", s.Code, err)
		}
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.say("segments: %d built", len(all))
	return nil
}

// publish makes the journeys live.
func (r *demoRun) publish(ctx context.Context) error {
	documents, err := demo.Journeys()
	if err != nil {
		return err
	}
	for _, code := range demo.JourneyCodes {
		info, err := r.journeys.Create(ctx, code, documents[code])
		if err != nil {
			return fmt.Errorf("create journey %s: %w", code, err)
		}
		if _, err := r.journeys.Publish(ctx, code, info.Revision, "demo", journeys.Plan{}); err != nil {
			return fmt.Errorf("publish journey %s: %w", code, err)
		}
	}
	r.say("journeys: %s published", strings.Join(demo.JourneyCodes, ", "))
	return nil
}
