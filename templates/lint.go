package templates

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Finding is something a reader would object to. Errors stop a publication, warnings do not.
type Finding struct {
	Path  string `json:"path"`
	Code  string `json:"code"`
	Error bool   `json:"error"`
	ZH    string `json:"zh"`
	EN    string `json:"en"`
}

var (
	promotional  = []string{"促销", "优惠", "特价", "抢购", "秒杀", "限时", "折扣", "满减", "免费领", "红包", "抽奖", "大促", "清仓", "买一送一", "sale", "discount", "% off", "free gift", "limited time"}
	inducing     = []string{"转发到朋友圈", "分享到朋友圈", "分享后可领", "转发后可领", "邀请好友关注", "集赞"}
	superlatives = []string{"国家级", "最高级", "最佳", "全网最低", "第一品牌"}
	optOutSMS    = regexp.MustCompile(`拒收请回复\s*[RrTt]|回复?\s*[RrTtNn]\s*退订|退订回?复?\s*[RrTtNn]|reply\s+(STOP|[RT])`)
	hrefVariable = regexp.MustCompile(`(?i)(?:href|src)\s*=\s*["']?\s*\{\{\s*([a-z0-9_.]+)`)
	hrefLiteral  = regexp.MustCompile(`(?i)(?:href|src)\s*=\s*["']\s*([^"'{]+)`)
	slotLimits   = map[string]int{"thing": 20, "name": 10, "phrase": 5, "character_string": 32, "letter": 32, "symbol": 5}
	slotKind     = regexp.MustCompile(`^([a-z_]+?)\d+(\.DATA)?$`)
	liquidPart   = regexp.MustCompile(`\{\{.*?\}\}|\{%.*?%\}`)
)

// Lint reads the template with the eyes of the provider's reviewer and of the law.
func Lint(t Template) []Finding {
	var out []Finding
	for _, locale := range slices.Sorted(maps.Keys(t.Body.Variants)) {
		l := linter{path: fmt.Sprintf("body.variants.%s", locale), t: t}
		l.content(t.Body.Variants[locale])
		out = append(out, l.found...)
	}
	return out
}

type linter struct {
	path  string
	t     Template
	found []Finding
}

func (l *linter) add(isError bool, path, code, zh, en string) {
	l.found = append(l.found, Finding{Path: l.path + "." + path, Code: code, Error: isError, ZH: zh, EN: en})
}

func (l *linter) content(c Content) {
	for _, txt := range c.texts() {
		lower := strings.ToLower(txt.source)
		if word := first(lower, promotional); word != "" && l.t.Lane == LaneTransaction {
			l.add(true, txt.path, "marketing_in_transaction", "交易类消息不得含营销内容:"+word, "a transaction message must not advertise: "+word)
		} else if word != "" && l.t.Channel == ChannelWeChat {
			l.add(true, txt.path, "marketing_in_wechat", "公众号模板消息不得含营销内容:"+word, "a WeChat template message must not advertise: "+word)
		}
		if word := first(lower, inducing); word != "" {
			l.add(true, txt.path, "inducing", "不得诱导分享或关注:"+word, "inducing to share or follow is banned: "+word)
		}
		if word := first(lower, superlatives); word != "" {
			l.add(false, txt.path, "superlative", "广告法禁用的极限用语:"+word, "a superlative that the advertising law bans: "+word)
		}
	}
	switch l.t.Channel {
	case ChannelSMS:
		l.sms(c)
	case ChannelEmail:
		l.email(c)
	case ChannelWeChat, ChannelMiniProgram:
		l.slots(c)
	}
	if strings.HasPrefix(c.URL, "http://") {
		l.add(false, "url", "insecure_link", "链接应使用 https", "the link should use https")
	}
}

func (l *linter) sms(c Content) {
	if l.t.Lane == LaneMarketing && !optOutSMS.MatchString(c.Text) {
		l.add(true, "text", "missing_opt_out", "营销短信须含退订方式,例如“拒收请回复R”", "a marketing SMS must say how to opt out, such as 拒收请回复R")
	}
	if strings.HasPrefix(c.Text, "【") {
		l.add(false, "text", "signature_in_text", "签名由账号添加,无需写在正文", "the account adds the signature; do not write it")
	}
	if n := utf8.RuneCountInString(liquidPart.ReplaceAllString(c.Text, "")); n > 70 {
		l.add(false, "text", "segments", fmt.Sprintf("固定文字 %d 字,将按多条计费", n), fmt.Sprintf("%d fixed characters: billed as several messages", n))
	}
}

func (l *linter) email(c Content) {
	if l.t.Lane == LaneMarketing && !strings.Contains(c.HTML, "unsubscribe_url") {
		l.add(true, "html", "missing_unsubscribe", "营销邮件须含退订链接 {{ unsubscribe_url }}", "a marketing mail must hold the link {{ unsubscribe_url }}")
	}
	for _, m := range hrefVariable.FindAllStringSubmatch(c.HTML, -1) {
		if !l.isURL(m[1]) {
			l.add(true, "html", "unsafe_link", "链接中的变量须为 url 类型:"+m[1], "a variable that begins a link must be of kind url: "+m[1])
		}
	}
	for _, m := range hrefLiteral.FindAllStringSubmatch(c.HTML, -1) {
		target := strings.ToLower(strings.TrimSpace(m[1]))
		switch {
		case strings.HasPrefix(target, "https://"), strings.HasPrefix(target, "mailto:"), strings.HasPrefix(target, "tel:"), strings.HasPrefix(target, "cid:"):
		case strings.HasPrefix(target, "http://"):
			l.add(false, "html", "insecure_link", "链接应使用 https", "the link should use https")
		default:
			l.add(true, "html", "unsafe_link", "链接协议不被允许", "a link of this kind is not allowed")
		}
	}
	if c.Text == "" {
		l.add(false, "text", "missing_text", "建议提供纯文本正文", "a plain-text body is recommended")
	}
}

func (l *linter) isURL(path string) bool {
	root, _, nested := strings.Cut(path, ".")
	if path == "unsubscribe_url" {
		return true
	}
	return !nested && slices.ContainsFunc(l.t.Body.Variables, func(v Variable) bool { return v.Name == root && v.Kind == KindURL })
}

func (l *linter) slots(c Content) {
	for name, source := range c.Fields {
		m := slotKind.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if limit, ok := slotLimits[m[1]]; ok {
			if n := utf8.RuneCountInString(liquidPart.ReplaceAllString(source, "")); n > limit {
				l.add(true, "fields."+name, "slot_too_long", fmt.Sprintf("该字段最多 %d 字", limit), fmt.Sprintf("this slot holds at most %d characters", limit))
			}
		}
	}
}

func first(s string, words []string) string {
	for _, w := range words {
		if strings.Contains(s, w) {
			return w
		}
	}
	return ""
}
