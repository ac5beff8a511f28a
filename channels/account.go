package channels

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
)

// AccountStatus says whether an account may be used.
type AccountStatus string

// The states of an account.
const (
	AccountActive   AccountStatus = "active"
	AccountPaused   AccountStatus = "paused"   // messages wait
	AccountDisabled AccountStatus = "disabled" // nothing is planned for it
)

// Account is one configured account of a provider.
type Account struct {
	Code      string
	Channel   Channel
	Name      string
	Config    json.RawMessage // of the protocol package, without secrets
	Secrets   json.RawMessage // opened only for the protocol package; never shown
	Settings  AccountSettings
	Status    AccountStatus
	Health    string     // the last account-wide trouble, empty when well
	HoldUntil *time.Time // the provider asked to wait
	Version   int64
	UpdatedAt time.Time
}

// AccountSettings are the pipeline's own settings of an account. Zero values mean the defaults.
type AccountSettings struct {
	RatePerSecond int    `json:"rate_per_second,omitempty"` // over all shards, which share it equally; 0: no limit of ours
	Connections   int    `json:"connections,omitempty"`     // calls of the sender at once, default 1: senders spread a batch over connections of their own
	Batch         int    `json:"batch,omitempty"`           // messages per handover, default 500; up to three are in flight
	MaxAttempts   int    `json:"max_attempts,omitempty"`    // default 6
	Shards        int    `json:"shards,omitempty"`          // leases, so processes that may share the account, default 1
	Idempotent    bool   `json:"idempotent,omitempty"`      // the provider dedupes by our send key: a crash may retry
	Quiet         *Quiet `json:"quiet,omitempty"`           // default by channel
	BaseURL       string `json:"base_url,omitempty"`        // where /t/ and /u/ are served; empty: links are left alone
	TrackClicks   bool   `json:"track_clicks,omitempty"`
	TrackOpens    bool   `json:"track_opens,omitempty"` // mail only, and only with consent
	AppID         string `json:"app_id,omitempty"`      // scope of the identifiers that reach members of this account
}

func (s AccountSettings) withDefaults() AccountSettings {
	def := func(v *int, d, most int) {
		if *v <= 0 {
			*v = d
		}
		*v = min(*v, most)
	}
	def(&s.Connections, 1, 64)
	def(&s.Batch, 500, 2000)
	def(&s.MaxAttempts, 6, 20)
	def(&s.Shards, 1, 16)
	s.BaseURL = strings.TrimRight(s.BaseURL, "/")
	return s
}

func (a Account) quiet() Quiet {
	if a.Settings.Quiet != nil {
		return *a.Settings.Quiet
	}
	return DefaultQuiet(a.Channel)
}

var accountCode = regexp.MustCompile(`^[a-z][a-z0-9_.-]{1,63}$`)

// Validate checks what the pipeline knows of an account; its protocol package checks Config and Secrets.
func (a Account) Validate() error {
	var bad []fault.Field
	if !accountCode.MatchString(a.Code) {
		bad = append(bad, field("code", "pattern", "编码须为小写字母、数字、点、横线或下划线", "must be lower-case letters, digits, dots, dashes or underscores", "例如 wechat_main", "for example wechat_main"))
	}
	if !slices.Contains([]Channel{ChannelWeChat, ChannelMiniProgram, ChannelSMS, ChannelEmail, ChannelPush, ChannelWeCom}, a.Channel) {
		bad = append(bad, field("channel", "enum", "未知渠道", "is not a channel", "可选 wechat、miniprogram、sms、email、push、wecom", "one of wechat, miniprogram, sms, email, push, wecom"))
	}
	if a.Name == "" || len(a.Name) > 200 {
		bad = append(bad, field("name", "length", "请填写名称", "is required", "最多 200 字节", "at most 200 bytes"))
	}
	if !slices.Contains([]AccountStatus{AccountActive, AccountPaused, AccountDisabled}, a.Status) {
		bad = append(bad, field("status", "enum", "未知状态", "is not a status", "可选 active、paused、disabled", "one of active, paused, disabled"))
	}
	for name, raw := range map[string]json.RawMessage{"config": a.Config, "secrets": a.Secrets} {
		if len(raw) > 16<<10 || len(raw) > 0 && !json.Valid(raw) {
			bad = append(bad, field(name, "json", "须为 16 KB 以内的 JSON 对象", "must be a JSON object of at most 16 KB", "请检查格式", "check the format"))
		}
	}
	if q := a.Settings.Quiet; q != nil && (q.From < 0 || q.From > 1439 || q.To < 0 || q.To > 1439) {
		bad = append(bad, field("settings.quiet", "range", "免打扰时段须为 0–1439 分钟", "must be minutes of the day, 0 to 1439", "21:00 写作 1260", "21:00 is 1260"))
	}
	if u := a.Settings.BaseURL; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		bad = append(bad, field("settings.base_url", "url", "须为 http(s) 地址", "must be an http or https address", "例如 https://m.example.com", "for example https://m.example.com"))
	}
	if len(bad) > 0 {
		return ErrAccountInvalid.WithFields(bad...)
	}
	return nil
}
