package tracking

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// Limits of the tracking API, in bytes of uncompressed body.
const (
	MaxCall  = 32 << 10
	MaxBatch = 500 << 10
)

// call is one message as SDKs send it.
type call struct {
	Type        string         `json:"type"`
	MessageID   any            `json:"messageId"`
	UserID      any            `json:"userId"`
	AnonymousID any            `json:"anonymousId"`
	PreviousID  any            `json:"previousId"`
	Event       string         `json:"event"`
	Name        string         `json:"name"`
	Category    string         `json:"category"`
	Properties  map[string]any `json:"properties"`
	Traits      map[string]any `json:"traits"`
	Context     callContext    `json:"context"`
	Timestamp   any            `json:"timestamp"`
	Original    any            `json:"originalTimestamp"`
	SentAt      any            `json:"sentAt"`
	WriteKey    string         `json:"writeKey"`
}

type callContext struct {
	ExternalIDs []externalID   `json:"externalIds"`
	Touchpoint  string         `json:"touchpoint"`
	Traits      map[string]any `json:"traits"`
	Library     struct {
		Name string `json:"name"`
	} `json:"library"`
}

// externalID is an identifier beside userId: type is the namespace, collection its scope where it has one.
type externalID struct {
	ID         any    `json:"id"`
	Type       string `json:"type"`
	Collection string `json:"collection"`
}

// batch is the body of /v1/batch.
type batch struct {
	Batch    []json.RawMessage `json:"batch"`
	Context  callContext       `json:"context"`
	SentAt   any               `json:"sentAt"`
	WriteKey string            `json:"writeKey"`
}

// message is a call ready to be stored.
type message struct {
	source string
	id     string
	at     time.Time
	keys   []identity.Key
	person *capture.Person // identify and alias
	facts  []fact
	touch  member.Touchpoint
}

// decode reads one JSON object, keeping numbers as they are written.
func decode(raw []byte, into any) error {
	if bytes.Contains(raw, []byte(`\u0000`)) {
		return ErrJSON
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return ErrJSON.Because(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return ErrJSON // something stands behind the object
	}
	return nil
}

// problems collects what is wrong with a request.
type problems struct {
	prefix string
	fields []fault.Field
}

func (p *problems) add(path, code, zh, en, hintZH, hintEN string) {
	p.fields = append(p.fields, fault.Field{Path: p.prefix + path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}})
}

func (p *problems) err() error {
	if len(p.fields) == 0 {
		return nil
	}
	return ErrCall.WithFields(p.fields...)
}

