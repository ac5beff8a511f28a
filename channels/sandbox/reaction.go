package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"time"
)

// Reactions say how members behave, by provider: wechat, miniprogram, sms, email. Without an entry they do nothing.
type Reactions map[string]Reaction

// Reaction holds the probabilities that a message is lost, seen, tapped, and answered with an opt-out. Whether a
// given message is, depends only on the seed and the message (its send key, or recipient and template where the
// protocol carries no key), not on the order in which messages arrive.
type Reaction struct {
	Fail   float64       `json:"fail"`
	Open   float64       `json:"open"`
	Click  float64       `json:"click"` // among those who open; for channels without opens, among all
	OptOut float64       `json:"opt_out"`
	Within time.Duration `json:"within"` // reactions come within this time; default one hour
}

// SetReactions changes how members behave from now on.
func (s *Server) SetReactions(seed uint64, r Reactions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed, s.reactions = seed, r
}

// draw is a number in [0,1) that belongs to the message and the question. The caller holds the lock.
func (s *Server) draw(m Sent, question string) float64 {
	key := m.Key
	if key == "" {
		key = m.To + "\x00" + m.Template + "\x00" + m.Page
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s", s.seed, m.Provider, key, question))
	return float64(binary.BigEndian.Uint64(h[:])>>11) / (1 << 53)
}

func (s *Server) reacts(m Sent, question string) bool {
	r, ok := s.reactions[m.Provider]
	if !ok {
		return false
	}
	p := map[string]float64{"fail": r.Fail, "open": r.Open, "click": r.Click, "opt_out": r.OptOut}[question]
	return s.draw(m, question) < p
}

// reading is what a delivered message offers a reader.
type reading struct {
	pixel       string
	urls        []string
	page        string
	unsubscribe string
}

// react lets the member read the message, and do about it what they do.
func (s *Server) react(m Sent, person string, offer reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.reactions[m.Provider]
	if !ok {
		return
	}
	within := r.Within
	if within == 0 {
		within = time.Hour
	}
	wait := func(question string) time.Duration {
		return time.Duration(s.draw(m, question+" wait") * float64(within))
	}
	opened := r.Open == 0 || s.reacts(m, "open")
	at := wait("open")
	if opened && r.Open > 0 && offer.pixel != "" {
		s.schedule(at, m.To, func(ctx context.Context) { s.tap(ctx, http.MethodGet, offer.pixel, "") })
	}
	if opened && s.reacts(m, "click") {
		for _, u := range offer.urls {
			if u != "" {
				s.schedule(at+wait("click"), m.To, func(ctx context.Context) { s.tap(ctx, http.MethodGet, u, "") })
				break
			}
		}
	}
	if s.reacts(m, "opt_out") {
		s.schedule(within+wait("opt_out"), m.To, func(ctx context.Context) { s.optOut(ctx, m, person, offer) })
	}
}

// optOut is how one leaves each channel.
func (s *Server) optOut(ctx context.Context, m Sent, person string, offer reading) {
	switch m.Provider {
	case "wechat":
		_ = s.Unfollow(person, m.Account) // somebody who left already stays away
	case "sms":
		_ = s.Reply(m.To, "R") // it just got a message
	case "email":
		if offer.unsubscribe != "" {
			s.tap(ctx, http.MethodPost, offer.unsubscribe, "List-Unsubscribe=One-Click")
		}
	}
}
