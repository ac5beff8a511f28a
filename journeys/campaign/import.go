package campaign

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

// KeyTargeted is the activity of a member whom a campaign targeted.
const KeyTargeted = "campaign_targeted"

// Source is the source of these activities.
const Source = "journeys.campaign"

// Import is the import kind "campaigns".
type Import struct {
	graph *identity.Service
	log   *activity.Log
}

// NewImport returns the kind.
func NewImport(graph *identity.Service, log *activity.Log) *Import { return &Import{graph, log} }

// Name is the kind's name.
func (*Import) Name() string { return "campaigns" }

// Columns are those of the import contract.
func (*Import) Columns() []importer.Column {
	return []importer.Column{
		{Name: "campaign", Required: true}, {Name: "source", Required: true}, {Name: "source_id", Required: true}, {Name: "start_at", Required: true},
		{Name: "end_at"}, {Name: "kind"},
	}
}

// target is one person in one campaign.
type target struct {
	Campaign, Source, SourceID, Kind string
	StartAt                          time.Time
	EndAt                            *time.Time
}

func (t target) who() identity.Key {
	return identity.Key{NS: identity.NSSource, Scope: t.Source, Value: t.SourceID}
}

// Parse reads one target.
func (*Import) Parse(f *importer.Fields) (string, any) {
	t := target{
		Campaign: f.Need("campaign"), Source: f.Need("source"), SourceID: f.Need("source_id"), Kind: f.Text("kind"), StartAt: f.Time("start_at"),
	}
	f.Need("start_at")
	if end := f.Time("end_at"); !end.IsZero() {
		t.EndAt = &end
		if end.Before(t.StartAt) {
			f.Reject("end_at", "order", fault.Text{ZH: "早于开始时间", EN: "is before start_at"}, fault.Text{ZH: "请更正起止时间", EN: "correct the two times"})
		}
	}
	if t.Source != "" && t.SourceID != "" {
		if _, err := t.who().Normalise(); err != nil {
			f.Reject("source_id", "value", fault.Text{ZH: "不是可用的标识", EN: "is not usable as an identifier"},
				fault.Text{ZH: "请填写来源系统中的会员号", EN: "write the person's id in the source system"})
		}
	}
	return t.Campaign + "\x00" + t.Source + "\x00" + t.SourceID, t
}

// A campaign lasts from the first start to the last end of its targets, in whatever order they come.
const upsertCampaigns = `
INSERT INTO journeys.campaigns (code, kind, start_at, end_at, updated_at)
SELECT code, max(kind), min(start_at), max(end_at), @now
FROM unnest(@codes::text[], @kinds::text[], @starts::timestamptz[], @ends::timestamptz[]) AS t (code, kind, start_at, end_at)
GROUP BY code
ORDER BY code
ON CONFLICT (code) DO UPDATE
SET kind = greatest(campaigns.kind, excluded.kind), start_at = least(campaigns.start_at, excluded.start_at),
    end_at = greatest(campaigns.end_at, excluded.end_at), updated_at = excluded.updated_at`

// Load stores the campaigns and logs whom they targeted.
func (k *Import) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	results := make([]importer.Result, len(b.Records))
	mode := member.ModeBackfill
	if b.Live {
		mode = member.ModeLive
	}
	births := map[identity.Key]member.Birth{}
	var obs []identity.Observation
	for _, r := range b.Records {
		t := r.Value.(target)
		if _, seen := births[t.who()]; seen {
			continue
		}
		births[t.who()] = 0
		obs = append(obs, identity.Observation{
			Keys: []identity.Key{t.who()}, Kind: identity.KindTrack, Source: t.Source, At: t.StartAt, EventKey: "campaign/" + t.Campaign, Mode: mode,
		})
	}
	resolved, err := k.graph.Observe(ctx, tx, obs)
	if err != nil {
		return nil, fmt.Errorf("resolve targets: %w", err)
	}
	for i, r := range resolved {
		births[obs[i].Keys[0]] = r.Birth
	}
	var codes, kinds []string
	var starts []time.Time
	var ends []*time.Time
	var items []activity.Activity
	for i, r := range b.Records {
		t := r.Value.(target)
		if births[t.who()] == 0 {
			results[i].Reject = &fault.Field{
				Path: "source_id", Code: "erased", Text: fault.Text{ZH: "该会员资料已被删除", EN: "this person has been erased"},
				Hint: fault.Text{ZH: "请从文件中移除该行", EN: "remove the row"},
			}
			continue
		}
		codes, kinds, starts, ends = append(codes, t.Campaign), append(kinds, t.Kind), append(starts, t.StartAt), append(ends, t.EndAt)
		props := map[string]any{"campaign": t.Campaign, "kind": t.Kind, "start_at": t.StartAt}
		if t.EndAt != nil {
			props["end_at"] = *t.EndAt
		}
		items = append(items, activity.Activity{
			Birth: births[t.who()], Key: KeyTargeted, OccurredAt: t.StartAt, Mode: mode, Source: Source,
			DedupeKey: t.Campaign + "/" + t.Source + "/" + t.SourceID, Props: props,
		})
	}
	_, err = tx.Exec(ctx, upsertCampaigns, pg.Args{"codes": codes, "kinds": kinds, "starts": starts, "ends": ends, "now": b.Now})
	if err != nil {
		return nil, fmt.Errorf("put campaigns: %w", err)
	}
	if _, err := k.log.Append(ctx, tx, items); err != nil {
		return nil, err
	}
	return results, nil
}
