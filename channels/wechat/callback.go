package wechat

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/clock"
)

// Callback receives what WeChat pushes for one account, an official account or a mini-program.
type Callback struct {
	cfg   Config
	key   []byte
	inbox channels.Inbox
	clock clock.Clock
	log   *slog.Logger
	seen  *recent
}

// The bounds of a callback.
const (
	maxCallback = 256 << 10
	// callbackWindow is how far a timestamp may lie from our time. WeChat retries within fifteen seconds.
	callbackWindow = 10 * time.Minute
	// ackWithin leaves half a second of the five that WeChat waits.
	ackWithin = 4500 * time.Millisecond
	seenKept  = 10_000
)

// NewCallback returns the handler of the account's callback address.
func NewCallback(cfg Config, inbox channels.Inbox, d Deps) (*Callback, error) {
	c := &Callback{cfg: cfg, inbox: inbox, clock: d.Clock, log: d.Log, seen: newRecent(seenKept)}
	if cfg.Account == "" || cfg.AppID == "" || cfg.Token == "" {
		return nil, ErrConfig.With("account", cfg.Account)
	}
	if cfg.AESKey != "" || !cfg.Plain {
		key, err := decodeKey(cfg.AESKey)
		if err != nil {
			return nil, ErrConfig.With("account", cfg.Account).Because(err)
		}
		c.key = key
	}
	return c, nil
}

// ServeHTTP answers the check of the address (GET) and takes messages (POST). Answers: 200 "success" once durable;
// 403 for anything that WeChat did not sign; 400 for a signed body we cannot read; 413; 503 to be asked again.
func (c *Callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	timestamp, nonce := q.Get("timestamp"), q.Get("nonce")
	if !signed(q.Get("signature"), c.cfg.Token, timestamp, nonce) {
		c.refuse(w, r, http.StatusForbidden, errSignature)
		return
	}
	if !c.inWindow(timestamp) {
		c.refuse(w, r, http.StatusForbidden, errors.New("wechat callback: timestamp outside the window"))
		return
	}
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff") // echostr is WeChat's, but it is still an echo
		_, _ = io.WriteString(w, q.Get("echostr"))
	case http.MethodPost:
		c.receive(w, r, timestamp, nonce)
	default:
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (c *Callback) inWindow(timestamp string) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	return c.clock.Now().Sub(time.Unix(seconds, 0)).Abs() <= callbackWindow
}

func (c *Callback) receive(w http.ResponseWriter, r *http.Request, timestamp, nonce string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
	if err != nil {
		c.refuse(w, r, http.StatusRequestEntityTooLarge, err)
		return
	}
	message, err := c.open(body, r, timestamp, nonce)
	if errors.Is(err, errSignature) {
		c.refuse(w, r, http.StatusForbidden, err)
		return
	}
	var n news
	if err == nil {
		n, err = c.read(message)
	}
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), ackWithin)
	defer cancel()
	if err := c.hand(ctx, n); err != nil {
		c.refuse(w, r, http.StatusServiceUnavailable, err)
		return
	}
	_, _ = io.WriteString(w, "success")
}

// open returns the message inside the envelope. A safe account refuses plain bodies: their content is not signed.
func (c *Callback) open(body []byte, r *http.Request, timestamp, nonce string) ([]byte, error) {
	q := r.URL.Query()
	if q.Get("encrypt_type") != "aes" {
		if !c.cfg.Plain {
			return nil, errSignature
		}
		return body, nil
	}
	if c.key == nil {
		return nil, errCipher
	}
	encrypted, err := ciphertext(body)
	if err != nil {
		return nil, err
	}
	if !signed(q.Get("msg_signature"), c.cfg.Token, timestamp, nonce, encrypted) {
		return nil, errSignature
	}
	return decrypt(c.key, encrypted, c.cfg.AppID)
}

func (c *Callback) read(message []byte) (news, error) {
	e, err := decodeEvent(message)
	if err != nil {
		return news{}, err
	}
	return interpret(c.cfg, e)
}

// hand makes the items durable. Those handed over before are left out here, and recognised by the inbox after a restart.
func (c *Callback) hand(ctx context.Context, n news) error {
	var inbound []channels.Inbound
	for _, i := range n.inbound {
		if !c.seen.has(i.DedupeKey) {
			inbound = append(inbound, i)
		}
	}
	if len(inbound) > 0 {
		if err := c.inbox.Inbound(ctx, inbound); err != nil {
			return err
		}
	}
	if len(n.receipts) > 0 {
		if err := c.inbox.Receipts(ctx, n.receipts); err != nil {
			return err
		}
	}
	for _, i := range inbound {
		c.seen.add(i.DedupeKey)
	}
	return nil
}

func (c *Callback) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	c.log.WarnContext(r.Context(), "wechat callback refused", "account", c.cfg.Account, "status", status, "error", err)
	http.Error(w, http.StatusText(status), status)
}

// recent remembers the last keys, so that retries cost no transaction. Truth is the inbox.
type recent struct {
	mu   sync.Mutex
	keys map[string]struct{}
	ring []string
	next int
}

func newRecent(n int) *recent {
	return &recent{keys: make(map[string]struct{}, n), ring: make([]string, n)}
}

func (r *recent) has(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.keys[key]
	return ok
}

func (r *recent) add(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.keys[key]; ok {
		return
	}
	delete(r.keys, r.ring[r.next])
	r.ring[r.next], r.keys[key] = key, struct{}{}
	r.next = (r.next + 1) % len(r.ring)
}
