package capture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

// Person is what a touchpoint knows about one person at one time.
type Person struct {
	// Keys identify the person; what follows is kept under the birth of the first usable one.
	Keys []identity.Key
	// Kind of evidence, an identity.Kind constant; "" is import.
	Kind string
	// Attrs are not personal data: gender, birthday, province, city, home_store, attr.NAME. nil values withdraw.
	Attrs map[string]any
	// Name is kept encrypted. A real name also tells people apart who share the phone among the keys.
	Name crypt.Personal
	// Tags are added.
	Tags     []string
	Consents []Consent
	// RegisteredAt, if set, is when the person joined in this source; it is logged as member_registered once per first key.
	RegisteredAt time.Time
	Touchpoint   member.Touchpoint
	Source       string
	At           time.Time
	// EventKey makes a replay count once as evidence; "" takes At.
	EventKey string
	Mode     member.Mode // "" is live
}

// Consent is a statement of the person; At zero takes the person's.
type Consent struct {
	Channel string
	Granted bool
	At      time.Time
	Proof   string
}

// Door is the door.
type Door struct {
	graph   *identity.Service
	secrets *member.Secrets
	log     *activity.Log
	clock   clock.Clock
}

// New returns the door.
func New(graph *identity.Service, secrets *member.Secrets, log *activity.Log, clk clock.Clock) *Door {
	return &Door{graph, secrets, log, clk}
}

// Observe takes a batch of persons and returns who they were, in order.
func (d *Door) Observe(ctx context.Context, tx pgx.Tx, persons []Person) ([]identity.Resolved, error) {
	if len(persons) == 0 {
		return nil, nil
	}
	obs := make([]identity.Observation, len(persons))
	said := make([]bool, len(persons))
	for i, p := range persons {
		obs[i] = d.observation(p)
		said[i] = len(p.Attrs)+len(p.Tags)+len(p.Consents) > 0 || !p.RegisteredAt.IsZero()
	}
	found, roots, err := d.graph.ObserveDeferred(ctx, tx, obs, said)
	if err != nil {
		return nil, err
	}
	var changes member.Changes
	var secrets []member.Secret
	var acts []activity.Activity
	byMode := map[member.Mode][]member.Birth{}
	changed := map[member.ID]bool{}
	for _, r := range roots {
		changed[r] = true
	}
	for i, p := range persons {
		r := found[i]
		if r.Err != nil {
			continue
		}
		n := len(changes.Attributes) + len(changes.AddTags) + len(changes.Consents) + len(changes.Registered)
		collect(&changes, p, r.Birth)
		secrets = append(secrets, keep(p, obs[i], r)...)
		if !p.RegisteredAt.IsZero() {
			acts = append(acts, registered(p, r))
		}
		if len(changes.Attributes)+len(changes.AddTags)+len(changes.Consents)+len(changes.Registered) > n {
			changed[r.Root] = true
			byMode[modeOf(p)] = append(byMode[modeOf(p)], r.Birth)
		}
	}
	if err := changes.Write(ctx, tx); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if err := d.secrets.Put(ctx, tx, secrets); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	ids := make([]member.ID, 0, len(changed))
	for r := range changed {
		ids = append(ids, r)
	}
	if err := d.graph.Refresh(ctx, tx, ids); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if _, err := d.log.Append(ctx, tx, acts); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	for _, mode := range []member.Mode{member.ModeLive, member.ModeBackfill} {
		births := byMode[mode]
		slices.Sort(births)
		if err := d.log.Touch(ctx, tx, slices.Compact(births), activity.KeyProfile, mode, d.clock.Now()); err != nil {
			return nil, fmt.Errorf("capture: %w", err)
		}
	}
	return found, nil
}

func modeOf(p Person) member.Mode {
	if p.Mode == "" {
		return member.ModeLive
	}
	return p.Mode
}

// observation adds the key of a real name on a phone.
func (d *Door) observation(p Person) identity.Observation {
	o := identity.Observation{Keys: p.Keys, Kind: p.Kind, Source: p.Source, At: p.At, EventKey: p.EventKey, Mode: modeOf(p)}
	if o.Kind == "" {
		o.Kind = identity.KindImport
	}
	if sound := member.NameSound(p.Name.Reveal()); sound != "" {
		for _, k := range p.Keys {
			if k.NS != identity.NSPhone {
				continue
			}
			if derived, ok := d.graph.PhoneName(k.Value, sound); ok {
				o.Keys = append(slices.Clip(o.Keys), derived)
			}
		}
	}
	return o
}

func collect(c *member.Changes, p Person, birth member.Birth) {
	for name, v := range p.Attrs {
		c.Attributes = append(c.Attributes, member.Attribute{Birth: birth, Name: name, Value: v, Source: p.Source, At: p.At})
	}
	for _, t := range p.Tags {
		c.AddTags = append(c.AddTags, member.Tag{Birth: birth, Tag: t, Source: p.Source, At: p.At})
	}
	for _, s := range p.Consents {
		at := s.At
		if at.IsZero() {
			at = p.At
		}
		c.Consents = append(c.Consents, member.Consent{Birth: birth, Channel: s.Channel, Granted: s.Granted, Source: p.Source, Proof: s.Proof, At: at})
	}
	if !p.RegisteredAt.IsZero() {
		if c.Registered == nil {
			c.Registered = map[member.Birth]time.Time{}
		}
		if old, ok := c.Registered[birth]; !ok || p.RegisteredAt.Before(old) {
			c.Registered[birth] = p.RegisteredAt
		}
	}
}

// keep returns the personal data to store: the name under the first key, and the clear value of new identifiers that
// somebody must be able to read (a phone to send to) under their own births.
func keep(p Person, o identity.Observation, r identity.Resolved) []member.Secret {
	var out []member.Secret
	if !p.Name.Empty() {
		out = append(out, member.Secret{Birth: r.Birth, Value: p.Name, Source: p.Source, At: p.At})
	}
	for i, k := range o.Keys {
		if !r.New[i] {
			continue
		}
		ns, ok := identity.NamespaceOf(k.NS)
		if !ok || ns.Kind == "" {
			continue
		}
		if n, err := k.Normalise(); err == nil {
			out = append(out, member.Secret{Birth: r.Keys[i], Value: crypt.PersonalOf(ns.Kind, n.Value), Source: p.Source, At: p.At})
		}
	}
	return out
}

func registered(p Person, r identity.Resolved) activity.Activity {
	return activity.Activity{Birth: r.Birth, Key: activity.KeyMemberRegistered, OccurredAt: p.RegisteredAt, Touchpoint: p.Touchpoint,
		Mode: modeOf(p), Source: p.Source, DedupeKey: "registered|" + r.Birth.String(), Props: map[string]any{"source": p.Source}}
}
