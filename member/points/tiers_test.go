package points_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/points"
)

// club is a house whose programme "main" has tiers: silver from 100 and gold from 500 points in 90 days, kept for 30 days.
type club struct {
	house
	t   *testing.T
	log *activity.Log
}

func openClub(t *testing.T, by points.GrowthBy) club {
	h := open(t, pgtest.DB(t), 6)
	c := club{h, t, activity.NewLog(h.db, h.clock, slog.New(slog.DiscardHandler))}
	require.NoError(t, h.tx(t.Context(), func(tx pgx.Tx) error {
		p, err := h.points.Programme(t.Context(), tx, "main")
		if err != nil {
			return err
		}
		p.Tiers = []points.Tier{
			{Code: "silver", Name: "银卡", By: by, Growth: 100, WindowDays: 90, ValidDays: 30},
			{Code: "gold", Name: "金卡", By: by, Growth: 500, WindowDays: 90, ValidDays: 30},
		}
		_, err = h.points.UpdateProgramme(t.Context(), tx, p)
		return err
	}))
	return c
}

func (c club) follow() {
	_, err := c.log.Drain(c.t.Context(), points.TierConsumer, c.points.HandleTiers)
	require.NoError(c.t, err)
}

func (c club) earn(birth member.Birth, n int64, mode member.Mode) id.UUID {
	key := id.New()
	require.NoError(c.t, c.tx(c.t.Context(), func(tx pgx.Tx) error {
		_, err := c.points.Grant(c.t.Context(), tx, []points.Grant{{Key: key, Birth: birth, Programme: "main", Points: n, At: c.clock.Now(), Mode: mode}})
		return err
	}))
	c.follow()
	return key
}

func (c club) happen(a activity.Activity) {
	a.Source, a.DedupeKey, a.OccurredAt = "test", id.New().String(), c.clock.Now()
	require.NoError(c.t, c.tx(c.t.Context(), func(tx pgx.Tx) error {
		_, err := c.log.Append(c.t.Context(), tx, []activity.Activity{a})
		return err
	}))
	c.follow()
}

// join makes the groups the members and tells the feed, as identity does.
func (c club) join(groups ...[]member.Birth) {
	c.regroup(c.t, groups)
	require.NoError(c.t, c.tx(c.t.Context(), func(tx pgx.Tx) error {
		var roots []member.Birth
		for _, g := range groups {
			roots = append(roots, g[0])
		}
		return c.log.Touch(c.t.Context(), tx, roots, activity.KeyIdentity, member.ModeLive, c.clock.Now())
	}))
	c.follow()
}

func (c club) tier(root member.ID) string {
	all, err := c.points.Tiers(c.t.Context(), c.db, root)
	require.NoError(c.t, err)
	if len(all) == 0 {
		return ""
	}
	return all[0].Tier
}

// told are the tier changes of a birth as "mode:from>to".
func (c club) told(birth member.Birth) (out []string) {
	rows, err := c.db.Query(c.t.Context(), `SELECT mode, props FROM member.activities WHERE key = 'tier_changed' AND birth = $1 ORDER BY occurred_at, id`, birth)
	require.NoError(c.t, err)
	var mode string
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&mode, &raw}, func() error {
		var p struct{ Programme, From, To string }
		require.NoError(c.t, json.Unmarshal(raw, &p))
		require.Equal(c.t, "main", p.Programme)
		out = append(out, mode+":"+p.From+">"+p.To)
		return nil
	})
	require.NoError(c.t, err)
	return out
}

func (c club) expire() {
	_, err := c.points.ExpireTiers(context.Background())
	require.NoError(c.t, err)
}

