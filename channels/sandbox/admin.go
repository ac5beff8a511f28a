package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// adminRoutes is the remote control, plain HTTP on a loopback port of its own: what the methods of Server do in Go.
//
//	GET  /__sandbox/state                      addresses, clock, counts
//	POST /__sandbox/clock      {"advance":"48h"}
//	POST /__sandbox/apps       App              POST /__sandbox/sms-accounts  SMSAccount
//	POST /__sandbox/people     Person           POST /__sandbox/pay-merchants PayMerchant
//	POST /__sandbox/act        {"do":"follow","person":"p1","appid":"wx…","value":"scene"}
//	POST /__sandbox/mail       {"users":{},"no_mailbox":[],"bounce_later":[],"bounces_to":"host:port"}
//	POST /__sandbox/reactions  {"seed":1,"reactions":{"email":{"open":0.4,"click":0.2}}}
//	POST /__sandbox/faults     [Fault]          DELETE /__sandbox/faults
//	POST /__sandbox/pump       deliver what is due, answer when done
//	GET  /__sandbox/exchanges?route=            GET /__sandbox/sends?provider=    GET /__sandbox/mails
func (s *Server) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	reply := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			out, err := f(r)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusUnprocessableEntity)
				out = map[string]any{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(out)
		})
	}
	reply("GET /__sandbox/state", func(*http.Request) (any, error) { return s.state(), nil })
	reply("POST /__sandbox/clock", func(r *http.Request) (any, error) {
		in, err := decode[struct{ Advance string }](r)
		if err != nil {
			return nil, err
		}
		d, err := time.ParseDuration(in.Advance)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("advance: want a positive duration such as \"48h\"")
		}
		s.Advance(d)
		return s.state(), nil
	})
	reply("POST /__sandbox/apps", func(r *http.Request) (any, error) { return ok(decodeTo(r, s.AddApp)) })
	reply("POST /__sandbox/sms-accounts", func(r *http.Request) (any, error) { return ok(decodeTo(r, s.AddSMSAccount)) })
	reply("POST /__sandbox/pay-merchants", func(r *http.Request) (any, error) {
		in, err := decode[PayMerchant](r)
		if err != nil {
			return nil, err
		}
		key, err := s.AddPayMerchant(in)
		return map[string]string{"platform_id": PayPlatformID, "platform_key": key}, err
	})
	reply("POST /__sandbox/people", func(r *http.Request) (any, error) {
		return ok(decodeTo(r, func(p Person) error {
			if p.ID == "" {
				return errors.New("a person needs an id")
			}
			s.AddPerson(p)
			return nil
		}))
	})
	reply("POST /__sandbox/act", func(r *http.Request) (any, error) {
		in, err := decode[Act](r)
		if err != nil {
			return nil, err
		}
		return s.Do(in)
	})
	reply("POST /__sandbox/mail", func(r *http.Request) (any, error) { return ok(decodeTo(r, s.setMail)) })
	reply("POST /__sandbox/reactions", func(r *http.Request) (any, error) {
		in, err := decode[struct {
			Seed      uint64
			Reactions Reactions
		}](r)
		if err != nil {
			return nil, err
		}
		s.SetReactions(in.Seed, in.Reactions)
		return ok(nil)
	})
	reply("POST /__sandbox/faults", func(r *http.Request) (any, error) {
		return ok(decodeTo(r, func(f []Fault) error { s.Inject(f...); return nil }))
	})
	reply("DELETE /__sandbox/faults", func(*http.Request) (any, error) { s.ClearFaults(); return ok(nil) })
	reply("POST /__sandbox/pump", func(r *http.Request) (any, error) {
		return map[string]int{"attempts": s.Pump(r.Context())}, nil
	})
	reply("GET /__sandbox/exchanges", func(r *http.Request) (any, error) { return s.Exchanges(r.URL.Query().Get("route")), nil })
	reply("GET /__sandbox/sends", func(r *http.Request) (any, error) { return s.Sends(r.URL.Query().Get("provider")), nil })
	reply("GET /__sandbox/mails", func(*http.Request) (any, error) { return s.Mails(), nil })
	return mux
}

func ok(err error) (any, error) { return map[string]bool{"ok": true}, err }

func decode[T any](r *http.Request) (T, error) {
	var in T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return in, fmt.Errorf("body: %w", err)
	}
	return in, nil
}

func decodeTo[T any](r *http.Request, f func(T) error) error {
	in, err := decode[T](r)
	if err != nil {
		return err
	}
	return f(in)
}

func (s *Server) state() map[string]any {
	next, pending := s.Next()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{
		"route": s.route, "now": s.now(), "people": len(s.people), "apps": len(s.apps), "exchanges": s.seq, "faults": len(s.faults),
	}
	if pending {
		out["next"] = next
	}
	return out
}

type mailSettings struct {
	Users       map[string]string `json:"users"`
	NoMailbox   []string          `json:"no_mailbox"`
	BounceLater []string          `json:"bounce_later"`
	BouncesTo   string            `json:"bounces_to"`
}

func (s *Server) setMail(in mailSettings) error {
	for u, p := range in.Users {
		s.MailUser(u, p)
	}
	for _, a := range in.NoMailbox {
		s.NoMailbox(a, false)
	}
	for _, a := range in.BounceLater {
		s.NoMailbox(a, true)
	}
	if in.BouncesTo != "" {
		s.BouncesTo(in.BouncesTo)
	}
	return nil
}

// Act is something a person does, as the remote control takes it.
type Act struct {
	Do     string `json:"do"` // follow unfollow click scan say grant seed_follower seed_grants login_code phone_code reply pay
	Person string `json:"person"`
	AppID  string `json:"appid"`
	Value  string `json:"value"` // scene, menu key, text, template, reply, out_trade_no
	Count  int    `json:"count"` // grants
}

// Do acts as a person. Codes come back under "code".
func (s *Server) Do(in Act) (any, error) {
	switch in.Do {
	case "follow":
		return ok(s.Follow(in.Person, in.AppID, in.Value))
	case "unfollow":
		return ok(s.Unfollow(in.Person, in.AppID))
	case "click":
		return ok(s.Click(in.Person, in.AppID, in.Value))
	case "scan":
		return ok(s.Scan(in.Person, in.AppID, in.Value))
	case "say":
		return ok(s.Say(in.Person, in.AppID, in.Value))
	case "grant":
		return ok(s.Grant(in.Person, in.AppID, in.Value, in.Count))
	case "seed_follower":
		return ok(s.SeedFollower(in.Person, in.AppID))
	case "seed_grants":
		return ok(s.SeedGrants(in.Person, in.AppID, in.Value, in.Count))
	case "login_code":
		code, err := s.LoginCode(in.Person, in.AppID)
		return map[string]string{"code": code}, err
	case "phone_code":
		code, err := s.PhoneCode(in.Person, in.AppID)
		return map[string]string{"code": code}, err
	case "pay":
		return ok(s.Pay(in.Value))
	case "reply":
		s.mu.Lock()
		p := s.people[in.Person]
		s.mu.Unlock()
		if p == nil {
			return nil, fmt.Errorf("sandbox: no person %q", in.Person)
		}
		return ok(s.Reply(p.Phone, in.Value))
	default:
		return nil, fmt.Errorf("sandbox: nobody can %q", in.Do)
	}
}
