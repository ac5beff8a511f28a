package channels

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/contact"
)

// batch is a set of messages that this process has marked handed_over and must now send and settle.
type batch struct {
	id       id.UUID
	account  Account
	shard    int
	lease    lease.Lease
	messages []outbound
	more     bool // more messages were due than fitted
}

// outbound is a claimed message with what was found out about its member.
type outbound struct {
	Message
	root    member.ID
	address member.Birth // the birth whose address is used
	granted bool
	grant   string // provider template whose one-time grant was taken
}

// handOver claims what is due on the account's shard, decides each message under the locks of its member, and marks those
// that may leave as handed over, all in one transaction fenced by the lease. An empty batch with more=false means there is
// nothing to do now.
func (s *Service) handOver(ctx context.Context, l lease.Lease, code string, shard int) (b batch, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		b = batch{id: id.New(), lease: l, shard: shard}
		if err := l.Check(ctx, tx); err != nil {
			return err
		}
		now := s.clock.Now()
		if b.account, err = s.store.account(ctx, tx, code); err != nil {
			return err
		}
		settings, err := s.store.settings(ctx, tx)
		if err != nil {
			return err
		}
		if b.account.Status == AccountDisabled || b.account.HoldUntil != nil && now.Before(*b.account.HoldUntil) {
			return nil
		}
		due, err := s.store.claim(ctx, tx, code, shard, b.account.Settings, now)
		if err != nil || len(due) == 0 {
			return err
		}
		b.more = len(due) == b.account.Settings.Batch
		standings, err := s.contact.Lock(ctx, tx, births(due), string(b.account.Channel), b.account.Settings.AppID)
		if err != nil {
			return fmt.Errorf("lock members: %w", err)
		}
		policy := Policy{Paused: settings.Paused, AccountPaused: b.account.Status == AccountPaused, Quiet: b.account.quiet(), Caps: settings.Caps}
		d, err := s.newDecider(ctx, tx, policy, b.account, due, standings, now)
		if err != nil {
			return err
		}
		for _, m := range due {
			d.decide(m)
		}
		return s.writeDecisions(ctx, tx, &b, d, now)
	})
	if err != nil {
		return batch{}, fmt.Errorf("hand over on %s: %w", code, err)
	}
	return b, nil
}

func (s *Service) writeDecisions(ctx context.Context, tx pgx.Tx, b *batch, d *decider, now time.Time) error {
	if err := s.store.settle(ctx, tx, d.stopped, now); err != nil {
		return err
	}
	if len(d.sending) == 0 {
		return nil
	}
	taken, err := s.store.markHandedOver(ctx, tx, d.sending, b.lease.Epoch, now)
	if err != nil {
		return err
	}
	// A message that was withdrawn between the claim and here is not ours.
	b.messages = slices.DeleteFunc(d.sending, func(o outbound) bool { return !taken[o.Ref()] })
	if err := s.store.takeGrants(ctx, tx, b.account.Code, b.messages, now); err != nil {
		return err
	}
	if len(b.messages) == 0 {
		return nil
	}
	return s.store.insertHandover(ctx, tx, *b, now)
}

// decider applies Decide to a batch, counting what the batch itself sends.
type decider struct {
	policy    Policy
	account   Account
	now       time.Time
	standings map[member.Birth]contact.Standing
	past      map[member.ID][]past
	blocked   map[member.Birth]bool
	grants    map[grantKey]int
	slots     map[string]string // template@version/locale → provider template that needs a grant

	sending []outbound
	stopped []change
}

type past struct {
	Past
	birth     member.Birth
	lane      Lane
	duplicate string
}

type grantKey struct {
	birth    member.Birth
	template string
}

// change is a new state for a message that stays with us.
type change struct {
	Ref
	State  State
	Reason Reason
	Due    *time.Time
}

