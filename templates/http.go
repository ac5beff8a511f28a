package templates

import (
	"context"
	"net/http"
	"strconv"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
)

type codeIn struct {
	Code string `path:"code"`
}

type versionIn struct {
	Code    string `path:"code"`
	Version int    `query:"version" doc:"0 or absent: the latest"`
}

type findIn struct {
	Cursor  string `query:"cursor"`
	Channel string `query:"channel"`
	Status  string `query:"status"`
	Text    string `query:"q"`
	Limit   int    `query:"limit"`
}

type templateOut struct{ Body Template }

type listOut struct {
	Body struct {
		Items      []Template `json:"items"`
		NextCursor string     `json:"next_cursor,omitempty"`
	}
}

type saveIn struct {
	Body struct {
		Code        string `json:"code"`
		Channel     string `json:"channel"`
		Lane        Lane   `json:"lane"`
		Name        string `json:"name"`
		Content     Body   `json:"body"`
		BaseVersion int    `json:"base_version" doc:"the version this was edited from; 0 for a new template"`
	}
}

type previewIn struct {
	Code string `path:"code"`
	Body struct {
		Version int            `json:"version,omitempty"`
		Locale  Locale         `json:"locale,omitempty"`
		Member  string         `json:"member,omitempty" doc:"a birth or member id; absent: a sample"`
		Vars    map[string]any `json:"vars,omitempty"`
	}
}

type previewOut struct {
	Body struct {
		Locale   Locale    `json:"locale"`
		Content  Content   `json:"content"`
		Findings []Finding `json:"findings"`
	}
}

// Routes adds the operations of this package.
func Routes(a *api.API, s *Service) {
	read := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent}
	write := []auth.Role{auth.RoleMarketer}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1/message-templates" + path, Tag: "templates", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-message-templates", http.MethodGet, "", "List message templates", read), func(ctx context.Context, in *findIn) (*listOut, error) {
		q := Query{After: in.Cursor, Channel: in.Channel, Status: Status(in.Status), Text: in.Text, Limit: in.Limit}
		if q.Limit <= 0 || q.Limit > 200 {
			q.Limit = 50
		}
		out := &listOut{}
		items, err := s.Find(ctx, q)
		out.Body.Items = items
		if len(items) == q.Limit {
			out.Body.NextCursor = items[len(items)-1].Code
		}
		return out, err
	})
	api.Add(a, op("get-message-template", http.MethodGet, "/{code}", "Get one version of a template", read), func(ctx context.Context, in *versionIn) (*templateOut, error) {
		t, err := s.Get(ctx, in.Code, in.Version)
		return &templateOut{t}, err
	})
	api.Add(a, op("save-message-template", http.MethodPost, "", "Save a new version of a template", write), func(ctx context.Context, in *saveIn) (*templateOut, error) {
		actor, err := auth.ActorFrom(ctx)
		if err != nil {
			return nil, err
		}
		b := in.Body
		t, err := s.Save(ctx, actor, SaveInput{
			Template:    Template{Code: b.Code, Channel: b.Channel, Lane: b.Lane, Name: b.Name, Body: b.Content},
			BaseVersion: b.BaseVersion,
		})
		return &templateOut{t}, err
	})
	api.Add(a, op("publish-message-template", http.MethodPost, "/{code}/publish", "Put a version into use", write), func(ctx context.Context, in *versionIn) (*templateOut, error) {
		t, err := s.Publish(ctx, in.Code, in.Version)
		return &templateOut{t}, err
	})
	api.Add(a, op("archive-message-template", http.MethodPost, "/{code}/archive", "Take a template out of use", write), func(ctx context.Context, in *codeIn) (*struct{}, error) {
		return nil, s.Archive(ctx, in.Code)
	})
	api.Add(a, op("preview-message-template", http.MethodPost, "/{code}/preview", "Show what a member would read", read), func(ctx context.Context, in *previewIn) (*previewOut, error) {
		var birth int64
		scope := auth.ScopeFrom(ctx)
		if in.Body.Member != "" {
			var err error
			if birth, err = strconv.ParseInt(in.Body.Member, 10, 64); err != nil || birth <= 0 {
				return nil, ErrRender.With("code", in.Code).WithFields(field("member", "number", "会员编号无效", "is not a member id", "请填写数字编号", "give its number"))
			}
			if !scope.All {
				return nil, auth.ErrForbidden
			}
		}
		r, findings, err := s.Preview(ctx, PreviewInput{
			Code: in.Code, Version: in.Body.Version, Locale: in.Body.Locale, Birth: member.Birth(birth), Vars: in.Body.Vars,
		}, scope.Reveal)
		if err != nil {
			if f := fault.From(err); f.Kind == fault.Invalid && f.Unwrap() != nil {
				// The cause names variables and limits, never values.
				err = f.WithFields(field("vars", "render", "渲染失败:"+f.Unwrap().Error(), f.Unwrap().Error(), "请检查变量", "check the variables"))
			}
			return nil, err
		}
		out := &previewOut{}
		out.Body.Locale, out.Body.Content, out.Body.Findings = r.Locale, r.Content, findings
		return out, nil
	})
}
