package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// apply carries out a batch of stored callbacks in tx and returns a verdict for each.
func (s *Service) apply(ctx context.Context, tx pgx.Tx, items []stored) ([]verdict, error) {
	verdicts := make([]verdict, len(items))
	var (
		receipts  []Receipt
		inbound   []Inbound
		receiptAt []int
		inboundAt []int
	)
	for i, it := range items {
		payload, err := s.vault.open(ctx, "inbound", it.payload)
		if err != nil {
			return nil, fmt.Errorf("open callback %d: %w", it.id, err)
		}
		switch it.kind {
		case "receipt":
			var r Receipt
			if err := json.Unmarshal(payload, &r); err != nil {
				return nil, fmt.Errorf("read callback %d: %w", it.id, err)
			}
			receipts, receiptAt = append(receipts, r), append(receiptAt, i)
		default:
			var in Inbound
			if err := json.Unmarshal(payload, &in); err != nil {
				return nil, fmt.Errorf("read callback %d: %w", it.id, err)
			}
			inbound, inboundAt = append(inbound, in), append(inboundAt, i)
		}
	}
	unknown, err := s.applyReceipts(ctx, tx, receipts)
	if err != nil {
		return nil, err
	}
	for _, i := range unknown {
		verdicts[receiptAt[i]] = verdict{retry: true, why: "no such message yet"}
	}
	if err := s.applyInbound(ctx, tx, inbound); err != nil {
		return nil, err
	}
	return verdicts, nil
}

// kindState is the state that a receipt moves its message to, and the activity that goes with it.
func kindState(k ReceiptKind) (State, string) {
	switch k {
	case ReceiptDelivered:
		return StateDelivered, "message_delivered"
	case ReceiptRead:
		return StateRead, "message_opened"
	case ReceiptClicked:
		return StateClicked, "message_clicked"
	case ReceiptFailed, ReceiptBounced:
		return StateFailed, "message_failed"
	default:
		return "", ""
	}
}

const findByProviderSQL = `
SELECT t.ord::int, r.birth, r.id
FROM unnest(@accounts::text[], @provider_ids::text[]) WITH ORDINALITY AS t (account, provider_id, ord)
JOIN channels.provider_refs r USING (account, provider_id)`

const lockMessagesSQL = `
SELECT ` + messageColumns + `
FROM channels.messages
WHERE (birth, id) IN (SELECT * FROM unnest(@births::bigint[], @ids::bigint[]))
ORDER BY birth, id
FOR UPDATE`

const moveSQL = `
UPDATE channels.messages m
SET state = t.state, state_at = @now, reason = t.reason, code = CASE WHEN t.code = '' THEN m.code ELSE t.code END
FROM unnest(@births::bigint[], @ids::bigint[], @states::text[], @reasons::text[], @codes::text[]) AS t (birth, id, state, reason, code)
WHERE m.birth = t.birth AND m.id = t.id AND m.state <> 'planned'`

