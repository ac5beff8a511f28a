package coupon

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

// ImportKind is the import kind "coupons": coupons that other systems issued.
type ImportKind struct {
	coupons *Service
	graph   *identity.Service
}

// NewImportKind returns the kind.
func NewImportKind(coupons *Service, graph *identity.Service) *ImportKind {
	return &ImportKind{coupons, graph}
}

// Name is the kind's name.
func (*ImportKind) Name() string { return "coupons" }

// Columns are those of the import contract.
func (*ImportKind) Columns() []importer.Column {
	return []importer.Column{
		{Name: "code", Required: true}, {Name: "template", Required: true}, {Name: "source"}, {Name: "source_id"}, {Name: "issued_at", Required: true},
		{Name: "expires_at"}, {Name: "used_order_no"}, {Name: "used_at"},
	}
}

// issued is a row: the coupon and whom its source knows as its owner.
type issued struct {
	Import
	SourceID string
}

func (i issued) who() identity.Key {
	return identity.Key{NS: identity.NSSource, Scope: i.Source, Value: i.SourceID}
}

// never is when a coupon without expiry expires.
var never = time.Date(2099, 12, 31, 16, 0, 0, 0, time.UTC)

// Parse reads one coupon. Without source_id it is good for whoever presents it; without expires_at it does not expire.
func (*ImportKind) Parse(f *importer.Fields) (string, any) {
	c := issued{SourceID: f.Text("source_id"), Import: Import{
		Code: f.Need("code"), Template: f.Need("template"), Source: f.Text("source"), IssuedAt: f.Time("issued_at"), ExpiresAt: f.Time("expires_at"),
		UsedOrderNo: f.Text("used_order_no"),
	}}
	f.Need("issued_at")
	if at := f.Time("used_at"); !at.IsZero() {
		c.UsedAt = &at
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = never
	}
	if c.SourceID != "" {
		if _, err := c.who().Normalise(); err != nil {
			f.Reject("source_id", "value", fault.Text{ZH: "不是可用的标识,或缺少 source", EN: "is not usable as an identifier, or source is missing"},
				fault.Text{ZH: "请填写来源系统及其会员号;不记名券请留空", EN: "name the source system and the person's id in it; leave it empty for a bearer coupon"})
		}
	}
	if len(f.Problems()) == 0 {
		if wrong := c.validate(); wrong != nil {
			f.Reject(wrong.Path, wrong.Code, wrong.Text, fault.Text{ZH: "请更正该列", EN: "correct this column"})
		}
	}
	if c.Source == "" {
		c.Source = "import"
	}
	return c.Code, c
}

// Load stores the coupons with their past. An unknown template becomes a stub with a warning.
func (k *ImportKind) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	results := make([]importer.Result, len(b.Records))
	mode := member.ModeBackfill
	if b.Live {
		mode = member.ModeLive
	}
	births := map[identity.Key]member.Birth{}
	var obs []identity.Observation
	for _, r := range b.Records {
		c := r.Value.(issued)
		if _, seen := births[c.who()]; seen || c.SourceID == "" {
			continue
		}
		births[c.who()] = 0
		obs = append(obs, identity.Observation{
			Keys: []identity.Key{c.who()}, Kind: identity.KindTrack, Source: c.Source, At: c.IssuedAt, EventKey: "coupon/" + c.Code, Mode: mode,
		})
	}
	resolved, err := k.graph.Observe(ctx, tx, obs)
	if err != nil {
		return nil, fmt.Errorf("resolve owners of coupons: %w", err)
	}
	for i, r := range resolved {
		births[obs[i].Keys[0]] = r.Birth
	}
	var in []Import
	var of []int
	for i, r := range b.Records {
		c := r.Value.(issued)
		if c.SourceID != "" {
			if c.Birth = births[c.who()]; c.Birth == 0 {
				results[i].Reject = &fault.Field{
					Path: "source_id", Code: "erased", Text: fault.Text{ZH: "该会员资料已被删除", EN: "this person has been erased"},
					Hint: fault.Text{ZH: "请从文件中移除该行", EN: "remove the row"},
				}
				continue
			}
		}
		in, of = append(in, c.Import), append(of, i)
	}
	stored, err := k.coupons.ImportCodes(ctx, tx, in, mode)
	if err != nil {
		return nil, err
	}
	stubs := map[string]bool{}
	for n, r := range stored {
		i := of[n]
		results[i].Reject = r.Reject
		if t := in[n].Template; r.NewTemplate && !stubs[t] {
			stubs[t] = true
			results[i].Warnings = append(results[i].Warnings, importer.Warning{Code: "template.stub", Subject: t})
		}
	}
	return results, nil
}
