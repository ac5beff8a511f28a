package segments

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
)

// Routes registers the operations of segments.
func Routes(a *api.API, s *Service) {
	h := handlers{s}
	edit := []auth.Role{auth.RoleMarketer}
	see := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent, auth.RoleAssociate}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "segments", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-segments", http.MethodGet, "/segments", "List segments", see), h.find)
	create := op("create-segment", http.MethodPost, "/segments", "Create a segment and build its membership", edit)
	create.Status = http.StatusCreated
	api.Add(a, create, h.create)
	api.Add(a, op("get-segment", http.MethodGet, "/segments/{code}", "Get a segment", see), h.get)
	api.Add(a, op("update-segment", http.MethodPatch, "/segments/{code}", "Change name or rule", edit), h.update)
	api.Add(a, op("archive-segment", http.MethodPost, "/segments/{code}/archive", "End a segment", edit), h.archive)
	api.Add(a, op("segment-members", http.MethodGet, "/segments/{code}/members", "List current members", see), h.members)
	api.Add(a, op("explain-segment", http.MethodGet, "/segments/{code}/members/{birth}", "Why a member is in or not", see), h.explain)
	api.Add(a, op("preview-segment", http.MethodPost, "/segment-preview", "Size and reach of a rule that is not stored, within the actor's scope", edit), h.preview)
	api.Add(a, op("member-segments", http.MethodGet, "/members/{birth}/segments", "Segments of a member", see), h.ofMember)
}

type handlers struct{ s *Service }

