package points

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// TierConsumer is the name under which tiers follow the activity feed.
const TierConsumer = "tiers"

// tierBatch is how many members are evaluated in one transaction.
const tierBatch = 500

// FollowTiers evaluates members whose points, purchases or identity changed, until ctx ends.
func (s *Service) FollowTiers(ctx context.Context) error {
	return s.log.Follow(ctx, TierConsumer, s.HandleTiers)
}

// HandleTiers evaluates the members of a batch of the feed. Changes are told as backfill when nothing live was among what
// caused them.
func (s *Service) HandleTiers(ctx context.Context, tx pgx.Tx, batch []activity.Row) error {
	modes := map[member.ID]member.Mode{}
	for _, r := range batch {
		switch r.Key {
		case activity.KeyPointsEarned, activity.KeyOrderPaid, activity.KeyIdentity:
			if modes[r.Root] != member.ModeLive {
				modes[r.Root] = r.Mode
			}
		}
	}
	if len(modes) == 0 {
		return nil
	}
	programmes, err := s.Programmes(ctx, tx)
	if err != nil {
		return fmt.Errorf("evaluate tiers: %w", err)
	}
	if !tiered(programmes) {
		return nil
	}
	return s.evaluateTiers(ctx, tx, programmes, modes)
}

func tiered(programmes []Programme) bool {
	return slices.ContainsFunc(programmes, func(p Programme) bool { return len(p.Tiers) > 0 })
}

// EvaluateTiers evaluates every member: growth leaves its window by itself, and rules change. It returns how many it looked
// at.
func (s *Service) EvaluateTiers(ctx context.Context) (int, error) {
	return s.tierRounds(ctx, everybody)
}

// ExpireTiers evaluates the members with a period that is over.
func (s *Service) ExpireTiers(ctx context.Context) (int, error) {
	return s.tierRounds(ctx, periodsOver)
}

// tierRounds evaluates the members that page lists, batch by batch.
func (s *Service) tierRounds(ctx context.Context, page func(ctx context.Context, db pg.DB, after member.ID, now time.Time) ([]member.ID, error)) (n int, err error) {
	programmes, err := s.Programmes(ctx, s.db)
	if err != nil {
		return 0, fmt.Errorf("evaluate tiers: %w", err)
	}
	if !tiered(programmes) {
		return 0, nil
	}
	for after := member.ID(0); ; {
		roots, err := page(ctx, s.db, after, s.clock.Now())
		if err != nil {
			return n, fmt.Errorf("evaluate tiers: %w", err)
		}
		if len(roots) == 0 {
			return n, nil
		}
		modes := make(map[member.ID]member.Mode, len(roots))
		for _, r := range roots {
			modes[r] = member.ModeLive
		}
		if err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error { return s.evaluateTiers(ctx, tx, programmes, modes) }); err != nil {
			return n, err
		}
		n += len(roots)
		after = roots[len(roots)-1]
	}
}

// evaluateTiers brings the tiers of members up to date and tells what changed. It locks the members.
func (s *Service) evaluateTiers(ctx context.Context, tx pgx.Tx, programmes []Programme, modes map[member.ID]member.Mode) error {
	roots := make([]member.ID, 0, len(modes))
	for r := range modes {
		roots = append(roots, r)
	}
	slices.Sort(roots)
	for part := range slices.Chunk(roots, tierBatch) {
		people, err := lockPeople(ctx, tx, part)
		if err != nil {
			return err
		}
		for _, p := range programmes {
			if err := s.evaluateProgramme(ctx, tx, p, people, modes); err != nil {
				return fmt.Errorf("evaluate tiers of %s: %w", p.Code, err)
			}
		}
	}
	return nil
}

func (s *Service) evaluateProgramme(ctx context.Context, tx pgx.Tx, p Programme, people []member.ID, modes map[member.ID]member.Mode) error {
	now := s.clock.Now()
	earned, err := earnedTiers(ctx, tx, p, people, now)
	if err != nil {
		return err
	}
	held, err := heldTiers(ctx, tx, p.Code, people)
	if err != nil {
		return err
	}
	var keep []Standing
	var drop []member.Birth
	var told []activity.Activity
	for _, root := range people {
		rank, takesPart := earned[root]
		if !takesPart && len(held[root]) == 0 {
			continue
		}
		// What was decided last; a member that came together since had the best of what its births bring.
		before := ""
		if i := slices.IndexFunc(held[root], func(h Standing) bool { return h.Birth == member.Birth(root) }); i >= 0 {
			before = held[root][i].Tier
		} else if b := p.best(held[root]); b != nil {
			before = b.Tier
		}
		after := ""
		if next := p.next(held[root], rank, now); next != nil {
			after = next.Tier
			keep = append(keep, Standing{Birth: member.Birth(root), Programme: p.Code, Tier: next.Tier, Since: next.Since, Until: next.Until})
		}
		for _, h := range held[root] {
			if !h.Until.After(now) && (after == "" || h.Birth != member.Birth(root)) {
				drop = append(drop, h.Birth)
			}
		}
		if before != after {
			told = append(told, activity.Activity{
				Birth: member.Birth(root), Key: activity.KeyTierChanged, OccurredAt: now, Mode: modes[root], Source: "tiers",
				DedupeKey: p.Code + "/" + root.String() + "/" + strconv.FormatInt(now.UnixMicro(), 10) + "/" + before + ">" + after,
				Props:     map[string]any{"programme": p.Code, "from": before, "to": after},
			})
		}
	}
	if err := writeTiers(ctx, tx, p.Code, keep, drop); err != nil {
		return err
	}
	if _, err := s.log.Append(ctx, tx, told); err != nil {
		return fmt.Errorf("log tiers: %w", err)
	}
	return nil
}
