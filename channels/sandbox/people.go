package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Person is one human. Their ids at the providers derive from ID and are the same in every run.
type Person struct {
	ID    string `json:"id"`
	Phone string `json:"phone,omitempty"`
	Email string `json:"email,omitempty"`
	Name  string `json:"name,omitempty"`
}

// AddPerson creates or replaces a person.
func (s *Server) AddPerson(p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[p.ID] = &p
}

// OpenID returns the id of a person under an appid: 28 characters that begin with o, as WeChat's.
func OpenID(appid, person string) string { return "o" + derive("openid", appid, person)[:27] }

// UnionID returns the id of a person under an Open Platform subject.
func UnionID(subject, person string) string { return "oU" + derive("unionid", subject, person)[:26] }

func derive(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// App is one official account or mini-program.
type App struct {
	AppID    string              `json:"appid"`
	Secret   string              `json:"secret"`
	Mini     bool                `json:"mini"`     // a mini-program
	Original string              `json:"original"` // gh_…; derived if empty
	Subject  string              `json:"subject"`  // Open Platform subject; empty = not bound: no unionid
	Token    string              `json:"token"`    // signs callbacks
	AESKey   string              `json:"aes_key"`  // 43 characters
	Mode     Mode                `json:"mode"`     // of callbacks
	JSON     bool                `json:"json"`     // mini-program callbacks in JSON
	Callback string              `json:"callback"` // address of the receiver; empty = none configured
	Template map[string]Template `json:"template"` // nil = every template id is known
	Daily    int                 `json:"daily"`    // template messages a day; 0 = 100,000
}

// Template is a message template of an app.
type Template struct {
	Title  string   `json:"title"`
	Fields []string `json:"fields"` // thing1, amount2 …
}

// Mode is how callbacks are protected.
type Mode string

// The modes of the developer settings.
const (
	ModePlain  Mode = "plain"  // signed, not encrypted
	ModeCompat Mode = "compat" // both forms in one body
	ModeSafe   Mode = "safe"   // encrypted
)

// app is the state of an App.
type app struct {
	App
	tokens    tokens
	known     map[string]string // openid → person, everyone ever seen
	followers map[string]string // openid → person
	windows   map[string]*window
	grants    map[string]int // openid + template → messages allowed
	codes     map[string]*code
	sent      map[string]sentKey // openid + client_msg_id → the message it made
	sessions  map[string]string  // openid → session_key
	day       string             // the day that count belongs to
	count     int
	lastMsgID int64
}

// AddApp creates an app, or changes its settings and keeps its followers and tokens.
func (s *Server) AddApp(a App) error {
	if a.AppID == "" {
		return fmt.Errorf("sandbox: an app needs an appid")
	}
	if a.Mode == "" {
		a.Mode = ModeSafe
	}
	if a.Mode != ModePlain && a.Callback != "" {
		if _, err := aesKey(a.AESKey); err != nil {
			return err
		}
	}
	if a.Original == "" {
		a.Original = "gh_" + fmt.Sprintf("%x", sha256.Sum256([]byte(a.AppID)))[:12]
	}
	if a.Daily == 0 {
		a.Daily = 100_000
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.apps[a.AppID]; old != nil {
		old.App = a
		return nil
	}
	s.apps[a.AppID] = &app{
		App: a, known: map[string]string{}, followers: map[string]string{}, windows: map[string]*window{}, grants: map[string]int{},
		codes: map[string]*code{}, sent: map[string]sentKey{}, sessions: map[string]string{}, lastMsgID: 3_000_000_000_000_000_000,
	}
	return nil
}

// find returns a person and an app under the lock.
func (s *Server) find(person, appid string) (*Person, *app, error) {
	p, a := s.people[person], s.apps[appid]
	if p == nil {
		return nil, nil, fmt.Errorf("sandbox: no person %q", person)
	}
	if a == nil {
		return nil, nil, fmt.Errorf("sandbox: no app %q", appid)
	}
	return p, a, nil
}

// unionID is empty while the app is not bound to a subject.
func (a *app) unionID(person string) string {
	if a.Subject == "" {
		return ""
	}
	return UnionID(a.Subject, person)
}