// applyReceipts moves messages forward and returns the positions of receipts whose message is not known (yet). Applying a
// receipt twice changes nothing: states only move forward, activities and statements have keys of their own.
func (s *Service) applyReceipts(ctx context.Context, tx pgx.Tx, receipts []Receipt) (unknown []int, err error) {
	if len(receipts) == 0 {
		return nil, nil
	}
	refs, err := s.resolve(ctx, tx, receipts)
	if err != nil {
		return nil, err
	}
	messages, err := s.lockMessages(ctx, tx, refs)
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	moved := map[Ref]struct {
		reason Reason
		code   string
	}{}
	var (
		acts    []activity.Activity
		refused []member.Consent
		dead    []Message
	)
	for i, r := range receipts {
		m, ok := messages[refs[i]]
		if !ok {
			unknown = append(unknown, i)
			continue
		}
		at := r.At
		if at.IsZero() || at.After(now) {
			at = now
		}
		state, key := kindState(r.Kind)
		switch {
		case state == "": // unsubscribed, complained
			// The address refuses, and so does the birth that the message was planned for.
			for i, b := range []member.Birth{m.Birth, m.Address} {
				if b != 0 && (i == 0 || b != m.Birth) {
					refused = append(refused, member.Consent{Birth: b, Channel: string(m.Channel), At: at, Source: source, Proof: string(r.Kind) + ":" + m.Ref().String()})
				}
			}
			continue
		case state == StateFailed:
			if r.Permanent {
				dead = append(dead, *m)
			}
			if !May(m.State, StateFailed) {
				continue
			}
		}
		if May(m.State, state) && m.State != StatePlanned {
			m.State = state
			moved[m.Ref()] = struct {
				reason Reason
				code   string
			}{r.Reason, r.Code}
		}
		acts = append(acts, messageActivity(key, *m, failReason(r, state), at))
	}
	if err := s.move(ctx, tx, messages, moved, now); err != nil {
		return nil, err
	}
	if err := s.blockDead(ctx, tx, dead, now); err != nil {
		return nil, err
	}
	if _, err := s.activity.Append(ctx, tx, acts); err != nil {
		return nil, fmt.Errorf("log receipts: %w", err)
	}
	if len(refused) > 0 {
		if err := s.profile.RecordConsent(ctx, tx, refused, member.ModeLive, now); err != nil {
			return nil, fmt.Errorf("record refusals: %w", err)
		}
	}
	return unknown, nil
}

func failReason(r Receipt, state State) Reason {
	if state == StateFailed {
		return r.Reason
	}
	return ""
}

// resolve finds which message each receipt is about: by our own reference, else by the provider's id.
func (s *Service) resolve(ctx context.Context, tx pgx.Tx, receipts []Receipt) ([]Ref, error) {
	refs := make([]Ref, len(receipts))
	accounts, ids := make([]string, len(receipts)), make([]string, len(receipts))
	ask := false
	for i, r := range receipts {
		if ref, ok := ParseRef(r.SendKey); ok {
			refs[i] = ref
			continue
		}
		accounts[i], ids[i] = r.Account, r.ProviderID
		ask = ask || r.ProviderID != ""
	}
	if !ask {
		return refs, nil
	}
	rows, err := tx.Query(ctx, findByProviderSQL, pg.Args{"accounts": accounts, "provider_ids": ids})
	if err != nil {
		return nil, fmt.Errorf("find messages of receipts: %w", err)
	}
	var (
		ord int
		ref Ref
	)
	_, err = pgx.ForEachRow(rows, []any{&ord, &ref.Birth, &ref.ID}, func() error {
		if accounts[ord-1] != "" && ids[ord-1] != "" {
			refs[ord-1] = ref
		}
		return nil
	})
	return refs, err
}

