package channels

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

// accountView is an account as the console sees it: secrets go in and never come out.
type accountView struct {
	Code      string          `json:"code"`
	Channel   Channel         `json:"channel"`
	Name      string          `json:"name"`
	Config    json.RawMessage `json:"config,omitempty"`
	Settings  AccountSettings `json:"settings"`
	Status    AccountStatus   `json:"status"`
	Health    string          `json:"health,omitempty"`
	HoldUntil *time.Time      `json:"hold_until,omitempty"`
	Version   int64           `json:"version"`
}

func viewAccount(a Account) accountView {
	return accountView{a.Code, a.Channel, a.Name, a.Config, a.Settings, a.Status, a.Health, a.HoldUntil, a.Version}
}

type accountsOut struct {
	Body struct {
		Items []accountView `json:"items"`
	}
}

type accountIn struct {
	Code string `path:"code"`
	Body struct {
		Channel  Channel         `json:"channel"`
		Name     string          `json:"name"`
		Config   json.RawMessage `json:"config,omitempty"`
		Secrets  json.RawMessage `json:"secrets,omitempty" doc:"absent: keep those there are"`
		Settings AccountSettings `json:"settings"`
		Status   AccountStatus   `json:"status,omitempty"`
		Version  int64           `json:"version,omitempty" doc:"0 creates"`
	}
}

type accountOut struct{ Body accountView }

// MessageView is a ledger row as the console sees it. It holds no personal data.
type MessageView struct {
	Ref             string         `json:"ref"`
	Member          string         `json:"birth"`
	Account         string         `json:"account"`
	Channel         Channel        `json:"channel"`
	Lane            Lane           `json:"lane"`
	Template        string         `json:"template"`
	TemplateVersion int            `json:"template_version"`
	Campaign        string         `json:"campaign,omitempty"`
	Journey         string         `json:"journey,omitempty"`
	Node            string         `json:"node,omitempty"`
	State           State          `json:"state"`
	StateAt         time.Time      `json:"state_at"`
	Reason          Reason         `json:"reason,omitempty"`
	ProviderCode    string         `json:"provider_code,omitempty"`
	Attempts        int            `json:"attempts"`
	PlannedAt       time.Time      `json:"planned_at"`
	DueAt           *time.Time     `json:"due_at,omitempty"`
	HandedAt        *time.Time     `json:"handed_at,omitempty"`
	Vars            map[string]any `json:"vars,omitempty"`
}

func viewMessage(m Message) MessageView {
	return MessageView{
		m.Ref().String(), m.Birth.String(), m.Account, m.Channel, m.Lane, m.Template, m.TemplateVersion, m.Campaign, m.Journey, m.Node,
		m.State, m.StateAt, m.Reason, m.Code, m.Attempts, m.PlannedAt, m.DueAt, m.HandedAt, m.Vars,
	}
}

type messagesIn struct {
	Cursor  string `query:"cursor"`
	State   string `query:"state" doc:"one or several, separated by commas; failed,unknown are the dead letters"`
	Account string `query:"account"`
	Channel string `query:"channel"`
	Journey string `query:"journey"`
	Lane    string `query:"lane"`
	Limit   int    `query:"limit"`
}

type messagesOut struct {
	Body struct {
		Items      []MessageView `json:"items"`
		NextCursor string        `json:"next_cursor,omitempty"`
	}
}

type refIn struct {
	Ref string `path:"ref"`
}

type messageOut struct {
	Body struct {
		MessageView
		Content templates.Content `json:"content"`
	}
}

type resendIn struct {
	Body struct {
		Refs []string `json:"refs" validate:"required,max=1000"`
	}
}

type countOut struct {
	Body struct {
		Count int `json:"count"`
	}
}

type resolveIn struct {
	Ref  string `path:"ref"`
	Body struct {
		State State `json:"state" doc:"accepted or failed"`
	}
}

type settingsOut struct{ Body Settings }

type capsIn struct {
	Body struct {
		Caps []Cap `json:"caps"`
	}
}

type testIn struct {
	Code string `path:"code"`
	Body struct {
		Member  string         `json:"member"`
		Account string         `json:"account,omitempty"`
		Locale  string         `json:"locale,omitempty"`
		Vars    map[string]any `json:"vars,omitempty"`
	}
}

type refOut struct {
	Body struct {
		Ref string `json:"ref"`
	}
}

// Routes adds the operations of this package. The ledger spans the whole brand, so its operations need an unrestricted
// scope; what one member got is part of the member's own view.
func Routes(a *api.API, s *Service) {
	marketer, admin := []auth.Role{auth.RoleMarketer}, []auth.Role{auth.RoleAdmin}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "channels", Summary: summary, Roles: roles}
	}
	accountRoutes(a, s, op, marketer, admin)
	messageRoutes(a, s, op, marketer)
	settingsOp := func(ctx context.Context) (*settingsOut, error) {
		got, err := s.GetSettings(ctx)
		return &settingsOut{got}, err
	}
	api.Add(a, op("get-sending", http.MethodGet, "/sending", "Rules for all sending", marketer), func(ctx context.Context, _ *struct{}) (*settingsOut, error) {
		return settingsOp(ctx)
	})
	for _, pause := range []struct {
		id, path, text string
		on             bool
	}{{"pause-sending", "/sending/pause", "Stop all sending", true}, {"resume-sending", "/sending/resume", "Resume sending", false}} {
		api.Add(a, op(pause.id, http.MethodPost, pause.path, pause.text, marketer), func(ctx context.Context, _ *struct{}) (*settingsOut, error) {
			if err := brandWide(ctx); err != nil {
				return nil, err
			}
			if err := s.SetPaused(ctx, pause.on); err != nil {
				return nil, err
			}
			return settingsOp(ctx)
		})
	}
	api.Add(a, op("set-frequency-caps", http.MethodPut, "/sending/caps", "Replace the frequency caps", marketer), func(ctx context.Context, in *capsIn) (*settingsOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		if err := s.SetCaps(ctx, in.Body.Caps); err != nil {
			return nil, err
		}
		return settingsOp(ctx)
	})
}

