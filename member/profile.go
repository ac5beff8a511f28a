package member

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// Attribute is a statement about a birth. Among the statements of a member the newest wins; a nil Value withdraws.
type Attribute struct {
	Birth  Birth
	Name   string
	Value  any
	Source string
	At     time.Time
}

// Tag is a tag put on a birth or, in Changes.RemoveTags, taken off it.
type Tag struct {
	Birth  Birth
	Tag    string
	Source string
	At     time.Time
}

// Consent is a statement about a channel. Statements are kept; absence is refusal.
type Consent struct {
	Birth   Birth
	Channel string
	Granted bool
	Source  string
	Proof   string
	At      time.Time
}

// Changes are what a use case knows about members, under their births.
type Changes struct {
	Attributes []Attribute
	AddTags    []Tag
	RemoveTags []Tag
	Consents   []Consent
	// Registered is the earliest known registration of a birth.
	Registered map[Birth]time.Time
}

// The channels of consent, reach and rules.
var Channels = []string{"wechat", "miniprogram", "sms", "email", "push", "wecom"}

// Faults of the profile.
var (
	ErrAttribute = fault.New(fault.Invalid, "member.attribute", "属性 {name} 不可用: {why}", "attribute {name} is unusable: {why}").
			WithHint("属性名为 1–64 个字符;姓名、手机、邮箱等个人信息请作为加密资料提交", "a name has 1 to 64 characters; names, phones and addresses go through encrypted data")
	ErrTag     = fault.New(fault.Invalid, "member.tag", "标签 {tag} 不可用", "tag {tag} is unusable").WithHint("标签为 1–64 个字符,不含 |", "a tag has 1 to 64 characters without |")
	ErrChannel = fault.New(fault.Invalid, "member.channel", "未知的渠道 {channel}", "unknown channel {channel}").
			WithHint("可用渠道: wechat miniprogram sms email push wecom", "use wechat, miniprogram, sms, email, push or wecom")
)

// Feed announces changes; activity.Log is it.
type Feed interface {
	Touch(ctx context.Context, tx pgx.Tx, births []Birth, key string, mode Mode, at time.Time) error
}

// ProfileKey is the feed key of a changed profile, tag or consent.
const ProfileKey = "$profile"

// Profile changes what is known about members.
type Profile struct {
	feed    Feed
	refresh func(ctx context.Context, tx pgx.Tx, ids []ID) error
}

// NewProfile returns the use cases. refresh derives members and reach again (identity.Service.Refresh).
func NewProfile(feed Feed, refresh func(ctx context.Context, tx pgx.Tx, ids []ID) error) *Profile {
	return &Profile{feed, refresh}
}

// Apply writes the changes, derives the members again and announces `$profile`, in tx.
func (p *Profile) Apply(ctx context.Context, tx pgx.Tx, c Changes, mode Mode, at time.Time) error {
	births := c.Births()
	if len(births) == 0 {
		return nil
	}
	if err := c.Write(ctx, tx); err != nil {
		return err
	}
	ids := make([]ID, len(births))
	for i, b := range births {
		ids[i] = ID(b)
	}
	if err := p.refresh(ctx, tx, ids); err != nil {
		return err
	}
	return p.feed.Touch(ctx, tx, births, ProfileKey, mode, at)
}

// SetAttributes states attributes; see Apply.
func (p *Profile) SetAttributes(ctx context.Context, tx pgx.Tx, as []Attribute, mode Mode, at time.Time) error {
	return p.Apply(ctx, tx, Changes{Attributes: as}, mode, at)
}

// AddTags puts tags on births; see Apply.
func (p *Profile) AddTags(ctx context.Context, tx pgx.Tx, tags []Tag, mode Mode, at time.Time) error {
	return p.Apply(ctx, tx, Changes{AddTags: tags}, mode, at)
}

// RemoveTags takes tags off every birth of the members that hold the given births; see Apply.
func (p *Profile) RemoveTags(ctx context.Context, tx pgx.Tx, tags []Tag, mode Mode, at time.Time) error {
	return p.Apply(ctx, tx, Changes{RemoveTags: tags}, mode, at)
}

// RecordConsent appends consent statements; see Apply.
func (p *Profile) RecordConsent(ctx context.Context, tx pgx.Tx, cs []Consent, mode Mode, at time.Time) error {
	return p.Apply(ctx, tx, Changes{Consents: cs}, mode, at)
}

