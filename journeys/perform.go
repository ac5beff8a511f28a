package journeys

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// perform plays the persons and writes what came of it, inside a savepoint. If that fails for a reason that lies in the
// data (an adapter refuses one message), the batch is halved until the member at fault stands alone; its runs are planned
// for another attempt or quarantined, and all others go on.
func (e *Engine) perform(ctx context.Context, tx pgx.Tx, st *stage, persons []*person) error {
	err := pg.InTx(ctx, tx, func(sp pgx.Tx) error {
		for _, p := range persons {
			p.reset()
		}
		if err := playAll(ctx, sp, e.rules, st, persons); err != nil {
			return err
		}
		return e.write(ctx, sp, st, persons)
	})
	if err == nil || !isolable(ctx, err) {
		return err
	}
	if len(persons) > 1 {
		half := len(persons) / 2
		if err := e.perform(ctx, tx, st, persons[:half]); err != nil {
			return err
		}
		return e.perform(ctx, tx, st, persons[half:])
	}
	e.log.WarnContext(ctx, "journey run failed", "member", persons[0].root, "error", err)
	persons[0].failAll(err, st)
	return e.write(ctx, tx, st, persons)
}

// isolable reports whether an error may be due to one member: not a lost lease, a cancelled context, a broken
// connection or a conflict between transactions, which concern the whole batch.
func isolable(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, lease.ErrLost) || errors.Is(err, pg.ErrRetry) {
		return false
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code[:2] {
		case "22", "23", "P0":
			return true
		}
		return false
	}
	var ce *pgconn.ConnectError
	return !errors.As(err, &ce) && !pgconn.SafeToRetry(err) && !pgconn.Timeout(err)
}

// failAll takes back every run of the person that walked. One that a fact has ended stays ended, without its effects.
func (p *person) failAll(err error, st *stage) {
	for _, l := range p.runs {
		if l.origin == nil {
			continue
		}
		if l.Status == StatusEnded && (l.Reason == ReasonGoal || strings.HasPrefix(l.Reason, "criterion:")) {
			l.effects = nil
			continue
		}
		l.mark.run, l.mark.moves, l.mark.effects = *l.origin, 0, 0
		l.notes = nil
		l.fail(err, st.wall(l.origin.Due))
	}
	p.asking = nil
}

// playAll plays persons in rounds: all facts that a round asks for are found in one query per rule and instant.
func playAll(ctx context.Context, db pg.DB, rules Rules, st *stage, persons []*person) error {
	type ask struct {
		journey, version int
		node             string
		at               int64
	}
	todo := persons
	for len(todo) > 0 {
		var blocked []*person
		asked := map[ask][]member.ID{}
		for _, p := range todo {
			if st.play(p) {
				continue
			}
			blocked = append(blocked, p)
			l := p.asking
			a := ask{l.Journey, l.Version, l.Node, l.Due.Unix()}
			asked[a] = append(asked[a], p.root)
		}
		for a, ids := range asked {
			rule := st.book.version(a.journey, a.version).rule(a.node)
			matches, err := rules.Evaluate(ctx, db, rule, time.Unix(a.at, 0).UTC(), ids)
			if err != nil {
				return fmt.Errorf("evaluate rule at node %q: %w", a.node, err)
			}
			for _, m := range ids {
				st.facts[question{a.journey, a.version, a.node, a.at, m}] = matches[m]
			}
		}
		todo = blocked
	}
	return nil
}

// write saves runs, sends effects on their way and appends figures.
func (e *Engine) write(ctx context.Context, tx pgx.Tx, st *stage, persons []*person) error {
	var added, changed []*live
	figures := newFigures()
	var out effects
	for _, p := range persons {
		for _, s := range p.skips {
			figures.add(figure{s.version.Journey.No, s.version.No, "", "skipped", s.reason, dayOf(s.at), hourOf(s.at)}, 1)
		}
		for _, l := range p.runs {
			if !l.dirty {
				continue
			}
			if l.isNew {
				added = append(added, l)
			} else {
				changed = append(changed, l)
			}
			v := st.book.version(l.Journey, l.Version)
			if v == nil {
				continue
			}
			figures.run(v, l)
			for i := range l.effects {
				out.add(v, &l.Run, &l.effects[i])
			}
		}
	}
	if err := saveRuns(ctx, tx, added, changed, st.slice); err != nil {
		return err
	}
	if err := e.send(ctx, tx, &out, figures); err != nil {
		return err
	}
	return figures.append(ctx, tx)
}

// effects of a batch, sorted by where they go.
type effects struct {
	messages []Message
	coupons  []CouponGrant
	granted  []figure // of coupons, to be told apart by result
	points   []PointsGrant
	profiles []ProfileChange
	tasks    []Task
	webhooks []Webhook
}