func brandWide(ctx context.Context) error {
	if !auth.ScopeFrom(ctx).All {
		return auth.ErrForbidden
	}
	return nil
}

type opFunc func(id, method, path, summary string, roles []auth.Role) api.Op

func accountRoutes(a *api.API, s *Service, op opFunc, read, write []auth.Role) {
	api.Add(a, op("find-channel-accounts", http.MethodGet, "/channel-accounts", "List channel accounts", read), func(ctx context.Context, _ *struct{}) (*accountsOut, error) {
		list, err := s.Accounts(ctx)
		out := &accountsOut{}
		out.Body.Items = make([]accountView, 0, len(list))
		for _, acc := range list {
			out.Body.Items = append(out.Body.Items, viewAccount(acc))
		}
		return out, err
	})
	api.Add(a, op("save-channel-account", http.MethodPut, "/channel-accounts/{code}", "Create or change a channel account", write), func(ctx context.Context, in *accountIn) (*accountOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		b := in.Body
		saved, err := s.SaveAccount(ctx, Account{
			Code: in.Code, Channel: b.Channel, Name: b.Name, Config: b.Config, Secrets: b.Secrets, Settings: b.Settings, Status: b.Status, Version: b.Version,
		})
		return &accountOut{viewAccount(saved)}, err
	})
}

func messageRoutes(a *api.API, s *Service, op opFunc, roles []auth.Role) {
	api.Add(a, op("find-messages", http.MethodGet, "/messages", "List messages, newest first", roles), func(ctx context.Context, in *messagesIn) (*messagesOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		q := Query{Account: in.Account, Channel: Channel(in.Channel), Journey: in.Journey, Lane: Lane(in.Lane), Limit: in.Limit}
		if q.Limit <= 0 || q.Limit > 200 {
			q.Limit = 50
		}
		for st := range strings.SplitSeq(in.State, ",") {
			if st != "" {
				q.States = append(q.States, State(st))
			}
		}
		if in.Cursor != "" {
			var err error
			if q.Before, err = parseCursor(in.Cursor); err != nil {
				return nil, err
			}
		}
		list, err := s.Find(ctx, q)
		out := &messagesOut{}
		out.Body.Items = make([]MessageView, 0, len(list))
		for _, m := range list {
			out.Body.Items = append(out.Body.Items, viewMessage(m))
		}
		if len(list) == q.Limit {
			last := list[len(list)-1]
			out.Body.NextCursor = last.PlannedAt.UTC().Format(time.RFC3339Nano) + "|" + last.Ref().String()
		}
		return out, err
	})
	api.Add(a, op("get-message", http.MethodGet, "/messages/{ref}", "Show a message as the member got it", roles), func(ctx context.Context, in *refIn) (*messageOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		ref, ok := ParseRef(in.Ref)
		if !ok {
			return nil, ErrMessageNotFound.With("ref", in.Ref)
		}
		shown, err := s.Show(ctx, ref, auth.ScopeFrom(ctx).Reveal)
		out := &messageOut{}
		out.Body.MessageView, out.Body.Content = viewMessage(shown.Message), shown.Content.Content
		return out, err
	})
	api.Add(a, op("resend-messages", http.MethodPost, "/messages/resend", "Send failed messages again, and only those", roles), func(ctx context.Context, in *resendIn) (*countOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		var refs []Ref
		for _, text := range in.Body.Refs {
			ref, ok := ParseRef(text)
			if !ok {
				return nil, ErrMessageNotFound.With("ref", text)
			}
			refs = append(refs, ref)
		}
		out := &countOut{}
		var err error
		out.Body.Count, err = s.Resend(ctx, refs)
		return out, err
	})
	api.Add(a, op("resolve-message", http.MethodPost, "/messages/{ref}/resolve", "Settle a message with an unknown outcome", roles), func(ctx context.Context, in *resolveIn) (*struct{}, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		ref, ok := ParseRef(in.Ref)
		if !ok {
			return nil, ErrMessageNotFound.With("ref", in.Ref)
		}
		return nil, s.Resolve(ctx, ref, in.Body.State)
	})
	api.Add(a, op("test-message-template", http.MethodPost, "/message-templates/{code}/test-send", "Send a template to one member as a test", roles), func(ctx context.Context, in *testIn) (*refOut, error) {
		if err := brandWide(ctx); err != nil {
			return nil, err
		}
		birth, err := strconv.ParseInt(in.Body.Member, 10, 64)
		if err != nil || birth <= 0 {
			return nil, ErrIntent.WithFields(field("member", "number", "会员编号无效", "is not a member id", "请填写数字编号", "give its number"))
		}
		ref, err := s.TestSend(ctx, member.Birth(birth), in.Body.Account, in.Code, in.Body.Vars, in.Body.Locale)
		out := &refOut{}
		out.Body.Ref = ref.String()
		return out, err
	})
}

func parseCursor(c string) (Position, error) {
	at, text, _ := strings.Cut(c, "|")
	t, err := time.Parse(time.RFC3339Nano, at)
	ref, ok := ParseRef(text)
	if err != nil || !ok {
		return Position{}, ErrIntent.WithFields(field("cursor", "cursor", "分页游标无效", "is not a cursor of this list", "请从第一页开始", "start from the first page"))
	}
	return Position{t, ref}, nil
}
