package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Follow lets a person follow an official account, through a QR code with the scene or without one.
func (s *Server) Follow(person, appid, scene string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.find(person, appid)
	if err != nil {
		return err
	}
	openid := OpenID(appid, person)
	a.known[openid], a.followers[openid] = person, person
	a.open(openid, s.now(), false)
	fields := map[string]string{"EventKey": ""}
	if scene != "" {
		fields = map[string]string{"EventKey": "qrscene_" + scene, "Ticket": "gQ" + derive("ticket", appid, scene)}
	}
	s.event(a, openid, "subscribe", fields)
	return nil
}

// SeedFollower makes a person a follower without telling anybody, as those who followed before the product came.
func (s *Server) SeedFollower(person, appid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.find(person, appid)
	if err != nil {
		return err
	}
	openid := OpenID(appid, person)
	a.known[openid], a.followers[openid] = person, person
	return nil
}

// Unfollow ends it.
func (s *Server) Unfollow(person, appid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.find(person, appid)
	if err != nil {
		return err
	}
	openid := OpenID(appid, person)
	if _, follows := a.followers[openid]; !follows {
		return fmt.Errorf("sandbox: %s does not follow %s", person, appid)
	}
	delete(a.followers, openid)
	delete(a.windows, openid)
	s.event(a, openid, "unsubscribe", map[string]string{"EventKey": ""})
	return nil
}

// follower is for acts that only followers can do. The caller holds the lock.
func (s *Server) follower(person, appid string) (string, *app, error) {
	_, a, err := s.find(person, appid)
	if err != nil {
		return "", nil, err
	}
	openid := OpenID(appid, person)
	if _, follows := a.followers[openid]; !follows && !a.Mini {
		return "", nil, fmt.Errorf("sandbox: %s does not follow %s", person, appid)
	}
	a.known[openid] = person
	return openid, a, nil
}

// Click lets a follower tap a menu entry.
func (s *Server) Click(person, appid, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	openid, a, err := s.follower(person, appid)
	if err != nil {
		return err
	}
	a.open(openid, s.now(), false)
	s.event(a, openid, "CLICK", map[string]string{"EventKey": key})
	return nil
}

// Scan lets a person scan a QR code of the account: followers raise SCAN, others follow.
func (s *Server) Scan(person, appid, scene string) error {
	s.mu.Lock()
	openid, a, err := s.follower(person, appid)
	if err != nil {
		s.mu.Unlock()
		return s.Follow(person, appid, scene)
	}
	defer s.mu.Unlock()
	a.open(openid, s.now(), false)
	s.event(a, openid, "SCAN", map[string]string{"EventKey": scene, "Ticket": "gQ" + derive("ticket", appid, scene)})
	return nil
}

// Say lets a person write to the account.
func (s *Server) Say(person, appid, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	openid, a, err := s.follower(person, appid)
	if err != nil {
		return err
	}
	a.open(openid, s.now(), true)
	a.lastMsgID++
	s.push(a, openid, "text", [][2]string{{"Content", text}, {"MsgId", strconv.FormatInt(a.lastMsgID, 10)}}, 0, "", nil)
	return nil
}

// Grant lets a mini-program user allow n messages of a template (or refuse, with n = 0): one
// popup each, a second apart, since WeChat tells events apart by the second.
func (s *Server) Grant(person, appid, template string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	openid, a, err := s.follower(person, appid)
	if err != nil {
		return err
	}
	a.grants[openid+"\x00"+template] += n
	answers := max(n, 1)
	for i := range answers {
		status := "accept"
		if n == 0 {
			status = "reject"
		}
		s.listEvent(a, openid, "subscribe_msg_popup_event", i, "SubscribeMsgPopupEvent", []map[string]string{
			{"TemplateId": template, "SubscribeStatusString": status, "PopupScene": "0"},
		})
	}
	return nil
}

// SeedGrants gives grants without telling anybody.
func (s *Server) SeedGrants(person, appid, template string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	openid, a, err := s.follower(person, appid)
	if err != nil {
		return err
	}
	a.grants[openid+"\x00"+template] += n
	return nil
}

// LoginCode is what wx.login returns on the person's phone.
func (s *Server) LoginCode(person, appid string) (string, error) {
	return s.personCode(person, appid, "login")
}

// PhoneCode is what the phone-number button returns.
func (s *Server) PhoneCode(person, appid string) (string, error) {
	return s.personCode(person, appid, "phone")
}

func (s *Server) personCode(person, appid, kind string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.find(person, appid)
	if err != nil {
		return "", err
	}
	a.known[OpenID(appid, person)] = person
	return s.newCode(a, kind, person, ""), nil
}

// tap opens an address on a member's phone. Only lianke itself is reached; anything else is not followed.
func (s *Server) tap(ctx context.Context, method, address, form string) int {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return 0
	}
	host := u.Host
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		s.mu.Lock()
		public := s.opt.Public
		s.mu.Unlock()
		if public == "" {
			return 0
		}
		u.Scheme, u.Host = "http", public
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(form))
	if err != nil {
		return 0
	}
	req.Host = host
	req.Header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 MicroMessenger/8.0.50")
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	e := Exchange{At: s.Now(), Route: "tap " + method + " " + host + u.Path, Query: u.RawQuery, Request: form}
	e.Status, e.Response = s.call(req)
	s.keep(e)
	return e.Status
}