func (s *Service) newDecider(ctx context.Context, tx pgx.Tx, p Policy, a Account, due []Message, standings map[member.Birth]contact.Standing, now time.Time) (*decider, error) {
	d := &decider{policy: p, account: a, now: now, standings: standings, past: map[member.ID][]past{}}
	roots := map[member.Birth]member.ID{}
	var all, addresses []member.Birth
	seen := map[member.ID]bool{}
	for _, m := range due {
		st, ok := standings[m.Birth]
		if !ok || seen[st.Root] {
			continue
		}
		seen[st.Root] = true
		for _, b := range st.Births {
			roots[b] = st.Root
			all = append(all, b)
		}
		if st.Identity != 0 {
			addresses = append(addresses, st.Identity)
		}
	}
	rows, err := s.store.history(ctx, tx, all, now.Add(-longest(p.Caps)))
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		root := roots[r.birth]
		d.past[root] = append(d.past[root], r)
	}
	if d.blocked, err = s.store.blocked(ctx, tx, a.Channel, addresses); err != nil {
		return nil, err
	}
	if a.Channel == ChannelMiniProgram {
		if d.grants, err = s.store.grants(ctx, tx, a.Code, addresses); err != nil {
			return nil, err
		}
		if d.slots, err = s.grantSlots(ctx, tx, due); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// duplicateKey names what a member should get once although two of their births ran into it: the message of a journey
// node. Messages outside of journeys are never duplicates of each other.
func duplicateKey(m Message) string {
	if m.Journey == "" {
		return ""
	}
	return m.Journey + "\x00" + m.Node + "\x00" + m.Template
}

func (d *decider) decide(m Message) {
	st := d.standings[m.Birth]
	f := Facts{
		Channel: m.Channel, Lane: m.Lane, Campaign: m.Campaign, Quiet: m.Quiet, ExpiresAt: m.ExpiresAt,
		Identity: st.Identity != 0, Granted: st.Granted, Blocked: d.blocked[st.Identity],
	}
	slot := ""
	if m.Channel == ChannelMiniProgram {
		slot = d.slots[slotKey(m)]
		f.NeedGrant, f.Grants = true, d.grants[grantKey{st.Identity, slot}]
	}
	key := duplicateKey(m)
	for _, p := range d.past[st.Root] {
		if p.lane == LaneMarketing {
			f.Past = append(f.Past, p.Past)
		}
		if key != "" && p.duplicate == key && p.birth != m.Birth && p.At.After(d.now.Add(-24*time.Hour)) {
			f.Duplicate = true
		}
	}
	switch decision := Decide(f, d.policy, d.now); decision.Action {
	case ActionSend:
		d.sending = append(d.sending, outbound{Message: m, root: st.Root, address: st.Identity, granted: st.Granted, grant: slot})
		d.past[st.Root] = append(d.past[st.Root], past{Past{d.now, m.Channel, m.Campaign}, m.Birth, m.Lane, key})
		if slot != "" {
			d.grants[grantKey{st.Identity, slot}]--
		}
	case ActionSuppress:
		d.stopped = append(d.stopped, change{m.Ref(), StateSuppressed, decision.Reason, nil})
	case ActionDefer:
		d.stopped = append(d.stopped, change{m.Ref(), StatePlanned, decision.Reason, &decision.Until})
	}
}

func slotKey(m Message) string {
	return fmt.Sprintf("%s@%d/%s", m.Template, m.TemplateVersion, m.Locale)
}

// grantSlots finds the provider's template of each mini-program message, which is what one-time grants are for.
func (s *Service) grantSlots(ctx context.Context, db pg.DB, due []Message) (map[string]string, error) {
	out := map[string]string{}
	for _, m := range due {
		key := slotKey(m)
		if _, ok := out[key]; ok {
			continue
		}
		program, err := s.templates.Program(ctx, db, m.Template, m.TemplateVersion)
		if err != nil {
			return nil, err
		}
		content, _ := program.Template.Body.Variant(localeOf(m))
		out[key] = content.ProviderTemplate
	}
	return out, nil
}
