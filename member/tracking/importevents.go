package tracking

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
)

// ImportEvents is the import kind "events".
type ImportEvents struct {
	graph *identity.Service
	log   *activity.Log
}

// NewImportEvents returns the kind.
func NewImportEvents(graph *identity.Service, log *activity.Log) *ImportEvents {
	return &ImportEvents{graph, log}
}

// Name is the kind's name.
func (*ImportEvents) Name() string { return "events" }

// Columns are those of the import contract.
func (*ImportEvents) Columns() []importer.Column {
	return []importer.Column{
		{Name: "message_id", Required: true}, {Name: "event", Required: true}, {Name: "occurred_at", Required: true}, {Name: "touchpoint", Values: member.Touchpoints(), Open: true},
		{Name: "source", Required: true}, {Name: "source_id", Required: true}, {Name: "props"},
	}
}

type event struct {
	MessageID, Event string
	OccurredAt       time.Time
	Touchpoint       string
	Source, SourceID string
	Props            map[string]any
}

func (e event) who() identity.Key {
	return identity.Key{NS: identity.NSSource, Scope: e.Source, Value: e.SourceID}
}

// Parse reads one event.
func (*ImportEvents) Parse(f *importer.Fields) (string, any) {
	e := event{
		MessageID: f.Need("message_id"), Event: f.Need("event"), OccurredAt: f.Time("occurred_at"), Touchpoint: f.Text("touchpoint"),
		Source: f.Need("source"), SourceID: f.Need("source_id"),
	}
	f.Need("occurred_at")
	if len(e.Event) > activity.MaxKeyLength || strings.HasPrefix(e.Event, "$") || strings.ContainsFunc(e.Event, unicode.IsControl) {
		f.Reject("event", "value", fault.Text{ZH: "事件名过长、以 $ 开头或含控制字符", EN: "is too long, begins with $ or has control characters"},
			fault.Text{ZH: "请使用 1–128 字节的名称", EN: "use a name of 1 to 128 bytes"})
	}
	if e.Source != "" && e.SourceID != "" {
		if _, err := e.who().Normalise(); err != nil {
			f.Reject("source_id", "value", fault.Text{ZH: "不是可用的标识", EN: "is not usable as an identifier"},
				fault.Text{ZH: "请填写来源系统中的会员号", EN: "write the person's id in the source system"})
		}
	}
	if raw := f.LongText("props"); raw != "" {
		var err error
		if e.Props, err = object([]byte(raw)); err != nil {
			f.Reject("props", "json", fault.Text{ZH: "不是 JSON 对象,或超过 16 KB", EN: "is not a JSON object, or longer than 16 KB"},
				fault.Text{ZH: `请写作 {"sku":"22423"}`, EN: `write {"sku":"22423"}`})
		}
	}
	return e.Source + "\x00" + e.MessageID, e
}

// maxProps keeps properties, with what translation adds, below activity.MaxPropsLength.
const maxProps = 16 << 10

// object reads one JSON object, keeping numbers as they are written.
func object(raw []byte) (map[string]any, error) {
	if len(raw) > maxProps {
		return nil, fmt.Errorf("object of %d bytes", len(raw))
	}
	if bytes.Contains(raw, []byte(`\u0000`)) || bytes.IndexByte(raw, 0) >= 0 {
		return nil, fmt.Errorf("object holds a NUL character")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("text behind the object")
	}
	if out == nil {
		return nil, fmt.Errorf("null is no object")
	}
	return out, nil
}

// Load logs the events.
func (k *ImportEvents) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	results := make([]importer.Result, len(b.Records))
	var obs []identity.Observation
	births := map[identity.Key]member.Birth{}
	for _, r := range b.Records {
		e := r.Value.(event)
		if _, seen := births[e.who()]; seen {
			continue
		}
		births[e.who()] = 0
		obs = append(obs, identity.Observation{
			Keys: []identity.Key{e.who()}, Kind: identity.KindTrack, Source: e.Source, At: e.OccurredAt, EventKey: e.MessageID, Mode: mode(b.Live),
		})
	}
	resolved, err := k.graph.Observe(ctx, tx, obs)
	if err != nil {
		return nil, fmt.Errorf("resolve people of events: %w", err)
	}
	for i, r := range resolved {
		births[obs[i].Keys[0]] = r.Birth
	}
	var items []activity.Activity
	for i, r := range b.Records {
		e := r.Value.(event)
		birth := births[e.who()]
		if birth == 0 {
			results[i].Reject = erased()
			continue
		}
		for _, f := range facts(e.Event, e.Props, e.Touchpoint) {
			items = append(items, activity.Activity{
				Birth: birth, Key: f.Key, OccurredAt: e.OccurredAt, Touchpoint: member.Touchpoint(e.Touchpoint), Mode: mode(b.Live),
				Source: e.Source, DedupeKey: e.MessageID + f.Suffix, Props: f.Props,
			})
		}
	}
	if _, err := k.log.Append(ctx, tx, items); err != nil {
		return nil, err
	}
	return results, nil
}
