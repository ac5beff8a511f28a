package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// code is a one-time code: login, phone number or OAuth.
type code struct {
	kind    string
	person  string
	scope   string
	expires time.Time
	used    bool
}

// codeLife is how long a code can be exchanged.
const codeLife = 5 * time.Minute

// newCode makes a code under the lock.
func (s *Server) newCode(a *app, kind, person, scope string) string {
	value := newToken(kind)[:32]
	a.codes[value] = &code{kind: kind, person: person, scope: scope, expires: s.now().Add(codeLife)}
	return value
}

// useCode exchanges a code once.
func (s *Server) useCode(a *app, kind, value string) (*code, *weixinCode) {
	c := a.codes[value]
	switch {
	case c == nil, c.kind != kind:
		return nil, &weixinBadCode
	case c.used:
		return nil, &weixinCodeUsed
	case !s.now().Before(c.expires):
		return nil, &weixinBadCode
	}
	c.used = true
	return c, nil
}

func (s *Server) userInfo(a *app, openid string) map[string]any {
	person, follows := a.followers[openid]
	if !follows {
		return map[string]any{"subscribe": 0, "openid": openid, "tagid_list": []int{}}
	}
	info := map[string]any{
		"subscribe": 1, "openid": openid, "nickname": "", "sex": 0, "language": "zh_CN", "city": "", "province": "", "country": "",
		"headimgurl": "", "subscribe_time": s.now().Unix(), "remark": "", "groupid": 0, "tagid_list": []int{},
		"subscribe_scene": "ADD_SCENE_QR_CODE", "qr_scene": 0, "qr_scene_str": "",
	}
	if u := a.unionID(person); u != "" {
		info["unionid"] = u
	}
	return info
}

func (s *Server) getUser(w http.ResponseWriter, r *http.Request, a *app) {
	openid := r.URL.Query().Get("openid")
	if len(openid) != 28 {
		s.weixinError(w, weixinBadOpenID)
		return
	}
	writeJSON(w, s.userInfo(a, openid))
}

func (s *Server) batchGetUsers(w http.ResponseWriter, r *http.Request, a *app) {
	var in struct {
		UserList []struct {
			OpenID string `json:"openid"`
		} `json:"user_list"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.UserList) > 100 {
		s.weixinError(w, weixinNotJSON)
		return
	}
	list := make([]map[string]any, 0, len(in.UserList))
	for _, u := range in.UserList {
		list = append(list, s.userInfo(a, u.OpenID))
	}
	writeJSON(w, map[string]any{"user_info_list": list})
}

// listPage is how many followers one page of the list holds.
const listPage = 10_000

func (s *Server) listUsers(w http.ResponseWriter, r *http.Request, a *app) {
	all := make([]string, 0, len(a.followers))
	for o := range a.followers {
		all = append(all, o)
	}
	slices.Sort(all)
	from, _ := slices.BinarySearch(all, r.URL.Query().Get("next_openid")+"\x00")
	if r.URL.Query().Get("next_openid") == "" {
		from = 0
	}
	page := all[from:min(from+listPage, len(all))]
	out := map[string]any{"total": len(all), "count": len(page), "data": map[string]any{"openid": page}, "next_openid": ""}
	if len(page) > 0 {
		out["next_openid"] = page[len(page)-1]
	}
	writeJSON(w, out)
}

func (s *Server) createQR(w http.ResponseWriter, r *http.Request, a *app) {
	var in struct {
		ExpireSeconds int    `json:"expire_seconds"`
		ActionName    string `json:"action_name"`
		ActionInfo    struct {
			Scene struct {
				Str string `json:"scene_str"`
				ID  int    `json:"scene_id"`
			} `json:"scene"`
		} `json:"action_info"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		s.weixinError(w, weixinNotJSON)
		return
	}
	scene := in.ActionInfo.Scene.Str
	if scene == "" {
		scene = fmt.Sprint(in.ActionInfo.Scene.ID)
	}
	ticket := "gQ" + derive("ticket", a.AppID, scene)
	// No errmsg on success: WeChat omits it here, and the SDK takes any text for a failure.
	out := map[string]any{"ticket": ticket, "url": "http://weixin.qq.com/q/" + ticket[:22]}
	if in.ExpireSeconds > 0 {
		out["expire_seconds"] = in.ExpireSeconds
	}
	writeJSON(w, out)
}

// authorize plays the page on which a person allows a web page to know them; sandbox_person says who holds the phone.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.find(q.Get("sandbox_person"), q.Get("appid"))
	back, parseErr := url.Parse(q.Get("redirect_uri"))
	scope := q.Get("scope")
	if err != nil || parseErr != nil || back.Host == "" || q.Get("response_type") != "code" || scope != "snsapi_base" && scope != "snsapi_userinfo" {
		http.Error(w, "参数错误", http.StatusBadRequest)
		return
	}
	v := back.Query()
	v.Set("code", s.newCode(a, "oauth", q.Get("sandbox_person"), scope))
	v.Set("state", q.Get("state"))
	back.RawQuery = v.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (s *Server) oauthToken(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	a, bad := s.authenticate(q.Get("appid"), q.Get("secret"))
	var c *code
	if bad == nil {
		c, bad = s.useCode(a, "oauth", q.Get("code"))
	}
	if bad != nil {
		s.weixinError(w, *bad)
		return
	}
	access := newToken("sns")
	a.codes[access] = &code{kind: "sns", person: c.person, scope: c.scope, expires: s.now().Add(tokenLife)}
	out := map[string]any{
		"access_token": access, "expires_in": int(tokenLife.Seconds()), "refresh_token": newToken("refresh"),
		"openid": OpenID(a.AppID, c.person), "scope": c.scope,
	}
	if u := a.unionID(c.person); u != "" && c.scope == "snsapi_userinfo" {
		out["unionid"] = u
	}
	writeJSON(w, out)
}

func (s *Server) oauthUser(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		c := a.codes[q.Get("access_token")]
		if c == nil || c.kind != "sns" {
			continue
		}
		switch {
		case !s.now().Before(c.expires):
			s.weixinError(w, weixinTokenExpired)
		case OpenID(a.AppID, c.person) != q.Get("openid"):
			s.weixinError(w, weixinBadOpenID)
		case c.scope != "snsapi_userinfo":
			s.weixinError(w, weixinUnauthorized)
		default:
			out := map[string]any{"openid": q.Get("openid"), "nickname": s.people[c.person].Name, "sex": 0, "privilege": []string{}}
			if u := a.unionID(c.person); u != "" {
				out["unionid"] = u
			}
			writeJSON(w, out)
		}
		return
	}
	s.weixinError(w, weixinBadToken)
}
