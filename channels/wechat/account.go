package wechat

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/silenceper/wechat/v2/credential"
	"github.com/silenceper/wechat/v2/miniprogram"
	miniconfig "github.com/silenceper/wechat/v2/miniprogram/config"
	"github.com/silenceper/wechat/v2/miniprogram/subscribe"
	"github.com/silenceper/wechat/v2/officialaccount"
	officialconfig "github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/officialaccount/message"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/internal/clock"
)

// Config is one account: an official account or a mini-program.
type Config struct {
	Account   string `json:"account"` // our code of it
	AppID     string `json:"appid"`
	AppSecret string `json:"appsecret"`
	Token     string `json:"token"`   // signs callbacks
	AESKey    string `json:"aes_key"` // EncodingAESKey, 43 characters
	Plain     bool   `json:"plain"`   // accept callbacks that are signed but not encrypted
	Subject   string `json:"subject"` // Open Platform subject: the scope of unionids; empty = not bound
	MiniAppID string `json:"mini_appid"`
	Parallel  int    `json:"parallel"` // calls at once; default 16
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("account", c.Account), slog.String("appid", c.AppID))
}

// Deps are what accounts share.
type Deps struct {
	Client *http.Client // of provider.Network, one for the process
	Clock  clock.Clock
	Log    *slog.Logger
	Tokens TokenCache // shared between processes; nil = memory
}

const defaultParallel = 16

func (d Deps) open(cfg *Config, prefix string) (*tokens, error) {
	if cfg.Account == "" || cfg.AppID == "" || cfg.AppSecret == "" {
		return nil, ErrConfig.With("account", cfg.Account)
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = defaultParallel
	}
	if err := useClient(d.Client); err != nil {
		return nil, err
	}
	cache := d.Tokens
	if cache == nil {
		cache = NewMemory(d.Clock)
	}
	return newTokens(*cfg, prefix, sdkCache{cache}, d.Clock), nil
}

// OfficialAccount sends template and customer-service messages. It is a channels.Sender.
type OfficialAccount struct {
	cfg      Config
	tokens   *tokens
	template *message.Template
	custom   *message.Manager
	sdk      *officialaccount.OfficialAccount
}

// NewOfficialAccount opens an account; nothing is called until the first message.
func NewOfficialAccount(cfg Config, d Deps) (*OfficialAccount, error) {
	t, err := d.open(&cfg, credential.CacheKeyOfficialAccountPrefix)
	if err != nil {
		return nil, err
	}
	oa := officialaccount.NewOfficialAccount(&officialconfig.Config{
		AppID: cfg.AppID, AppSecret: cfg.AppSecret, Token: cfg.Token, EncodingAESKey: cfg.AESKey, Cache: t.cache, UseStableAK: true,
	})
	oa.SetAccessTokenHandle(t)
	return &OfficialAccount{cfg: cfg, tokens: t, sdk: oa, template: oa.GetTemplate(), custom: oa.GetCustomerMessageManager()}, nil
}

// Send implements channels.Sender. A message with Content.Template is a template message; one with only Text is a
// customer-service message, which WeChat takes only inside the window a member's own action opens.
func (o *OfficialAccount) Send(ctx context.Context, batch []channels.Outgoing) []channels.Result {
	return each(ctx, o.cfg.Parallel, batch, o.send)
}

func (o *OfficialAccount) send(ctx context.Context, m channels.Outgoing) channels.Result {
	if m.Content.Template == "" {
		msg := message.NewCustomerTextMessage(m.To, m.Content.Text)
		return result(o.tokens.call(ctx, func() error { return o.custom.Send(msg) }), "")
	}
	msg := &message.TemplateMessage{
		ToUser: m.To, TemplateID: m.Content.Template, URL: m.Content.URL, ClientMsgID: m.SendKey,
		Data: make(map[string]*message.TemplateDataItem, len(m.Content.Fields)),
	}
	if m.Content.Page != "" {
		msg.MiniProgram.AppID, msg.MiniProgram.PagePath = o.cfg.MiniAppID, m.Content.Page
	}
	for k, v := range m.Content.Fields {
		msg.Data[k] = &message.TemplateDataItem{Value: v}
	}
	var id int64
	send := func() (err error) { id, err = o.template.Send(msg); return err }
	err := o.tokens.call(ctx, send)
	// WeChat sends a client_msg_id once within ten minutes, so asking again right away is safe and settles most
	// unknown outcomes. Later it would not be.
	var transport *TransportError
	if m.SendKey != "" && errors.As(err, &transport) && result(err, "").Outcome == channels.OutcomeUnknown && ctx.Err() == nil {
		err = o.tokens.call(ctx, send)
		if r := result(err, ""); r.Outcome == channels.OutcomeRetry {
			// The second call did not arrive, which says nothing about the first.
			return channels.Result{Outcome: channels.OutcomeUnknown, Reason: channels.ReasonTimeout, Code: r.Code, Text: transport.Text}
		}
	}
	return result(err, strconv.FormatInt(id, 10))
}