func (s *Service) lockMessages(ctx context.Context, tx pgx.Tx, refs []Ref) (map[Ref]*Message, error) {
	births, ids := make([]int64, len(refs)), make([]int64, len(refs))
	for i, r := range refs {
		births[i], ids[i] = int64(r.Birth), r.ID
	}
	rows, err := tx.Query(ctx, lockMessagesSQL, pg.Args{"births": births, "ids": ids})
	if err != nil {
		return nil, fmt.Errorf("lock messages: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("lock messages: %w", err)
	}
	out := make(map[Ref]*Message, len(list))
	for i := range list {
		out[list[i].Ref()] = &list[i]
	}
	return out, nil
}

func (s *Service) move(ctx context.Context, tx pgx.Tx, messages map[Ref]*Message, moved map[Ref]struct {
	reason Reason
	code   string
}, now time.Time) error {
	if len(moved) == 0 {
		return nil
	}
	var (
		births, ids            []int64
		states, reasons, codes []string
	)
	for ref, why := range moved {
		births, ids = append(births, int64(ref.Birth)), append(ids, ref.ID)
		states, reasons, codes = append(states, string(messages[ref].State)), append(reasons, string(why.reason)), append(codes, why.code)
	}
	if _, err := tx.Exec(ctx, moveSQL, pg.Args{"births": births, "ids": ids, "states": states, "reasons": reasons, "codes": codes, "now": now}); err != nil {
		return fmt.Errorf("move messages: %w", err)
	}
	return nil
}

// blockDead stops using the addresses of messages that came back for good.
func (s *Service) blockDead(ctx context.Context, tx pgx.Tx, dead []Message, now time.Time) error {
	for _, m := range dead {
		if m.Address == 0 {
			continue
		}
		if err := s.store.block(ctx, tx, m.Channel, []int64{int64(m.Address)}, []string{string(ReasonNoAddress)}, now); err != nil {
			return err
		}
	}
	return nil
}

const unblockSQL = `
DELETE FROM channels.blocks
WHERE birth = ANY(@births) AND channel = @channel`

// applyInbound records what persons did: who they are and what they consented to through member, and the activities.
func (s *Service) applyInbound(ctx context.Context, tx pgx.Tx, items []Inbound) error {
	if len(items) == 0 {
		return nil
	}
	accounts, err := s.store.accounts(ctx, tx)
	if err != nil {
		return err
	}
	byCode := map[string]Account{}
	for _, a := range accounts {
		byCode[a.Code] = a
	}
	persons := make([]capture.Person, len(items))
	for i, in := range items {
		channel := byCode[in.Account].Channel
		p := capture.Person{
			Keys: []identity.Key{identity.Key(in.From)}, Kind: identity.KindLogin, Source: source + ":" + in.Account, At: in.At,
			EventKey: in.DedupeKey, Touchpoint: touchpoint(channel),
		}
		for _, k := range in.Also {
			p.Keys = append(p.Keys, identity.Key(k))
		}
		switch in.Kind {
		case InboundFollow, InboundSubscribeGrant, InboundUnfollow, InboundOptOut:
			granted := in.Kind == InboundFollow || in.Kind == InboundSubscribeGrant
			if channel != "" {
				p.Consents = []capture.Consent{{Channel: string(channel), Granted: granted, At: in.At, Proof: string(in.Kind) + ":" + in.Account}}
			}
		}
		persons[i] = p
	}
	found, err := s.door.Observe(ctx, tx, persons)
	if err != nil {
		return fmt.Errorf("observe senders: %w", err)
	}
	var acts []activity.Activity
	now := s.clock.Now()
	for i, in := range items {
		if found[i].Err != nil {
			s.log.WarnContext(ctx, "sender of a callback has no usable identifier", "account", in.Account, "kind", in.Kind)
			continue
		}
		a, who := byCode[in.Account], found[i].Birth
		switch in.Kind {
		case InboundFollow, InboundUnfollow:
			key := "account_followed"
			if in.Kind == InboundUnfollow {
				key = "account_unfollowed"
			}
			acts = append(acts, activity.Activity{
				Birth: who, Key: key, OccurredAt: in.At, Touchpoint: touchpoint(a.Channel), Mode: member.ModeLive,
				Source: source + ":" + in.Account, DedupeKey: in.DedupeKey, Props: map[string]any{"account": in.Account, "channel": string(a.Channel)},
			})
		case InboundSubscribeGrant:
			if err := s.store.moveGrants(ctx, tx, in.Account, map[grantKey]int{{who, in.Value}: 1}, 1, false, now); err != nil {
				return err
			}
		}
		if in.Kind != InboundUnfollow && in.Kind != InboundOptOut && a.Channel != "" {
			if _, err := tx.Exec(ctx, unblockSQL, pg.Args{"births": []int64{int64(who)}, "channel": string(a.Channel)}); err != nil {
				return fmt.Errorf("unblock address: %w", err)
			}
		}
	}
	if _, err := s.activity.Append(ctx, tx, acts); err != nil {
		return fmt.Errorf("log inbound events: %w", err)
	}
	return nil
}
