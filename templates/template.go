package templates

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/fault"
)

// The channels a template can be written for, as everywhere in the house.
const (
	ChannelWeChat      = "wechat"
	ChannelMiniProgram = "miniprogram"
	ChannelSMS         = "sms"
	ChannelEmail       = "email"
	ChannelPush        = "push"
	ChannelWeCom       = "wecom"
)

// Lane ranks messages: transaction before service before marketing. It also decides which duties a text has.
type Lane string

// The lanes.
const (
	LaneTransaction Lane = "transaction" // about something the member just did: an order, a code
	LaneService     Lane = "service"     // about what the member has with us: points, coupons, a booking
	LaneMarketing   Lane = "marketing"   // everything else
)

// Locale of a variant.
type Locale string

// The locales; zh is always there.
const (
	ZH Locale = "zh"
	EN Locale = "en"
)

// Status of a template.
type Status string

// The states of a template.
const (
	StatusDraft     Status = "draft"
	StatusPublished Status = "published"
	StatusArchived  Status = "archived"
)

// Template is one message text with its variants, at one version.
type Template struct {
	Code      string    `json:"code"`
	Channel   string    `json:"channel"`
	Lane      Lane      `json:"lane"`
	Name      string    `json:"name"`
	Status    Status    `json:"status"`
	Version   int       `json:"version"`   // of Body
	Published int       `json:"published"` // the version in use, 0 before the first publication
	Latest    int       `json:"latest"`
	UpdatedAt time.Time `json:"updated_at"`
	Body      Body      `json:"body"`
}

// Body is what a version holds.
type Body struct {
	Variables []Variable         `json:"variables,omitempty"`
	Variants  map[Locale]Content `json:"variants"`
}

// Kind is the type of a variable.
type Kind string

// The kinds of variables. Money arrives in fen and is shown with the filter yuan.
const (
	KindText   Kind = "text"
	KindNumber Kind = "number"
	KindFen    Kind = "fen"
	KindTime   Kind = "time" // RFC 3339; shown in Shanghai time with the filter date
	KindURL    Kind = "url"
	KindList   Kind = "list" // of objects or texts, at most 100
)

// Variable is declared by the template and given by whoever sends. Variables carry no personal data: a template reads
// the member's own fields as member.name, member.attrs.x.
type Variable struct {
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	Label    string `json:"label,omitempty"`
	Required bool   `json:"required,omitempty"`
	Example  any    `json:"example,omitempty"`
}

// Content is one variant. Every string is Liquid, except ProviderTemplate, Sign and AppID. Channels use:
// wechat: ProviderTemplate, Fields, URL or Page+AppID; miniprogram: ProviderTemplate, Fields, Page; sms: Text, and with a
// provider that knows templates ProviderTemplate, Sign, Fields; email: Subject, HTML, Text; push: Subject, Text, URL;
// wecom: Text, URL.
type Content struct {
	ProviderTemplate string            `json:"provider_template,omitempty"`
	Fields           map[string]string `json:"fields,omitempty"`
	URL              string            `json:"url,omitempty"`
	AppID            string            `json:"app_id,omitempty"`
	Page             string            `json:"page,omitempty"`
	Sign             string            `json:"sign,omitempty"`
	Subject          string            `json:"subject,omitempty"`
	HTML             string            `json:"html,omitempty"`
	Text             string            `json:"text,omitempty"`
}

// text is one Liquid string of a content with the limits of its place.
type text struct {
	path      string
	source    string
	html      bool
	sourceMax int // most bytes of source
	outputMax int // most bytes of output
}