// reserved are keys that modules of the house log themselves.
func reserved(key string) bool {
	for _, prefix := range []string{"segment_", "points_", "coupon_", "message_", "tier_", "$"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// read turns a call into a message; ok is false for calls that are accepted and ignored. raw is the call's JSON.
func (c *call) read(raw []byte, source string, received time.Time, p *problems) (m message, ok bool) {
	m = message{source: source, id: text(c.MessageID), touch: member.Touchpoint(touchpoint(c.Context))}
	if m.id == "" {
		m.id = "h." + id.Hash16(string(raw))
	}
	if len(m.id) > 256 {
		p.add("messageId", "too_long", "过长", "is too long", "最多 256 字节", "use at most 256 bytes")
	}
	m.at = c.occurred(received, p)
	m.keys = c.keys(p)
	switch c.Type {
	case "identify":
		m.person = c.identify(m)
	case "alias":
		previous := text(c.PreviousID)
		if previous == "" {
			p.add("previousId", "empty", "不能为空", "must not be empty", "请填写合并前的标识", "name the identity the user had before")
		}
		keys := append(m.keys, identity.Key{NS: identity.NSAnonymous, Value: previous})
		m.person = &capture.Person{Keys: keys, Kind: identity.KindLogin}
	case "track":
		if c.Event == "" || len(c.Event) > activity.MaxKeyLength || strings.ContainsFunc(c.Event, unicode.IsControl) {
			p.add("event", "value", "为空、过长或含控制字符", "is empty, too long or has control characters", "请使用 1–128 字节的事件名", "use a name of 1 to 128 bytes")
		} else if reserved(c.Event) {
			p.add("event", "reserved", "是系统保留的事件名", "is a name that the system itself logs", "请换一个名称", "choose another name")
		}
		m.facts = facts(c.Event, c.Properties, string(m.touch))
	case "page", "screen":
		props := c.Properties
		if props == nil {
			props = map[string]any{}
		}
		for name, v := range map[string]string{"name": c.Name, "category": c.Category} {
			if v != "" {
				set(props, name, v)
			}
		}
		m.facts = []fact{{Key: c.Type + "_viewed", Props: props}}
	case "group":
		return m, false
	default:
		p.add("type", "value", "不是可识别的类型", "is not a type of call", "可用值:identify, track, page, screen, group, alias", "use identify, track, page, screen, group or alias")
		return m, false
	}
	if len(raw) > MaxCall/2 {
		for _, f := range m.facts {
			if text, err := json.Marshal(f.Props); err != nil || len(text) > activity.MaxPropsLength {
				p.add("properties", "too_large", "过大", "are too large", "请减少属性", "send fewer properties")
			}
		}
	}
	if m.person != nil {
		m.person.Source, m.person.At, m.person.EventKey, m.person.Mode = source, m.at, m.id, member.ModeLive
		m.person.Touchpoint = m.touch
	}
	return m, true
}

// occurred is the time of the fact by our clock: what the client's clock was off by, as its sentAt tells, is taken away.
// Nothing happens in the future.
func (c *call) occurred(received time.Time, p *problems) time.Time {
	at, given := instant("timestamp", c.Timestamp, p)
	if !given {
		at, given = instant("originalTimestamp", c.Original, p)
	}
	if !given {
		return received
	}
	if sent, ok := instant("sentAt", c.SentAt, p); ok {
		at = received.Add(at.Sub(sent))
	}
	if at.After(received) {
		return received
	}
	if at.Year() < 1970 {
		p.add("timestamp", "range", "早于 1970 年", "is before 1970", "请检查客户端时钟", "check the client's clock")
		return received
	}
	return at.Truncate(time.Microsecond)
}

// instant reads ISO 8601 or milliseconds since 1970.
func instant(path string, v any, p *problems) (at time.Time, given bool) {
	s := text(v)
	if s == "" && (v == nil || v == "") {
		return at, false
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.Parse(form, s); err == nil {
			return at.UTC(), true
		}
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms > 0 && ms < 4_102_444_800_000 {
		return time.UnixMilli(ms).UTC(), true
	}
	p.add(path, "time", "不是可识别的时间", "is not a time", "请使用 ISO 8601,如 2026-11-23T01:02:03.456Z", "use ISO 8601, like 2026-11-23T01:02:03.456Z")
	return at, false
}

// keys are who the call is about; the first is whose facts they are.
func (c *call) keys(p *problems) []identity.Key {
	var out []identity.Key
	if v := text(c.UserID); v != "" {
		out = append(out, identity.Key{NS: identity.NSUser, Value: v})
	}
	for _, e := range c.Context.ExternalIDs {
		ns, ok := identity.NamespaceOf(e.Type)
		if !ok || ns.Code == identity.NSPhoneName {
			continue // ids of tools that lianke does not know
		}
		out = append(out, identity.Key{NS: ns.Code, Scope: e.Collection, Value: text(e.ID)})
	}
	if v := text(c.AnonymousID); v != "" {
		out = append(out, identity.Key{NS: identity.NSAnonymous, Value: v})
	}
	usable := out[:0]
	for _, k := range out {
		if k, err := k.Normalise(); err == nil {
			usable = append(usable, k)
		}
	}
	if len(usable) == 0 && c.Type != "group" {
		p.add("userId", "empty", "没有可用的标识", "there is no usable identifier", "请提供 userId、anonymousId 或 context.externalIds", "give userId, anonymousId or context.externalIds")
	}
	return usable
}

// identify reads traits: what identifies becomes a key, the name is kept encrypted, the rest are attributes.
func (c *call) identify(m message) *capture.Person {
	person := &capture.Person{Keys: m.keys, Kind: identity.KindLogin, Attrs: map[string]any{}}
	var first, last, name string
	for trait, v := range c.Traits {
		switch trait {
		case "name":
			name = text(v)
		case "firstName", "first_name":
			first = text(v)
		case "lastName", "last_name":
			last = text(v)
		case "phone":
			person.Keys = append(person.Keys, identity.Key{NS: identity.NSPhone, Value: text(v)})
		case "email":
			person.Keys = append(person.Keys, identity.Key{NS: identity.NSEmail, Value: text(v)})
		case "address":
			if a, ok := v.(map[string]any); ok {
				person.Attrs["city"], person.Attrs["province"] = a["city"], cmp.Or(text(a["province"]), text(a["state"]))
			}
		case "createdAt", "created_at":
			if at, ok := instant("", v, &problems{}); ok && !at.After(m.at) && at.Year() >= 1970 {
				person.RegisteredAt = at
			}
		case "gender", "birthday", "province", "city", "home_store":
			person.Attrs[trait] = v
		default:
			if len(trait) <= 64 && !strings.ContainsFunc(trait, unicode.IsControl) {
				person.Attrs["attr."+trait] = v
			}
		}
	}
	if name == "" {
		name = strings.TrimSpace(last + " " + first)
	}
	for a, v := range person.Attrs {
		switch v := v.(type) {
		case string:
			if v == "" || len(v) > 2000 {
				delete(person.Attrs, a)
			}
		case map[string]any:
			delete(person.Attrs, a) // nested traits have no place in a rule
		}
	}
	person.Name = crypt.Name(name)
	return person
}

// touchpoint is where the call came from, as its sender or its library says.
func touchpoint(c callContext) string {
	if c.Touchpoint != "" {
		return c.Touchpoint
	}
	switch c.Library.Name {
	case "analytics.js", "@segment/analytics-next", "analytics-next":
		return string(member.TouchpointWeb)
	case "analytics-ios", "analytics-android", "analytics-kotlin", "analytics-swift", "analytics-react-native", "analytics-flutter":
		return string(member.TouchpointApp)
	}
	return ""
}

// read turns the body of an endpoint into messages. kind is the endpoint's name.
func read(kind string, raw []byte, source string, received time.Time) ([]message, error) {
	if kind != "batch" {
		var c call
		if err := decode(raw, &c); err != nil {
			return nil, err
		}
		c.Type = kind
		var p problems
		m, ok := c.read(raw, source, received, &p)
		if err := p.err(); err != nil || !ok {
			return nil, err
		}
		return []message{m}, nil
	}
	var b batch
	if err := decode(raw, &b); err != nil {
		return nil, err
	}
	var p problems
	if b.Batch == nil {
		p.add("batch", "empty", "不能为空", "must not be empty", "请提供消息数组", "give an array of messages")
	}
	var out []message
	for i, one := range b.Batch {
		p.prefix = fmt.Sprintf("batch[%d].", i)
		if len(one) > MaxCall {
			p.add("", "too_large", "超过 32 KB", "is larger than 32 KB", "请减少属性", "send fewer properties")
			continue
		}
		var c call
		if err := decode(one, &c); err != nil {
			p.add("", "json", "不是可识别的消息", "is not a message", "请检查字段类型", "check the types of its fields")
			continue
		}
		if c.SentAt == nil {
			c.SentAt = b.SentAt
		}
		if len(c.Context.ExternalIDs) == 0 {
			c.Context.ExternalIDs = b.Context.ExternalIDs
		}
		if m, ok := c.read(one, source, received, &p); ok {
			out = append(out, m)
		}
	}
	return out, p.err()
}