// Births returns the births concerned, ascending.
func (c Changes) Births() []Birth {
	var out []Birth
	for _, a := range c.Attributes {
		out = append(out, a.Birth)
	}
	for _, t := range c.AddTags {
		out = append(out, t.Birth)
	}
	for _, t := range c.RemoveTags {
		out = append(out, t.Birth)
	}
	for _, s := range c.Consents {
		out = append(out, s.Birth)
	}
	for b := range c.Registered {
		out = append(out, b)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const setAttributesSQL = `
INSERT INTO member.attributes AS a (birth, name, value, source, at)
SELECT v.birth, v.name, v.value::jsonb, v.source, v.at
FROM unnest(@births::bigint[], @names::text[], @values::text[], @sources::text[], @ats::timestamptz[]) AS v (birth, name, value, source, at)
ORDER BY v.birth, v.name
ON CONFLICT (birth, name) DO UPDATE
SET value = EXCLUDED.value, source = EXCLUDED.source, at = EXCLUDED.at
WHERE EXCLUDED.at >= a.at AND (a.value, a.source, a.at) IS DISTINCT FROM (EXCLUDED.value, EXCLUDED.source, EXCLUDED.at)`

const addTagsSQL = `
INSERT INTO member.tags (birth, tag, source, at)
SELECT v.birth, v.tag, v.source, v.at
FROM unnest(@births::bigint[], @tags::text[], @sources::text[], @ats::timestamptz[]) AS v (birth, tag, source, at)
ORDER BY v.birth, v.tag
ON CONFLICT (birth, tag) DO NOTHING`

const removeTagsSQL = `
DELETE FROM member.tags g
USING unnest(@births::bigint[], @tags::text[]) AS v (birth, tag), member.births o, member.births c
WHERE o.birth = v.birth AND c.root = o.root AND g.birth = c.birth AND g.tag = v.tag`

const recordConsentSQL = `
INSERT INTO member.consents (birth, channel, at, granted, source, proof)
SELECT v.birth, v.channel, v.at, v.granted, v.source, v.proof
FROM unnest(@births::bigint[], @channels::text[], @ats::timestamptz[], @granted::bool[], @sources::text[], @proofs::text[])
    AS v (birth, channel, at, granted, source, proof)
ORDER BY v.birth, v.channel, v.at, v.granted
ON CONFLICT (birth, channel, at) DO UPDATE
SET granted = consents.granted AND EXCLUDED.granted -- two statements of one instant: the refusal stands`

const setRegisteredSQL = `
UPDATE member.births b
SET registered_at = v.at
FROM unnest(@births::bigint[], @ats::timestamptz[]) AS v (birth, at)
WHERE b.birth = v.birth AND (b.registered_at IS NULL OR b.registered_at > v.at)`

// Write validates and stores the changes in one round trip, without deriving or announcing anything: the caller holds the
// members and does both (member/capture).
func (c Changes) Write(ctx context.Context, tx pgx.Tx) error {
	var b pgx.Batch
	if err := c.queueAttributes(&b); err != nil {
		return err
	}
	if err := queueTags(&b, addTagsSQL, c.AddTags, true); err != nil {
		return err
	}
	if err := queueTags(&b, removeTagsSQL, c.RemoveTags, false); err != nil {
		return err
	}
	if err := c.queueConsents(&b); err != nil {
		return err
	}
	if n := len(c.Registered); n > 0 {
		births := make([]int64, 0, n)
		for birth := range c.Registered {
			births = append(births, int64(birth))
		}
		slices.Sort(births)
		ats := make([]time.Time, n)
		for i, birth := range births {
			ats[i] = c.Registered[Birth(birth)]
		}
		b.Queue(setRegisteredSQL, pg.Args{"births": births, "ats": ats})
	}
	if b.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	return nil
}

func (c Changes) queueAttributes(b *pgx.Batch) error {
	type key struct {
		birth Birth
		name  string
	}
	newest := map[key]Attribute{}
	for _, a := range c.Attributes {
		if a.Name == "" || len(a.Name) > 64 {
			return ErrAttribute.With("name", a.Name, "why", "length")
		}
		k := key{a.Birth, a.Name}
		if old, ok := newest[k]; !ok || !a.At.Before(old.At) {
			newest[k] = a
		}
	}
	n := len(newest)
	if n == 0 {
		return nil
	}
	keys := make([]key, 0, n)
	for k := range newest {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y key) int { return cmp.Or(cmp.Compare(x.birth, y.birth), cmp.Compare(x.name, y.name)) })
	births, names, values := make([]int64, n), make([]string, n), make([]string, n)
	sources, ats := make([]string, n), make([]time.Time, n)
	for i, k := range keys {
		a := newest[k]
		v, err := json.Marshal(a.Value)
		if err != nil {
			return ErrAttribute.With("name", a.Name, "why", "not JSON").Because(err)
		}
		births[i], names[i], values[i], sources[i], ats[i] = int64(a.Birth), a.Name, string(v), a.Source, a.At
	}
	b.Queue(setAttributesSQL, pg.Args{"births": births, "names": names, "values": values, "sources": sources, "ats": ats})
	return nil
}

func queueTags(b *pgx.Batch, sql string, tags []Tag, adding bool) error {
	if len(tags) == 0 {
		return nil
	}
	births, names := make([]int64, len(tags)), make([]string, len(tags))
	sources, ats := make([]string, len(tags)), make([]time.Time, len(tags))
	for i, t := range tags {
		if t.Tag == "" || len(t.Tag) > 192 {
			return ErrTag.With("tag", t.Tag)
		}
		births[i], names[i], sources[i], ats[i] = int64(t.Birth), t.Tag, t.Source, t.At
	}
	args := pg.Args{"births": births, "tags": names}
	if adding {
		args["sources"], args["ats"] = sources, ats
	}
	b.Queue(sql, args)
	return nil
}

func (c Changes) queueConsents(b *pgx.Batch) error {
	type key struct {
		birth   Birth
		channel string
		at      int64
	}
	at := map[key]int{}
	var kept []Consent
	for _, s := range c.Consents {
		if !slices.Contains(Channels, s.Channel) {
			return ErrChannel.With("channel", s.Channel)
		}
		k := key{s.Birth, s.Channel, s.At.UnixMicro()}
		if i, dup := at[k]; dup {
			kept[i].Granted = kept[i].Granted && s.Granted
			continue
		}
		at[k] = len(kept)
		kept = append(kept, s)
	}
	n := len(kept)
	if n == 0 {
		return nil
	}
	births, channels, ats := make([]int64, n), make([]string, n), make([]time.Time, n)
	granted, sources, proofs := make([]bool, n), make([]string, n), make([]string, n)
	for i, s := range kept {
		births[i], channels[i], ats[i] = int64(s.Birth), s.Channel, s.At
		granted[i], sources[i], proofs[i] = s.Granted, s.Source, s.Proof
	}
	b.Queue(recordConsentSQL, pg.Args{"births": births, "channels": channels, "ats": ats, "granted": granted,
		"sources": sources, "proofs": proofs})
	return nil
}