// each sends a batch with a bounded number of calls at once and keeps the order of results.
func each(ctx context.Context, parallel int, batch []channels.Outgoing, send func(context.Context, channels.Outgoing) channels.Result) []channels.Result {
	results := make([]channels.Result, len(batch))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, m := range batch {
		g.Go(func() error {
			if ctx.Err() != nil {
				results[i] = channels.Result{Outcome: channels.OutcomeRetry, Reason: channels.ReasonCanceled}
				return nil
			}
			results[i] = send(ctx, m)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return results
}

// Follower is what WeChat tells about a follower.
type Follower struct {
	OpenID    string
	UnionID   string // empty unless the account is bound to an Open Platform subject
	Following bool
	Since     time.Time
}

// Follower asks for one openid, above all for its unionid.
func (o *OfficialAccount) Follower(ctx context.Context, openid string) (Follower, error) {
	var f Follower
	err := o.tokens.call(ctx, func() error {
		info, err := o.sdk.GetUser().GetUserInfo(openid)
		if err == nil {
			f = Follower{OpenID: info.OpenID, UnionID: info.UnionID, Following: info.Subscribe == 1, Since: time.Unix(int64(info.SubscribeTime), 0).UTC()}
		}
		return err
	})
	return f, apiFault(err)
}

// apiFault makes an error of WeChat presentable.
func apiFault(err error) error {
	var api *APIError
	var transport *TransportError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && (api.Code == 40029 || api.Code == 40163):
		return ErrCode.Because(err)
	case errors.As(err, &transport), errors.As(err, &api) && verdicts[api.Code].outcome == channels.OutcomeRetry:
		return ErrUnavailable.Because(err)
	default:
		return err
	}
}

// MiniProgram sends subscribe messages and exchanges login codes. It is a channels.Sender.
type MiniProgram struct {
	cfg       Config
	tokens    *tokens
	sdk       *miniprogram.MiniProgram
	subscribe *subscribe.Subscribe
}

// NewMiniProgram opens a mini-program; nothing is called until the first message.
func NewMiniProgram(cfg Config, d Deps) (*MiniProgram, error) {
	t, err := d.open(&cfg, credential.CacheKeyMiniProgramPrefix)
	if err != nil {
		return nil, err
	}
	mp := miniprogram.NewMiniProgram(&miniconfig.Config{
		AppID: cfg.AppID, AppSecret: cfg.AppSecret, Token: cfg.Token, EncodingAESKey: cfg.AESKey, Cache: t.cache, UseStableAK: true,
	})
	mp.SetAccessTokenHandle(t)
	return &MiniProgram{cfg: cfg, tokens: t, sdk: mp, subscribe: mp.GetSubscribe()}, nil
}

// Send implements channels.Sender. Each accepted message uses up one grant of the member for its template.
func (p *MiniProgram) Send(ctx context.Context, batch []channels.Outgoing) []channels.Result {
	return each(ctx, p.cfg.Parallel, batch, p.send)
}

func (p *MiniProgram) send(ctx context.Context, m channels.Outgoing) channels.Result {
	msg := &subscribe.Message{
		ToUser: m.To, TemplateID: m.Content.Template, Page: m.Content.Page, MiniprogramState: "formal", Lang: "zh_CN",
		Data: make(map[string]*subscribe.DataItem, len(m.Content.Fields)),
	}
	for k, v := range m.Content.Fields {
		msg.Data[k] = &subscribe.DataItem{Value: v}
	}
	var id int64
	err := p.tokens.call(ctx, func() (err error) { id, err = p.subscribe.SendGetMsgID(msg); return err })
	return result(err, strconv.FormatInt(id, 10))
}

// Session is a member's login to the mini-program.
type Session struct {
	OpenID     string
	UnionID    string // empty unless bound to an Open Platform subject
	SessionKey string // secret: never leaves the server
}

// LogValue shows nothing.
func (Session) LogValue() slog.Value { return slog.StringValue("wechat session") }

// Login exchanges the code of wx.login. Errors: wechat.code, wechat.unavailable.
func (p *MiniProgram) Login(ctx context.Context, code string) (Session, error) {
	res, err := p.sdk.GetAuth().Code2SessionContext(ctx, code)
	if err != nil {
		return Session{}, apiFault(ParseErr(err))
	}
	return Session{OpenID: res.OpenID, UnionID: res.UnionID, SessionKey: res.SessionKey}, nil
}

// Phone exchanges the code of the phone-number button for the number without country code, and that code.
// Errors: wechat.code, wechat.unavailable.
func (p *MiniProgram) Phone(ctx context.Context, code string) (number, country string, err error) {
	err = p.tokens.call(ctx, func() error {
		res, err := p.sdk.GetAuth().GetPhoneNumberContext(ctx, code)
		if err == nil {
			number, country = res.PhoneInfo.PurePhoneNumber, res.PhoneInfo.CountryCode
		}
		return err
	})
	return number, country, apiFault(err)
}