func (c Content) texts() []text {
	var out []text
	add := func(path, source string, html bool, sourceMax, outputMax int) {
		if source != "" {
			out = append(out, text{path, source, html, sourceMax, outputMax})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		add("fields."+name, c.Fields[name], false, 1<<10, 1<<10)
	}
	add("url", c.URL, false, 2<<10, 2<<10)
	add("page", c.Page, false, 1<<10, 1<<10)
	add("subject", c.Subject, false, 1<<10, 1<<10)
	add("html", c.HTML, true, 128<<10, 256<<10)
	add("text", c.Text, false, 16<<10, 32<<10)
	return out
}

var (
	codePattern  = regexp.MustCompile(`^[a-z][a-z0-9_.-]{1,63}$`)
	namePattern  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	fieldPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,31}$`)
	reserved     = []string{"member", "unsubscribe_url", "forloop"}
)

// Validate checks everything that can be known before data arrives. The fault lists every offending field.
func (t Template) Validate() error {
	var bad []fault.Field
	if !codePattern.MatchString(t.Code) {
		bad = append(bad, field("code", "pattern", "编码须为小写字母、数字、点、横线或下划线", "must be lower-case letters, digits, dots, dashes or underscores",
			"例如 order_paid", "for example order_paid"))
	}
	if t.Name == "" || utf8.RuneCountInString(t.Name) > 100 {
		bad = append(bad, field("name", "length", "名称须为 1–100 字", "must have 1 to 100 characters", "请填写名称", "give it a name"))
	}
	if !slices.Contains([]string{ChannelWeChat, ChannelMiniProgram, ChannelSMS, ChannelEmail, ChannelPush, ChannelWeCom}, t.Channel) {
		bad = append(bad, field("channel", "enum", "未知渠道", "is not a channel",
			"可选 wechat、miniprogram、sms、email、push、wecom", "one of wechat, miniprogram, sms, email, push, wecom"))
	}
	if !slices.Contains([]Lane{LaneTransaction, LaneService, LaneMarketing}, t.Lane) {
		bad = append(bad, field("lane", "enum", "未知通道级别", "is not a lane",
			"可选 transaction、service、marketing", "one of transaction, service, marketing"))
	}
	bad = append(bad, t.Body.validateVariables()...)
	if _, ok := t.Body.Variants[ZH]; !ok {
		bad = append(bad, field("body.variants.zh", "required", "缺少中文内容", "the Chinese variant is missing", "请填写中文内容", "write the Chinese variant"))
	}
	for _, locale := range slices.Sorted(maps.Keys(t.Body.Variants)) {
		path := fmt.Sprintf("body.variants.%s", locale)
		if locale != ZH && locale != EN {
			bad = append(bad, field(path, "enum", "未知语言", "is not a locale", "可选 zh、en", "one of zh, en"))
			continue
		}
		bad = append(bad, t.Body.Variants[locale].validate(t.Channel, path)...)
	}
	if len(bad) > 0 {
		return ErrInvalid.WithFields(bad...)
	}
	if _, err := Compile(t); err != nil {
		return err
	}
	return nil
}

func (b Body) validateVariables() []fault.Field {
	var bad []fault.Field
	seen := map[string]bool{}
	if len(b.Variables) > 40 {
		bad = append(bad, field("body.variables", "limit", "变量最多 40 个", "at most 40 variables", "请减少变量", "declare fewer"))
	}
	for i, v := range b.Variables {
		path := fmt.Sprintf("body.variables[%d]", i)
		switch {
		case !namePattern.MatchString(v.Name) || slices.Contains(reserved, v.Name):
			bad = append(bad, field(path+".name", "pattern", "变量名无效", "is not a usable name",
				"小写字母开头,勿用 member 等保留字", "start with a lower-case letter; member and unsubscribe_url are taken"))
		case seen[v.Name]:
			bad = append(bad, field(path+".name", "duplicate", "变量重复", "is declared twice", "请删除重复的变量", "remove one"))
		case !slices.Contains([]Kind{KindText, KindNumber, KindFen, KindTime, KindURL, KindList}, v.Kind):
			bad = append(bad, field(path+".kind", "enum", "未知变量类型", "is not a kind",
				"可选 text、number、fen、time、url、list", "one of text, number, fen, time, url, list"))
		case v.Example != nil:
			if _, err := bindValue(v, v.Example); err != nil {
				bad = append(bad, field(path+".example", "type", "示例与类型不符", "the example does not fit the kind: "+err.Error(), "请修改示例", "mend the example"))
			}
		}
		seen[v.Name] = true
	}
	return bad
}

func (c Content) validate(channel, path string) []fault.Field {
	var bad []fault.Field
	need := func(name, value string) {
		if value == "" {
			bad = append(bad, field(path+"."+name, "required", "不能为空", "is required for this channel", "请填写", "fill it in"))
		}
	}
	switch channel {
	case ChannelWeChat, ChannelMiniProgram:
		need("provider_template", c.ProviderTemplate)
		if len(c.Fields) == 0 {
			need("fields", "")
		}
	case ChannelSMS, ChannelWeCom:
		need("text", c.Text)
	case ChannelEmail:
		need("subject", c.Subject)
		need("html", c.HTML)
	case ChannelPush:
		need("subject", c.Subject)
		need("text", c.Text)
	}
	if len(c.Fields) > 20 {
		bad = append(bad, field(path+".fields", "limit", "字段最多 20 个", "at most 20 slots", "请减少字段", "use fewer"))
	}
	for name := range c.Fields {
		if !fieldPattern.MatchString(name) {
			bad = append(bad, field(path+".fields", "pattern", "字段名无效", "a slot has an unusable name", "例如 thing1", "for example thing1"))
		}
	}
	return bad
}

// Variant returns the content for a locale, or the Chinese one.
func (b Body) Variant(l Locale) (Content, Locale) {
	if c, ok := b.Variants[l]; ok {
		return c, l
	}
	return b.Variants[ZH], ZH
}

// Examples returns the example value of every variable, for previews without data.
func (b Body) Examples() map[string]any {
	out := map[string]any{}
	for _, v := range b.Variables {
		if v.Example != nil {
			out[v.Name] = v.Example
		}
	}
	return out
}
