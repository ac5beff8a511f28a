package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/lease"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// sealedFor is how long the member's fields of a sent message are kept.
const sealedFor = 90 * 24 * time.Hour

// record writes the results of a batch. It is fenced: if the lease was lost, nothing is written, and the successor has
// listed the messages as unknown. A failing database is retried for as long as ctx allows, because what was sent cannot be
// learnt again.
func (s *Service) record(ctx context.Context, b batch, outcomes []outcome) error {
	for attempt := 0; ; attempt++ {
		err := s.recordOnce(ctx, b, outcomes)
		if err == nil || errors.Is(err, lease.ErrLost) || ctx.Err() != nil {
			return err
		}
		s.log.ErrorContext(ctx, "results could not be recorded, trying again", "account", b.account.Code, "messages", len(outcomes), "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(time.Second<<min(attempt, 5), 15*time.Second)):
		}
	}
}

func (s *Service) recordOnce(ctx context.Context, b batch, outcomes []outcome) error {
	now := s.clock.Now()
	results := s.settle(b.account, outcomes, now)
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := b.lease.Check(ctx, tx); err != nil {
			return err
		}
		if err := s.store.recordResults(ctx, tx, results, b.lease.Epoch, now); err != nil {
			return err
		}
		if b.account.Channel != ChannelEmail {
			if err := s.store.insertProviderRefs(ctx, tx, b.account.Code, results, now); err != nil {
				return err
			}
		}
		if err := s.store.insertUnknowns(ctx, tx, b.account.Code, results, now); err != nil {
			return err
		}
		if err := s.store.settleGrants(ctx, tx, b.account.Code, results, now); err != nil {
			return err
		}
		if err := s.store.insertBlocks(ctx, tx, b.account.Channel, results, now); err != nil {
			return err
		}
		if _, err := s.activity.Append(ctx, tx, resultActivities(results, now)); err != nil {
			return fmt.Errorf("log results: %w", err)
		}
		if reason, wait := hold(outcomes); wait > 0 {
			if err := s.store.holdAccount(ctx, tx, b.account.Code, reason, now.Add(wait)); err != nil {
				return err
			}
		} else if b.account.Health != "" {
			if err := s.store.holdAccount(ctx, tx, b.account.Code, "", now); err != nil {
				return err
			}
		}
		return s.store.deleteHandover(ctx, tx, b.id)
	})
}

// source is how this package signs activities.
const source = "channels"

func resultActivities(results []settled, now time.Time) []activity.Activity {
	out := make([]activity.Activity, 0, len(results))
	for _, r := range results {
		switch r.state {
		case StateAccepted:
			out = append(out, messageActivity("message_sent", r.Message, "", now))
		case StateFailed:
			if r.reason.ours() {
				continue // nobody was asked; the ledger says why
			}
			out = append(out, messageActivity("message_failed", r.Message, r.reason, now))
		}
	}
	return out
}

// messageActivity is what happened to a message, once per message and kind.
func messageActivity(key string, m Message, reason Reason, at time.Time) activity.Activity {
	props := map[string]any{"channel": string(m.Channel), "template": m.Template}
	if m.Journey != "" {
		props["journey"], props["node"] = m.Journey, m.Node
	}
	if reason != "" {
		props["reason"] = string(reason)
	}
	dedupe := key + ":" + m.Ref().String()
	if key == "message_failed" {
		dedupe = fmt.Sprintf("%s:%d", dedupe, m.Attempts) // a message that was sent again may fail again
	}
	return activity.Activity{
		Birth: m.Birth, Key: key, OccurredAt: at, Touchpoint: touchpoint(m.Channel), Mode: member.ModeLive,
		Source: source, DedupeKey: dedupe, Props: props,
	}
}

func touchpoint(c Channel) member.Touchpoint {
	switch c {
	case ChannelWeChat:
		return member.TouchpointWeChat
	case ChannelMiniProgram:
		return member.TouchpointMiniProgram
	case ChannelPush:
		return member.TouchpointApp
	default:
		return ""
	}
}
