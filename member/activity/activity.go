package activity

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
)

// Activity is one thing a member did or that happened to them.
type Activity struct {
	Birth      member.Birth      // whose; must exist
	Key        string            // what: one of the house's keys, or a custom one as sent
	OccurredAt time.Time         // when, by the source's clock
	Touchpoint member.Touchpoint // where; may be empty
	Mode       member.Mode
	Source     string         // who says so: an import source, a write key, a module
	DedupeKey  string         // the source's own name for this fact; (Source, DedupeKey) is logged once
	Props      map[string]any // JSON-encodable; no personal data
	// FirstStands makes a replay with other content a Duplicate too, where the content holds what the receiver measured,
	// like a corrected time. Without it other content is an update.
	FirstStands bool
}

// Outcome says what Append did with one activity.
type Outcome string

// The outcomes of Append.
const (
	Inserted  Outcome = "inserted"
	Duplicate Outcome = "duplicate" // same key, same content: nothing changed
	Updated   Outcome = "updated"   // same key, other content: the activity was replaced
)

// Limits of one activity.
const (
	MaxKeyLength   = 128
	MaxPropsLength = 32 << 10
)

// ErrInvalid rejects an activity; its fields name what is wrong.
var ErrInvalid = fault.New(fault.Invalid, "activity.invalid", "行为数据无效", "the activity is invalid").
	WithHint("请按字段提示修改", "correct the fields named")

func (a Activity) validate(props []byte) error {
	switch {
	case a.Birth <= 0:
		return invalid("birth", "缺少会员标识", "no birth is given", "先识别会员再记录行为", "resolve the member first")
	case !validKey(a.Key):
		return invalid("key", "事件名为空、过长或含控制字符", "the key is empty, too long or has control characters",
			fmt.Sprintf("请使用 1–%d 个字符,不以 $ 开头", MaxKeyLength), fmt.Sprintf("use 1 to %d bytes, not beginning with $", MaxKeyLength))
	case a.OccurredAt.IsZero() || a.OccurredAt.Year() < 1970 || a.OccurredAt.Year() > 2200:
		return invalid("occurred_at", "发生时间缺失或超出 1970–2200 年", "the time is missing or outside 1970–2200",
			"请使用 RFC 3339 时间", "use an RFC 3339 time")
	case a.Mode != member.ModeLive && a.Mode != member.ModeBackfill:
		return invalid("mode", "模式必须是 live 或 backfill", "the mode must be live or backfill", "", "")
	case a.Source == "" || a.DedupeKey == "":
		return invalid("dedupe_key", "缺少来源或去重键", "source or dedupe key is missing",
			"每条行为都要有来源方的唯一键", "give each activity its source's own unique key")
	case len(props) > MaxPropsLength:
		return invalid("props", "属性过大", "the properties are too large",
			fmt.Sprintf("最多 %d 字节", MaxPropsLength), fmt.Sprintf("at most %d bytes", MaxPropsLength))
	}
	return nil
}

func validKey(k string) bool {
	if k == "" || k[0] == '$' || len(k) > MaxKeyLength || !utf8.ValidString(k) {
		return false
	}
	for _, r := range k {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func invalid(path, zh, en, hintZH, hintEN string) error {
	return ErrInvalid.WithFields(fault.Field{
		Path: path, Code: "activity." + path,
		Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN},
	})
}

// encoded is an activity ready for SQL.
type encoded struct {
	Activity
	props   []byte
	keyHash [16]byte
	content [16]byte
}

func encode(a Activity) (encoded, error) {
	e := encoded{Activity: a, props: []byte("{}")}
	e.OccurredAt = a.OccurredAt.UTC().Truncate(time.Microsecond)
	if len(a.Props) > 0 {
		var err error
		if e.props, err = json.Marshal(a.Props); err != nil {
			return e, fmt.Errorf("encode properties of %s: %w", a.Key, err)
		}
	}
	if err := a.validate(e.props); err != nil {
		return e, err
	}
	e.keyHash = hash16([]byte(a.DedupeKey))
	e.content = hash16(fmt.Appendf(nil, "%d\n%s\n%d\n%s\n%s", a.Birth, a.Key, e.OccurredAt.UnixMicro(), a.Touchpoint, e.props))
	return e, nil
}

func hash16(b []byte) [16]byte {
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
