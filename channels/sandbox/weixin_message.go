package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/clock"
)

// window is what the account may still say to a person in free form. Each action of the person refills its own
// allowance to the maximum; it does not add up.
type window struct {
	chat  allowance // a message from the person
	brief allowance // menu click, follow, scan
}

type allowance struct {
	left  int
	until time.Time
}

// The customer-service allowances since June 2023.
const (
	chatMessages  = 5
	chatWindow    = 48 * time.Hour
	briefMessages = 3
	briefWindow   = time.Minute
)

// open refills an allowance of a person.
func (a *app) open(openid string, now time.Time, chat bool) {
	w := a.windows[openid]
	if w == nil {
		w = &window{}
		a.windows[openid] = w
	}
	if chat {
		w.chat = allowance{chatMessages, now.Add(chatWindow)}
	} else {
		w.brief = allowance{briefMessages, now.Add(briefWindow)}
	}
}

// spend takes one message, from the allowance that ends first.
func (a *app) spend(openid string, now time.Time) *weixinCode {
	w := a.windows[openid]
	if w == nil {
		return &weixinWindowClosed
	}
	inWindow := false
	for _, al := range []*allowance{&w.brief, &w.chat} {
		if now.Before(al.until) {
			inWindow = true
			if al.left > 0 {
				al.left--
				return nil
			}
		}
	}
	if inWindow {
		return &weixinWindowUsed
	}
	return &weixinWindowClosed
}

type sentKey struct {
	msgID int64
	at    time.Time
}

// dedupeFor is how long WeChat recognises a client_msg_id.
const dedupeFor = 10 * time.Minute

type templateRequest struct {
	ToUser      string `json:"touser"`
	TemplateID  string `json:"template_id"`
	URL         string `json:"url"`
	Page        string `json:"page"`
	MiniProgram struct {
		AppID    string `json:"appid"`
		PagePath string `json:"pagepath"`
	} `json:"miniprogram"`
	Data        map[string]struct{ Value any } `json:"data"`
	ClientMsgID string                         `json:"client_msg_id"`
}

func (t templateRequest) fields() map[string]string {
	m := make(map[string]string, len(t.Data))
	for k, v := range t.Data {
		m[k] = fmt.Sprint(v.Value)
	}
	return m
}

func (s *Server) postTemplate(w http.ResponseWriter, r *http.Request, a *app) {
	var in templateRequest
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		s.weixinError(w, weixinNotJSON)
		return
	}
	now := s.now()
	dedupe := in.ToUser + "\x00" + in.ClientMsgID
	if k, ok := a.sent[dedupe]; ok && in.ClientMsgID != "" && now.Sub(k.at) < dedupeFor {
		writeJSON(w, map[string]any{"errcode": 0, "errmsg": "ok", "msgid": k.msgID})
		return
	}
	if bad := s.checkTemplate(a, in, now); bad != nil {
		s.weixinError(w, *bad)
		return
	}
	a.lastMsgID++
	id := a.lastMsgID
	if in.ClientMsgID != "" {
		a.sent[dedupe] = sentKey{id, now}
	}
	sent := Sent{
		At: now, Provider: "wechat", Account: a.AppID, To: in.ToUser, Key: in.ClientMsgID, ProviderID: strconv.FormatInt(id, 10),
		Template: in.TemplateID, Fields: in.fields(), URL: in.URL, Page: in.MiniProgram.PagePath,
	}
	if err := s.ledger.add(sent); err != nil {
		s.weixinError(w, weixinBusy)
		return
	}
	a.count++
	writeJSON(w, map[string]any{"errcode": 0, "errmsg": "ok", "msgid": id})
	s.finishTemplate(a, sent)
}

func (s *Server) checkTemplate(a *app, in templateRequest, now time.Time) *weixinCode {
	switch _, follows := a.followers[in.ToUser]; {
	case a.Mini:
		return &weixinUnauthorized
	case len(in.ToUser) != 28 || in.ToUser[0] != 'o':
		return &weixinBadOpenID
	case !follows:
		return &weixinNotFollowing
	}
	if bad := a.checkFields(in.TemplateID, in.fields()); bad != nil {
		return bad
	}
	if today := clock.DayOf(now).String(); a.day != today {
		a.day, a.count = today, 0
	}
	if a.count >= a.Daily {
		return &weixinDailyQuota
	}
	return nil
}