func TestTiersRiseAtOnceAndFallWhenThePeriodEnds(t *testing.T) {
	t.Parallel()
	c := openClub(t, "")
	day := 24 * time.Hour
	c.earn(1, 99, member.ModeLive)
	require.Empty(t, c.tier(1))
	c.earn(1, 1, member.ModeLive)
	require.Equal(t, "silver", c.tier(1))
	big := c.earn(1, 400, member.ModeLive)
	require.Equal(t, "gold", c.tier(1))
	all, err := c.points.Tiers(t.Context(), c.db, 1)
	require.NoError(t, err)
	d := clock.DayOf(start)
	require.Equal(t, time.Date(d.Year, d.Month, d.Day+31, 0, 0, 0, 0, clock.Shanghai).UTC(), all[0].Until.UTC(), "30 whole days, to a midnight in Shanghai")

	// What took the member up is taken back: it stays until the period ends, whoever evaluates.
	require.NoError(t, c.revoke(big, 400, c.clock.Now()))
	c.earn(1, 1, member.ModeLive)
	_, err = c.points.EvaluateTiers(t.Context())
	require.NoError(t, err)
	require.Equal(t, "gold", c.tier(1))
	c.clock.Advance(30 * day)
	c.expire()
	require.Equal(t, "gold", c.tier(1))
	c.clock.Advance(day)
	c.expire()
	require.Equal(t, "silver", c.tier(1), "101 points are still in the window")
	c.expire()
	require.Equal(t, []string{"live:>silver", "live:silver>gold", "live:gold>silver"}, c.told(1))

	// Reached again at the end of the period: another period of the same stay, and nothing to tell.
	since := c.standing(1).Since
	c.clock.Advance(31 * day)
	c.expire()
	require.Equal(t, "silver", c.tier(1))
	require.Equal(t, since, c.standing(1).Since)
	require.True(t, c.standing(1).Until.After(c.clock.Now()))

	// Growth leaves its window, and the period after that the tier is gone.
	c.clock.Advance(61 * day)
	c.expire()
	require.Empty(t, c.tier(1))
	require.Equal(t, "live:silver>", c.told(1)[3])
	n, err := c.points.ExpireTiers(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "nothing is left to look at")
}

func (c club) standing(root member.ID) points.Standing {
	all, err := c.points.Tiers(c.t.Context(), c.db, root)
	require.NoError(c.t, err)
	require.Len(c.t, all, 1)
	return all[0]
}

func TestTiersUnderMergeAndSplit(t *testing.T) {
	t.Parallel()
	c := openClub(t, "")
	c.earn(1, 100, member.ModeLive)
	c.earn(2, 500, member.ModeLive)
	c.earn(3, 60, member.ModeLive)
	c.earn(4, 60, member.ModeLive)
	c.join([]member.Birth{1, 2}, []member.Birth{3, 4})
	require.Equal(t, "gold", c.tier(1), "the better of the two")
	require.Equal(t, []string{"live:>silver", "live:silver>gold"}, c.told(1))
	require.Equal(t, "silver", c.tier(3), "growth adds up over the births")

	c.join([]member.Birth{2}, []member.Birth{4}, []member.Birth{1}, []member.Birth{3})
	require.Equal(t, "gold", c.tier(2), "what split off takes its own along")
	require.Equal(t, "gold", c.tier(1), "and nobody falls before the period ends")
	require.Empty(t, c.tier(4))
	c.clock.Advance(31 * 24 * time.Hour)
	c.expire()
	require.Equal(t, "silver", c.tier(1))
	require.Equal(t, "gold", c.tier(2))
	require.Empty(t, c.tier(3))
}

func TestTiersOfBackfill(t *testing.T) {
	t.Parallel()
	c := openClub(t, "")
	c.earn(1, 100, member.ModeBackfill)
	require.Equal(t, []string{"backfill:>silver"}, c.told(1))
	c.earn(1, 400, member.ModeLive)
	require.Equal(t, []string{"backfill:>silver", "live:silver>gold"}, c.told(1))
}

func TestTiersByWhatWasPaid(t *testing.T) {
	t.Parallel()
	c := openClub(t, points.ByPaid)
	c.earn(1, 100_000, member.ModeLive)
	require.Empty(t, c.tier(1), "points do not count here")
	c.happen(activity.Activity{Birth: 1, Key: activity.KeyOrderPaid, Mode: member.ModeLive, Props: map[string]any{"order_no": "a", "amount_fen": 600}})
	require.Equal(t, "gold", c.tier(1))
	c.happen(activity.Activity{Birth: 1, Key: activity.KeyOrderReturned, Mode: member.ModeLive, Props: map[string]any{"order_no": "b", "amount_fen": -450}})
	c.happen(activity.Activity{Birth: 2, Key: activity.KeyOrderPaid, Mode: member.ModeLive, Props: map[string]any{"amount_fen": "a lot"}})
	require.Empty(t, c.tier(2))
	c.clock.Advance(31 * 24 * time.Hour)
	n, err := c.points.EvaluateTiers(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, n)
	require.Equal(t, "silver", c.tier(1))
}
