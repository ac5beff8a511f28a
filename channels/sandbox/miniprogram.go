package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func (s *Server) miniProgramRoutes(mux *http.ServeMux) {
	const api = " api.weixin.qq.com"
	mux.HandleFunc("GET"+api+"/sns/jscode2session", s.codeToSession)
	mux.HandleFunc("POST"+api+"/wxa/business/getuserphonenumber", s.withApp(s.phoneNumber))
	mux.HandleFunc("POST"+api+"/cgi-bin/message/subscribe/send", s.withApp(s.postSubscribe))
}

func (s *Server) codeToSession(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	a, bad := s.authenticate(q.Get("appid"), q.Get("secret"))
	var c *code
	if bad == nil {
		c, bad = s.useCode(a, "login", q.Get("js_code"))
	}
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	var key [16]byte
	_, _ = rand.Read(key[:])
	openid := OpenID(a.AppID, c.person)
	a.sessions[openid] = base64.StdEncoding.EncodeToString(key[:])
	out := map[string]any{"openid": openid, "session_key": a.sessions[openid]}
	if u := a.unionID(c.person); u != "" {
		out["unionid"] = u
	}
	writeJSON(w, out)
}

func (s *Server) phoneNumber(w http.ResponseWriter, r *http.Request, a *app) {
	var in struct {
		Code string `json:"code"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		s.weixinError(w, weixinNotJSON)
		return
	}
	c, bad := s.useCode(a, "phone", in.Code)
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	phone := s.people[c.person].Phone
	writeJSON(w, map[string]any{"errcode": 0, "errmsg": "ok", "phone_info": map[string]any{
		"phoneNumber": phone, "purePhoneNumber": strings.TrimPrefix(phone, "+86"), "countryCode": "86",
		"watermark": map[string]any{"timestamp": s.now().Unix(), "appid": a.AppID},
	}})
}

// postSubscribe sends a subscribe message against one grant.
func (s *Server) postSubscribe(w http.ResponseWriter, r *http.Request, a *app) {
	var in templateRequest
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		s.weixinError(w, weixinNotJSON)
		return
	}
	grant := in.ToUser + "\x00" + in.TemplateID
	bad := a.checkFields(in.TemplateID, in.fields())
	switch {
	case !a.Mini:
		bad = &weixinUnauthorized
	case len(in.ToUser) != 28 || in.ToUser[0] != 'o':
		bad = &weixinBadOpenID
	case strings.HasPrefix(in.Page, "/") || strings.Contains(in.Page, "://"):
		bad = &weixinBadPage
	case bad == nil && a.grants[grant] <= 0:
		bad = &weixinRefused
	}
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	a.grants[grant]--
	a.lastMsgID++
	id := strconv.FormatInt(a.lastMsgID, 10)
	sent := Sent{
		At: s.now(), Provider: "miniprogram", Account: a.AppID, To: in.ToUser, ProviderID: id,
		Template: in.TemplateID, Fields: in.fields(), Page: in.Page,
	}
	if err := s.ledger.add(sent); err != nil {
		s.weixinError(w, weixinBusy)
		return
	}
	writeJSON(w, map[string]any{"errcode": 0, "errmsg": "ok", "msgid": a.lastMsgID})
	s.finishSubscribe(a, sent)
}

// finishSubscribe reports the delivery, and lets the member react.
func (s *Server) finishSubscribe(a *app, sent Sent) {
	wait := time.Second + time.Duration(s.draw(sent, "receipt")*float64(2*time.Second))
	s.schedule(wait, sent.To, func(ctx context.Context) {
		s.mu.Lock()
		failed := s.reacts(sent, "fail")
		item := map[string]string{"TemplateId": sent.Template, "MsgID": sent.ProviderID, "ErrorCode": "0", "ErrorStatus": "success"}
		if failed {
			item["ErrorCode"], item["ErrorStatus"] = "1", "failed"
		}
		s.listEvent(a, sent.To, "subscribe_msg_sent_event", 0, "SubscribeMsgSentEvent", []map[string]string{item})
		person := a.known[sent.To]
		s.mu.Unlock()
		if !failed {
			s.react(sent, person, reading{page: sent.Page})
		}
	})
}