func (o *effects) add(v *Version, r *Run, e *Effect) {
	n := e.Node
	at := Origin{Journey: v.Journey.Code, Version: v.No, Node: n.ID, Run: r.ID, Birth: r.Birth, At: e.At}
	s := &v.Doc.Settings
	switch n.Kind {
	case KindMessage:
		o.messages = append(o.messages, Message{Origin: at, SendKey: e.Key, Channel: n.Message.Channel, Account: n.Message.Account,
			Template: n.Message.Template, Vars: e.Vars, Lane: s.Lane, Caps: s.Caps, QuietHours: s.QuietHours})
	case KindCoupon:
		o.coupons = append(o.coupons, CouponGrant{Origin: at, Key: e.Key, Template: n.Coupon.Template})
		o.granted = append(o.granted, figure{v.Journey.No, v.No, n.ID, "", "", dayOf(r.EnteredAt), hourOf(e.At)})
	case KindPoints:
		o.points = append(o.points, PointsGrant{Origin: at, Key: e.Key, Programme: n.Points.Programme, Points: n.Points.Points, Reason: n.Points.Reason})
	case KindTag:
		for _, t := range n.Tag.Remove {
			o.profiles = append(o.profiles, ProfileChange{Origin: at, RemoveTag: t})
		}
		for _, t := range n.Tag.Add {
			o.profiles = append(o.profiles, ProfileChange{Origin: at, AddTag: t})
		}
	case KindAttribute:
		o.profiles = append(o.profiles, ProfileChange{Origin: at, Attribute: n.Attribute.Name, Value: n.Attribute.Value})
	case KindTask:
		o.tasks = append(o.tasks, Task{Origin: at, Key: e.Key, Kind: n.Task.Kind, Title: n.Task.Title, Body: n.Task.Body, DueAt: e.At.Add(time.Duration(n.Task.Due))})
	case KindWebhook:
		o.webhooks = append(o.webhooks, Webhook{Origin: at, Key: e.Key, URL: n.Webhook.URL, Payload: e.Vars})
	}
}

// metricOf names the figure that an effect of the kind counts towards.
var metricOf = map[NodeKind]string{KindMessage: "sent", KindPoints: "points", KindTag: "tag", KindAttribute: "attribute", KindTask: "task", KindWebhook: "webhook"}

func (e *Engine) send(ctx context.Context, tx pgx.Tx, o *effects, figures *figures) error {
	if err := e.outside.covers(o); err != nil {
		return err
	}
	if len(o.messages) > 0 {
		if err := e.outside.Messenger.Plan(ctx, tx, o.messages); err != nil {
			return fmt.Errorf("plan messages: %w", err)
		}
	}
	if len(o.coupons) > 0 {
		results, err := e.outside.Coupons.Grant(ctx, tx, o.coupons)
		if err != nil {
			return fmt.Errorf("grant coupons: %w", err)
		}
		if len(results) != len(o.coupons) {
			return fmt.Errorf("grant coupons: %d results for %d grants", len(results), len(o.coupons))
		}
		for i, r := range results {
			f := o.granted[i]
			f.metric = "coupon"
			if !r.Granted {
				f.metric, f.detail = "coupon_refused", r.Reason
			}
			figures.add(f, 1)
		}
	}
	if len(o.points) > 0 {
		if err := e.outside.Points.Grant(ctx, tx, o.points); err != nil {
			return fmt.Errorf("grant points: %w", err)
		}
	}
	if len(o.profiles) > 0 {
		if err := e.outside.Profiles.Apply(ctx, tx, o.profiles); err != nil {
			return fmt.Errorf("change profiles: %w", err)
		}
	}
	if len(o.tasks) > 0 {
		if err := e.outside.Tasks.Assign(ctx, tx, o.tasks); err != nil {
			return fmt.Errorf("assign tasks: %w", err)
		}
	}
	if len(o.webhooks) > 0 {
		if err := e.outside.Webhooks.Queue(ctx, tx, o.webhooks); err != nil {
			return fmt.Errorf("queue webhooks: %w", err)
		}
	}
	return nil
}

// covers reports an effect that nobody receives in this installation.
func (o *Outside) covers(fx *effects) error {
	for kind, missing := range map[NodeKind]bool{
		KindMessage: len(fx.messages) > 0 && o.Messenger == nil, KindCoupon: len(fx.coupons) > 0 && o.Coupons == nil,
		KindPoints: len(fx.points) > 0 && o.Points == nil, KindTag: len(fx.profiles) > 0 && o.Profiles == nil,
		KindTask: len(fx.tasks) > 0 && o.Tasks == nil, KindWebhook: len(fx.webhooks) > 0 && o.Webhooks == nil,
	} {
		if missing {
			return ErrNobody.With("kind", kind)
		}
	}
	return nil
}