// checkFields holds the values against the template and the rules of their types.
func (a *app) checkFields(template string, fields map[string]string) *weixinCode {
	t, known := a.Template[template]
	if a.Template != nil && !known || template == "" {
		return &weixinBadTemplate
	}
	for _, f := range t.Fields {
		if fields[f] == "" {
			bad := weixinBadValue(f, "is empty")
			return &bad
		}
	}
	for f, v := range fields {
		if !validValue(f, v) {
			bad := weixinBadValue(f, "invalid")
			return &bad
		}
	}
	return nil
}

var (
	fieldType  = regexp.MustCompile(`^(thing|character_string|phrase|amount|time|date|name|number|letter|symbol|phone_number|car_number)\d*$`)
	amountForm = regexp.MustCompile(`^[¥$]?\d{1,10}(\.\d{1,2})?元?$`)
	timeForm   = regexp.MustCompile(`^(\d{4}年\d{1,2}月\d{1,2}日|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}月\d{1,2}日)?( ?\d{1,2}:\d{2}(:\d{2})?)?(~.+)?$`)
	phraseForm = regexp.MustCompile(`^\p{Han}{1,5}$`)
	nameForm   = regexp.MustCompile(`^(\p{Han}{1,10}|[A-Za-z .]{1,20})$`)
	asciiForm  = regexp.MustCompile(`^[\x20-\x7e]{1,32}$`)
	numberForm = regexp.MustCompile(`^-?\d{1,32}(\.\d+)?$`)
	phoneForm  = regexp.MustCompile(`^[0-9+\- ]{1,17}$`)
)

// validValue applies the documented rule of a keyword's type; names without a type are free.
func validValue(field, v string) bool {
	m := fieldType.FindStringSubmatch(field)
	if m == nil {
		return true
	}
	switch m[1] {
	case "thing":
		return utf8.RuneCountInString(v) <= 20 && v != "" && !strings.ContainsAny(v, "\n\r")
	case "character_string":
		return asciiForm.MatchString(v)
	case "phrase":
		return phraseForm.MatchString(v)
	case "amount":
		return amountForm.MatchString(v)
	case "time", "date":
		return v != "" && timeForm.MatchString(v)
	case "name":
		return nameForm.MatchString(v)
	case "number":
		return numberForm.MatchString(v)
	case "phone_number":
		return phoneForm.MatchString(v)
	default:
		return v != "" && utf8.RuneCountInString(v) <= 32
	}
}

// finishTemplate sends the receipt a moment later, and lets the member react.
func (s *Server) finishTemplate(a *app, sent Sent) {
	person := a.followers[sent.To]
	wait := time.Second + time.Duration(s.draw(sent, "receipt")*float64(2*time.Second))
	s.schedule(wait, sent.To, func(context.Context) {
		s.mu.Lock()
		status := "success"
		if _, follows := a.followers[sent.To]; !follows {
			status = "failed:user block"
		} else if s.reacts(sent, "fail") {
			status = "failed: system failed"
		}
		s.event(a, sent.To, "TEMPLATESENDJOBFINISH", map[string]string{"MsgID": sent.ProviderID, "Status": status})
		s.mu.Unlock()
		if status == "success" {
			s.react(sent, person, reading{urls: []string{sent.URL}})
		}
	})
}

func (s *Server) postCustom(w http.ResponseWriter, r *http.Request, a *app) {
	var in struct {
		ToUser  string `json:"touser"`
		MsgType string `json:"msgtype"`
		Text    struct {
			Content string `json:"content"`
		} `json:"text"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.MsgType == "" {
		s.weixinError(w, weixinNotJSON)
		return
	}
	if in.MsgType == "text" && len(in.Text.Content) > 2048 {
		s.weixinError(w, weixinTooLong)
		return
	}
	if bad := a.spend(in.ToUser, s.now()); bad != nil {
		s.weixinError(w, *bad)
		return
	}
	a.lastMsgID++
	err := s.ledger.add(Sent{
		At: s.now(), Provider: "wechat_custom", Account: a.AppID, To: in.ToUser,
		ProviderID: strconv.FormatInt(a.lastMsgID, 10), Fields: map[string]string{"content": in.Text.Content},
	})
	if err != nil {
		s.weixinError(w, weixinBusy)
		return
	}
	weixinOK(w)
}