// segmentView is a segment as the API shows it.
type segmentView struct {
	Code      string          `json:"code"`
	Name      string          `json:"name"`
	Rule      json.RawMessage `json:"rule" doc:"segment rule language"`
	Version   int64           `json:"version"`
	Status    Status          `json:"status" enum:"building,active,archived"`
	Size      int64           `json:"size" doc:"current members within the actor's scope"`
	BuiltAt   *time.Time      `json:"built_at,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	Warnings  []fault.Field   `json:"warnings,omitempty" doc:"after a change: what is allowed in the rule and probably not meant, such as a mistyped activity key"`
}

// show views one segment as the actor of the request sees it.
func (h handlers) show(ctx context.Context, s Segment, warnings []fault.Field) (*api.Body[segmentView], error) {
	seen, err := h.s.Within(ctx, auth.ScopeFrom(ctx), s)
	if err != nil {
		return nil, err
	}
	v := view(seen[0])
	v.Warnings = warnings
	return &api.Body[segmentView]{Body: v}, nil
}

// changed views a segment whose rule was just written, with advice on it.
func (h handlers) changed(ctx context.Context, s Segment) (*api.Body[segmentView], error) {
	warnings, err := h.s.Advise(ctx, h.s.db, s.Rule)
	if err != nil {
		return nil, err
	}
	return h.show(ctx, s, warnings)
}

func view(s Segment) segmentView {
	return segmentView{Code: s.Code, Name: s.Name, Rule: json.RawMessage(s.Rule.String()), Version: s.Version, Status: s.Status,
		Size: s.Size, BuiltAt: s.BuiltAt, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt}
}

// CodePath is the path of operations on one item with a code.
type CodePath struct {
	Code string `path:"code" doc:"segment code"`
}

type findInput struct {
	Archived bool   `query:"archived" doc:"archived ones too"`
	Cursor   string `query:"cursor"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (h handlers) find(ctx context.Context, in *findInput) (*api.PageOutput[segmentView], error) {
	found, err := h.s.Find(ctx, in.Cursor, in.Archived, in.Limit+1)
	if err != nil {
		return nil, err
	}
	if found, err = h.s.Within(ctx, auth.ScopeFrom(ctx), found...); err != nil {
		return nil, err
	}
	views := make([]segmentView, len(found))
	for i, s := range found {
		views[i] = view(s)
	}
	return api.NewPage(views, in.Limit, func(v segmentView) string { return v.Code }), nil
}

type createBody struct {
	Code string          `json:"code" validate:"required,max=64"`
	Name string          `json:"name" validate:"required,max=200"`
	Rule json.RawMessage `json:"rule" doc:"segment rule language"`
}

type createInput struct {
	Body createBody
}

func (h handlers) create(ctx context.Context, in *createInput) (*api.Body[segmentView], error) {
	rule, err := Parse(in.Body.Rule)
	if err != nil {
		return nil, err
	}
	s, err := h.s.Create(ctx, CreateInput{Code: in.Body.Code, Name: in.Body.Name, Rule: rule})
	if err != nil {
		return nil, err
	}
	return h.changed(ctx, s)
}

func (h handlers) get(ctx context.Context, in *CodePath) (*api.Body[segmentView], error) {
	s, err := h.s.Get(ctx, in.Code)
	if err != nil {
		return nil, err
	}
	return h.show(ctx, s, nil)
}

type updateBody struct {
	Version int64           `json:"version" validate:"required" doc:"the version that was read"`
	Name    *string         `json:"name,omitempty" validate:"omitempty,max=200"`
	Rule    json.RawMessage `json:"rule,omitempty"`
}

type updateInput struct {
	CodePath
	Body updateBody
}

func (h handlers) update(ctx context.Context, in *updateInput) (*api.Body[segmentView], error) {
	change := UpdateInput{Version: in.Body.Version, Name: in.Body.Name}
	if len(in.Body.Rule) > 0 {
		rule, err := Parse(in.Body.Rule)
		if err != nil {
			return nil, err
		}
		change.Rule = &rule
	}
	s, err := h.s.Update(ctx, in.Code, change)
	if err != nil {
		return nil, err
	}
	if change.Rule == nil {
		return h.show(ctx, s, nil)
	}
	return h.changed(ctx, s)
}

type archiveBody struct {
	Version int64 `json:"version" validate:"required"`
}

type archiveInput struct {
	CodePath
	Body archiveBody
}

func (h handlers) archive(ctx context.Context, in *archiveInput) (*api.Body[segmentView], error) {
	s, err := h.s.Archive(ctx, in.Code, in.Body.Version)
	if err != nil {
		return nil, err
	}
	return h.show(ctx, s, nil)
}

type membersInput struct {
	CodePath
	Cursor int64 `query:"cursor" minimum:"0"`
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (h handlers) members(ctx context.Context, in *membersInput) (*api.PageOutput[Membership], error) {
	found, err := h.s.FindMembers(ctx, auth.ScopeFrom(ctx), in.Code, member.ID(in.Cursor), in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, in.Limit, func(m Membership) string { return m.MemberID.String() }), nil
}

type explainInput struct {
	CodePath
	Birth int64     `path:"birth" minimum:"1" doc:"any birth of the member"`
	At    time.Time `query:"at" doc:"as of this time; default now"`
}

func (h handlers) explain(ctx context.Context, in *explainInput) (*api.Body[Explanation], error) {
	s, err := h.s.Get(ctx, in.Code)
	if err != nil {
		return nil, err
	}
	e, err := h.s.Explain(ctx, auth.ScopeFrom(ctx), s.Rule, h.at(in.At), member.Birth(in.Birth))
	if err != nil {
		return nil, err
	}
	return &api.Body[Explanation]{Body: e}, nil
}

type ofMemberInput struct {
	Birth int64 `path:"birth" minimum:"1" doc:"any birth of the member"`
}

func (h handlers) ofMember(ctx context.Context, in *ofMemberInput) (*api.PageOutput[Belonging], error) {
	found, err := h.s.FindOf(ctx, auth.ScopeFrom(ctx), member.Birth(in.Birth))
	if err != nil {
		return nil, err
	}
	return api.NewPage(found, len(found), nil), nil
}

type previewBody struct {
	Rule json.RawMessage `json:"rule" doc:"segment rule language"`
	At   time.Time       `json:"at,omitzero" doc:"as of this time; default now"`
}

type previewInput struct {
	Body previewBody
}

func (h handlers) preview(ctx context.Context, in *previewInput) (*api.Body[Estimate], error) {
	rule, err := Parse(in.Body.Rule)
	if err != nil {
		return nil, err
	}
	e, err := h.s.Estimate(ctx, h.s.db, auth.ScopeFrom(ctx), rule, h.at(in.Body.At))
	if err != nil {
		return nil, err
	}
	return &api.Body[Estimate]{Body: e}, nil
}

func (h handlers) at(t time.Time) time.Time {
	if t.IsZero() {
		return h.s.clock.Now()
	}
	return t.UTC().Truncate(time.Microsecond)
}

// ParseAt reads an instant as rules write them, for the command line: RFC 3339 or a Shanghai date. Errors: ErrRule.
func ParseAt(text string) (time.Time, error) {
	var p parser
	if t := p.instant("at", text); t != nil {
		return t.at, nil
	}
	return time.Time{}, ErrRule.WithFields(p.faults...)
}

// ParseMember reads the number of a member or birth. Errors: ErrMember.
func ParseMember(text string) (member.Birth, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, ErrMember.With("member", show(text))
	}
	return member.Birth(n), nil
}
