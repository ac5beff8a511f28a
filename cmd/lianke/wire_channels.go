package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/email"
	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/channels/sms"
	"github.com/lianke/lianke/channels/wechat"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member/contact"
	"github.com/lianke/lianke/templates"
)

// messaging are the modules that write and send messages.
type messaging struct {
	route     *provider.Route // to stand-ins of the providers; nil is the real ones
	network   *provider.Network
	client    *http.Client // the one that all provider APIs are called with
	contact   *contact.Book
	templates *templates.Service
	channels  *channels.Service
}

// wireChannels constructs them. LIANKE_SANDBOX names the route file of `lianke sandbox`; with it no message leaves the
// machine.
func (a *app) wireChannels() error {
	if file := a.cfg.Sandbox; file != "" && a.route == nil {
		var err error
		if a.route, err = provider.ReadRoute(file); err != nil {
			return err
		}
	}
	network, err := provider.Open(a.route)
	if err != nil {
		return err
	}
	a.network, a.client = network, network.Client()
	a.contact = contact.New(a.secrets)
	a.templates = templates.New(a.db, a.clock, a.contact)
	a.channels = channels.New(channels.Deps{
		DB: a.db, Clock: a.clock, Log: a.log, Ring: a.ring, Contact: a.contact, Door: a.door, Profile: a.profile,
		Templates: a.templates, Activity: a.activity, Open: a.openSender,
	})
	a.channels.Mount(a.api.Door())
	a.mountCallbacks(a.api.Door())
	templates.Routes(a.api, a.templates)
	channels.Routes(a.api, a.channels)
	a.loop("send", "sender", a.channels.Run)
	if a.cfg.MailAddr != "" {
		a.loop("send", "mail receiver", a.receiveMail)
	}
	return nil
}

var errNoSender = fault.New(fault.Invalid, "channel.no_sender", "渠道 {channel} 尚无可用的发送方", "there is no sender for channel {channel}").
	WithHint("目前支持 wechat、miniprogram、sms、email", "wechat, miniprogram, sms and email can send")

// openSender makes the sender of an account: config and secrets are one object to the protocol package.
func (a *app) openSender(acc channels.Account) (channels.Sender, error) {
	switch acc.Channel {
	case channels.ChannelWeChat:
		var cfg wechat.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		cfg.Account = acc.Code
		return wechat.NewOfficialAccount(cfg, a.wechatDeps())
	case channels.ChannelMiniProgram:
		var cfg wechat.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		cfg.Account = acc.Code
		return wechat.NewMiniProgram(cfg, a.wechatDeps())
	case channels.ChannelSMS:
		var cfg sms.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		cfg.Account = acc.Code
		return sms.New(cfg, a.client, a.clock)
	case channels.ChannelEmail:
		var cfg email.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		cfg.Account = acc.Code
		return email.New(cfg, a.network, a.clock)
	default:
		return nil, errNoSender.With("channel", acc.Channel)
	}
}

func (a *app) wechatDeps() wechat.Deps {
	return wechat.Deps{Client: a.client, Clock: a.clock, Log: a.log, Tokens: a.redis.Cache("wechat:", a.clock)}
}

// readAccount lays the secrets over the configuration.
func readAccount(acc channels.Account, into any) error {
	for _, raw := range []json.RawMessage{acc.Config, acc.Secrets} {
		if len(raw) == 0 {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("read account %s: %w", acc.Code, err)
		}
	}
	return nil
}

// mountCallbacks serves the addresses that are entered at the providers: /callbacks/wechat/ACCOUNT for official accounts
// and mini-programs, /callbacks/sms/ACCOUNT/TOKEN/reports and …/replies for Aliyun.
func (a *app) mountCallbacks(mux *http.ServeMux) {
	h := &callbacks{app: a, made: map[string]madeCallback{}}
	mux.HandleFunc("/callbacks/wechat/{account}", h.serve(func(acc channels.Account) (http.Handler, error) {
		var cfg wechat.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		cfg.Account = acc.Code
		return wechat.NewCallback(cfg, a.channels, a.wechatDeps())
	}))
	token := func(r *http.Request) string { return r.PathValue("token") }
	for path, take := range map[string]func(*sms.Callback) http.Handler{
		"reports": func(c *sms.Callback) http.Handler { return c.Receipts(token) },
		"replies": func(c *sms.Callback) http.Handler { return c.Replies(token) },
	} {
		mux.HandleFunc("POST /callbacks/sms/{account}/{token}/"+path, h.serve(func(acc channels.Account) (http.Handler, error) {
			var cfg sms.Config
			if err := readAccount(acc, &cfg); err != nil {
				return nil, err
			}
			cfg.Account = acc.Code
			c, err := sms.NewCallback(cfg, a.channels, a.log)
			if err != nil {
				return nil, err
			}
			return take(c), nil
		}))
	}
}

// receiveMail takes bounces, complaints and unsubscribe mails for all mail accounts.
func (a *app) receiveMail(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.MailAddr)
	if err != nil {
		return errListen.With("addr", a.cfg.MailAddr).Because(err)
	}
	host, _, err := net.SplitHostPort(a.cfg.MailAddr)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return email.NewReceiver(host, a.mailAccounts, a.channels, a.clock, a.log).Serve(ctx, l)
}

// mailAccounts finds the accounts that send from a domain.
func (a *app) mailAccounts(ctx context.Context, domain string) ([]email.Config, error) {
	all, err := a.channels.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var found []email.Config
	for _, acc := range all {
		if acc.Channel != channels.ChannelEmail {
			continue
		}
		if acc, err = a.channels.OpenAccount(ctx, acc.Code); err != nil {
			return nil, err
		}
		var cfg email.Config
		if err := readAccount(acc, &cfg); err != nil {
			return nil, err
		}
		if cfg.Account = acc.Code; strings.EqualFold(cfg.Domain, domain) {
			found = append(found, cfg)
		}
	}
	return found, nil
}

// callbacks makes the handler of an account once per version of the account: handlers remember what they have seen.
type callbacks struct {
	app  *app
	mu   sync.Mutex
	made map[string]madeCallback
}

type madeCallback struct {
	version int64
	handler http.Handler
}

func (h *callbacks) serve(open func(channels.Account) (http.Handler, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		acc, err := h.app.channels.OpenAccount(r.Context(), r.PathValue("account"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		key := r.Pattern + " " + acc.Code
		h.mu.Lock()
		c, ok := h.made[key]
		if !ok || c.version != acc.Version {
			if c.handler, err = open(acc); err == nil {
				c.version = acc.Version
				h.made[key] = c
			}
		}
		h.mu.Unlock()
		if err != nil {
			h.app.log.ErrorContext(r.Context(), "callback address cannot be served", "account", acc.Code, "error", err)
			http.NotFound(w, r)
			return
		}
		c.handler.ServeHTTP(w, r)
	}
}
