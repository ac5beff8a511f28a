package journeys

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/segments"
)

// SegmentRules is the Rules of the house.
type SegmentRules struct {
	segments *segments.Service
	parsed   *sync.Map // rule text → segments.Rule; as many as published versions hold
}

// NewSegmentRules returns the segment language as journeys use it.
func NewSegmentRules(s *segments.Service) SegmentRules { return SegmentRules{s, &sync.Map{}} }

// Check returns what is wrong with a rule.
func (r SegmentRules) Check(raw json.RawMessage) error {
	_, err := segments.Parse(raw)
	return err
}

func (r SegmentRules) parse(raw json.RawMessage) (segments.Rule, error) {
	if rule, ok := r.parsed.Load(string(raw)); ok {
		return rule.(segments.Rule), nil
	}
	rule, err := segments.Parse(raw)
	if err != nil {
		return segments.Rule{}, err
	}
	r.parsed.Store(string(raw), rule)
	return rule, nil
}

// Evaluate says which members match.
func (r SegmentRules) Evaluate(ctx context.Context, db pg.DB, raw json.RawMessage, at time.Time, ids []member.ID) (map[member.ID]bool, error) {
	rule, err := r.parse(raw)
	if err != nil {
		return nil, err
	}
	return r.segments.Evaluate(ctx, db, rule, at, ids)
}

// Members returns everybody who matches.
func (r SegmentRules) Members(ctx context.Context, db pg.DB, raw json.RawMessage, at time.Time) ([]member.ID, error) {
	rule, err := r.parse(raw)
	if err != nil {
		return nil, err
	}
	return r.segments.Members(ctx, db, rule, at)
}

// ProfileWriter is the Profiles of the house: tags and attributes go under the birth that entered.
type ProfileWriter struct{ Profile *member.Profile }

// Apply writes the changes. Of several changes of one tag or attribute the last one stands.
func (w ProfileWriter) Apply(ctx context.Context, tx pgx.Tx, changes []ProfileChange) error {
	type slot struct {
		birth     member.Birth
		name, tag string
	}
	last := map[slot]int{}
	for i, c := range changes {
		last[slot{c.Birth, c.Attribute, c.AddTag + c.RemoveTag}] = i
	}
	var out member.Changes
	at := time.Time{}
	for i, c := range changes {
		if last[slot{c.Birth, c.Attribute, c.AddTag + c.RemoveTag}] != i {
			continue
		}
		if c.At.After(at) {
			at = c.At
		}
		source := "journey:" + c.Journey
		switch {
		case c.AddTag != "":
			out.AddTags = append(out.AddTags, member.Tag{Birth: c.Birth, Tag: c.AddTag, Source: source, At: c.At})
		case c.RemoveTag != "":
			out.RemoveTags = append(out.RemoveTags, member.Tag{Birth: c.Birth, Tag: c.RemoveTag, Source: source, At: c.At})
		default:
			var value any
			if err := json.Unmarshal(c.Value, &value); err != nil {
				return fmt.Errorf("read attribute %s: %w", c.Attribute, err)
			}
			out.Attributes = append(out.Attributes, member.Attribute{Birth: c.Birth, Name: c.Attribute, Value: value, Source: source, At: c.At})
		}
	}
	return w.Profile.Apply(ctx, tx, out, member.ModeLive, at)
}
